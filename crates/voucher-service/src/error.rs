use std::path::PathBuf;

use betanet_runtime::FileError;
use betanet_vouchers::{KeysetError, KeysetId};

/// Reason why a service does not start, or a folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The journal cannot be read.
    #[error(transparent)]
    Durable(#[from] betanet_durable::Error),
    /// It was started already.
    #[error("the service was started already")]
    Started,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Randomness,
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file holds no good keyset.
    #[error("{}: {why}", path.display())]
    KeysetFile {
        /// The file.
        path: PathBuf,
        /// The rule that it breaks.
        #[source]
        why: KeysetError,
    },
    /// A file's content is of another form.
    #[error("{}: {why}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// A keyset cannot stand beside the others.
    #[error("keyset {id}: {why}")]
    Keyset {
        /// The keyset.
        id: KeysetId,
        /// The rule that it breaks.
        #[source]
        why: KeysetError,
    },
    /// The shares are not of the keyset, or of several mints.
    #[error("the shares of keyset {0} are not all of one mint of it")]
    Shares(KeysetId),
    /// Two keysets of one unit would be active at the same time.
    #[error("keysets {0} and {1} have the same unit and are active at the same time")]
    Overlap(KeysetId, KeysetId),
    /// The node neither signs nor redeems under a keyset.
    #[error("this node has no share of keyset {0}, and another key is its spender's")]
    NoRole(KeysetId),
    /// So few shares sign together that two requests with one coupon find enough mints each.
    #[error(
        "{t} of the {n} mints of keyset {keyset} sign together: for coupons more than half must"
    )]
    Threshold {
        /// The keyset.
        keyset: KeysetId,
        /// Shares that sign together.
        t: u8,
        /// All shares.
        n: u8,
    },
    /// The keys cannot be made, or the shares refreshed.
    #[error(transparent)]
    Keygen(#[from] crate::keygen_error::KeygenError),
    /// Not n / 2 < t ≤ n ≤ 255, or an exponent above 40, or none.
    #[error("a keyset has n/2 < t <= n <= 255 and exponents up to 40, each once")]
    Deal,
}
