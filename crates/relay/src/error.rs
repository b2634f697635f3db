//! Errors of a node's part of the mesh.

use betanet_keys::Name;
use betanet_session::ErrorKind;

/// Error of a mesh. [`Error::kind`] tells who can resolve it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A session failed, or the system has no randomness.
    #[error(transparent)]
    Session(#[from] betanet_session::Error),
    /// The node's state cannot be read or written.
    #[error(transparent)]
    State(#[from] betanet_store::Error),
    /// The network offers no path: too few relays are known and reached.
    #[error(
        "no path to {to} over {relays} relays: only {known} relays are known and reached so far"
    )]
    NoRelays {
        /// Destination of the path.
        to: Name,
        /// Number of requested relays.
        relays: usize,
        /// Number of relays that are known and reached.
        known: usize,
    },
    /// No reachable node of the network knows the peer.
    #[error("{0} is not known in the network, or not reached")]
    Unknown(Name),
}

impl Error {
    /// Returns the party that can resolve the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Session(error) => error.kind(),
            Self::State(_) => ErrorKind::Local,
            Self::NoRelays { .. } | Self::Unknown(_) => ErrorKind::Network,
        }
    }
}
