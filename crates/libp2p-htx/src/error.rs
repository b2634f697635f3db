//! Errors of the transport.

use crate::AddressError;

/// Why the transport failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is not usable.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The node below failed.
    #[error(transparent)]
    Node(#[from] betanet_runtime::Error),
    /// The options are invalid.
    #[error("{}", .0.to_string().replace('\n', "; "))]
    Options(betanet_runtime::Problems),
    /// The session has ended.
    #[error("the session is over")]
    Over,
}
