//! Limits of connections by address, and of stream opens by peer.

use alloc::collections::BTreeMap;
use core::net::IpAddr;

use betanet_machine::Time;
use betanet_wire::{ChargeTo, NodeId};

use crate::{Policy, Prefix};

/// Most peers, and charged parties, whose spent opens are remembered.
const SPENT_MAX: usize = 65_536;
/// One open, in the bucket's unit.
const ONE: u64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Remaining opens, in millionths.
    level: u64,
    at: Time,
}

/// Counts finished handshakes by address and stream opens by peer. A refusal keeps no state.
#[derive(Clone, Debug)]
pub struct Admission {
    per_address: usize,
    standing: BTreeMap<Prefix, usize>,
    opens: Buckets<NodeId>,
    charged: Buckets<ChargeTo>,
}

impl Admission {
    /// Creates counters without connections.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        Self {
            per_address: policy.per_address,
            standing: BTreeMap::new(),
            opens: Buckets::new(policy.opens, 1),
            charged: Buckets::new(policy.opens, policy.per_address),
        }
    }

    /// Counts a finished handshake from `ip`; `false` when the address has its maximum of connections.
    pub fn enter(&mut self, ip: IpAddr) -> bool {
        let source = Prefix::source(ip);
        let standing = self.standing.get(&source).copied().unwrap_or(0);
        if standing >= self.per_address {
            return false;
        }
        self.standing.insert(source, standing + 1);
        true
    }

    /// Removes a connection that was counted.
    pub fn leave(&mut self, ip: IpAddr) {
        let source = Prefix::source(ip);
        match self.standing.get_mut(&source) {
            Some(n) if *n > 1 => *n -= 1,
            _ => {
                self.standing.remove(&source);
            }
        }
    }

    /// Current connections of an address.
    #[must_use]
    pub fn standing(&self, ip: IpAddr) -> usize {
        self.standing.get(&Prefix::source(ip)).copied().unwrap_or(0)
    }

    /// Counts a stream open of a peer, charged to `charge`; `false` when the peer or the charged party is over its limit.
    pub fn open(&mut self, now: Time, peer: NodeId, charge: ChargeTo) -> bool {
        let of_peer = self.opens.take(now, peer);
        // Identities are free: those of one address open no faster than as many as may stand from there.
        let of_charge = self.charged.take(now, charge);
        let (Some(of_peer), Some(of_charge)) = (of_peer, of_charge) else {
            return false;
        };
        self.opens.set(now, peer, of_peer);
        self.charged.set(now, charge, of_charge);
        true
    }
}

/// Token buckets by key.
#[derive(Clone, Debug)]
struct Buckets<K> {
    full: u64,
    refill: u64,
    spent: BTreeMap<K, Bucket>,
}

impl<K: Ord> Buckets<K> {
    fn new(opens: (u32, u32), times: usize) -> Self {
        let times = u64::try_from(times).unwrap_or(u64::MAX);
        Self {
            full: u64::from(opens.0).saturating_mul(times).saturating_mul(ONE),
            refill: u64::from(opens.1).saturating_mul(times),
            spent: BTreeMap::new(),
        }
    }

    fn level(&self, now: Time, bucket: &Bucket) -> u64 {
        let micros = u64::try_from((now - bucket.at).as_micros()).unwrap_or(u64::MAX);
        let more = micros.saturating_mul(self.refill);
        self.full.min(bucket.level.saturating_add(more))
    }

    /// The level after one more open; `None` if there is none left.
    fn take(&mut self, now: Time, who: K) -> Option<u64> {
        if self.spent.len() >= SPENT_MAX && !self.spent.contains_key(&who) {
            let full = self.full;
            let mut spent = core::mem::take(&mut self.spent);
            spent.retain(|_, b| self.level(now, b) < full);
            self.spent = spent;
            if self.spent.len() >= SPENT_MAX {
                return None;
            }
        }
        let bucket = self.spent.get(&who);
        let had = bucket.map_or(self.full, |b| self.level(now, b));
        had.checked_sub(ONE)
    }

    fn set(&mut self, now: Time, who: K, level: u64) {
        self.spent.insert(who, Bucket { level, at: now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn eight_of_one_address_stand_and_the_next_waits_for_one_to_leave() {
        let mut a = Admission::new(&Policy::default());
        let ip = "192.0.2.7".parse().unwrap();
        assert!((0..8).all(|_| a.enter(ip)));
        assert!(!a.enter(ip) && !a.enter("::ffff:192.0.2.7".parse().unwrap()));
        assert!(a.enter("192.0.2.8".parse().unwrap()));
        a.leave(ip);
        assert!(a.enter(ip) && !a.enter(ip));
        for _ in 0..9 {
            a.leave(ip);
        }
        assert_eq!(a.standing(ip), 0);
    }

    #[test]
    fn a_56_of_ipv6_is_one_address() {
        let mut a = Admission::new(&Policy::default());
        let one = "2001:db8:0:100::1".parse().unwrap();
        let same = "2001:db8:0:1fe::9".parse().unwrap();
        assert!((0..8).all(|_| a.enter(one)));
        assert!(!a.enter(same));
    }

    #[test]
    fn a_hundred_opens_at_once_and_twenty_a_second_after() {
        let mut a = Admission::new(&Policy::default());
        let (peer, other) = (NodeId([1; 20]), NodeId([2; 20]));
        let open = |a: &mut Admission, at, peer| a.open(at, peer, ChargeTo::V4([192, 0, 2, 7]));
        let at = |ms: u64| Time::ZERO + Duration::from_millis(ms);
        assert_eq!((0..200).filter(|_| open(&mut a, at(0), peer)).count(), 100);
        assert!(open(&mut a, at(0), other));
        assert!(!open(&mut a, at(49), peer));
        assert!(open(&mut a, at(50), peer) && !open(&mut a, at(50), peer));
        assert_eq!(
            (0..200).filter(|_| open(&mut a, at(2_050), peer)).count(),
            40
        );
        assert_eq!(
            (0..200).filter(|_| open(&mut a, at(999_000), peer)).count(),
            100
        );
    }

    #[test]
    fn free_identities_of_one_address_open_no_faster_than_those_that_may_stand_there() {
        let mut a = Admission::new(&Policy::default());
        let at = |ms: u64| Time::ZERO + Duration::from_millis(ms);
        let (charge, other) = (ChargeTo::V4([192, 0, 2, 7]), ChargeTo::V4([192, 0, 2, 8]));
        let mut opens = |ms, charge| {
            let peers = (0..200_u8).flat_map(|n| [NodeId([n; 20]); 50]);
            peers.filter(|p| a.open(at(ms), *p, charge)).count()
        };
        assert_eq!(opens(0, charge), 800);
        assert_eq!(opens(1_000, charge), 160);
        assert_eq!(opens(1_000, other), 800);
    }
}
