//! The smallest key among the nodes that pass all tests.

use alloc::vec::Vec;

use betanet_fog::{Op, Resource, Strategy};

use crate::class::{Class, Known, Order};
use crate::fleet::Fleet;
use crate::node::Node;
use crate::ordered::Key;
use crate::query::{Attr, Query};

/// Key of a strategy: smallest first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Rank {
    /// Negative sum of weights, or the level of distance.
    first: i64,
    /// What the node has not at hand of the task's blobs: `u64::MAX` less the bytes that it holds.
    second: u64,
    key: Key,
}

/// The rule of one search.
struct Search<'s, 'q> {
    fleet: &'s Fleet,
    query: &'s Query<'q>,
    rule: Strategy,
    order: Order,
    /// Bytes of the task's blobs at hand, by node, ascending.
    bytes: Vec<(u32, u64)>,
    second: bool,
}

/// The node that gets the copy by `rule`, or `None` if none passes.
pub(crate) fn best(fleet: &Fleet, query: &Query<'_>, rule: Strategy, second: bool) -> Option<u32> {
    let order = match rule {
        Strategy::RoundRobin => Order::Turn,
        Strategy::Affinity if query.request.resources.get(Resource::Gpu) > 0 => Order::Gpu,
        Strategy::Affinity => Order::Cpu,
        _ => Order::Load,
    };
    let mut search = Search {
        fleet,
        query,
        rule,
        order,
        bytes: Vec::new(),
        second,
    };
    if rule == Strategy::Affinity {
        search.count_bytes();
    }
    search.run()
}

impl Search<'_, '_> {
    fn count_bytes(&mut self) {
        for (blob, size) in self.query.request.blobs {
            let holders = self.fleet.held.holders(self.query.now, blob);
            self.bytes.extend(holders.map(|slot| (slot, *size)));
        }
        self.bytes.sort_unstable();
        self.bytes.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 = kept.1.saturating_add(next.1);
            }
            same
        });
    }

    /// Bytes of the task's blobs that a node holds.
    fn bytes_on(&self, slot: u32) -> u64 {
        let at = self.bytes.binary_search_by_key(&slot, |(s, _)| *s);
        at.ok()
            .and_then(|at| self.bytes.get(at))
            .map_or(0, |(_, b)| *b)
    }

    fn run(&self) -> Option<u32> {
        if let Some(few) = self.few() {
            return self.best_of(&few).map(|r| r.key.slot);
        }
        let (classes, alone) = self.split();
        let mut best = self.best_of(&alone);
        let asked = self.query.request.resources;
        let from = match self.order {
            Order::Gpu => asked.get(Resource::Gpu),
            Order::Cpu => asked.get(Resource::Cpu),
            _ => 0,
        };
        for (first, class) in classes {
            let until = match &best {
                Some(b) if (b.first, b.second) < (first, u64::MAX) => break,
                Some(b) if b.first == first => Some(b.key),
                _ => None,
            };
            let passes = |slot| {
                alone.binary_search(&slot).is_err()
                    && self.query.passes(self.fleet, slot, self.second)
            };
            let tree = class.order(self.order);
            if let Some(key) = tree.first_where(from, until.as_ref(), &self.query.want, passes) {
                best = Some(Rank {
                    first,
                    second: u64::MAX,
                    key,
                });
            }
        }
        best.map(|r| r.key.slot)
    }

    /// The only candidates, where they are few: nodes of a rare required value.
    fn few(&self) -> Option<Vec<u32>> {
        let required = self.query.needs.iter().filter(|t| t.op == Op::In);
        let rarest = required.min_by_key(|t| t.attr.count(self.fleet))?;
        if rarest.attr.count(self.fleet) > self.fleet.classes.bounds().rare {
            return None;
        }
        let mut out = Vec::new();
        rarest.attr.collect(self.fleet, &mut out);
        Some(out)
    }

    /// The classes that may match, best first, and the nodes whose key their class does not tell.
    fn split(&self) -> (Vec<(i64, &Class)>, Vec<u32>) {
        let mut classes = Vec::with_capacity(self.fleet.classes.bounds().all + 1);
        let mut alone: Vec<u32> = self.bytes.iter().map(|(slot, _)| *slot).collect();
        let mut apart = Apart::default();
        for (_, class) in self.fleet.classes.iter() {
            let tree = class.order(self.order);
            if !self.query.want.admits(tree.fit()) || !self.query.admits(self.fleet, class) {
                continue;
            }
            let first = match self.rule {
                Strategy::Affinity => self.weight_of(class, &mut apart),
                Strategy::Proximity => self.distance_of(class, &mut apart),
                _ => 0,
            };
            classes.push((first, class));
        }
        match self.rule {
            Strategy::Affinity => {
                for ((attr, _), unknown) in self.query.prefs.iter().zip(&apart.prefs) {
                    if *unknown {
                        attr.collect(self.fleet, &mut alone);
                    }
                }
                classes.sort_by_key(|(first, _)| *first);
            }
            Strategy::Proximity => {
                let near = &self.query.near;
                if let Some(id) = &near.node {
                    let trips = self.fleet.trips.to(self.query.now, id);
                    alone.extend(trips.map(|(slot, _)| slot));
                }
                let of = |v| self.fleet.attributes.nodes(v);
                alone.extend(
                    near.region
                        .filter(|_| apart.region)
                        .into_iter()
                        .flat_map(of),
                );
                alone.extend(near.zone.filter(|_| apart.zone).into_iter().flat_map(of));
                classes.sort_by_key(|(first, _)| *first);
            }
            _ => {}
        }
        alone.sort_unstable();
        alone.dedup();
        (classes, alone)
    }

    /// Negative sum of the weights that all nodes of a class have; the others' nodes stand alone.
    fn weight_of(&self, class: &Class, apart: &mut Apart) -> i64 {
        apart.prefs.resize(self.query.prefs.len(), false);
        let mut sum = 0;
        for ((attr, weight), unknown) in self.query.prefs.iter().zip(&mut apart.prefs) {
            match attr.holds_for(class) {
                Some(true) => sum += weight,
                Some(false) => {}
                None => *unknown = true,
            }
        }
        -sum
    }

    /// Level of the distance of a class without measurements.
    fn distance_of(&self, class: &Class, apart: &mut Apart) -> i64 {
        let near = &self.query.near;
        let Some(region) = near.region else {
            return level(FAR);
        };
        match class.knows(crate::attributes::REGION) {
            Known::Value(v) if v == region => {}
            Known::Unknown => {
                apart.region = true;
                return level(FAR);
            }
            _ => return level(FAR),
        }
        match (near.zone, class.knows(crate::attributes::ZONE)) {
            (Some(zone), Known::Value(v)) if v == zone => level(IN_ZONE),
            (Some(_), Known::Unknown) => {
                apart.zone = true;
                level(IN_REGION)
            }
            _ => level(IN_REGION),
        }
    }

    /// The best of some nodes that passes.
    fn best_of(&self, slots: &[u32]) -> Option<Rank> {
        if self.rule != Strategy::Affinity || !self.query.prefs.is_empty() {
            return self.first_of(slots.iter().copied());
        }
        // Without weights, those that hold most come first, whatever else they are.
        let mut by_bytes: Vec<(u64, u32)> = slots
            .iter()
            .map(|slot| (u64::MAX - self.bytes_on(*slot), *slot))
            .collect();
        by_bytes.sort_unstable();
        by_bytes
            .chunk_by(|a, b| a.0 == b.0)
            .find_map(|equal| self.first_of(equal.iter().map(|(_, slot)| *slot)))
    }

    /// The first in order that passes. Few are tested, because most pass.
    fn first_of(&self, slots: impl Iterator<Item = u32>) -> Option<Rank> {
        let mut ranks: Vec<Rank> = slots.filter_map(|slot| self.rank(slot)).collect();
        ranks.sort_unstable();
        ranks
            .into_iter()
            .find(|r| self.query.passes(self.fleet, r.key.slot, self.second))
    }

    /// Key of one node.
    fn rank(&self, slot: u32) -> Option<Rank> {
        let node = self.fleet.node(slot)?;
        let first = match self.rule {
            Strategy::Affinity => -self.weight(slot, node),
            Strategy::Proximity => self.distance(slot, node),
            _ => 0,
        };
        Some(Rank {
            first,
            second: u64::MAX - self.bytes_on(slot),
            key: node.key(slot, node.rank(self.order)?),
        })
    }

    fn weight(&self, slot: u32, node: &Node) -> i64 {
        let listed = |(attr, _): &&(Attr, i64)| attr.holds(slot, node);
        self.query.prefs.iter().filter(listed).map(|(_, w)| w).sum()
    }

    fn distance(&self, slot: u32, node: &Node) -> i64 {
        let near = &self.query.near;
        let measured = near
            .node
            .and_then(|id| self.fleet.trips.between(self.query.now, slot, &id));
        let is = |key, v: crate::attributes::ValueId| node.value(key) == Some(v);
        level(measured.unwrap_or_else(|| {
            match near.region.filter(|v| is(crate::attributes::REGION, *v)) {
                None => FAR,
                Some(_) => match near.zone.filter(|v| is(crate::attributes::ZONE, *v)) {
                    None => IN_REGION,
                    Some(_) => IN_ZONE,
                },
            }
        }))
    }
}

/// Distances without a measurement, in ms.
const IN_ZONE: u64 = 5;
const IN_REGION: u64 = 30;
const FAR: u64 = 200;

/// Bit length of a distance: nodes within a factor of two are equally near.
fn level(ms: u64) -> i64 {
    i64::from(u64::BITS - ms.leading_zeros())
}

/// Terms that some class cannot answer for all its nodes.
#[derive(Default)]
struct Apart {
    prefs: Vec<bool>,
    region: bool,
    zone: bool,
}
