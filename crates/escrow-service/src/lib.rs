//! Pays for the tasks and lots of a fog from its ledger of tokens.
//!
//! **Promises.** A task is accepted once its budget is held by a reservation under a final head that lasts to its deadline and 3 days;
//! a bid, once its hold is. Money leaves a reservation only for nodes whose receipts decided the task, or whose lots were served; the
//! rest returns to the client. Each is settled once: after a crash of the coordinator, what its journal says is compared with the
//! ledger, and only what is missing there is done. A settlement counts once a final head covers it.
//!
//! **Below:** `fog-service` (the coordinator, and the port `Escrow`), `economy-service` (the ledger), `journal`. **Above:** the binary `coordinator`. **Source:** profile chapter 11, Work (`spec-vectors/PROFILE.md`).
//!
//! - The client reserves for a TaskID or a commitment, and then submits. The coordinator reserves for tasks of its own key.
//! - The ID of a reservation follows from the task, or from the commitment with its round and tier. No other reservation is looked at.
//! - What was paid is read from the ledger, so any process may go on where another stopped. A hold that ended unpaid is logged and counted.
//! - Nothing is stored here. All that is owed is a fold of the coordinator's journal, which keeps its records until they are settled.
//! - Before a task is settled, nodes whose receipts contradict the result that decided it are accused: the evidence goes to the ledger,
//!   signed by a quorum too. Coordinators in other processes sign it if their own journal of the fog gives the same (`Check::Journal`).
//! - A task is settled after the UTC day in which it ended, because credits of missed service levels are per day. One that pays
//!   nobody is given back at once.
//! - A quorum of the ledger's coordinators signs each settlement. This process signs with the keys that it has, and asks coordinators in
//!   other processes for the rest (`Settings::cosigners`). Each of these computes the settlement anew before it signs, and signs no second
//!   one of a task. Without a quorum, it is tried again with growing pauses, counted, and told as a fault.
//! - `rate` tells the coordinator what the final head says of nodes that bonded. A node's reputation is the lower of that on the ledger and
//!   that which it earned in the fog. A jailed node gets no tasks, and its copies go elsewhere.
//!
//! Not built: receipts of copies that were cancelled or expired after their start, so these pay nothing. A node without an account of the ledger is not paid.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use betanet_economy_service::Ledger;
//! use betanet_escrow_service::{LedgerEscrow, Settings};
//! use betanet_fog_service::Coordinator;
//! use betanet_journal::MemoryStore;
//! use betanet_keys::{Identity, Peer};
//!
//! # async fn run(coordinator: Coordinator, ledger: Ledger, me: Identity, peer: Peer) -> Result<(), Box<dyn std::error::Error>> {
//! let escrow = LedgerEscrow::new(ledger, Settings::new(me));
//! coordinator.pay_from(escrow.clone());
//! let journal = Arc::new(MemoryStore::new().open("one"));
//! let running = coordinator.start(&peer, journal.clone()).await?;
//! let paying = escrow.start(coordinator.handle(), journal);
//! # drop((running, paying));
//! # Ok(()) }
//! ```

mod bills;
mod cosign;
mod face;
mod hold;
mod ids;
mod items;
mod open;
mod past;
mod pay;
mod rate;
mod reason;
mod run;
mod tally;
mod wrong;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use betanet_economy_service::Ledger;
use betanet_keys::{Identity, Peer};
use tokio::sync::Mutex;

pub use cosign::{Check, Cosigning, PREFIX};
pub use ids::{reservation_id, reserve};
pub use rate::{Rates, rate};
pub use reason::Error;
pub use run::Paying;

use crate::cosign::Cosigner;
use crate::cosign::ask::Cosigners;

use crate::tally::Tally;

/// Most tasks and bids that are held and not settled, unless settings say otherwise.
pub const OPEN_MAX: usize = 1 << 20;

/// When ended tasks are settled.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum When {
    /// After the UTC day in which they ended, as the profile says.
    #[default]
    DayEnd,
    /// As soon as they end, with the credits that the day has so far. For networks on which one tries things.
    AtOnce,
}

/// Settings of an escrow.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Key of the coordinator, which pays for its own tasks.
    pub own: Identity,
    /// Keys with which settlements are signed, where the ledger lists them as coordinators.
    pub keys: Vec<Identity>,
    /// Coordinators in other processes, which are asked for the signatures that these keys lack.
    pub cosigners: Vec<Peer>,
    /// How settlements that those propose are checked here.
    pub check: Check,
    /// When ended tasks are settled.
    pub when: When,
    /// Most tasks and bids that are held and not settled. Beyond it, no more are taken.
    pub open_max: usize,
}

impl Settings {
    /// Settings of a coordinator that signs with its own key alone.
    #[must_use]
    pub fn new(own: Identity) -> Self {
        Self {
            keys: vec![own.clone()],
            own,
            cosigners: Vec::new(),
            check: Check::Proposal,
            when: When::DayEnd,
            open_max: OPEN_MAX,
        }
    }
}

/// The escrow of a coordinator over a ledger.
#[derive(Debug)]
pub struct LedgerEscrow {
    ledger: Ledger,
    settings: Settings,
    /// Index of the first record of the fog's journal that is still needed.
    needs_from: AtomicU64,
    tally: Tally,
    /// Held from the look at nonces to the answer, so that requests of this process do not race for them.
    requests: Mutex<()>,
    /// Signs for others, and asks others.
    cosigner: Cosigner,
    cosigners: Cosigners,
}

impl LedgerEscrow {
    /// An escrow over this process's ledger.
    #[must_use]
    pub fn new(ledger: Ledger, settings: Settings) -> Arc<Self> {
        let cosigners = Cosigners::new(settings.own.clone(), settings.cosigners.clone());
        Arc::new(Self {
            ledger,
            settings,
            cosigner: Cosigner::default(),
            cosigners,
            // Until the journal was read, all of it.
            needs_from: AtomicU64::new(0),
            tally: Tally::default(),
            requests: Mutex::new(()),
        })
    }
}
