use std::sync::Arc;
use std::time::Duration;

use betanet_journal::Journal;
use betanet_session::Clock;
use tokio::sync::{mpsc, oneshot, watch};

use crate::State;
use crate::driver::{Ask, Driver, load};
use crate::role::{Error, Role, Settings};

/// Maximum number of requests that wait to be decided.
pub const INBOX_MAX: usize = 1024;

/// Longest wait for the last commit of a state that stops.
const FAREWELL: Duration = Duration::from_secs(12);

/// A request that was not decided, or whose records were not committed for sure. It may be sent again.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the service is not available now; try again later")]
pub struct Unavailable;

/// The way to a state. Clones lead to the same one.
pub struct Handle<S: State> {
    inbox: mpsc::Sender<Ask<S>>,
    role: watch::Receiver<Role>,
}

impl<S: State> Clone for Handle<S> {
    fn clone(&self) -> Self {
        Self {
            inbox: self.inbox.clone(),
            role: self.role.clone(),
        }
    }
}

impl<S: State> std::fmt::Debug for Handle<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Handle").field(&*self.role.borrow()).finish()
    }
}

impl<S: State> Handle<S> {
    /// Asks the state. Returns its answer once the records of it, and of all requests before it, are committed.
    ///
    /// # Errors
    ///
    /// The state does not lead, or its journal failed meanwhile. The records may be committed even so.
    pub async fn ask(&self, request: S::Request) -> Result<S::Answer, Unavailable> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask { request, answer };
        self.inbox.send(ask).await.map_err(|_| Unavailable)?;
        answered.await.map_err(|_| Unavailable)
    }

    /// Returns what the state does now.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role.borrow().clone()
    }

    /// Waits until the role is one that is asked for.
    pub async fn wait_for(&self, wanted: impl FnMut(&Role) -> bool) {
        // A driver that is gone changes nothing any more.
        let _ = self.role.clone().wait_for(wanted).await;
    }
}

/// A state that runs over its journal. Dropped, it stops without a farewell, as by a crash.
pub struct Durable<S: State> {
    handle: Handle<S>,
    stop: watch::Sender<bool>,
}

impl<S: State> std::fmt::Debug for Durable<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.handle.fmt(f)
    }
}

impl<S: State> Durable<S> {
    /// Reads the journal and begins to follow or to lead. `new` makes the state without records.
    ///
    /// # Errors
    ///
    /// The journal is damaged, cannot be reached, or has content of another version.
    pub async fn start(
        journal: Arc<dyn Journal>,
        settings: Settings,
        new: impl Fn() -> S + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let loaded = load(&*journal, &new).await?;
        let (inbox, asks) = mpsc::channel(INBOX_MAX);
        let (said, role) = watch::channel(Role::Starting);
        let (stop, stopped) = watch::channel(false);
        let driver = Driver {
            journal,
            settings,
            new: Box::new(new),
            asks,
            role: said,
            stop: stopped,
            clock: Clock::start(),
        };
        tokio::spawn(driver.run(loaded));
        Ok(Self {
            handle: Handle { inbox, role },
            stop,
        })
    }

    /// Returns the way to it.
    #[must_use]
    pub fn handle(&self) -> Handle<S> {
        self.handle.clone()
    }

    /// Commits what was decided, gives the lease back, and ends.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let stopped = self.handle.wait_for(|role| *role == Role::Stopped);
        if tokio::time::timeout(FAREWELL, stopped).await.is_err() {
            tracing::warn!("the journal does not answer: the lease is not given back");
        }
    }
}
