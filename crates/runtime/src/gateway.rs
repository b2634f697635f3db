use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use betanet_bar::{Access, Handler, Service};
use betanet_carrier::{
    BoxFuture, Carrier, CertSource, Certificate, Cover, Gate, Limits, Site, Tunnel, serve,
};
use betanet_htx::{Config, Pq, Secrets, Session, offered_caps};
use betanet_keys::{Identity, Name, Peer, PublicKey};
use betanet_machine::Rng;
use betanet_stack::Connection;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use crate::driver::{Driver, Op};
use crate::files::file_error;
use crate::node::OPS;
use crate::{Clock, Error, FolderStore, GatewayConfig, Metrics, seed};

/// How often certificate files are looked at.
const RELOAD: Duration = Duration::from_secs(5);
/// From the wish to stop to the last session's end: its drain, its CLOSE, its last bytes.
const GRACE: Duration = Duration::from_secs(15);

/// What a gateway prints when it stands.
#[derive(Clone, Debug)]
pub struct Listening {
    /// The node's name.
    pub name: Name,
    /// Its key.
    pub key: PublicKey,
    /// Where it listens, with the ports that the system chose.
    pub addresses: Vec<String>,
    /// Its certificate's pin.
    pub pin: [u8; 32],
}

impl Listening {
    /// What a client needs to know.
    #[must_use]
    pub fn peer(&self) -> Peer {
        Peer {
            key: self.key,
            addrs: self.addresses.clone(),
            pin: Some(self.pin),
        }
    }
}

/// Sessions of a gateway that stand.
#[derive(Debug, Default)]
struct Sessions {
    next: AtomicU64,
    standing: Mutex<BTreeMap<u64, mpsc::Sender<Op>>>,
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, mpsc::Sender<Op>>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens sessions for whoever brings a right ticket and message 1.
struct Door<H> {
    identity: Identity,
    config: Config,
    handler: H,
    clock: Clock,
    rng: Mutex<Rng>,
    metrics: Arc<Metrics>,
    sessions: Arc<Sessions>,
    max: usize,
    closing: Arc<AtomicBool>,
}

/// Takes a session off the books however its task ends.
struct Standing {
    id: u64,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.id);
        self.metrics.sessions.dec();
    }
}

impl<H> Gate for Door<H>
where
    H: Handler + Clone + Send + Sync + 'static,
    H::Exchange: Send,
{
    fn key(&self) -> &PublicKey {
        self.identity.public()
    }

    fn open(&self, ekm0: &[u8; 32], message1: &[u8], _: SocketAddr) -> Option<Tunnel> {
        if self.closing.load(Ordering::Relaxed) {
            return None;
        }
        let secrets = Secrets::draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner));
        let session = Session::accept(
            self.clock.now(),
            self.config.clone(),
            &self.identity,
            ekm0,
            message1,
            secrets,
        )
        .ok()?;
        let (ops, receiver) = mpsc::channel(OPS);
        let id = self.sessions.next.fetch_add(1, Ordering::Relaxed);
        {
            let mut standing = self.sessions.lock();
            if standing.len() >= self.max {
                return None;
            }
            standing.insert(id, ops);
        }
        self.metrics.sessions.inc();
        let standing = Standing {
            id,
            sessions: Arc::clone(&self.sessions),
            metrics: Arc::clone(&self.metrics),
        };
        let connection = Connection::new(session, self.handler.clone());
        let (clock, metrics) = (self.clock, Arc::clone(&self.metrics));
        Some(Box::new(move |carrier: Box<dyn Carrier>| -> BoxFuture {
            let driver = Driver::new(connection, carrier, clock, receiver, metrics, None);
            Box::pin(async move {
                let _standing = standing;
                driver.run().await;
            })
        }))
    }
}

/// A node that listens: a web site to everybody, BAR over sessions to those who know its key.
pub struct Gateway {
    listening: Listening,
    site: Arc<Site>,
    metrics: Arc<Metrics>,
    sessions: Arc<Sessions>,
    closing: Arc<AtomicBool>,
    wish: Arc<Notify>,
    accepting: Vec<AbortHandle>,
    tasks: Mutex<Option<JoinSet<()>>>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl Gateway {
    /// Opens the listeners that the configuration names and begins to serve its folder.
    ///
    /// # Errors
    ///
    /// A folder, a certificate or an address cannot be used.
    pub async fn start(identity: Identity, config: &GatewayConfig) -> Result<Self, Error> {
        let store = if config.may_write() {
            FolderStore::writable(&config.serve, config.quota)
        } else {
            FolderStore::read_only(&config.serve)
        }
        .map_err(file_error(&config.serve))?;
        let access = match (&config.allow[..], config.writable) {
            ([], true) => Access::Anyone,
            ([], false) => Access::Nobody,
            (names, _) => Access::Only(names.iter().map(Name::node_id).collect::<BTreeSet<_>>()),
        };
        Self::start_with(identity, config, Service::new(store, access)).await
    }

    /// The same with a handler of one's own, a clone of which answers in each session.
    ///
    /// # Errors
    ///
    /// A folder, a certificate or an address cannot be used.
    pub async fn start_with<H>(
        identity: Identity,
        config: &GatewayConfig,
        handler: H,
    ) -> Result<Self, Error>
    where
        H: Handler + Clone + Send + Sync + 'static,
        H::Exchange: Send,
    {
        let certificate = Arc::new(
            match &config.certificate {
                Some((chain, key)) => CertSource::files(chain, key),
                None => match &config.own_certificate {
                    Some(path) => Certificate::load_or_create(path, &config.hosts),
                    None => Certificate::self_signed(&config.hosts),
                }
                .map(CertSource::fixed),
            }
            .map_err(Error::Certificate)?,
        );
        let cover =
            Cover::new(&config.cover, SystemTime::now).map_err(file_error(&config.cover))?;
        let metrics = Arc::new(Metrics::new());
        let sessions = Arc::new(Sessions::default());
        let closing = Arc::new(AtomicBool::new(false));
        let key = *identity.public();
        let door = Door {
            identity,
            config: Config {
                pq: if config.pq { Pq::Offer } else { Pq::Off },
                caps: offered_caps(config.pq),
                ..Config::default()
            },
            handler,
            clock: Clock::start(),
            rng: Mutex::new(Rng::new(&seed()?)),
            metrics: Arc::clone(&metrics),
            sessions: Arc::clone(&sessions),
            max: config.max_sessions,
            closing: Arc::clone(&closing),
        };
        let site = Site::new(
            Arc::clone(&certificate),
            cover,
            Some(Arc::new(door)),
            Limits::default(),
        )
        .map_err(Error::Certificate)?;
        let site = Arc::new(site);
        let wish = Arc::new(Notify::new());
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let mut tasks = JoinSet::new();
        let mut addresses = Vec::new();
        let mut accepting = Vec::new();
        for address in &config.listen {
            let (listener, local) = bind(address).await?;
            addresses.push(local.to_string());
            accepting.push(tasks.spawn(accept(
                listener,
                Arc::clone(&site),
                Arc::clone(&wish),
                Arc::clone(&connections),
                config.max_connections,
            )));
        }
        if !config.advertise.is_empty() {
            addresses.clone_from(&config.advertise);
        }
        let pin = certificate.pin();
        accepting.push(tasks.spawn(async move {
            loop {
                tokio::time::sleep(RELOAD).await;
                match certificate.reload() {
                    Ok(true) => tracing::info!("certificate reloaded"),
                    Ok(false) => {}
                    Err(error) => tracing::warn!(%error, "the changed certificate is not used"),
                }
            }
        }));
        Ok(Self {
            listening: Listening {
                name: key.node_id().into(),
                key,
                addresses,
                pin,
            },
            site,
            metrics,
            sessions,
            closing,
            wish,
            accepting,
            tasks: Mutex::new(Some(tasks)),
            connections,
        })
    }

    /// What to tell those who want to reach it.
    #[must_use]
    pub const fn listening(&self) -> &Listening {
        &self.listening
    }

    /// Sessions that stand.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.lock().len()
    }

    pub(crate) fn is_healthy(&self) -> bool {
        !self.closing.load(Ordering::Relaxed)
    }

    /// All counters in the Prometheus text format.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        self.metrics.site(self.site.stats());
        self.metrics.render()
    }

    /// Stops: no new connections, GOAWAY, open streams get their time, then CLOSE. Whether all ended in time.
    pub async fn shutdown(&self) -> bool {
        self.closing.store(true, Ordering::Relaxed);
        for task in &self.accepting {
            task.abort();
        }
        let standing: Vec<_> = self.sessions.lock().values().cloned().collect();
        for ops in standing {
            // A session whose queue is full is asked by the connection's end below.
            let _ = ops.try_send(Op::Shutdown);
        }
        self.wish.notify_waiters();
        let mut connections = std::mem::take(
            &mut *self
                .connections
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let all = async { while connections.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(GRACE, all).await.is_ok();
        drop(
            self.tasks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        in_time
    }
}

async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), Error> {
    let error = |source| Error::Listen {
        address: address.to_owned(),
        source,
    };
    let listener = TcpListener::bind(address).await.map_err(error)?;
    let local = listener.local_addr().map_err(error)?;
    Ok((listener, local))
}

async fn accept(
    listener: TcpListener,
    site: Arc<Site>,
    wish: Arc<Notify>,
    connections: Arc<Mutex<JoinSet<()>>>,
    max: usize,
) {
    loop {
        let (tcp, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
        while connections.try_join_next().is_some() {}
        // Over the bound the connection is dropped before it costs anything.
        if connections.len() < max {
            let shutdown = Arc::clone(&wish);
            connections.spawn(serve(Arc::clone(&site), tcp, peer, shutdown));
        }
    }
}
