//! The intervals that coordinator and workers compute alike.

use betanet_wire::NodeId;

use crate::{Offline, Policy, Retry, TaskId, draw, label};

/// Shortest base of the interval between a node's beats.
const BEAT_LEAST_MS: u64 = 30_000;
/// Time that a stopped copy's fence outlives the stop, beside a hundredth of its time.
const STOP_MARGIN_MS: u64 = 10_000;

/// The remainder of a draw, which fits where its modulus does.
fn remainder(drawn: u128, modulus: u64) -> u64 {
    u64::try_from(drawn % u128::from(modulus.max(1))).unwrap_or(0)
}

impl Retry {
    /// The delay after the fault of this number, counted from 1, in ms: half of it is drawn.
    #[must_use]
    pub fn delay(self, task: &TaskId, fault: u64) -> u64 {
        let doublings = u32::try_from(fault.saturating_sub(1)).unwrap_or(u32::MAX);
        let longest = 1_u64
            .checked_shl(doublings)
            .and_then(|factor| self.base.checked_mul(factor))
            .map_or(self.cap, |ms| ms.min(self.cap));
        let drawn = draw(label::RETRY, &[&task.0, &fault.to_be_bytes()]);
        longest - remainder(drawn, longest / 2 + 1)
    }
}

/// What a coordinator tells a node about its next beat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Interval {
    /// Time until the node beats again, in ms.
    pub ttl: u64,
    /// Silence after which the node is offline, in ms.
    pub down: u64,
}

impl Interval {
    /// The interval after the beat `seq` of a node, in a cluster that knows so many nodes.
    #[must_use]
    pub fn after(node: NodeId, seq: u64, known: u64) -> Self {
        let base = known.max(BEAT_LEAST_MS);
        let drawn = draw(label::BEAT, &[&node.0, &seq.to_be_bytes()]);
        let spread = remainder(drawn, base / 4 + 1);
        Self {
            ttl: (base - base / 8).saturating_add(spread),
            down: base.saturating_mul(3),
        }
    }
}

/// Longest silence that a takeover forgives.
const AMNESTY_MS: u64 = 300_000;

/// The beat that a node which is not offline counts as having sent at a takeover. `at` is 10 s after the leader's first commit.
#[must_use]
pub const fn amnesty(at: u64, down: u64) -> u64 {
    at.saturating_add(AMNESTY_MS.saturating_sub(down))
}

impl Policy {
    /// Moment at which the fence of a silent node's copy dies. `last` is the node's last beat in ms, `down` its last answer's.
    #[must_use]
    pub const fn fence_dies(self, last: u64, down: u64) -> u64 {
        let silence = match self.rule {
            Offline::Stop => {
                let stop = self.ms.saturating_add(self.ms / 100 + STOP_MARGIN_MS);
                if stop > down { stop } else { down }
            }
            Offline::Keep => down.saturating_add(self.ms),
            Offline::Replace => down,
        };
        last.saturating_add(silence)
    }

    /// Moment at which the worker itself stops the copy. `answered` is when it sent its last answered beat, in ms; `None` means never.
    #[must_use]
    pub const fn worker_stops(self, answered: u64, down: u64) -> Option<u64> {
        match self.rule {
            Offline::Stop => {
                let least = (down / 5)
                    .saturating_mul(4)
                    .saturating_add(down % 5 * 4 / 5);
                let silence = if self.ms > least { self.ms } else { least };
                Some(answered.saturating_add(silence))
            }
            Offline::Keep | Offline::Replace => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_retry_waits_half_to_all_of_a_doubling_delay(
            id in any::<[u8; 32]>(), fault in prop_oneof![1..25_u64, any::<u64>()],
            base in 100..86_400_000_u64, more in 0..86_400_000_u64,
        ) {
            let retry = Retry { most: 20, base, cap: base + more };
            let delay = retry.delay(&TaskId(id), fault);
            let doubled = u128::from(base) << (fault.max(1) - 1).min(40);
            let longest = u64::try_from(doubled.min(u128::from(retry.cap))).unwrap();
            prop_assert!((longest - longest / 2..=longest).contains(&delay));
        }

        #[test]
        fn a_beat_comes_within_an_eighth_of_its_base(
            id in any::<[u8; 20]>(), seq in any::<u64>(), known in 0..1_000_000_u64,
        ) {
            let base = known.max(30_000);
            let Interval { ttl, down } = Interval::after(NodeId(id), seq, known);
            prop_assert!((base - base / 8..=base - base / 8 + base / 4).contains(&ttl));
            prop_assert_eq!(down, 3 * base);
        }

        #[test]
        fn a_worker_stops_before_its_fence_dies(
            ms in 0..2_592_000_000_u64, down in 90_000..3_000_000_u64, last in 0..u64::MAX / 2,
        ) {
            let stop = Policy { rule: Offline::Stop, ms };
            let stops = stop.worker_stops(last, down);
            prop_assert!(stops.is_some_and(|at| at < stop.fence_dies(last, down)));
            for rule in [Offline::Keep, Offline::Replace] {
                prop_assert_eq!(Policy { rule, ms }.worker_stops(last, down), None);
            }
        }
    }
}
