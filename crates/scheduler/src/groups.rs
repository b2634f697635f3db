//! Live copies of each namespace and group, counted by node and by the attributes that tasks spread over.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::attributes::{KeyId, ValueId};

/// Number of a namespace and group with live copies.
pub(crate) type GroupId = u32;

#[derive(Debug, Default)]
struct Group {
    ns: Box<str>,
    name: Box<str>,
    /// Live copies on each node.
    nodes: BTreeMap<u32, u32>,
    /// Live copies by value, for each attribute that some task spread over.
    views: BTreeMap<KeyId, BTreeMap<ValueId, u32>>,
}

/// All groups with live copies.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    numbers: BTreeMap<Box<str>, BTreeMap<Box<str>, GroupId>>,
    groups: Vec<Group>,
    free: Vec<GroupId>,
}

fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// Takes one from a count, and the count from the map when none is left.
fn less<K: Ord>(map: &mut BTreeMap<K, u32>, key: &K) {
    if let Some(n) = map.get_mut(key) {
        *n = n.saturating_sub(1);
        if *n == 0 {
            map.remove(key);
        }
    }
}

impl Groups {
    pub(crate) fn find(&self, ns: &str, name: &str) -> Option<GroupId> {
        self.numbers.get(ns)?.get(name).copied()
    }

    fn get(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(index(id))
    }

    /// The group, made where no live copy is in it yet. A copy must be added at once.
    pub(crate) fn enter(&mut self, ns: &str, name: &str) -> GroupId {
        if let Some(id) = self.find(ns, name) {
            return id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.groups.push(Group::default());
            u32::try_from(self.groups.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(g) = self.groups.get_mut(index(id)) {
            g.ns = ns.into();
            g.name = name.into();
        }
        let names = self.numbers.entry(ns.into()).or_default();
        names.insert(name.into(), id);
        id
    }

    /// Counts a copy on a node.
    pub(crate) fn add(&mut self, id: GroupId, slot: u32, attrs: &[(KeyId, ValueId)]) {
        let Some(g) = self.groups.get_mut(index(id)) else {
            return;
        };
        *g.nodes.entry(slot).or_default() += 1;
        for (key, view) in &mut g.views {
            if let Some((_, v)) = attrs.iter().find(|(k, _)| k == key) {
                *view.entry(*v).or_default() += 1;
            }
        }
    }

    /// Takes a copy off a node. The group is forgotten with its last copy.
    pub(crate) fn remove(&mut self, id: GroupId, slot: u32, attrs: &[(KeyId, ValueId)]) {
        let Some(g) = self.groups.get_mut(index(id)) else {
            return;
        };
        less(&mut g.nodes, &slot);
        for (key, view) in &mut g.views {
            if let Some((_, v)) = attrs.iter().find(|(k, _)| k == key) {
                less(view, v);
            }
        }
        // A name that no node has any more may be given to another attribute.
        g.views.retain(|_, view| !view.is_empty());
        if !g.nodes.is_empty() {
            return;
        }
        let gone = core::mem::take(g);
        self.free.push(id);
        if let Some(names) = self.numbers.get_mut(&gone.ns) {
            names.remove(&gone.name);
            if names.is_empty() {
                self.numbers.remove(&gone.ns);
            }
        }
    }

    /// Namespace and name of a group.
    pub(crate) fn names(&self, id: GroupId) -> (Box<str>, Box<str>) {
        self.get(id)
            .map(|g| (g.ns.clone(), g.name.clone()))
            .unwrap_or_default()
    }

    /// Whether a live copy of the group is on the node.
    pub(crate) fn on(&self, id: GroupId, slot: u32) -> bool {
        self.get(id).is_some_and(|g| g.nodes.contains_key(&slot))
    }

    /// Whether a live copy of the group is on a node with the value. [`Self::watch`] comes first.
    pub(crate) fn has(&self, id: GroupId, key: KeyId, value: ValueId) -> bool {
        let view = self.get(id).and_then(|g| g.views.get(&key));
        view.is_some_and(|v| v.contains_key(&value))
    }

    /// Values of the nodes on which the group has live copies. [`Self::watch`] comes first.
    pub(crate) fn values(&self, id: GroupId, key: KeyId) -> impl Iterator<Item = ValueId> + '_ {
        let view = self.get(id).and_then(|g| g.views.get(&key));
        view.into_iter().flat_map(|v| v.keys().copied())
    }

    /// Counts the copies of a group by an attribute from now on.
    pub(crate) fn watch(
        &mut self,
        id: GroupId,
        key: KeyId,
        value_of: impl Fn(u32) -> Option<ValueId>,
    ) {
        let Some(g) = self.groups.get_mut(index(id)) else {
            return;
        };
        if g.views.contains_key(&key) {
            return;
        }
        let mut view = BTreeMap::new();
        for (slot, n) in &g.nodes {
            if let Some(v) = value_of(*slot) {
                *view.entry(v).or_default() += n;
            }
        }
        if !view.is_empty() {
            g.views.insert(key, view);
        }
    }
}
