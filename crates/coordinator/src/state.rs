//! Durable state: the fold of the journal's records. [`State::apply`] alone changes it.

pub(crate) mod history;
pub(crate) mod market;
mod market_apply;
pub(crate) mod namespaces;
pub(crate) mod nodes;
mod nodes_apply;
pub(crate) mod snapshot;
pub(crate) mod tasks;
mod tasks_apply;
pub(crate) mod tokens;
pub(crate) mod touched;

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use betanet_fog::{
    Amounts, DAY_MS, Kind, Level, NodeState, Reason, Receipt, Signed, Task, TaskId, TaskState,
    seed_hash,
};
use betanet_wire::NodeId;

use crate::codec::Damaged;
use crate::rating::Rated;
use crate::record::{Change, Record};
use history::{Counts, EVENTS, Happened, TOPOLOGIES, keep};
use market::{LotsId, Market};
use namespaces::Namespaces;
use nodes::Nodes;
use tasks::Tasks;
use tokens::{Jobs, SEEDS, Seeds, TokenRow, Tokens};
use touched::{Id, Touched};

/// A consequence of a change, for the indexes outside the state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Effect {
    /// A task is new, changed or forgotten.
    Task(TaskId),
    /// A node is new, changed or gone.
    Node(NodeId),
    /// A copy got a node.
    Placed { task: TaskId, fence: u64 },
    /// A live copy ended.
    Freed {
        fence: u64,
        node: NodeId,
        task: TaskId,
        how: How,
    },
    /// A node must be quarantined.
    Suspect(NodeId),
    /// Lots of a node are set aside.
    Aside { node: NodeId, id: LotsId, lots: u64 },
    /// Lots are free again, once no copy runs in them.
    Back(LotsId),
}

/// How a live copy ended, as far as its node is concerned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum How {
    /// With a result.
    Result,
    /// By a loss or an internal fault.
    Failed,
    /// By another fault.
    Fault,
    /// By a yield, or because its task ended.
    Dropped,
}

/// Durable state.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Epoch of the last leader.
    pub(crate) epoch: u64,
    /// Index of the last record.
    pub(crate) last: u64,
    /// Its time, in UNIX ms.
    pub(crate) ts: u64,
    /// Time at which the last leader began, in UNIX ms.
    pub(crate) led: u64,
    pub(crate) nodes: Nodes,
    pub(crate) tasks: Tasks,
    pub(crate) namespaces: Namespaces,
    pub(crate) tokens: Tokens,
    pub(crate) jobs: Jobs,
    pub(crate) seeds: Seeds,
    pub(crate) market: Market,
    pub(crate) rated: Rated,
    pub(crate) events: VecDeque<Happened>,
    pub(crate) history: VecDeque<Counts>,
    pub(crate) touched: Touched,
    effects: Vec<Effect>,
    known: Option<Known>,
}

/// The signed record of the next change, which is decoded already.
#[derive(Debug)]
pub(crate) enum Known {
    /// A task that is accepted.
    Task(Arc<Signed<Task>>),
    /// A receipt that a copy returned.
    Receipt(Arc<Signed<Receipt>>),
}

const UNKNOWN: Damaged = Damaged("record of what the state knows");

impl State {
    /// Applies the record at `index`. An error means that journal and state disagree: the state is of no use any more.
    pub(crate) fn apply(&mut self, index: u64, record: &Record) -> Result<(), Damaged> {
        if index <= self.last {
            return Err(Damaged("index above the last"));
        }
        let before = core::mem::replace(&mut self.last, index);
        self.ts = self.ts.max(record.ts);
        let ts = self.ts;
        let (node, task, reason) = self.change(index, ts, &record.change)?;
        let nodes = self.nodes.marks.take().into_iter().map(Id::Node);
        let tasks = self.tasks.marks.take().into_iter().map(Id::Task);
        self.touched.note(before, index, nodes.chain(tasks));
        self.note(index, ts, &record.change, (node, task, reason));
        Ok(())
    }

    /// Applies a record whose signed record is at hand, so that it need not be decoded.
    pub(crate) fn apply_known(
        &mut self,
        index: u64,
        record: &Record,
        known: Option<Known>,
    ) -> Result<(), Damaged> {
        self.known = known;
        let applied = self.apply(index, record);
        self.known = None;
        applied
    }

    /// Takes the consequences of the records applied since.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        core::mem::take(&mut self.effects)
    }

    fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    fn change(&mut self, index: u64, ts: u64, change: &Change) -> Result<About, Damaged> {
        match change {
            Change::Leads { epoch } => {
                self.epoch = self.epoch.max(*epoch);
                self.led = ts;
                Ok((None, None, None))
            }
            Change::Accepted { .. }
            | Change::Ready { .. }
            | Change::Assigned { .. }
            | Change::Started { .. }
            | Change::Returned { .. }
            | Change::Lost { .. }
            | Change::Evidence { .. }
            | Change::Ended { .. }
            | Change::Forgotten { .. } => self.apply_task(index, ts, change),
            Change::Joined { .. }
            | Change::Described { .. }
            | Change::Online { .. }
            | Change::Offline { .. }
            | Change::State { .. }
            | Change::Left { .. } => self.apply_node(index, ts, change),
            Change::Sealed { .. }
            | Change::Revealed { .. }
            | Change::Cleared { .. }
            | Change::Voided { .. }
            | Change::Over { .. } => self.apply_market(change),
            Change::Rated { nodes } => {
                for (id, rating) in nodes {
                    self.rated.set(*id, *rating);
                    if self.nodes.change(id, |_| ()).is_some() {
                        self.effect(Effect::Node(*id));
                    }
                }
                Ok((None, None, None))
            }
            Change::Issued { id, exp, hash } => {
                self.forget_tokens(ts);
                let row = self.tokens.entry(*id).or_default();
                (row.exp, row.hash) = (*exp, Some(*hash));
                Ok((None, None, None))
            }
            Change::Revoked { id } => {
                self.tokens.entry(*id).or_default().revoked = true;
                Ok((None, None, None))
            }
            Change::Job { job } => self.apply_job(job),
            Change::Undone { ns, name } => {
                let job = self
                    .jobs
                    .get_mut(&(ns.clone(), name.clone()))
                    .ok_or(UNKNOWN)?;
                job.envelope = Default::default();
                job.tasks.clear();
                Ok((None, None, None))
            }
            Change::Seed { day, secret } => {
                self.seeds.insert(*day, *secret);
                while self.seeds.len() > SEEDS {
                    self.seeds.pop_first();
                }
                Ok((None, None, None))
            }
            Change::Topology {} => {
                let counts = self.counts(index, ts);
                keep(&mut self.history, TOPOLOGIES, counts);
                Ok((None, None, None))
            }
        }
    }

    fn apply_job(&mut self, job: &[u8]) -> Result<About, Damaged> {
        let signed = Signed::<betanet_fog::Job>::restore(job).map_err(|_| Damaged("job"))?;
        let row = tokens::JobRow {
            owner: signed.owner,
            ver: signed.ver,
            envelope: job.into(),
            tasks: signed.tasks.to_vec(),
        };
        self.jobs
            .insert((signed.ns.clone(), signed.name.clone()), row);
        Ok((None, None, None))
    }

    /// Forgets tokens that can no longer be used, a day after they expired. Those of nodes that are known stay.
    fn forget_tokens(&mut self, ts: u64) {
        if self.tokens.len() < tokens::TOKENS_MAX / 2 {
            return;
        }
        let nodes = &self.nodes;
        self.tokens.retain(|_, t: &mut TokenRow| {
            let known = t.used.is_some_and(|id| nodes.get(&id).is_some());
            known || t.exp.saturating_add(DAY_MS) > ts
        });
    }

    /// Counts of the cluster now.
    pub(crate) fn counts(&self, at: u64, ts: u64) -> Counts {
        let (mut cap, mut free) = (Amounts::default(), Amounts::default());
        let active = self
            .nodes
            .iter()
            .filter(|(_, n)| n.state() == NodeState::Active);
        for (_, node) in active {
            cap.add(&node.cap.amounts());
            free.add(&node.free());
        }
        let mut counts = Counts {
            at,
            ts,
            epoch: self.epoch,
            cap,
            free,
            seed: self.seeds.get(&(ts / DAY_MS)).map_or([0; 32], seed_hash),
            kinds: [0; Kind::ALL.len()],
            nodes: [0; NodeState::ALL.len()],
            tasks: [0; TaskState::ALL.len()],
        };
        for (n, kind) in counts.kinds.iter_mut().zip(Kind::ALL) {
            *n = self.nodes.count_kind(*kind);
        }
        for (n, state) in counts.nodes.iter_mut().zip(NodeState::ALL) {
            *n = self.nodes.count(*state);
        }
        for (n, state) in counts.tasks.iter_mut().zip(TaskState::ALL) {
            *n = self.tasks.count(*state);
        }
        counts
    }

    fn note(&mut self, at: u64, ts: u64, change: &Change, (node, task, reason): About) {
        let secret = |id: &TaskId| self.tasks.get(id).is_some_and(|t| t.level == Level::Secret);
        let silent = matches!(change, Change::Forgotten { .. } | Change::Rated { .. });
        if silent || task.as_ref().is_some_and(secret) {
            return;
        }
        let kind = Change::KINDS.iter().position(|k| *k == change.kind());
        let kind = kind.and_then(|n| u8::try_from(n).ok()).unwrap_or(u8::MAX);
        let event = Happened {
            at,
            ts,
            kind,
            reason,
            node,
            task,
        };
        keep(&mut self.events, EVENTS, event);
    }

    /// Tasks before this one and their state, from its record.
    fn after_of(task: &Task) -> Vec<TaskId> {
        let mut after = task.after.to_vec();
        after.sort_unstable();
        after.dedup();
        after
    }

    /// Digest of the whole state. It is equal wherever the same records were applied.
    pub(crate) fn hash(&self) -> [u8; 32] {
        use sha2::Digest as _;
        let mut h = sha2::Sha256::new();
        self.rows(&mut |row| h.update(row));
        h.finalize().into()
    }

    /// Number of offline nodes in a zone that went offline since `since`.
    pub(crate) fn went_offline(&self, zone: &betanet_fog::Word, since: u64) -> u64 {
        let from = (since, NodeId([0; 20]));
        let found = self
            .nodes
            .zone(zone)
            .map(|z| z.offline.range(from..).count());
        found.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
    }
}

/// What an event is about: node, task, reason.
type About = (Option<NodeId>, Option<TaskId>, Option<Reason>);
