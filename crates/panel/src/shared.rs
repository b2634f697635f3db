//! What all requests share.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use betanet_auth::client::Proxies;
use betanet_auth::login::Guess;
use betanet_auth::password::Password;
use betanet_auth::setup::Setup;
use betanet_auth::{Error as AuthError, PasswordHash};
use betanet_fog_service::Local;
use betanet_journal::Journal;
use betanet_keys::Identity;
use betanet_machine::Rng;
use betanet_runtime::Gateway;
use tokio::sync::Semaphore;

use crate::checks::Checks;
use crate::desk::Desk;
use crate::fault::Fault;
use crate::live::Live;
use crate::view::{Snapshot, View};

/// Password checks at once; each takes 19 MiB.
pub(crate) const HASHES_MAX: usize = 2;
/// Password checks that wait for one of these. Beyond, logins are refused as busy.
pub(crate) const HASHES_WAITING: usize = 32;
/// Modules that are uploaded at once.
pub(crate) const UPLOADS_MAX: usize = 4;
/// Longest module that is uploaded here, in bytes.
pub(crate) const MODULE_MAX: usize = 16 << 20;

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) desk: Desk,
    pub(crate) local: Local,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) identity: Identity,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) view: View,
    pub(crate) checks: Checks,
    pub(crate) live: Arc<Live>,
    pub(crate) setup: Setup,
    pub(crate) proxies: Proxies,
    /// Address of the site, for command lines.
    pub(crate) origin: String,
    pub(crate) uploads: Arc<Semaphore>,
    pub(crate) hashes: Arc<Semaphore>,
    pub(crate) waiting: Arc<Semaphore>,
    pub(crate) rng: Mutex<Rng>,
    pub(crate) started_ms: u64,
}

impl Shared {
    pub(crate) fn now_ms(&self) -> u64 {
        self.desk.now().unix_ms
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

    pub(crate) async fn snapshot(&self) -> Result<Arc<Snapshot>, Fault> {
        Ok(self.view.get(self.now_ms()).await?)
    }

    /// The client's address behind proxies.
    pub(crate) fn client(&self, connection: IpAddr, forwarded: &[&str]) -> IpAddr {
        self.proxies.client(connection, forwarded)
    }

    /// Runs a password function on a thread. The permit is the thread's, so that a request that ends early frees nothing too soon.
    async fn stretched<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> Result<T, AuthError> + Send + 'static,
    ) -> Result<T, Fault> {
        let waiting = Arc::clone(&self.waiting).try_acquire_owned();
        let waiting = waiting.map_err(|_| Fault::Busy)?;
        let permit = Arc::clone(&self.hashes).acquire_owned().await;
        let permit = permit.map_err(|_| Fault::Busy)?;
        drop(waiting);
        let done = tokio::task::spawn_blocking(move || {
            let done = run();
            drop(permit);
            done
        });
        Ok(done.await.map_err(|_| Fault::Auth(AuthError::Bug))??)
    }

    /// Checks a guess at a password.
    pub(crate) async fn check(&self, guess: Guess) -> Result<(), Fault> {
        self.stretched(move || guess.check()).await
    }

    /// Checks the rules for a new password, and hashes it.
    pub(crate) async fn hash(&self, password: &str, name: &str) -> Result<PasswordHash, Fault> {
        let score = |text: &str, own: &[&str]| zxcvbn::zxcvbn(text, own).score().into();
        let password = Password::new(password, &[name, "betanet"], score)?;
        let salt = self.random();
        self.stretched(move || password.hash(salt)).await
    }
}
