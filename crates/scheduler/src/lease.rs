//! How long fences live, when beats come, when retries start.

use betanet_fog::{Offline, TaskId, draw, label};
use betanet_wire::NodeId;

/// Shortest interval of beats, in ms.
const BEAT: u64 = 30_000;

/// How long after the first commit of a new leader the fences of silent nodes live at least, in ms.
const AMNESTY: u64 = 300_000;

/// A part of a drawn number below `modulus`.
fn part(number: u128, modulus: u64) -> u64 {
    let rest = number % u128::from(modulus.max(1));
    u64::try_from(rest).unwrap_or(0)
}

/// Base interval of beats in ms, so that all nodes send at most 1 000 a second.
#[must_use]
pub const fn beat_base(nodes: u64) -> u64 {
    if nodes > BEAT { nodes } else { BEAT }
}

/// When a node sends its next beat, in ms from now.
#[must_use]
pub fn beat_ttl(nodes: u64, node: &NodeId, seq: u64) -> u64 {
    let base = beat_base(nodes);
    let number = draw(label::BEAT, &[&node.0, &seq.to_be_bytes()]);
    base - base / 8 + part(number, base / 4 + 1)
}

/// Silence after which a node is offline, in ms.
#[must_use]
pub const fn beat_down(nodes: u64) -> u64 {
    beat_base(nodes).saturating_mul(3)
}

/// Delay of the retry after fault number `fault`, which counts from 1, in ms.
#[must_use]
pub fn retry_delay(task: &TaskId, fault: u64, base: u64, cap: u64) -> u64 {
    let doublings = u32::try_from(fault.saturating_sub(1)).unwrap_or(u32::MAX);
    let grown = u128::from(base).checked_shl(doublings.min(64));
    let d = grown
        .and_then(|g| u64::try_from(g).ok())
        .map_or(cap, |g| g.min(cap));
    let number = draw(label::RETRY, &[task, &fault.to_be_bytes()]);
    d - part(number, d / 2 + 1)
}

/// When the fences on a node die whose last beat came at `last`, in ms. `down` is what its last answer said.
#[must_use]
pub const fn fence_dies(policy: Offline, ms: u64, last: u64, down: u64) -> u64 {
    let after = match policy {
        Offline::Stop => {
            let stopped = ms.saturating_add(ms / 100).saturating_add(10_000);
            if stopped > down { stopped } else { down }
        }
        Offline::Keep => down.saturating_add(ms),
        Offline::Replace => down,
    };
    last.saturating_add(after)
}

/// How long after the last answered beat the worker stops a copy of policy `stop`, in ms.
#[must_use]
pub const fn worker_stops(ms: u64, down: u64) -> u64 {
    let least = down / 5 * 4 + down % 5 * 4 / 5;
    if ms > least { ms } else { least }
}

/// The beat that a new leader assumes of every node that is not offline, in ms. `at` is 10 s after its first commit.
#[must_use]
pub const fn amnesty(at: u64, down: u64) -> u64 {
    at.saturating_add(AMNESTY.saturating_sub(down))
}

/// How fast the fences of a zone's silent nodes die.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Brake {
    /// All at once.
    All,
    /// Those of so many nodes each 10 s, longest silent first.
    Slow(u64),
    /// None: no node is left in any zone, so the fault is here.
    None,
}

/// The brake of one zone.
///
/// `offline` of its nodes went offline in the last 10 minutes, `left` are active or draining. `elsewhere` is the number of
/// active and draining nodes of all zones.
#[must_use]
pub const fn brake(offline: u64, left: u64, elsewhere: u64) -> Brake {
    if elsewhere == 0 {
        Brake::None
    } else if offline >= 3 && 10 * offline > 3 * (offline + left) {
        Brake::Slow(offline.div_ceil(60))
    } else {
        Brake::All
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_stops_before_its_fence_dies() {
        for down in [90_000, 90_003, 300_000, 3_000_000] {
            for ms in [0, 1, 71_999, 80_000, 600_000, 86_400_000] {
                assert!(worker_stops(ms, down) < fence_dies(Offline::Stop, ms, 0, down));
            }
        }
    }
}
