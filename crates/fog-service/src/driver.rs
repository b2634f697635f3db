//! The driver: one thread that owns the machine, gives it requests and time, and appends its records to the journal.

mod append;
mod lead;
pub(crate) mod load;

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use betanet_coordinator::{Coordinator, Setup};
use betanet_fog::{Digest, Output};
use betanet_journal::{Batch, Error as JournalError, Journal, Lead};
use betanet_keys::{Name, PublicKey};
use betanet_scheduler::Placer;
use tokio::sync::{mpsc, watch};

use crate::Error;
use crate::escrow::Escrow;
use crate::handle::{Ask, Counts, Role, Shared};

/// Longest wait of a follower between two looks at the journal and its lease.
const LOOK: Duration = Duration::from_secs(1);

/// Pause after a failure of the journal.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) type Machine = Coordinator<Placer>;

/// A machine that the journal's records were applied to.
pub(crate) struct Loaded {
    machine: Machine,
    /// Index under which its snapshot stands.
    base: u64,
}

/// Reads the list of files of an output.
pub(crate) type Fetch =
    Arc<dyn Fn(Digest) -> Pin<Box<dyn Future<Output = Option<Box<Output>>> + Send>> + Send + Sync>;

/// How a term ended.
#[derive(Debug)]
enum End {
    /// The coordinator was asked to stop.
    Stopped,
    /// Another one leads, or the outcome of a commit is unknown.
    Deposed,
    /// The journal's disk has no room.
    Full(JournalError),
    /// The journal failed.
    Failed(JournalError),
    /// The journal's content is none of this version.
    Unreadable(Error),
}

/// What a driver needs.
pub(crate) struct Driver {
    pub(crate) setup: Setup,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) inbox: mpsc::Receiver<Ask>,
    /// For answers of `fetch`.
    pub(crate) back: mpsc::WeakSender<Ask>,
    pub(crate) fetch: Fetch,
    /// What pays for tasks, if something does.
    pub(crate) escrow: Option<Arc<dyn Escrow>>,
    pub(crate) stop: watch::Receiver<bool>,
    /// Records after which a snapshot is saved.
    pub(crate) snapshot_every: u64,
    /// Snapshots that are kept.
    pub(crate) snapshots: usize,
}

impl Driver {
    /// Runs until it is asked to stop. `loaded` is from the journal.
    pub(crate) async fn run(mut self, loaded: Loaded) {
        let mut loaded = Some(loaded);
        loop {
            let end = match self.rebuilt(loaded.take()).await {
                Ok(loaded) => self.term(loaded).await,
                Err(Error::Journal(error)) => End::Failed(error),
                Err(error) => End::Unreadable(error),
            };
            self.shared.end_streams();
            match end {
                End::Stopped => {
                    self.shared.be(Role::Stopped);
                    return;
                }
                End::Deposed => {
                    tracing::warn!("another coordinator may lead: this one follows the journal");
                    self.shared.be(Role::Starting);
                }
                End::Full(error) => {
                    tracing::error!(%error, "the journal takes nothing");
                    self.shared.be(Role::Full(error.to_string().into()));
                    self.idle(PAUSE).await;
                }
                End::Unreadable(error) => {
                    tracing::error!(%error, "the coordinator cannot go on");
                    self.shared.be(Role::Failed(told(&error).into()));
                    self.idle(PAUSE).await;
                }
                End::Failed(error) => {
                    tracing::error!(%error, "the journal failed");
                    self.shared.be(Role::Failed(told(&error).into()));
                    self.idle(PAUSE).await;
                }
            }
            if *self.stop.borrow() {
                self.shared.be(Role::Stopped);
                return;
            }
        }
    }

    async fn rebuilt(&self, loaded: Option<Loaded>) -> Result<Loaded, Error> {
        match loaded {
            Some(loaded) => Ok(loaded),
            None => load::load(&self.setup, &*self.journal).await,
        }
    }

    /// Refuses what is asked, for so long.
    async fn idle(&mut self, time: Duration) {
        let until = tokio::time::sleep(time);
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return,
                _ = self.stop.changed() => return,
                // An answer that is dropped is a refusal.
                ask = self.inbox.recv() => if ask.is_none() { return },
            }
        }
    }

    /// Follows the journal until this coordinator leads, then leads.
    async fn term(&mut self, mut loaded: Loaded) -> End {
        let mut failures = 0_u32;
        loop {
            if let Err(end) = self.catch_up(&mut loaded).await {
                return end;
            }
            let journal = Arc::clone(&self.journal);
            match journal.lead().await {
                Ok(Lead::Leads(term)) => {
                    if let Err(end) = self.catch_up(&mut loaded).await {
                        return end;
                    }
                    Counts::add(&self.shared.counts.terms, 1);
                    return self.lead(loaded.machine, term).await;
                }
                Ok(Lead::Held(held)) => {
                    failures = 0;
                    self.check_leader(&held.name);
                    self.shared.be(Role::Follows(held.name));
                    let wait = Duration::from_millis(held.ends_in_ms.max(10)).min(LOOK);
                    if let Some(end) = self.follow(&loaded, wait).await {
                        return end;
                    }
                }
                Err(error) if failures < 30 && is_passing(&error) => {
                    failures += 1;
                    tracing::warn!(error = told(&error), "the journal does not answer");
                    self.idle(PAUSE).await;
                }
                Err(error) => return End::Failed(error),
            }
            if *self.stop.borrow() {
                return End::Stopped;
            }
        }
    }

    /// Warns of a leader whose key this coordinator was not given: nodes obey only those that both list.
    fn check_leader(&self, name: &str) {
        let known = |key: &PublicKey| Name::from(key.node_id()).to_string() == name;
        let again = matches!(&*self.shared.role.borrow(), Role::Follows(old) if &**old == name);
        if !again && !self.setup.coordinators.iter().any(known) {
            tracing::warn!(
                leader = name,
                "the leader's key is not among the cluster's coordinators: nodes that joined here do not obey it; name it by --coordinator"
            );
        }
    }

    /// Applies the records that the journal has.
    async fn catch_up(&self, loaded: &mut Loaded) -> Result<(), End> {
        loop {
            let read = self.journal.read(loaded.last(), Batch::default()).await;
            let entries = match read {
                Ok(entries) => entries,
                // A snapshot was restored, or the records were removed.
                Err(JournalError::Gone { .. } | JournalError::Ahead { .. }) => {
                    return Err(End::Deposed);
                }
                Err(error) => return Err(End::Failed(error)),
            };
            if entries.is_empty() {
                return Ok(());
            }
            if loaded.apply(self.shared.clock.now(), entries).is_err() {
                return Err(End::Deposed);
            }
            self.shared.committed.send_replace(loaded.last());
        }
    }

    /// Waits for new records, or for so long. Requests are refused, but for those of the journal's content.
    async fn follow(&mut self, loaded: &Loaded, wait: Duration) -> Option<End> {
        let (journal, last) = (Arc::clone(&self.journal), loaded.last());
        let grown = async {
            // A failure shows when the journal is read.
            if journal.wait(last).await.is_err() {
                pending::<()>().await;
            }
        };
        tokio::pin!(grown);
        let until = tokio::time::sleep(wait);
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return None,
                () = &mut grown => return None,
                _ = self.stop.changed() => return Some(End::Stopped),
                ask = self.inbox.recv() => match ask {
                    None => return Some(End::Stopped),
                    Some(Ask::Credit(ns, tier, day, answer)) => {
                        let _ = answer.send(loaded.machine.credit_percent(&ns, tier, day));
                    }
                    Some(_) => {}
                },
            }
        }
    }
}

/// An error with its causes.
pub(crate) fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

/// Whether a failure may pass by itself.
fn is_passing(error: &JournalError) -> bool {
    matches!(
        error,
        JournalError::Backend { .. } | JournalError::Unknown { .. }
    )
}
