//! The chapter's text as a slow program: every node is asked, nothing is indexed. The placer must agree with it.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use betanet_fog::{Digest, Level, Op, Reason, Resource, Strategy, Tier, draw};
use betanet_wire::NodeId;

use crate::{NewCopy, NodeSpec, Placed, Placement, Request, Why};

#[derive(Clone, Debug)]
pub(crate) struct MNode {
    pub(crate) spec: NodeSpec,
    pub(crate) active: bool,
    pub(crate) work: bool,
    pub(crate) rep: u32,
    pub(crate) failures: u32,
    pub(crate) rests_until: u64,
    pub(crate) turn: u64,
    /// Blobs and when they were last named in a result.
    pub(crate) held: BTreeMap<Digest, u64>,
    pub(crate) trips: BTreeMap<NodeId, (u64, u64)>,
}

#[derive(Clone, Debug)]
pub(crate) struct MCopy {
    pub(crate) node: NodeId,
    ns: String,
    group: String,
    tier: Tier,
    prio: u8,
    preempted: u8,
    drawn: bool,
    amounts: [u64; 6],
    devices: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// In join order.
    pub(crate) nodes: Vec<MNode>,
    pub(crate) copies: BTreeMap<u64, MCopy>,
    counter: u64,
}

fn amounts(res: &betanet_fog::Resources) -> [u64; 6] {
    let all = res.amounts();
    [
        all.cpu,
        all.memory,
        all.storage,
        all.gpu,
        all.bandwidth,
        all.relay,
    ]
}

const GPU: usize = 3;
const RELAY: usize = 5;

impl Model {
    pub(crate) fn put(&mut self, spec: &NodeSpec) {
        if let Some(n) = self.nodes.iter_mut().find(|n| n.spec.id == spec.id) {
            n.spec = spec.clone();
            return;
        }
        self.counter += 1;
        self.nodes.push(MNode {
            spec: spec.clone(),
            active: false,
            work: true,
            rep: 0,
            failures: 0,
            rests_until: 0,
            turn: self.counter,
            held: BTreeMap::new(),
            trips: BTreeMap::new(),
        });
    }

    pub(crate) fn node(&mut self, id: &NodeId) -> Option<&mut MNode> {
        self.nodes.iter_mut().find(|n| n.spec.id == *id)
    }

    pub(crate) fn remove(&mut self, id: &NodeId) {
        self.nodes.retain(|n| n.spec.id != *id);
        self.copies.retain(|_, c| c.node != *id);
    }

    fn on(&self, n: &MNode) -> impl Iterator<Item = (&u64, &MCopy)> {
        let id = n.spec.id;
        self.copies.iter().filter(move |(_, c)| c.node == id)
    }

    pub(crate) fn reserved(&self, n: &MNode) -> [u64; 6] {
        let mut sum = [0; 6];
        for (_, c) in self.on(n) {
            for (s, a) in sum.iter_mut().zip(c.amounts) {
                *s += a;
            }
        }
        sum
    }

    /// Free thousandths of each device.
    fn devices(&self, n: &MNode, but: &[u64]) -> Vec<u64> {
        let count = n.spec.capacity.get(Resource::Gpu) / 1_000;
        let mut free = alloc::vec![1_000u64; usize::try_from(count).unwrap()];
        for (fence, c) in self.on(n) {
            if but.contains(fence) {
                continue;
            }
            for d in &c.devices {
                if let Some(f) = free.get_mut(usize::from(*d)) {
                    *f -= c.amounts[GPU].min(1_000);
                }
            }
        }
        free
    }

    fn pick(&self, n: &MNode, gpu: u64, but: &[u64]) -> Option<Vec<u8>> {
        let free = self.devices(n, but);
        let byte = |i: usize| u8::try_from(i).unwrap();
        if gpu == 0 {
            return Some(Vec::new());
        }
        if gpu < 1_000 {
            let fits = free.iter().enumerate().filter(|(_, f)| **f >= gpu);
            return fits
                .min_by_key(|(i, f)| (**f, *i))
                .map(|(i, _)| [byte(i)].to_vec());
        }
        let count = usize::try_from(gpu / 1_000).unwrap();
        let whole = free.iter().enumerate().filter(|(_, f)| **f == 1_000);
        let picked: Vec<u8> = whole.map(|(i, _)| byte(i)).take(count).collect();
        (picked.len() == count).then_some(picked)
    }

    fn short(&self, n: &MNode, want: &[u64; 6], but: &[u64]) -> Vec<usize> {
        let cap = amounts(&n.spec.capacity);
        let mut reserved = self.reserved(n);
        for (fence, c) in self.on(n) {
            if but.contains(fence) {
                for (s, a) in reserved.iter_mut().zip(c.amounts) {
                    *s -= a;
                }
            }
        }
        (0..6)
            .filter(|r| {
                want[*r] > cap[*r].saturating_sub(reserved[*r])
                    || (*r == GPU && self.pick(n, want[GPU], but).is_none())
            })
            .collect()
    }

    fn attr(n: &MNode, name: &str) -> Option<String> {
        let s = &n.spec;
        Some(match name {
            "kind" => s.kind.to_string(),
            "model" => s.model.to_string(),
            "org" => s.org.to_string(),
            "region" => s.region.to_string(),
            "zone" => s.zone.to_string(),
            "node" => s.id.to_string(),
            label => return s.labels.get(label).map(ToString::to_string),
        })
    }

    fn org(n: &MNode) -> Option<String> {
        n.spec.vouched.then(|| n.spec.org.to_string())
    }

    fn walked(&self, now: u64, level: Level) -> Vec<&MNode> {
        let passes = |n: &&MNode| self.state(now, n) && n.spec.level >= level;
        self.nodes.iter().filter(passes).collect()
    }

    fn state(&self, now: u64, n: &MNode) -> bool {
        n.active && n.work && self.on(n).count() < 1_024 && n.rests_until <= now
    }

    fn why_not(
        &self,
        now: u64,
        r: &Request<'_>,
        apart: &[Option<String>],
        n: &MNode,
    ) -> Option<Reason> {
        let w = r.wishes;
        if !self.state(now, n) {
            return Some(Reason::State);
        }
        if apart.contains(&Self::org(n)) {
            return Some(Reason::Org);
        }
        if n.spec.level < r.level {
            return Some(Reason::Level);
        }
        if u64::from(n.rep) < w.rep {
            return Some(Reason::Rep);
        }
        for need in &w.need {
            let has = Self::attr(n, need.attribute.as_str())
                .is_some_and(|v| need.values.iter().any(|x| **x == *v));
            if has != (need.op == Op::In) {
                return Some(Reason::Need);
            }
        }
        if let Some(spread) = &w.spread {
            let here = Self::attr(n, spread.as_str());
            let taken = self.copies.values().any(|c| {
                let at = self.nodes.iter().find(|m| m.spec.id == c.node).unwrap();
                c.ns == r.ns && c.group == r.group && Self::attr(at, spread.as_str()) == here
            });
            if here.is_some() && taken {
                return Some(Reason::Spread);
            }
        }
        let want = amounts(r.resources);
        let cap = amounts(&n.spec.capacity);
        if let Some(x) = (0..6).find(|x| want[*x] > cap[*x]) {
            return Some(Reason::total(Resource::ALL[x]));
        }
        if let Some(x) = self.short(n, &want, &[]).first() {
            return Some(Reason::free(Resource::ALL[*x]));
        }
        self.dear(now, r, n)
    }

    fn dear(&self, now: u64, r: &Request<'_>, n: &MNode) -> Option<Reason> {
        if r.factor < u64::from(n.spec.price) {
            return Some(Reason::Price);
        }
        if r.rule() == Strategy::PrivacyAware {
            let all = self.copies.values().filter(|c| c.drawn).count();
            let walked = self.walked(now, r.level).len().max(1);
            let limit = (2 * (all + 1)).div_ceil(walked).max(2);
            if self.on(n).filter(|(_, c)| c.drawn).count() >= limit {
                return Some(Reason::Share);
            }
        }
        None
    }

    pub(crate) fn load(&self, n: &MNode) -> (u64, usize, NodeId) {
        let cap = amounts(&n.spec.capacity);
        let of = |(r, c): (u64, u64)| match (r, c) {
            (0, _) => 0,
            (_, 0) => (1 << 53) - 1,
            _ => (r * 1_000_000 / c).min((1 << 53) - 1),
        };
        let load = self.reserved(n).into_iter().zip(cap).map(of).max().unwrap();
        (load, self.on(n).count(), n.spec.id)
    }

    fn key(
        &self,
        now: u64,
        r: &Request<'_>,
        rule: Strategy,
        n: &MNode,
    ) -> (i64, i64, i128, NodeId) {
        let int = |x: u64| i64::try_from(x).unwrap_or(i64::MAX);
        let (load, copies, id) = self.load(n);
        let load = i128::from(load) << 11 | i128::try_from(copies).unwrap();
        match rule {
            Strategy::RoundRobin => (0, 0, n.turn.into(), id),
            Strategy::LeastLoaded | Strategy::PrivacyAware => (0, 0, load, id),
            Strategy::Affinity => {
                let mut sum = 0;
                for p in &r.wishes.affinity {
                    let v = Self::attr(n, p.attribute.as_str());
                    if v.is_some_and(|v| p.values.iter().any(|x| **x == *v)) {
                        sum += p.weight;
                    }
                }
                let fresh = |at: &u64| *at + 86_400_000 >= now;
                let bytes: u64 = r
                    .blobs
                    .iter()
                    .filter(|(b, _)| n.held.get(b).is_some_and(fresh))
                    .map(|(_, size)| size)
                    .sum();
                let which = if r.resources.get(Resource::Gpu) > 0 {
                    GPU
                } else {
                    0
                };
                let cap = amounts(&n.spec.capacity)[which];
                let free = cap.saturating_sub(self.reserved(n)[which]);
                (-sum, -int(bytes), free.into(), id)
            }
            Strategy::Proximity => {
                let w = &r.wishes.near;
                let trip = w.node.and_then(|to| n.trips.get(&to));
                let trip = trip
                    .filter(|(_, at)| at + 600_000 >= now)
                    .map(|(ms, _)| *ms);
                let d = trip.unwrap_or_else(|| {
                    if w.region.is_empty() || n.spec.region != w.region {
                        200
                    } else if w.zone.is_empty() || n.spec.zone != w.zone {
                        30
                    } else {
                        5
                    }
                });
                (i64::from(64 - d.leading_zeros()), 0, load, id)
            }
        }
    }

    fn choose(
        &self,
        now: u64,
        r: &Request<'_>,
        apart: &[Option<String>],
        number: u64,
        second: bool,
    ) -> Option<NodeId> {
        let passes = |n: &&MNode| {
            (second || !r.failed.contains(&n.spec.id)) && self.why_not(now, r, apart, n).is_none()
        };
        if r.rule() == Strategy::PrivacyAware {
            let walked = self.walked(now, r.level);
            let relay = |n: &MNode| {
                amounts(&n.spec.capacity)[RELAY].saturating_sub(self.reserved(n)[RELAY])
            };
            let weight = |n: &MNode| u128::from(1 + relay(n) / 1_000_000);
            let total: u128 = walked.iter().map(|n| weight(n)).sum();
            if total == 0 {
                return None;
            }
            for k in 0..64u64 {
                let parts: [&[u8]; 4] =
                    [r.seed, &r.task.0, &number.to_be_bytes(), &k.to_be_bytes()];
                let mut x = draw("BN-FOG-RELAY1", &parts) % total;
                for n in &walked {
                    if x < weight(n) {
                        if passes(n) {
                            return Some(n.spec.id);
                        }
                        break;
                    }
                    x -= weight(n);
                }
            }
        }
        let passing = self.nodes.iter().filter(passes);
        passing
            .min_by_key(|n| self.key(now, r, r.rule(), n))
            .map(|n| n.spec.id)
    }

    fn preempt(
        &self,
        now: u64,
        r: &Request<'_>,
        apart: &[Option<String>],
        second: bool,
    ) -> Option<(NodeId, Vec<u64>)> {
        let want = amounts(r.resources);
        let yields = |c: &MCopy| {
            c.tier < r.tier
                && (c.tier == Tier::Bronze || (c.tier == Tier::Silver && c.preempted < 3))
        };
        let mut found = Vec::new();
        for n in &self.nodes {
            let free_alone = self
                .why_not(now, r, apart, n)
                .is_some_and(|w| Resource::ALL.iter().any(|x| Reason::free(*x) == w));
            if r.failed.contains(&n.spec.id) != second
                || !free_alone
                || self.dear(now, r, n).is_some()
            {
                continue;
            }
            let mut copies: Vec<(&u64, &MCopy)> = self.on(n).filter(|(_, c)| yields(c)).collect();
            let all: Vec<u64> = copies.iter().map(|(f, _)| **f).collect();
            if !self.short(n, &want, &all).is_empty() {
                continue;
            }
            copies.sort_by_key(|(f, c)| (c.tier, c.prio, core::cmp::Reverse(**f)));
            let mut lost = Vec::new();
            for (fence, c) in copies {
                let short = self.short(n, &want, &lost);
                if short.iter().any(|x| c.amounts[*x] > 0) {
                    lost.push(*fence);
                }
            }
            found.push((self.load(n), lost));
        }
        found.sort();
        found.truncate(64);
        let best = found
            .into_iter()
            .min_by_key(|(load, lost)| (lost.len(), *load))?;
        Some((best.0.2, best.1))
    }

    pub(crate) fn place(
        &mut self,
        now: u64,
        r: &Request<'_>,
        copies: &[NewCopy],
    ) -> Result<Placement, Why> {
        let mut next = self.clone();
        let mut placement = Placement::default();
        let mut apart: Vec<Option<String>> =
            r.apart.iter().map(|o| o.map(ToString::to_string)).collect();
        for copy in copies {
            let found = [false, true]
                .iter()
                .find_map(|s| next.choose(now, r, &apart, copy.number, *s))
                .map(|id| (id, Vec::new()))
                .or_else(|| {
                    [false, true]
                        .iter()
                        .find_map(|s| next.preempt(now, r, &apart, *s))
                });
            let Some((id, lost)) = found else {
                let mut counts: BTreeMap<&str, (Reason, u64)> = BTreeMap::new();
                for n in &next.nodes {
                    let reason = next.why_not(now, r, &apart, n).unwrap();
                    counts.entry(reason.as_str()).or_insert((reason, 0)).1 += 1;
                }
                let mut why: Why = counts.into_values().collect();
                why.sort_by_key(|(_, n)| core::cmp::Reverse(*n));
                return Err(why);
            };
            for fence in &lost {
                next.copies.remove(fence);
            }
            let n = next.nodes.iter().find(|n| n.spec.id == id).unwrap();
            let devices = next.pick(n, r.resources.get(Resource::Gpu), &[]).unwrap();
            apart.push(Self::org(n));
            placement.copies.push(Placed {
                node: id,
                devices: devices.clone(),
            });
            placement.dropped.extend(lost);
            next.copies.insert(
                copy.fence,
                MCopy {
                    node: id,
                    ns: r.ns.to_string(),
                    group: r.group.to_string(),
                    tier: r.tier,
                    prio: r.prio,
                    preempted: r.preempted,
                    drawn: r.rule() == Strategy::PrivacyAware,
                    amounts: amounts(r.resources),
                    devices,
                },
            );
            if r.rule() == Strategy::RoundRobin {
                next.counter += 1;
                let turn = next.counter;
                next.node(&id).unwrap().turn = turn;
            }
        }
        *self = next;
        Ok(placement)
    }
}
