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
    serial: u64,
}

/// Blobs and their holders.
#[derive(Debug, Default)]
pub(crate) struct Held {
    blobs: BTreeMap<Digest, Vec<Holder>>,
    /// Pairs by age, with those that were renewed or forgotten.
    ages: VecDeque<(u64, Digest, u64)>,
}

impl Held {
    /// A node has a blob since `now`.
    pub(crate) fn add(&mut self, now: u64, blob: &Digest, slot: u32, serial: u64) {
        self.expire(now);
        let holders = self.blobs.entry(*blob).or_default();
        holders.retain(|h| h.serial != serial);
        if holders.len() == HOLDERS {
            holders.remove(0);
        }
        holders.push(Holder {
            at: now,
            slot,
            serial,
        });
        self.ages.push_back((now, *blob, serial));
    }

    /// A node has a blob no longer.
    pub(crate) fn forget(&mut self, blob: &Digest, serial: u64) {
        if let Some(holders) = self.blobs.get_mut(blob) {
            holders.retain(|h| h.serial != serial);
            if holders.is_empty() {
                self.blobs.remove(blob);
            }
        }
    }

    /// Forgets what is too old, and the oldest of too many.
    fn expire(&mut self, now: u64) {
        while let Some((at, blob, serial)) = self.ages.front().copied() {
            if at.saturating_add(KEPT) >= now && self.ages.len() < HELD_MAX {
                return;
            }
            self.ages.pop_front();
            if let Some(holders) = self.blobs.get_mut(&blob) {
                holders.retain(|h| h.serial != serial || h.at != at);
                if holders.is_empty() {
                    self.blobs.remove(&blob);
                }
            }
        }
    }

    /// A node is gone, with all that it held. Another node may get its slot.
    pub(crate) fn leave(&mut self, serial: u64) {
        self.blobs.retain(|_, holders| {
            holders.retain(|h| h.serial != serial);
            !holders.is_empty()
        });
    }

    /// Nodes that hold a blob.
    pub(crate) fn holders(&self, now: u64, blob: &Digest) -> impl Iterator<Item = u32> {
        let found = self.blobs.get(blob).into_iter().flatten();
        found
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
            held.add(n.into(), &blob(0), n, n.into());
        }
        let kept: Vec<u32> = held.holders(70, &blob(0)).collect();
        assert_eq!(kept, (6..70).collect::<Vec<u32>>());
        held.leave(69);
        assert_eq!(held.holders(70, &blob(0)).count(), 63);
        for n in 1..=HELD_MAX {
            held.add(100, &blob(n), 1, 1);
        }
        assert_eq!(held.holders(100, &blob(0)).count(), 0);
        assert!(held.ages.len() <= HELD_MAX && held.blobs.len() <= HELD_MAX);
        assert_eq!(held.holders(100 + KEPT, &blob(HELD_MAX)).count(), 1);
        assert_eq!(held.holders(101 + KEPT, &blob(HELD_MAX)).count(), 0);
        held.add(101 + KEPT, &blob(0), 1, 1);
        assert_eq!((held.ages.len(), held.blobs.len()), (1, 1));
    }
}
