use alloc::collections::BTreeMap;

use betanet_machine::Time;
use betanet_wire::ChargeTo;

/// Payers that are counted at once; more share one count.
pub const PAYERS_MAX: usize = 4_096;

/// What one payer may ask for in a window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Allowance {
    /// Length of a window in µs.
    pub window: u64,
    /// Requests.
    pub requests: u32,
    /// Vouchers or points in them. A voucher that turns out forged counts [`Allowance::forged`] more.
    pub vouchers: u32,
    /// Vouchers for which a forged one counts: finding it costs pairings.
    pub forged: u32,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            window: 60_000_000,
            requests: 120,
            vouchers: 8_192,
            forged: 16,
        }
    }
}

/// Counts requests and vouchers of each payer. Soft state: it is not journaled.
#[derive(Clone, Debug)]
pub struct Limits {
    allowance: Allowance,
    window: u64,
    used: BTreeMap<ChargeTo, (u32, u32)>,
    /// How many requests were refused.
    pub refused: u64,
}

impl Limits {
    /// Starts to count.
    #[must_use]
    pub const fn new(allowance: Allowance) -> Self {
        Self {
            allowance,
            window: 0,
            used: BTreeMap::new(),
            refused: 0,
        }
    }

    /// Charges a request with so many vouchers, before any arithmetic; whether it is within the allowance. A refusal is charged as a
    /// request.
    pub fn charge(&mut self, now: Time, payer: ChargeTo, vouchers: usize) -> bool {
        let (most, vouchers) = (self.allowance, u32::try_from(vouchers).unwrap_or(u32::MAX));
        let used = self.of(now, payer);
        used.0 = used.0.saturating_add(1);
        let within = used.0 <= most.requests && used.1.saturating_add(vouchers) <= most.vouchers;
        if within {
            used.1 += vouchers;
        } else {
            self.refused += 1;
        }
        within
    }

    /// Charges for vouchers that are forged, or may be: charged before the arithmetic, requests beside each other do not outrun the
    /// allowance.
    pub fn charge_forged(&mut self, now: Time, payer: ChargeTo, forged: usize) {
        let more = self.forged(forged);
        let used = self.of(now, payer);
        used.1 = used.1.saturating_add(more);
    }

    /// Gives back what was charged at a time for vouchers as forged that turned out good. In a later window there is nothing to give.
    pub fn give_back(&mut self, charged: Time, payer: ChargeTo, good: usize) {
        if charged.as_micros() / self.allowance.window.max(1) != self.window {
            return;
        }
        let less = self.forged(good);
        let used = self.of(charged, payer);
        used.1 = used.1.saturating_sub(less);
    }

    fn forged(&self, n: usize) -> u32 {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        n.saturating_mul(self.allowance.forged)
    }

    fn of(&mut self, now: Time, payer: ChargeTo) -> &mut (u32, u32) {
        let window = now.as_micros() / self.allowance.window.max(1);
        if window != self.window {
            self.window = window;
            self.used.clear();
        }
        let known = self.used.contains_key(&payer);
        let payer = match known || self.used.len() < PAYERS_MAX {
            true => payer,
            // Together with all of unknown address, which is one entry more at most.
            false => ChargeTo::Unknown,
        };
        self.used.entry(payer).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(n: u32) -> ChargeTo {
        ChargeTo::V4(n.to_be_bytes())
    }

    #[test]
    fn a_payer_has_so_many_requests_and_vouchers_a_window() {
        let allowance = Allowance {
            window: 100,
            requests: 3,
            vouchers: 10,
            forged: 4,
        };
        let mut limits = Limits::new(allowance);
        let at = Time::from_micros;
        assert!(limits.charge(at(0), v4(1), 6));
        assert!(!limits.charge(at(1), v4(1), 5));
        assert!(limits.charge(at(2), v4(1), 4));
        assert!(!limits.charge(at(3), v4(1), 0), "the fourth request");
        assert!(limits.charge(at(4), v4(2), 10), "another payer");
        assert!(limits.charge(at(100), v4(1), 10), "the next window");
        assert!(limits.charge(at(200), v4(1), 1));
        limits.charge_forged(at(201), v4(1), 3);
        assert!(!limits.charge(at(202), v4(1), 1));
        assert_eq!(limits.refused, 3);
        // Charged beforehand, and given back for those that were good.
        assert!(limits.charge(at(300), v4(1), 2));
        limits.charge_forged(at(300), v4(1), 2);
        assert!(!limits.charge(at(301), v4(1), 1), "beside it");
        limits.give_back(at(300), v4(1), 2);
        assert!(limits.charge(at(303), v4(1), 8));
        // What was charged in a window that is over is not taken off the next.
        limits.charge_forged(at(304), v4(1), 2);
        assert!(limits.charge(at(400), v4(1), 10));
        limits.give_back(at(304), v4(1), 2);
        assert!(!limits.charge(at(401), v4(1), 1));
    }

    #[test]
    fn payers_beyond_the_bound_share_one_count() {
        let mut limits = Limits::new(Allowance {
            requests: 2,
            ..Allowance::default()
        });
        let most = u32::try_from(PAYERS_MAX).unwrap();
        for n in 0..most {
            assert!(limits.charge(Time::ZERO, v4(n), 1));
        }
        assert!(limits.charge(Time::ZERO, v4(most), 1));
        assert!(limits.charge(Time::ZERO, v4(most + 1), 1));
        assert!(!limits.charge(Time::ZERO, v4(most + 2), 1));
        assert!(limits.charge(Time::ZERO, v4(0), 1), "one that is counted");
        assert!(limits.used.len() <= PAYERS_MAX + 1);
    }
}
