//! What was seen: no path header counts twice.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::time::Duration;

use betanet_machine::Time;
use betanet_wire::NodeId;

/// How long a header is remembered.
pub const REMEMBERED: Duration = Duration::from_secs(600);
/// One peer's share of the memory.
const SHARE: usize = 64;

/// What makes a header one and no other: who sent it, and the two numbers of its segment.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Seen {
    prev: NodeId,
    expiry: u32,
    timestamp: u64,
}

/// Why a header is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Again {
    /// It was here in the last 10 minutes.
    Seen,
    /// There is no room, altogether or for this peer. Nothing is forgotten early.
    Full,
}

/// Headers seen in the last 10 minutes, up to a bound, of which one peer has at most 1/64.
#[derive(Clone, Debug)]
pub(crate) struct Replays {
    bound: usize,
    seen: BTreeSet<Seen>,
    order: VecDeque<(Time, Seen)>,
    shares: BTreeMap<NodeId, usize>,
}

impl Replays {
    pub(crate) const fn new(bound: usize) -> Self {
        Self {
            bound,
            seen: BTreeSet::new(),
            order: VecDeque::new(),
            shares: BTreeMap::new(),
        }
    }

    /// How many headers may be remembered.
    pub(crate) const fn bound(&self) -> usize {
        self.bound
    }

    /// How many of them one peer may bring.
    pub(crate) fn share(&self) -> usize {
        (self.bound / SHARE).max(1)
    }

    /// How many are remembered.
    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    /// Remembers a header, once.
    pub(crate) fn take(
        &mut self,
        now: Time,
        prev: NodeId,
        expiry: u32,
        timestamp: u64,
    ) -> Result<(), Again> {
        self.forget(now);
        let seen = Seen {
            prev,
            expiry,
            timestamp,
        };
        if self.seen.contains(&seen) {
            return Err(Again::Seen);
        }
        let share = self.shares.get(&prev).copied().unwrap_or(0);
        if self.seen.len() >= self.bound || share >= self.share() {
            return Err(Again::Full);
        }
        self.seen.insert(seen);
        self.order.push_back((now, seen));
        self.shares.insert(prev, share + 1);
        Ok(())
    }

    fn forget(&mut self, now: Time) {
        while let Some((at, seen)) = self.order.front().copied()
            && at + REMEMBERED <= now
        {
            self.order.pop_front();
            self.seen.remove(&seen);
            if let Some(share) = self.shares.get_mut(&seen.prev) {
                *share -= 1;
                if *share == 0 {
                    self.shares.remove(&seen.prev);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Time {
        Time::from_micros(secs * 1_000_000)
    }

    #[test]
    fn a_header_counts_once_in_ten_minutes() {
        let mut replays = Replays::new(640);
        let prev = NodeId([1; 20]);
        assert_eq!(replays.take(at(0), prev, 5, 6), Ok(()));
        assert_eq!(replays.take(at(599), prev, 5, 6), Err(Again::Seen));
        assert_eq!(replays.take(at(599), prev, 5, 7), Ok(()));
        assert_eq!(replays.take(at(599), NodeId([2; 20]), 5, 6), Ok(()));
        assert_eq!(replays.take(at(600), prev, 5, 6), Ok(()));
    }

    #[test]
    fn one_peer_fills_its_share_and_no_more_and_nothing_is_forgotten_early() {
        let mut replays = Replays::new(128);
        for n in 0..64 {
            let peer = NodeId([n; 20]);
            assert_eq!(replays.take(at(0), peer, 0, 1), Ok(()));
            assert_eq!(replays.take(at(0), peer, 0, 2), Ok(()));
            assert_eq!(replays.take(at(0), peer, 0, 3), Err(Again::Full));
        }
        assert_eq!(replays.len(), 128);
        assert_eq!(
            replays.take(at(1), NodeId([99; 20]), 0, 1),
            Err(Again::Full)
        );
        assert_eq!(replays.take(at(1), NodeId([0; 20]), 0, 1), Err(Again::Seen));
        assert_eq!(replays.take(at(600), NodeId([99; 20]), 0, 1), Ok(()));
        assert_eq!((replays.len(), replays.shares.len()), (1, 1));
    }
}
