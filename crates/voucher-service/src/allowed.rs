//! What payers may ask for: each address for itself, and all callers over the mix together.

use std::sync::{Mutex, PoisonError};

use betanet_machine::Time;
use betanet_vouchers::{Allowance, Limits};
use betanet_wire::ChargeTo;

/// Callers over the mix have so many times the allowance of an address together.
const OVER_MIX: u32 = 16;

/// The allowance of all callers over the mix together, beside that of one address.
pub(crate) const fn over_mix(one: Allowance) -> Allowance {
    Allowance {
        requests: one.requests.saturating_mul(OVER_MIX),
        vouchers: one.vouchers.saturating_mul(OVER_MIX),
        ..one
    }
}

/// What one address may have swapped in a day. Swaps cost nothing, and what the spender remembers of them lasts as long as the keyset:
/// at this pace one address needs years to fill the room for all.
pub(crate) const SWAPS_A_DAY: Allowance = swaps_a_day(1_024);

/// So many swaps a day, of eight vouchers and points each on average.
pub(crate) const fn swaps_a_day(requests: u32) -> Allowance {
    Allowance {
        window: 86_400_000_000,
        requests,
        vouchers: requests.saturating_mul(8),
        forged: 0,
    }
}

/// All callers over the mix together may have so many times as much swapped. In the 89 days of a keyset of the least life and its grace
/// they fill three eighths of the room.
const SWAPS_OVER_MIX: u32 = 8;

/// What all callers over the mix together may have swapped in a day.
pub(crate) const fn swaps_over_mix(one: Allowance) -> Allowance {
    Allowance {
        requests: one.requests.saturating_mul(SWAPS_OVER_MIX),
        vouchers: one.vouchers.saturating_mul(SWAPS_OVER_MIX),
        ..one
    }
}

/// Counts what is asked for. `None` stands for callers over the mix.
#[derive(Debug)]
pub(crate) struct Allowed(Mutex<(Limits, Limits)>);

impl Allowed {
    pub(crate) const fn new(each: Allowance, over_mix: Allowance) -> Self {
        Self(Mutex::new((Limits::new(each), Limits::new(over_mix))))
    }

    fn with<T>(&self, by: Option<ChargeTo>, f: impl FnOnce(&mut Limits, ChargeTo) -> T) -> T {
        let mut limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match by {
            Some(charge) => f(&mut limits.0, charge),
            None => f(&mut limits.1, ChargeTo::Unknown),
        }
    }

    /// Number of refused requests: of addresses, and over the mix.
    pub(crate) fn refused(&self) -> (u64, u64) {
        let limits = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (limits.0.refused, limits.1.refused)
    }

    /// Charges a request with so many vouchers or points; whether it is within the allowance.
    pub(crate) fn charge(&self, now: Time, by: Option<ChargeTo>, vouchers: usize) -> bool {
        self.with(by, |limits, charge| limits.charge(now, charge, vouchers))
    }

    /// Charges for vouchers that are forged, or may be.
    pub(crate) fn charge_forged(&self, now: Time, by: Option<ChargeTo>, forged: usize) {
        self.with(by, |limits, charge| {
            limits.charge_forged(now, charge, forged);
        });
    }

    /// Gives back what was charged at a time for vouchers that turned out good.
    pub(crate) fn give_back(&self, charged: Time, by: Option<ChargeTo>, good: usize) {
        self.with(by, |limits, charge| limits.give_back(charged, charge, good));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_or_the_mix_does_not_fill_the_room_for_swaps() {
        use betanet_vouchers::bank::{ANSWERS_MAX, GRANTED_MAX, SWAPS_MAX};
        let (one, mix) = (SWAPS_A_DAY, swaps_over_mix(SWAPS_A_DAY));
        let day = |n: u64| Time::from_micros(n * SWAPS_A_DAY.window);
        let allowed = Allowed::new(one, mix);
        let address = Some(ChargeTo::V4([1, 2, 3, 4]));
        // What each of them has swapped in 89 days at most: as many vouchers as points in each request.
        for (payer, part) in [(address, 1), (None, 6)] {
            let (mut vouchers, mut requests) = (0_usize, 0_usize);
            for n in 0..89 {
                while allowed.charge(day(n), payer, 2 * 512) {
                    vouchers += 512;
                }
                while allowed.charge(day(n), payer, 0) {
                    requests += 1;
                }
            }
            // Answers are kept for 30 days.
            let answers = requests * 30 / 89;
            let of = |n: usize, most: usize| 16 * n <= part * most;
            assert!(vouchers > 0 && of(vouchers, SWAPS_MAX) && of(vouchers, GRANTED_MAX));
            assert!(requests > 0 && of(answers, ANSWERS_MAX), "{answers}");
        }
        // Others still swap.
        let other = Some(ChargeTo::V4([1, 2, 3, 5]));
        assert!(allowed.charge(day(88), other, 1_024));
    }

    #[test]
    fn callers_over_the_mix_share_sixteen_allowances_and_take_none_of_an_address() {
        let one = Allowance {
            requests: 2,
            ..Allowance::default()
        };
        let allowed = Allowed::new(one, over_mix(one));
        let address = Some(ChargeTo::V4([1, 2, 3, 4]));
        let taken = (0..40).filter(|_| allowed.charge(Time::ZERO, None, 1));
        assert_eq!(taken.count(), 32);
        let taken = (0..5).filter(|_| allowed.charge(Time::ZERO, address, 1));
        assert_eq!(taken.count(), 2);
        // Those whose address is not known are one payer more, and no callers over the mix.
        assert!(allowed.charge(Time::ZERO, Some(ChargeTo::Unknown), 1));
    }
}
