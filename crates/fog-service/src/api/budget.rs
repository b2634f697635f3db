//! Whether tasks and bids have money behind them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use betanet_coordinator::{Caller, Request};
use betanet_fog::{Commitment, Refusal, RefusalCode, Side, Signed, Task, TaskId};

use super::Api;
use crate::escrow::{Claim, Untold};
use crate::settings::itself;

/// Key of the refusal of a task or bid without money behind it.
const RESERVATION: &str = "reservation";

/// Why a claim was refused.
fn refused(covered: Result<bool, Untold>) -> Result<(), Refusal> {
    match covered {
        Ok(true) => Ok(()),
        Ok(false) => Err(RefusalCode::Budget.of(RESERVATION)),
        Err(Untold) => Err(RefusalCode::Rate.of(RESERVATION)),
    }
}

/// Tasks of the coordinator's own key whose submission is under way. A second one of the same task is refused until its end: else the one
/// that fails would give back what the other holds.
#[derive(Debug, Default)]
pub(crate) struct UnderWay(Mutex<BTreeSet<TaskId>>);

/// Tasks that are under way until this is dropped.
#[derive(Debug)]
pub(crate) struct Entered<'a> {
    of: &'a UnderWay,
    ids: Vec<TaskId>,
}

impl UnderWay {
    fn all(&self) -> MutexGuard<'_, BTreeSet<TaskId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters all of these, or none.
    fn enter(&self, mut ids: Vec<TaskId>) -> Option<Entered<'_>> {
        ids.sort_unstable();
        ids.dedup();
        let mut all = self.all();
        if ids.iter().any(|id| all.contains(id)) {
            return None;
        }
        all.extend(&ids);
        Some(Entered { of: self, ids })
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let mut all = self.of.all();
        for id in &self.ids {
            all.remove(id);
        }
    }
}

impl Api {
    /// Begins a submission of tasks. Those of the coordinator's own key are submitted by one request at a time.
    pub(crate) fn begin(&self, tasks: &[Signed<Task>]) -> Result<Entered<'_>, Refusal> {
        let me = self.identity.public();
        let own = tasks.iter().filter(|t| t.owner == *me.as_bytes());
        let entered = self.under_way.enter(own.map(Signed::id).collect());
        entered.ok_or_else(|| RefusalCode::Rate.of("task"))
    }

    /// Checks that a task's budget is held, unless the task is known or is paid for by its lots.
    pub(crate) async fn check_budget(
        &self,
        caller: &Caller,
        task: &Signed<Task>,
    ) -> Result<(), Refusal> {
        let Some(escrow) = self.escrow.get() else {
            return Ok(());
        };
        // The machine says who may not submit it.
        let theirs = caller.key == task.owner && caller.namespaces.contains(&task.ns);
        if !is_paid(task) || !theirs {
            return Ok(());
        }
        let covered = escrow.covers(Claim::of_task(task)).await;
        if covered == Ok(true) {
            return Ok(());
        }
        // It may be the repeat of a request whose hold was paid out since.
        match self.was_accepted(task).await {
            true => Ok(()),
            false => refused(covered),
        }
    }

    /// Whether a task was accepted before.
    async fn was_accepted(&self, task: &Signed<Task>) -> bool {
        let me = itself(self.identity.public());
        let status = self.handle.ask(me, Request::Status(task.id())).await;
        status.is_ok()
    }

    /// Checks that a bid's hold is held.
    pub(crate) async fn check_hold(&self, order: &Commitment) -> Result<(), Refusal> {
        let Some(escrow) = self.escrow.get() else {
            return Ok(());
        };
        if order.side != Side::Bid {
            return Ok(());
        }
        refused(escrow.covers(Claim::of_bid(order)).await)
    }

    /// Holds the budgets of tasks of the coordinator's own key: of all, or of none. Those that are known are held, or were paid.
    pub(crate) async fn hold_budgets(&self, tasks: &[Signed<Task>]) -> Result<(), Refusal> {
        let Some(escrow) = self.escrow.get() else {
            return Ok(());
        };
        let mut claims = Vec::new();
        for task in tasks.iter().filter(|t| is_paid(t)) {
            if !self.was_accepted(task).await {
                claims.push(Claim::of_task(task));
            }
        }
        refused(escrow.hold(claims).await)
    }

    /// Gives back the budgets of tasks that were not taken.
    pub(crate) async fn release_budgets(&self, tasks: &[Signed<Task>]) {
        if let Some(escrow) = self.escrow.get() {
            let paid = tasks.iter().filter(|t| is_paid(t));
            escrow.release(paid.map(Claim::of_task).collect()).await;
        }
    }
}

/// Whether a task has a budget of its own; lots are paid for by their bid.
fn is_paid(task: &Signed<Task>) -> bool {
    task.rsv.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_submitted_by_one_request_at_a_time() {
        let (way, id) = (UnderWay::default(), |n| TaskId([n; 32]));
        let first = way.enter(vec![id(1), id(2), id(2)]).unwrap();
        assert!(way.enter(vec![id(3), id(2)]).is_none());
        // None of those was entered.
        let other = way.enter(vec![id(3)]).unwrap();
        drop(first);
        assert!(way.enter(vec![id(1), id(2)]).is_some());
        assert!(way.enter(vec![id(3)]).is_none());
        drop(other);
        assert!(way.all().is_empty());
    }
}
