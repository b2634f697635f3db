//! Whether tasks and bids have money behind them.

use betanet_coordinator::{Caller, Request};
use betanet_fog::{Commitment, DAY_MS, ROUND_MS, Refusal, RefusalCode, Side, Signed, Task};

use super::Api;
use crate::escrow::{Claim, Purpose, Untold};
use crate::settings::itself;

/// Time for which a reservation lasts beyond the end of what it pays for, in ms.
const BEYOND_MS: u64 = 3 * DAY_MS;
/// A lot is rented for this long from the round after its own, in ms.
const HOUR_MS: u64 = 3_600_000;
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
        let claim = Claim {
            purpose: Purpose::Task,
            of: task.id().0,
            owner: task.owner,
            amount: task.budget,
            until_ms: task.deadline.saturating_add(BEYOND_MS),
        };
        let covered = escrow.covers(claim).await;
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
        let over = order.round.saturating_add(1).saturating_mul(ROUND_MS);
        let claim = Claim {
            purpose: Purpose::Bid,
            of: order.commit,
            owner: order.by,
            amount: order.hold,
            until_ms: over.saturating_add(HOUR_MS).saturating_add(BEYOND_MS),
        };
        refused(escrow.covers(claim).await)
    }
}
