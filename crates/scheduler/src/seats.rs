//! Nodes in join order, with their weights for draws, one table for each level.

use alloc::vec::Vec;

use betanet_fog::Level;

use crate::weights::Weights;

/// Seat of nobody.
const EMPTY: u32 = u32::MAX;

/// Nodes in join order.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    slots: Vec<u32>,
    empty: usize,
    /// Weights of the nodes that offer at least the level.
    levels: [Weights; 4],
}

impl Seats {
    /// A seat behind all others.
    pub(crate) fn join(&mut self, slot: u32) -> usize {
        self.slots.push(slot);
        self.slots.len() - 1
    }

    pub(crate) fn leave(&mut self, seat: usize) {
        self.weigh(seat, Level::Secret, 0);
        if let Some(slot) = self.slots.get_mut(seat) {
            *slot = EMPTY;
            self.empty += 1;
        }
    }

    /// Sets the weight of a seat, at its level and below.
    pub(crate) fn weigh(&mut self, seat: usize, level: Level, weight: u64) {
        for (l, weights) in Level::ALL.iter().zip(&mut self.levels) {
            weights.set(seat, if *l <= level { weight } else { 0 });
        }
    }

    /// Sum of the weights of nodes that offer the level, and their number.
    pub(crate) fn total(&self, level: Level) -> (u64, u64) {
        let weights = &self.levels[level as usize];
        (weights.total(), weights.taken())
    }

    /// The node at which the cumulative weight passes `x`.
    pub(crate) fn at(&self, level: Level, x: u64) -> Option<u32> {
        let seat = self.levels[level as usize].seat(x);
        self.slots.get(seat).copied().filter(|s| *s != EMPTY)
    }

    /// The nodes in order, where more than half of the seats are empty: they are to be seated again.
    pub(crate) fn crowd(&mut self) -> Option<Vec<u32>> {
        if self.empty * 2 <= self.slots.len() || self.slots.len() < 64 {
            return None;
        }
        let mut slots = core::mem::take(self).slots;
        slots.retain(|s| *s != EMPTY);
        Some(slots)
    }
}
