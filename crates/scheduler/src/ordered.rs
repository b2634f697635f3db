//! An ordered set of nodes that skips parts in which no node fits.
//!
//! A tree of three flat levels. Each part stores the best [`Fit`] of its nodes, so a search passes over a part of full nodes
//! in one comparison.

use alloc::vec::Vec;

use crate::fit::{Fit, Want};

/// Most entries of a leaf, and most leaves of a branch.
const WIDTH: usize = 16;

/// Place of a node in an order: the rank, then the NodeID.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Key {
    pub(crate) rank: u64,
    pub(crate) id: (u64, u64, u32),
    pub(crate) slot: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    fit: Fit,
}

#[derive(Debug)]
struct Leaf {
    fit: Fit,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Branch {
    fit: Fit,
    first: Key,
    leaves: Vec<Leaf>,
}

/// Nodes in ascending order of their keys.
#[derive(Debug)]
pub(crate) struct Ordered {
    fit: Fit,
    /// The lowest key: most searches need to look no deeper.
    first: Option<Key>,
    branches: Vec<Branch>,
}

impl Default for Ordered {
    fn default() -> Self {
        Self {
            fit: Fit::NONE,
            first: None,
            branches: Vec::new(),
        }
    }
}

fn best<'a>(fits: impl Iterator<Item = &'a Fit>) -> Fit {
    let mut out = Fit::NONE;
    for f in fits {
        out.join(f);
    }
    out
}

impl Leaf {
    fn new(entries: Vec<Entry>) -> Self {
        let fit = best(entries.iter().map(|e| &e.fit));
        Self { fit, entries }
    }

    fn refit(&mut self) {
        self.fit = best(self.entries.iter().map(|e| &e.fit));
    }

    /// The lower bound of a leaf that is not empty.
    fn first(&self) -> Option<&Key> {
        self.entries.first().map(|e| &e.key)
    }
}

impl Branch {
    fn new(leaves: Vec<Leaf>) -> Option<Self> {
        let first = *leaves.first()?.first()?;
        let fit = best(leaves.iter().map(|l| &l.fit));
        Some(Self { fit, first, leaves })
    }

    fn refit(&mut self) {
        self.fit = best(self.leaves.iter().map(|l| &l.fit));
        self.start();
    }

    /// Takes the lower bound from the first leaf.
    fn start(&mut self) {
        if let Some(first) = self.leaves.first().and_then(Leaf::first) {
            self.first = *first;
        }
    }

    /// Index of the leaf in which `key` belongs.
    fn leaf(&self, key: &Key) -> usize {
        self.leaves
            .partition_point(|l| l.first().is_some_and(|f| f <= key))
            .saturating_sub(1)
    }
}

impl Ordered {
    /// The best fit of all nodes.
    pub(crate) fn fit(&self) -> &Fit {
        &self.fit
    }

    fn branch(&self, key: &Key) -> usize {
        self.branches
            .partition_point(|b| b.first <= *key)
            .saturating_sub(1)
    }

    fn refit(&mut self, before: &Fit, after: &Fit) {
        if before != after {
            self.fit = best(self.branches.iter().map(|b| &b.fit));
        }
    }

    pub(crate) fn insert(&mut self, key: Key, fit: Fit) {
        let entry = Entry { key, fit };
        self.first = Some(self.first.map_or(key, |f| f.min(key)));
        let at = self.branch(&key);
        let Some(branch) = self.branches.get_mut(at) else {
            let leaf = Leaf::new(Vec::from([entry]));
            self.branches.extend(Branch::new(Vec::from([leaf])));
            self.fit = fit;
            return;
        };
        let li = branch.leaf(&key);
        let Some(leaf) = branch.leaves.get_mut(li) else {
            return;
        };
        let pos = leaf.entries.partition_point(|e| e.key < key);
        leaf.entries.insert(pos, entry);
        leaf.fit.join(&fit);
        branch.fit.join(&fit);
        branch.first = branch.first.min(key);
        self.fit.join(&fit);
        if leaf.entries.len() > WIDTH {
            let upper = leaf.entries.split_off(WIDTH / 2);
            leaf.refit();
            branch.leaves.insert(li + 1, Leaf::new(upper));
            if branch.leaves.len() > WIDTH {
                let upper = branch.leaves.split_off(WIDTH / 2);
                branch.refit();
                if let Some(next) = Branch::new(upper) {
                    self.branches.insert(at + 1, next);
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, key: &Key) {
        let at = self.branch(key);
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        let li = branch.leaf(key);
        let Some(leaf) = branch.leaves.get_mut(li) else {
            return;
        };
        let Ok(pos) = leaf.entries.binary_search_by(|e| e.key.cmp(key)) else {
            return;
        };
        leaf.entries.remove(pos);
        let before = branch.fit;
        let old = leaf.fit;
        if leaf.entries.is_empty() {
            branch.leaves.remove(li);
            if branch.leaves.is_empty() {
                self.branches.remove(at);
                self.refit(&before, &Fit::NONE);
                self.first = self.branches.first().map(|b| b.first);
                return;
            }
            branch.refit();
        } else {
            leaf.refit();
            let changed = leaf.fit != old;
            merge(&mut branch.leaves, li);
            if changed {
                branch.refit();
            } else if li == 0 {
                branch.start();
            }
        }
        let after = branch.fit;
        self.refit(&before, &after);
        self.first = self.branches.first().map(|b| b.first);
    }

    /// Replaces the fit of a node whose key stays.
    pub(crate) fn set_fit(&mut self, key: &Key, fit: Fit) {
        let at = self.branch(key);
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        let li = branch.leaf(key);
        let before = branch.fit;
        if let Some(leaf) = branch.leaves.get_mut(li)
            && let Ok(pos) = leaf.entries.binary_search_by(|e| e.key.cmp(key))
            && let Some(entry) = leaf.entries.get_mut(pos)
        {
            entry.fit = fit;
            let old = leaf.fit;
            leaf.refit();
            if leaf.fit != old {
                branch.refit();
                let after = branch.fit;
                self.refit(&before, &after);
            }
        }
    }

    /// The first node at or above the rank `from`, and before `until`, that `want` admits and `passes` accepts.
    pub(crate) fn first_where(
        &self,
        from: u64,
        until: Option<&Key>,
        want: &Want,
        mut passes: impl FnMut(u32) -> bool,
    ) -> Option<Key> {
        if !want.admits(&self.fit) {
            return None;
        }
        let past = |k: &Key| until.is_some_and(|u| k >= u);
        if self.first.as_ref().is_some_and(past) {
            return None;
        }
        let start = self
            .branches
            .partition_point(|b| b.first.rank < from)
            .saturating_sub(1);
        for branch in self.branches.get(start..)? {
            if past(&branch.first) {
                return None;
            }
            if !want.admits(&branch.fit) {
                continue;
            }
            for leaf in &branch.leaves {
                if leaf.first().is_some_and(past) {
                    return None;
                }
                if !want.admits(&leaf.fit) {
                    continue;
                }
                for e in &leaf.entries {
                    if past(&e.key) {
                        return None;
                    }
                    if e.key.rank >= from && want.admits(&e.fit) && passes(e.key.slot) {
                        return Some(e.key);
                    }
                }
            }
        }
        None
    }
}

/// Joins a leaf with the next one where both are small.
fn merge(leaves: &mut Vec<Leaf>, at: usize) {
    let size = |i: usize| leaves.get(i).map_or(WIDTH, |l| l.entries.len());
    if size(at) + size(at + 1) > WIDTH / 2 {
        return;
    }
    let next = leaves.remove(at + 1);
    if let Some(leaf) = leaves.get_mut(at) {
        leaf.entries.extend(next.entries);
        leaf.fit.join(&next.fit);
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use betanet_fog::{Amounts, Resources};
    use proptest::prelude::*;

    use super::*;

    fn key(rank: u64, slot: u32) -> Key {
        Key {
            rank,
            id: (u64::from(slot % 7), 0, slot),
            slot,
        }
    }

    fn fit(cpu: u32) -> Fit {
        Fit {
            cpu,
            price: 1,
            ..Fit::NONE
        }
    }

    proptest! {
        #[test]
        fn finds_what_a_sorted_list_finds(
            ops in prop::collection::vec((0..4u8, 0..300u32, 0..50u64, 0..40u32), 1..800),
        ) {
            let mut tree = Ordered::default();
            let mut model: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
            for (op, slot, rank, cpu) in ops {
                if op == 3 {
                    let want = Want::new(
                        &Resources::new(Amounts { cpu: cpu.into(), ..Amounts::default() }).unwrap(), 1, 0);
                    let until = key(rank + 20, slot);
                    let mut all: Vec<Key> = model.iter()
                        .filter(|(s, (r, c))| *c >= cpu && *r >= rank && **s % 3 != 0)
                        .map(|(s, (r, _))| key(*r, *s))
                        .filter(|k| *k < until)
                        .collect();
                    all.sort();
                    let found = tree.first_where(rank, Some(&until), &want, |s| s % 3 != 0);
                    prop_assert_eq!(found, all.first().copied());
                    continue;
                }
                if let Some((r, _)) = model.remove(&slot) {
                    if op == 1 {
                        tree.set_fit(&key(r, slot), fit(cpu));
                        model.insert(slot, (r, cpu));
                        continue;
                    }
                    tree.remove(&key(r, slot));
                }
                if op != 2 {
                    tree.insert(key(rank, slot), fit(cpu));
                    model.insert(slot, (rank, cpu));
                }
                let mut best = Fit::NONE;
                for (_, c) in model.values() {
                    best.join(&fit(*c));
                }
                prop_assert_eq!(tree.fit(), &best);
            }
        }
    }
}
