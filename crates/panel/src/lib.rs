//! The control panel of a coordinator: pages, live events, and an HTTP API with accounts.
//!
//! **Promises.** Routes, permissions, the OpenAPI document and the tests come from one table, `betanet_auth::routes::ROUTES`. Pages are
//! drawn by the server and work without script. Lists name a position of the journal: each row has at least the records up to it. An
//! answer leaves after its audit record is on disk. An action on the fog has two records: one before it is done, one with its outcome.
//! Bodies, connections, streams, exports and password checks are bounded. No page names a file of another site, and each has
//! `default-src 'none'`.
//!
//! **Below:** `auth` (the rules), `fog-service` and `economy-service` (coordinator and ledger, in process), `journal`, `runtime`. **Above:** the binary `coordinator`.
//! **Source:** RFC 9110, RFC 9457 (problems), RFC 9162 (the audit log); the table of routes.
//!
//! | part | what it is |
//! |---|---|
//! | `serve`, `body` | admission of a request, its body, its handler, its audit record |
//! | `desk`, `core` | the state: one task owns it, and answers leave after their commit |
//! | `view`, `rows`, `checks` | lists that follow the journal, and checks of services |
//! | `live`, `lease`, `pace`, `turn`, `pushed`, `drawn` | numbered events, streams whose client reads, and the page that a stream sends once the last one was confirmed, which streams with the same page and rights share |
//! | `jobs`, `kept`, `diff` | job files, their kept versions, and what a plan would change |
//! | `passkeys` | challenges and answers of passkeys |
//! | `source` | other programs of the operator, whose admin addresses are read: names, mints, relays |
//! | `books` | what the pages read of the ledger of tokens, if there is one |
//! | `pages`, `api`, `openapi` | the two faces of the same actions, and their description |
//!
//! Accounts, sessions, tokens and the audit log are records of a journal of the panel's own. It has no snapshots: the audit log is kept
//! whole, and a start reads it. Job files have entries beside it, which are replaced and bounded.

mod acts;
mod api;
mod assets;
mod body;
mod books;
mod chart;
mod checks;
mod core;
mod cx;
mod desk;
mod diff;
mod downloads;
mod drawn;
mod error;
mod fault;
mod files;
mod form;
mod handlers;
mod hashes;
mod jobs;
mod kept;
mod lease;
mod list;
mod live;
mod openapi;
mod pace;
mod page;
mod pages;
mod passkeys;
mod place;
mod pushed;
mod reading;
mod record;
mod reply;
mod rows;
mod serve;
mod server;
mod shared;
mod source;
mod spec;
mod text;
mod turn;
mod view;

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_auth::client::{Network, Proxies};
use betanet_auth::jwt::Parties;
use betanet_auth::session::Site;
use betanet_auth::setup::Setup;
use betanet_auth::webauthn::Challenges;
use betanet_auth::{Secret, ServerKey};
use betanet_economy_service::Ledger;
use betanet_fog_service::Local;
use betanet_journal::Journal;
use betanet_keys::Identity;
use betanet_machine::Rng;
use betanet_runtime::Gateway;
use betanet_store::Storage;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::core::Fixed;

pub use error::Error;
pub use reading::{JobFile, ReadJobs, Reading};
pub use record::audit as shown_record;
pub use source::{SOURCES_MAX, Source, are_sources};

/// Interval at which expired sessions and tokens are removed.
const SWEEP: Duration = Duration::from_secs(60);
/// Audience of access tokens.
const AUDIENCE: &str = "betanet-panel";

/// Settings of a panel.
pub struct Settings {
    /// The listener. Without [`Settings::hosts`], it is one of a loopback address.
    pub listener: std::net::TcpListener,
    /// Names under which browsers reach it over TLS, each with its port unless that is 443. None means plain HTTP on loopback. With
    /// names, only the proxies are answered.
    pub hosts: Vec<String>,
    /// Networks of the proxies whose `X-Forwarded-For` counts.
    pub proxies: Proxies,
    /// Key from which tokens are derived; 32 random bytes that last.
    pub key: [u8; 32],
    /// Other programs whose admin addresses are read; those for which [`are_sources`] holds.
    pub sources: Vec<Source>,
    /// How many times 60 writes and 600 reads a minute a verified account has; 1 by default.
    pub rate_factor: u64,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("listener", &self.listener)
            .field("hosts", &self.hosts)
            .field("proxies", &self.proxies)
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

/// What a panel shows and acts on.
pub struct Parts {
    /// The journal of the panel.
    pub journal: Arc<dyn Journal>,
    /// Entries of the panel, for the job files that it keeps.
    pub files: Arc<dyn Storage>,
    /// The coordinator.
    pub coordinator: Local,
    /// Its node.
    pub gateway: Arc<Gateway>,
    /// The ledger of tokens, if it has one.
    pub ledger: Option<Ledger>,
    /// Key that signs heads of the audit log.
    pub identity: Identity,
    /// Reader of job files, which signs with the coordinator's key.
    pub jobs: Arc<dyn ReadJobs>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// Reads a network of proxies: an address, or an address and the length of its prefix.
#[must_use]
pub fn proxies(networks: &[String]) -> Option<Proxies> {
    let all = networks.iter().map(|n| Network::from_text(n));
    Proxies::new(all.collect::<Option<Vec<Network>>>()?)
}

/// A panel that runs. Dropped, it stops.
#[derive(Debug)]
pub struct Panel {
    address: SocketAddr,
    origin: String,
    code: Option<Secret>,
    stop: CancellationToken,
    /// Ends the state, once no request asks it.
    end: CancellationToken,
    /// Actions whose client may be gone.
    actions: TaskTracker,
    serving: Option<tokio::task::JoinHandle<()>>,
    state: Option<tokio::task::JoinHandle<()>>,
}

/// The site's names and its origin.
fn site(hosts: &[String], address: SocketAddr) -> (Site, String) {
    if let Some(first) = hosts.first() {
        let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
        return (Site::new(&names, true), format!("https://{first}"));
    }
    let port = address.port();
    let names = [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
    ];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    (Site::new(&names, false), format!("http://{address}"))
}

impl Panel {
    /// Reads the journal of the panel and begins to serve.
    ///
    /// # Errors
    ///
    /// The journal, the job files or the address cannot be used.
    pub async fn start(settings: Settings, parts: Parts) -> Result<Self, Error> {
        let Parts {
            journal,
            files,
            coordinator,
            gateway,
            ledger,
            identity,
            jobs,
        } = parts;
        let listener = settings.listener;
        listener.set_nonblocking(true).map_err(Error::Listen)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(Error::Listen)?;
        let address = listener.local_addr().map_err(Error::Listen)?;
        let (site, origin) = site(&settings.hosts, address);
        let parties = Parties::new(&origin, AUDIENCE).ok_or(Error::Host)?;
        let key = ServerKey::new(settings.key);
        let seed = betanet_runtime::seed().map_err(|_| Error::Randomness)?;
        let mut rng = Rng::new(&seed);
        let (stop, end) = (CancellationToken::new(), CancellationToken::new());
        let fixed = Fixed {
            key,
            site,
            parties,
            rate_factor: settings.rate_factor,
        };
        let kept = Arc::new(kept::JobFiles::open(files)?);
        let started = desk::Desk::start(Arc::clone(&journal), fixed, end.clone()).await?;
        let (desk, state) = started;
        let mut own = Rng::new(&rng.seed());
        let begun = desk.with(move |core, _, _| Setup::begin(&core.accounts, &mut own));
        let (setup, code) = begun.await.map_err(|_| Error::Held)?;
        let now_ms = desk.now().unix_ms;
        let live = Arc::new(live::Live::new(now_ms));
        let trusted = settings.proxies.clone();
        let sources = Arc::new(source::Sources::new(settings.sources));
        let history = Arc::new(source::History::default());
        let watched = (Arc::clone(&sources), Arc::clone(&gateway));
        let actions = TaskTracker::new();
        let view = view::View::new(coordinator.clone());
        let shared = Arc::new(shared::Shared {
            view: view.clone(),
            checks: checks::Checks::new(coordinator.clone(), Arc::clone(&gateway), ledger.clone()),
            live: Arc::clone(&live),
            local: coordinator.clone(),
            gateway,
            identity,
            jobs,
            kept,
            ledger,
            journal,
            setup,
            challenges: Mutex::new(Challenges::new(ServerKey::new(rng.array()))),
            proxies: settings.proxies,
            sources,
            history: Arc::clone(&history),
            origin: origin.clone(),
            uploads: Arc::new(Semaphore::new(shared::UPLOADS_MAX)),
            exports: Arc::new(Semaphore::new(shared::EXPORTS_MAX)),
            drawing: Arc::new(Semaphore::new(1)),
            pages: drawn::Pages::default(),
            downloads: downloads::Downloads::default(),
            hashes: hashes::Hashes::start().map_err(Error::Threads)?,
            actions: actions.clone(),
            anonymous: AtomicU64::new(0),
            rng: Mutex::new(rng),
            started_ms: now_ms,
            desk: desk.clone(),
        });
        let clock = desk.clone();
        let clock = move || clock.now().unix_ms;
        tokio::spawn(view.follow(clock.clone(), stop.clone()));
        tokio::spawn(live::feed(live, coordinator, clock, stop.clone()));
        let (clock, (sources, gateway)) = (desk.clone(), watched);
        let clock = move || clock.now().unix_ms;
        tokio::spawn(history.run(sources, gateway, clock, stop.clone()));
        tokio::spawn(sweep(desk, stop.clone()));
        let router = serve::router(shared);
        // A proxy's own address is not its client's.
        let doors = server::Doors {
            trusted: move |ip| trusted.client(ip, &["192.0.2.1"]) != ip,
            only: !settings.hosts.is_empty(),
        };
        let serving = tokio::spawn(server::run(listener, router, doors, stop.clone()));
        Ok(Self {
            address,
            origin,
            code,
            stop,
            end,
            actions,
            serving: Some(serving),
            state: Some(state),
        })
    }

    /// The address that it listens at.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the site, without a path.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The code that makes the first administrator; `None` if there is one.
    #[must_use]
    pub const fn first_code(&self) -> Option<&Secret> {
        self.code.as_ref()
    }

    /// Takes no more requests, lets those that are open end for two seconds and actions without a client for two more, and gives the
    /// journal back.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(serving) = self.serving.take() {
            let _ = serving.await;
        }
        self.actions.close();
        let _ = tokio::time::timeout(server::FAREWELL, self.actions.wait()).await;
        self.end.cancel();
        if let Some(state) = self.state.take() {
            let _ = state.await;
        }
    }
}

impl Drop for Panel {
    fn drop(&mut self) {
        self.stop.cancel();
        self.end.cancel();
    }
}

async fn sweep(desk: desk::Desk, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP) => {}
            () = stop.cancelled() => return,
        }
        // A journal that takes nothing now is swept later.
        let _ = desk.with(|core, now, tx| core.sweep(now.unix_ms, tx)).await;
    }
}
