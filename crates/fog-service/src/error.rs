use betanet_coordinator::Damaged;
use betanet_journal::Error as JournalError;

/// The reason why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The journal is damaged or cannot be reached.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A snapshot is none of this version.
    #[error("the snapshot at {at}: {why}: restore another one, or run the version that saved it")]
    Snapshot {
        /// Index of the snapshot.
        at: u64,
        /// What is wrong.
        #[source]
        why: Damaged,
    },
    /// A record cannot be applied.
    #[error(
        "record {index} is none of this version: restore a snapshot, or run the version that wrote it"
    )]
    Record {
        /// Index of the record.
        index: u64,
    },
    /// The blob store cannot be used.
    #[error(transparent)]
    Blobs(#[from] betanet_blobs::Error),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Randomness,
    /// The system cannot start a thread.
    #[error("no thread can be started")]
    Thread(#[source] std::io::Error),
    /// It was started already.
    #[error("the coordinator was started already")]
    Started,
}
