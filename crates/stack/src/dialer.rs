use alloc::collections::BTreeMap;
use core::time::Duration;

use betanet_keys::PublicKey;
use betanet_machine::{Rng, Seed, Time};

/// Age at which a session is replaced by a fresh one.
pub const RENEW_AFTER: Duration = Duration::from_secs(24 * 3600);

const FIRST: Duration = Duration::from_secs(1);
const CAP: Duration = Duration::from_secs(120);
const FAILURES: u32 = 5;
const REST: Duration = Duration::from_secs(600);

/// Maximum number of remembered peers; the one that has rested longest is evicted first.
const PEERS_MAX: usize = 4096;

/// Whether a peer may be dialled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Dial {
    /// The peer may be dialled now.
    Now,
    /// The earliest time of the next attempt.
    At(Time),
}

#[derive(Debug)]
struct Record {
    failures: u32,
    not_before: Time,
}

/// Dial schedule of each peer: backoff from 1 s, doubled to 2 min, with full jitter. 5 failures in a row cause a rest of 10 min.
#[derive(Debug)]
pub struct Dialer {
    rng: Rng,
    peers: BTreeMap<PublicKey, Record>,
}

impl Dialer {
    /// A schedule without failures.
    #[must_use]
    pub fn new(seed: &Seed) -> Self {
        Self {
            rng: Rng::new(seed),
            peers: BTreeMap::new(),
        }
    }

    /// Whether `peer` may be dialled now.
    #[must_use]
    pub fn may_dial(&self, now: Time, peer: &PublicKey) -> Dial {
        match self.peers.get(peer) {
            Some(r) if r.not_before > now => Dial::At(r.not_before),
            _ => Dial::Now,
        }
    }

    /// Records that a session opened, which resets the backoff.
    pub fn succeeded(&mut self, peer: &PublicKey) {
        self.peers.remove(peer);
    }

    /// Records that the peer is reachable but has no room. The backoff grows as after a failure, but never leads to a rest.
    /// Returns the time of the next attempt.
    pub fn refused(&mut self, now: Time, peer: &PublicKey) -> Time {
        if let Some(record) = self.peers.get_mut(peer)
            && (record.failures + 1).is_multiple_of(FAILURES)
        {
            record.failures -= 1;
        }
        self.failed(now, peer)
    }

    /// Records a failed attempt and returns the time of the next one.
    pub fn failed(&mut self, now: Time, peer: &PublicKey) -> Time {
        if !self.peers.contains_key(peer) && self.peers.len() >= PEERS_MAX {
            let oldest = self.peers.iter().min_by_key(|(_, r)| r.not_before);
            if let Some(key) = oldest.map(|(k, _)| *k) {
                self.peers.remove(&key);
            }
        }
        let record = self.peers.entry(*peer).or_insert(Record {
            failures: 0,
            not_before: now,
        });
        record.failures += 1;
        let wait = if record.failures.is_multiple_of(FAILURES) {
            REST
        } else {
            let doublings = (record.failures % FAILURES - 1).min(16);
            let most = (FIRST * 2u32.pow(doublings)).min(CAP);
            let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
            Duration::from_micros(self.rng.below(micros + 1))
        };
        record.not_before = now + wait;
        record.not_before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use betanet_keys::Identity;

    #[test]
    fn waits_double_under_full_jitter_and_the_fifth_failure_rests() {
        let peer = *Identity::from_seed(&[1; 32]).public();
        let mut longest = [Duration::ZERO; 5];
        for seed in 0..200 {
            let mut d = Dialer::new(&Seed::from_number(seed));
            let mut now = Time::ZERO;
            for most in &mut longest {
                let at = d.failed(now, &peer);
                *most = (*most).max(at - now);
                assert_eq!(d.may_dial(at, &peer), Dial::Now);
                now = at;
            }
        }
        for (n, cap) in [1, 2, 4, 8].into_iter().enumerate() {
            let cap = Duration::from_secs(cap);
            assert!(
                longest[n] <= cap && longest[n] > cap * 9 / 10,
                "{longest:?}"
            );
        }
        assert_eq!(longest[4], REST);
    }

    #[test]
    fn a_peer_that_refuses_is_asked_later_and_never_rests() {
        let peer = *Identity::from_seed(&[1; 32]).public();
        let mut d = Dialer::new(&Seed::from_number(3));
        let mut now = Time::ZERO;
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            let at = d.refused(now, &peer);
            longest = longest.max(at - now);
            now = at;
        }
        assert!(longest <= Duration::from_secs(8) && longest > Duration::from_secs(4));
        // Earlier failures count as one.
        assert_eq!(d.failed(now, &peer) - now, REST);
    }

    #[test]
    fn success_forgets() {
        let peer = *Identity::from_seed(&[1; 32]).public();
        let mut d = Dialer::new(&Seed::from_number(1));
        while d.failed(Time::ZERO, &peer) == Time::ZERO {}
        assert_ne!(d.may_dial(Time::ZERO, &peer), Dial::Now);
        d.succeeded(&peer);
        assert_eq!(d.may_dial(Time::ZERO, &peer), Dial::Now);
    }
}
