//! Rows by key: an ordered map, which becomes many small ones by the keys' first two bytes as it grows.
//!
//! Keys of most tables are hashes or are chosen by clients. A search in one large map then misses the cache at each level; in a
//! small one it seldom does. Keys that are chosen to share their first bytes gain nothing: they are found as in one map.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::{Bound, RangeBounds};

use crate::key::Key;

/// Rows of a shard before it is split, which takes well below a millisecond.
const SHARD_MAX: usize = 1 << 11;
/// Levels of shards: one for each byte that [`Key::lead`] gives.
const LEVELS: usize = 2;
/// Shards of a split.
const WAYS: usize = 1 << 8;

#[derive(Clone, Debug)]
enum Shard<K, V> {
    Rows(BTreeMap<K, V>),
    Split(Box<[Self]>),
}

impl<K, V> Default for Shard<K, V> {
    fn default() -> Self {
        Self::Rows(BTreeMap::new())
    }
}

/// An ordered map.
#[derive(Clone, Debug)]
pub(crate) struct Shards<K, V> {
    all: Shard<K, V>,
    len: usize,
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        Self {
            all: Shard::default(),
            len: 0,
        }
    }
}

/// Which of its parts a split at this level has a key in.
fn way(lead: [u8; LEVELS], level: usize) -> usize {
    lead.get(level).copied().map_or(0, usize::from)
}

impl<K: Key, V> Shard<K, V> {
    /// The map that has a key, if it has it, and its level.
    fn find(&self, key: &K) -> &BTreeMap<K, V> {
        let lead = key.lead();
        let (mut at, mut level) = (self, 0);
        loop {
            match at {
                Self::Rows(rows) => return rows,
                Self::Split(parts) => {
                    at = &parts[way(lead, level)];
                    level += 1;
                }
            }
        }
    }

    fn find_mut(&mut self, key: &K) -> &mut BTreeMap<K, V> {
        let lead = key.lead();
        let (mut at, mut level) = (self, 0);
        loop {
            match at {
                Self::Rows(rows) => return rows,
                Self::Split(parts) => {
                    at = &mut parts[way(lead, level)];
                    level += 1;
                }
            }
        }
    }

    /// Splits the map that has a key, if it is large and there is a byte to split it by.
    fn split(&mut self, key: &K) {
        let lead = key.lead();
        let (mut at, mut level) = (self, 0);
        while let Self::Split(parts) = at {
            at = &mut parts[way(lead, level)];
            level += 1;
        }
        let Self::Rows(rows) = at else { return };
        if level >= LEVELS || rows.len() < SHARD_MAX {
            return;
        }
        let mut parts: Vec<BTreeMap<K, V>> = Vec::new();
        parts.resize_with(WAYS, BTreeMap::new);
        for (key, row) in core::mem::take(rows) {
            parts[way(key.lead(), level)].insert(key, row);
        }
        *at = Self::Split(parts.into_iter().map(Self::Rows).collect());
    }

    /// Adds the maps whose keys may lie between two keys, in order.
    fn between<'a>(
        &'a self,
        level: usize,
        (from, to): (Option<[u8; LEVELS]>, Option<[u8; LEVELS]>),
        found: &mut Vec<&'a BTreeMap<K, V>>,
    ) {
        match self {
            Self::Rows(rows) if rows.is_empty() => {}
            Self::Rows(rows) => found.push(rows),
            Self::Split(parts) => {
                let first = from.map_or(0, |lead| way(lead, level));
                let last = to.map_or(WAYS - 1, |lead| way(lead, level));
                let inside = parts.iter().enumerate().skip(first);
                for (at, part) in inside.take((last + 1).saturating_sub(first)) {
                    // Only the parts at the ends are bounded further.
                    let ends = (from.filter(|_| at == first), to.filter(|_| at == last));
                    part.between(level + 1, ends, found);
                }
            }
        }
    }
}

impl<K: Key, V> Shards<K, V> {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.all.find(key).get(key)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.all.find_mut(key).get_mut(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let rows = self.all.find_mut(&key);
        if !K::SPREADS || rows.len() < SHARD_MAX {
            let old = rows.insert(key, value);
            self.len += usize::from(old.is_none());
            return old;
        }
        let old = rows.insert(key.clone(), value);
        self.len += usize::from(old.is_none());
        self.all.split(&key);
        old
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let old = self.all.find_mut(key).remove(key);
        self.len -= usize::from(old.is_some());
        old
    }

    /// The rows of a range of keys, in order.
    pub(crate) fn range(&self, range: impl RangeBounds<K>) -> impl Iterator<Item = (&K, &V)> {
        let lead = |bound: Bound<&K>| match bound {
            Bound::Included(key) | Bound::Excluded(key) => Some(key.lead()),
            Bound::Unbounded => None,
        };
        let ends = (lead(range.start_bound()), lead(range.end_bound()));
        let mut found = Vec::new();
        self.all.between(0, ends, &mut found);
        let bounds = (range.start_bound().cloned(), range.end_bound().cloned());
        found
            .into_iter()
            .flat_map(move |rows| rows.range((bounds.0.clone(), bounds.1.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Two = ([u8; 4], u8);

    /// Keys with few first bytes, so that some shards are split and others are not.
    fn key(n: u32) -> Two {
        let [a, b, c, d] = n.wrapping_mul(0x9e37_79b1).to_be_bytes();
        ([a & 0x83, if a & 1 == 0 { b } else { 7 }, c, d], b)
    }

    #[test]
    fn a_map_of_shards_is_the_map() {
        let (mut map, mut shards) = (BTreeMap::new(), Shards::default());
        for n in 0..40_000_u32 {
            let at = key(n / 2 * 3);
            if n % 7 == 6 {
                let gone = key(n / 3);
                assert_eq!(shards.remove(&gone), map.remove(&gone));
            }
            assert_eq!(shards.insert(at, n), map.insert(at, n));
        }
        assert_eq!(shards.len(), map.len());
        assert!(shards.range(..).eq(map.iter()));
        assert!(matches!(&shards.all, Shard::Split(parts)
            if parts.iter().any(|p| matches!(p, Shard::Split(_)))));
        for n in 0..2_000 {
            let (a, b) = (key(n * 13), key(n * 29));
            assert_eq!(shards.get(&a), map.get(&a));
            assert_eq!(shards.get_mut(&b), map.get_mut(&b));
            let (from, to) = (a.min(b), a.max(b));
            assert!(shards.range(from..to).eq(map.range(from..to)));
            assert!(shards.range(from..=to).eq(map.range(from..=to)));
            let after = (Bound::Excluded(from), Bound::Unbounded);
            assert!(shards.range(after).take(5).eq(map.range(after).take(5)));
        }
    }

    proptest! {
        #[test]
        fn chosen_first_bytes_change_nothing(keys: Vec<([u8; 2], u8)>) {
            let (mut map, mut shards) = (BTreeMap::new(), Shards::default());
            for n in 0..3_000_u16 {
                let [a, b] = n.to_be_bytes();
                shards.insert(([9, 9, a, b], 0), 0);
                map.insert(([9, 9, a, b], 0), 0);
            }
            for (lead, n) in keys {
                let key = ([lead[0], lead[1], n, 0], n);
                prop_assert_eq!(shards.insert(key, 1), map.insert(key, 1));
            }
            prop_assert!(shards.range(..).eq(map.iter()));
        }
    }
}
