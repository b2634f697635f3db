//! Errors of the mix in a node.

mod causes;

use betanet_dial::FileError;
use betanet_keys::Name;
use betanet_mix::ClientError;
use betanet_session::{ErrorKind, ExchangeError};

use crate::DirectoryProblem;

pub use causes::SeedFailure;

/// Error of a node's parts in the mix, or of a client. [`Error::kind`] tells who can resolve it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A session failed, or an exchange on it.
    #[error(transparent)]
    Session(#[from] betanet_session::Error),
    /// A node cannot be dialled.
    #[error(transparent)]
    Dial(#[from] betanet_dial::Error),
    /// The mesh failed, or does not know a node.
    #[error(transparent)]
    Relay(#[from] betanet_relay::Error),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The node's state cannot be read or written.
    #[error(transparent)]
    State(#[from] betanet_store::Error),
    /// The network has no mix.
    #[error("the network {network} has no mix: its file has no [mix] part")]
    NoMix {
        /// Name of the network.
        network: String,
    },
    /// No directory of relays is available.
    #[error("no seed that was reached has a directory of relays for epoch {epoch}: {why}")]
    NoDirectory {
        /// Epoch of the directory.
        epoch: u32,
        /// The failure of the last seed that was asked.
        why: SeedFailure,
    },
    /// The directory is not used.
    #[error("the directory of relays is not used: {0}")]
    Directory(#[from] DirectoryProblem),
    /// The relays are not sufficient.
    #[error("no path through the mix: {0}")]
    Mix(#[from] ClientError),
    /// No relay of the epoch's directory can be used.
    #[error(
        "the mix of {network} has no relay that can be used in epoch {epoch}: its directory lists {listed}, which have drawn new keys \
         since or are not reached; the next epoch begins in {minutes} min"
    )]
    MixRests {
        /// Name of the network.
        network: String,
        /// The current epoch.
        epoch: u32,
        /// Number of relays in its directory.
        listed: usize,
        /// Minutes until the next epoch.
        minutes: u64,
    },
    /// The guard cannot be reached. No other guard is drawn for that reason: an attacker who blocks guards could otherwise choose
    /// one.
    #[error("the guard {guard} is not reached: {why}")]
    Guard {
        /// The guard relay.
        guard: Name,
        /// The error of connecting to it.
        why: Box<Self>,
    },
    /// The node takes no requests over the mix in this epoch.
    #[error("{0} takes no requests over the mix: its record has no Sphinx key for this epoch")]
    NotMixing(Name),
    /// The mix's replay memory would exceed its limit.
    #[error(
        "{rate} packets a second need {needed} MiB of replay memory, where {allowed} are allowed"
    )]
    ReplayMemory {
        /// Packets per second.
        rate: u32,
        /// Required memory in mebibytes.
        needed: usize,
        /// Allowed memory in mebibytes.
        allowed: usize,
    },
}

impl From<ExchangeError> for Error {
    fn from(error: ExchangeError) -> Self {
        Self::Session(error.into())
    }
}

impl Error {
    /// Returns the party that can resolve the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Session(error) => error.kind(),
            Self::Dial(error) => error.kind(),
            Self::Relay(error) => error.kind(),
            Self::Guard { why, .. } => why.kind(),
            Self::Mix(ClientError::Hops(_)) => ErrorKind::Request,
            Self::Mix(_) | Self::MixRests { .. } | Self::NoDirectory { .. } => ErrorKind::Network,
            Self::Directory(_) | Self::NotMixing(_) => ErrorKind::Peer,
            Self::File(_) | Self::State(_) | Self::NoMix { .. } | Self::ReplayMemory { .. } => {
                ErrorKind::Local
            }
        }
    }
}
