//! Nodes that could hold a task once their copies have ended.

use alloc::vec::Vec;

use betanet_fog::Resources;
use betanet_wire::NodeId;

use crate::placer::Placer;
use crate::query::Query;
use crate::request::Request;

impl Placer {
    /// Nodes that pass all tests but those of free resources, and have enough beside lots that are set aside: up to `most`, the
    /// least loaded first. Tasks of reservations have none. The cost grows with the number of nodes.
    pub fn could_hold(&mut self, now: u64, request: &Request<'_>, most: usize) -> Vec<NodeId> {
        if request.reservation.is_some() {
            return Vec::new();
        }
        self.fleet.advance(now);
        let query = Query::new(&mut self.fleet, request, now);
        let fleet = &self.fleet;
        let mut found = Vec::new();
        for (slot, node) in fleet.nodes() {
            if query.unfit(fleet, slot, node).is_some() || query.dear(node).is_some() {
                continue;
            }
            let mut lots = fleet.lots.values().filter(|l| l.slot == slot);
            let taken = lots.try_fold(Resources::ZERO, |sum, l| sum.checked_add(l.account.cap()));
            let left = taken.and_then(|t| node.account.cap().checked_sub(&t));
            if left.is_some_and(|left| request.resources.fits(&left)) {
                found.push(node.key(slot, node.load_rank()));
            }
        }
        found.sort_unstable();
        found.truncate(most);
        let ids = found.iter().filter_map(|k| fleet.node(k.slot));
        ids.map(|n| n.id).collect()
    }
}
