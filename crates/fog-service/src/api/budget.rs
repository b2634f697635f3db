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
        if task.rsv.is_some() || !theirs {
            return Ok(());
        }
        let covered = escrow.covers(Claim::of_task(task)).await;
        if covered == Ok(true) {
            return Ok(());
        }
        // It may be the repeat of a request whose hold was paid out since.
        let me = itself(self.identity.public());
        match self.handle.ask(me, Request::Status(task.id())).await {
            Ok(_) => Ok(()),
            Err(_) => refused(covered),
        }
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
}
