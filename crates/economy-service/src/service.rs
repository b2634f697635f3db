//! A ledger's node, from its parts to its end.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_durable::{Durable, Role, Settings as Keeping};
use betanet_journal::Journal;
use betanet_keys::{Identity, Peer, PublicKey};
use betanet_runtime::{Extension, Node, SessionConfig};
use betanet_session::{Room, Service};
use betanet_tokenomics::{Economy, Genesis, Role as TokenRole};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Error;
use crate::Ledger;
use crate::bar::{Api, BarService};
use crate::http::AdminFace;
use crate::post::{self, Anchoring};
use crate::rates::Rates;
use crate::shared::Shared;
use crate::state::{Books, Facts, Setup};
use crate::{follow, lead};

/// Records of the journal after which a snapshot is saved.
const SNAPSHOT_EVERY: u64 = 100_000;
/// Time between two heads.
const HEAD_EVERY: Duration = Duration::from_secs(60);
/// Time between two looks of a signer that follows.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Fewest signers by which a head can be final.
const SIGNERS_LEAST: usize = 2;

/// Settings of a ledger's node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The genesis, encoded.
    pub genesis: Vec<u8>,
    /// Keys with which this node signs heads, where the ledger lists them.
    pub signers: Vec<Identity>,
    /// Leaders whom this node follows to sign their heads: the first that answers, then the next. Without any, this node leads.
    pub leaders: Vec<Peer>,
    /// Longest time between two heads, if there are records for one.
    pub head_every: Duration,
    /// Time between two looks of a signer that follows.
    pub look_every: Duration,
    /// Records of the journal after which a snapshot is saved.
    pub snapshot_every: u64,
    /// Where this node, while it leads, posts one head of each epoch; and with whose keys it signs such posts of a leader.
    pub anchoring: Option<Anchoring>,
}

impl Settings {
    /// Settings of a node that leads the ledger with this genesis, and signs nothing.
    #[must_use]
    pub const fn new(genesis: Vec<u8>) -> Self {
        Self {
            genesis,
            signers: Vec::new(),
            leaders: Vec::new(),
            head_every: HEAD_EVERY,
            look_every: LOOK_EVERY,
            snapshot_every: SNAPSHOT_EVERY,
            anchoring: None,
        }
    }
}

/// A ledger's node that is not started: until then its service answers 503.
pub struct EconomyService {
    settings: Settings,
    pub(crate) economy: Economy,
    pub(crate) api: Arc<Api>,
}

impl std::fmt::Debug for EconomyService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EconomyService").finish_non_exhaustive()
    }
}

impl EconomyService {
    /// Creates a ledger's node. `identity` is that of its sessions, and signs its answers.
    ///
    /// # Errors
    ///
    /// The genesis is none, or names too few signers.
    pub fn new(identity: Identity, settings: Settings) -> Result<Self, Error> {
        let genesis = Genesis::from_bytes(&settings.genesis)?;
        let keys = genesis.signers();
        if keys.len() < SIGNERS_LEAST {
            return Err(Error::Signers(keys.len()));
        }
        let list = settings.anchoring.as_ref().map(Anchoring::list);
        if let Some(anchoring) = &settings.anchoring {
            anchoring.check()?;
        }
        if keys.iter().any(|key| PublicKey::from_bytes(key).is_err()) {
            return Err(Error::SignerKey);
        }
        let economy = Economy::new(&settings.genesis)?;
        let (facts, told) = watch::channel(Facts {
            records: 1,
            next_due: economy.next_due(),
            ..Facts::default()
        });
        let setup = Setup {
            genesis,
            signers: settings.signers.clone(),
            facts,
        };
        let shared = Shared::new(Arc::new(setup), settings.leaders.clone(), list, told);
        Ok(Self {
            settings,
            economy,
            api: Arc::new(Api {
                shared: Arc::new(shared),
                identity,
                room: Room::standard(),
                rates: Rates::default(),
                heads: Rates::default(),
                refused: Mutex::default(),
                requests: AtomicU64::new(0),
                accepted: AtomicU64::new(0),
            }),
        })
    }

    /// The service for [`crate::PREFIX`].
    #[must_use]
    pub fn service(&self) -> impl Service + use<> {
        BarService(Arc::clone(&self.api))
    }

    /// Its pages at the admin address, its metrics and its health.
    #[must_use]
    pub fn extension(&self) -> Arc<dyn Extension> {
        Arc::new(AdminFace(Arc::clone(&self.api)))
    }

    /// The ledger for other parts of this process.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger(Arc::clone(&self.api.shared))
    }

    /// Members of a role by the genesis: accounts, or keys of signers.
    #[must_use]
    pub fn members(&self, role: TokenRole) -> &[Vec<u8>] {
        self.economy.role(role)
    }

    /// The ledger's constants.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.api.shared.setup.genesis
    }

    /// Reads the journal and begins to serve, and to lead or to follow.
    ///
    /// # Errors
    ///
    /// The journal is damaged, of another version or of another ledger. It was started already.
    pub async fn start(&self, journal: Arc<dyn Journal>) -> Result<Running, Error> {
        let shared = Arc::clone(&self.api.shared);
        if shared.handle.get().is_some() {
            return Err(Error::Started);
        }
        let (setup, economy) = (Arc::clone(&shared.setup), self.economy.clone());
        let keeping = Keeping {
            snapshot_every: self.settings.snapshot_every.max(1),
            ..Keeping::default()
        };
        let new = move || Books::new(Arc::clone(&setup), economy.clone());
        let durable = Durable::start(journal, keeping, new).await?;
        if shared.handle.set(durable.handle()).is_err() {
            return Err(Error::Started);
        }
        let mut tasks = JoinSet::new();
        let mut dialling = None;
        match shared.leader() {
            None => {
                tasks.spawn(lead::run(Arc::clone(&shared), self.settings.head_every));
                let posts = self.settings.anchoring.clone();
                if let Some(with) = posts.filter(|with| !with.nodes.is_empty()) {
                    let node = Arc::new(Node::client()?);
                    dialling = Some(Arc::clone(&node));
                    tasks.spawn(post::run(Arc::clone(&shared), node, with));
                }
            }
            Some(_) => {
                let me = self.api.identity.clone();
                let node = Arc::new(Node::new(Some(me), SessionConfig::default())?);
                dialling = Some(Arc::clone(&node));
                let every = self.settings.look_every;
                let signs = self.settings.anchoring.clone();
                if let Some(with) = signs.filter(|with| !with.maintainers.is_empty()) {
                    let (shared, node) = (Arc::clone(&shared), Arc::clone(&node));
                    tasks.spawn(post::countersign(shared, node, with));
                }
                tasks.spawn(follow::run(Arc::clone(&shared), node, every));
            }
        }
        Ok(Running {
            durable,
            dialling,
            shared,
            tasks,
        })
    }
}

/// A ledger's node that runs. Dropped, it stops without a farewell, as by a crash.
pub struct Running {
    durable: Durable<Books>,
    dialling: Option<Arc<Node>>,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.durable.fmt(f)
    }
}

impl Running {
    /// Waits until a final head covers so many records.
    pub async fn reaches(&self, size: u64) {
        // The state tells for as long as this value lives.
        let reaches = |facts: &Facts| facts.final_size >= size;
        let _ = self.shared.facts().wait_for(reaches).await;
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
        if let Some(node) = self.dialling {
            node.close().await;
        }
    }
}
