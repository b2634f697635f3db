//! Errors of legs of version 1.1.

use betanet_dial::FileError;
use betanet_keys::Name;
use betanet_session::ErrorKind;

/// Error of a translator. [`Error::kind`] tells who can resolve it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A session failed, or the system has no randomness.
    #[error(transparent)]
    Session(#[from] betanet_session::Error),
    /// The other end of a leg cannot be dialled.
    #[error(transparent)]
    Dial(#[from] betanet_dial::Error),
    /// A client of 1.1 asked for a path that is refused.
    #[error("a client of 1.1 asks for a path that is not taken: {node} {why}")]
    Path11 {
        /// The node that causes the refusal.
        node: Name,
        /// The reason.
        why: &'static str,
    },
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The node's state cannot be read or written.
    #[error(transparent)]
    State(#[from] betanet_store::Error),
}

impl Error {
    /// Returns the party that can resolve the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Session(error) => error.kind(),
            Self::Dial(error) => error.kind(),
            Self::Path11 { .. } => ErrorKind::Peer,
            Self::File(_) | Self::State(_) => ErrorKind::Local,
        }
    }
}
