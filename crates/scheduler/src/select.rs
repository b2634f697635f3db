//! The smallest key among the nodes that pass all tests.

mod parts;

use alloc::vec::Vec;
use core::cmp::Ordering;

use betanet_fog::{Op, Resource, Strategy};

use crate::class::Set;
use crate::fit::Want;
use crate::fleet::Fleet;
use crate::node::{Order, UNLISTED};
use crate::ordered::Key;
use crate::query::Query;
use crate::request::Request;

/// A node with the key of a strategy, all but its ID: smallest first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Candidate {
    /// Negative sum of weights, or the level of distance.
    first: i64,
    /// What the node has not at hand of the task's blobs: `u64::MAX` less the bytes that it holds.
    second: u64,
    rank: u64,
    slot: u32,
}

/// Nodes with the same first part of their keys.
#[derive(Clone, Debug)]
struct Part {
    first: i64,
    /// Their classes; `None`: all.
    set: Option<Set>,
    want: Want,
}

/// The rule of one search.
struct Search<'s, 'q> {
    fleet: &'s Fleet,
    query: &'s Query<'q>,
    rule: Strategy,
    order: Order,
    second: bool,
}

/// The order in which a rule looks for its node.
fn order(request: &Request<'_>, rule: Strategy) -> Order {
    match rule {
        Strategy::RoundRobin => Order::Turn,
        Strategy::Affinity if request.resources.get(Resource::Gpu) > 0 => Order::Gpu,
        Strategy::Affinity => Order::Cpu,
        _ => Order::Load,
    }
}

/// The orders that a decision may look into.
pub(crate) fn orders(request: &Request<'_>) -> impl Iterator<Item = Order> + use<> {
    let preempts = crate::node::takes(request.tier) != 0;
    let own = order(request, request.rule());
    core::iter::once(own).chain(preempts.then_some(Order::Load))
}

/// The node that gets the copy by `rule`, or `None` if none passes.
pub(crate) fn best(fleet: &Fleet, query: &Query<'_>, rule: Strategy, second: bool) -> Option<u32> {
    let search = Search {
        fleet,
        query,
        rule,
        order: order(query.request, rule),
        second,
    };
    search.run()
}

impl Search<'_, '_> {
    fn run(&self) -> Option<u32> {
        if let Some(few) = self.few() {
            return self.best_of(&few).map(|c| c.slot);
        }
        let (parts, alone) = self.split();
        let mut best = self.best_of(&alone);
        for part in &parts {
            let until = match &best {
                Some(b) if (b.first, b.second) < (part.first, u64::MAX) => break,
                Some(b) if b.first == part.first => Some(*b),
                _ => None,
            };
            best = self.in_part(part, until, &alone).or(best);
        }
        best.map(|c| c.slot)
    }

    /// The only candidates, where they are few: nodes of a rare required value.
    fn few(&self) -> Option<Vec<Candidate>> {
        let required = self.query.needs.iter().filter(|t| t.op == Op::In);
        let rarest = required.min_by_key(|t| t.attr.count(self.fleet))?;
        if rarest.attr.count(self.fleet) > self.fleet.classes.bounds().rare {
            return None;
        }
        let mut slots = Vec::new();
        rarest.attr.collect(self.fleet, &mut slots);
        Some(self.keyed(slots))
    }

    /// The best node of a part that is better than `until`. Nodes that stand alone have other keys.
    fn in_part(
        &self,
        part: &Part,
        until: Option<Candidate>,
        alone: &[Candidate],
    ) -> Option<Candidate> {
        let passes = |slot: u32| {
            alone.binary_search_by_key(&slot, |c| c.slot).is_err()
                && self.query.passes(self.fleet, slot, self.second)
        };
        let found = |slot, rank| Candidate {
            first: part.first,
            second: u64::MAX,
            rank,
            slot,
        };
        let classes = &self.fleet.classes;
        if let Some(set) = &part.set {
            if set.is_empty() {
                return None;
            }
            // A look at one node costs about four steps through an order, and of those one in N / n meets such a node.
            let most = (self.fleet.len() * classes.bounds().list / 4).isqrt();
            if classes.are_few(set, most) {
                let mut best: Option<Candidate> = None;
                for slot in classes.nodes(set) {
                    let hot = self.fleet.hot(slot);
                    let next = found(slot, hot.ranks[self.order as usize]);
                    let better = |b: Candidate| self.compare(&next, &b) == Ordering::Less;
                    if next.rank != UNLISTED
                        && part.want.admits(&hot.fit)
                        && best.or(until).is_none_or(better)
                        && passes(slot)
                    {
                        best = Some(next);
                    }
                }
                return best;
            }
        }
        let asked = self.query.request.resources;
        let from = match self.order {
            Order::Gpu => asked.get(Resource::Gpu),
            Order::Cpu => asked.get(Resource::Cpu),
            _ => 0,
        };
        let mut until = until.and_then(|c| self.key(&c));
        let mut best = None;
        let set = part.set.as_ref();
        for (at, tree) in self.fleet.order(self.order).iter().enumerate() {
            if set.is_none_or(|s| classes.in_tree(at, s))
                && let Some(key) = tree.first_where(from, until.as_ref(), &part.want, set, passes)
            {
                until = Some(key);
                best = Some(found(key.slot, key.rank));
            }
        }
        best
    }

    fn key(&self, candidate: &Candidate) -> Option<Key> {
        let node = self.fleet.node(candidate.slot)?;
        Some(node.key(candidate.slot, candidate.rank))
    }

    fn compare(&self, a: &Candidate, b: &Candidate) -> Ordering {
        let key = |c: &Candidate| (c.first, c.second, c.rank);
        let id = |c: &Candidate| self.fleet.node(c.slot).map(|n| n.id);
        key(a).cmp(&key(b)).then_with(|| id(a).cmp(&id(b)))
    }

    /// The best candidate that passes. Few are tested, because most pass.
    fn best_of(&self, all: &[Candidate]) -> Option<Candidate> {
        let passes = |c: &Candidate| self.query.passes(self.fleet, c.slot, self.second);
        let best = all.iter().min_by(|a, b| self.compare(a, b))?;
        if passes(best) {
            return Some(*best);
        }
        let mut sorted = all.to_vec();
        sorted.sort_unstable_by(|a, b| self.compare(a, b));
        sorted.into_iter().skip(1).find(passes)
    }
}
