//! A ledger node, from its parts to its end.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use betanet_durable::{Durable, Role, Settings as Keeping};
use betanet_journal::Journal;
use betanet_keys::{Identity, Peer, PublicKey};
use betanet_naming::{Genesis, Ledger};
use betanet_runtime::{Extension, Node, SessionConfig};
use betanet_session::{Room, Service, StreamType, Streams};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::Error;
use crate::arithmetic::Arithmetic;
use crate::bar::{Api, BarService};
use crate::gossip::{Heard, Runner, Taker};
use crate::http::AdminFace;
use crate::peers::Peers;
use crate::rates::Rates;
use crate::shared::Shared;
use crate::sign;
use crate::state::{Counts, Facts, Names, Setup};

/// Records of the journal after which a snapshot is saved.
const SNAPSHOT_EVERY: u64 = 20_000;

/// Settings of a ledger node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The network's first keys.
    pub genesis: Genesis,
    /// The key with which this node signs heads, if it does.
    pub signer: Option<Identity>,
    /// Ledger nodes with which this node gossips, and to which it gives submitted records.
    pub peers: Vec<Peer>,
    /// Ledger nodes of the signers, which co-sign.
    pub signers: Vec<(PublicKey, Peer)>,
    /// Records of the journal after which a snapshot is saved.
    pub snapshot_every: u64,
}

impl Settings {
    /// Settings of a node of a network that signs nothing and knows no other node.
    #[must_use]
    pub const fn new(genesis: Genesis) -> Self {
        Self {
            genesis,
            signer: None,
            peers: Vec::new(),
            signers: Vec::new(),
            snapshot_every: SNAPSHOT_EVERY,
        }
    }
}

/// A ledger node that is not started: until then its service answers 503.
pub struct NameService {
    settings: Settings,
    api: Arc<Api>,
    taker: Taker,
    heard: Mutex<Option<mpsc::Receiver<Heard>>>,
}

impl std::fmt::Debug for NameService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NameService").finish_non_exhaustive()
    }
}

impl NameService {
    /// The type of the streams that [`NameService::streams`] takes.
    pub const STREAMS: StreamType = StreamType::ALIAS_GOSSIP;

    /// Creates a ledger node.
    ///
    /// # Errors
    ///
    /// The network has fewer than three signers, or the system gives no random bytes.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        Ledger::new(&settings.genesis)?;
        let seed = betanet_runtime::seed().map_err(|_| Error::Randomness)?;
        let signers = settings.genesis.signers.keys().iter();
        let first = Facts {
            signers: signers.map(|k| *k.as_bytes()).collect(),
            ..Facts::default()
        };
        let (facts, told) = watch::channel(first);
        let setup = Arc::new(Setup {
            genesis: settings.genesis.clone(),
            signer: settings.signer.clone(),
            seed,
            facts,
            counts: Counts::default(),
        });
        let (taker, heard) = Taker::new();
        Ok(Self {
            settings,
            api: Arc::new(Api {
                shared: Arc::new(Shared::new(setup, told)),
                room: Room::standard(),
                reserved: Room::standard(),
                rates: Rates::default(),
                arithmetic: Arc::new(Arithmetic::new()),
                refused: Mutex::default(),
                requests: AtomicU64::new(0),
            }),
            taker,
            heard: Mutex::new(Some(heard)),
        })
    }

    /// Replaces the other nodes that the settings name, until it is started.
    pub fn know(&mut self, peers: Vec<Peer>, signers: Vec<(PublicKey, Peer)>) {
        (self.settings.peers, self.settings.signers) = (peers, signers);
    }

    /// The service for [`crate::PREFIX`].
    #[must_use]
    pub fn service(&self) -> impl Service + use<> {
        BarService(Arc::clone(&self.api))
    }

    /// The handler of streams of [`NameService::STREAMS`].
    #[must_use]
    pub fn streams(&self) -> impl Streams + use<> {
        self.taker.clone()
    }

    /// Its pages at the admin address, its metrics and its health.
    #[must_use]
    pub fn extension(&self) -> Arc<dyn Extension> {
        Arc::new(AdminFace(Arc::clone(&self.api)))
    }

    /// Reads the journal and begins to serve, to gossip, and to sign. `identity` is that of the node, which dials others with it;
    /// `dialling` prepares the node that dials.
    ///
    /// # Errors
    ///
    /// The journal is damaged, or another version's. It was started already.
    pub async fn start(
        &self,
        identity: &Identity,
        journal: Arc<dyn Journal>,
        dialling: impl FnOnce(Node) -> Node,
    ) -> Result<Running, Error> {
        let heard = self
            .heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let heard = heard.ok_or(Error::Started)?;
        let node = Node::new(Some(identity.clone()), SessionConfig::default())?;
        let node = dialling(node).with_stream_type(Self::STREAMS, self.taker.clone());
        let me = identity.public().node_id();
        let peers = Peers::new(node, me, &self.settings.peers, &self.settings.signers);
        let peers = Arc::new(peers);
        let shared = Arc::clone(&self.api.shared);
        // It was not started before, so nothing stands there.
        let _ = shared.named.set(peers.nodes().collect());
        let setup = Arc::clone(&shared.setup);
        let keeping = Keeping {
            snapshot_every: self.settings.snapshot_every.max(1),
            ..Keeping::default()
        };
        let empty = Ledger::new(&setup.genesis)?;
        let new = move || Names::new(Arc::clone(&setup), empty.clone());
        let durable = Durable::start(journal, keeping, new).await?;
        // It was not started before, so nothing stands there.
        let _ = shared.handle.set(durable.handle());
        let mut tasks = JoinSet::new();
        tasks.spawn(
            Runner {
                shared: Arc::clone(&shared),
                peers: Arc::clone(&peers),
                heard,
                back: self.taker.clone(),
                arithmetic: Arc::clone(&self.api.arithmetic),
            }
            .run(),
        );
        for node in peers.nodes() {
            tasks.spawn(sign::forward(Arc::clone(&shared), Arc::clone(&peers), node));
        }
        if self.settings.signer.is_some() {
            tasks.spawn(sign::run(Arc::clone(&shared), Arc::clone(&peers)));
        }
        Ok(Running {
            durable,
            peers,
            shared,
            tasks,
        })
    }
}

/// A ledger node that runs. Dropped, it stops without a farewell, as by a crash.
pub struct Running {
    durable: Durable<Names>,
    peers: Arc<Peers>,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.durable.fmt(f)
    }
}

impl Running {
    async fn wait(&self, until: impl FnMut(&Facts) -> bool) {
        // The state tells for as long as this value lives.
        let _ = self.shared.facts().wait_for(until).await;
    }

    /// Waits until so many records are final.
    pub async fn reaches(&self, size: u64) {
        self.wait(|facts| facts.size >= size).await;
    }

    /// Waits until evidence of two views is found.
    pub async fn splits(&self) {
        self.wait(|facts| facts.split).await;
    }

    /// The present part of this process.
    #[must_use]
    pub fn role(&self) -> Role {
        self.durable.handle().role()
    }

    /// Waits until it answers requests.
    pub async fn leads(&self) {
        let leads = |role: &Role| matches!(role, Role::Leads(_));
        self.durable.handle().wait_for(leads).await;
    }

    /// Commits what was decided, gives the lease back, and ends.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.durable.stop().await;
        self.peers.close().await;
    }
}
