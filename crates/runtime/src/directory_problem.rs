//! What may be wrong with a directory of relays.

use betanet_keys::RegistryError;
use betanet_mix::DirectoryError;

/// Why a directory is not used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryProblem {
    /// Its envelope.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// What is in it.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Longer than a mebibyte.
    #[error("a directory of {0} bytes, where 1048576 are allowed")]
    Long(usize),
    /// Another one of its epoch counts as well: neither is used.
    #[error("two directories of epoch {0} are signed by the maintainers: neither is used")]
    Equivocation(u32),
    /// Of an epoch that is long over, or far ahead.
    #[error("a directory of epoch {epoch}, where {now} is the epoch of now")]
    Stale {
        /// Its epoch.
        epoch: u32,
        /// The epoch of now.
        now: u32,
    },
}
