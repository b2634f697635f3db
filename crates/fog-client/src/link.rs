//! Sessions with coordinators: direct, over relays, or over the mix.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use betanet_bar::Request;
use betanet_keys::{Name, Peer, PublicKey};
use betanet_runtime::{
    Answer, Error, MixClient, MixSession, Node, RelayError, SessionError, SessionHandle, Upload,
};

/// An open session with a coordinator.
#[derive(Clone, Debug)]
pub enum Link {
    /// A session that names this side. It may lead over relays of a path.
    Direct(SessionHandle),
    /// A session through the mix, which names nobody.
    Mix {
        /// The session.
        session: MixSession,
        /// Number of relays that its packets pass.
        relays: usize,
    },
}

impl Link {
    /// The coordinator's key.
    #[must_use]
    pub const fn peer(&self) -> &PublicKey {
        match self {
            Self::Direct(session) => session.peer(),
            Self::Mix { session, .. } => session.peer(),
        }
    }

    /// Number of relays of the mix.
    #[must_use]
    pub const fn relays(&self) -> usize {
        match self {
            Self::Direct(_) => 0,
            Self::Mix { relays, .. } => *relays,
        }
    }

    /// Whether the session has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Direct(session) => session.is_closed(),
            Self::Mix { session, .. } => session.is_closed(),
        }
    }

    pub(crate) async fn ask(&self, request: Request) -> Result<Answer, SessionError> {
        match self {
            Self::Direct(session) => session.ask(request).await,
            Self::Mix { session, .. } => session.ask(request).await,
        }
    }

    pub(crate) async fn upload(&self, request: Request) -> Result<Upload, SessionError> {
        match self {
            Self::Direct(session) => session.upload(request).await,
            Self::Mix { session, .. } => session.upload(request).await,
        }
    }

    /// Closes the session.
    pub async fn close(&self) {
        match self {
            Self::Direct(session) => session.close().await,
            Self::Mix { session, .. } => session.close().await,
        }
    }
}

/// The future of [`Connect::connect`].
pub type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Link, Error>> + Send + 'a>>;

/// Opens sessions with coordinators.
pub trait Connect: Send + Sync + 'static {
    /// Names of the coordinators that are known, in the order in which they are tried.
    fn coordinators(&self) -> Vec<Name>;

    /// Number of relays of the mix over which the sessions lead; 0 for direct ones.
    fn relays(&self) -> usize {
        0
    }

    /// Opens a session with this coordinator, or returns an open one. The name may be one that a refusal mentioned.
    fn connect(&self, coordinator: Name) -> Connecting<'_>;
}

/// Dials coordinators directly or over relays, with the identity of a node.
pub struct Direct {
    node: Arc<Node>,
    relays: Vec<Peer>,
    peers: Vec<Peer>,
}

impl Direct {
    /// Dials these coordinators.
    #[must_use]
    pub const fn new(node: Arc<Node>, coordinators: Vec<Peer>) -> Self {
        Self {
            node,
            relays: Vec::new(),
            peers: coordinators,
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
    fn coordinators(&self) -> Vec<Name> {
        self.peers.iter().map(Peer::name).collect()
    }

    fn connect(&self, coordinator: Name) -> Connecting<'_> {
        Box::pin(async move {
            let peer = self.peers.iter().find(|peer| peer.name() == coordinator);
            let peer = peer.ok_or(RelayError::Unknown(coordinator))?;
            let session = self.node.session_over(&self.relays, peer).await?;
            Ok(Link::Direct(session))
        })
    }
}

/// Reaches coordinators through the mix.
pub struct Mixed {
    client: Arc<MixClient>,
    relays: usize,
    coordinators: Vec<Name>,
}

impl Mixed {
    /// Reaches these coordinators through a client whose paths have so many relays.
    #[must_use]
    pub const fn new(client: Arc<MixClient>, relays: usize, coordinators: Vec<Name>) -> Self {
        Self {
            client,
            relays,
            coordinators,
        }
    }
}

impl Connect for Mixed {
    fn coordinators(&self) -> Vec<Name> {
        self.coordinators.clone()
    }

    fn relays(&self) -> usize {
        self.relays
    }

    fn connect(&self, coordinator: Name) -> Connecting<'_> {
        Box::pin(async move {
            let session = self.client.session(coordinator).await?;
            Ok(Link::Mix {
                session,
                relays: self.relays,
            })
        })
    }
}
