//! Nodes, and what survives those that left.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

use betanet_fog::{
    Amounts, DAY_MS, Kind, Level, Node, NodeState, Refusal, Resources, Signed, TaskId, Word,
};
use betanet_scheduler::Trust;
use betanet_wire::NodeId;

use super::touched::Marks;
use crate::codec::row;

/// Time in ms after which an offline node is removed.
const OFFLINE_KEPT: u64 = 30 * DAY_MS;

/// Dropped copies that a node's stream can repeat: the newest.
const DROPS: usize = 64;

/// Most nodes that left of which trust and organisation are remembered.
pub(crate) const GONE_MAX: usize = 1 << 18;

impl crate::codec::Row for Trust {
    fn put(&self, w: &mut betanet_wire::cbor::Writer) {
        (self.agreed(), self.differed()).put(w);
    }
    fn get(r: &mut betanet_wire::cbor::Reader<'_>) -> Result<Self, crate::Damaged> {
        let (agreed, differed) = crate::codec::Row::get(r)?;
        Ok(Self::kept(agreed, differed))
    }
}

/// A copy that was dropped, for the node's stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Dropped {
    /// Journal index.
    pub(crate) at: u64,
    pub(crate) task: TaskId,
    pub(crate) fence: u64,
    pub(crate) why: betanet_fog::Reason,
}
row!(Dropped {
    at,
    task,
    fence,
    why
});

/// A node that has joined.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct NodeRow {
    /// Its signed description.
    pub(crate) envelope: Box<[u8]>,
    pub(crate) seq: u64,
    pub(crate) org: Word,
    pub(crate) zone: Word,
    pub(crate) kind: Kind,
    pub(crate) level: Level,
    pub(crate) cap: Resources,
    pub(crate) price: u64,
    /// Journal index at which it joined.
    pub(crate) joined: u64,
    pub(crate) vouched: bool,
    pub(crate) token: [u8; 16],
    /// Whether it has ever beaten.
    pub(crate) beaten: bool,
    /// Time of the last beat before it fell silent, and time at which that was noticed.
    pub(crate) silent: Option<(u64, u64)>,
    /// Active, draining, maintenance or quarantined.
    pub(crate) wish: NodeState,
    /// Moment at which its copies yield, while it drains.
    pub(crate) until: u64,
    pub(crate) trust: Trust,
    pub(crate) drops: VecDeque<Dropped>,
    /// Live copies by fence. They follow from the tasks.
    pub(crate) copies: BTreeMap<u64, TaskId>,
    /// Lots that are set aside. They follow from the auction.
    pub(crate) lots: u64,
    /// What copies and lots reserve. A copy in a reservation's lots reserves nothing more.
    pub(crate) reserved: Amounts,
}

impl NodeRow {
    /// The state that the chapter names.
    pub(crate) fn state(&self) -> NodeState {
        match (self.wish, self.beaten, self.silent) {
            (NodeState::Quarantined, _, _) => NodeState::Quarantined,
            (_, false, _) => NodeState::Joining,
            (_, _, Some(_)) => NodeState::Offline,
            (wish, _, None) => wish,
        }
    }

    /// What is free of its capacity. Nothing is free of a resource whose capacity was lowered below what is reserved.
    pub(crate) fn free(&self) -> Amounts {
        less(&self.cap.amounts(), &self.reserved)
    }

    /// The signed description. It was checked when the node joined.
    pub(crate) fn node(&self) -> Result<Signed<Node>, Refusal> {
        Signed::restore(&self.envelope)
    }

    /// The next moment at which time alone changes something, in UNIX ms.
    pub(crate) fn wake(&self) -> Option<u64> {
        let drained = (self.wish == NodeState::Draining).then_some(self.until);
        let removed = self.silent.map(|(_, at)| at.saturating_add(OFFLINE_KEPT));
        drained.into_iter().chain(removed).min()
    }

    /// Whether it has been offline for so long that it is removed.
    pub(crate) fn is_abandoned(&self, now: u64) -> bool {
        self.silent
            .is_some_and(|(_, at)| at.saturating_add(OFFLINE_KEPT) <= now)
    }

    pub(super) fn describe(&mut self, signed: &Signed<Node>) {
        self.envelope = signed.to_bytes().into();
        self.seq = signed.seq;
        self.zone = signed.zone.clone();
        self.kind = signed.kind;
        self.level = signed.level;
        self.cap = signed.cap;
        self.price = signed.price;
    }

    pub(super) fn dropped(&mut self, drop: Dropped) {
        if self.drops.len() >= DROPS {
            self.drops.pop_front();
        }
        self.drops.push_back(drop);
    }
}

impl crate::codec::Row for VecDeque<Dropped> {
    fn put(&self, w: &mut betanet_wire::cbor::Writer) {
        w.array(self.len());
        for drop in self {
            drop.put(w);
        }
    }
    fn get(r: &mut betanet_wire::cbor::Reader<'_>) -> Result<Self, crate::Damaged> {
        alloc::vec::Vec::get(r).map(Into::into)
    }
}

impl crate::codec::Row for NodeRow {
    fn put(&self, w: &mut betanet_wire::cbor::Writer) {
        w.array(9);
        self.envelope.put(w);
        self.joined.put(w);
        self.vouched.put(w);
        self.token.put(w);
        self.beaten.put(w);
        self.silent.put(w);
        (self.wish, self.until).put(w);
        self.trust.put(w);
        self.drops.put(w);
    }
    fn get(r: &mut betanet_wire::cbor::Reader<'_>) -> Result<Self, crate::Damaged> {
        use crate::codec::Row;
        crate::codec::enter(r, 9)?;
        let envelope: Box<[u8]> = Row::get(r)?;
        let signed = Signed::<Node>::restore(&envelope).map_err(|_| crate::Damaged("node"))?;
        let mut row = Self::joining(&signed, Row::get(r)?, Row::get(r)?, Row::get(r)?);
        row.beaten = Row::get(r)?;
        row.silent = Row::get(r)?;
        (row.wish, row.until) = Row::get(r)?;
        row.trust = Row::get(r)?;
        row.drops = Row::get(r)?;
        r.leave();
        Ok(row)
    }
}

impl NodeRow {
    /// The row of a node that joins.
    pub(super) fn joining(
        signed: &Signed<Node>,
        joined: u64,
        vouched: bool,
        token: [u8; 16],
    ) -> Self {
        Self {
            envelope: signed.to_bytes().into(),
            seq: signed.seq,
            org: signed.org.clone(),
            zone: signed.zone.clone(),
            kind: signed.kind,
            level: signed.level,
            cap: signed.cap,
            price: signed.price,
            joined,
            vouched,
            token,
            beaten: false,
            silent: None,
            wish: NodeState::Active,
            until: 0,
            trust: Trust::default(),
            drops: VecDeque::new(),
            copies: BTreeMap::new(),
            lots: 0,
            reserved: Amounts::default(),
        }
    }
}

/// What survives a node that left.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Gone {
    /// Journal index at which it left.
    pub(crate) at: u64,
    pub(crate) seq: u64,
    pub(crate) org: Word,
    pub(crate) trust: Trust,
    pub(crate) quarantined: bool,
}
row!(Gone {
    at,
    seq,
    org,
    trust,
    quarantined
});

/// Nodes of a zone.
#[derive(Debug, Default)]
pub(crate) struct ZoneNodes {
    /// Active and draining ones.
    pub(crate) left: u64,
    /// Offline ones, by the time at which that was noticed.
    pub(crate) offline: BTreeSet<(u64, NodeId)>,
}

/// All nodes.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    rows: BTreeMap<NodeId, Box<NodeRow>>,
    pub(super) gone: BTreeMap<NodeId, Gone>,
    /// Those that left, by age.
    gone_order: BTreeSet<(u64, NodeId)>,
    zones: BTreeMap<Word, ZoneNodes>,
    states: [u64; NodeState::ALL.len()],
    kinds: [u64; Kind::ALL.len()],
    /// Active and draining ones.
    left: u64,
    /// Those that a list shows otherwise now.
    pub(super) marks: Marks<NodeId>,
}

/// What is left of `a` without `b`.
fn less(a: &Amounts, b: &Amounts) -> Amounts {
    Amounts {
        cpu: a.cpu.saturating_sub(b.cpu),
        memory: a.memory.saturating_sub(b.memory),
        storage: a.storage.saturating_sub(b.storage),
        gpu: a.gpu.saturating_sub(b.gpu),
        bandwidth: a.bandwidth.saturating_sub(b.bandwidth),
        relay: a.relay.saturating_sub(b.relay),
    }
}

fn index(state: NodeState) -> usize {
    NodeState::ALL.iter().position(|s| *s == state).unwrap_or(0)
}

impl Nodes {
    pub(crate) fn get(&self, id: &NodeId) -> Option<&NodeRow> {
        self.rows.get(id).map(|row| &**row)
    }

    pub(crate) fn gone(&self, id: &NodeId) -> Option<&Gone> {
        self.gone.get(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodeId, &NodeRow)> {
        self.rows.iter().map(|(id, row)| (id, &**row))
    }

    /// Nodes above an ID, ascending.
    pub(crate) fn after(&self, id: Option<NodeId>) -> impl Iterator<Item = (&NodeId, &NodeRow)> {
        let from = match id {
            Some(id) => core::ops::Bound::Excluded(id),
            None => core::ops::Bound::Unbounded,
        };
        self.rows
            .range((from, core::ops::Bound::Unbounded))
            .map(|(id, row)| (id, &**row))
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Number of active and draining nodes of all zones.
    pub(crate) const fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn zone(&self, zone: &Word) -> Option<&ZoneNodes> {
        self.zones.get(zone)
    }

    pub(crate) fn count(&self, state: NodeState) -> u64 {
        self.states[index(state)]
    }

    pub(crate) fn count_kind(&self, kind: Kind) -> u64 {
        Kind::ALL
            .iter()
            .position(|k| *k == kind)
            .map_or(0, |at| self.kinds[at])
    }

    fn tally(&mut self, id: NodeId, row: &NodeRow, add: bool) {
        let step = |n: &mut u64| *n = if add { *n + 1 } else { n.saturating_sub(1) };
        let state = row.state();
        step(&mut self.states[index(state)]);
        if let Some(at) = Kind::ALL.iter().position(|k| *k == row.kind) {
            step(&mut self.kinds[at]);
        }
        let zone = self.zones.entry(row.zone.clone()).or_default();
        if matches!(state, NodeState::Active | NodeState::Draining) {
            step(&mut zone.left);
            step(&mut self.left);
        }
        if let (NodeState::Offline, Some((_, at))) = (state, row.silent) {
            if add {
                zone.offline.insert((at, id));
            } else {
                zone.offline.remove(&(at, id));
            }
        }
        if zone.left == 0 && zone.offline.is_empty() {
            self.zones.remove(&row.zone);
        }
    }

    pub(super) fn insert(&mut self, id: NodeId, row: NodeRow) {
        if let Some(gone) = self.gone.remove(&id) {
            self.gone_order.remove(&(gone.at, id));
        }
        self.marks.mark(id);
        self.tally(id, &row, true);
        self.rows.insert(id, Box::new(row));
    }

    /// Changes a node.
    pub(super) fn change<T>(
        &mut self,
        id: &NodeId,
        f: impl FnOnce(&mut NodeRow) -> T,
    ) -> Option<T> {
        let mut row = self.rows.remove(id)?;
        self.marks.mark(*id);
        self.tally(*id, &row, false);
        let out = f(&mut row);
        self.tally(*id, &row, true);
        self.rows.insert(*id, row);
        Some(out)
    }

    /// Counts a live copy of a node.
    pub(super) fn hold(&mut self, id: &NodeId, fence: u64, task: TaskId, of: &Resources) {
        if let Some(row) = self.rows.get_mut(id)
            && row.copies.insert(fence, task).is_none()
        {
            row.reserved.add(&of.amounts());
            self.marks.mark(*id);
        }
    }

    /// A copy of a node is no longer live.
    pub(super) fn release(&mut self, id: &NodeId, fence: u64, of: &Resources) {
        if let Some(row) = self.rows.get_mut(id)
            && row.copies.remove(&fence).is_some()
        {
            row.reserved = less(&row.reserved, &of.amounts());
            self.marks.mark(*id);
        }
    }

    /// Sets lots of a node aside, or gives them back.
    pub(super) fn set_aside(&mut self, id: &NodeId, lots: u64, add: bool) {
        let Some(row) = self.rows.get_mut(id) else {
            return;
        };
        self.marks.mark(*id);
        let amounts = super::market_apply::amounts(lots);
        if add {
            row.lots = row.lots.saturating_add(lots);
            row.reserved.add(&amounts);
        } else {
            row.lots = row.lots.saturating_sub(lots);
            row.reserved = less(&row.reserved, &amounts);
        }
    }

    pub(super) fn drop_copy(&mut self, id: &NodeId, drop: Dropped) {
        if let Some(row) = self.rows.get_mut(id) {
            row.dropped(drop);
        }
    }

    pub(super) fn remove(&mut self, id: &NodeId, at: u64) -> bool {
        let Some(row) = self.rows.remove(id) else {
            return false;
        };
        self.marks.mark(*id);
        self.tally(*id, &row, false);
        self.bury(
            *id,
            Gone {
                at,
                seq: row.seq,
                org: row.org,
                trust: row.trust,
                quarantined: row.wish == NodeState::Quarantined,
            },
        );
        true
    }

    pub(super) fn bury(&mut self, id: NodeId, gone: Gone) {
        self.gone_order.insert((gone.at, id));
        self.gone.insert(id, gone);
        if self.gone.len() > GONE_MAX
            && let Some((_, oldest)) = self.gone_order.pop_first()
        {
            self.gone.remove(&oldest);
        }
    }
}
