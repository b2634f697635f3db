//! The ledger for the process that runs its node: what the fog's escrow and a control panel ask.

use std::sync::Arc;
use std::time::Duration;

use betanet_durable::{Role, Unavailable};
use betanet_tokenomics::Genesis;
use betanet_tokenomics::journal::AnswerBody;
use tokio::sync::oneshot;

use crate::shared::Shared;
use crate::state::{Answer, Ask, Look};
use crate::view::View;

/// The ledger of a node, for the process that runs it. Clones share it.
#[derive(Clone)]
pub struct Ledger(pub(crate) Arc<Shared>);

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ledger").field(&self.0.role()).finish()
    }
}

impl Ledger {
    /// The ledger's constants.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.0.setup.genesis
    }

    /// Whether this node takes requests: it leads its journal, and follows nobody's ledger.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.0.leader().is_none() && matches!(self.0.role(), Role::Leads(_))
    }

    /// The peer whose ledger this node follows, if it does.
    #[must_use]
    pub fn follows(&self) -> Option<String> {
        self.0.leader().map(ToString::to_string)
    }

    /// Reads the state. The reader runs between two requests: it is to be short.
    ///
    /// # Errors
    ///
    /// The journal is not led here now.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut View<'_>) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.read(look, Ask::Look).await
    }

    /// Reads the state also where another process leads the journal: then some of the newest records may be missing.
    ///
    /// # Errors
    ///
    /// The journal is not read here now.
    pub async fn peek<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut View<'_>) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.read(look, Ask::Peek).await
    }

    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut View<'_>) -> T + Send + 'static,
        ask: impl FnOnce(Look) -> Ask,
    ) -> Result<T, Unavailable> {
        let (answer, answered) = oneshot::channel();
        let look = Look(Box::new(move |view| {
            // Whoever asked may have left.
            let _ = answer.send(look(view));
        }));
        self.0.ask(ask(look)).await?;
        answered.await.map_err(|_| Unavailable)
    }

    /// Sends an encoded envelope. The answer comes once its record is committed.
    ///
    /// # Errors
    ///
    /// This node does not lead the ledger, or cannot decide now. The request may be accepted even so.
    pub async fn submit(&self, envelope: Vec<u8>) -> Result<AnswerBody, Unavailable> {
        if self.0.leader().is_some() {
            return Err(Unavailable);
        }
        match self.0.ask(Ask::Request(envelope)).await? {
            Answer::Answered(body) => Ok(body),
            _ => Err(Unavailable),
        }
    }

    /// Proposes a head at once, for one who waits for it, instead of with the next of its regular ones.
    ///
    /// # Errors
    ///
    /// This node does not lead the ledger, or cannot decide now.
    pub async fn propose(&self) -> Result<(), Unavailable> {
        if !self.leads() {
            return Err(Unavailable);
        }
        self.0.ask(Ask::Propose).await.map(drop)
    }

    /// Waits until the ledger has changed, for at most so long.
    pub async fn changed(&self, most: Duration) {
        let mut facts = self.0.facts();
        facts.borrow_and_update();
        let _ = tokio::time::timeout(most, facts.changed()).await;
    }
}
