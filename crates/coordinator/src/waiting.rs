//! Tasks that wait for nodes, in the order in which they are placed.

use alloc::collections::{BTreeMap, BTreeSet};

use betanet_fog::TaskId;
use betanet_scheduler::Place;

use crate::state::tasks::Alike;

#[derive(Debug, Default)]
struct Group {
    tasks: BTreeMap<Place, TaskId>,
    blocked: bool,
}

/// The queue. Tasks are grouped by all that their placement depends on: where the first of a group does not fit, none of it does
/// until something changes. So a task that does not fit holds up nobody, and costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    groups: BTreeMap<Alike, Group>,
    /// First task of each group that is not blocked.
    heads: BTreeSet<(Place, Alike)>,
    blocked: BTreeSet<Alike>,
    len: usize,
}

impl Waiting {
    pub(crate) fn insert(&mut self, alike: Alike, place: Place, task: TaskId) {
        let group = self.groups.entry(alike).or_default();
        let old = group.tasks.first_key_value().map(|(p, _)| *p);
        if group.tasks.insert(place, task).is_none() {
            self.len += 1;
        }
        if !group.blocked && old.is_none_or(|old| place < old) {
            if let Some(old) = old {
                self.heads.remove(&(old, alike));
            }
            self.heads.insert((place, alike));
        }
    }

    pub(crate) fn remove(&mut self, alike: Alike, place: Place) {
        let Some(group) = self.groups.get_mut(&alike) else {
            return;
        };
        if group.tasks.remove(&place).is_none() {
            return;
        }
        self.len -= 1;
        self.heads.remove(&(place, alike));
        match group.tasks.first_key_value() {
            None => {
                self.groups.remove(&alike);
                self.blocked.remove(&alike);
            }
            Some((first, _)) if !group.blocked => {
                self.heads.insert((*first, alike));
            }
            Some(_) => {}
        }
    }

    /// The first task that may fit.
    pub(crate) fn first(&self) -> Option<(Alike, TaskId)> {
        let (place, alike) = self.heads.first()?;
        let task = self.groups.get(alike)?.tasks.get(place)?;
        Some((*alike, *task))
    }

    /// The first of the group does not fit.
    pub(crate) fn block(&mut self, alike: Alike) {
        let Some(group) = self.groups.get_mut(&alike) else {
            return;
        };
        group.blocked = true;
        self.blocked.insert(alike);
        if let Some((first, _)) = group.tasks.first_key_value() {
            self.heads.remove(&(*first, alike));
        }
    }

    /// Something changed: all groups may fit.
    pub(crate) fn unblock(&mut self) {
        for alike in core::mem::take(&mut self.blocked) {
            if let Some(group) = self.groups.get_mut(&alike) {
                group.blocked = false;
                if let Some((first, _)) = group.tasks.first_key_value() {
                    self.heads.insert((*first, alike));
                }
            }
        }
    }

    pub(crate) fn has_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }

    #[cfg(test)]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use betanet_fog::Tier;

    fn place(tier: Tier, prio: u8, ready: u64) -> Place {
        Place::new(tier, prio, ready)
    }

    fn id(n: u8) -> TaskId {
        TaskId([n; 32])
    }

    #[test]
    fn a_group_that_does_not_fit_holds_up_nobody() {
        let mut q = Waiting::default();
        q.insert(1, place(Tier::Bronze, 0, 9), id(3));
        q.insert(1, place(Tier::Gold, 0, 10), id(1));
        q.insert(2, place(Tier::Silver, 9, 11), id(2));
        assert_eq!(q.first(), Some((1, id(1))));
        q.block(1);
        assert_eq!(q.first(), Some((2, id(2))));
        q.insert(1, place(Tier::Platinum, 0, 12), id(4));
        assert_eq!(q.first(), Some((2, id(2))));
        q.remove(2, place(Tier::Silver, 9, 11));
        assert_eq!((q.first(), q.len(), q.has_blocked()), (None, 3, true));
        q.unblock();
        assert_eq!(q.first(), Some((1, id(4))));
        q.remove(1, place(Tier::Platinum, 0, 12));
        assert_eq!(q.first(), Some((1, id(1))));
        q.block(1);
        for (tier, at) in [(Tier::Gold, 10), (Tier::Bronze, 9)] {
            q.remove(1, place(tier, 0, at));
        }
        assert_eq!((q.first(), q.len(), q.has_blocked()), (None, 0, false));
    }
}
