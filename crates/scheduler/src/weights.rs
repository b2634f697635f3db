//! Cumulative weights of nodes in join order.

use alloc::vec::Vec;

/// Parts of a block: their sums are one line of a processor's cache.
const WIDTH: usize = 8;

/// A tree of sums: changes and draws in a logarithm of the number of seats.
#[derive(Debug, Default)]
pub(crate) struct Weights {
    /// From the seats upward: each sum of a block is that of a block below.
    levels: Vec<Vec<[u64; WIDTH]>>,
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
        while self.levels.first().map_or(0, Vec::len) <= seat / WIDTH {
            self.grow();
        }
        let mut place = seat;
        let mut old = weight;
        for (height, blocks) in self.levels.iter_mut().enumerate() {
            let sum = blocks.get_mut(place / WIDTH);
            let Some(sum) = sum.and_then(|b| b.get_mut(place % WIDTH)) else {
                return;
            };
            if height == 0 {
                old = core::mem::replace(sum, weight);
                if old == weight {
                    return;
                }
            } else {
                *sum = *sum - old + weight;
            }
            place /= WIDTH;
        }
        self.taken = self.taken + u64::from(weight > 0) - u64::from(old > 0);
        self.total = self.total - old + weight;
    }

    /// Adds a block of seats, with the blocks above it.
    fn grow(&mut self) {
        if self.levels.is_empty() {
            self.levels.push(Vec::new());
        }
        if let Some(seats) = self.levels.first_mut() {
            seats.push([0; WIDTH]);
        }
        for height in 1.. {
            let (below, above) = self.levels.split_at_mut(height);
            let below = below.last().map_or(&[][..], |b| b);
            let count = below.len().div_ceil(WIDTH);
            if below.len() == 1 {
                return;
            }
            if let Some(blocks) = above.first_mut() {
                blocks.resize(count, [0; WIDTH]);
                continue;
            }
            // A new top: it sums what is there.
            let mut top = [0; WIDTH];
            for (sum, block) in top.iter_mut().zip(below) {
                *sum = block.iter().sum();
            }
            self.levels.push(Vec::from([top]));
        }
    }

    /// The seat in which the cumulative weight passes `x`, which is below [`Self::total`].
    pub(crate) fn seat(&self, mut x: u64) -> usize {
        let mut place = 0;
        for blocks in self.levels.iter().rev() {
            let Some(block) = blocks.get(place) else {
                return usize::MAX;
            };
            // Without a branch that depends on the draw.
            let (mut part, mut passed, mut sum) = (0, 0, 0);
            for s in block {
                sum += s;
                let over = x >= sum;
                part += usize::from(over);
                passed = if over { sum } else { passed };
            }
            place = place * WIDTH + part;
            x -= passed;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn draws_as_a_walk_does(
            sets in prop::collection::vec((0..700usize, 0..5u64), 1..400),
            x in 0..10_000u64,
        ) {
            let mut weights = Weights::default();
            let mut model = alloc::vec![0u64; 700];
            for (seat, weight) in sets {
                weights.set(seat, weight);
                model[seat] = weight;
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
}
