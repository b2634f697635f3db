//! Tasks, ended ones included until they are forgotten.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use betanet_fog::{
    DAY_MS, Digest, Level, Offline, Refusal, Resources, Signed, Source, Strategy, Task, TaskId,
    TaskState, Word,
};

use super::market::LotsId;
use super::touched::Marks;
use crate::codec::row;
use crate::lease::GRACE;
use crate::life::{Life, Rules};

/// Time in ms for which failed tasks are kept.
const DEAD_KEPT: u64 = 30 * DAY_MS;

/// Most tasks whose decoded record is remembered. A task that comes, is placed and ends needs it a dozen times.
const DECODED_MAX: usize = 4_096;

/// The decoded record of a task, as far as it is remembered. It says nothing that the record does not, so all are equal.
#[derive(Clone, Default)]
pub(crate) struct Decoded(Option<Arc<Signed<Task>>>);

impl PartialEq for Decoded {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Decoded {}

impl fmt::Debug for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "decoded"
        } else {
            "encoded"
        })
    }
}

/// Shape of tasks that can only be placed alike: a hash of all that their placement depends on.
pub(crate) type Alike = u128;

/// A task. What its placement needs beyond these values is decoded from the signed record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct TaskRow {
    pub(crate) owner: [u8; 32],
    pub(crate) ns: Word,
    /// Journal index of its acceptance.
    pub(crate) at: u64,
    /// Journal index of its last change.
    pub(crate) changed: u64,
    /// The signed record; empty once the task has ended.
    pub(crate) envelope: Box<[u8]>,
    pub(crate) rules: Rules,
    pub(crate) prio: u8,
    pub(crate) level: Level,
    pub(crate) strategy: Strategy,
    pub(crate) resources: Resources,
    /// Reservation in whose lots it runs.
    pub(crate) rsv: Option<LotsId>,
    pub(crate) offline: Offline,
    pub(crate) offline_ms: u64,
    pub(crate) retry_base: u64,
    pub(crate) retry_cap: u64,
    pub(crate) fuel: u64,
    pub(crate) budget: u64,
    pub(crate) run_ms: u64,
    pub(crate) start: u64,
    pub(crate) deadline: u64,
    /// Tasks before it that have not succeeded yet.
    pub(crate) waits: u8,
    /// A task before it ended otherwise.
    pub(crate) broken: bool,
    /// Inputs with files of outputs resolved; empty where it names none.
    pub(crate) inputs: Box<[u8]>,
    /// Whether it names files of outputs.
    pub(crate) files: bool,
    /// Journal index of `ready`, 0 before.
    pub(crate) ready_at: u64,
    pub(crate) ready_ts: u64,
    /// First start of a copy, 0 before.
    pub(crate) started_ts: u64,
    /// Waits for a retry until then.
    pub(crate) backoff: u64,
    pub(crate) factor: u64,
    pub(crate) cost: u64,
    pub(crate) preempted: u8,
    pub(crate) elsewhere: bool,
    pub(crate) ended_ts: u64,
    /// Tasks that have not ended and come after it.
    pub(crate) named: u32,
    /// Output of the deciding result.
    pub(crate) out: Option<Digest>,
    pub(crate) life: Life,
    pub(crate) decoded: Decoded,
}

row!(TaskRow {
    owner,
    ns,
    at,
    changed,
    envelope,
    rules,
    prio,
    level,
    strategy,
    resources,
    rsv,
    offline,
    offline_ms,
    retry_base,
    retry_cap,
    fuel,
    budget,
    run_ms,
    start,
    deadline,
    waits,
    broken,
    inputs,
    files,
    ready_at,
    ready_ts,
    started_ts,
    backoff,
    factor,
    cost,
    preempted,
    elsewhere,
    ended_ts,
    named,
    out,
    life,
} beside decoded);

impl TaskRow {
    /// The row of a task that is accepted now.
    pub(crate) fn new(task: &Task, envelope: Box<[u8]>, at: u64, cost: u64) -> Self {
        let small = |n: u64| u8::try_from(n).unwrap_or(u8::MAX);
        Self {
            owner: task.owner,
            ns: task.ns.clone(),
            at,
            changed: at,
            envelope,
            rules: rules(task),
            prio: small(task.prio),
            level: task.level,
            strategy: task.strategy,
            resources: task.res,
            rsv: task.rsv,
            offline: task.offline.rule,
            offline_ms: task.offline.ms,
            retry_base: task.retry.base,
            retry_cap: task.retry.cap,
            fuel: task.fuel,
            budget: task.budget,
            run_ms: task.run_ms,
            start: task.start,
            deadline: task.deadline,
            waits: 0,
            broken: false,
            inputs: Box::default(),
            files: task
                .inputs
                .iter()
                .any(|i| matches!(i.source, Source::File { .. })),
            ready_at: 0,
            ready_ts: 0,
            started_ts: 0,
            backoff: 0,
            factor: 0,
            cost,
            preempted: 0,
            elsewhere: false,
            ended_ts: 0,
            named: 0,
            out: None,
            life: Life::new(),
            decoded: Decoded::default(),
        }
    }

    /// The signed record. It was checked when it was accepted.
    pub(crate) fn task(&self) -> Result<Arc<Signed<Task>>, Refusal> {
        match &self.decoded.0 {
            Some(task) => Ok(Arc::clone(task)),
            None => Signed::restore(&self.envelope).map(Arc::new),
        }
    }

    /// What a copy takes of its node beside lots that are set aside.
    pub(crate) fn takes(&self) -> Resources {
        match self.rsv {
            Some(_) => Resources::ZERO,
            None => self.resources,
        }
    }

    /// Whether it waits for nodes, backoff aside.
    pub(crate) fn wants(&self) -> bool {
        self.life.wanted(&self.rules) > 0
    }

    /// Whether it counts as waiting: it has not ended and has no live copy.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.life.state.ended() && self.life.live().next().is_none()
    }

    /// Moment at which an ended task is forgotten.
    pub(crate) fn forget_at(&self) -> u64 {
        let kept = self.deadline.saturating_add(DAY_MS);
        match self.life.state {
            TaskState::Failed => kept.max(self.ended_ts.saturating_add(DEAD_KEPT)),
            _ => kept,
        }
    }

    /// The next moment after `ms` at which time alone changes something, in UNIX ms.
    pub(crate) fn wake(&self, ms: u64) -> Option<u64> {
        if self.life.state.ended() {
            // While another task names it, the end of that one is waited for.
            return (self.named == 0).then(|| self.forget_at());
        }
        let waits = match self.life.state {
            TaskState::Accepted if self.waits == 0 => Some(self.start),
            _ if self.wants() => Some(self.backoff),
            _ => None,
        };
        let copies = self.life.live().map(|c| c.end.saturating_add(GRACE));
        copies
            .chain(waits)
            .chain([self.deadline])
            .filter(|at| *at > ms)
            .min()
    }

    /// Bytes that it takes, with its allocations.
    pub(crate) fn size(&self) -> usize {
        let receipts = self.life.copies.iter().filter(|c| c.returned.is_some());
        size_of::<Self>()
            + self.ns.len()
            + self.envelope.len()
            + self.inputs.len()
            + self.life.copies.capacity() * size_of::<crate::life::Copy>()
            + receipts.count() * size_of::<crate::life::Returned>()
    }
}

/// The values of a record that a task's life depends on.
pub(crate) fn rules(task: &Task) -> Rules {
    let small = |n: u64| u8::try_from(n).unwrap_or(u8::MAX);
    Rules {
        tier: task.tier,
        verify: task.verify.rule,
        k: small(task.verify.k),
        n: small(task.verify.n),
        retry_max: small(task.retry.most),
        grants: !task.grants.is_empty(),
    }
}

/// All tasks.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    rows: BTreeMap<TaskId, Box<TaskRow>>,
    /// Tasks that come after each, while these are accepted.
    dependants: BTreeMap<TaskId, BTreeSet<TaskId>>,
    /// Tasks of each namespace.
    by_ns: BTreeMap<Word, BTreeSet<TaskId>>,
    /// Tasks whose record was remembered decoded, oldest first.
    decoded: VecDeque<TaskId>,
    counts: [u64; TaskState::ALL.len()],
    /// Those that a list shows otherwise now.
    pub(super) marks: Marks<TaskId>,
}

fn index(state: TaskState) -> usize {
    TaskState::ALL.iter().position(|s| *s == state).unwrap_or(0)
}

impl Tasks {
    pub(crate) fn get(&self, id: &TaskId) -> Option<&TaskRow> {
        self.rows.get(id).map(|row| &**row)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TaskId, &TaskRow)> {
        self.rows.iter().map(|(id, row)| (id, &**row))
    }

    /// Tasks above an ID, ascending.
    pub(crate) fn after(&self, id: Option<TaskId>) -> impl Iterator<Item = (&TaskId, &TaskRow)> {
        let from = match id {
            Some(id) => core::ops::Bound::Excluded(id),
            None => core::ops::Bound::Unbounded,
        };
        self.rows
            .range((from, core::ops::Bound::Unbounded))
            .map(|(id, row)| (id, &**row))
    }

    /// Tasks of a namespace above an ID, ascending.
    pub(crate) fn of_ns(
        &self,
        ns: &str,
        id: Option<TaskId>,
    ) -> impl Iterator<Item = (&TaskId, &TaskRow)> {
        let from = match id {
            Some(id) => core::ops::Bound::Excluded(id),
            None => core::ops::Bound::Unbounded,
        };
        let ids = self.by_ns.get(ns).into_iter();
        let ids = ids.flat_map(move |ids| ids.range((from, core::ops::Bound::Unbounded)));
        ids.filter_map(|id| Some((id, self.get(id)?)))
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Number of tasks in a state.
    pub(crate) fn count(&self, state: TaskState) -> u64 {
        self.counts[index(state)]
    }

    /// Accepted tasks that come after this one.
    pub(crate) fn dependants(&self, id: &TaskId) -> Vec<TaskId> {
        let found = self.dependants.get(id).into_iter().flatten();
        found.copied().collect()
    }

    pub(crate) fn insert(&mut self, id: TaskId, row: TaskRow, after: &[TaskId]) {
        if row.life.state == TaskState::Accepted {
            for before in after {
                self.dependants.entry(*before).or_default().insert(id);
            }
        }
        self.marks.mark(id);
        self.counts[index(row.life.state)] += 1;
        self.by_ns.entry(row.ns.clone()).or_default().insert(id);
        self.rows.insert(id, Box::new(row));
    }

    /// Remembers the decoded record of a task, instead of the oldest ones.
    pub(crate) fn decode(&mut self, id: &TaskId, known: Option<Arc<Signed<Task>>>) {
        let Some(row) = self.rows.get_mut(id).filter(|r| r.decoded.0.is_none()) else {
            return;
        };
        row.decoded.0 = known.or_else(|| row.task().ok());
        self.decoded.push_back(*id);
        while self.decoded.len() > DECODED_MAX {
            let oldest = self.decoded.pop_front();
            if let Some(row) = oldest.and_then(|id| self.rows.get_mut(&id)) {
                row.decoded = Decoded::default();
            }
        }
    }

    /// Changes a task.
    pub(super) fn change<T>(
        &mut self,
        id: &TaskId,
        f: impl FnOnce(&mut TaskRow) -> T,
    ) -> Option<T> {
        let row = self.rows.get_mut(id)?;
        self.marks.mark(*id);
        let before = index(row.life.state);
        let out = f(row);
        let after = index(row.life.state);
        self.counts[before] = self.counts[before].saturating_sub(1);
        self.counts[after] += 1;
        Some(out)
    }

    /// The task no longer waits for those before it.
    pub(super) fn settled(&mut self, id: &TaskId, after: &[TaskId]) {
        for before in after {
            if let Some(waiting) = self.dependants.get_mut(before) {
                waiting.remove(id);
                if waiting.is_empty() {
                    self.dependants.remove(before);
                }
            }
        }
    }

    pub(super) fn forget(&mut self, id: &TaskId) -> Option<Box<TaskRow>> {
        let row = self.rows.remove(id)?;
        self.marks.mark(*id);
        let at = index(row.life.state);
        self.counts[at] = self.counts[at].saturating_sub(1);
        if let Some(ids) = self.by_ns.get_mut(&row.ns) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_ns.remove(&row.ns);
            }
        }
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use betanet_sim::fog::{identity, task_of};

    use super::*;

    #[test]
    fn decoded_records_are_forgotten_beyond_the_bound_and_decoded_anew() {
        let owner = identity(1);
        let mut tasks = Tasks::default();
        let mut ids = Vec::new();
        for n in 0..=DECODED_MAX as u64 {
            let signed = Arc::new(Signed::sign(task_of(&owner, n), &owner).unwrap());
            let row = TaskRow::new(&signed, signed.to_bytes().into(), n + 1, 0);
            ids.push(signed.id());
            tasks.insert(signed.id(), row, &[]);
            tasks.decode(&signed.id(), Some(signed));
        }
        let is_decoded = |tasks: &Tasks, id| tasks.get(id).unwrap().decoded.0.is_some();
        let decoded = |tasks: &Tasks| ids.iter().filter(|id| is_decoded(tasks, id)).count();
        assert_eq!(decoded(&tasks), DECODED_MAX);
        assert!(!is_decoded(&tasks, &ids[0]));
        assert_eq!(tasks.get(&ids[0]).unwrap().task().unwrap().id(), ids[0]);
        // It is remembered again, in place of the one that is the oldest now.
        tasks.decode(&ids[0], None);
        assert!(is_decoded(&tasks, &ids[0]) && !is_decoded(&tasks, &ids[1]));
        assert_eq!(decoded(&tasks), DECODED_MAX);
    }
}
