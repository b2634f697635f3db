//! Requests with a body that each address may make, because signatures are verified for them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use betanet_wire::ChargeTo;
use tokio::time::Instant;

/// Requests of one address at once. All callers over the mix together have eight times as many.
const POSTS_AT_ONCE: u32 = 64;
/// Requests of one address a second, once those are used.
const POSTS_A_SECOND: u32 = 8;
/// Share of the callers over the mix, who have no address.
const OVER_MIX: u32 = 8;
/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 4096;

/// Time by which an address has all its requests again, if that is later than now.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<BTreeMap<Option<ChargeTo>, Instant>>);

impl Rates {
    /// Takes one request of an address; of the mix, without an address. Returns whether there is one.
    pub(crate) fn take(&self, charge: Option<ChargeTo>, now: Instant) -> bool {
        let share = charge.map_or(OVER_MIX, |_| 1);
        let one = Duration::from_secs(1) / (POSTS_A_SECOND * share);
        let all = one * (POSTS_AT_ONCE * share);
        let mut full = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if full.len() >= ADDRESSES_MAX && !full.contains_key(&charge) {
            full.retain(|_, at| *at > now);
            if full.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let at = full.entry(charge).or_insert(now);
        let next = (*at).max(now) + one;
        let taken = next <= now + all;
        if taken {
            *at = next;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> Option<ChargeTo> {
        Some(ChargeTo::V4(n.to_be_bytes()))
    }

    #[test]
    fn an_address_has_64_requests_at_once_and_8_a_second() {
        let (rates, now) = (Rates::default(), Instant::now());
        let taken = |charge, now| (0..1000).filter(|_| rates.take(charge, now)).count();
        assert_eq!(taken(address(1), now), 64);
        assert_eq!(taken(address(1), now + Duration::from_secs(1)), 8);
        assert_eq!(taken(address(2), now), 64, "others are not charged");
        assert_eq!(taken(None, now), 512);
        assert_eq!(taken(address(1), now + Duration::from_secs(60)), 64);
    }

    #[test]
    fn addresses_that_are_remembered_are_4096() {
        let (rates, now) = (Rates::default(), Instant::now());
        for n in 0..4096 {
            assert!(rates.take(address(n), now));
        }
        assert!(!rates.take(address(5000), now) && rates.take(address(1), now));
        // Those that have all their requests again are forgotten.
        let later = now + Duration::from_secs(1);
        assert!(rates.take(address(5000), later));
        assert_eq!(rates.0.lock().unwrap().len(), 1);
    }
}
