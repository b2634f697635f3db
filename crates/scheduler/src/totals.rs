//! Sums over active nodes, from which the price factor comes.

use alloc::collections::BTreeMap;

use betanet_fog::{Resource, Resources};

/// Capacity, reservations and prices of all active nodes.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    cap: [u128; 6],
    reserved: [u128; 6],
    prices: BTreeMap<u32, u32>,
}

impl Totals {
    /// Capacity of all active nodes.
    #[must_use]
    pub fn capacity(&self, r: Resource) -> u128 {
        self.cap[r as usize]
    }

    /// What is reserved on active nodes.
    #[must_use]
    pub fn reserved(&self, r: Resource) -> u128 {
        self.reserved[r as usize]
    }

    /// Lowest price of an active node, in ppm.
    #[must_use]
    pub fn lowest_price(&self) -> Option<u32> {
        self.prices.keys().next().copied()
    }

    /// Price factor for a task that asks for `res`, in ppm.
    #[must_use]
    pub fn factor(&self, res: &Resources) -> u64 {
        let asked = Resource::ALL.iter().copied().filter(|r| res.get(*r) > 0);
        let fullest = asked
            .filter_map(|r| {
                let (used, cap) = (self.reserved(r), self.capacity(r));
                (used * 1_000_000).checked_div(cap)
            })
            .max()
            .unwrap_or(0);
        let u = u64::try_from(fullest).unwrap_or(u64::MAX);
        factor(u).max(self.lowest_price().map_or(0, u64::from))
    }

    pub(crate) fn add(&mut self, cap: &Resources, reserved: &Resources, price: u32) {
        for r in Resource::ALL.iter().copied() {
            self.cap[r as usize] += u128::from(cap.get(r));
            self.reserved[r as usize] += u128::from(reserved.get(r));
        }
        *self.prices.entry(price).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, cap: &Resources, reserved: &Resources, price: u32) {
        for r in Resource::ALL.iter().copied() {
            self.cap[r as usize] -= u128::from(cap.get(r));
            self.reserved[r as usize] -= u128::from(reserved.get(r));
        }
        if let Some(n) = self.prices.get_mut(&price) {
            *n -= 1;
            if *n == 0 {
                self.prices.remove(&price);
            }
        }
    }

    /// Replaces what is reserved on a node that stays.
    pub(crate) fn replace(&mut self, old: &Resources, new: &Resources) {
        for r in Resource::ALL.iter().copied() {
            let sum = &mut self.reserved[r as usize];
            *sum = *sum - u128::from(old.get(r)) + u128::from(new.get(r));
        }
    }
}

/// Price factor at the demand `u`, both in ppm: half at rest, 1 at half, 3 when full.
#[must_use]
pub fn factor(u: u64) -> u64 {
    match u.checked_sub(500_000) {
        None | Some(0) => 500_000 + u,
        Some(over) => over.saturating_mul(4).saturating_add(1_000_000),
    }
}
