//! Copies that a record of the journal placed.

use betanet_fog::{Resource, Strategy};
use betanet_wire::NodeId;

use crate::node::Live;
use crate::placer::{Error, NewCopy, Placer};
use crate::request::Request;

impl Placer {
    /// Counts a copy that another placer put on this node and these devices, without any test: so the capacity may be lower by now.
    ///
    /// Nothing changes for a copy that is counted already. Under `round_robin` the node gets the next turn, as in [`Self::place`].
    ///
    /// # Errors
    ///
    /// The node is not known. Nothing has changed.
    pub fn adopt(
        &mut self,
        now: u64,
        request: &Request<'_>,
        copy: NewCopy,
        node: &NodeId,
        devices: u64,
    ) -> Result<(), Error> {
        self.fleet.advance(now);
        if self.fleet.copies.contains_key(&copy.fence) {
            return Ok(());
        }
        let slot = self.fleet.slot(node).ok_or(Error::Node)?;
        let want = request.resources;
        let lots = request.reservation.filter(|id| self.fleet.lots.contains_key(*id));
        let mask = if want.get(Resource::Gpu) == 0 { 0 } else { devices };
        let grant = self.fleet.hold(slot, lots, want, mask).ok_or(Error::Node)?;
        let live = Live {
            slot,
            group: self.fleet.groups.enter(request.ns, request.group),
            tier: request.tier,
            prio: request.prio,
            preempted: request.preempted,
            drawn: request.rule() == Strategy::PrivacyAware,
            lots: lots.copied(),
        };
        self.fleet.insert(copy.fence, live, grant);
        if request.rule() == Strategy::RoundRobin {
            self.fleet.next_turn(slot);
        }
        Ok(())
    }
}
