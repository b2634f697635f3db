//! The relay that a client enters by: few meet everybody's clients if nobody changes it often (E-35).

use betanet_machine::Rng;
use betanet_wire::NodeId;

use crate::directory::Topology;

/// How long a guard is kept.
pub const GUARD_MS: u64 = 90 * 24 * 3600 * 1000;

/// A client's guard.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Guard {
    /// Which relay.
    pub node: NodeId,
    /// When it was drawn, UNIX milliseconds.
    pub since_ms: u64,
}

impl Guard {
    /// Draws one by weight from all relays, whatever their layer; `None` where there is none.
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

    /// Whether it is still to be used: it is listed, and its 90 days are not over.
    #[must_use]
    pub fn stands(&self, unix_ms: u64, topology: &Topology) -> bool {
        topology.find(self.node).is_some() && unix_ms < self.since_ms.saturating_add(GUARD_MS)
    }
}
