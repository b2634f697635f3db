//! What pays for tasks and bids: a port that a ledger of tokens fills.

use std::pin::Pin;
use std::sync::Arc;

use betanet_coordinator::{Caller, Request};
use betanet_fog::{
    Commitment, DAY_MS, Digest, ROUND_MS, Refusal, RefusalCode, Side, Signed, Task, Tier, Word,
};

use crate::api::Api;
use crate::settings::itself;
use crate::{Coordinator, Handle};

/// Time for which a reservation lasts beyond the end of what it pays for, in ms.
const BEYOND_MS: u64 = 3 * DAY_MS;
/// A lot is rented for this long from the round after its own, in ms.
const HOUR_MS: u64 = 3_600_000;
/// Key of the refusal of a task or bid without money behind it.
const RESERVATION: &str = "reservation";

/// What a reservation is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A task, by its ID.
    Task,
    /// A bid of the auction, by its commitment.
    Bid,
}

/// Money that must be held before something is accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Claim {
    /// What it is for.
    pub purpose: Purpose,
    /// ID of the task, or hash of the order.
    pub of: Digest,
    /// Key of the owner, who pays.
    pub owner: [u8; 32],
    /// Least amount, in µ.
    pub amount: u64,
    /// The hold lasts until this moment at least, in UNIX ms.
    pub until_ms: u64,
}

/// Nothing can be said about a claim now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the ledger cannot tell now what is held")]
pub struct Untold;

/// Whether a claim is covered.
pub type Covered<'a> = Pin<Box<dyn Future<Output = Result<bool, Untold>> + Send + 'a>>;

/// Holds the money of tasks and bids, and pays it out from the coordinator's journal.
pub trait Escrow: Send + Sync {
    /// Whether so much is held, for good.
    fn covers(&self, claim: Claim) -> Covered<'_>;

    /// Index of the first record that is still needed to pay for what ended: it and those after it stay in the journal.
    fn needs_from(&self) -> u64;
}

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

impl Coordinator {
    /// Takes tasks and bids only with money behind them from now on. To be called before it starts, once.
    pub fn pay_from(&self, escrow: Arc<dyn Escrow>) {
        // A second one would pay twice: the first stays.
        let _ = self.shared_api().escrow.set(escrow);
    }
}

impl Handle {
    /// The part of the pay, in percent, that a namespace gets back for a day in UTC and a tier, as far as the day has come. `None`
    /// unless this coordinator leads.
    pub async fn credit(&self, ns: Word, tier: Tier, day: u64) -> Option<u64> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let ask = crate::handle::Ask::Credit(ns, tier, day, answer);
        self.inbox.send(ask).await.ok()?;
        answered.await.ok()
    }
}
