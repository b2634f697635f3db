//! Heads: how records become final, and how two views of the ledger are found.

use alloc::vec::Vec;

use betanet_keys::hash;
use betanet_log::verify_consistency;
use betanet_log::{Hash, Link, Proof as Path, SignedHead, Signers, Split, Verdict};

use super::{Effect, Ledger, WAITING_MAX};
use crate::fault::{DOMAIN, HeadFault};
use crate::{Reject, Verified};

/// The last head under one set of signers, and the first under the next.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Transition {
    pub(super) before: Option<SignedHead>,
    pub(super) after: Option<SignedHead>,
}

/// Relation of a head to the ledger.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Accepted {
    /// It is the newest head now, and the records that it covers are final.
    Extends,
    /// It has the size and root of the newest head.
    Same,
    /// The ledger is ahead of it, and agrees.
    Older,
    /// It belongs to another view: [`Ledger::split`] has the evidence, and nothing is accepted any more.
    Split,
}

impl Ledger {
    /// Takes a head. It is accepted if enough signers of the right set signed it, and this ledger has its records.
    ///
    /// # Errors
    ///
    /// [`HeadFault`].
    pub fn accept(&mut self, head: SignedHead) -> Result<Accepted, HeadFault> {
        if self.split().is_some() {
            return Err(HeadFault::Split);
        }
        let size = head.head().size;
        if size > self.log.size() {
            return Err(HeadFault::Missing { from: self.fixed });
        }
        let ours = self.log.root_at(size)?;
        if size <= self.fixed {
            return self.compare(head, ours);
        }
        // This node's own records, which wait for this head or for another.
        if ours != head.head().root {
            let set = self.state.signers_named(&head.head().set);
            head.check(DOMAIN, set.ok_or(HeadFault::UnknownSet)?)?;
            self.take_back(self.fixed);
            return Err(HeadFault::Missing { from: self.fixed });
        }
        self.check_set(&head)?;
        Ok(self.newest(head))
    }

    /// Checks a head that covers every record so far that it claims.
    fn check_set(&self, head: &SignedHead) -> Result<(), HeadFault> {
        let signers = self.state.signers_at(head.head().size);
        let signers = signers.ok_or(HeadFault::UnknownSet)?;
        if head.head().set != *signers.hash() {
            return Err(HeadFault::WrongSet);
        }
        Ok(head.check(DOMAIN, signers)?)
    }

    /// Compares a head with the final records, of which it covers a part or all.
    fn compare(&mut self, head: SignedHead, ours: Hash) -> Result<Accepted, HeadFault> {
        let set = self.state.signers_named(&head.head().set);
        let set = set.cloned().ok_or(HeadFault::UnknownSet)?;
        let (size, newest) = (head.head().size, self.head().map(|h| h.head().size));
        let Some(newest) = newest else {
            head.check(DOMAIN, &set)?;
            return match ours == head.head().root {
                true => Ok(self.newest(head)),
                false => Err(HeadFault::Proof),
            };
        };
        let (from, to) = (size.min(newest), size.max(newest));
        let link = Link {
            root: self.log.root_at(from)?,
            proof: self.log.consistency(from, to)?,
        };
        if size > newest && ours == head.head().root {
            head.check(DOMAIN, &set)?;
            return Ok(self.newest(head));
        }
        match self.witness.offer(DOMAIN, &set, head, Some(link))? {
            Verdict::Split => {
                self.take_back(self.fixed);
                Ok(Accepted::Split)
            }
            Verdict::Extends => Ok(Accepted::Extends),
            Verdict::Older => Ok(Accepted::Older),
            Verdict::Same => Ok(Accepted::Same),
            Verdict::Unproven { .. } => Err(HeadFault::Proof),
        }
    }

    /// Makes a checked head the newest.
    pub(super) fn newest(&mut self, mut head: SignedHead) -> Accepted {
        let size = head.head().size;
        if let Some(signers) = self.state.signers_at(size) {
            head.clean(DOMAIN, signers);
        }
        self.fix(size);
        let before = self.head().cloned();
        let last = before.as_ref().map(|h| self.turn_at(h.head().size));
        let turn = self.turn_at(size);
        if last.map_or(turn > 0, |last| last < turn) {
            let after = Some(head.clone());
            // A head of no records leads nobody anywhere.
            let before = before.filter(|h| h.head().size > 0);
            self.transitions.insert(turn, Transition { before, after });
        }
        self.witness = betanet_log::Witness::resume(Some(head), None);
        Accepted::Extends
    }

    /// Number of the set that signs heads of `size` records.
    fn turn_at(&self, size: u64) -> u64 {
        let turns = self.state.turns.iter().filter(|t| t.from <= size);
        (turns.count() as u64).saturating_sub(1)
    }

    /// Takes the records that follow the final ones, from a log that `head` covers. `proof` shows that the log up to the last of
    /// them is the beginning of the head's.
    ///
    /// Under a head of the set in force, they are final at once. Under a head of a set that is to come, they wait until the head is
    /// reached. Returns the effect of each record; one that does not count stands in the log and changes nothing.
    ///
    /// # Errors
    ///
    /// [`HeadFault`]. Nothing changed, except that waiting records may be gone.
    pub fn extend(
        &mut self,
        records: &[Verified],
        head: &SignedHead,
        proof: &Path,
    ) -> Result<Vec<Result<Effect, Reject>>, HeadFault> {
        if self.split().is_some() {
            return Err(HeadFault::Split);
        }
        let name = hash(&[head.signed_bytes()]);
        if self.follows != Some(name) {
            self.take_back(self.fixed);
        }
        let (from, to) = (self.log.size(), head.head().size);
        let mut edge = self.log.edge().clone();
        for record in records {
            edge.append(record.leaf());
        }
        let connects = verify_consistency(edge.size(), to, &edge.root(), &head.head().root, proof);
        if !connects {
            return Err(HeadFault::Proof);
        }
        let current = self.signers().map(Signers::hash).copied();
        let known = current == Some(head.head().set);
        if known && let Some(signers) = self.signers() {
            head.check(DOMAIN, signers)?;
        }
        let bytes = records.iter().map(|r| r.bytes().len()).sum();
        let room = self.has_room(records.len(), bytes);
        if !room || (!known && to - self.fixed > WAITING_MAX as u64) {
            return Err(HeadFault::TooFar);
        }
        let effects = records.iter().map(|record| self.follow(record)).collect();
        self.follows = Some(name);
        if self.log.size() == to {
            if let Err(fault) = self.check_set(head) {
                self.take_back(self.fixed);
                return Err(fault);
            }
            self.newest(head.clone());
        } else if known {
            // A rotation on the way to a head that the old set signed.
            if self.signers().map(Signers::hash).copied() != current {
                self.take_back(from);
                return Err(HeadFault::WrongSet);
            }
            self.fix(self.log.size());
        }
        Ok(effects)
    }

    /// Index of the next record that [`Ledger::extend`] takes under a head.
    #[must_use]
    pub fn next_under(&self, head: &SignedHead) -> u64 {
        match self.follows == Some(hash(&[head.signed_bytes()])) {
            true => self.log.size(),
            false => self.fixed,
        }
    }

    /// Compares the newest head with a larger one, by the root and proof that somebody gives for it. Returns whether the larger
    /// head extends the newest; a contradiction is a split.
    ///
    /// # Errors
    ///
    /// [`HeadFault`]; [`HeadFault::Proof`] shows only that the sender is wrong.
    pub fn connect(&mut self, head: &SignedHead, link: Link) -> Result<Accepted, HeadFault> {
        if self.split().is_some() {
            return Err(HeadFault::Split);
        }
        let set = self.state.signers_named(&head.head().set);
        let set = set.cloned().ok_or(HeadFault::UnknownSet)?;
        // The witness that learns of the new head is a copy: its records are not here yet.
        let mut witness = self.witness.clone();
        match witness.offer(DOMAIN, &set, head.clone(), Some(link))? {
            Verdict::Split => {
                self.witness = witness;
                self.take_back(self.fixed);
                Ok(Accepted::Split)
            }
            Verdict::Extends => Ok(Accepted::Extends),
            Verdict::Older => Ok(Accepted::Older),
            Verdict::Same => Ok(Accepted::Same),
            Verdict::Unproven { .. } => Err(HeadFault::Proof),
        }
    }

    /// Takes evidence of a split that another node found. Both heads have to be signed by sets that this ledger knows.
    ///
    /// # Errors
    ///
    /// [`HeadFault`]: it is no evidence, or not for this ledger.
    pub fn accuse(&mut self, split: Split) -> Result<(), HeadFault> {
        let named = |head: &SignedHead| {
            let set = self.state.signers_named(&head.head().set);
            set.cloned().ok_or(HeadFault::UnknownSet)
        };
        let (old, new) = (named(split.older())?, named(split.newer())?);
        self.witness.accuse(DOMAIN, &old, &new, split)?;
        self.take_back(self.fixed);
        Ok(())
    }

    /// The head to give to a node that has `size` records: the newest that it can check with the signers that it knows, or the first
    /// under the set after those.
    #[must_use]
    pub fn head_for(&self, size: u64) -> Option<&SignedHead> {
        let newest = self.head()?;
        let turn = self.turn_at(size);
        let next = self.transitions.range(turn + 1..).next();
        match next {
            None => Some(newest),
            Some((_, Transition { before, after })) => {
                let before = before.as_ref().filter(|h| h.head().size > size);
                before.or(after.as_ref()).or(Some(newest))
            }
        }
    }
}
