//! A table of the state, with an undo list, and with indexes by due time and by owner.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::{Bound, RangeBounds};

use betanet_wire::NodeId;
use betanet_wire::cbor::{Decode, Reader, Writer};

use crate::key::Key;
use crate::shards::Shards;
use crate::tree::Change;

/// So many rows are removed before repeats among the changed keys are dropped.
const REMOVED: usize = 1 << 16;

/// A class of events that are due at a time. Within a time, classes go in this order.
pub(crate) type Due = (u64, u8);

/// A row of a table.
pub(crate) trait Row: Clone + for<'a> Decode<'a> {
    /// The table's number.
    const TABLE: u8;
    /// The table's key.
    type Key: Key;
    /// Whether rows have events or owners.
    const IS_INDEXED: bool;

    /// Appends the row's value.
    fn write(&self, w: &mut Writer);

    /// When something happens to the row, and the event's class.
    fn due(&self, _key: &Self::Key) -> Option<Due> {
        None
    }

    /// Accounts under which the row is found.
    fn owners(&self, _key: &Self::Key) -> Vec<NodeId> {
        Vec::new()
    }
}

/// A row, and the round in which its key was last noted as changed.
#[derive(Clone, Debug)]
struct Held<R> {
    row: R,
    noted: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Table<R: Row> {
    rows: Shards<R::Key, Held<R>>,
    due: BTreeSet<(Due, R::Key)>,
    owned: BTreeSet<(NodeId, R::Key)>,
    /// What was there before each change since the last commit.
    undo: Vec<(R::Key, Option<R>)>,
    /// Keys that changed since the tree was brought up to date, or were changed and changed back. Only keys of removed rows repeat.
    touched: Vec<R::Key>,
    /// Rows that were removed since repeats were last dropped.
    removed: usize,
    /// Number of times that the tree was brought up to date.
    round: u32,
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        Self {
            rows: Shards::default(),
            due: BTreeSet::new(),
            owned: BTreeSet::new(),
            undo: Vec::new(),
            touched: Vec::new(),
            removed: 0,
            round: 1,
        }
    }
}

impl<R: Row> Table<R> {
    #[allow(clippy::unused_self, reason = "the caller has a table, not its type")]
    pub(crate) const fn number(&self) -> u8 {
        R::TABLE
    }

    pub(crate) fn get(&self, key: &R::Key) -> Option<&R> {
        self.rows.get(key).map(|held| &held.row)
    }

    pub(crate) fn has(&self, key: &R::Key) -> bool {
        self.rows.get(key).is_some()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&R::Key, &R)> {
        self.range(..)
    }

    pub(crate) fn range(
        &self,
        range: impl RangeBounds<R::Key>,
    ) -> impl Iterator<Item = (&R::Key, &R)> {
        self.rows.range(range).map(|(key, held)| (key, &held.row))
    }

    /// Keys of an account's rows from `first` on.
    pub(crate) fn owned(&self, owner: NodeId, first: R::Key) -> impl Iterator<Item = &R::Key> {
        self.owned
            .range((owner, first)..)
            .take_while(move |(o, _)| *o == owner)
            .map(|(_, key)| key)
    }

    /// The first event.
    pub(crate) fn first_due(&self) -> Option<(Due, &R::Key)> {
        self.due.first().map(|(due, key)| (*due, key))
    }

    /// Keys of rows with an event to come.
    pub(crate) fn scheduled(&self) -> impl Iterator<Item = &R::Key> {
        self.due.iter().map(|(_, key)| key)
    }

    /// Number of events at or before a time, counted up to `most`.
    pub(crate) fn count_due(&self, now: u64, most: usize) -> usize {
        let early = self.due.iter().take(most);
        early.take_while(|((at, _), _)| *at <= now).count()
    }

    pub(crate) fn set(&mut self, key: R::Key, row: R) {
        let old = self.swap(key.clone(), Some(row));
        self.undo.push((key, old));
    }

    pub(crate) fn remove(&mut self, key: &R::Key) -> Option<R> {
        let old = self.swap(key.clone(), None)?;
        self.undo.push((key.clone(), Some(old.clone())));
        Some(old)
    }

    /// Changes a row in place, if it is there. Returns whether it is.
    pub(crate) fn edit(&mut self, key: &R::Key, change: impl FnOnce(&mut R)) -> bool {
        if R::IS_INDEXED {
            let Some(mut row) = self.get(key).cloned() else {
                return false;
            };
            change(&mut row);
            self.set(key.clone(), row);
            return true;
        }
        let Some(held) = self.rows.get_mut(key) else {
            return false;
        };
        self.undo.push((key.clone(), Some(held.row.clone())));
        change(&mut held.row);
        if held.noted != self.round {
            held.noted = self.round;
            self.touched.push(key.clone());
        }
        true
    }

    /// Puts a row or takes it out, and notes its key. Returns what was there.
    fn exchange(&mut self, key: &R::Key, row: Option<R>) -> Option<R> {
        let noted = self.round;
        let old = match row {
            Some(row) => self.rows.insert(key.clone(), Held { row, noted }),
            None => self.rows.remove(key),
        };
        let is_noted = old.as_ref().is_some_and(|old| old.noted == noted);
        if !is_noted {
            self.touched.push(key.clone());
        }
        old.map(|held| held.row)
    }

    fn swap(&mut self, key: R::Key, row: Option<R>) -> Option<R> {
        if !R::IS_INDEXED {
            let is_removed = row.is_none();
            let old = self.exchange(&key, row);
            self.removed += usize::from(is_removed);
            return old;
        }
        let due = row.as_ref().and_then(|r| r.due(&key));
        let owners = row.as_ref().map(|r| r.owners(&key)).unwrap_or_default();
        self.removed += usize::from(row.is_none());
        let old = self.exchange(&key, row);
        let (old_due, old_owners) = match &old {
            Some(old) => (old.due(&key), old.owners(&key)),
            None => (None, Vec::new()),
        };
        if due != old_due {
            if let Some(due) = old_due {
                self.due.remove(&(due, key.clone()));
            }
            if let Some(due) = due {
                self.due.insert((due, key.clone()));
            }
        }
        if owners != old_owners {
            for owner in old_owners {
                self.owned.remove(&(owner, key.clone()));
            }
            for owner in owners {
                self.owned.insert((owner, key.clone()));
            }
        }
        old
    }

    /// Place in the undo list to which [`Table::back`] returns.
    pub(crate) fn mark(&self) -> usize {
        self.undo.len()
    }

    /// Undoes all changes since a mark.
    pub(crate) fn back(&mut self, mark: usize) {
        while self.undo.len() > mark {
            let Some((key, old)) = self.undo.pop() else {
                return;
            };
            self.swap(key, old);
        }
    }

    /// Makes all changes final.
    pub(crate) fn commit(&mut self) {
        self.undo.clear();
        // The sorting is paid for by as many removals.
        if self.removed >= REMOVED.max(self.touched.len() / 2) {
            self.settle_touched();
        }
    }

    fn settle_touched(&mut self) {
        self.touched.sort_unstable();
        self.touched.dedup();
        self.removed = 0;
    }

    /// Adds what changed since the state's tree was brought up to date.
    pub(crate) fn changes(&mut self, all: &mut Vec<Change>) {
        // Without repeats, and in the order in which the rows lie.
        self.settle_touched();
        self.round = self.round.wrapping_add(1).max(1);
        all.reserve(self.touched.len());
        let mut name = Vec::with_capacity(64);
        for key in core::mem::take(&mut self.touched) {
            let value = self.get(&key).map(value);
            name.clear();
            write_name::<R>(&key, &mut name);
            all.push(Change::new(&name, value.as_deref()));
        }
    }

    /// All rows, for a tree of their own.
    pub(crate) fn leaves(&self) -> Vec<Change> {
        let leaf = |(key, row): (&R::Key, &R)| Change::new(&name::<R>(key), Some(&value(row)));
        self.iter().map(leaf).collect()
    }

    /// The encoded row under an encoded key.
    pub(crate) fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        let key = R::Key::read(key)?;
        self.get(&key).map(value)
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Up to `n` encoded rows whose keys follow `after`. A key that does not read is followed by none.
    pub(crate) fn page(&self, after: Option<&[u8]>, n: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let from = match after.map(R::Key::read) {
            None => Bound::Unbounded,
            Some(Some(key)) => Bound::Excluded(key),
            Some(None) => return Vec::new(),
        };
        let rows = self.range((from, Bound::Unbounded)).take(n);
        let encoded = |(key, row): (&R::Key, &R)| {
            let mut bytes = Vec::new();
            key.write(&mut bytes);
            (bytes, value(row))
        };
        rows.map(encoded).collect()
    }

    /// All rows, encoded.
    pub(crate) fn dump(&self, each: &mut dyn FnMut(u8, Vec<u8>, Vec<u8>)) {
        for (key, row) in self.iter() {
            let mut bytes = Vec::new();
            key.write(&mut bytes);
            each(R::TABLE, bytes, value(row));
        }
    }

    /// Puts an encoded row. `None`: it does not read.
    pub(crate) fn load(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        let key = R::Key::read(key)?;
        let mut r = Reader::new(value);
        let row = R::decode(&mut r).ok()?;
        r.end().ok()?;
        self.swap(key, Some(row));
        Some(())
    }
}

/// Table number and key, whose hash is the key of the leaf.
fn name<R: Row>(key: &R::Key) -> Vec<u8> {
    let mut name = Vec::with_capacity(64);
    write_name::<R>(key, &mut name);
    name
}

fn write_name<R: Row>(key: &R::Key, out: &mut Vec<u8>) {
    out.push(R::TABLE);
    key.write(out);
}

fn value<R: Row>(row: &R) -> Vec<u8> {
    // Most rows fit, without growing.
    let mut w = Writer::with_capacity(96);
    row.write(&mut w);
    w.into_vec()
}
