//! Refused requests that each address may make: they cost a signature's verification, and no fee.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use betanet_wire::ChargeTo;
use tokio::time::Instant;

/// Refused requests of one address at once. All callers over the mix together have eight times as many.
const REFUSED_AT_ONCE: u32 = 64;
/// Refused requests of one address a second, once those are used.
const REFUSED_A_SECOND: u32 = 4;
/// Share of the callers over the mix, who have no address.
const OVER_MIX: u32 = 8;
/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 4096;

type Full = BTreeMap<Option<ChargeTo>, Instant>;

/// Time by which an address has all its refusals again, if that is later than now.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<Full>);

const fn share(charge: Option<ChargeTo>) -> u32 {
    match charge {
        Some(_) => 1,
        None => OVER_MIX,
    }
}

fn one(charge: Option<ChargeTo>) -> Duration {
    Duration::from_secs(1) / (REFUSED_A_SECOND * share(charge))
}

impl Rates {
    fn locked(&self) -> MutexGuard<'_, Full> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an address may be refused once more. Over the mix there is no address.
    pub(crate) fn allows(&self, charge: Option<ChargeTo>, now: Instant) -> bool {
        let mut full = self.locked();
        if full.len() >= ADDRESSES_MAX && !full.contains_key(&charge) {
            full.retain(|_, at| *at > now);
            if full.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let all = one(charge) * (REFUSED_AT_ONCE * share(charge));
        let at = full.get(&charge).copied().unwrap_or(now);
        at.max(now) + one(charge) <= now + all
    }

    /// Notes that an address was refused.
    pub(crate) fn refused(&self, charge: Option<ChargeTo>, now: Instant) {
        let mut full = self.locked();
        if full.len() >= ADDRESSES_MAX && !full.contains_key(&charge) {
            return;
        }
        let at = full.entry(charge).or_insert(now);
        *at = (*at).max(now) + one(charge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> Option<ChargeTo> {
        Some(ChargeTo::V4(n.to_be_bytes()))
    }

    #[test]
    fn an_address_is_refused_64_times_at_once_and_4_a_second() {
        let (rates, now) = (Rates::default(), Instant::now());
        let refused = |charge, now| {
            let mut n = 0;
            while rates.allows(charge, now) {
                rates.refused(charge, now);
                n += 1;
            }
            n
        };
        assert_eq!(refused(address(1), now), 64);
        assert_eq!(refused(address(1), now + Duration::from_secs(1)), 4);
        assert_eq!(refused(address(2), now), 64, "others are not charged");
        assert_eq!(refused(None, now), 512);
    }

    #[test]
    fn addresses_that_are_remembered_are_4096() {
        let (rates, now) = (Rates::default(), Instant::now());
        for n in 0..4096 {
            assert!(rates.allows(address(n), now));
            rates.refused(address(n), now);
        }
        assert!(!rates.allows(address(5000), now) && rates.allows(address(1), now));
        assert!(rates.allows(address(5000), now + Duration::from_secs(1)));
        assert!(rates.locked().is_empty());
    }
}
