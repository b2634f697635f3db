//! Proposals, and the signatures of this node's signer.

use std::time::Duration;

use betanet_durable::Now;
use betanet_journal::Record;
use betanet_log::{Signature, SignedHead, Signers};
use betanet_machine::Machine as _;
use betanet_naming::gossip::{Answer, Command};
use betanet_naming::signer::Refusal;
use betanet_naming::{Accepted, DOMAIN, Entry, HeadFault, Reject, Verified};
use betanet_wire::Code;
use bytes::Bytes;

use super::{Counts, Names, journaled};
use crate::body::{PROPOSAL_MAX, PROPOSAL_RECORDS, Proposal};

/// A co-signature that is refused.
#[derive(Debug)]
pub(crate) struct Cosigned {
    pub(crate) why: NotSigned,
    /// Records of the proposal that this signer signed last and that is not final.
    pub(crate) held: Vec<Bytes>,
}

/// Reason why a proposal is not signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum NotSigned {
    #[error("this node signs nothing")]
    NoSigner,
    #[error("the proposal does not follow the {0} final records of this node")]
    Place(u64),
    #[error("it is another signer's turn to propose")]
    Turn,
    #[error("the record at position {0}: {1}")]
    Record(usize, Reject),
    #[error(transparent)]
    Refused(Refusal),
}

impl NotSigned {
    pub(crate) const fn code(self) -> Code {
        match self {
            Self::NoSigner => Code::UNSUPPORTED_FEATURE,
            Self::Record(_, reject) => reject.code(),
            Self::Place(_) | Self::Turn | Self::Refused(_) => Code::POLICY_REJECTED,
        }
    }
}

/// Reason why an own proposal is not finished.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum NotFinished {
    #[error("this node signs nothing")]
    NoSigner,
    #[error(transparent)]
    Refused(Refusal),
    #[error(transparent)]
    Head(HeadFault),
}

fn is_alias(record: &Verified) -> bool {
    matches!(record.entry(), Ok(Entry::Alias(_)))
}

impl Names {
    /// Records beyond the final ones that this signer is bound to.
    pub(super) fn bound_to(&self) -> Vec<Bytes> {
        let (from, records) = &self.held;
        let size = self.records.len() as u64;
        let Some(skip) = size
            .checked_sub(*from)
            .and_then(|n| usize::try_from(n).ok())
        else {
            return Vec::new();
        };
        match (records.get(..skip), records.get(skip..)) {
            (Some(done), Some(rest)) if done == self.range(*from, skip as u64) => rest.to_vec(),
            // They are final, or can never be.
            _ => Vec::new(),
        }
    }

    /// Time until this signer may propose; `None` while nothing waits, or if it is not one of the signers.
    pub(super) fn turn(&self, now: Now) -> Option<Duration> {
        let me = self.setup.signer.as_ref()?;
        let signers = self.ledger().signers()?;
        let at = signers.position(me.public().as_bytes())?;
        if self.pool.is_empty() || self.ledger().split().is_some() {
            return None;
        }
        match self.turns.position(now.mono, signers.keys().len()) == at {
            true => Some(Duration::ZERO),
            false => Some(self.turns.left(now.mono)),
        }
    }

    /// A proposal of what waits, beginning with these records, or with those that this signer is bound to.
    pub(super) fn propose(&mut self, now: Now, prefix: &[Verified]) -> Option<Proposal> {
        let identity = self.setup.signer.clone()?;
        let held = self.bound_to();
        let keeps =
            prefix.len() >= held.len() && held.iter().zip(prefix).all(|(a, b)| a == b.bytes());
        let mut list: Vec<Verified> = match keeps {
            true => prefix.to_vec(),
            false => {
                let signers = self.ledger().signers()?.clone();
                let verified = |r| Verified::new(r, &signers);
                held.into_iter().map(verified).collect()
            }
        };
        for record in self.pool.all() {
            if !list.iter().any(|r| r.bytes() == record.bytes()) {
                list.push(record);
            }
        }
        let mut bytes = 0;
        let fits = list.iter().take(PROPOSAL_RECORDS).take_while(|record| {
            bytes += record.bytes().len();
            bytes <= PROPOSAL_MAX
        });
        let fits = fits.count();
        list.truncate(fits);
        self.gossip.propose(now.unix_ms, &list);
        let ledger = self.ledger();
        let records: Vec<Bytes> = ledger.waiting().cloned().collect();
        let signers = ledger.signers()?;
        let in_set = signers.position(identity.public().as_bytes()).is_some();
        if records.is_empty() || !in_set {
            return None;
        }
        let head = SignedHead::new(ledger.next_head(now.unix_ms)?);
        Counts::one(&self.setup.counts.proposed);
        Some(Proposal::new(head, records, &identity))
    }

    pub(super) fn cosign(
        &mut self,
        now: Now,
        proposal: &Proposal,
        records: Vec<Verified>,
        out: &mut Vec<Record>,
    ) -> Result<Signature, Cosigned> {
        let signed = self.cosign_checked(now, proposal, &records, out);
        signed.map_err(|why| {
            self.refill(now);
            let held = self.bound_to();
            Cosigned { why, held }
        })
    }

    fn cosign_checked(
        &mut self,
        now: Now,
        proposal: &Proposal,
        records: &[Verified],
        out: &mut Vec<Record>,
    ) -> Result<Signature, NotSigned> {
        if self.signer.is_none() {
            return Err(NotSigned::NoSigner);
        }
        let (size, head) = (self.ledger().final_size(), proposal.head().head());
        if records.is_empty() || head.size != size + records.len() as u64 {
            return Err(NotSigned::Place(size));
        }
        // A proposal begins the first turn, where its records did not come before it.
        self.asked = true;
        self.turns.note(now.mono, size, true);
        let refused = NotSigned::Refused(Refusal::NotSigner);
        // Before anything is arranged anew, where the records leave the signers as they are.
        if records.iter().all(is_alias) {
            let signers = self.ledger().signers_at(size).ok_or(refused)?;
            self.check_turn(now, signers, proposal)?;
        }
        let taken = self.gossip.propose(now.unix_ms, records);
        for (at, taken) in taken.into_iter().enumerate() {
            taken.map_err(|reject| NotSigned::Record(at, reject))?;
        }
        let signers = self.ledger().signers().ok_or(refused)?;
        self.check_turn(now, signers, proposal)?;
        self.sign(now, proposal.head(), out)
            .map_err(NotSigned::Refused)
    }

    /// Whether the proposer is one of these signers, and in turn.
    fn check_turn(
        &self,
        now: Now,
        signers: &Signers,
        proposal: &Proposal,
    ) -> Result<(), NotSigned> {
        let at = signers.position(proposal.by());
        let at = at.ok_or(NotSigned::Refused(Refusal::NotSigner))?;
        match self.turns.allows(now.mono, signers.keys().len(), at) {
            true => Ok(()),
            false => Err(NotSigned::Turn),
        }
    }

    /// Signs a head of the records here. Both the signer's memory and the records are committed before the signature leaves.
    fn sign(
        &mut self,
        now: Now,
        head: &SignedHead,
        out: &mut Vec<Record>,
    ) -> Result<Signature, Refusal> {
        let signer = self.signer.as_mut().ok_or(Refusal::NotSigner)?;
        let pending = signer.sign_head(now.unix_ms, self.gossip.ledger(), head.head())?;
        self.memory.learn(pending.change())?;
        let from = self.ledger().final_size();
        let n = head.head().size.saturating_sub(from);
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        let records: Vec<Bytes> = self.ledger().waiting().take(n).cloned().collect();
        out.extend(journaled::signed(pending.change()));
        out.extend(journaled::held(from, &records));
        self.held = (from, records);
        Counts::one(&self.setup.counts.signed);
        Ok(pending.stored())
    }

    pub(super) fn finish(
        &mut self,
        now: Now,
        mut head: SignedHead,
        out: &mut Vec<Record>,
    ) -> Result<SignedHead, NotFinished> {
        if self.signer.is_none() {
            return Err(NotFinished::NoSigner);
        }
        let size = head.head().size;
        // Nothing is signed that would not be final by it.
        let signers = self
            .ledger()
            .signers_at(size)
            .ok_or(NotFinished::NoSigner)?;
        let (valid, needed) = (head.valid(DOMAIN, signers).len(), signers.threshold());
        if valid + 1 < needed {
            let fault = betanet_log::Error::TooFew {
                signed: valid,
                needed,
            };
            return Err(NotFinished::Head(fault.into()));
        }
        let signature = self.sign(now, &head, out).map_err(NotFinished::Refused)?;
        head.add(signature);
        match self.take_head(now, head.clone()) {
            Ok(Accepted::Extends | Accepted::Same) => Ok(head),
            Ok(_) => Err(NotFinished::Head(HeadFault::Split)),
            Err(fault) => Err(NotFinished::Head(fault)),
        }
    }

    pub(super) fn take_head(&mut self, now: Now, head: SignedHead) -> Result<Accepted, HeadFault> {
        match self.gossip.handle_command(now, Command::Head(head)) {
            Ok(Answer::Head(answer)) => answer,
            // A full gossip is told again.
            Ok(_) | Err(_) => Err(HeadFault::Missing {
                from: self.ledger().final_size(),
            }),
        }
    }
}
