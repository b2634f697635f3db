//! The head of an epoch in the ledger of names: one record an epoch, made by the leader and signed by maintainers.

use betanet_journal::Record as Journaled;
use betanet_log::{Hash, SignedHead, Signers};

use super::{Books, journaled};
use crate::anchor::{anchor, anchored, made};
use crate::body::domain;

/// Reason why maintainers here do not sign a record, or why a head of the ledger of names is not this ledger's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AnchorFault {
    /// The record does not read, or is of another ledger.
    #[error("the record is none of a head of this ledger")]
    Form,
    /// The head is not final here yet.
    #[error("the head covers {head} records, and {here} are final here")]
    Early { head: u64, here: u64 },
    /// The head contradicts the records here.
    #[error("the head of {0} records contradicts the final records here")]
    Differs(u64),
    /// Too few of the ledger's signers signed the head.
    #[error("the head: {0}")]
    Head(#[from] betanet_log::Error),
    /// The epoch did not begin yet.
    #[error("epoch {0} did not begin yet")]
    Epoch(u64),
    /// Maintainers here signed a record of a later head.
    #[error("a head of more records than {0} was signed before")]
    Older(u64),
    /// Maintainers here signed another record of this epoch, or one of a later one.
    #[error("another record was signed for epoch {0}")]
    Twice(u64),
}

impl Books {
    /// As the leader: the record of an epoch's head for the ledger of names. It is made once, so whoever leads later posts the same. One
    /// that is over, because it stands or never will, is followed by that of the present epoch.
    pub(super) fn anchor(
        &mut self,
        list: Hash,
        over: bool,
        out: &mut Vec<Journaled>,
    ) -> Option<Vec<u8>> {
        let head = self.head.as_ref()?;
        let epoch = self.served.epoch();
        let last = self.anchor.as_deref().and_then(made);
        if last.is_none_or(|last| over && last < epoch) {
            let record = anchor(self.setup.genesis.id(), epoch, head, list);
            out.extend(journaled::anchor(&record));
            self.anchor = Some(record);
        }
        self.anchor.clone()
    }

    /// As a follower: notes the leader's record, which maintainers here may sign then.
    pub(super) fn countersign(
        &mut self,
        record: Vec<u8>,
        out: &mut Vec<Journaled>,
    ) -> Result<(), AnchorFault> {
        if self.anchor.as_ref() == Some(&record) {
            return Ok(());
        }
        let read = anchored(&record).filter(|read| read.genesis == *self.setup.genesis.id());
        let read = read.ok_or(AnchorFault::Form)?;
        let last = self.anchor.as_deref().and_then(made);
        if last.is_some_and(|last| read.epoch <= last) {
            return Err(AnchorFault::Twice(read.epoch));
        }
        // A later record with an older head would hide what was cut off.
        let size = read.head.head().size;
        let before = self.anchor.as_deref().and_then(anchored);
        if before.is_some_and(|before| before.head.head().size > size) {
            return Err(AnchorFault::Older(size));
        }
        if read.epoch > self.served.epoch() {
            return Err(AnchorFault::Epoch(read.epoch));
        }
        self.agrees(&read.head)?;
        self.check_signed(&read.head)?;
        out.extend(journaled::anchor(&record));
        self.anchor = Some(record);
        Ok(())
    }

    /// Whether the signers of the newest final head, or those of the next one, signed a head.
    fn check_signed(&self, head: &SignedHead) -> Result<(), AnchorFault> {
        let named = |set: &&Signers| *set.hash() == head.head().set;
        let newest = self.signed_by.as_ref().filter(named);
        let set = newest.or(self.signers().filter(named));
        let set = set.ok_or(AnchorFault::Differs(head.head().size))?;
        Ok(head.check(domain(self.setup.genesis.id()), set)?)
    }

    /// Whether a head is of the final records here.
    pub(super) fn agrees(&self, head: &SignedHead) -> Result<(), AnchorFault> {
        let (head, here) = (head.head(), self.final_size());
        if head.size > here {
            let head = head.size;
            return Err(AnchorFault::Early { head, here });
        }
        match self.log.root_at(head.size) {
            Ok(root) if root == head.root => Ok(()),
            _ => Err(AnchorFault::Differs(head.size)),
        }
    }
}
