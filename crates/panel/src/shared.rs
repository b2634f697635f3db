//! What all requests share.

use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use betanet_auth::PasswordHash;
use betanet_auth::client::Proxies;
use betanet_auth::login::Guess;
use betanet_auth::password::{Password, Scratch};
use betanet_auth::setup::Setup;
use betanet_auth::webauthn::Challenges;
use betanet_economy_service::Ledger;
use betanet_fog_service::Local;
use betanet_journal::Journal;
use betanet_keys::Identity;
use betanet_machine::Rng;
use betanet_runtime::Gateway;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::checks::Checks;
use crate::desk::Desk;
use crate::downloads::Downloads;
use crate::drawn::Pages;
use crate::fault::Fault;
use crate::hashes::Hashes;
use crate::kept::JobFiles;
use crate::live::Live;
use crate::reading::ReadJobs;
use crate::source::{History, Sources};
use crate::view::{Snapshot, View};

/// Modules that are uploaded at once.
pub(crate) const UPLOADS_MAX: usize = 4;
/// Longest module that is uploaded here, in bytes.
pub(crate) const MODULE_MAX: usize = 16 << 20;

/// Lists that are exported at once.
pub(crate) const EXPORTS_MAX: usize = 2;

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) desk: Desk,
    pub(crate) local: Local,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) identity: Identity,
    pub(crate) jobs: Arc<dyn ReadJobs>,
    /// The versions of jobs that are kept.
    pub(crate) kept: Arc<JobFiles>,
    /// The ledger of tokens, if the coordinator has one.
    pub(crate) ledger: Option<Ledger>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) view: View,
    pub(crate) checks: Checks,
    pub(crate) live: Arc<Live>,
    pub(crate) setup: Setup,
    /// Challenges for passkeys. They outlive a state that is rebuilt, so that none is answered twice.
    pub(crate) challenges: Mutex<Challenges>,
    pub(crate) proxies: Proxies,
    pub(crate) sources: Arc<Sources>,
    pub(crate) history: Arc<History>,
    /// Address of the site, for command lines.
    pub(crate) origin: String,
    pub(crate) uploads: Arc<Semaphore>,
    pub(crate) exports: Arc<Semaphore>,
    pub(crate) downloads: Downloads,
    /// Held by the stream of events that draws its page.
    pub(crate) drawing: Arc<Semaphore>,
    /// The pages that streams drew last.
    pub(crate) pages: Pages,
    pub(crate) hashes: Hashes,
    /// Actions under way, which end with their audit record whether their client waits or not.
    pub(crate) actions: TaskTracker,
    /// Requests without credentials that were refused.
    pub(crate) anonymous: AtomicU64,
    pub(crate) rng: Mutex<Rng>,
    pub(crate) started_ms: u64,
}

impl Shared {
    pub(crate) fn now_ms(&self) -> u64 {
        self.desk.now().unix_ms
    }

    pub(crate) fn challenges(&self) -> MutexGuard<'_, Challenges> {
        let all = self.challenges.lock();
        all.unwrap_or_else(PoisonError::into_inner)
    }

    /// A generator of its own, so that nothing is drawn twice if a change is decided again.
    pub(crate) fn rng(&self) -> Rng {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        Rng::new(&rng.seed())
    }

    pub(crate) fn random<const N: usize>(&self) -> [u8; N] {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        rng.array()
    }

    /// A snapshot of what is committed, soon.
    pub(crate) async fn snapshot(&self) -> Result<Arc<Snapshot>, Fault> {
        Ok(self.view.get(self.now_ms()).await?)
    }

    /// A snapshot of all that is committed now.
    pub(crate) async fn fresh(&self) -> Result<Arc<Snapshot>, Fault> {
        Ok(self.view.fresh(self.now_ms()).await?)
    }

    /// The client's address behind proxies.
    pub(crate) fn client(&self, connection: IpAddr, forwarded: &[&str]) -> IpAddr {
        self.proxies.client(connection, forwarded)
    }

    /// Checks a guess at a password. A known device and a logged-in caller wait in a queue of their own.
    pub(crate) async fn check(&self, known: bool, guess: Guess) -> Result<(), Fault> {
        let check = move |scratch: &mut Scratch| guess.check(scratch);
        self.hashes.run(known, check).await
    }

    /// Checks the rules for a new password, and hashes it.
    pub(crate) async fn hash(
        &self,
        known: bool,
        password: &str,
        name: &str,
    ) -> Result<PasswordHash, Fault> {
        let score = |text: &str, own: &[&str]| zxcvbn::zxcvbn(text, own).score().into();
        let password = Password::new(password, &[name, "betanet"], score)?;
        let salt = self.random();
        let hash = move |scratch: &mut Scratch| password.hash(salt, scratch);
        self.hashes.run(known, hash).await
    }
}
