//! The interfaces between a relay and what counts: the metrics of paths, and the accounts with peers.

use betanet_wire::{ChargeTo, NodeId};

/// The outcome of a path header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PathOutcome {
    /// The path ends at this node.
    Exit,
    /// The header was sent to the next hop.
    Onward,
    /// The header was refused.
    Refused,
}

/// Counts events of paths over a relay. `()` counts nothing.
pub trait CountPaths: Send + Sync {
    /// A path header had this outcome.
    fn path(&self, _outcome: PathOutcome) {}

    /// A stream of a path was passed on to the next hop.
    fn stream(&self) {}
}

impl CountPaths for () {}

/// Counts bytes that nodes forward for each other: of relayed streams, and of packets.
pub trait CountPeers: Send + Sync {
    /// Whether a peer may begin a stream through this node. A stream that runs is not asked about again.
    fn admits(&self, peer: &NodeId, charge: ChargeTo) -> bool;

    /// This node forwarded bytes for a peer.
    fn given(&self, peer: &NodeId, charge: ChargeTo, bytes: u64);

    /// A peer was sent bytes to forward for this node. The party of the session that caused it is charged for the count.
    fn taken(&self, peer: &NodeId, charge: ChargeTo, bytes: u64);
}
