//! Causes shared by several errors.

use betanet_keys::Name;
use betanet_traffic::template::front::FrontError;

use super::Error;

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

/// The reason why the last seed that was asked gave no directory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeedFailure {
    /// No seed was reached.
    #[error("none was reached")]
    Unreached,
    /// The seed answered with an error status.
    #[error("{seed} answered {status}")]
    Status {
        /// The seed.
        seed: Name,
        /// The status.
        status: u16,
    },
    /// The seed sent more than the maximum size of a directory.
    #[error("longer than a directory")]
    Long,
    /// The seed did not answer in time.
    #[error("{0} did not answer in time")]
    Silent(Name),
    /// The session with the seed, or the exchange, failed.
    #[error(transparent)]
    Failed(Box<Error>),
}
