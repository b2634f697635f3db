//! Records that accounts own: found by ID, bounded in all and for each account.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::{AccountId, Error};

/// A record with an ID of its own, which an account owns.
pub(crate) trait Owned {
    /// Its ID.
    type Id: Copy + Ord;
    /// Most of them, and most of one account.
    const BOUNDS: (usize, usize);

    fn id(&self) -> Self::Id;
    fn account(&self) -> AccountId;
    /// The record of an account with the earliest time makes room for a new one.
    fn since(&self) -> u64;
}

/// All records of one kind.
#[derive(Clone, Debug)]
pub(crate) struct ByAccount<T: Owned> {
    all: BTreeMap<T::Id, T>,
    of: BTreeMap<AccountId, Vec<T::Id>>,
}

impl<T: Owned> Default for ByAccount<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Owned> ByAccount<T> {
    pub(crate) const fn new() -> Self {
        Self {
            all: BTreeMap::new(),
            of: BTreeMap::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn get(&self, id: &T::Id) -> Option<&T> {
        self.all.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: &T::Id) -> Option<&mut T> {
        self.all.get_mut(id)
    }

    /// The records of an account.
    pub(crate) fn of(&self, account: AccountId) -> impl Iterator<Item = &T> {
        let own = self.of.get(&account).into_iter().flatten();
        own.filter_map(|id| self.all.get(id))
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] or [`Error::Full`].
    pub(crate) fn add(&mut self, record: T) -> Result<(), Error> {
        self.put(record, 0)
    }

    /// Puts a stored record back. One more than the most is taken: a log may have it before the end of the one that made room.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] or [`Error::Full`].
    pub(crate) fn restore(&mut self, record: T) -> Result<(), Error> {
        self.put(record, 1)
    }

    fn put(&mut self, record: T, beyond: usize) -> Result<(), Error> {
        let (most, most_of_one) = T::BOUNDS;
        if self.all.contains_key(&record.id()) {
            return Err(Error::Exists);
        }
        let own = self.of.get(&record.account()).map_or(0, Vec::len);
        if own >= most_of_one + beyond || self.all.len() >= most + beyond {
            return Err(Error::Full(most));
        }
        self.of
            .entry(record.account())
            .or_default()
            .push(record.id());
        self.all.insert(record.id(), record);
        Ok(())
    }

    /// Removes the record of an account that makes room, if the account has the most. Returns its ID.
    pub(crate) fn make_room(&mut self, account: AccountId) -> Option<T::Id> {
        let own = self.of.get(&account)?;
        if own.len() < T::BOUNDS.1 {
            return None;
        }
        let since = |id: &&T::Id| self.all.get(*id).map_or(0, T::since);
        let id = *own.iter().min_by_key(since)?;
        self.remove(&id);
        Some(id)
    }

    pub(crate) fn remove(&mut self, id: &T::Id) -> Option<T> {
        let record = self.all.remove(id)?;
        if let Some(own) = self.of.get_mut(&record.account()) {
            own.retain(|i| i != id);
            if own.is_empty() {
                self.of.remove(&record.account());
            }
        }
        Some(record)
    }

    /// Removes the records that are dead. Returns their IDs.
    pub(crate) fn sweep(&mut self, dead: impl Fn(&T) -> bool) -> Vec<T::Id> {
        let found = self.all.values().filter(|r| dead(r));
        let found: Vec<T::Id> = found.map(T::id).collect();
        for id in &found {
            self.remove(id);
        }
        found
    }
}
