//! Placement: from the queue to nodes.

use alloc::boxed::Box;
use alloc::vec::Vec;

use betanet_fog::{Reason, Signed, Source, Task, TaskId, TaskState};
use betanet_keys::hash;
use betanet_scheduler::Place;
use betanet_wire::NodeId;

use super::Coordinator;
use crate::life::CopyState;
use crate::placer::{Freed, NewCopy, Placer, Seat, Wanted, Why};
use crate::record::Change;
use crate::state::How;
use crate::state::tasks::{Alike, TaskRow};

/// Attempts of one call.
const ATTEMPTS: usize = 256;

/// Time in ms after which a task that cost too much is tried again.
const POOR_MS: u64 = 1_000;

/// Time in ms for which it stays known why a group of tasks does not fit.
const REASONS_MS: u64 = 10_000;

/// Where a task's copies were.
pub(super) struct Past<'a> {
    /// Organisations of those that are live or have a result.
    pub(super) apart: Vec<Option<&'a str>>,
    /// Nodes of those with a fault or a loss.
    pub(super) failed: Vec<NodeId>,
}

impl<'a> Past<'a> {
    pub(super) fn of(row: &TaskRow, nodes: &'a crate::state::nodes::Nodes) -> Self {
        fn with(row: &TaskRow, pick: fn(CopyState) -> bool) -> impl Iterator<Item = NodeId> {
            row.life
                .copies
                .iter()
                .filter(move |c| pick(c.state))
                .map(|c| c.node)
        }
        let org = |id: NodeId| {
            let node = nodes.get(&id).filter(|n| n.vouched).map(|n| n.org.as_str());
            node.or(nodes.gone(&id).map(|g| g.org.as_str()))
        };
        let kept = |s: CopyState| s.is_live() || matches!(s, CopyState::Result(_));
        Self {
            apart: with(row, kept).map(org).collect(),
            failed: with(row, |s| match s {
                CopyState::Fault(_) => true,
                CopyState::Lost(why) => why == Reason::Time || crate::life::is_loss(why),
                _ => false,
            })
            .collect(),
        }
    }
}

/// Outcome of an attempt to place a task.
enum Attempt {
    Placed,
    /// Nobody like it fits.
    Blocked,
    /// It costs more than its budget.
    Poor,
}

impl<P: Placer> Coordinator<P> {
    /// Hash of all that the placement of a task depends on.
    pub(super) fn alike(id: &TaskId, row: &TaskRow, task: &Task) -> Alike {
        let mut w = betanet_wire::cbor::Writer::with_capacity(256);
        let mut add = |bytes: &[u8]| w.bytes(bytes);
        add(row.ns.as_bytes());
        add(&betanet_fog::to_vec(&row.resources));
        add(row.rules.tier.as_str().as_bytes());
        add(row.level.as_str().as_bytes());
        add(task.rsv.as_ref().map_or(&[], |r| r));
        add(&row.life.wanted(&row.rules).to_be_bytes());
        add(&task.place.rep.to_be_bytes());
        for need in &task.place.need {
            add(need.attribute.as_str().as_bytes());
            add(need.op.as_str().as_bytes());
            for value in &need.values {
                add(value.as_bytes());
            }
            add(b";");
        }
        if let Some(spread) = &task.place.spread {
            add(spread.as_str().as_bytes());
            add(task.group.as_bytes());
        }
        // Copies of its own keep organisations away.
        if !row.life.copies.is_empty() {
            add(&id.0);
        }
        let digest = hash(&[&w.into_vec()]);
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        Alike::from_be_bytes(first)
    }

    /// Places tasks in their order, until none is left that may fit.
    pub(super) fn place_waiting(&mut self) {
        let ms = self.clock.ms();
        self.drop_claims(ms);
        for _ in 0..ATTEMPTS {
            if !self.has_room() {
                return;
            }
            let Some(lead) = &mut self.lead else {
                return;
            };
            if core::mem::take(&mut lead.agenda.stirred) {
                lead.agenda.waiting.unblock();
            }
            let Some((alike, id)) = lead.agenda.waiting.first() else {
                return;
            };
            self.show_kept_to(&id);
            match self.attempt(&id, ms) {
                Attempt::Placed => {}
                Attempt::Blocked => self.block(alike, &id, ms),
                Attempt::Poor => self.set_aside(&id, ms.saturating_add(POOR_MS)),
            }
            self.look_at_tasks();
        }
    }

    fn block(&mut self, alike: Alike, id: &TaskId, ms: u64) {
        let known = self
            .lead
            .as_ref()
            .and_then(|l| l.agenda.reasons.get(&alike))
            .copied();
        let fresh = known.is_some_and(|(at, _)| at.saturating_add(REASONS_MS) > ms);
        if !fresh {
            self.claim(id, ms);
        }
        // No credit is due where capacity is not what is missing.
        let elsewhere = match known {
            Some((_, elsewhere)) if fresh => elsewhere.map(|_| ms),
            _ => {
                let why = self.why(id);
                let capacity = |r: &Reason| r.as_str().ends_with("_free") || *r == Reason::State;
                let elsewhere = !why.is_empty() && !why.iter().any(|(r, _)| capacity(r));
                elsewhere.then_some(ms).or(known.and_then(|(_, last)| last))
            }
        };
        if let Some(lead) = &mut self.lead {
            lead.agenda.waiting.block(alike);
            let reasons = &mut lead.agenda.reasons;
            if reasons.len() > super::GROUP_MAX {
                reasons.pop_first();
            }
            let found = known.filter(|_| fresh).map_or(ms, |(at, _)| at);
            reasons.insert(alike, (found, elsewhere));
        }
    }

    /// Whether a task waits, or waited, for something that no credit is due for.
    pub(super) fn waited_elsewhere(&self, id: &TaskId) -> bool {
        let Some(lead) = &self.lead else {
            return false;
        };
        let queued = lead.agenda.marks.get(id).and_then(|m| m.queued);
        let Some((alike, _)) = queued else {
            return false;
        };
        let ready = self.state.tasks.get(id).map_or(u64::MAX, |t| t.ready_ts);
        let last = lead.agenda.reasons.get(&alike).and_then(|(_, last)| *last);
        last.is_some_and(|at| at >= ready)
    }

    fn set_aside(&mut self, id: &TaskId, until: u64) {
        if let Some(lead) = &mut self.lead {
            lead.agenda.postpone(*id, until);
        }
    }

    /// Whether copies of a task are within its namespace's quota.
    pub(super) fn within_quota(&self, row: &TaskRow, copies: u64) -> bool {
        let quota = self.quota(&row.ns);
        let Some(used) = self.state.namespaces.get(&row.ns) else {
            return true;
        };
        let fits = |used: u64, each: u64, most: u64| {
            used.saturating_add(each.saturating_mul(copies)) <= most
        };
        fits(used.copies, 1, quota.copies)
            && fits(used.cpu, row.resources.cpu(), quota.cpu)
            && fits(used.memory, row.resources.memory(), quota.memory)
            && fits(used.gpu, row.resources.gpu(), quota.gpu)
    }

    fn attempt(&mut self, id: &TaskId, ms: u64) -> Attempt {
        self.state.tasks.decode(id, None);
        let Some(row) = self.state.tasks.get(id) else {
            return Attempt::Poor;
        };
        let copies = row.life.wanted(&row.rules);
        let Ok(task) = row.task() else {
            return Attempt::Poor;
        };
        if copies == 0 {
            return Attempt::Poor;
        }
        if !self.within_quota(row, copies) {
            return Attempt::Blocked;
        }
        let factor = self.placer.factor(&row.resources);
        let cost = Self::most_cost(&task, &row.rules, factor);
        if cost > row.budget {
            return Attempt::Poor;
        }
        let (no, preempted) = (row.life.placed, row.preempted);
        let past = Past::of(row, &self.state.nodes);
        let end = ms.saturating_add(row.run_ms).min(row.deadline);
        let fence = self.state.last.saturating_add(1);
        let new: Vec<NewCopy> = (0..copies)
            .map(|n| NewCopy {
                no: no.saturating_add(u32::try_from(n).unwrap_or(u32::MAX)),
                fence: fence.saturating_add(n),
            })
            .collect();
        let secret = self.secret();
        let wanted = Wanted {
            id,
            task: &task,
            secret: &secret,
            factor,
            apart: &past.apart,
            failed: &past.failed,
            preempted,
        };
        let Some(seats) = self.placer.place(ms, &wanted, &new) else {
            return Attempt::Blocked;
        };
        let elsewhere = self.waited_elsewhere(id);
        for (copy, seat) in new.iter().zip(&seats.seats) {
            self.commit(Change::Assigned {
                task: *id,
                no: copy.no,
                node: seat.node,
                devices: seat.devices,
                end,
                factor,
                cost,
                elsewhere,
            });
        }
        for fence in seats.dropped {
            if let Some(victim) = self.task_of(fence) {
                self.lose(victim, fence, Reason::Preempted);
            }
        }
        Attempt::Placed
    }

    /// The task with a live copy under this fence.
    fn task_of(&self, fence: u64) -> Option<TaskId> {
        self.lead.as_ref()?.agenda.live.get(&fence).copied()
    }

    /// Lets a task see the nodes that are kept for it.
    fn show_kept_to(&mut self, id: &TaskId) {
        let row = self.state.tasks.get(id);
        let place = row.map(|r| Place::new(r.rules.tier, r.prio, r.ready_at));
        self.show_kept(id, place);
    }

    /// Why a task waits; empty if it does not.
    pub(super) fn why(&mut self, id: &TaskId) -> Why {
        self.show_kept_to(id);
        let ms = self.clock.ms();
        let Some(row) = self.state.tasks.get(id) else {
            return Why::new();
        };
        let one = |reason| [(reason, 1)].into();
        if row.life.state == TaskState::Accepted {
            return one(if row.waits > 0 {
                Reason::After
            } else {
                Reason::Start
            });
        }
        let copies = row.life.wanted(&row.rules);
        if copies == 0 {
            return Why::new();
        }
        if row.backoff > ms {
            return one(Reason::Backoff);
        }
        if !self.within_quota(row, copies) {
            return one(Reason::Quota);
        }
        let Ok(task) = row.task() else {
            return Why::new();
        };
        let factor = self.placer.factor(&row.resources);
        if Self::most_cost(&task, &row.rules, factor) > row.budget {
            return one(Reason::Budget);
        }
        let past = Past::of(row, &self.state.nodes);
        let secret = self.secret();
        let wanted = Wanted {
            id,
            task: &task,
            secret: &secret,
            factor,
            apart: &past.apart,
            failed: &past.failed,
            preempted: row.preempted,
        };
        let n = usize::try_from(copies).unwrap_or(1);
        self.placer
            .plan(ms, &wanted, row.life.placed, n)
            .err()
            .unwrap_or_default()
    }

    /// Tells the placer of a copy.
    pub(super) fn adopt(&mut self, id: TaskId, fence: u64) {
        // The record's time: so every replica's placer comes out alike.
        let ms = self.state.ts;
        let secret = self.secret();
        let Some(row) = self.state.tasks.get(&id) else {
            return;
        };
        let (Ok(task), Some(copy)) = (row.task(), row.life.copy(fence)) else {
            return;
        };
        let wanted = Wanted {
            id: &id,
            task: &task,
            secret: &secret,
            factor: row.factor,
            apart: &[],
            failed: &[],
            preempted: row.preempted,
        };
        let seat = Seat {
            node: copy.node,
            devices: copy.devices,
        };
        let new = NewCopy { no: copy.no, fence };
        self.placer.adopt(ms, &wanted, new, seat);
        if let Some(lead) = &mut self.lead {
            lead.agenda.live.insert(fence, id);
        }
    }

    /// Tells the placer that a copy ended.
    pub(super) fn release(&mut self, fence: u64, id: TaskId, how: How) {
        // The record's time: so every replica's placer comes out alike.
        let ms = self.state.ts;
        if let Some(lead) = &mut self.lead {
            lead.pulses.spare(fence);
            lead.agenda.live.remove(&fence);
        }
        let blobs: Box<[_]> = match (how, self.state.tasks.get(&id).map(TaskRow::task)) {
            (How::Result, Some(Ok(task))) => blobs(&task),
            _ => Box::default(),
        };
        let how = match how {
            How::Result => Freed::Result(&blobs),
            How::Failed => Freed::Failed,
            How::Fault => Freed::Fault,
            How::Dropped => Freed::Dropped,
        };
        self.placer.end(ms, fence, how);
    }
}

/// Module and inputs of a task.
fn blobs(task: &Signed<Task>) -> Box<[betanet_fog::Digest]> {
    let inputs = task.inputs.iter().filter_map(|i| match &i.source {
        Source::Blob { digest, .. } => Some(*digest),
        Source::File { .. } => None,
    });
    core::iter::once(task.module.digest).chain(inputs).collect()
}
