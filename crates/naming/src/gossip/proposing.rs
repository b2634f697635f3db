//! Records that wait for a head, as a node that signs or submits arranges them; and restoring.

use alloc::vec::Vec;

use betanet_log::{SignedHead, Split};

use super::Gossip;
use crate::{Effect, HeadFault, Reject, Verified};

impl Gossip {
    /// Replaces all records that wait by these, in their order. Returns the index and effect of each, or why it does not count.
    pub fn propose(
        &mut self,
        unix_ms: u64,
        records: &[Verified],
    ) -> Vec<Result<(u64, Effect), Reject>> {
        self.ledger.drop_waiting();
        let apply = |record| self.ledger.apply_verified(unix_ms, record);
        records.iter().map(apply).collect()
    }

    /// As [`super::Command::Submit`], of a record whose signatures were verified elsewhere.
    ///
    /// # Errors
    ///
    /// As [`crate::Ledger::apply`].
    pub fn submit(&mut self, unix_ms: u64, record: &Verified) -> Result<(u64, Effect), Reject> {
        self.ledger.apply_verified(unix_ms, record)
    }

    /// Restores a record, as [`crate::Ledger::replay`].
    ///
    /// # Errors
    ///
    /// As [`crate::Ledger::replay`].
    pub fn replay(&mut self, record: &Verified) -> Result<(), Reject> {
        self.ledger.replay(record)
    }

    /// Restores a head, as [`crate::Ledger::replay_head`].
    ///
    /// # Errors
    ///
    /// As [`crate::Ledger::replay_head`].
    pub fn replay_head(&mut self, head: SignedHead) -> Result<(), HeadFault> {
        self.ledger.replay_head(head)
    }

    /// Restores evidence of a split.
    ///
    /// # Errors
    ///
    /// As [`crate::Ledger::accuse`].
    pub fn replay_split(&mut self, split: Split) -> Result<(), HeadFault> {
        self.ledger.accuse(split)?;
        self.told_split = true;
        Ok(())
    }
}
