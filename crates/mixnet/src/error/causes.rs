//! Failures of seeds.

use betanet_keys::Name;

use super::Error;

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
