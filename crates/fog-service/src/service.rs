//! A coordinator, from its parts to its end.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use betanet_blobs::{Blobs, Digest as BlobDigest, LogSettings, Logs, Settings as BlobSettings};
use betanet_fog::{BODY_MAX, Digest, List, Output, Text};
use betanet_journal::Journal;
use betanet_keys::{Identity, Peer};
use betanet_runtime::Extension;
use betanet_session::{Clock, Service};
use betanet_store::State;
use tokio::sync::{mpsc, watch};

use crate::api::Api;
use crate::bar::BarService;
use crate::driver::{Driver, Fetch, load};
use crate::handle::{Ask, Handle, INBOX_MAX, Role, Shared};
use crate::http::AdminFace;
use crate::places::Places;
use crate::{Error, Settings};

/// Interval at which blobs that no task names are let go.
const SWEEP: Duration = Duration::from_secs(600);

/// Where blobs and logs are kept.
#[derive(Clone)]
pub struct Stores {
    blobs: Blobs,
    logs: Logs,
}

impl std::fmt::Debug for Stores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stores")
    }
}

impl Stores {
    /// Opens the blobs and logs of a state folder. The blobs take at most `quota` bytes.
    ///
    /// # Errors
    ///
    /// The folder cannot be used.
    pub async fn open(state: &Arc<State>, quota: u64) -> Result<Self, Error> {
        let settings = BlobSettings {
            quota,
            ..BlobSettings::default()
        };
        Ok(Self {
            blobs: Blobs::open(state, settings).await?,
            logs: Logs::open(state, LogSettings::default()).await?,
        })
    }
}

/// A coordinator that is not started: until then its service answers `not_leader`.
pub struct Coordinator {
    identity: Identity,
    settings: Settings,
    handle: Handle,
    inbox: Mutex<Option<mpsc::Receiver<Ask>>>,
    api: Arc<Api>,
}

impl std::fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coordinator").finish_non_exhaustive()
    }
}

impl Coordinator {
    /// Creates a coordinator with the key that its node has.
    #[must_use]
    pub fn new(identity: Identity, settings: Settings, stores: Stores) -> Self {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let handle = Handle {
            shared: Arc::new(Shared::new(Clock::start())),
            inbox: sender,
        };
        let api = Api {
            handle: handle.clone(),
            roles: settings.roles(),
            identity: identity.clone(),
            keys: Default::default(),
            blobs: stores.blobs,
            logs: stores.logs,
            nodes: Default::default(),
            journal: OnceLock::new(),
            streams: Places::default(),
        };
        Self {
            identity,
            settings,
            handle,
            inbox: Mutex::new(Some(inbox)),
            api: Arc::new(api),
        }
    }

    /// The service for [`crate::PREFIX`].
    #[must_use]
    pub fn service(&self) -> impl Service + use<> {
        BarService(Arc::clone(&self.api))
    }

    /// Its requests at the admin address, its metrics and its health.
    #[must_use]
    pub fn extension(&self) -> Arc<dyn Extension> {
        Arc::new(AdminFace(Arc::clone(&self.api)))
    }

    /// The way in for this process.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Reads the journal and begins to follow or to lead. `peer` is the address of this coordinator.
    ///
    /// # Errors
    ///
    /// The journal is damaged, or another version's. It was started already.
    pub async fn start(&self, peer: &Peer, journal: Arc<dyn Journal>) -> Result<Running, Error> {
        let inbox = self
            .inbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let inbox = inbox.ok_or(Error::Started)?;
        let addrs: Vec<Text> = peer.addrs.iter().filter_map(|a| a.parse().ok()).collect();
        let addrs = List::try_from(addrs).unwrap_or_default();
        let setup = self.settings.setup(self.identity.public(), addrs, peer.pin);
        let loaded = load::load(&setup, &*journal).await?;
        // It was not started before, so nothing stands there.
        let _ = self.api.journal.set(Arc::clone(&journal));
        let (stop, stopped) = watch::channel(false);
        let blobs = self.api.blobs.clone();
        let fetch: Fetch = Arc::new(move |digest| {
            let blobs = blobs.clone();
            Box::pin(async move { output(&blobs, digest).await })
        });
        let driver = Driver {
            setup,
            journal,
            shared: Arc::clone(&self.handle.shared),
            inbox,
            back: self.handle.inbox.downgrade(),
            fetch,
            stop: stopped,
            snapshot_every: self.settings.snapshot_every.max(1),
            snapshots: self.settings.snapshots.max(1),
        };
        // The machine computes much: it has a thread of its own.
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name("coordinator".to_owned())
            .spawn(move || runtime.block_on(driver.run(loaded)))
            .map_err(Error::Thread)?;
        let api = Arc::downgrade(&self.api);
        let sweeping = tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                let Some(api) = api.upgrade() else { return };
                api.sweep().await;
            }
        });
        Ok(Running {
            handle: self.handle.clone(),
            stop,
            sweeping: sweeping.abort_handle(),
        })
    }
}

/// The list of files of an output that is stored.
async fn output(blobs: &Blobs, digest: Digest) -> Option<Box<Output>> {
    let digest = BlobDigest(digest);
    let size = blobs.has(digest).filter(|n| *n <= BODY_MAX as u64)?;
    let content = blobs.get(digest, 0..size).await.ok()?;
    let all = content.all(size).await.ok()?;
    Output::from_slice(&all).ok().map(Box::new)
}

/// A coordinator that runs.
#[derive(Debug)]
pub struct Running {
    handle: Handle,
    stop: watch::Sender<bool>,
    sweeping: tokio::task::AbortHandle,
}

impl Running {
    /// The way in for this process.
    #[must_use]
    pub const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Commits what was accepted, gives the lease back, and ends.
    pub async fn stop(self) {
        self.sweeping.abort();
        let _ = self.stop.send(true);
        self.handle.wait_for(|role| *role == Role::Stopped).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.sweeping.abort();
        let _ = self.stop.send(true);
    }
}
