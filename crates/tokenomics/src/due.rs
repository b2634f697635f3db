//! Events that happen by themselves, in the order of time, class and key.

use crate::Asset;
use crate::account::{BACKING, ESCROW, ISSUANCE, MICRO, RESERVE, TREASURY, UNBONDING};
use crate::apply::EVENTS_MAX;
use crate::rows::{class, stage};
use crate::state::Economy;
use crate::table::Due;

impl Economy {
    /// When the next event is due, in UNIX ms.
    #[must_use]
    pub fn next_due(&self) -> u64 {
        self.first_due().0
    }

    fn epoch_due(&self) -> Due {
        (self.genesis.epoch_end(self.epoch()), class::EPOCH)
    }

    fn first_due(&self) -> Due {
        let t = &self.t;
        let rows = [
            t.holds.first_due().map(|(due, _)| due),
            t.reservations.first_due().map(|(due, _)| due),
            t.unbondings.first_due().map(|(due, _)| due),
            t.redelegations.first_due().map(|(due, _)| due),
            t.keysets.first_due().map(|(due, _)| due),
            t.proposals.first_due().map(|(due, _)| due),
        ];
        let first = rows.into_iter().flatten().min();
        first.map_or(self.epoch_due(), |due| due.min(self.epoch_due()))
    }

    /// Number of events that are due, each ended epoch counting; a number above 256 may be too low.
    pub(crate) fn count_due(&self, now: u64) -> usize {
        const MOST: usize = EVENTS_MAX + 1;
        let since = now.checked_sub(self.genesis.t0);
        let ended = since.map_or(0, |ms| ms / self.genesis.epoch_ms);
        let epochs = ended.saturating_sub(self.epoch());
        let t = &self.t;
        let rows = t.holds.count_due(now, MOST)
            + t.reservations.count_due(now, MOST)
            + t.unbondings.count_due(now, MOST)
            + t.redelegations.count_due(now, MOST)
            + t.keysets.count_due(now, MOST)
            + t.proposals.count_due(now, MOST);
        usize::try_from(epochs).unwrap_or(MOST).min(MOST) + rows
    }

    /// Lets the first event at or before a time happen; whether there was one.
    pub(crate) fn happen(&mut self, now: u64) -> bool {
        let (at, class) = self.first_due();
        if at > now {
            return false;
        }
        match class {
            class::EPOCH => self.end_epoch(at),
            class::HOLD => {
                if let Some((_, key)) = self.t.holds.first_due() {
                    let key = *key;
                    if let Some(hold) = self.t.holds.get(&key).cloned() {
                        self.post(&key.0, &hold, 0);
                    }
                }
            }
            class::RESERVATION => {
                if let Some((_, key)) = self.t.reservations.first_due() {
                    let key = *key;
                    self.return_reservation(&key.0);
                }
            }
            class::UNBONDING => {
                if let Some((_, key)) = self.t.unbondings.first_due() {
                    let key = *key;
                    if let Some(row) = self.t.unbondings.remove(&key) {
                        self.shift(UNBONDING, key.1, Asset::Fog, row.amt);
                    }
                }
            }
            class::REDELEGATION => {
                if let Some((_, key)) = self.t.redelegations.first_due() {
                    let key = *key;
                    self.t.redelegations.remove(&key);
                }
            }
            class::SWEEP => self.sweep(),
            _ => self.end_of_proposal(at),
        }
        true
    }

    /// Ends a reservation and returns what is left of it, each in its asset.
    pub(crate) fn return_reservation(&mut self, id: &crate::Id) {
        if let Some(row) = self.t.reservations.remove(&(*id,)) {
            let fog = row.amt.saturating_sub(row.credit);
            self.shift(ESCROW, row.client, Asset::Fog, fog);
            self.shift(ESCROW, BACKING, Asset::Fog, row.credit);
            self.shift(ISSUANCE, row.client, Asset::Credits, row.credit);
        }
    }

    /// Vouchers that nobody redeemed in time go to the treasury.
    fn sweep(&mut self) {
        let Some((_, key)) = self.t.keysets.first_due() else {
            return;
        };
        let key = *key;
        let Some(mut keyset) = self.t.keysets.get(&key).cloned() else {
            return;
        };
        let left = keyset.issued.saturating_sub(keyset.redeemed);
        self.shift(RESERVE, ISSUANCE, Asset::Units, left);
        let fog = left.saturating_mul(MICRO);
        self.shift(RESERVE, TREASURY, Asset::Fog, fog);
        keyset.redeemed = keyset.issued;
        keyset.swept.0 = true;
        self.t.keysets.set(key, keyset);
    }

    fn end_of_proposal(&mut self, at: u64) {
        let Some((_, key)) = self.t.proposals.first_due() else {
            return;
        };
        let key = *key;
        let Some(mut proposal) = self.t.proposals.get(&key).cloned() else {
            return;
        };
        match proposal.stage {
            stage::OPEN => self.end_vote(key.0, proposal, at),
            _ => {
                proposal.stage = stage::EXPIRED;
                self.t.proposals.set(key, proposal);
            }
        }
    }
}
