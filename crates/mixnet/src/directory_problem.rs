//! Faults of a directory of relays.

use betanet_keys::RegistryError;
use betanet_mix::DirectoryError;

/// The reason why a directory is not used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryProblem {
    /// The envelope is invalid.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The content is invalid.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The directory is longer than a mebibyte.
    #[error("a directory of {0} bytes, where 1048576 are allowed")]
    Long(usize),
    /// Another valid directory exists for its epoch, so neither is used.
    #[error("two directories of epoch {0} are signed by the maintainers: neither is used")]
    Equivocation(u32),
    /// The directory's epoch is long over, or far ahead.
    #[error("a directory of epoch {epoch}, where {now} is the epoch of now")]
    Stale {
        /// Epoch of the directory.
        epoch: u32,
        /// The current epoch.
        now: u32,
    },
}
