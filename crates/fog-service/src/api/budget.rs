//! Whether tasks and bids have money behind them.

use betanet_coordinator::{Caller, Request};
use betanet_fog::{Commitment, Refusal, RefusalCode, Side, Signed, Task};

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

impl Api {
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
