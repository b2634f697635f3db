//! Failures of the transport.

use crate::AddressError;

/// Why the transport failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The node below.
    #[error(transparent)]
    Node(#[from] betanet_runtime::Error),
    /// The options.
    #[error("{0}")]
    Options(String),
    /// The session is over.
    #[error("the session is over")]
    Over,
}
