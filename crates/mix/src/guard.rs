//! The guard: the relay by which a client enters. Clients that change it rarely expose themselves to few relays (E-35).

use betanet_machine::Rng;
use betanet_wire::NodeId;

use crate::directory::Topology;

/// Time for which a guard is kept.
pub const GUARD_MS: u64 = 90 * 24 * 3600 * 1000;

/// A client's guard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Guard {
    /// NodeID of the relay.
    pub node: NodeId,
    /// Time when it was drawn, UNIX milliseconds.
    pub since_ms: u64,
}

impl Guard {
    /// Draws a guard by weight from the relays of all layers; `None` if there are none.
    #[must_use]
    pub fn draw(unix_ms: u64, topology: &Topology, rng: &mut Rng) -> Option<Self> {
        let weight = |at: usize| u64::from(topology.relays()[at].weight);
        let all = || 0..topology.relays().len();
        let total: u64 = all().map(weight).sum();
        if total == 0 {
            return None;
        }
        let mut ticket = rng.below(total);
        let drawn = all().find(|at| {
            let found = ticket < weight(*at);
            ticket = ticket.wrapping_sub(weight(*at));
            found
        })?;
        Some(Self {
            node: topology.relays()[drawn].node,
            since_ms: unix_ms,
        })
    }

    /// Whether the guard is listed and younger than 90 days.
    #[must_use]
    pub fn stands(&self, unix_ms: u64, topology: &Topology) -> bool {
        topology.find(self.node).is_some() && unix_ms < self.since_ms.saturating_add(GUARD_MS)
    }
}
