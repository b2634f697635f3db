//! The replay memory: no path header counts twice.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::time::Duration;

use betanet_machine::Time;
use betanet_wire::{ChargeTo, NodeId};

/// Time for which a header is remembered.
pub const REMEMBERED: Duration = Duration::from_secs(600);
/// One peer's share of the memory. One address has two, for all of its peers together.
const SHARE: usize = 64;

/// Key of a header: its sender, and the two numbers of its segment.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Seen {
    prev: NodeId,
    expiry: u32,
    timestamp: u64,
}

/// Reason for not accepting a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Again {
    /// The header was received in the last 10 minutes.
    Seen,
    /// The memory, or the share of this peer or its address, is full. No header is forgotten early.
    Full,
}

/// Number of remembered headers of each peer or address.
#[derive(Clone, Debug)]
pub(crate) struct Counts<K>(BTreeMap<K, usize>);

impl<K: Ord> Counts<K> {
    pub(crate) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub(crate) fn of(&self, key: &K) -> usize {
        self.0.get(key).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(n) = self.0.get_mut(key) {
            *n -= 1;
            if *n == 0 {
                self.0.remove(key);
            }
        }
    }
}

/// Headers of the last 10 minutes, up to a bound. One peer has at most 1/64 of it, and one address 1/32.
#[derive(Clone, Debug)]
pub(crate) struct Replays {
    bound: usize,
    seen: BTreeSet<Seen>,
    order: VecDeque<(Time, Seen, ChargeTo)>,
    peers: Counts<NodeId>,
    charges: Counts<ChargeTo>,
}

impl Replays {
    pub(crate) const fn new(bound: usize) -> Self {
        Self {
            bound,
            seen: BTreeSet::new(),
            order: VecDeque::new(),
            peers: Counts::new(),
            charges: Counts::new(),
        }
    }

    /// Most headers in the memory.
    pub(crate) const fn bound(&self) -> usize {
        self.bound
    }

    /// Most headers of one peer.
    pub(crate) fn share(&self) -> usize {
        (self.bound / SHARE).max(1)
    }

    /// Most headers of one address.
    pub(crate) fn charge_share(&self) -> usize {
        self.share().saturating_mul(2)
    }

    /// Remembered headers.
    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    /// Remembers a header; fails the second time.
    pub(crate) fn take(
        &mut self,
        now: Time,
        (prev, charge): (NodeId, ChargeTo),
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
        let spent =
            self.peers.of(&prev) >= self.share() || self.charges.of(&charge) >= self.charge_share();
        if self.seen.len() >= self.bound || spent {
            return Err(Again::Full);
        }
        self.seen.insert(seen);
        self.order.push_back((now, seen, charge));
        self.peers.add(prev);
        self.charges.add(charge);
        Ok(())
    }

    fn forget(&mut self, now: Time) {
        while let Some((at, seen, charge)) = self.order.front().copied()
            && at + REMEMBERED <= now
        {
            self.order.pop_front();
            self.seen.remove(&seen);
            self.peers.remove(&seen.prev);
            self.charges.remove(&charge);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Time {
        Time::from_micros(secs * 1_000_000)
    }

    /// A peer at an address of its own.
    fn of(n: u8) -> (NodeId, ChargeTo) {
        (NodeId([n; 20]), ChargeTo::V4([192, 0, 2, n]))
    }

    #[test]
    fn free_identities_of_one_address_have_two_shares() {
        let mut replays = Replays::new(640);
        let charge = ChargeTo::V4([192, 0, 2, 1]);
        let mut take = |n, timestamp| replays.take(at(0), (NodeId([n; 20]), charge), 5, timestamp);
        let taken = (0..64).flat_map(|n| (0..10).map(move |t| (n, t)));
        let taken = taken.filter(|(n, t)| take(*n, *t).is_ok()).count();
        assert_eq!(taken, 20);
        assert_eq!(take(99, 1), Err(Again::Full));
        assert_eq!(replays.take(at(0), of(2), 5, 6), Ok(()));
        assert_eq!(replays.take(at(600), of(1), 5, 6), Ok(()));
    }

    #[test]
    fn a_header_counts_once_in_ten_minutes() {
        let mut replays = Replays::new(640);
        let prev = 1;
        assert_eq!(replays.take(at(0), of(prev), 5, 6), Ok(()));
        assert_eq!(replays.take(at(599), of(prev), 5, 6), Err(Again::Seen));
        assert_eq!(replays.take(at(599), of(prev), 5, 7), Ok(()));
        assert_eq!(replays.take(at(599), of(2), 5, 6), Ok(()));
        assert_eq!(replays.take(at(600), of(prev), 5, 6), Ok(()));
    }

    #[test]
    fn one_peer_fills_its_share_and_no_more_and_nothing_is_forgotten_early() {
        let mut replays = Replays::new(128);
        for n in 0..64 {
            assert_eq!(replays.take(at(0), of(n), 0, 1), Ok(()));
            assert_eq!(replays.take(at(0), of(n), 0, 2), Ok(()));
            assert_eq!(replays.take(at(0), of(n), 0, 3), Err(Again::Full));
        }
        assert_eq!(replays.len(), 128);
        assert_eq!(replays.take(at(1), of(99), 0, 1), Err(Again::Full));
        assert_eq!(replays.take(at(1), of(0), 0, 1), Err(Again::Seen));
        assert_eq!(replays.take(at(600), of(99), 0, 1), Ok(()));
        assert_eq!((replays.len(), replays.peers.0.len()), (1, 1));
        assert_eq!(replays.charges.0.len(), 1);
    }
}
