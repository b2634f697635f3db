//! Which nodes hold which blobs: those of their results of the last 24 hours.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use betanet_fog::Digest;

/// How long a node is taken to hold a blob, in ms.
const KEPT: u64 = 86_400_000;

/// Most holders of one blob that are remembered: the newest.
const HOLDERS: usize = 64;

/// Most pairs of blob and node that are remembered: the newest.
pub const HELD_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
struct Holder {
    at: u64,
    slot: u32,
    /// Number of its addition: the oldest has the least.
    number: u64,
}

fn by_slot(holders: &[Holder], slot: u32) -> Result<usize, usize> {
    holders.binary_search_by_key(&slot, |h| h.slot)
}

/// Blobs and their holders.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Ascending by slot.
    blobs: BTreeMap<Digest, Vec<Holder>>,
    /// Pairs by age, with those that were renewed or forgotten.
    ages: VecDeque<(u64, Digest, u64)>,
    /// Number of the last addition.
    added: u64,
}

impl Held {
    /// A node has a blob since `now`.
    pub(crate) fn add(&mut self, now: u64, blob: &Digest, slot: u32) {
        self.expire(now);
        self.added += 1;
        let holders = self.blobs.entry(*blob).or_default();
        let new = Holder {
            at: now,
            slot,
            number: self.added,
        };
        match by_slot(holders, slot) {
            Ok(at) => holders[at] = new,
            Err(mut at) => {
                if holders.len() == HOLDERS {
                    let all = holders.iter().enumerate();
                    let oldest = all.min_by_key(|(_, h)| h.number).map_or(0, |(i, _)| i);
                    holders.remove(oldest);
                    at -= usize::from(oldest < at);
                }
                holders.insert(at, new);
            }
        }
        self.ages.push_back((now, *blob, self.added));
    }

    /// A node has a blob no longer.
    pub(crate) fn forget(&mut self, blob: &Digest, slot: u32) {
        if let Some(holders) = self.blobs.get_mut(blob) {
            holders.retain(|h| h.slot != slot);
            if holders.is_empty() {
                self.blobs.remove(blob);
            }
        }
    }

    /// Forgets what is too old, and the oldest of too many.
    fn expire(&mut self, now: u64) {
        while let Some((at, blob, number)) = self.ages.front().copied() {
            if at.saturating_add(KEPT) >= now && self.ages.len() < HELD_MAX {
                return;
            }
            self.ages.pop_front();
            if let Some(holders) = self.blobs.get_mut(&blob) {
                holders.retain(|h| h.number != number);
                if holders.is_empty() {
                    self.blobs.remove(&blob);
                }
            }
        }
    }

    /// A node is gone, with all that it held. Another node may get its slot.
    pub(crate) fn leave(&mut self, slot: u32) {
        self.blobs.retain(|_, holders| {
            holders.retain(|h| h.slot != slot);
            !holders.is_empty()
        });
    }

    /// Nodes that hold a blob, ascending by slot.
    pub(crate) fn holders(&self, now: u64, blob: &Digest) -> impl Iterator<Item = u32> {
        let found = self.blobs.get(blob).map_or(&[][..], |h| h);
        found
            .iter()
            .filter(move |h| h.at.saturating_add(KEPT) >= now)
            .map(|h| h.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(n: usize) -> Digest {
        let mut out = [0; 32];
        out[..8].copy_from_slice(&(n as u64).to_be_bytes());
        out
    }

    #[test]
    fn the_newest_holders_and_pairs_are_remembered() {
        let mut held = Held::default();
        for n in 0..70u32 {
            held.add(n.into(), &blob(0), n);
        }
        let kept: Vec<u32> = held.holders(70, &blob(0)).collect();
        assert_eq!(kept, (6..70).collect::<Vec<u32>>());
        held.leave(69);
        assert_eq!(held.holders(70, &blob(0)).count(), 63);
        for n in 1..=HELD_MAX {
            held.add(100, &blob(n), 1);
        }
        assert_eq!(held.holders(100, &blob(0)).count(), 0);
        assert!(held.ages.len() <= HELD_MAX && held.blobs.len() <= HELD_MAX);
        assert_eq!(held.holders(100 + KEPT, &blob(HELD_MAX)).count(), 1);
        assert_eq!(held.holders(101 + KEPT, &blob(HELD_MAX)).count(), 0);
        held.add(101 + KEPT, &blob(0), 1);
        assert_eq!((held.ages.len(), held.blobs.len()), (1, 1));
    }
}
