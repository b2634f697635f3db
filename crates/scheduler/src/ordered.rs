//! An ordered set of nodes that skips parts in which no node fits.
//!
//! A tree of three flat levels. Each part stores the best [`Fit`] of its nodes, so a search passes over a part of full nodes
//! in one comparison.

use alloc::vec::Vec;

use crate::class::Set;
use crate::fit::{Fit, Want};

/// Most entries of a leaf.
const LEAF: usize = 16;

/// Most leaves of a branch.
const BRANCH: usize = 64;

/// Place of a node in an order: the rank, then the NodeID.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key {
    pub(crate) rank: u64,
    /// The NodeID as three numbers of the same order.
    pub(crate) high: u64,
    pub(crate) middle: u64,
    pub(crate) low: u32,
    pub(crate) slot: u32,
}

/// As large as one line of a processor's cache.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    fit: Fit,
}

/// Leaves, which are never empty, and beside each its first key and its best fit.
#[derive(Debug, Default)]
struct Branch {
    firsts: Vec<Key>,
    fits: Vec<Fit>,
    leaves: Vec<Vec<Entry>>,
}

/// Nodes in ascending order of their keys.
#[derive(Debug)]
pub(crate) struct Ordered {
    fit: Fit,
    /// The lowest key: most searches need to look no deeper.
    first: Option<Key>,
    firsts: Vec<Key>,
    fits: Vec<Fit>,
    branches: Vec<Branch>,
}

impl Default for Ordered {
    fn default() -> Self {
        Self {
            fit: Fit::NONE,
            first: None,
            firsts: Vec::new(),
            fits: Vec::new(),
            branches: Vec::new(),
        }
    }
}

#[inline]
fn best<'a>(fits: impl Iterator<Item = &'a Fit>) -> Fit {
    let mut out = Fit::NONE;
    for f in fits {
        out.join(f);
    }
    out
}

fn best_of(entries: &[Entry]) -> Fit {
    best(entries.iter().map(|e| &e.fit))
}

/// Index of the part in which `key` belongs.
#[inline]
fn part(firsts: &[Key], key: &Key) -> usize {
    firsts.partition_point(|f| f <= key).saturating_sub(1)
}

/// Index of the first part that may hold the rank.
#[inline]
fn part_of(firsts: &[Key], rank: u64) -> usize {
    firsts.partition_point(|f| f.rank < rank).saturating_sub(1)
}

impl Branch {
    fn insert(&mut self, entry: Entry) {
        let at = part(&self.firsts, &entry.key);
        let (Some(leaf), Some(first), Some(fit)) = (
            self.leaves.get_mut(at),
            self.firsts.get_mut(at),
            self.fits.get_mut(at),
        ) else {
            self.firsts.push(entry.key);
            self.fits.push(entry.fit);
            self.leaves.push(Vec::from([entry]));
            return;
        };
        let place = leaf.partition_point(|e| e.key < entry.key);
        leaf.insert(place, entry);
        *first = (*first).min(entry.key);
        fit.join(&entry.fit);
        if leaf.len() > LEAF {
            // Keys that only grow fill their leaves.
            let keep = if place == LEAF { LEAF } else { LEAF / 2 };
            let upper = leaf.split_off(keep);
            *fit = best_of(leaf);
            if let Some(next) = upper.first() {
                self.firsts.insert(at + 1, next.key);
                self.fits.insert(at + 1, best_of(&upper));
                self.leaves.insert(at + 1, upper);
            }
        }
    }

    /// Removes an entry, and whether it was there.
    fn remove(&mut self, key: &Key) -> bool {
        let at = part(&self.firsts, key);
        let Some(leaf) = self.leaves.get_mut(at) else {
            return false;
        };
        let Ok(place) = leaf.binary_search_by(|e| e.key.cmp(key)) else {
            return false;
        };
        leaf.remove(place);
        if leaf.is_empty() {
            self.forget(at);
            return true;
        }
        self.merge(at);
        self.renew(at);
        true
    }

    fn forget(&mut self, at: usize) {
        self.leaves.remove(at);
        self.firsts.remove(at);
        self.fits.remove(at);
    }

    /// Joins a leaf with the next one where both are small.
    fn merge(&mut self, at: usize) {
        let size = |i: usize| self.leaves.get(i).map_or(LEAF, Vec::len);
        if size(at) + size(at + 1) > LEAF / 2 {
            return;
        }
        let next = core::mem::take(&mut self.leaves[at + 1]);
        self.forget(at + 1);
        if let Some(leaf) = self.leaves.get_mut(at) {
            leaf.extend(next);
        }
    }

    /// Writes the first key and the best fit of a leaf anew.
    fn renew(&mut self, at: usize) {
        if let (Some(leaf), Some(first), Some(fit)) = (
            self.leaves.get(at),
            self.firsts.get_mut(at),
            self.fits.get_mut(at),
        ) && let Some(e) = leaf.first()
        {
            *first = e.key;
            *fit = best_of(leaf);
        }
    }

    fn set_fit(&mut self, key: &Key, new: Fit) {
        let at = part(&self.firsts, key);
        if let Some(leaf) = self.leaves.get_mut(at)
            && let Ok(place) = leaf.binary_search_by(|e| e.key.cmp(key))
        {
            leaf[place].fit = new;
            self.renew(at);
        }
    }

    fn split(&mut self) -> Self {
        Self {
            firsts: self.firsts.split_off(BRANCH / 2),
            fits: self.fits.split_off(BRANCH / 2),
            leaves: self.leaves.split_off(BRANCH / 2),
        }
    }
}

impl Ordered {
    pub(crate) fn insert(&mut self, key: Key, fit: Fit) {
        self.first = Some(self.first.map_or(key, |f| f.min(key)));
        let at = part(&self.firsts, &key);
        let Some(branch) = self.branches.get_mut(at) else {
            let mut branch = Branch::default();
            branch.insert(Entry { key, fit });
            self.branches.push(branch);
            self.firsts.push(key);
            self.fits.push(fit);
            self.fit = fit;
            return;
        };
        branch.insert(Entry { key, fit });
        self.fit.join(&fit);
        self.fits[at].join(&fit);
        self.firsts[at] = self.firsts[at].min(key);
        if branch.leaves.len() > BRANCH {
            let upper = branch.split();
            self.fits[at] = best(branch.fits.iter());
            if let Some(first) = upper.firsts.first() {
                self.firsts.insert(at + 1, *first);
                self.fits.insert(at + 1, best(upper.fits.iter()));
                self.branches.insert(at + 1, upper);
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        let at = part(&self.firsts, key);
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        if !branch.remove(key) {
            return;
        }
        if branch.leaves.is_empty() {
            self.forget(at);
            self.fit = best(self.fits.iter());
            self.first = self.firsts.first().copied();
            return;
        }
        let size = |i: usize| self.branches.get(i).map_or(BRANCH, |b| b.leaves.len());
        if size(at) + size(at + 1) <= BRANCH / 2 {
            let next = core::mem::take(&mut self.branches[at + 1]);
            self.forget(at + 1);
            let branch = &mut self.branches[at];
            branch.firsts.extend(next.firsts);
            branch.fits.extend(next.fits);
            branch.leaves.extend(next.leaves);
        }
        self.renew(at);
        self.first = self.firsts.first().copied();
    }

    fn forget(&mut self, at: usize) {
        self.branches.remove(at);
        self.firsts.remove(at);
        self.fits.remove(at);
    }

    /// Writes the first key and the best fit of a branch anew.
    fn renew(&mut self, at: usize) {
        let branch = &self.branches[at];
        if let Some(first) = branch.firsts.first() {
            self.firsts[at] = *first;
        }
        let new = best(branch.fits.iter());
        if new != self.fits[at] {
            self.fits[at] = new;
            self.fit = best(self.fits.iter());
        }
    }

    /// Replaces the fit of a node whose key stays.
    pub(crate) fn set_fit(&mut self, key: &Key, fit: Fit) {
        let at = part(&self.firsts, key);
        if let Some(branch) = self.branches.get_mut(at) {
            branch.set_fit(key, fit);
            self.renew(at);
        }
    }

    /// The first node at or above the rank `from`, and before `until`, of a class in `set`, that `want` admits and `passes`
    /// accepts.
    pub(crate) fn first_where(
        &self,
        from: u64,
        until: Option<&Key>,
        want: &Want,
        set: Option<&Set>,
        mut passes: impl FnMut(u32) -> bool,
    ) -> Option<Key> {
        let past = |k: &Key| until.is_some_and(|u| k >= u);
        if self.first.as_ref().is_none_or(past) || !want.admits(&self.fit) {
            return None;
        }
        let start = part_of(&self.firsts, from);
        let parts = self.firsts.iter().zip(&self.fits).zip(&self.branches);
        for (at, ((first, fit), branch)) in parts.enumerate().skip(start) {
            if past(first) {
                return None;
            }
            if !want.admits(fit) {
                continue;
            }
            let low = if at == start {
                part_of(&branch.firsts, from)
            } else {
                0
            };
            let leaves = branch.firsts.iter().zip(&branch.fits).zip(&branch.leaves);
            for ((first, fit), leaf) in leaves.skip(low) {
                if past(first) {
                    return None;
                }
                if !want.admits(fit) {
                    continue;
                }
                for e in leaf {
                    if !want.admits(&e.fit) || e.key.rank < from {
                        continue;
                    }
                    if past(&e.key) {
                        return None;
                    }
                    if set.is_none_or(|s| s.has(e.fit.class())) && passes(e.key.slot) {
                        return Some(e.key);
                    }
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use betanet_fog::{Amounts, Level, Resources};
    use proptest::prelude::*;

    use super::*;
    use crate::fit::Offer;

    fn key(rank: u64, slot: u32) -> Key {
        Key {
            rank,
            high: u64::from(slot % 7),
            middle: 0,
            low: slot,
            slot,
        }
    }

    fn cpus(cpu: u32) -> Resources {
        Resources::new(Amounts {
            cpu: cpu.into(),
            ..Amounts::default()
        })
        .unwrap()
    }

    /// Slots of one remainder by five are one class.
    fn fit(cpu: u32, slot: u32) -> Fit {
        let offer = Offer {
            free: cpus(cpu),
            devices: (0, 0),
            price: 1,
            rep: 0,
            level: Level::Public,
            yielding: (false, false),
        };
        Fit::new(&offer, u16::try_from(slot % 5).unwrap(), 1 << (slot % 5))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn finds_what_a_sorted_list_finds(
            ops in prop::collection::vec((0..5u8, 0..3_000u32, 0..50u64, 0..40u32), 1..9_000),
        ) {
            let mut tree = Ordered::default();
            let mut model: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
            let mut set = Set::default();
            for class in [1, 4] {
                set.add(class);
            }
            for (op, slot, rank, cpu) in ops {
                if op == 3 {
                    let want = Want::new(&cpus(cpu), 1, 0, Level::Public);
                    let until = key(rank + 20, slot);
                    let all = |few: bool| model.iter()
                        .filter(|(s, (r, c))| *c >= cpu && *r >= rank && **s % 3 != 0 && (!few || [1, 4].contains(&(*s % 5))))
                        .map(|(s, (r, _))| key(*r, *s))
                        .filter(|k| *k < until)
                        .min();
                    let found = tree.first_where(rank, Some(&until), &want, None, |s| s % 3 != 0);
                    prop_assert_eq!(found, all(false));
                    let want = want.and(1 << 1 | 1 << 4);
                    let found = tree.first_where(rank, Some(&until), &want, Some(&set), |s| s % 3 != 0);
                    prop_assert_eq!(found, all(true));
                    continue;
                }
                if let Some((r, _)) = model.remove(&slot) {
                    if op == 1 {
                        tree.set_fit(&key(r, slot), fit(cpu, slot));
                        model.insert(slot, (r, cpu));
                        continue;
                    }
                    tree.remove(&key(r, slot));
                }
                if op != 2 {
                    tree.insert(key(rank, slot), fit(cpu, slot));
                    model.insert(slot, (rank, cpu));
                }
            }
            let mut best = Fit::NONE;
            for (slot, (_, cpu)) in &model {
                best.join(&fit(*cpu, *slot));
            }
            prop_assert_eq!(&tree.fit, &best);
            for slot in model.into_iter().map(|(slot, (rank, _))| key(rank, slot)) {
                tree.remove(&slot);
            }
            prop_assert!(tree.branches.is_empty());
        }
    }
}
