//! Errors of dialling, and of this machine's files.

use std::io;
use std::path::{Path, PathBuf};

use betanet_keys::Name;
use betanet_session::ErrorKind;
use betanet_traffic::template::front::FrontError;
use betanet_wire::text::hex;

/// Error of a node that dials. [`Error::kind`] tells who can resolve it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The session failed, or an exchange on it.
    #[error(transparent)]
    Session(#[from] betanet_session::Error),
    /// The outer connection failed at the last address that was tried.
    #[error("{address}: {source}")]
    Outer {
        /// The address.
        address: String,
        /// The carrier's error.
        source: betanet_carrier::Error,
    },
    /// The peer has no address that can be dialled.
    #[error("the peer has no address")]
    NoAddress,
    /// Only QUIC may be dialled, and the peer has no QUIC address.
    #[error("the peer has no QUIC address: none of its addresses begins with quic:")]
    NoQuic,
    /// The peer is not dialled yet, after repeated failures.
    #[error("the peer failed repeatedly and is not dialled again for {0} s")]
    Resting(u64),
    /// The nodes do not form a valid path.
    #[error("no path can be built: {0}")]
    Path(betanet_path::BuildError),
    /// A hop of the path ended it, with a signed error.
    #[error("{by} says that the path ended: {why}")]
    PathEnded {
        /// The hop.
        by: Name,
        /// The reason that the hop gave.
        why: betanet_path::Failure,
    },
    /// The fingerprint for dialling cannot be set up.
    #[error("TLS with a browser's shape cannot be set up")]
    Fingerprint(#[source] betanet_carrier::Error),
    /// The profile EXTENDED does not allow this template.
    #[error(
        "L2_ORIGIN_MISMATCH: the template {} {why}, and the profile is EXTENDED",
        hex(template)
    )]
    OriginMismatch {
        /// TemplateID; zeros for none.
        template: [u8; 32],
        /// Status of the template.
        why: &'static str,
    },
    /// A front origin's record is invalid.
    #[error("{}:{line}: {why}", path.display())]
    Front {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The reason.
        why: FrontProblem,
    },
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The node's state cannot be read or written.
    #[error(transparent)]
    State(#[from] betanet_store::Error),
    /// The address book is invalid.
    #[error("{}: line does not read: {why}", path.display())]
    Book {
        /// The file.
        path: PathBuf,
        /// The fault.
        why: crate::TomlError,
    },
}

impl Error {
    /// Returns the party that can resolve the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Session(error) => error.kind(),
            Self::Outer { source, .. } => source.into(),
            Self::NoAddress | Self::NoQuic | Self::Path(_) => ErrorKind::Request,
            Self::Resting(_) | Self::PathEnded { .. } => ErrorKind::Network,
            Self::Fingerprint(_)
            | Self::OriginMismatch { .. }
            | Self::Front { .. }
            | Self::File(_)
            | Self::State(_)
            | Self::Book { .. } => ErrorKind::Local,
        }
    }

    /// Returns whether this side's files or settings are at fault, rather than the peer or the network.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.kind() == ErrorKind::Local
    }

    /// Returns whether the carrier failed, so that another carrier may succeed.
    pub(crate) fn is_of_the_way(&self) -> bool {
        matches!(self, Self::Outer { source, .. } if ErrorKind::from(source) == ErrorKind::Network)
    }
}

/// Error of a file of this machine, whose operator can resolve it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A key file holds no key, or other users may read it.
    #[error("{}: {why}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The fault.
        why: &'static str,
    },
}

impl FileError {
    /// Adds a file's path to an error of the system.
    pub fn io(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            path: path.clone(),
            source,
        }
    }
}

/// The reason why a line of a file of front origins is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrontProblem {
    /// The line is not hex.
    #[error("not hex digits")]
    NotHex,
    /// The record or its signatures are invalid.
    #[error(transparent)]
    Record(FrontError),
}
