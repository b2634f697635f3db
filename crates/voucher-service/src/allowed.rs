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
