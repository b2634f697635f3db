//! Reservations of resources, and what a restored placer is told.

use betanet_fog::Resources;

use super::Fleet;
use crate::account::{Account, Grant};
use crate::lots::Lots;

impl Fleet {
    /// Reserves resources on a node, or in lots that are set aside there.
    pub(crate) fn reserve(
        &mut self,
        slot: u32,
        lots: Option<&[u8; 16]>,
        want: &Resources,
    ) -> Option<Grant> {
        match lots {
            Some(id) => self.lots.get_mut(id)?.account.reserve(want),
            None => self.node_mut(slot)?.account.reserve(want),
        }
    }

    /// Reserves what a journal says is reserved.
    pub(crate) fn impose(
        &mut self,
        slot: u32,
        lots: Option<&[u8; 16]>,
        want: &Resources,
        devices: u64,
    ) -> Option<Grant> {
        match lots {
            Some(id) => self.lots.get_mut(id)?.account.impose(want, devices),
            None => self.node_mut(slot)?.account.impose(want, devices),
        }
    }

    /// The last turn that was given.
    pub(crate) fn turn(&self) -> u64 {
        self.turn
    }

    /// Sets the last turn that was given.
    pub(crate) fn set_turn(&mut self, turn: u64) {
        self.turn = turn;
    }

    /// Sets a node's turn, its failures in a row, and its rest.
    pub(crate) fn stand(&mut self, slot: u32, turn: u64, failures: u32, rests_until: u64) {
        let Some(node) = self.node_mut(slot) else {
            return;
        };
        node.turn = turn;
        node.failures = failures;
        let old = core::mem::replace(&mut node.rests_until, rests_until);
        self.rests.remove(&(old, slot));
        if rests_until > self.now {
            self.rests.insert((rests_until, slot));
        }
        self.refresh(slot);
    }

    /// Gives back what was reserved without a copy.
    pub(crate) fn release(&mut self, slot: u32, grant: Grant) {
        if let Some(node) = self.node_mut(slot) {
            node.account.release(grant);
        }
        self.refresh(slot);
    }

    /// Sets resources of a node aside, if they are free.
    pub(crate) fn open_lots(&mut self, slot: u32, id: [u8; 16], amounts: &Resources) -> bool {
        let Some(grant) = self.reserve(slot, None, amounts) else {
            return false;
        };
        self.keep_lots(slot, id, amounts, grant);
        true
    }

    /// Keeps lots whose resources are reserved.
    pub(crate) fn keep_lots(&mut self, slot: u32, id: [u8; 16], amounts: &Resources, grant: Grant) {
        let lots = Lots {
            slot,
            account: Account::new(*amounts),
            grant,
            over: false,
        };
        self.lots.insert(id, lots);
        self.refresh(slot);
    }

    /// Gives lots back whose hour is over and which no copy uses.
    pub(crate) fn close_lots(&mut self, id: &[u8; 16]) {
        let unused = |l: &Lots| l.over && *l.account.reserved() == Resources::ZERO;
        if self.lots.get(id).is_some_and(unused)
            && let Some(lots) = self.lots.remove(id)
        {
            self.release(lots.slot, lots.grant);
        }
    }
}
