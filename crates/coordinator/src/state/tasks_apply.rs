//! Changes of tasks, and what follows from them for nodes and namespaces.

use alloc::boxed::Box;
use alloc::sync::Arc;

use betanet_fog::{DAY_MS, Outcome, Reason, Receipt, Signed, TaskId, TaskState};
use betanet_keys::hash;
use betanet_scheduler::credit::Ending;
use betanet_wire::NodeId;

use super::nodes::Dropped;
use super::tasks::{Decoded, TaskRow};
use super::{About, Damaged, Effect, How, Known, State, UNKNOWN};
use crate::life::{Copy, CopyState, Returned, is_loss};
use crate::record::Change;

impl State {
    pub(super) fn apply_task(
        &mut self,
        index: u64,
        ts: u64,
        change: &Change,
    ) -> Result<About, Damaged> {
        match change {
            Change::Accepted { task, cost } => self.accept(index, ts, task, *cost),
            Change::Ready { task, inputs } => {
                self.touch(index, task, |row| {
                    row.life.ready();
                    row.inputs = inputs.clone();
                    (row.ready_at, row.ready_ts) = (index, ts);
                })?;
                self.settle(task)?;
                Ok((None, Some(*task), None))
            }
            Change::Assigned {
                task,
                no,
                node,
                devices,
                end,
                factor,
                cost,
                elsewhere,
            } => {
                let copy = Copy {
                    fence: index,
                    no: *no,
                    node: *node,
                    placed: ts,
                    end: *end,
                    devices: *devices,
                    state: CopyState::Assigned,
                    returned: None,
                };
                let resources = self.touch(index, task, |row| {
                    row.life.assigned(copy);
                    (row.factor, row.cost) = (*factor, *cost);
                    row.elsewhere |= elsewhere;
                    (row.takes(), row.rsv)
                })?;
                let (resources, rsv) = resources;
                self.rent_copy(rsv);
                self.nodes.hold(node, index, *task, &resources);
                self.effect(Effect::Placed {
                    task: *task,
                    fence: index,
                });
                Ok((Some(*node), Some(*task), None))
            }
            Change::Started { task, fence } => {
                let node = self.touch(index, task, |row| {
                    if row.life.started(*fence) && row.started_ts == 0 {
                        row.started_ts = ts;
                    }
                    row.life.copy(*fence).map(|c| c.node)
                })?;
                Ok((node, Some(*task), None))
            }
            Change::Returned {
                task,
                fence,
                receipt,
                alone,
            } => self.take_receipt(index, ts, (task, *fence), receipt, *alone),
            Change::Lost { task, fence, why } => self.lose(index, ts, (task, *fence), *why),
            Change::Evidence {
                task,
                fence,
                receipt,
            } => {
                let evidence = restored(receipt, false)?;
                let node = self.touch(index, task, |row| {
                    row.life.evidence(*fence, evidence.1);
                    row.life.copy(*fence).map(|c| c.node)
                })?;
                Ok((node, Some(*task), None))
            }
            Change::Ended {
                task,
                state,
                reason,
                deciding,
                cost,
                elsewhere,
            } => {
                self.end(
                    index,
                    ts,
                    task,
                    (*state, *reason),
                    deciding,
                    *cost,
                    *elsewhere,
                )?;
                Ok((None, Some(*task), Some(*reason)))
            }
            Change::Forgotten { tasks } => {
                for task in tasks {
                    self.tasks.forget(task).ok_or(UNKNOWN)?;
                    self.effect(Effect::Task(*task));
                }
                Ok((None, None, None))
            }
            _ => Err(Damaged("change of a task")),
        }
    }

    fn accept(
        &mut self,
        index: u64,
        ts: u64,
        envelope: &[u8],
        cost: u64,
    ) -> Result<About, Damaged> {
        let signed = match self.known.take() {
            Some(Known::Task(signed)) => signed,
            _ => Arc::new(Signed::restore(envelope).map_err(|_| Damaged("task"))?),
        };
        let id = signed.id();
        if self.tasks.get(&id).is_some() {
            return Err(Damaged("task that is not known"));
        }
        let after = Self::after_of(&signed);
        let mut row = TaskRow::new(&signed, envelope.into(), index, cost);
        if let Some(rsv) = row.rsv {
            let rent = self.market.rents.get(&rsv).ok_or(UNKNOWN)?;
            row.start = row.start.max(rent.from);
            row.deadline = row.deadline.min(rent.until());
            self.rent_task(row.rsv, id, true);
        }
        for before in &after {
            let state = self.tasks.change(before, |b| {
                b.named = b.named.saturating_add(1);
                b.life.state
            });
            match state.ok_or(UNKNOWN)? {
                TaskState::Succeeded => {}
                state if state.ended() => row.broken = true,
                _ => row.waits = row.waits.saturating_add(1),
            }
        }
        let ns = self.namespaces.entry(signed.ns.clone()).or_default();
        ns.waiting += 1;
        ns.spend(ts / DAY_MS, cost);
        self.tasks.insert(id, row, &after);
        self.tasks.decode(&id, Some(signed));
        self.effect(Effect::Task(id));
        Ok((None, Some(id), None))
    }

    /// Changes a task, and what its namespace uses.
    fn touch<T>(
        &mut self,
        index: u64,
        id: &TaskId,
        f: impl FnOnce(&mut TaskRow) -> T,
    ) -> Result<T, Damaged> {
        let row = self.tasks.get(id).ok_or(UNKNOWN)?;
        let (before, ns) = (Use::of(row), row.ns.clone());
        let out = self.tasks.change(id, |row| {
            row.changed = index;
            f(row)
        });
        let after = self.tasks.get(id).map_or(before, Use::of);
        if let Some(ns) = self.namespaces.get_mut(&ns) {
            before.count(ns, false);
            after.count(ns, true);
        }
        self.effect(Effect::Task(*id));
        out.ok_or(UNKNOWN)
    }

    /// The task waits for no other any more.
    fn settle(&mut self, id: &TaskId) -> Result<(), Damaged> {
        let row = self.tasks.get(id).ok_or(UNKNOWN)?;
        let signed = row.task().map_err(|_| Damaged("task"))?;
        let after = Self::after_of(&signed);
        self.tasks.settled(id, &after);
        Ok(())
    }

    /// Frees the node of a copy that was live.
    fn free(&mut self, id: &TaskId, fence: u64, how: How) {
        let Some(row) = self.tasks.get(id) else {
            return;
        };
        let Some(node) = row.life.copy(fence).map(|c| c.node) else {
            return;
        };
        let (resources, rsv) = (row.takes(), row.rsv);
        self.nodes.release(&node, fence, &resources);
        self.effect(Effect::Freed {
            fence,
            node,
            task: *id,
            how,
        });
        self.rent_freed(rsv);
    }

    fn take_receipt(
        &mut self,
        index: u64,
        ts: u64,
        (task, fence): (&TaskId, u64),
        receipt: &[u8],
        alone: bool,
    ) -> Result<About, Damaged> {
        let (outcome, receipt) = match self.known.take() {
            Some(Known::Receipt(receipt)) => returned(&receipt, alone),
            _ => restored(receipt, alone)?,
        };
        let node = self.touch(index, task, |row| {
            let rules = row.rules;
            row.life.returned(&rules, fence, outcome, receipt);
            let state = row.life.copy(fence).map(|c| c.state);
            if matches!(state, Some(CopyState::Fault(_))) {
                row.back_off(task, ts);
            }
            row.life.copy(fence).map(|c| (c.node, c.state))
        })?;
        let (node, state) = node.ok_or(UNKNOWN)?;
        let how = match state {
            CopyState::Result(_) => How::Result,
            CopyState::Fault(Outcome::Internal) => How::Failed,
            _ => How::Fault,
        };
        self.free(task, fence, how);
        Ok((Some(node), Some(*task), Some(outcome.into())))
    }

    fn lose(
        &mut self,
        index: u64,
        ts: u64,
        (task, fence): (&TaskId, u64),
        why: Reason,
    ) -> Result<About, Damaged> {
        let node = self.touch(index, task, |row| {
            row.life.lost(fence, why);
            match why {
                Reason::Time => row.back_off(task, ts),
                Reason::Preempted => row.preempted = row.preempted.saturating_add(1),
                _ => {}
            }
            row.life.copy(fence).map(|c| c.node)
        })?;
        let node = node.ok_or(UNKNOWN)?;
        let how = match why {
            Reason::Time => How::Fault,
            why if is_loss(why) => How::Failed,
            _ => How::Dropped,
        };
        self.free(task, fence, how);
        self.drop_copy(index, task, (fence, node), why);
        Ok((Some(node), Some(*task), Some(why)))
    }

    fn drop_copy(&mut self, at: u64, task: &TaskId, (fence, node): (u64, NodeId), why: Reason) {
        let drop = Dropped {
            at,
            task: *task,
            fence,
            why,
        };
        self.nodes.drop_copy(&node, drop);
    }

    #[allow(clippy::too_many_arguments, reason = "the values of one record")]
    fn end(
        &mut self,
        index: u64,
        ts: u64,
        id: &TaskId,
        (state, reason): (TaskState, Reason),
        deciding: &[u64],
        cost: u64,
        elsewhere: bool,
    ) -> Result<(), Damaged> {
        let row = self.tasks.get(id).ok_or(UNKNOWN)?;
        let signed = row.task().map_err(|_| Damaged("task"))?;
        let live: Box<[(u64, NodeId)]> = row.life.live().map(|c| (c.fence, c.node)).collect();
        let accepted_cost = row.cost;
        let was_accepted = row.life.state == TaskState::Accepted;
        self.touch(index, id, |row| {
            row.life.ended(state, reason);
            row.ended_ts = ts;
            row.cost = cost;
            row.elsewhere |= elsewhere;
            row.envelope = Box::default();
            row.decoded = Decoded::default();
            row.inputs = Box::default();
            let decided = deciding.first().and_then(|f| row.life.copy(*f));
            row.out = decided
                .and_then(|c| c.returned.as_ref())
                .and_then(|r| r.out);
        })?;
        for (fence, node) in live {
            self.free(id, fence, How::Dropped);
            self.drop_copy(index, id, (fence, node), Reason::Ended);
        }
        let rsv = self.tasks.get(id).and_then(|t| t.rsv);
        self.rent_task(rsv, *id, false);
        self.compare(ts, id, deciding);
        self.serve(ts, id, accepted_cost);
        for after in self.tasks.dependants(id) {
            self.tasks.change(&after, |row| match state {
                TaskState::Succeeded => row.waits = row.waits.saturating_sub(1),
                _ => row.broken = true,
            });
            self.effect(Effect::Task(after));
        }
        let after = Self::after_of(&signed);
        if was_accepted {
            self.tasks.settled(id, &after);
        }
        for before in &after {
            self.tasks
                .change(before, |row| row.named = row.named.saturating_sub(1));
            self.effect(Effect::Task(*before));
        }
        Ok(())
    }

    /// Compares the results of a task that two or more equal ones have decided.
    fn compare(&mut self, ts: u64, id: &TaskId, deciding: &[u64]) {
        if deciding.len() < 2 {
            return;
        }
        let Some(row) = self.tasks.get(id) else {
            return;
        };
        let results: Box<[(NodeId, bool)]> = row
            .life
            .results()
            .map(|c| (c.node, deciding.contains(&c.fence)))
            .collect();
        for (node, agrees) in results {
            let suspect = self
                .nodes
                .change(&node, |row| row.trust.compared(ts, agrees));
            let suspect = suspect.or_else(|| self.compare_gone(ts, &node, agrees));
            if suspect == Some(true) {
                self.effect(Effect::Suspect(node));
            }
            self.effect(Effect::Node(node));
        }
    }

    fn compare_gone(&mut self, ts: u64, node: &NodeId, agrees: bool) -> Option<bool> {
        let gone = self.nodes.gone.get_mut(node)?;
        let suspect = gone.trust.compared(ts, agrees);
        gone.quarantined |= suspect;
        Some(false)
    }

    /// Counts an ended task for the credits of its namespace, and gives back what it did not need.
    fn serve(&mut self, ts: u64, id: &TaskId, estimate: u64) {
        let Some(row) = self.tasks.get(id) else {
            return;
        };
        let Some(ns) = self.namespaces.get_mut(&row.ns) else {
            return;
        };
        ns.refund(ts / DAY_MS, estimate.saturating_sub(row.cost));
        // What exactly it waited for is not known any more, but that no credit is due for it. In reserved lots its owner alone
        // decides how many tasks wait.
        let waited: &[Reason] = if row.elsewhere || row.rsv.is_some() {
            &[Reason::Need]
        } else {
            &[]
        };
        let ending = Ending {
            state: row.life.state,
            reason: row.life.reason,
            ready: if row.ready_at > 0 {
                row.ready_ts
            } else {
                row.deadline
            },
            started: (row.started_ts > 0).then_some(row.started_ts),
            deadline: row.deadline,
            run_ms: row.run_ms,
            waited,
            cost: row.cost,
        };
        ns.serve(ts / DAY_MS, row.rules.tier, &ending);
    }
}

impl TaskRow {
    fn back_off(&mut self, id: &TaskId, ts: u64) {
        let retry = betanet_fog::Retry {
            most: u64::from(self.rules.retry_max),
            base: self.retry_base,
            cap: self.retry_cap,
        };
        let delay = retry.delay(id, u64::from(self.life.faults));
        self.backoff = ts.saturating_add(delay);
    }
}

/// The outcome of a stored receipt, and what is remembered of it.
fn restored(bytes: &[u8], alone: bool) -> Result<(Outcome, Returned), Damaged> {
    let receipt = Signed::<Receipt>::restore(bytes).map_err(|_| Damaged("receipt"))?;
    Ok(returned(&receipt, alone))
}

fn returned(receipt: &Signed<Receipt>, alone: bool) -> (Outcome, Returned) {
    let returned = Returned {
        hash: hash(&[receipt.rec()]),
        out: receipt.out,
        fuel: receipt.fuel,
        alone,
    };
    (receipt.status, returned)
}

/// What a task uses of its namespace's quota.
#[derive(Clone, Copy)]
struct Use {
    waiting: u64,
    copies: u64,
    cpu: u64,
    memory: u64,
    gpu: u64,
}

impl Use {
    fn of(row: &TaskRow) -> Self {
        let copies = row.life.live().fold(0, |n, _| n + 1);
        Self {
            waiting: u64::from(row.is_waiting()),
            copies,
            cpu: row.resources.cpu().saturating_mul(copies),
            memory: row.resources.memory().saturating_mul(copies),
            gpu: row.resources.gpu().saturating_mul(copies),
        }
    }

    fn count(self, ns: &mut super::namespaces::Namespace, add: bool) {
        let step = |total: &mut u64, n: u64| {
            *total = if add {
                total.saturating_add(n)
            } else {
                total.saturating_sub(n)
            };
        };
        step(&mut ns.waiting, self.waiting);
        step(&mut ns.copies, self.copies);
        step(&mut ns.cpu, self.cpu);
        step(&mut ns.memory, self.memory);
        step(&mut ns.gpu, self.gpu);
    }
}

impl super::namespaces::Namespace {
    /// Counts a task of a snapshot.
    pub(super) fn count(&mut self, row: &TaskRow) {
        Use::of(row).count(self, true);
    }
}
