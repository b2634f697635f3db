//! The way to the state, shared by faces and tasks.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use betanet_durable::{Handle, Role, Unavailable};
use betanet_wire::NodeId;
use tokio::sync::watch;

use crate::state::{Answer, Ask, Facts, Names, Setup};

/// Longest that a request waits for its answer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Shared {
    pub(crate) setup: Arc<Setup>,
    /// The state, once it has started.
    pub(crate) handle: OnceLock<Handle<Names>>,
    /// The other nodes that the operator named, once it has started.
    pub(crate) named: OnceLock<BTreeSet<NodeId>>,
    facts: watch::Receiver<Facts>,
}

impl Shared {
    pub(crate) const fn new(setup: Arc<Setup>, facts: watch::Receiver<Facts>) -> Self {
        Self {
            setup,
            handle: OnceLock::new(),
            named: OnceLock::new(),
            facts,
        }
    }

    pub(crate) fn is_named(&self, node: NodeId) -> bool {
        self.named.get().is_some_and(|named| named.contains(&node))
    }

    pub(crate) fn facts(&self) -> watch::Receiver<Facts> {
        self.facts.clone()
    }

    pub(crate) fn role(&self) -> Role {
        self.handle.get().map_or(Role::Starting, Handle::role)
    }

    pub(crate) async fn ask(&self, ask: Ask) -> Result<Answer, Unavailable> {
        let handle = self.handle.get().ok_or(Unavailable)?;
        let answered = tokio::time::timeout(PATIENCE, handle.ask(ask)).await;
        answered.unwrap_or(Err(Unavailable))
    }
}
