//! Sessions with nodes: direct, over relays, or over the mix.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use betanet_bar::Request;
use betanet_keys::Peer;
use betanet_runtime::{
    Answer, Error, MixClient, MixSession, Node, SessionError, SessionHandle, Upload,
};

/// An open session.
#[derive(Clone, Debug)]
pub enum Link {
    /// A session that names this side. It may lead over relays of a path.
    Direct(SessionHandle),
    /// A session through the mix, which names nobody.
    Mix(MixSession),
}

impl Link {
    /// Whether the session has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Direct(session) => session.is_closed(),
            Self::Mix(session) => session.is_closed(),
        }
    }

    pub(super) async fn ask(&self, request: Request) -> Result<Answer, SessionError> {
        match self {
            Self::Direct(session) => session.ask(request).await,
            Self::Mix(session) => session.ask(request).await,
        }
    }

    pub(super) async fn upload(&self, request: Request) -> Result<Upload, SessionError> {
        match self {
            Self::Direct(session) => session.upload(request).await,
            Self::Mix(session) => session.upload(request).await,
        }
    }

    /// Closes the session.
    pub async fn close(&self) {
        match self {
            Self::Direct(session) => session.close().await,
            Self::Mix(session) => session.close().await,
        }
    }
}

/// The future of [`Connect::connect`].
pub type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Link, Error>> + Send + 'a>>;

/// Opens sessions with nodes.
pub trait Connect: Send + Sync + 'static {
    /// Opens a session with this node.
    fn connect<'a>(&'a self, to: &'a Peer) -> Connecting<'a>;
}

/// Dials nodes directly or over relays, with the identity of a node.
pub struct Direct {
    node: Arc<Node>,
    relays: Vec<Peer>,
}

impl Direct {
    /// Dials with this node's identity.
    #[must_use]
    pub const fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            relays: Vec::new(),
        }
    }

    /// Dials over a path of these relays.
    #[must_use]
    pub fn over(mut self, relays: Vec<Peer>) -> Self {
        self.relays = relays;
        self
    }
}

impl Connect for Direct {
    fn connect<'a>(&'a self, to: &'a Peer) -> Connecting<'a> {
        Box::pin(async move {
            let session = self.node.session_over(&self.relays, to).await?;
            Ok(Link::Direct(session))
        })
    }
}

/// Reaches nodes through the mix, by their names.
pub struct Mixed(pub Arc<MixClient>);

impl Connect for Mixed {
    fn connect<'a>(&'a self, to: &'a Peer) -> Connecting<'a> {
        Box::pin(async move { Ok(Link::Mix(self.0.session(to.name()).await?)) })
    }
}
