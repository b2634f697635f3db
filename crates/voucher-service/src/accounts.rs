//! Accounts between nodes: what each forwards for the others, counted on both sides, and signed by both over ACCOUNT streams.
//!
//! A node counts the bytes of relayed streams and of packets. Counts of nodes that announce themselves go to the journal; those of
//! others, such as clients, stay in memory and end with the day. A relay asks its peers to countersign its counts, and each peer
//! signs what agrees with its own. Counts that both signed are evidence, which [`Evidence`] carries in a file.

mod asked;
mod evidence;
mod face;
mod settle;
mod state;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use betanet_durable::{Durable, Handle, Role, Settings as DurableSettings, Unavailable};
use betanet_journal::Journal;
use betanet_keys::Identity;
use betanet_runtime::{CountPeers, Extension, Gateway, SessionHandle};
use betanet_session::{Clock, Room, Streams};
use betanet_vouchers::meter::{Meter, Tariff};
use betanet_wire::{ChargeTo, NodeId};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;

use crate::Error;
pub use evidence::{EVIDENCE_MAX, Evidence, EvidenceError};
pub use state::AccountView;
use state::{AccountState, Ask, Said};

/// Interval at which counts go to the journal. A node that crashes forgets as much.
const WRITE: Duration = Duration::from_secs(10);
/// Counts of one record of the journal.
const COUNTS_A_RECORD: usize = 1_000;
/// Longest that a request waits for the state's answer, and that the last write of a node that stops may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Disagreements that are shown.
const DISPUTES_MAX: usize = 1_024;

/// Settings of the accounts of a node.
#[derive(Clone, Copy, Debug)]
pub struct AccountSettings {
    /// What peers pay that do not countersign.
    pub tariff: Tariff,
    /// Interval at which peers are asked to countersign.
    pub every: Duration,
    /// Age of a claim when the peer is asked: by then an honest peer has counted, and written down, the same bytes.
    pub lag: Duration,
    /// When snapshots are taken.
    pub journal: DurableSettings,
}

impl Default for AccountSettings {
    fn default() -> Self {
        Self {
            tariff: Tariff::default(),
            every: Duration::from_secs(3_600),
            lag: WRITE * 2,
            journal: DurableSettings::default(),
        }
    }
}

/// The future of [`Peers`].
pub type PeersFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The peers with which a node keeps accounts.
pub trait Peers: Send + Sync + 'static {
    /// The nodes that announce themselves. Accounts with others are not written down.
    fn known(&self) -> PeersFuture<'_, BTreeSet<NodeId>>;

    /// Opens a session with a peer, as this node.
    fn session(&self, peer: NodeId) -> PeersFuture<'_, Option<SessionHandle>>;
}

impl Peers for Gateway {
    fn known(&self) -> PeersFuture<'_, BTreeSet<NodeId>> {
        Box::pin(async move {
            let records = self.known_peers().await;
            records.iter().map(betanet_runtime::Record::node).collect()
        })
    }

    fn session(&self, peer: NodeId) -> PeersFuture<'_, Option<SessionHandle>> {
        Box::pin(self.session_with(peer))
    }
}

/// A count of this node that its peer or it does not accept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Dispute {
    /// Bytes that the relay claims.
    pub(crate) claimed: u64,
    /// Bytes that this node counted.
    pub(crate) counted: u64,
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// Records that peers countersigned.
    pub(crate) settled: AtomicU64,
    /// Records that peers refused.
    pub(crate) refused: AtomicU64,
    /// Records that this node countersigned.
    pub(crate) signed: AtomicU64,
    /// Records that this node refused.
    pub(crate) disputed: AtomicU64,
    /// Peers that were not reached, or did not answer.
    pub(crate) silent: AtomicU64,
    /// Streams that were refused, because the peer has too much open.
    pub(crate) unpaid: AtomicU64,
    /// Bytes that found no place in a table.
    pub(crate) lost: AtomicU64,
}

/// What the faces and tasks of the accounts share.
pub(crate) struct Ledger {
    pub(crate) identity: Identity,
    pub(crate) clock: Clock,
    pub(crate) settings: AccountSettings,
    pub(crate) meter: Mutex<Meter>,
    pub(crate) handle: OnceLock<Handle<AccountState>>,
    pub(crate) room: Room,
    pub(crate) counted: Counted,
    /// Claims of relays that this node refused, by period and relay.
    pub(crate) disputes: Mutex<BTreeMap<(u64, NodeId), Dispute>>,
    /// How often relays asked this node to countersign.
    asked: Mutex<asked::Asked>,
    /// One batch of counts is written at a time.
    writing: tokio::sync::Mutex<()>,
    /// The newest totals, for metrics.
    pub(crate) seen: Mutex<AccountView>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    fn now_ms(&self) -> u64 {
        self.clock.now().unix_ms
    }

    async fn ask(&self, ask: Ask) -> Result<Said, Unavailable> {
        let handle = self.handle.get().ok_or(Unavailable)?;
        let answered = timeout(PATIENCE, handle.ask(ask)).await;
        answered.unwrap_or(Err(Unavailable))
    }

    /// Totals, which are kept for metrics. What is open decides who may begin a stream.
    pub(crate) async fn view(&self) -> Result<AccountView, Unavailable> {
        let Said::View(view) = self.ask(Ask::View).await? else {
            return Err(Unavailable);
        };
        locked(&self.meter).set_open(view.open.clone());
        locked(&self.seen).clone_from(&view);
        Ok(*view)
    }

    /// Writes the counts of known peers to the journal. A batch without an answer is sent again under the same number, so that it counts
    /// once.
    async fn write(&self) -> Result<(), Unavailable> {
        let _alone = self.writing.lock().await;
        // What comes during this waits for the next interval: a busy node would write without end. One batch may be an earlier one that
        // is sent again.
        let waiting = locked(&self.meter).waiting();
        for _ in 0..=waiting.div_ceil(COUNTS_A_RECORD) {
            let Said::Last(last) = self.ask(Ask::Last).await? else {
                return Err(Unavailable);
            };
            let batch = locked(&self.meter).take(self.now_ms(), last, COUNTS_A_RECORD);
            let Some(batch) = batch else {
                return Ok(());
            };
            let number = batch.number;
            let Said::Lost(bytes) = self.ask(Ask::Count(batch)).await? else {
                return Err(Unavailable);
            };
            self.counted.lost.fetch_add(bytes, Ordering::Relaxed);
            locked(&self.meter).written(number);
        }
        Ok(())
    }

    /// Whether the state may lead soon, so that what it refused can be sent again.
    fn may_lead(&self) -> bool {
        let role = self.handle.get().map(Handle::role);
        matches!(
            role,
            Some(Role::Starting | Role::Leads(_) | Role::Failed(_))
        )
    }

    fn dispute(&self, key: (u64, NodeId), dispute: Dispute) {
        let mut all = locked(&self.disputes);
        if all.len() >= DISPUTES_MAX && !all.contains_key(&key) {
            all.pop_first();
        }
        all.insert(key, dispute);
    }

    fn agreed(&self, key: (u64, NodeId)) {
        locked(&self.disputes).remove(&key);
    }
}

impl CountPeers for Ledger {
    fn admits(&self, peer: &NodeId, charge: ChargeTo) -> bool {
        let admits = locked(&self.meter)
            .admits(self.now_ms(), peer, charge)
            .is_ok();
        if !admits {
            self.counted.unpaid.fetch_add(1, Ordering::Relaxed);
        }
        admits
    }

    fn given(&self, peer: &NodeId, charge: ChargeTo, bytes: u64) {
        locked(&self.meter).given(self.now_ms(), peer, charge, bytes);
    }

    fn taken(&self, peer: &NodeId, charge: ChargeTo, bytes: u64) {
        locked(&self.meter).taken(self.now_ms(), peer, charge, bytes);
    }
}

/// The accounts of one node. It counts from the beginning, and settles from its start on.
pub struct AccountService(Arc<Ledger>);

impl std::fmt::Debug for AccountService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountService").finish_non_exhaustive()
    }
}

impl AccountService {
    /// Creates the accounts of a node with this key.
    #[must_use]
    pub fn new(identity: Identity, settings: AccountSettings) -> Self {
        Self(Arc::new(Ledger {
            identity,
            clock: Clock::start(),
            settings,
            meter: Mutex::new(Meter::new(settings.tariff)),
            handle: OnceLock::new(),
            room: Room::standard(),
            counted: Counted::default(),
            disputes: Mutex::default(),
            asked: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            seen: Mutex::default(),
        }))
    }

    /// Counts bytes, for [`betanet_runtime::GatewayBuilder::count_peers`].
    #[must_use]
    pub fn meter(&self) -> Arc<dyn CountPeers> {
        Arc::clone(&self.0) as Arc<dyn CountPeers>
    }

    /// The handler of streams of type [`betanet_session::StreamType::ACCOUNT`].
    #[must_use]
    pub fn streams(&self) -> impl Streams + use<> {
        stream::AccountStreams(Arc::clone(&self.0))
    }

    /// Its pages at the admin address, its metrics and its health.
    #[must_use]
    pub fn extension(&self) -> Arc<dyn Extension> {
        Arc::new(face::AdminFace(Arc::clone(&self.0)))
    }

    /// Reads the journal, and begins to write counts down and to settle them with these peers.
    ///
    /// # Errors
    ///
    /// The journal is damaged or of another version, or the accounts were started already.
    pub async fn start(
        &self,
        journal: Arc<dyn Journal>,
        peers: Arc<dyn Peers>,
    ) -> Result<AccountsRunning, Error> {
        if self.0.handle.get().is_some() {
            return Err(Error::Started);
        }
        let me = self.0.identity.public().node_id();
        let new = move || AccountState::new(me);
        let durable = Durable::start(journal, self.0.settings.journal, new).await?;
        if self.0.handle.set(durable.handle()).is_err() {
            return Err(Error::Started);
        }
        let settler = Arc::new(settle::Settler::new(Arc::clone(&self.0), peers));
        let (stop, stopped) = watch::channel(false);
        let writes = tokio::spawn(Arc::clone(&settler).writes(stopped));
        let settles = tokio::spawn(Arc::clone(&settler).settles());
        Ok(AccountsRunning {
            settler,
            durable: Some(durable),
            stop,
            writes,
            settles: settles.abort_handle(),
        })
    }
}

/// Accounts that run. Dropped, they stop without a farewell, as by a crash.
pub struct AccountsRunning {
    settler: Arc<settle::Settler>,
    durable: Option<Durable<AccountState>>,
    stop: watch::Sender<bool>,
    writes: JoinHandle<()>,
    settles: AbortHandle,
}

impl std::fmt::Debug for AccountsRunning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountsRunning").finish_non_exhaustive()
    }
}

impl AccountsRunning {
    /// Waits until the journal is this node's.
    pub async fn leads(&self) {
        if let Some(handle) = self.settler.ledger.handle.get() {
            handle.wait_for(|role| matches!(role, Role::Leads(_))).await;
        }
    }

    /// Writes counts down, and asks the peers to countersign them, now: without the settings' lag.
    ///
    /// # Errors
    ///
    /// The state does not lead.
    pub async fn settle(&self) -> Result<(), Unavailable> {
        self.settler.write().await?;
        self.settler.settle(Duration::ZERO).await
    }

    /// Totals.
    ///
    /// # Errors
    ///
    /// The state does not lead.
    pub async fn view(&self) -> Result<AccountView, Unavailable> {
        self.settler.ledger.view().await
    }

    /// Writes counts down, gives the lease back, and ends.
    pub async fn stop(mut self) {
        self.settles.abort();
        let _ = self.stop.send(true);
        // Counts that cannot be written are lost, as by a crash.
        if timeout(PATIENCE, &mut self.writes).await.is_err() {
            tracing::warn!("the journal does not answer: the last counts are not written down");
        }
        if let Some(durable) = self.durable.take() {
            durable.stop().await;
        }
    }
}

impl Drop for AccountsRunning {
    fn drop(&mut self) {
        self.writes.abort();
        self.settles.abort();
    }
}
