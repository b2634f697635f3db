//! All nodes with their live copies, kept in every index.

mod reserve;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use betanet_fog::Resource;
use betanet_wire::NodeId;

use crate::account::{Account, Grant, Released};
use crate::attributes::{Attributes, KeyId, ValueId};
use crate::class::{Bounds, Class, Classes};
use crate::groups::{GroupId, Groups};
use crate::held::Held;
use crate::lots::Lots;
use crate::near::Trips;
use crate::node::{FAILURES, Hot, Live, Node, NodeSpec, Order, REST, UNLISTED};
use crate::ordered::Ordered;
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
    hot: Vec<Hot>,
    /// The trees of each order that some decision has needed.
    orders: [Vec<Ordered>; 4],
    free: Vec<u32>,
    slots: BTreeMap<NodeId, u32>,
    rests: BTreeSet<(u64, u32)>,
    turn: u64,
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
            hot: Vec::new(),
            orders: Default::default(),
            free: Vec::new(),
            slots: BTreeMap::new(),
            rests: BTreeSet::new(),
            turn: 0,
            now: 0,
        }
    }

    pub(crate) fn node(&self, slot: u32) -> Option<&Node> {
        self.nodes.get(index(slot))?.as_ref()
    }

    /// What searches read of a node.
    pub(crate) fn hot(&self, slot: u32) -> &Hot {
        self.hot.get(index(slot)).unwrap_or(&Hot::NONE)
    }

    /// The trees of an order that [`Self::keep`] was called for.
    pub(crate) fn order(&self, order: Order) -> &[Ordered] {
        &self.orders[order as usize]
    }

    /// Keeps an order from now on.
    pub(crate) fn keep(&mut self, order: Order) {
        let at = order as usize;
        if !self.orders[at].is_empty() {
            return;
        }
        let mut new = Vec::new();
        new.resize_with(self.classes.trees(), Ordered::default);
        for (slot, (node, hot)) in (0..).zip(self.nodes.iter().zip(&self.hot)) {
            if let Some(node) = node.as_ref().filter(|n| n.open)
                && hot.ranks[at] != UNLISTED
                && let Some(tree) = new.get_mut(node.tree)
            {
                tree.insert(node.key(slot, hot.ranks[at]), hot.fit);
            }
        }
        self.orders[at] = new;
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
            self.hot.push(Hot::NONE);
            u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
        });
        self.turn += 1;
        let seat = self.seats.join(slot);
        self.slots.insert(spec.id, slot);
        let mut attrs: Vec<(KeyId, ValueId)> = named(spec)
            .map(|(k, v)| self.attributes.add(slot, k, v))
            .collect();
        attrs.sort_unstable();
        let class = self.classes.enter(
            slot,
            (spec.vouched, spec.capacity.get(Resource::Gpu) > 0),
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
            seat,
            class,
            tree: self.classes.tree(class),
            open: false,
            counted: None,
        };
        if let Some(place) = self.nodes.get_mut(index(slot)) {
            *place = Some(node);
        }
        self.tell(slot);
        slot
    }

    /// A value that is common with this node was not before: the classes of the others did not tell it.
    fn tell(&mut self, slot: u32) {
        let least = self.classes.bounds().common;
        let attrs = self.node(slot).map_or(&[][..], |n| &n.attrs);
        let new = |v: &ValueId| self.attributes.count(*v) == least;
        let new = attrs.iter().map(|(_, v)| *v).filter(new);
        let mut others: Vec<u32> = new.flat_map(|v| self.attributes.nodes(v)).collect();
        others.sort_unstable();
        others.dedup();
        for other in others.into_iter().filter(|s| *s != slot) {
            self.close(other);
            self.classify(other);
            self.refresh(other);
        }
    }

    /// Puts a node into the class that its attributes now have.
    fn classify(&mut self, slot: u32) {
        let all = self.slots.len();
        if let Some(node) = self.nodes.get_mut(index(slot)).and_then(Option::as_mut) {
            self.classes.leave(slot, node.class);
            let (attrs, table) = (&node.attrs, &self.attributes);
            let devices = node.account.cap().get(Resource::Gpu) > 0;
            let kind = (node.vouched, devices);
            node.class = self.classes.enter(slot, kind, attrs, table, all);
            node.tree = self.classes.tree(node.class);
        }
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
        node.attrs = new;
        self.classify(slot);
        self.refresh(slot);
        self.tell(slot);
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
        self.held.leave(slot);
        self.classes.leave(slot, node.class);
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

    /// Takes a node out of all orders.
    fn close(&mut self, slot: u32) {
        let Some(node) = self.nodes.get_mut(index(slot)).and_then(Option::as_mut) else {
            return;
        };
        if !node.open {
            return;
        }
        node.open = false;
        if let Some(hot) = self.hot.get_mut(index(slot)) {
            let old = core::mem::replace(hot, Hot::NONE);
            for (trees, rank) in self.orders.iter_mut().zip(old.ranks) {
                if let Some(tree) = trees.get_mut(node.tree)
                    && rank != UNLISTED
                {
                    tree.remove(&node.key(slot, rank));
                }
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
        node.open = true;
        let new = node.hot(self.classes.get(node.class).map_or(0, Class::facts));
        let Some(hot) = self.hot.get_mut(index(slot)) else {
            return;
        };
        let old = core::mem::replace(hot, new);
        for (at, trees) in self.orders.iter_mut().enumerate() {
            let Some(tree) = trees.get_mut(node.tree) else {
                continue;
            };
            let (a, b) = (old.ranks[at], new.ranks[at]);
            if a == b {
                if old.fit != new.fit && b != UNLISTED {
                    tree.set_fit(&node.key(slot, b), new.fit);
                }
                continue;
            }
            if a != UNLISTED {
                tree.remove(&node.key(slot, a));
            }
            if b != UNLISTED {
                tree.insert(node.key(slot, b), new.fit);
            }
        }
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
