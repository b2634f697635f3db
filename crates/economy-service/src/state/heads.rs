//! Heads: proposed by the leader, signed by nodes that replayed the same records, final once enough have signed.

use std::time::Duration;

use betanet_durable::Now;
use betanet_journal::Record as Journaled;
use betanet_log::{Head, Signature, SignedHead, Signers};
use betanet_tokenomics::journal::Record;
use betanet_tokenomics::{Economy, Role};

use super::{Books, SKEW_MS, journaled};
use crate::body::domain;

/// So long a proposed head stays before one of more records replaces it.
const STANDS: Duration = Duration::from_secs(10);

/// Reason why a signer, or a leader that collects signatures, does not go on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Fault {
    /// The ledger lists no signers that can make a head final.
    #[error("the ledger lists no set of signers")]
    NoSigners,
    /// No key of this node is listed.
    #[error("no key of this node is one of the ledger's signers")]
    NotListed,
    /// The head is of another size than the records here.
    #[error("the head is of {head} records, and {here} are here")]
    Size { head: u64, here: u64 },
    /// The head contradicts the records here.
    #[error(
        "the head of {0} records has another root, state, time or set than the records here give"
    )]
    Differs(u64),
    /// The head contradicts one that this node signed.
    #[error("this node signed another head of {0} or more records")]
    SignedOther(u64),
    /// A record that the machine refuses.
    #[error("record {0} of the leader is refused: {1}")]
    Record(u64, betanet_tokenomics::Error),
    /// A record's time and the clock here differ too much.
    #[error("record {0} of the leader is over 10 minutes off this node's clock")]
    Clock(u64),
    /// Records that this node does not drop.
    #[error("records from {size} of {here} on are not dropped: {floor} are final, or signed here")]
    Drop { size: u64, floor: u64, here: u64 },
    /// Another head waits for signatures.
    #[error("another head waits for signatures")]
    Other,
    /// The head lacks signatures.
    #[error(transparent)]
    Head(#[from] betanet_log::Error),
}

/// What became of signatures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Taken {
    /// Whether the head is final.
    pub(crate) is_final: bool,
    /// Whether there was a valid signature that was not here yet.
    pub(crate) is_new: bool,
}

/// The set of signers that a state lists. It costs a check of each key.
pub(super) fn listed(economy: &Economy) -> Option<Signers> {
    let listed = economy.role(Role::Signers).iter();
    let keys: Option<Vec<[u8; 32]>> = listed.map(|k| k[..].try_into().ok()).collect();
    Signers::from_bytes(&keys?).ok()
}

/// Whether a head carries each of these signers' signatures.
fn has_all(head: &SignedHead, own: &[Signature]) -> bool {
    let has = |s: &Signature| head.signatures().iter().any(|o| o.signer == s.signer);
    own.iter().all(has)
}

impl Books {
    pub(super) const fn signers(&self) -> Option<&Signers> {
        self.signers.as_ref()
    }

    /// The head that waits for signatures.
    pub(super) fn open_head(&self) -> Option<&SignedHead> {
        let head = self.proposed.as_ref()?;
        (head.head().size > self.final_size()).then_some(head)
    }

    /// The head over all records.
    fn newest(&mut self) -> Option<SignedHead> {
        let set = *self.signers()?.hash();
        Some(SignedHead::new(Head {
            ts: self.economy.time(),
            set,
            root: self.log.root(),
            size: self.economy.records(),
            state: Some(self.economy.root()),
        }))
    }

    /// Signatures of a head by those keys of this node that the ledger lists.
    fn own(&self, head: &SignedHead) -> Vec<Signature> {
        let Some(listed) = self.signers() else {
            return Vec::new();
        };
        let domain = domain(self.setup.genesis.id());
        let mine = self.setup.signers.iter();
        let mine = mine.filter(|key| listed.position(key.public().as_bytes()).is_some());
        mine.map(|key| head.signature(domain, key)).collect()
    }

    /// As the leader: proposes a head over all records, and signs it. A head that waits is replaced once it has stood for a while.
    pub(super) fn propose(&mut self, now: Now, out: &mut Vec<Journaled>) {
        if self.economy.records() <= self.final_size() || self.is_ahead(now) {
            return;
        }
        let Some(mut head) = self.newest() else {
            return;
        };
        let own = self.own(&head);
        if let Some(open) = self.open_head() {
            let stands = self.since.is_some_and(|since| now.mono - since < STANDS);
            // A leader of before has proposed the same, since a head follows from its records. Its keys may be other ones.
            let same = open.signed_bytes() == head.signed_bytes();
            if same && !has_all(open, &own) {
                head = open.clone();
            } else if stands || open.head().size == self.economy.records() {
                self.settle(out);
                return;
            }
        }
        for signature in own {
            head.add(signature);
        }
        out.extend(journaled::signed(&head));
        (self.proposed, self.since) = (Some(head), Some(now.mono));
        self.settle(out);
    }

    /// Makes the head that waits final, if enough have signed it.
    fn settle(&mut self, out: &mut Vec<Journaled>) -> bool {
        let (Some(open), Some(signers)) = (self.open_head(), self.signers()) else {
            return false;
        };
        let domain = domain(self.setup.genesis.id());
        if open.check(domain, signers).is_err() {
            return false;
        }
        let open = open.clone();
        match self.advance(open.clone()) {
            Ok(()) => {
                out.extend(journaled::head(&open));
                true
            }
            Err(error) => {
                tracing::error!(%error, "a head that was made here contradicts its records");
                false
            }
        }
    }

    /// As the leader: takes signatures of the head that waits.
    pub(super) fn take_signatures(
        &mut self,
        signed: &SignedHead,
        out: &mut Vec<Journaled>,
    ) -> Result<Taken, Fault> {
        let last = self.head.as_ref();
        if last.is_some_and(|h| h.signed_bytes() == signed.signed_bytes()) {
            return Ok(Taken {
                is_final: true,
                is_new: false,
            });
        }
        let signers = self.signers().ok_or(Fault::NoSigners)?;
        let domain = domain(self.setup.genesis.id());
        let open = self.open_head().ok_or(Fault::Other)?;
        if open.signed_bytes() != signed.signed_bytes() {
            return Err(Fault::Other);
        }
        let valid = signed.valid(domain, signers);
        let is_new = !has_all(open, &valid);
        if let Some(open) = &mut self.proposed {
            for signature in valid {
                open.add(signature);
            }
        }
        let is_final = self.settle(out);
        Ok(Taken { is_final, is_new })
    }

    /// Moves the served state to a final head. The head's signatures are checked by the caller.
    pub(super) fn advance(&mut self, head: SignedHead) -> Result<(), Fault> {
        let size = head.head().size;
        let differs = Fault::Differs(size);
        if self.log.root_at(size).ok() != Some(head.head().root) {
            return Err(differs);
        }
        let range = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let records = self
            .records
            .get(range(self.served.records())..range(size))
            .unwrap_or_default();
        for record in records {
            self.served.replay(record).map_err(|_| differs.clone())?;
        }
        if Some(self.served.root()) != head.head().state {
            return Err(differs);
        }
        self.head = Some(head);
        self.signed_by = std::mem::replace(&mut self.signers, listed(&self.served));
        self.waiting = self.first_open();
        Ok(())
    }

    /// As a follower: replays records of the leader, each with its signatures.
    pub(super) fn follow(
        &mut self,
        now: Now,
        records: Vec<Vec<u8>>,
        out: &mut Vec<Journaled>,
    ) -> Result<u64, Fault> {
        let late = self
            .synced
            .is_none_or(|at| now.unix_ms.abs_diff(at) >= SKEW_MS);
        for bytes in records {
            let place = self.economy.records();
            let ts = Record::from_bytes(&bytes).map_or(0, |r| r.ts);
            let ahead = ts > now.unix_ms.saturating_add(SKEW_MS);
            if ahead || !late && ts < now.unix_ms.saturating_sub(SKEW_MS) {
                return Err(Fault::Clock(place));
            }
            let replayed = self.economy.replay(&bytes);
            replayed.map_err(|error| Fault::Record(place, error))?;
            out.extend(journaled::record(&bytes));
            self.note(bytes);
        }
        Ok(self.economy.records())
    }

    /// As a follower: signs the leader's head, if it is the one that the records here give.
    pub(super) fn cosign(
        &mut self,
        now: Now,
        head: SignedHead,
        out: &mut Vec<Journaled>,
    ) -> Result<Vec<Signature>, Fault> {
        let size = head.head().size;
        let here = self.economy.records();
        if size != here {
            return Err(Fault::Size { head: size, here });
        }
        if self.is_ahead(now) {
            return Err(Fault::Clock(size.saturating_sub(1)));
        }
        let newest = self.newest().ok_or(Fault::NoSigners)?;
        if newest.signed_bytes() != head.signed_bytes() {
            return Err(Fault::Differs(size));
        }
        if let Some(last) = &self.proposed {
            let same = last.signed_bytes() == newest.signed_bytes();
            if last.head().size > size || last.head().size == size && !same {
                return Err(Fault::SignedOther(last.head().size));
            }
        }
        self.synced = Some(now.unix_ms);
        let own = self.own(&newest);
        if own.is_empty() {
            return Err(Fault::NotListed);
        }
        // What was signed before is on disk already.
        if let Some(last) = &self.proposed
            && last.signed_bytes() == newest.signed_bytes()
            && has_all(last, &own)
        {
            return Ok(own);
        }
        let mut kept = newest;
        for signature in &own {
            kept.add(*signature);
        }
        out.extend(journaled::signed(&kept));
        self.proposed = Some(kept);
        Ok(own)
    }

    /// As a follower: takes a final head of the leader. Returns whether it is newer than the last.
    pub(super) fn take_final(
        &mut self,
        mut head: SignedHead,
        out: &mut Vec<Journaled>,
    ) -> Result<bool, Fault> {
        let size = head.head().size;
        if size <= self.final_size() {
            return Ok(false);
        }
        let here = self.economy.records();
        if size > here {
            return Err(Fault::Size { head: size, here });
        }
        let signers = self.signers().ok_or(Fault::NoSigners)?;
        let domain = domain(self.setup.genesis.id());
        head.check(domain, signers)?;
        head.clean(domain, signers);
        self.advance(head.clone())?;
        out.extend(journaled::head(&head));
        Ok(true)
    }
}
