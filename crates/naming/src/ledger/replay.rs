//! Restoring a ledger from this node's own records, which were final before.

use betanet_log::SignedHead;

use super::Ledger;
use crate::fault::HeadFault;
use crate::{Reject, Verified};

impl Ledger {
    /// Appends a record that was final before, from this node's own storage: without a head, and in its old place. Records that wait
    /// are dropped.
    ///
    /// # Errors
    ///
    /// [`Reject`] of a record that stands in the log and changes nothing, as it did before.
    pub fn replay(&mut self, record: &Verified) -> Result<(), Reject> {
        self.drop_waiting();
        let effect = self.follow(record);
        self.fix(self.size());
        effect.map(drop)
    }

    /// Takes a head that was accepted before, from this node's own storage. Its records were replayed.
    ///
    /// # Errors
    ///
    /// [`HeadFault::Proof`] if it is not a head of these records.
    pub fn replay_head(&mut self, head: SignedHead) -> Result<(), HeadFault> {
        let size = head.head().size;
        if size > self.final_size() || self.log().root_at(size)? != head.head().root {
            return Err(HeadFault::Proof);
        }
        self.newest(head);
        Ok(())
    }
}
