//! What a task costs, and who gets it.

use betanet_fog::{Resource, Resources, Tier};

/// Largest amount of money, in µ.
pub const MONEY_MAX: u64 = (1 << 63) - 1;

/// What the price of a task depends on. The price factor is fixed when it is placed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bill {
    /// Resources of one copy.
    pub resources: Resources,
    /// Tier.
    pub tier: Tier,
    /// Copies of its quorum at first; 0 without one.
    pub quorum: u64,
    /// Price factor, in ppm.
    pub factor: u64,
}

/// Price of resources in µ an hour, before tier and demand.
#[must_use]
pub fn hourly(res: &Resources) -> u64 {
    let units = |r, unit: u64| res.get(r).div_ceil(unit);
    100 * res.get(Resource::Cpu)
        + 1_000 * res.get(Resource::Gpu)
        + 10 * units(Resource::Memory, 1 << 20)
        + 100 * units(Resource::Storage, 1 << 30)
        + 1_000 * units(Resource::Bandwidth, 1_000_000)
        + 2_000 * units(Resource::Relay, 1_000_000)
}

/// Nominal running time of an amount of fuel, in ms: slow nodes earn no more.
#[must_use]
pub fn nominal_ms(fuel: u64) -> u64 {
    fuel.div_ceil(1_000_000).max(100)
}

impl Bill {
    /// Number of copies that are paid.
    #[must_use]
    pub fn paid(&self) -> u64 {
        let free = if self.tier >= Tier::Gold { 2 } else { 0 };
        self.quorum.saturating_sub(free).max(1)
    }

    /// Cost of a fuel limit, or of the fuel used, in µ.
    #[must_use]
    pub fn for_fuel(&self, fuel: u64) -> u64 {
        self.for_ms(nominal_ms(fuel))
    }

    /// Cost of a task that was cancelled or expired `ms` after its start, in µ; never more than its limit's.
    #[must_use]
    pub fn for_part(&self, ms: u64, fuel_limit: u64) -> u64 {
        self.for_ms(ms.max(100).min(nominal_ms(fuel_limit)))
    }

    fn for_ms(&self, ms: u64) -> u64 {
        let factors = [ms, self.tier.price_factor(), self.factor];
        let product = factors
            .into_iter()
            .try_fold(u128::from(hourly(&self.resources)), |p, f| {
                p.checked_mul(u128::from(f))
            });
        let cost = product
            .map(|p| p.div_ceil(3_600_000 * 1_000_000_000))
            .and_then(|c| c.checked_mul(u128::from(self.paid())))
            .and_then(|c| u64::try_from(c).ok());
        cost.map_or(MONEY_MAX, |c| c.min(MONEY_MAX))
    }
}

/// Shares of equal payees: the first, which has the lowest copy and gets the remainder, and each other.
#[must_use]
pub fn shares(cost: u64, payees: u64) -> (u64, u64) {
    match cost.checked_div(payees) {
        None => (0, 0),
        Some(each) => (cost - each * (payees - 1), each),
    }
}

#[cfg(test)]
mod tests {
    use betanet_fog::Amounts;

    use super::*;

    #[test]
    fn shares_add_up_and_parts_are_bounded() {
        for (cost, n) in [(10, 3), (0, 2), (7, 1), (MONEY_MAX, 15)] {
            let (first, each) = shares(cost, n);
            assert_eq!(first + each * (n - 1), cost);
            assert!(first >= each && first - each < n);
        }
        assert_eq!(shares(10, 0), (0, 0));
        let bill = Bill {
            resources: Resources::new(Amounts {
                cpu: 1_000,
                ..Amounts::default()
            })
            .unwrap(),
            tier: Tier::Gold,
            quorum: 0,
            factor: 1_000_000,
        };
        let fuel = 10_000_000_000;
        assert_eq!(bill.for_part(u64::MAX, fuel), bill.for_fuel(fuel));
        assert_eq!(bill.for_part(0, fuel), bill.for_part(100, fuel));
        assert!(bill.for_part(5_000, fuel) < bill.for_fuel(fuel));
        let dear = Bill {
            resources: Resources::new(Amounts {
                cpu: Resource::Cpu.most(),
                memory: Resource::Memory.most(),
                storage: Resource::Storage.most(),
                gpu: Resource::Gpu.most(),
                bandwidth: Resource::Bandwidth.most(),
                relay: Resource::Relay.most(),
            })
            .unwrap(),
            tier: Tier::Platinum,
            quorum: 15,
            factor: u64::MAX,
        };
        assert_eq!(dear.for_fuel(1 << 60), MONEY_MAX);
    }
}
