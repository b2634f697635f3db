//! The ledger of one alias, for a signer without a network.

use alloc::vec::Vec;

use betanet_log::Signers;

use super::state::{Held, History, KEPT, Turn};
use super::{Genesis, Ledger};
use crate::{Finalized, Reject};

impl Ledger {
    /// A ledger that knows the last of these sets of signers, and of one alias alone the records that proofs showed to be final,
    /// oldest first. It serves to check what comes next; its log is empty, so it gives no heads or proofs.
    ///
    /// # Errors
    ///
    /// [`Reject::Signers`] for fewer than three signers, or other first ones. [`Reject::SeqReplay`] for records whose `seq` does not
    /// rise, or of several aliases.
    pub fn of_alias(
        genesis: &Genesis,
        sets: &[Signers],
        records: &[Finalized],
    ) -> Result<Self, Reject> {
        let mut this = Self::new(genesis)?;
        let (first, later) = sets.split_first().ok_or(Reject::Signers)?;
        if *first != genesis.signers {
            return Err(Reject::Signers);
        }
        let turns = (1..).zip(later).map(|(seq, signers)| Turn {
            from: 0,
            seq,
            rotation: [0; 32],
            signers: signers.clone(),
        });
        this.state.turns.extend(turns);
        let mut held: Vec<Held> = Vec::new();
        for (index, f) in (0..).zip(records) {
            let (seq, last) = (f.record().seq, held.first().map_or(0, |h| h.seq));
            let same = records.iter().all(|r| r.record().alias == f.record().alias);
            if !same || (seq <= last && !held.is_empty()) {
                return Err(Reject::SeqReplay { seq, last });
            }
            held.insert(0, this.state.held(index, f, &[]));
            held.truncate(KEPT);
        }
        if let Some(newest) = records.last() {
            let history = History { held, rival: None };
            this.state
                .names
                .insert(newest.record().alias.clone(), history);
        }
        Ok(this)
    }
}
