//! Records that were submitted, and that no head covers yet.

use std::collections::VecDeque;

use betanet_naming::{CLOCK_MS, Verified, WAITING_MAX};
use bytes::Bytes;

/// Most bytes of all records that wait.
const BYTES_MAX: usize = 16 << 20;

#[derive(Clone, Debug)]
struct Waits {
    number: u64,
    /// UNIX milliseconds at which it came.
    at: u64,
    record: Verified,
}

/// At most 4 096 records and 16 MiB, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Pool {
    all: VecDeque<Waits>,
    bytes: usize,
    last: u64,
}

impl Pool {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Number of the record that came last.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.all.len() < WAITING_MAX && self.bytes + bytes <= BYTES_MAX
    }

    pub(super) fn position(&self, record: &Bytes) -> Option<usize> {
        self.all.iter().position(|w| w.record.bytes() == record)
    }

    pub(super) fn push(&mut self, at: u64, record: Verified) {
        self.last += 1;
        self.bytes += record.bytes().len();
        let number = self.last;
        self.all.push_back(Waits { number, at, record });
    }

    pub(super) fn all(&self) -> Vec<Verified> {
        self.all.iter().map(|w| w.record.clone()).collect()
    }

    /// Removes those at the positions that are `true`.
    pub(super) fn remove(&mut self, gone: &[bool]) {
        let mut gone = gone.iter();
        self.all.retain(|_| !gone.next().copied().unwrap_or(false));
        self.count();
    }

    /// Removes those whose time is over: a record is signed within 10 minutes of its time. Returns whether there were any.
    pub(super) fn expire(&mut self, unix_ms: u64) -> bool {
        let before = self.all.len();
        let lives = |w: &Waits| unix_ms.abs_diff(w.at) <= 2 * CLOCK_MS;
        self.all.retain(lives);
        self.count();
        before != self.all.len()
    }

    fn count(&mut self) {
        self.bytes = self.all.iter().map(|w| w.record.bytes().len()).sum();
    }

    /// Records that came after this number, with their numbers.
    pub(super) fn after(&self, number: u64, most: usize) -> Vec<(u64, Bytes)> {
        let later = self.all.iter().filter(|w| w.number > number);
        let each = later.map(|w| (w.number, w.record.bytes().clone()));
        each.take(most).collect()
    }

    /// Records with the times at which they came.
    pub(super) fn timed(&self) -> impl Iterator<Item = (u64, &Bytes)> {
        self.all.iter().map(|w| (w.at, w.record.bytes()))
    }
}

#[cfg(test)]
mod tests {
    use betanet_naming::testkit::{Network, T0, owner};

    use super::*;

    #[test]
    fn records_that_wait_are_bounded_and_forgotten_in_time() {
        let network = Network::new(3, 0);
        let record = network.bound("a", &owner(1), 1, T0);
        let verified = Verified::new(record.clone(), &network.genesis().signers);
        let mut pool = Pool::default();
        for n in 0..WAITING_MAX as u64 {
            assert!(pool.has_room(record.len()));
            pool.push(T0 + n, verified.clone());
        }
        assert!(!pool.has_room(record.len()));
        assert_eq!((pool.last(), pool.len()), (4096, 4096));
        // The first two are too old.
        assert!(pool.expire(T0 + 2 + 2 * CLOCK_MS));
        assert_eq!((pool.len(), pool.bytes), (4094, 4094 * record.len()));
        assert!(!pool.expire(T0 + 2 + 2 * CLOCK_MS));
        let later: Vec<u64> = pool.after(4000, 3).iter().map(|(n, _)| *n).collect();
        assert_eq!(later, [4001, 4002, 4003]);
        pool.remove(&[true, false, true]);
        assert_eq!(pool.len(), 4092);
        // By bytes.
        let mut pool = Pool::default();
        assert!(pool.has_room(BYTES_MAX) && !pool.has_room(BYTES_MAX + 1));
        pool.push(T0, verified);
        assert!(!pool.has_room(BYTES_MAX));
    }
}
