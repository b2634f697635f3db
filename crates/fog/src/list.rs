use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;

/// A list of at most `N` items.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct List<T, const N: usize = 64>(Vec<T>);

/// A map of at most 64 entries with text keys.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Map<K, V>(BTreeMap<K, V>);

/// More items than a list or a map may hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0} items where {1} are allowed")]
pub struct TooMany(pub usize, pub usize);

impl<T, const N: usize> List<T, N> {
    /// An empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The items, without the bound.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<K, V> Map<K, V> {
    /// Most entries.
    pub const MAX: usize = 64;

    /// An empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T, const N: usize> TryFrom<Vec<T>> for List<T, N> {
    type Error = TooMany;

    fn try_from(items: Vec<T>) -> Result<Self, TooMany> {
        if items.len() > N {
            return Err(TooMany(items.len(), N));
        }
        Ok(Self(items))
    }
}

impl<K, V> TryFrom<BTreeMap<K, V>> for Map<K, V> {
    type Error = TooMany;

    fn try_from(entries: BTreeMap<K, V>) -> Result<Self, TooMany> {
        if entries.len() > Self::MAX {
            return Err(TooMany(entries.len(), Self::MAX));
        }
        Ok(Self(entries))
    }
}

impl<T, const N: usize> Default for List<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const N: usize> Deref for List<T, N> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<K, V> Deref for Map<K, V> {
    type Target = BTreeMap<K, V>;
    fn deref(&self) -> &BTreeMap<K, V> {
        &self.0
    }
}

impl<'a, T, const N: usize> IntoIterator for &'a List<T, N> {
    type Item = &'a T;
    type IntoIter = core::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: fmt::Debug, const N: usize> fmt::Debug for List<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
