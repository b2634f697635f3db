use alloc::collections::{BTreeMap, BTreeSet};

use crate::{Keyset, KeysetError, KeysetId, Phase};

/// Most keysets that are known at once.
pub const KEYSETS_MAX: usize = 256;

/// The keysets that a wallet, a payee or a service knows.
#[derive(Clone, Debug, Default)]
pub struct Keysets {
    of: BTreeMap<KeysetId, Keyset>,
    /// Every point of each.
    points: BTreeMap<KeysetId, BTreeSet<[u8; 96]>>,
}

impl Keysets {
    /// Adds a checked keyset, or replaces one by itself with refreshed shares.
    ///
    /// # Errors
    ///
    /// One of its keys is a key of another known keyset, or too many are known.
    pub fn add(&mut self, keyset: Keyset) -> Result<(), KeysetError> {
        let id = keyset.id();
        if !self.of.contains_key(&id) && self.of.len() >= KEYSETS_MAX {
            return Err(KeysetError::Full);
        }
        let mut own = BTreeSet::new();
        for (e, point) in keyset.points() {
            let bytes = point.to_bytes();
            let mut others = self.points.iter().filter(|(other, _)| **other != id);
            if others.any(|(_, points)| points.contains(&bytes)) {
                return Err(KeysetError::KeyTwice(e));
            }
            own.insert(bytes);
        }
        self.points.insert(id, own);
        self.of.insert(id, keyset);
        Ok(())
    }

    /// The keyset of this ID.
    #[must_use]
    pub fn get(&self, id: &KeysetId) -> Option<&Keyset> {
        self.of.get(id)
    }

    /// Forgets a keyset, as when it has expired.
    pub fn remove(&mut self, id: &KeysetId) {
        self.of.remove(id);
        self.points.remove(id);
    }

    /// All, by their IDs.
    pub fn iter(&self) -> impl Iterator<Item = &Keyset> {
        self.of.values()
    }

    /// The one keyset of this unit under which new vouchers are issued: of the active ones the one that began last, and of those
    /// that began together the one with the lowest ID.
    #[must_use]
    pub fn active(&self, unit: &str, unix_ms: u64) -> Option<&Keyset> {
        let active = self
            .iter()
            .filter(|k| k.unit() == unit && k.phase(unix_ms) == Phase::Active);
        active.max_by_key(|k| (k.not_before(), core::cmp::Reverse(k.id())))
    }
}
