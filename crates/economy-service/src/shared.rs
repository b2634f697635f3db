//! The way to the state, shared by faces and tasks.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use betanet_durable::{Handle, Role, Unavailable};
use betanet_keys::{Maintainers, Peer};
use tokio::sync::watch;

use crate::posted::Posted;
use crate::state::{Answer, Ask, Books, Facts, Setup};

/// Longest that a request waits for its answer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Shared {
    pub(crate) setup: Arc<Setup>,
    /// The state, once it has started.
    pub(crate) handle: OnceLock<Handle<Books>>,
    /// Coordinators of whom one leads, if this node follows, and the number of the present one.
    pub(crate) leaders: Vec<Peer>,
    present: AtomicUsize,
    facts: watch::Receiver<Facts>,
    /// What became of heads that were to be posted to the ledger of names.
    pub(crate) posted: Posted,
    /// The network's maintainers, if this node posts heads there.
    pub(crate) maintainers: Option<Maintainers>,
}

impl Shared {
    pub(crate) fn new(
        setup: Arc<Setup>,
        leaders: Vec<Peer>,
        maintainers: Option<Maintainers>,
        facts: watch::Receiver<Facts>,
    ) -> Self {
        Self {
            setup,
            handle: OnceLock::new(),
            leaders,
            present: AtomicUsize::new(0),
            facts,
            posted: Posted::default(),
            maintainers,
        }
    }

    /// The leader whom this node follows, if it does.
    pub(crate) fn leader(&self) -> Option<&Peer> {
        let present = self.present.load(Ordering::Relaxed);
        self.leaders.get(present % self.leaders.len().max(1))
    }

    /// Goes on to the next leader.
    pub(crate) fn turn(&self) {
        self.present.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn facts(&self) -> watch::Receiver<Facts> {
        self.facts.clone()
    }

    pub(crate) fn role(&self) -> Role {
        self.handle.get().map_or(Role::Starting, Handle::role)
    }

    /// Where requests go, if not here.
    pub(crate) fn location(&self) -> Option<String> {
        match (self.leader(), self.role()) {
            (Some(leader), _) => Some(leader.to_string()),
            (None, Role::Follows(leader)) => Some(leader.into()),
            _ => None,
        }
    }

    pub(crate) async fn ask(&self, ask: Ask) -> Result<Answer, Unavailable> {
        let handle = self.handle.get().ok_or(Unavailable)?;
        let answered = tokio::time::timeout(PATIENCE, handle.ask(ask)).await;
        answered.unwrap_or(Err(Unavailable))
    }
}
