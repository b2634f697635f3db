use betanet_wire::{Code, cbor};

/// Reason why a log, a proof or a head is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An index or a size beyond the log.
    #[error("index or size {asked} in a log of {size} records")]
    Range {
        /// The index or size.
        asked: u64,
        /// Number of records in the log.
        size: u64,
    },
    /// The store lacks a hash that it was given.
    #[error("the store lacks the hash at level {level}, index {index}")]
    Missing {
        /// Level; 0 is that of the records.
        level: u8,
        /// Index within the level.
        index: u64,
    },
    /// The store did not take a hash.
    #[error("the store did not take a hash")]
    Store,
    /// The bytes do not decode.
    #[error("it does not decode: {0}")]
    Form(#[from] cbor::Error),
    /// A snapshot of another version.
    #[error("a snapshot of version {0}, where 1 is known")]
    Version(u64),
    /// A snapshot whose hashes do not give its root.
    #[error("the snapshot's hashes do not give its root")]
    Root,
    /// More signatures, signers or hashes than the profile allows.
    #[error("{0} entries, where {1} are allowed")]
    TooMany(usize, usize),
    /// A list of signers without a key, or with one that is not valid or stands twice.
    #[error("not a list of distinct valid signers")]
    Signers,
    /// The head names another set of signers.
    #[error("the head names another set of signers")]
    Set,
    /// Too few signers signed the head.
    #[error("signed by {signed} of the signers, where {needed} are needed")]
    TooFew {
        /// Signers with a valid signature.
        signed: usize,
        /// Number of required signatures.
        needed: usize,
    },
    /// Evidence of a split view that shows none.
    #[error("the two heads do not contradict each other")]
    NoSplit,
}

impl Error {
    /// The wire code of this fault, where a peer caused it.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Form(_) | Self::TooMany(..) => Code::MALFORMED_FRAME,
            Self::Set | Self::TooFew { .. } | Self::Signers => Code::ALIAS_SIG_INVALID,
            Self::Missing { .. } | Self::Store => Code::INTERNAL_ERROR,
            Self::Range { .. } | Self::Version(_) | Self::Root | Self::NoSplit => {
                Code::POLICY_REJECTED
            }
        }
    }
}
