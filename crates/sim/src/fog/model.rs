//! A second opinion: what the journal's records say, checked without the machine's state.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use betanet_coordinator::{Change, Record};
use betanet_fog::{
    Amounts, Fate, Node, Outcome as Status, Reason, Receipt, Resource, Signed, Task, TaskId,
    TaskState, Tier, Verify, Word,
};
use betanet_wire::NodeId;

use super::scenario::Outcome;
use super::world::Stored;

/// A task, as its records tell.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) task: Signed<Task>,
    live: BTreeSet<u64>,
    started: bool,
    pub(super) ended: bool,
    results: Vec<(u64, Status, Option<[u8; 32]>, bool)>,
}

/// A node, as its records tell.
#[derive(Debug, Default)]
struct Site {
    cap: Amounts,
    used: Amounts,
    shrunk: bool,
    org: Word,
}

/// What the journal says.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) tasks: BTreeMap<TaskId, Known>,
    nodes: BTreeMap<NodeId, Site>,
    /// Copies by fence.
    pub(super) copies: BTreeMap<u64, (TaskId, u32, NodeId)>,
    last: (u64, u64),
    rents: BTreeSet<[u8; 16]>,
}

/// The output of an honest node: what it says depends on the task alone.
pub(super) fn honest(task: &TaskId) -> Status {
    match task.0[0] {
        0..=15 => Status::Trap,
        16..=23 => Status::Exit,
        _ => Status::Ok,
    }
}

fn each(a: &mut Amounts, b: &Amounts, add: bool) {
    let step = |a: &mut u64, b: u64| *a = if add { *a + b } else { *a - b };
    step(&mut a.cpu, b.cpu);
    step(&mut a.memory, b.memory);
    step(&mut a.storage, b.storage);
    step(&mut a.gpu, b.gpu);
    step(&mut a.bandwidth, b.bandwidth);
    step(&mut a.relay, b.relay);
}

impl Model {
    /// Takes a record, and checks what follows from those before. Returns the fence of a copy that was lost, and why.
    pub(super) fn take(&mut self, stored: &Stored, out: &mut Outcome) -> Option<(u64, Reason)> {
        assert!(stored.index > self.last.0, "indices rise");
        assert!(stored.epoch >= self.last.1, "no record of an old epoch");
        self.last = (stored.index, stored.epoch);
        out.records += 1;
        let record = Record::read(stored.kind, &stored.body).unwrap();
        match record.change {
            Change::Joined { node, .. } | Change::Described { node } => {
                let node = Signed::<Node>::restore(&node).unwrap();
                let site = self.nodes.entry(node.id().unwrap()).or_default();
                let cap = node.cap.amounts();
                site.shrunk |= Resource::ALL.iter().any(|r| cap.get(*r) < site.cap.get(*r));
                site.cap = cap;
                site.org = node.org.clone();
            }
            Change::Accepted { task, .. } => {
                let task = Signed::<Task>::restore(&task).unwrap();
                out.accepted += 1;
                let known = Known {
                    live: BTreeSet::new(),
                    started: false,
                    ended: false,
                    results: Vec::new(),
                    task,
                };
                let id = known.task.id();
                assert!(self.tasks.insert(id, known).is_none(), "accepted twice");
            }
            Change::Assigned { task, no, node, .. } => {
                out.copies += 1;
                self.assigned(stored.index, task, no, node);
            }
            Change::Started { task, .. } => {
                self.tasks.get_mut(&task).unwrap().started = true;
            }
            Change::Returned {
                task,
                fence,
                receipt,
                alone,
            } => {
                self.end_copy(&task, fence);
                let receipt = Signed::<Receipt>::restore(&receipt).unwrap();
                let known = self.tasks.get_mut(&task).unwrap();
                if receipt.status.fate(!known.task.grants.is_empty()) == Fate::Result {
                    let result = (fence, receipt.status, receipt.out, alone);
                    known.results.push(result);
                }
            }
            Change::Lost { task, fence, why } => {
                out.lost += 1;
                self.end_copy(&task, fence);
                return Some((fence, why));
            }
            Change::Ended {
                task,
                state,
                reason,
                deciding,
                cost,
                ..
            } => {
                *out.ended.entry(reason).or_default() += 1;
                out.paid += cost;
                self.ended(&task, state, &deciding, cost, out);
            }
            Change::Voided { id } => {
                out.voided += 1;
                assert!(self.rents.insert(id), "paid back twice");
            }
            _ => {}
        }
        None
    }

    fn assigned(&mut self, fence: u64, task: TaskId, no: u32, node: NodeId) {
        let known = self.tasks.get_mut(&task).unwrap();
        assert!(!known.ended, "nothing is placed after the end");
        let numbers = known.live.iter().map(|f| self.copies[f].1);
        assert!(
            numbers.into_iter().all(|n| n != no),
            "one live fence a copy"
        );
        let kept = known.live.iter().chain(known.results.iter().map(|r| &r.0));
        let org = &self.nodes[&node].org;
        for other in kept {
            let other = self.copies[other].2;
            assert_ne!(self.nodes[&other].org, *org, "copies of one organisation");
        }
        known.live.insert(fence);
        let wanted = match known.task.verify.rule {
            Verify::Quorum => known.task.verify.n,
            Verify::None | Verify::Spot => 1,
        };
        let least = match known.task.tier {
            Tier::Gold | Tier::Platinum => 3,
            Tier::Bronze | Tier::Silver => 1,
        };
        assert!(
            known.live.len() as u64 <= wanted.max(least),
            "no more live copies than wanted"
        );
        let known = self.copies.insert(fence, (task, no, node));
        assert!(known.is_none(), "a fence is given once");
        self.count(&task, node, true);
    }

    /// Counts what a copy takes of its node. Lots that are set aside are counted by the machine's own audit.
    fn count(&mut self, task: &TaskId, node: NodeId, add: bool) {
        let known = &self.tasks[task];
        if known.task.rsv.is_some() {
            return;
        }
        let amounts = known.task.res.amounts();
        let site = self.nodes.get_mut(&node).unwrap();
        each(&mut site.used, &amounts, add);
    }

    /// Checks that no node has more copies than it holds. Copies that make room for others end in the same append.
    pub(super) fn check_capacity(&self) {
        for (node, site) in &self.nodes {
            let fits = |r: &Resource| site.used.get(*r) <= site.cap.get(*r);
            assert!(
                site.shrunk || Resource::ALL.iter().all(fits),
                "over-committed: {node}"
            );
        }
    }

    fn end_copy(&mut self, task: &TaskId, fence: u64) {
        let known = self.tasks.get_mut(task).unwrap();
        assert!(known.live.remove(&fence), "a live copy ends once: {fence}");
        let node = self.copies[&fence].2;
        self.count(task, node, false);
    }

    fn ended(
        &mut self,
        id: &TaskId,
        state: TaskState,
        deciding: &[u64],
        cost: u64,
        out: &mut Outcome,
    ) {
        let known = self.tasks.get_mut(id).unwrap();
        assert!(!core::mem::replace(&mut known.ended, true), "ended twice");
        let live: Vec<u64> = core::mem::take(&mut known.live).into_iter().collect();
        for fence in live {
            let node = self.copies[&fence].2;
            self.count(id, node, false);
        }
        let known = &self.tasks[id];
        let results: Vec<_> = known
            .results
            .iter()
            .filter(|r| deciding.contains(&r.0))
            .collect();
        assert_eq!(results.len(), deciding.len(), "results decide");
        let Some(first) = results.first() else {
            let stopped = matches!(state, TaskState::Cancelled | TaskState::Expired);
            assert!(
                cost == 0 || (stopped && known.started),
                "no payment without a result: {state:?}"
            );
            assert_ne!(state, TaskState::Succeeded, "a result succeeds");
            return;
        };
        let equal = results.iter().all(|r| (r.1, r.2) == (first.1, first.2));
        let least = match known.task.verify.rule {
            Verify::None => 1,
            Verify::Quorum => known.task.verify.k as usize,
            Verify::Spot if first.3 && known.results.len() == 1 => 1,
            Verify::Spot => 2,
        };
        assert!(equal && results.len() >= least, "a decision is canonical");
        let ok = first.1 == Status::Ok;
        assert_eq!(state == TaskState::Succeeded, ok, "ok succeeds");
        let lie = first.2 != honest(id).has_output().then_some(id.0);
        assert!(!lie || results.len() < 2, "two lies are never equal");
        out.fooled += u64::from(lie);
    }

    /// Tasks that have not ended.
    pub(super) fn open(&self) -> Vec<TaskId> {
        let open = self.tasks.iter().filter(|(_, t)| !t.ended);
        open.map(|(id, _)| *id).collect()
    }
}
