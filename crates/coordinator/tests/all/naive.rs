//! A placer that goes over all nodes: the tests of the chapter in their order, then the least loaded node.

use std::collections::BTreeMap;

use betanet_coordinator::placer::{Freed, NewCopy, Placer, Seat, Seats, Site, Wanted, Why};
use betanet_fog::{
    Attribute, Digest, Level, Node, Op, Reason, Resource, Resources, Task, TaskId, Tier, Word,
};
use betanet_wire::NodeId;

#[derive(Clone, Debug)]
struct Place {
    node: Node,
    vouched: bool,
    level: Level,
    open: bool,
    rep: u64,
    failures: u32,
    rests: u64,
}

#[derive(Clone, Debug)]
struct Live {
    node: NodeId,
    task: TaskId,
    ns: Word,
    group: Word,
    tier: Tier,
    prio: u64,
    res: Resources,
    devices: u64,
    preempted: u8,
    lots: Option<[u8; 16]>,
}

#[derive(Clone, Debug)]
struct Lots {
    node: NodeId,
    amounts: Resources,
    over: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Naive {
    nodes: BTreeMap<NodeId, Place>,
    lots: BTreeMap<[u8; 16], Lots>,
    live: BTreeMap<u64, Live>,
}

fn value<'a>(id: &'a str, node: &'a Node, attribute: &Attribute) -> Option<&'a str> {
    Some(match attribute {
        Attribute::Kind => node.kind.as_str(),
        Attribute::Model => &node.model,
        Attribute::Node => id,
        Attribute::Org => &node.org,
        Attribute::Region => &node.region,
        Attribute::Zone => &node.zone,
        Attribute::Label(name) => node.labels.get(name)?,
    })
}

impl Naive {
    pub fn reserved(&self, id: &NodeId, r: Resource) -> u64 {
        let live = self.live.values();
        let live = live.filter(|l| l.node == *id && l.lots.is_none());
        let lots = self.lots.values().filter(|l| l.node == *id);
        live.map(|l| l.res.get(r)).sum::<u64>() + lots.map(|l| l.amounts.get(r)).sum::<u64>()
    }

    /// What is free in the lots of a reservation on this node.
    fn free_lots(&self, id: &NodeId, rsv: &[u8; 16], r: Resource) -> Option<u64> {
        let lots = self.lots.get(rsv).filter(|l| l.node == *id && !l.over)?;
        let live = self.live.values().filter(|l| l.lots == Some(*rsv));
        Some(lots.amounts.get(r) - live.map(|l| l.res.get(r)).sum::<u64>())
    }

    /// Gives lots back that are over and unused.
    fn close(&mut self, rsv: &[u8; 16]) {
        let used = self.live.values().any(|l| l.lots == Some(*rsv));
        if self.lots.get(rsv).is_some_and(|l| l.over && !used) {
            self.lots.remove(rsv);
        }
    }

    fn used(&self, id: &NodeId, device: u64) -> u64 {
        let part = |l: &Live| {
            if l.res.gpu() >= 1_000 {
                1_000
            } else {
                l.res.gpu()
            }
        };
        let on = self
            .live
            .values()
            .filter(|l| l.node == *id && l.devices >> device & 1 == 1);
        on.map(part).sum()
    }

    fn devices(&self, id: &NodeId, node: &Node, res: &Resources) -> Option<u64> {
        let want = res.gpu();
        let all =
            (0..node.cap.gpu() / 1_000).map(|d| (d, 1_000u64.saturating_sub(self.used(id, d))));
        match want {
            0 => Some(0),
            1..1_000 => all
                .filter(|(_, free)| *free >= want)
                .min_by_key(|(d, free)| (*free, *d))
                .map(|(d, _)| 1 << d),
            _ => {
                let free: Vec<u64> = all
                    .filter(|(_, free)| *free == 1_000)
                    .map(|(d, _)| d)
                    .collect();
                let n = (want / 1_000) as usize;
                (free.len() >= n).then(|| free[..n].iter().fold(0, |bits, d| bits | 1 << d))
            }
        }
    }

    fn org(&self, id: &NodeId) -> Option<String> {
        let place = self.nodes.get(id).filter(|p| p.vouched);
        place.map(|p| p.node.org.to_string())
    }

    /// The first test that a node fails.
    fn fails(
        &self,
        now: u64,
        id: &NodeId,
        wanted: &Wanted<'_>,
        apart: &[Option<String>],
    ) -> Option<Reason> {
        let (place, task) = (&self.nodes[id], wanted.task);
        let node = &place.node;
        let hex = id.to_string();
        let copies = self.live.values().filter(|l| l.node == *id).count();
        if !place.open || copies >= 1_024 || place.rests > now {
            return Some(Reason::State);
        }
        if apart.contains(&self.org(id)) {
            return Some(Reason::Org);
        }
        if place.level < task.level {
            return Some(Reason::Level);
        }
        if place.rep < task.place.rep {
            return Some(Reason::Rep);
        }
        for need in &task.place.need {
            let has = value(&hex, node, &need.attribute)
                .is_some_and(|v| need.values.iter().any(|w| *w == *v));
            if has != (need.op == Op::In) {
                return Some(Reason::Need);
            }
        }
        if let Some(spread) = &task.place.spread
            && let Some(own) = value(&hex, node, spread)
        {
            let shares = |l: &Live| {
                let other = &self.nodes[&l.node];
                l.ns == task.ns
                    && l.group == task.group
                    && value(&l.node.to_string(), &other.node, spread) == Some(own)
            };
            if self.live.values().any(shares) {
                return Some(Reason::Spread);
            }
        }
        if let Some(rsv) = &task.rsv {
            let short = |r: &&Resource| {
                let free = self.free_lots(id, rsv, **r);
                free.is_none_or(|free| task.res.get(**r) > free)
            };
            return Resource::ALL.iter().find(short).map(|r| Reason::free(*r));
        }
        for r in Resource::ALL {
            if task.res.get(*r) > node.cap.get(*r) {
                return Some(Reason::total(*r));
            }
        }
        for r in Resource::ALL {
            let free = node.cap.get(*r).saturating_sub(self.reserved(id, *r));
            let short = task.res.get(*r) > free
                || (*r == Resource::Gpu && self.devices(id, node, &task.res).is_none());
            if short {
                return Some(Reason::free(*r));
            }
        }
        (wanted.factor < node.price).then_some(Reason::Price)
    }

    fn load(&self, id: &NodeId) -> (u64, usize, NodeId) {
        let node = &self.nodes[id].node;
        let share = |r: &Resource| {
            (1_000_000 * self.reserved(id, *r))
                .checked_div(node.cap.get(*r))
                .unwrap_or(0)
        };
        let copies = self.live.values().filter(|l| l.node == *id).count();
        (
            Resource::ALL.iter().map(share).max().unwrap_or(0),
            copies,
            *id,
        )
    }

    fn live_of(wanted: &Wanted<'_>, seat: Seat) -> Live {
        let task: &Task = wanted.task;
        Live {
            node: seat.node,
            task: *wanted.id,
            ns: task.ns.clone(),
            group: task.group.clone(),
            tier: task.tier,
            prio: task.prio,
            res: task.res,
            devices: seat.devices,
            preempted: wanted.preempted,
            lots: task.rsv,
        }
    }

    fn one(
        &mut self,
        now: u64,
        wanted: &Wanted<'_>,
        apart: &[Option<String>],
    ) -> Result<(Seat, Vec<u64>), Why> {
        let mut why: BTreeMap<&str, (Reason, u64)> = BTreeMap::new();
        let mut pass = Vec::new();
        let mut short = Vec::new();
        let reserved = wanted.task.rsv.and_then(|rsv| self.lots.get(&rsv));
        for id in self.nodes.keys() {
            if wanted.task.rsv.is_some() && reserved.is_none_or(|l| l.node != *id) {
                continue;
            }
            match self.fails(now, id, wanted, apart) {
                None => pass.push(*id),
                Some(reason) => {
                    if reason.as_str().ends_with("_free") && wanted.task.rsv.is_none() {
                        short.push(*id);
                    }
                    why.entry(reason.as_str()).or_insert((reason, 0)).1 += 1;
                }
            }
        }
        let fresh: Vec<NodeId> = pass
            .iter()
            .filter(|n| !wanted.failed.contains(n))
            .copied()
            .collect();
        let from = if fresh.is_empty() { pass } else { fresh };
        if let Some(id) = from.into_iter().min_by_key(|id| self.load(id)) {
            let devices = self
                .devices(&id, &self.nodes[&id].node, &wanted.task.res)
                .unwrap();
            return Ok((Seat { node: id, devices }, Vec::new()));
        }
        for id in short {
            let mut rest = self.clone();
            let may = |l: &Live| {
                l.lots.is_none()
                    && l.tier < wanted.task.tier
                    && (l.tier == Tier::Bronze || (l.tier == Tier::Silver && l.preempted < 3))
            };
            let mut victims: Vec<u64> = self
                .live
                .iter()
                .filter(|(_, l)| l.node == id && may(l))
                .map(|(f, _)| *f)
                .collect();
            victims.sort_by_key(|f| (self.live[f].tier, self.live[f].prio, std::cmp::Reverse(*f)));
            let mut dropped = Vec::new();
            for fence in victims {
                rest.live.remove(&fence);
                dropped.push(fence);
                if rest.fails(now, &id, wanted, apart).is_none() {
                    let devices = rest
                        .devices(&id, &rest.nodes[&id].node, &wanted.task.res)
                        .unwrap();
                    return Ok((Seat { node: id, devices }, dropped));
                }
            }
        }
        let mut why: Why = why.into_values().collect();
        why.sort_by_key(|(_, nodes)| std::cmp::Reverse(*nodes));
        Err(why)
    }

    fn all(&mut self, now: u64, wanted: &Wanted<'_>, copies: &[NewCopy]) -> Result<Seats, Why> {
        let mut rest = self.clone();
        let mut apart: Vec<Option<String>> =
            wanted.apart.iter().map(|o| o.map(str::to_owned)).collect();
        let mut seats = Seats::default();
        for copy in copies {
            let (seat, dropped) = rest.one(now, wanted, &apart)?;
            for fence in &dropped {
                rest.live.remove(fence);
            }
            rest.live.insert(copy.fence, Self::live_of(wanted, seat));
            apart.push(self.org(&seat.node));
            seats.seats.push(seat);
            seats.dropped.extend(dropped);
        }
        Ok(seats)
    }
}

impl Placer for Naive {
    fn put(&mut self, site: &Site<'_>) {
        let old = self.nodes.get(&site.id);
        let (failures, rests) = old.map_or((0, 0), |p| (p.failures, p.rests));
        let place = Place {
            node: site.node.clone(),
            vouched: site.vouched,
            level: site.level,
            open: site.open && site.work,
            rep: u64::from(site.rep),
            failures,
            rests,
        };
        self.nodes.insert(site.id, place);
    }

    fn remove(&mut self, id: &NodeId) {
        self.nodes.remove(id);
    }

    fn measured(&mut self, _: u64, _: &NodeId, _: &[(NodeId, u64)]) {}

    fn gone(&mut self, _: &NodeId, _: &[Digest]) {}

    fn place(&mut self, now: u64, wanted: &Wanted<'_>, copies: &[NewCopy]) -> Option<Seats> {
        let seats = self.all(now, wanted, copies).ok()?;
        for fence in &seats.dropped {
            // The records that follow say so.
            assert!(self.live.contains_key(fence));
        }
        for (copy, seat) in copies.iter().zip(&seats.seats) {
            self.live.insert(copy.fence, Self::live_of(wanted, *seat));
        }
        for fence in &seats.dropped {
            self.live.remove(fence);
        }
        Some(seats)
    }

    fn plan(
        &mut self,
        now: u64,
        wanted: &Wanted<'_>,
        no: u32,
        copies: usize,
    ) -> Result<Vec<Seat>, Why> {
        let copies: Vec<NewCopy> = (0..copies)
            .map(|n| NewCopy {
                no: no + n as u32,
                fence: u64::MAX - n as u64,
            })
            .collect();
        self.all(now, wanted, &copies).map(|s| s.seats)
    }

    fn could_hold(&mut self, now: u64, wanted: &Wanted<'_>, most: usize) -> Vec<NodeId> {
        let mut rest = self.clone();
        rest.live.clear();
        let apart: Vec<Option<String>> =
            wanted.apart.iter().map(|o| o.map(str::to_owned)).collect();
        let passes = |id: &&NodeId| rest.fails(now, id, wanted, &apart).is_none();
        let mut found: Vec<NodeId> = rest.nodes.keys().filter(passes).copied().collect();
        found.sort_by_key(|id| self.load(id));
        found.truncate(most);
        found
    }

    fn standing(&self, id: &NodeId) -> [u64; 3] {
        self.nodes
            .get(id)
            .map_or([0; 3], |p| [0, u64::from(p.failures), p.rests])
    }

    fn set_standing(&mut self, id: &NodeId, [_, failures, rests]: [u64; 3]) {
        if let Some(place) = self.nodes.get_mut(id) {
            (place.failures, place.rests) = (failures as u32, rests);
        }
    }

    fn counter(&self) -> u64 {
        0
    }

    fn set_counter(&mut self, _: u64) {}

    fn adopt(&mut self, _: u64, wanted: &Wanted<'_>, copy: NewCopy, seat: Seat) {
        self.live
            .entry(copy.fence)
            .or_insert_with(|| Self::live_of(wanted, seat));
    }

    fn end(&mut self, now: u64, fence: u64, how: Freed<'_>) {
        let Some(live) = self.live.remove(&fence) else {
            return;
        };
        if let Some(rsv) = live.lots {
            self.close(&rsv);
        }
        let Some(place) = self.nodes.get_mut(&live.node) else {
            return;
        };
        match how {
            Freed::Failed => {
                place.failures += 1;
                if place.failures >= 5 {
                    place.rests = now + 60_000;
                }
            }
            Freed::Result(_) | Freed::Fault => place.failures = 0,
            Freed::Dropped => {}
        }
        let _ = live.task;
    }

    fn set_aside(&mut self, id: &NodeId, reservation: [u8; 16], lots: &Resources) {
        let lots = Lots {
            node: *id,
            amounts: *lots,
            over: false,
        };
        assert!(self.lots.insert(reservation, lots).is_none());
    }

    fn give_back(&mut self, reservation: &[u8; 16]) {
        if let Some(lots) = self.lots.get_mut(reservation) {
            lots.over = true;
        }
        self.close(reservation);
    }

    fn factor(&self, resources: &Resources) -> u64 {
        let open: Vec<&NodeId> = self
            .nodes
            .iter()
            .filter(|(_, p)| p.open)
            .map(|(id, _)| id)
            .collect();
        let share = |r: &Resource| {
            let cap: u64 = open.iter().map(|id| self.nodes[id].node.cap.get(*r)).sum();
            let used: u64 = open.iter().map(|id| self.reserved(id, *r)).sum();
            (u128::from(used) * 1_000_000)
                .checked_div(u128::from(cap))
                .unwrap_or(0) as u64
        };
        let asked = Resource::ALL.iter().filter(|r| resources.get(**r) > 0);
        let u = asked.map(share).max().unwrap_or(0);
        let f = if u <= 500_000 {
            500_000 + u
        } else {
            1_000_000 + 4 * (u - 500_000)
        };
        f.max(self.lowest_price())
    }

    fn lowest_price(&self) -> u64 {
        let open = self.nodes.values().filter(|p| p.open);
        open.map(|p| p.node.price).min().unwrap_or(0)
    }
}
