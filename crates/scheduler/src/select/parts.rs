//! How each strategy parts the nodes: classes with equal keys, best first, and nodes whose key their class does not tell.

use alloc::vec::Vec;

use betanet_fog::Strategy;

use super::{Candidate, Part, Search};
use crate::attributes::{REGION, ZONE};
use crate::class::{Holding, Set};
use crate::node::UNLISTED;
use crate::query::Attr;

/// Distances without a measurement, in ms.
const IN_ZONE: u64 = 5;
const IN_REGION: u64 = 30;
const FAR: u64 = 200;

/// Bit length of a distance: nodes within a factor of two are equally near.
fn level(ms: u64) -> i64 {
    i64::from(u64::BITS - ms.leading_zeros())
}

/// Adds numbers to those of a list, both ascending by slot.
fn merge(list: Vec<(u32, u64)>, more: impl Iterator<Item = (u32, u64)>) -> Vec<(u32, u64)> {
    let mut out = Vec::with_capacity(list.len() + more.size_hint().1.unwrap_or(0));
    let mut list = list.into_iter().peekable();
    for (slot, number) in more {
        while let Some(old) = list.next_if(|(s, _)| *s < slot) {
            out.push(old);
        }
        let same = list.next_if(|(s, _)| *s == slot).map_or(0, |(_, n)| n);
        out.push((slot, number.saturating_add(same)));
    }
    out.extend(list);
    out
}

impl Search<'_, '_> {
    /// The parts, best first, and the nodes that stand alone, ascending by slot.
    pub(super) fn split(&self) -> (Vec<Part>, Vec<Candidate>) {
        match self.rule {
            Strategy::Affinity => self.by_weight(),
            Strategy::Proximity => self.by_distance(),
            _ => (Vec::from([self.all(0)]), Vec::new()),
        }
    }

    /// Candidates with the keys of these nodes, of which none is listed twice.
    pub(super) fn keyed(&self, slots: Vec<u32>) -> Vec<Candidate> {
        let bytes = match self.rule {
            Strategy::Affinity => self.bytes(),
            _ => Vec::new(),
        };
        let at_hand = |slot| match bytes.binary_search_by_key(&slot, |(s, _)| *s) {
            Ok(at) => bytes[at].1,
            Err(_) => 0,
        };
        let keyed = |slot| {
            let first = match self.rule {
                Strategy::Affinity => -self.weight(slot),
                Strategy::Proximity => self.measured(slot).unwrap_or_else(|| self.distance(slot)),
                _ => 0,
            };
            self.candidate(slot, first, at_hand(slot))
        };
        slots.into_iter().filter_map(keyed).collect()
    }

    /// All nodes that may pass, as one part.
    fn all(&self, first: i64) -> Part {
        Part {
            first,
            set: self.query.set().cloned(),
            want: self.query.want,
        }
    }

    /// The candidate, if the index does not tell that it fails.
    fn candidate(&self, slot: u32, first: i64, bytes: u64) -> Option<Candidate> {
        let hot = self.fleet.hot(slot);
        let rank = hot.ranks[self.order as usize];
        (rank != UNLISTED && self.query.may_pass(&hot.fit)).then_some(Candidate {
            first,
            second: u64::MAX - bytes,
            rank,
            slot,
        })
    }

    /// Bytes of the task's blobs that nodes hold, ascending by slot.
    fn bytes(&self) -> Vec<(u32, u64)> {
        let mut out: Vec<(u32, u64)> = Vec::new();
        // Holders of an empty blob are no better than other nodes.
        let blobs = self.query.request.blobs.iter().filter(|(_, n)| *n > 0);
        for (blob, size) in blobs {
            let holders = self.fleet.held.holders(self.query.now, blob);
            out = merge(out, holders.map(|slot| (slot, *size)));
        }
        out
    }

    /// Nodes with one of the values, of classes that do not tell.
    fn untold(&self, attr: &Attr, holding: &Holding, set: &Set, out: &mut Vec<u32>) {
        if !holding.unknown.meets(set) {
            return;
        }
        let mut unknown = holding.unknown.clone();
        unknown.keep(set);
        let classes = &self.fleet.classes;
        let from = out.len();
        if classes.are_few(&unknown, attr.count(self.fleet)) {
            out.extend(classes.nodes(&unknown));
        } else {
            attr.collect(self.fleet, out);
        }
        let mut at = 0;
        out.retain(|slot| {
            at += 1;
            let holds = || self.fleet.node(*slot).is_some_and(|n| attr.holds(*slot, n));
            at <= from || unknown.has(self.fleet.hot(*slot).fit.class()) && holds()
        });
    }

    fn by_weight(&self) -> (Vec<Part>, Vec<Candidate>) {
        let mut parts = Vec::from([self.all(0)]);
        let mut untold = Vec::new();
        for (attr, weight) in &self.query.prefs {
            let (key, values) = match attr {
                Attr::Nodes(slots) => {
                    untold.extend(slots);
                    continue;
                }
                Attr::Values(key, values) => (*key, values),
            };
            let holding = self.fleet.classes.holding(key, values);
            let all = self.query.set().unwrap_or(self.fleet.classes.all());
            self.untold(attr, &holding, all, &mut untold);
            if *weight != 0 && holding.known.meets(all) {
                parts = self.cut(parts, *weight, &holding);
            }
        }
        let bytes = self.bytes();
        if untold.is_empty() {
            let first = |slot| {
                let class = self.fleet.hot(slot).fit.class();
                let of = |p: &&Part| p.set.as_ref().is_none_or(|s| s.has(class));
                parts.iter().find(of).map(|p| p.first)
            };
            let keyed = |(slot, bytes)| self.candidate(slot, first(slot)?, bytes);
            if parts.len() == 1 {
                // One of those that hold most is the best, if any of them passes.
                let most = bytes.iter().map(|(_, b)| *b).max();
                let top = bytes.iter().copied().filter(|(_, b)| Some(*b) == most);
                let top: Vec<Candidate> = top.filter_map(keyed).collect();
                if let Some(best) = self.best_of(&top) {
                    return (Vec::new(), Vec::from([best]));
                }
            }
            let alone = bytes.into_iter().filter_map(keyed).collect();
            return (parts, alone);
        }
        untold.extend(bytes.into_iter().map(|(slot, _)| slot));
        untold.sort_unstable();
        untold.dedup();
        let alone = self.keyed(untold);
        (parts, alone)
    }

    /// Parts the classes of each part into those with a value and those without.
    fn cut(&self, parts: Vec<Part>, weight: i64, holding: &Holding) -> Vec<Part> {
        let all = self.fleet.classes.all();
        let mut out: Vec<Part> = Vec::with_capacity(2 * parts.len());
        for part in parts {
            let rest = part.set.unwrap_or_else(|| all.clone());
            let mut with = rest.clone();
            with.keep(&holding.known);
            let mut without = rest;
            without.without(&holding.known);
            let halves = [
                (part.first - weight, with, part.want.and(holding.facts)),
                (part.first, without, part.want),
            ];
            let full = halves.into_iter().filter(|(_, set, _)| !set.is_empty());
            out.extend(full.map(|(first, set, want)| Part {
                first,
                set: Some(set),
                want,
            }));
        }
        out.sort_by_key(|p| p.first);
        out.dedup_by(|next, kept| {
            let same = next.first == kept.first;
            if same && let (Some(kept), Some(next)) = (&mut kept.set, &next.set) {
                kept.join(next);
            }
            if same {
                kept.want = self.query.want;
            }
            same
        });
        out
    }

    fn by_distance(&self) -> (Vec<Part>, Vec<Candidate>) {
        let near = &self.query.near;
        let mut alone = Vec::new();
        if let Some(id) = &near.node {
            let trips = self.fleet.trips.to(self.query.now, id);
            alone.extend(trips.filter_map(|(slot, ms)| self.candidate(slot, level(ms), 0)));
        }
        let Some(region) = near.region else {
            return (Vec::from([self.all(level(FAR))]), alone);
        };
        let classes = &self.fleet.classes;
        let all = self.query.set().unwrap_or(classes.all());
        let part = |first, set: Set, want| Part {
            first: level(first),
            set: Some(set),
            want,
        };
        let mut untold = Vec::new();
        let here = classes.holding(REGION, &[region]);
        self.untold(
            &Attr::Values(REGION, Vec::from([region])),
            &here,
            all,
            &mut untold,
        );
        let mut inside = all.clone();
        inside.keep(&here.known);
        let mut outside = all.clone();
        outside.without(&here.known);
        let want = self.query.want.and(here.facts);
        let mut parts = Vec::with_capacity(3);
        if let Some(zone) = near.zone {
            let next = classes.holding(ZONE, &[zone]);
            self.untold(
                &Attr::Values(ZONE, Vec::from([zone])),
                &next,
                &inside,
                &mut untold,
            );
            let mut within = inside.clone();
            within.keep(&next.known);
            inside.without(&next.known);
            parts.push(part(IN_ZONE, within, want.and(next.facts)));
        }
        parts.push(part(IN_REGION, inside, want));
        parts.push(part(FAR, outside, self.query.want));
        if !untold.is_empty() {
            untold.sort_unstable();
            untold.dedup();
            let known = alone.len();
            for slot in untold {
                let trips = alone.get(..known).unwrap_or_default();
                if trips.binary_search_by_key(&slot, |c| c.slot).is_err()
                    && self.measured(slot).is_none()
                {
                    alone.extend(self.candidate(slot, self.distance(slot), 0));
                }
            }
            alone.sort_unstable_by_key(|c| c.slot);
        }
        (parts, alone)
    }

    /// Sum of the weights of a node.
    fn weight(&self, slot: u32) -> i64 {
        let Some(node) = self.fleet.node(slot) else {
            return 0;
        };
        let listed = |(attr, _): &&(Attr, i64)| attr.holds(slot, node);
        self.query.prefs.iter().filter(listed).map(|(_, w)| w).sum()
    }

    /// Level of the distance that a node measured.
    fn measured(&self, slot: u32) -> Option<i64> {
        let to = self.query.near.node?;
        let ms = self.fleet.trips.between(self.query.now, slot, &to)?;
        Some(level(ms))
    }

    /// Level of the distance of a node that has not measured it.
    fn distance(&self, slot: u32) -> i64 {
        let near = &self.query.near;
        let node = self.fleet.node(slot);
        let is = |key, v| node.is_some_and(|n| n.value(key) == Some(v));
        level(match near.region.filter(|v| is(REGION, *v)) {
            None => FAR,
            Some(_) => match near.zone.filter(|v| is(ZONE, *v)) {
                None => IN_REGION,
                Some(_) => IN_ZONE,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use betanet_fog::{Amounts, Kind, Level, Placement, Resources, TaskId, Tier, Word};
    use betanet_wire::NodeId;

    use super::*;
    use crate::{Ended, NewCopy, NodeSpec, Placer, Request};

    fn amounts(cpu: u64) -> Resources {
        let memory = 1 << 30;
        let amounts = Amounts {
            cpu,
            memory,
            ..Amounts::default()
        };
        Resources::new(amounts).unwrap()
    }

    fn spec(n: u8, cpu: u64) -> NodeSpec {
        NodeSpec {
            id: NodeId([n; 20]),
            capacity: amounts(cpu),
            kind: Kind::Compute,
            model: Word::default(),
            org: "lab".parse().unwrap(),
            vouched: true,
            region: Word::default(),
            zone: Word::default(),
            labels: BTreeMap::new(),
            level: Level::Public,
            price: 1,
        }
    }

    #[test]
    fn a_holder_of_an_empty_blob_is_no_better_than_others() {
        let mut placer = Placer::new();
        let (resources, wishes) = (amounts(100), Placement::default());
        let place = |placer: &mut Placer, fence, blobs: &[_]| {
            let request = Request {
                task: &TaskId([1; 32]),
                ns: "lab",
                group: "",
                tier: Tier::Bronze,
                prio: 0,
                level: Level::Public,
                strategy: Strategy::Affinity,
                resources: &resources,
                wishes: &wishes,
                blobs,
                seed: &[0; 32],
                factor: 1_000_000,
                apart: &[],
                failed: &[],
                preempted: 0,
                reservation: None,
            };
            let copy = NewCopy { number: 0, fence };
            let placed = placer.place(fence, &request, &[copy]).unwrap().unwrap();
            placed.copies[0].node
        };
        let (roomy, tight) = (NodeId([1; 20]), NodeId([2; 20]));
        placer.put(&spec(1, 4_000));
        placer.set_active(&roomy, true, true).unwrap();
        assert_eq!(place(&mut placer, 1, &[]), roomy);
        let blob = [7; 32];
        placer.end(2, 1, Ended::Result(&[blob]));
        placer.put(&spec(2, 2_000));
        placer.set_active(&tight, true, true).unwrap();
        // Of two nodes that hold the same, the one with less free takes it.
        assert_eq!(place(&mut placer, 3, &[(blob, 0)]), tight);
        placer.end(4, 3, Ended::Result(&[]));
        assert_eq!(place(&mut placer, 5, &[(blob, 1)]), roomy);
    }
}
