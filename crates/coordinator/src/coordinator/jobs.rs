//! Jobs: named lists of tasks, in versions.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

use betanet_fog::{Job, Level, Reason, Refusal, RefusalCode, Signed, TaskId, TaskState, Word};

use super::{Coordinator, Served, UNKNOWN};
use crate::life::End;
use crate::placer::Placer;
use crate::record::Change;
use crate::request::{Caller, JobPage, JobSummary, LastJob, Reply};
use crate::state::tokens::{JOBS_MAX, JobRow};

/// Tasks and jobs that one list looks at: a page may be short and still have a next one.
const SCANNED: usize = 10_000;

impl<P: Placer> Coordinator<P> {
    pub(super) fn put_job(&mut self, caller: &Caller, signed: &Signed<Job>) -> Served {
        if caller.key != signed.owner {
            return Err(RefusalCode::NotYours.of("owner"));
        }
        if !caller.namespaces.contains(&signed.ns) {
            return Err(RefusalCode::Role.of("ns"));
        }
        let key = (signed.ns.clone(), signed.name.clone());
        let old = self.state.jobs.get(&key);
        let envelope = signed.to_bytes();
        if old.is_some_and(|j| *j.envelope == *envelope) {
            return Ok(Reply::Done);
        }
        if old.is_some_and(|j| j.owner != signed.owner) {
            return Err(RefusalCode::NotYours.of("owner"));
        }
        let last = old.map_or(0, |j| j.ver);
        if signed.ver != last.saturating_add(1) {
            return Err(RefusalCode::Version.of("ver"));
        }
        for id in &signed.tasks {
            let known = self.state.tasks.get(id).is_some_and(|t| t.ns == signed.ns);
            if !known {
                return Err(RefusalCode::Unknown.of("tasks"));
            }
        }
        if old.is_none() && self.state.jobs.len() >= JOBS_MAX {
            return Err(RefusalCode::Quota.bare());
        }
        let new: alloc::collections::BTreeSet<TaskId> = signed.tasks.iter().copied().collect();
        let gone: Vec<TaskId> = old
            .map_or(&[][..], |j| &j.tasks)
            .iter()
            .filter(|id| !new.contains(id))
            .copied()
            .collect();
        self.commit(Change::Job {
            job: envelope.into(),
        });
        self.cancel_all(&signed.owner, &gone);
        Ok(if last == 0 {
            Reply::Created
        } else {
            Reply::Done
        })
    }

    /// Cancels the tasks of this owner that have not ended.
    fn cancel_all(&mut self, owner: &[u8; 32], tasks: &[TaskId]) {
        for id in tasks {
            let row = self.state.tasks.get(id);
            if row.is_some_and(|t| t.owner == *owner && !t.life.state.ended()) {
                self.end_task(*id, &End::without(TaskState::Cancelled, Reason::Cancel));
            }
        }
    }

    fn may_see(caller: &Caller, ns: &Word) -> Result<(), Refusal> {
        if caller.operator || caller.namespaces.contains(ns) {
            Ok(())
        } else {
            Err(RefusalCode::Role.of("ns"))
        }
    }

    pub(super) fn job(&self, caller: &Caller, ns: Word, name: Word) -> Served {
        Self::may_see(caller, &ns)?;
        let job = self.state.jobs.get(&(ns, name)).ok_or(UNKNOWN)?;
        if job.envelope.is_empty() {
            return Err(UNKNOWN);
        }
        Ok(Reply::Job(job.envelope.clone()))
    }

    /// The last version of a job, deleted ones included.
    pub(super) fn last_job(&self, caller: &Caller, ns: Word, name: Word) -> Served {
        Self::may_see(caller, &ns)?;
        let job = self.state.jobs.get(&(ns, name)).ok_or(UNKNOWN)?;
        Ok(Reply::LastJob(LastJob {
            owner: job.owner,
            ver: job.ver,
            deleted: job.envelope.is_empty(),
        }))
    }

    fn summary(&self, (ns, name): &(Word, Word), job: &JobRow) -> JobSummary {
        let mut states = BTreeMap::new();
        let known = job.tasks.iter().filter_map(|id| self.state.tasks.get(id));
        for task in known.filter(|t| t.level != Level::Secret) {
            *states.entry(task.life.state).or_default() += 1;
        }
        JobSummary {
            ns: ns.clone(),
            name: name.clone(),
            ver: job.ver,
            owner: job.owner,
            tasks: u64::try_from(job.tasks.len()).unwrap_or(u64::MAX),
            states,
        }
    }

    /// The jobs that are not deleted, of the namespaces that the caller may see.
    pub(super) fn list_jobs(
        &self,
        caller: &Caller,
        ns: &Word,
        after: Option<(Word, Word)>,
        n: u64,
    ) -> Reply {
        let most = usize::try_from(n.clamp(1, 1_000)).unwrap_or(1_000);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (mut items, mut next, mut scanned) = (Vec::new(), None, 0);
        for (key, job) in self.state.jobs.range((from, Bound::Unbounded)) {
            if items.len() >= most || scanned >= SCANNED {
                return Reply::Jobs(JobPage { items, next });
            }
            scanned += 1 + job.tasks.len();
            next = Some(key.clone());
            let wanted = ns.is_empty() || key.0 == *ns;
            let shown = wanted && !job.envelope.is_empty();
            if shown && Self::may_see(caller, &key.0).is_ok() {
                items.push(self.summary(key, job));
            }
        }
        Reply::Jobs(JobPage { items, next: None })
    }

    /// Deletes a job and cancels its tasks. Its version stays known: the next one follows it.
    pub(super) fn delete_job(&mut self, caller: &Caller, ns: Word, name: Word) -> Served {
        let job = self
            .state
            .jobs
            .get(&(ns.clone(), name.clone()))
            .ok_or(UNKNOWN)?;
        if caller.key != job.owner && !caller.operator {
            return Err(RefusalCode::NotYours.bare());
        }
        if job.envelope.is_empty() {
            return Ok(Reply::Done);
        }
        let (owner, tasks) = (job.owner, job.tasks.clone());
        self.commit(Change::Undone { ns, name });
        self.cancel_all(&owner, &tasks);
        Ok(Reply::Done)
    }
}
