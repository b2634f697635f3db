//! Jobs: named lists of tasks, in versions.

use alloc::vec::Vec;

use betanet_fog::{Job, Reason, Refusal, RefusalCode, Signed, TaskId, TaskState, Word};

use super::{Coordinator, Served, UNKNOWN};
use crate::life::End;
use crate::placer::Placer;
use crate::record::Change;
use crate::request::{Caller, Reply};
use crate::state::tokens::JOBS_MAX;

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
