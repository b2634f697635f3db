//! What pays for tasks and bids: a port that a ledger of tokens fills.

use std::pin::Pin;

use betanet_fog::{Commitment, DAY_MS, Digest, ROUND_MS, Signed, Task, Tier};

/// Time for which a reservation lasts beyond the end of what it pays for, in ms.
const BEYOND_MS: u64 = 3 * DAY_MS;
/// A lot is rented for this long from the round after its own, in ms.
const HOUR_MS: u64 = 3_600_000;

/// What a reservation is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A task, by its ID.
    Task,
    /// A bid of the auction, by its commitment in a round and tier.
    Bid {
        /// The round.
        round: u64,
        /// The tier of its lots.
        tier: Tier,
    },
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

impl Claim {
    /// What must be held for a task: its whole budget, to its deadline and 3 days.
    #[must_use]
    pub fn of_task(task: &Signed<Task>) -> Self {
        Self {
            purpose: Purpose::Task,
            of: task.id().0,
            owner: task.owner,
            amount: task.budget,
            until_ms: task.deadline.saturating_add(BEYOND_MS),
        }
    }

    /// What must be held for a bid: its hold, to the end of its hour and 3 days.
    #[must_use]
    pub fn of_bid(order: &Commitment) -> Self {
        let over = order.round.saturating_add(1).saturating_mul(ROUND_MS);
        Self {
            purpose: Purpose::Bid {
                round: order.round,
                tier: order.tier,
            },
            of: order.commit,
            owner: order.by,
            amount: order.hold,
            until_ms: over.saturating_add(HOUR_MS).saturating_add(BEYOND_MS),
        }
    }
}

/// Nothing can be said about a claim now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the ledger cannot tell now what is held")]
pub struct Untold;

/// Whether a claim is covered.
pub type Covered<'a> = Pin<Box<dyn Future<Output = Result<bool, Untold>> + Send + 'a>>;

/// Nothing to wait for but an end.
pub type Released<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Holds the money of tasks and bids, and pays it out from the coordinator's journal.
pub trait Escrow: Send + Sync {
    /// Whether so much is held, for good.
    fn covers(&self, claim: Claim) -> Covered<'_>;

    /// Reserves for tasks of the coordinator's own key, and waits once until all of that is held. Where it is not, what was reserved is
    /// given back. Of others' tasks it says whether they are covered.
    fn hold(&self, claims: Vec<Claim>) -> Covered<'_>;

    /// Gives back what is reserved for tasks of the coordinator's own key that were not taken.
    fn release(&self, claims: Vec<Claim>) -> Released<'_>;

    /// Index of the first record that is still needed to pay for what ended: it and those after it stay in the journal.
    fn needs_from(&self) -> u64;
}
