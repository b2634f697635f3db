//! All nodes with their live copies, kept in every index.

mod reserve;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use betanet_wire::NodeId;

use crate::account::{Account, Grant, Released, devices};
use crate::attributes::{Attributes, KeyId, ValueId};
use crate::class::{Bounds, Classes, Order};
use crate::fit::Fit;
use crate::groups::{GroupId, Groups};
use crate::held::Held;
use crate::lots::Lots;
use crate::near::Trips;
use crate::node::{FAILURES, Live, Node, NodeSpec, REST};
use crate::seats::Seats;
use crate::totals::Totals;

/// All nodes.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) attributes: Attributes,
    pub(crate) classes: Classes,
    pub(crate) groups: Groups,
    pub(crate) seats: Seats,
    pub(crate) held: Held,
    pub(crate) trips: Trips,
    pub(crate) totals: Totals,
    pub(crate) lots: BTreeMap<[u8; 16], Lots>,
    pub(crate) copies: BTreeMap<u64, (Live, Grant)>,
    /// Live copies that were placed by a draw.
    pub(crate) drawn: u64,
    nodes: Vec<Option<Node>>,
    free: Vec<u32>,
    slots: BTreeMap<NodeId, u32>,
    rests: BTreeSet<(u64, u32)>,
    turn: u64,
    serial: u64,
    now: u64,
}

fn index(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// Attribute names and values of a record.
fn named(spec: &NodeSpec) -> impl Iterator<Item = (&str, &str)> {
    let fixed = [
        ("kind", spec.kind.as_str()),
        ("model", &*spec.model),
        ("org", &*spec.org),
        ("region", &*spec.region),
        ("zone", &*spec.zone),
    ];
    let labels = spec.labels.iter().map(|(k, v)| (&**k, &**v));
    fixed.into_iter().chain(labels)
}

impl Fleet {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            attributes: Attributes::new(),
            classes: Classes::new(bounds),
            groups: Groups::default(),
            seats: Seats::default(),
            held: Held::default(),
            trips: Trips::default(),
            totals: Totals::default(),
            lots: BTreeMap::new(),
            copies: BTreeMap::new(),
            drawn: 0,
            nodes: Vec::new(),
            free: Vec::new(),
            slots: BTreeMap::new(),
            rests: BTreeSet::new(),
            turn: 0,
            serial: 0,
            now: 0,
        }
    }

    pub(crate) fn node(&self, slot: u32) -> Option<&Node> {
        self.nodes.get(index(slot))?.as_ref()
    }

    fn node_mut(&mut self, slot: u32) -> Option<&mut Node> {
        self.nodes.get_mut(index(slot))?.as_mut()
    }

    pub(crate) fn slot(&self, id: &NodeId) -> Option<u32> {
        self.slots.get(id).copied()
    }

    /// All nodes, by ID.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (u32, &Node)> {
        self.slots
            .values()
            .filter_map(|s| Some((*s, self.node(*s)?)))
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The clock goes on: nodes that have rested take work again.
    pub(crate) fn advance(&mut self, now: u64) {
        self.now = self.now.max(now);
        while let Some((until, slot)) = self.rests.first().copied() {
            if until > self.now {
                return;
            }
            self.rests.pop_first();
            self.refresh(slot);
        }
    }

    /// Adds a node, or replaces the description of one. Returns its slot.
    pub(crate) fn put(&mut self, spec: &NodeSpec) -> u32 {
        match self.slot(&spec.id) {
            Some(slot) => {
                self.describe(slot, spec);
                slot
            }
            None => self.join(spec),
        }
    }

    fn join(&mut self, spec: &NodeSpec) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
        });
        self.turn += 1;
        self.serial += 1;
        let seat = self.seats.join(slot);
        self.slots.insert(spec.id, slot);
        let mut attrs: Vec<(KeyId, ValueId)> = named(spec)
            .map(|(k, v)| self.attributes.add(slot, k, v))
            .collect();
        attrs.sort_unstable();
        let (whole, _) = devices(&spec.capacity);
        let class = self.classes.enter(
            spec.level,
            whole,
            spec.vouched,
            &attrs,
            &self.attributes,
            self.slots.len(),
        );
        let node = Node {
            id: spec.id,
            level: spec.level,
            price: spec.price,
            rep: 0,
            vouched: spec.vouched,
            attrs,
            account: Account::new(spec.capacity),
            copies: Vec::new(),
            drawn: 0,
            yielding: [0; 2],
            active: false,
            work: true,
            failures: 0,
            rests_until: 0,
            turn: self.turn,
            serial: self.serial,
            seat,
            class,
            open: false,
            fit: Fit::NONE,
            ranks: [None; 4],
            counted: None,
        };
        if let Some(place) = self.nodes.get_mut(index(slot)) {
            *place = Some(node);
        }
        slot
    }

    /// Replaces the description of a node. Its copies, turn and seat stay.
    fn describe(&mut self, slot: u32, spec: &NodeSpec) {
        self.close(slot);
        let Some(node) = self.nodes.get_mut(index(slot)).and_then(Option::as_mut) else {
            return;
        };
        let old = core::mem::take(&mut node.attrs);
        let mut new: Vec<(KeyId, ValueId)> = named(spec)
            .map(|(k, v)| self.attributes.add(slot, k, v))
            .collect();
        new.sort_unstable();
        for fence in &node.copies {
            if let Some((live, _)) = self.copies.get(fence) {
                self.groups.add(live.group, slot, &new);
                self.groups.remove(live.group, slot, &old);
            }
        }
        for value in old.iter().filter(|v| !new.contains(v)) {
            self.attributes.remove(slot, *value);
        }
        node.level = spec.level;
        node.price = spec.price;
        node.vouched = spec.vouched;
        node.account.resize(spec.capacity);
        let (whole, _) = devices(&spec.capacity);
        self.classes.leave(node.class);
        node.class = self.classes.enter(
            spec.level,
            whole,
            spec.vouched,
            &new,
            &self.attributes,
            self.slots.len(),
        );
        node.attrs = new;
        self.refresh(slot);
    }

    /// Forgets a node that holds no copies and no lots.
    pub(crate) fn forget(&mut self, slot: u32) {
        if let Some(node) = self.node_mut(slot) {
            node.active = false;
        }
        self.refresh(slot);
        let Some(node) = self.nodes.get_mut(index(slot)).and_then(Option::take) else {
            return;
        };
        self.slots.remove(&node.id);
        self.free.push(slot);
        self.rests.remove(&(node.rests_until, slot));
        self.trips.remove(slot);
        self.held.leave(node.serial);
        self.classes.leave(node.class);
        for value in node.attrs {
            self.attributes.remove(slot, value);
        }
        self.seats.leave(node.seat);
        for slot in self.seats.crowd().into_iter().flatten() {
            let seat = self.seats.join(slot);
            if let Some(node) = self.nodes.get_mut(index(slot)).and_then(Option::as_mut) {
                node.seat = seat;
                if node.open {
                    self.seats.weigh(seat, node.level, node.weight());
                }
            }
        }
    }

    /// Changes something that only the tests of a node depend on.
    pub(crate) fn change(&mut self, slot: u32, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.node_mut(slot) {
            change(node);
            self.refresh(slot);
        }
    }

    /// Gives a node the next turn, and returns the one it had. [`Self::insert`] follows, which brings the indexes up to date.
    pub(crate) fn next_turn(&mut self, slot: u32) -> u64 {
        self.turn += 1;
        let turn = self.turn;
        self.node_mut(slot)
            .map_or(0, |n| core::mem::replace(&mut n.turn, turn))
    }

    /// Undoes [`Self::next_turn`].
    pub(crate) fn turn_back(&mut self, slot: u32, old: u64) {
        self.turn -= 1;
        self.change(slot, |n| n.turn = old);
    }

    /// Counts a copy whose resources are reserved.
    pub(crate) fn insert(&mut self, fence: u64, live: Live, grant: Grant) {
        let slot = live.slot;
        let Some(node) = self.nodes.get_mut(index(slot)).and_then(Option::as_mut) else {
            return;
        };
        node.count(&live, fence);
        self.groups.add(live.group, slot, &node.attrs);
        self.drawn += u64::from(live.drawn);
        self.copies.insert(fence, (live, grant));
        self.refresh(slot);
    }

    /// Takes a copy off its node and gives its resources back.
    pub(crate) fn remove(&mut self, fence: u64) -> Option<(Live, Released)> {
        let (live, grant) = self.copies.remove(&fence)?;
        let slot = live.slot;
        let node = self.nodes.get_mut(index(slot))?.as_mut()?;
        node.discount(&live, fence);
        self.groups.remove(live.group, slot, &node.attrs);
        self.drawn = self.drawn.saturating_sub(u64::from(live.drawn));
        let released = match live.lots.and_then(|id| self.lots.get_mut(&id)) {
            Some(lots) => lots.account.release(grant),
            None => node.account.release(grant),
        };
        self.refresh(slot);
        Some((live, released))
    }

    /// Undoes [`Self::remove`]. The group is entered again by the caller.
    pub(crate) fn restore(&mut self, fence: u64, live: Live, released: Released) {
        let grant = match live.lots.and_then(|id| self.lots.get_mut(&id)) {
            Some(lots) => lots.account.restore(released),
            None => match self.node_mut(live.slot) {
                Some(node) => node.account.restore(released),
                None => return,
            },
        };
        self.insert(fence, live, grant);
    }

    /// Counts the copies of a group by an attribute from now on.
    pub(crate) fn watch(&mut self, group: GroupId, key: KeyId) {
        let nodes = &self.nodes;
        self.groups.watch(group, key, |slot| {
            nodes.get(index(slot))?.as_ref()?.value(key)
        });
    }

    /// A copy ended well or badly: failures in a row send the node to rest.
    pub(crate) fn ended(&mut self, now: u64, slot: u32, failed: bool) {
        let Some(node) = self.node_mut(slot) else {
            return;
        };
        node.failures = if failed {
            node.failures.saturating_add(1)
        } else {
            0
        };
        if node.failures >= FAILURES {
            let old = node.rests_until;
            node.rests_until = now.saturating_add(REST);
            let until = node.rests_until;
            self.rests.remove(&(old, slot));
            self.rests.insert((until, slot));
            self.refresh(slot);
        }
    }

    /// Takes a node out of the orders of its class.
    fn close(&mut self, slot: u32) {
        let Some(node) = self.nodes.get_mut(index(slot)).and_then(Option::as_mut) else {
            return;
        };
        if !node.open {
            return;
        }
        node.open = false;
        for (order, rank) in Order::ALL.into_iter().zip(node.ranks) {
            if let (Some(rank), Some(tree)) = (rank, self.classes.order(node.class, order)) {
                tree.remove(&node.key(slot, rank));
            }
        }
        self.seats.weigh(node.seat, node.level, 0);
    }

    /// Brings every index up to date with a node.
    fn refresh(&mut self, slot: u32) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(index(slot)).and_then(Option::as_mut) else {
            return;
        };
        count(&mut self.totals, node);
        if !node.takes_work(now) {
            self.close(slot);
            return;
        }
        let fit = node.current_fit();
        let was_open = core::mem::replace(&mut node.open, true);
        let changed = !was_open || fit != node.fit;
        for (at, order) in Order::ALL.into_iter().enumerate() {
            let old = node.ranks[at].filter(|_| was_open);
            let new = node.rank(order);
            node.ranks[at] = new;
            let Some(tree) = self.classes.order(node.class, order) else {
                continue;
            };
            match (old, new) {
                (Some(a), Some(b)) if a == b => {
                    if changed {
                        tree.set_fit(&node.key(slot, a), fit);
                    }
                }
                (a, b) => {
                    if let Some(a) = a {
                        tree.remove(&node.key(slot, a));
                    }
                    if let Some(b) = b {
                        tree.insert(node.key(slot, b), fit);
                    }
                }
            }
        }
        node.fit = fit;
        self.seats.weigh(node.seat, node.level, node.weight());
    }
}

/// Brings the totals up to date with a node.
fn count(totals: &mut Totals, node: &mut Node) {
    let new = node
        .active
        .then(|| (*node.account.cap(), *node.account.reserved(), node.price));
    match (&node.counted, &new) {
        (Some((cap, old, price)), Some((c, r, p))) if cap == c && price == p => {
            totals.replace(old, r);
        }
        (old, new) => {
            if let Some((cap, reserved, price)) = old {
                totals.remove(cap, reserved, *price);
            }
            if let Some((cap, reserved, price)) = new {
                totals.add(cap, reserved, *price);
            }
        }
    }
    node.counted = new;
}
