//! Causes that several failures share.

use betanet_keys::Name;
use betanet_traffic::template::front::FrontError;

use super::Error;

/// Why a line of a file of front origins does not count.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrontProblem {
    /// It is not hex.
    #[error("not hex digits")]
    NotHex,
    /// The record, or its signatures.
    #[error(transparent)]
    Record(FrontError),
}

/// Why the last seed that was asked gave no directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeedFailure {
    /// None was reached.
    #[error("none was reached")]
    Unreached,
    /// It answered with another status.
    #[error("{seed} answered {status}")]
    Status {
        /// The seed.
        seed: Name,
        /// The status.
        status: u16,
    },
    /// It sent more than a directory may have.
    #[error("longer than a directory")]
    Long,
    /// It did not answer in time.
    #[error("{0} did not answer in time")]
    Silent(Name),
    /// The session with it, or the exchange, failed.
    #[error(transparent)]
    Failed(Box<Error>),
}
