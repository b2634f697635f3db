//! Errors of a node. Those of the crates below are wrapped, and each failure has one place whichever crate met it.

use std::path::PathBuf;

use betanet_dial::{Error as DialError, FileError, NetworkError};
use betanet_legacy::Error as LegacyError;
use betanet_mixnet::Error as MixnetError;
use betanet_relay::Error as RelayError;
use betanet_session::{Error as SessionError, ErrorKind, ExchangeError};

/// Error of an operation of a node. [`Error::kind`] tells who can resolve it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A session failed, or an exchange on it.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A peer cannot be dialled.
    #[error(transparent)]
    Dial(DialError),
    /// The mesh does not know a peer, or has no path to it.
    #[error(transparent)]
    Relay(RelayError),
    /// The mix cannot be used.
    #[error(transparent)]
    Mixnet(MixnetError),
    /// A leg of version 1.1 failed.
    #[error(transparent)]
    Legacy(LegacyError),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The node's state cannot be read or written.
    #[error(transparent)]
    State(#[from] betanet_store::Error),
    /// The network's file is invalid.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A secret is in a folder that is served to others.
    #[error(
        "{key} = {:?} lies in the folder of {by}, {:?}, where others could fetch it: move it, or serve another folder",
        file.display().to_string(),
        folder.display().to_string()
    )]
    Exposed {
        /// The setting that names the secret.
        key: &'static str,
        /// The secret's file.
        file: PathBuf,
        /// The setting that names the folder.
        by: &'static str,
        /// The folder.
        folder: PathBuf,
    },
    /// A listener cannot be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// More connections are configured than the limit of open files allows.
    #[error(
        "max_connections = {wanted} is more than the limit of {limit} open files allows: set it to at most {fits}, or raise the limit (LimitNOFILE=, ulimit -n)"
    )]
    Descriptors {
        /// Configured number of connections.
        wanted: usize,
        /// Maximum number of open files of the process.
        limit: usize,
        /// Number of connections that the limit allows.
        fits: usize,
    },
    /// The certificate cannot be used.
    #[error("the certificate: {0}")]
    Certificate(#[source] betanet_carrier::Error),
}

impl From<ExchangeError> for Error {
    fn from(error: ExchangeError) -> Self {
        Self::Session(error.into())
    }
}

impl From<DialError> for Error {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Session(error) => Self::Session(error),
            DialError::File(error) => Self::File(error),
            DialError::State(error) => Self::State(error),
            error => Self::Dial(error),
        }
    }
}

impl From<RelayError> for Error {
    fn from(error: RelayError) -> Self {
        match error {
            RelayError::Session(error) => Self::Session(error),
            RelayError::State(error) => Self::State(error),
            error => Self::Relay(error),
        }
    }
}

impl From<MixnetError> for Error {
    fn from(error: MixnetError) -> Self {
        match error {
            MixnetError::Session(error) => Self::Session(error),
            MixnetError::Dial(error) => error.into(),
            MixnetError::Relay(error) => error.into(),
            MixnetError::File(error) => Self::File(error),
            MixnetError::State(error) => Self::State(error),
            error => Self::Mixnet(error),
        }
    }
}

impl From<LegacyError> for Error {
    fn from(error: LegacyError) -> Self {
        match error {
            LegacyError::Session(error) => Self::Session(error),
            LegacyError::Dial(error) => error.into(),
            LegacyError::File(error) => Self::File(error),
            LegacyError::State(error) => Self::State(error),
            error => Self::Legacy(error),
        }
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
            Self::Mixnet(error) => error.kind(),
            Self::Legacy(error) => error.kind(),
            Self::File(_)
            | Self::State(_)
            | Self::Network(_)
            | Self::Exposed { .. }
            | Self::Listen { .. }
            | Self::Descriptors { .. }
            | Self::Certificate(_) => ErrorKind::Local,
        }
    }

    /// Returns whether this side's files or settings are at fault, rather than the peer or the network.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.kind() == ErrorKind::Local
    }
}

#[cfg(test)]
mod tests {
    use betanet_carrier::Error as CarrierError;
    use betanet_htx::By;
    use betanet_keys::Name;
    use betanet_mix::ClientError;
    use betanet_wire::{Code, NodeId};

    use super::*;

    fn outer(source: CarrierError) -> DialError {
        let address = "node.example:443".into();
        DialError::Outer { address, source }
    }

    #[test]
    fn whoever_can_do_something_is_named() {
        let session = |by| SessionError::Session {
            code: Code::OK,
            reason: String::new(),
            by,
        };
        let guard = |why| MixnetError::Guard {
            guard: Name::from(NodeId([1; 20])),
            why: Box::new(why),
        };
        let full = betanet_stack::Error::Session(betanet_htx::Error::Full);
        let cases: [(Error, ErrorKind); 11] = [
            (outer(CarrierError::Late).into(), ErrorKind::Network),
            (outer(CarrierError::Pin).into(), ErrorKind::Peer),
            (session(By::Cut).into(), ErrorKind::Network),
            (session(By::Peer).into(), ErrorKind::Peer),
            (guard(session(By::Cut).into()).into(), ErrorKind::Network),
            (guard(SessionError::Entropy.into()).into(), ErrorKind::Local),
            (
                MixnetError::Mix(ClientError::Hops(8)).into(),
                ErrorKind::Request,
            ),
            (
                MixnetError::Mix(ClientError::NoGuard).into(),
                ErrorKind::Network,
            ),
            (DialError::NoQuic.into(), ErrorKind::Request),
            (SessionError::Entropy.into(), ErrorKind::Local),
            (SessionError::Request(full).into(), ErrorKind::Network),
        ];
        for (error, kind) in cases {
            assert_eq!(error.kind(), kind, "{error:?}");
            assert_eq!(error.is_local(), kind == ErrorKind::Local, "{error:?}");
        }
    }

    #[test]
    fn a_failure_has_one_place_whichever_crate_met_it() {
        let met = [
            Error::from(DialError::NoAddress),
            MixnetError::from(DialError::NoAddress).into(),
            LegacyError::from(DialError::NoAddress).into(),
        ];
        for error in met {
            assert!(
                matches!(error, Error::Dial(DialError::NoAddress)),
                "{error:?}"
            );
        }
        let nested = RelayError::Session(SessionError::Entropy);
        let error = Error::from(MixnetError::from(nested));
        assert!(
            matches!(error, Error::Session(SessionError::Entropy)),
            "{error:?}"
        );
    }
}
