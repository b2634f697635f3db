//! Who may stand here, and how fast a peer may open streams.

use alloc::collections::BTreeMap;
use core::net::IpAddr;

use betanet_machine::Time;
use betanet_wire::NodeId;

use crate::{Policy, Prefix};

/// Peers whose spent opens are remembered, at most.
const PEERS_MAX: usize = 65_536;
/// One open, in the unit that a bucket counts in.
const ONE: u64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Millionths of an open.
    level: u64,
    at: Time,
}

/// Counts finished handshakes by address and stream opens by peer; refusing leaves nothing behind.
#[derive(Clone, Debug)]
pub struct Admission {
    per_address: usize,
    full: u64,
    refill: u64,
    standing: BTreeMap<Prefix, usize>,
    spent: BTreeMap<NodeId, Bucket>,
}

impl Admission {
    /// Nobody stands yet.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        Self {
            per_address: policy.per_address,
            full: u64::from(policy.opens.0) * ONE,
            refill: u64::from(policy.opens.1),
            standing: BTreeMap::new(),
            spent: BTreeMap::new(),
        }
    }

    /// A handshake from `ip` is finished; `false` when as many stand from there as may.
    pub fn enter(&mut self, ip: IpAddr) -> bool {
        let source = Prefix::source(ip);
        let standing = self.standing.get(&source).copied().unwrap_or(0);
        if standing >= self.per_address {
            return false;
        }
        self.standing.insert(source, standing + 1);
        true
    }

    /// One that entered has left.
    pub fn leave(&mut self, ip: IpAddr) {
        let source = Prefix::source(ip);
        match self.standing.get_mut(&source) {
            Some(n) if *n > 1 => *n -= 1,
            _ => {
                self.standing.remove(&source);
            }
        }
    }

    /// Connections that stand from an address.
    #[must_use]
    pub fn standing(&self, ip: IpAddr) -> usize {
        self.standing.get(&Prefix::source(ip)).copied().unwrap_or(0)
    }

    /// A peer opens a stream; `false` when it has opened too many.
    pub fn open(&mut self, now: Time, peer: NodeId) -> bool {
        let (full, refill) = (self.full, self.refill);
        let level = |b: &Bucket| {
            let micros = u64::try_from((now - b.at).as_micros()).unwrap_or(u64::MAX);
            full.min(b.level.saturating_add(micros.saturating_mul(refill)))
        };
        if self.spent.len() >= PEERS_MAX && !self.spent.contains_key(&peer) {
            self.spent.retain(|_, b| level(b) < full);
            if self.spent.len() >= PEERS_MAX {
                return false;
            }
        }
        let had = self.spent.get(&peer).map_or(full, level);
        let Some(left) = had.checked_sub(ONE) else {
            return false;
        };
        self.spent.insert(
            peer,
            Bucket {
                level: left,
                at: now,
            },
        );
        true
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
        let at = |ms: u64| Time::ZERO + Duration::from_millis(ms);
        assert_eq!((0..200).filter(|_| a.open(at(0), peer)).count(), 100);
        assert!(a.open(at(0), other));
        assert!(!a.open(at(49), peer));
        assert!(a.open(at(50), peer) && !a.open(at(50), peer));
        assert_eq!((0..200).filter(|_| a.open(at(2_050), peer)).count(), 40);
        assert_eq!((0..200).filter(|_| a.open(at(999_000), peer)).count(), 100);
    }
}
