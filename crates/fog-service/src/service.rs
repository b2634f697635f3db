//! A coordinator, from its parts to its end.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use betanet_blobs::{
    Blobs, Digest as BlobDigest, LogSettings, Logs, Place as BlobPlace, Settings as BlobSettings,
};
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
use crate::escrow::Escrow;
use crate::handle::{Ask, Handle, INBOX_MAX, Role, Shared};
use crate::http::AdminFace;
use crate::levels::{MixWays, OverMix};
use crate::places::Places;
use crate::room;
use crate::settings::SWEEP;
use crate::{Error, Settings};

/// Longest that a coordinator takes to stop: a journal that does not answer is not waited for.
const FAREWELL: Duration = Duration::from_secs(12);

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
        Self::open_at(state, &BlobPlace::Folder, quota).await
    }

    /// Opens the blobs at a place, and the logs of a state folder. The blobs take at most `quota` bytes.
    ///
    /// # Errors
    ///
    /// The folder or the place cannot be used.
    pub async fn open_at(state: &Arc<State>, place: &BlobPlace, quota: u64) -> Result<Self, Error> {
        let settings = BlobSettings {
            quota,
            ..BlobSettings::default()
        };
        Ok(Self {
            blobs: Blobs::open_at(state, place, settings).await?,
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
            escrow: OnceLock::new(),
            under_way: Default::default(),
            room: room::room(),
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

    pub(crate) const fn shared_api(&self) -> &Arc<Api> {
        &self.api
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

    /// Asks nodes that claim a level above public over the mix of a network, while this coordinator leads.
    ///
    /// Without it, no node has such a level, and tasks that need one are refused as `privacy_unavailable`.
    ///
    /// # Errors
    ///
    /// The system gives no random bytes.
    pub fn prove_levels(&self, ways: MixWays) -> Result<(), Error> {
        let seed = betanet_runtime::seed().map_err(|_| Error::Randomness)?;
        let clock = self.handle.shared.clock;
        let ways = OverMix::new(self.identity.clone(), clock, ways);
        let rng = betanet_machine::Rng::new(&seed);
        // It ends with the coordinator.
        tokio::spawn(crate::levels::run(self.handle.clone(), Arc::new(ways), rng));
        Ok(())
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
            escrow: self.api.escrow.get().cloned(),
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
                let Some(now) = api.upgrade() else { return };
                let handle = now.handle.clone();
                drop(now);
                // Pins are kept in memory: a leader begins with those of its tasks.
                let mut epoch = 0;
                let leads = |role: &Role| matches!(role, Role::Leads(of) if { epoch = *of; true });
                handle.wait_for(leads).await;
                let Some(now) = api.upgrade() else { return };
                now.sweep().await;
                drop(now);
                // So does each of its terms: others led in between, and may have stored more.
                let anew = |role: &Role| matches!(role, Role::Leads(of) if *of != epoch);
                let _ = tokio::time::timeout(SWEEP, handle.wait_for(anew)).await;
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
pub(crate) async fn output(blobs: &Blobs, digest: Digest) -> Option<Box<Output>> {
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
        let stopped = self.handle.wait_for(|role| *role == Role::Stopped);
        if tokio::time::timeout(FAREWELL, stopped).await.is_err() {
            tracing::warn!("the journal does not answer: the lease is not given back");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.sweeping.abort();
        let _ = self.stop.send(true);
    }
}

impl Coordinator {
    /// Takes tasks and bids only with money behind them from now on. To be called before it starts, once.
    pub fn pay_from(&self, escrow: Arc<dyn Escrow>) {
        // A second one would pay twice: the first stays.
        let _ = self.shared_api().escrow.set(escrow);
    }
}

#[cfg(test)]
mod tests {
    use betanet_coordinator::{Reply, Request};
    use betanet_fog::{DAY_MS, Signed};
    use betanet_fog_client::testkit;
    use betanet_journal::MemoryStore;

    use super::*;
    use crate::Namespace;

    #[tokio::test]
    async fn a_sweep_removes_logs_of_forgotten_tasks_and_keeps_what_known_ones_name() {
        let home = tempfile::tempdir().unwrap();
        let state = Arc::new(State::open(&home.path().join("state")).unwrap());
        let owner = Identity::from_seed(&[2; 32]);
        let lab = Namespace {
            users: vec![*owner.public()],
            ..Namespace::default()
        };
        let settings = Settings {
            namespaces: [("lab".parse().unwrap(), lab)].into(),
            ..Settings::default()
        };
        let me = Identity::from_seed(&[1; 32]);
        let stores = Stores::open(&state, 1 << 20).await.unwrap();
        let coordinator = Coordinator::new(me.clone(), settings, stores);
        let peer = Peer {
            key: *me.public(),
            addrs: Vec::new(),
            pin: None,
        };
        let journal = Arc::new(MemoryStore::new().open("one"));
        let running = coordinator.start(&peer, journal).await.unwrap();
        let leads = |role: &Role| matches!(role, Role::Leads(_));
        running.handle().wait_for(leads).await;
        let api = &coordinator.api;
        let module = futures_util::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from(
            testkit::MODULE,
        ))]);
        let digest = BlobDigest::of(testkit::MODULE);
        let size = testkit::MODULE.len() as u64;
        api.blobs.put(digest, size, module).await.unwrap();
        let now_ms = api.handle.shared.clock.now().unix_ms;
        let task = Signed::sign(testkit::task(&owner, 1, now_ms), &owner).unwrap();
        let known = BlobDigest(task.id().0);
        let submit = Request::Submit {
            task: Box::new(task),
            missing: None,
        };
        let caller = api.roles.of_key(owner.public());
        assert_eq!(api.handle.ask(caller, submit).await, Ok(Reply::Created));
        let forgotten = BlobDigest([9; 32]);
        for (task, fence) in [(known, 5), (forgotten, 6), (forgotten, 7)] {
            let bytes = bytes::Bytes::from_static(b"x");
            api.logs.append(task, fence, 0, bytes).await.unwrap();
        }
        api.sweep().await;
        assert_eq!(api.logs.tasks(), [known]);
        assert_eq!(api.blobs.facts().await.evictable, 0);
        // Pins end after a day, and are made anew.
        api.blobs.sweep(now_ms + 2 * DAY_MS).await.unwrap();
        assert_ne!(api.blobs.facts().await.evictable, 0);
        api.sweep().await;
        assert_eq!(api.blobs.facts().await.evictable, 0);
        running.stop().await;
    }
}
