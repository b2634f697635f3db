//! Cumulative weights of nodes in join order.

use alloc::vec::Vec;

/// A Fenwick tree: sums, changes and draws in a logarithm of the number of seats.
#[derive(Debug, Default)]
pub(crate) struct Weights {
    sums: Vec<u64>,
    values: Vec<u64>,
    total: u64,
    /// Seats of weight above zero.
    taken: u64,
}

impl Weights {
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Number of seats whose weight is above zero.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Sets the weight of a seat.
    pub(crate) fn set(&mut self, seat: usize, weight: u64) {
        while self.values.len() <= seat {
            self.grow();
        }
        let Some(value) = self.values.get_mut(seat) else {
            return;
        };
        let old = core::mem::replace(value, weight);
        if old == weight {
            return;
        }
        self.taken = self.taken + u64::from(weight > 0) - u64::from(old > 0);
        self.total = self.total - old + weight;
        let mut i = seat + 1;
        while let Some(sum) = self.sums.get_mut(i - 1) {
            *sum = *sum - old + weight;
            i += i & i.wrapping_neg();
        }
    }

    fn grow(&mut self) {
        let i = self.values.len() + 1;
        self.values.push(0);
        // The new sum covers the seats below it that its index spans.
        let mut sum = 0;
        let (mut j, low) = (i - 1, i - (i & i.wrapping_neg()));
        while j > low {
            sum += self.sums.get(j - 1).copied().unwrap_or(0);
            j -= j & j.wrapping_neg();
        }
        self.sums.push(sum);
    }

    /// The seat in which the cumulative weight passes `x`, which is below [`Self::total`].
    pub(crate) fn seat(&self, mut x: u64) -> usize {
        let mut at = 0;
        let mut step = self.sums.len().next_power_of_two();
        while step > 0 {
            if let Some(sum) = self.sums.get((at + step).wrapping_sub(1))
                && *sum <= x
            {
                x -= sum;
                at += step;
            }
            step >>= 1;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn draws_as_a_walk_does(
            sets in prop::collection::vec((0..70usize, 0..5u64), 1..200),
            x in 0..1_000u64,
        ) {
            let mut weights = Weights::default();
            let mut model = alloc::vec![0u64; 70];
            for (seat, weight) in sets {
                weights.set(seat, weight);
                model[seat] = weight;
            }
            let total: u64 = model.iter().sum();
            prop_assert_eq!(weights.total(), total);
            prop_assert_eq!(weights.taken(), model.iter().filter(|w| **w > 0).count() as u64);
            if total > 0 {
                let (mut left, mut seat) = (x % total, 0);
                while left >= model[seat] {
                    left -= model[seat];
                    seat += 1;
                }
                prop_assert_eq!(weights.seat(x % total), seat);
            }
        }
    }
}
