//! Intervals of heartbeats, and the clemency of a new leader.

use betanet_fog::{draw, label};
use betanet_wire::NodeId;

/// Least interval between the beats of a node, in ms.
const BASE: u64 = 30_000;

/// Time from a new leader's first commit to the moment from which its nodes count, in ms.
pub const TAKEOVER: u64 = 10_000;

/// Silence that every node is allowed after a takeover, in ms.
const AMNESTY: u64 = 300_000;

/// Base interval in ms. It rises with the number of known nodes, so that 1 000 beats/s arrive at most.
#[must_use]
pub const fn base(known: u64) -> u64 {
    if known > BASE { known } else { BASE }
}

/// Silence in ms after which a node is offline.
#[must_use]
pub const fn down(known: u64) -> u64 {
    base(known).saturating_mul(3)
}

/// Time in ms until a node's next beat. It differs by node and beat, so that nodes do not beat together.
#[must_use]
pub fn ttl(node: &NodeId, seq: u64, known: u64) -> u64 {
    let base = base(known);
    let drawn = draw(label::BEAT, &[&node.0, &seq.to_be_bytes()]);
    let within = drawn % u128::from(base / 4 + 1);
    (base - base / 8).saturating_add(u64::try_from(within).unwrap_or(base / 4))
}

/// The time at which a node that was not offline counts as having beaten, where T is `at`, in ms.
#[must_use]
pub const fn amnesty(at: u64, down: u64) -> u64 {
    at.saturating_add(AMNESTY.saturating_sub(down))
}
