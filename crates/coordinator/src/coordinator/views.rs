//! What can be read: lists, events, history, prices, secrets of days that are over.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_fog::bodies::{
    Event, NodeList, NodeSummary, Price, SeedView, TaskList, TaskSummary, Topology,
};
use betanet_fog::{
    Amounts, DAY_MS, Kind, Level, List, Map, NodeState, RefusalCode, Resource, Resources, TaskId,
    TaskState, Tier, Word, seed_hash,
};
use betanet_wire::NodeId;

use super::tasks::{reason_of, word};
use super::{Coordinator, Served, UNKNOWN};
use crate::placer::Placer;
use crate::request::{Caller, Changed, Reply};
use crate::state::history::Counts;
use crate::state::nodes::NodeRow;
use crate::state::tasks::TaskRow;
use crate::state::touched::Id;

/// Rows that one call looks at: a page may be short and still have a next one.
const SCANNED: usize = 10_000;

/// Rows of an answer about what changed, roughly.
const CHANGED: usize = 1_000;

/// Items of one answer to a stream's request.
const STREAMED: usize = 256;

fn task(id: &TaskId, row: &TaskRow) -> TaskSummary {
    TaskSummary {
        at: row.changed,
        id: *id,
        ns: row.ns.clone(),
        prio: u64::from(row.prio),
        tier: row.rules.tier,
        state: row.life.state,
        reason: reason_of(row),
    }
}

fn page(n: u64) -> usize {
    usize::try_from(n.clamp(1, 1_000)).unwrap_or(1_000)
}

impl<P: Placer> Coordinator<P> {
    /// Credit of a namespace and tier for a day in UTC, in percent of the pay. Figures of the last two days are kept.
    #[must_use]
    pub fn credit_percent(&self, ns: &Word, tier: Tier, day: u64) -> u64 {
        let ns = self.state.namespaces.get(ns);
        let day = ns.and_then(|ns| ns.served.get(&(day, tier)));
        day.map_or(0, |day| day.credit().percent)
    }

    pub(super) fn list_tasks(
        &self,
        caller: &Caller,
        ns: &Word,
        state: Option<TaskState>,
        after: Option<TaskId>,
        n: u64,
    ) -> Served {
        let listed = |ns: &Word| caller.operator || caller.namespaces.contains(ns);
        if !ns.is_empty() && !listed(ns) {
            return Err(RefusalCode::Role.of("ns"));
        }
        let rows: Box<dyn Iterator<Item = (&TaskId, &TaskRow)>> = if ns.is_empty() {
            Box::new(self.state.tasks.after(after))
        } else {
            Box::new(self.state.tasks.of_ns(ns, after))
        };
        let mut items = Vec::new();
        let mut next = None;
        for (scanned, (id, row)) in rows.enumerate() {
            if items.len() >= page(n) || scanned >= SCANNED {
                break;
            }
            next = Some(*id);
            let shown = row.level != Level::Secret && listed(&row.ns);
            if shown && state.is_none_or(|s| s == row.life.state) {
                items.push(task(id, row));
            }
        }
        let more = next.is_some_and(|id| self.state.tasks.after(Some(id)).next().is_some());
        Ok(Reply::Tasks(Box::new(TaskList {
            next: next.filter(|_| more),
            items: List::try_from(items).unwrap_or_default(),
        })))
    }

    pub(super) fn list_nodes(
        &self,
        state: Option<NodeState>,
        after: Option<NodeId>,
        n: u64,
    ) -> Reply {
        let mut items = Vec::new();
        let mut next = None;
        for (scanned, (id, row)) in self.state.nodes.after(after).enumerate() {
            if items.len() >= page(n) || scanned >= SCANNED {
                break;
            }
            next = Some(*id);
            if state.is_some_and(|s| s != row.state()) {
                continue;
            }
            items.push(self.node(id, row));
        }
        let more = next.is_some_and(|id| self.state.nodes.after(Some(id)).next().is_some());
        Reply::Nodes(Box::new(NodeList {
            next: next.filter(|_| more),
            items: List::try_from(items).unwrap_or_default(),
        }))
    }

    fn node(&self, id: &NodeId, row: &NodeRow) -> NodeSummary {
        NodeSummary {
            id: *id,
            cap: row.cap.amounts(),
            org: row.org.clone(),
            rep: self
                .state
                .rated
                .reputation(id, row.trust.reputation())
                .into(),
            free: row.free(),
            kind: row.kind,
            live: u64::try_from(row.copies.len()).unwrap_or(0),
            seen: self.seen(id, row.silent),
            zone: row.zone.clone(),
            level: row.level,
            price: row.price,
            state: row.state(),
            region: row.node().map(|n| n.region.clone()).unwrap_or_default(),
        }
    }

    /// Rows that changed after a position, for an operator's lists.
    pub(super) fn changed(&self, caller: &Caller, after: u64) -> Served {
        if !caller.operator {
            return Err(RefusalCode::Role.bare());
        }
        let state = &self.state;
        let Some(since) = state.touched.after(after, state.last, CHANGED) else {
            return Ok(Reply::Changed(None));
        };
        let mut rows = Changed {
            until: since.until,
            nodes: BTreeMap::new(),
            tasks: BTreeMap::new(),
        };
        for id in since.ids {
            match id {
                Id::Node(id) => {
                    let row = state.nodes.get(&id).map(|row| self.node(&id, row));
                    rows.nodes.insert(id, row);
                }
                Id::Task(id) => {
                    let row = state.tasks.get(&id).filter(|t| t.level != Level::Secret);
                    rows.tasks.insert(id, row.map(|row| task(&id, row)));
                }
            }
        }
        Ok(Reply::Changed(Some(Box::new(rows))))
    }

    /// UNIX ms of a node's last beat that this leader or the one before knew of.
    fn seen(&self, id: &NodeId, silent: Option<(u64, u64)>) -> u64 {
        let pulse = self.lead.as_ref().and_then(|l| l.pulses.of.get(id));
        let last = pulse.filter(|p| p.seq.is_some()).map(|p| {
            let ago = self.clock.mono() - p.last;
            self.clock
                .ms()
                .saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX))
        });
        silent.map(|(since, _)| since).or(last).unwrap_or(0)
    }

    pub(super) fn list_events(&self, after: u64) -> Reply {
        let from = self.state.events.partition_point(|e| e.at <= after);
        let newer = self.state.events.iter().skip(from).take(STREAMED);
        let events = newer.map(|e| Event {
            at: e.at,
            ts: e.ts,
            kind: word(e.kind()),
            node: e.node,
            task: e.task,
            reason: e.reason.map(|r| word(r.as_str())).unwrap_or_default(),
        });
        Reply::Events(events.collect())
    }

    pub(super) fn list_topology(&self) -> Reply {
        Reply::Topology(self.state.history.iter().map(topology).collect())
    }

    pub(super) fn price(&self) -> Reply {
        let one = |r: Resource| {
            let mut amounts = Amounts::default();
            match r {
                Resource::Cpu => amounts.cpu = 1,
                Resource::Memory => amounts.memory = 1,
                Resource::Storage => amounts.storage = 1,
                Resource::Gpu => amounts.gpu = 1,
                Resource::Bandwidth => amounts.bandwidth = 1,
                Resource::Relay => amounts.relay = 1,
            }
            Resources::new(amounts).unwrap_or_default()
        };
        let factors: BTreeMap<Word, u64> = Resource::ALL
            .iter()
            .map(|r| (word(r.as_str()), self.placer.factor(&one(*r))))
            .collect();
        Reply::Price(Price {
            at: self.state.last,
            ts: self.clock.ms(),
            floor: self.placer.lowest_price(),
            factor: Map::try_from(factors).unwrap_or_default(),
        })
    }

    /// A day's secret, a day after it ended; before, its hash alone.
    pub(super) fn seed(&self, day: u64) -> Served {
        let secret = self.state.seeds.get(&day).ok_or(UNKNOWN)?;
        let public = day.saturating_add(2).saturating_mul(DAY_MS) <= self.clock.ms();
        Ok(Reply::Seed(SeedView {
            day,
            hash: seed_hash(secret),
            seed: public.then_some(*secret),
        }))
    }
}

fn topology(counts: &Counts) -> Topology {
    let map = |words: &mut dyn Iterator<Item = &'static str>, counts: &[u64]| {
        let named: BTreeMap<Word, u64> = words.map(word).zip(counts.iter().copied()).collect();
        Map::try_from(named).unwrap_or_default()
    };
    Topology {
        at: counts.at,
        ts: counts.ts,
        cap: counts.cap,
        free: counts.free,
        seed: counts.seed,
        epoch: counts.epoch,
        kinds: map(&mut Kind::ALL.iter().map(|k| k.as_str()), &counts.kinds),
        nodes: map(
            &mut NodeState::ALL.iter().map(|s| s.as_str()),
            &counts.nodes,
        ),
        tasks: map(
            &mut TaskState::ALL.iter().map(|s| s.as_str()),
            &counts.tasks,
        ),
    }
}
