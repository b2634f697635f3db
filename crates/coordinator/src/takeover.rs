//! The clemency of a new leader.

/// Time from a new leader's first commit to the moment from which its nodes count, in ms.
pub const TAKEOVER: u64 = 10_000;

/// Silence that every node is allowed after a takeover, in ms.
const AMNESTY: u64 = 300_000;

/// The time at which a node that was not offline counts as having beaten, where T is `at`, in ms.
#[must_use]
pub const fn amnesty(at: u64, down: u64) -> u64 {
    at.saturating_add(AMNESTY.saturating_sub(down))
}
