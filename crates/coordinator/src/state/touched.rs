//! Nodes and tasks that the newest records changed, for lists that are kept beside the state. It is no part of the state.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use betanet_fog::TaskId;
use betanet_wire::NodeId;

/// Entries that are kept. Whoever is further behind reads all anew.
pub(crate) const TOUCHED_MAX: usize = 8_192;

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Id {
    Node(NodeId),
    Task(TaskId),
}

/// The newest entries, each with the index of its record, ascending.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    ring: VecDeque<(u64, Id)>,
    /// Index after which the ring has all; `None` before the first record.
    from: Option<u64>,
}

/// What changed after a position.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Since {
    /// Index of the last record of these.
    pub(crate) until: u64,
    pub(crate) ids: BTreeSet<Id>,
}

impl Touched {
    /// Notes what the record at `index` changed, which follows the one at `before`.
    pub(super) fn note(&mut self, before: u64, index: u64, ids: impl Iterator<Item = Id>) {
        self.from.get_or_insert(before);
        if index != before.saturating_add(1) {
            // What lies between came with a snapshot, and is not known row by row.
            self.ring.clear();
            self.from = Some(index.saturating_sub(1));
        }
        // One record changes few rows, and many of them several times.
        let ids: BTreeSet<Id> = ids.collect();
        self.ring.extend(ids.into_iter().map(|id| (index, id)));
        while self.ring.len() > TOUCHED_MAX {
            self.from = self.ring.pop_front().map(|(at, _)| at);
        }
    }

    /// What changed after a position: that of the first records, up to about so many rows. `last` is the index of the last record. `None`
    /// if it is not known any more.
    pub(crate) fn after(&self, after: u64, last: u64, most: usize) -> Option<Since> {
        let mut since = Since {
            until: last,
            ids: BTreeSet::new(),
        };
        if after >= last {
            return Some(since);
        }
        if self.from.is_none_or(|from| after < from) {
            return None;
        }
        let at = self.ring.partition_point(|(index, _)| *index <= after);
        let mut newer = self.ring.iter().skip(at).peekable();
        while let Some((index, id)) = newer.next() {
            since.ids.insert(*id);
            let whole = newer.peek().is_none_or(|(next, _)| next != index);
            if whole && since.ids.len() >= most && newer.peek().is_some() {
                since.until = *index;
                break;
            }
        }
        Some(since)
    }
}

/// Rows that were changed since this was asked last.
#[derive(Debug)]
pub(crate) struct Marks<T>(Vec<T>);

impl<T> Default for Marks<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy + PartialEq> Marks<T> {
    pub(super) fn mark(&mut self, id: T) {
        if self.0.last() != Some(&id) {
            self.0.push(id);
        }
    }

    pub(super) fn take(&mut self) -> Vec<T> {
        core::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(n: u8) -> Id {
        Id::Task(TaskId([n; 32]))
    }

    #[test]
    fn rows_of_records_that_came_with_a_snapshot_are_not_known() {
        let mut touched = Touched::default();
        // The snapshot stands under 9, and its own last record is 5.
        touched.note(5, 10, [task(1)].into_iter());
        for after in [4, 5, 8] {
            assert_eq!(touched.after(after, 10, 10), None, "{after}");
        }
        assert_eq!(touched.after(9, 10, 10).unwrap().ids, [task(1)].into());
        touched.note(10, 20, [task(2)].into_iter());
        assert_eq!(touched.after(10, 20, 10), None);
        assert_eq!(touched.after(19, 20, 10).unwrap().ids, [task(2)].into());
    }

    #[test]
    fn rows_that_changed_are_known_for_a_while_and_told_record_by_record() {
        let mut touched = Touched::default();
        assert_eq!(touched.after(0, 5, 10), None, "restored at 5");
        assert_eq!(touched.after(5, 5, 10).unwrap().until, 5);
        touched.note(5, 6, [task(1), task(2), task(1)].into_iter());
        touched.note(6, 7, core::iter::empty());
        touched.note(7, 8, [task(1)].into_iter());
        assert_eq!(touched.after(4, 8, 10), None);
        let since = touched.after(5, 8, 10).unwrap();
        assert_eq!((since.until, since.ids.len()), (8, 2));
        // A record is told whole.
        let since = touched.after(5, 8, 1).unwrap();
        assert_eq!((since.until, since.ids.len()), (6, 2));
        let since = touched.after(6, 8, 1).unwrap();
        assert_eq!((since.until, since.ids), (8, [task(1)].into()));
        for n in 0..TOUCHED_MAX as u64 {
            touched.note(n + 8, n + 9, [task(3)].into_iter());
        }
        assert_eq!(touched.ring.len(), TOUCHED_MAX);
        let last = TOUCHED_MAX as u64 + 8;
        assert_eq!(touched.after(7, last, 10), None);
        assert_eq!(touched.after(8, last, 10).unwrap().ids.len(), 1);
    }
}
