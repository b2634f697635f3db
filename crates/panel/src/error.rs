use betanet_journal::Error as JournalError;
use betanet_store::Error as StoreError;

/// The reason why a panel does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The journal of accounts cannot be used.
    #[error("the journal of the panel cannot be used")]
    Journal(#[source] JournalError),
    /// Another process has the journal.
    #[error("another process holds the journal of the panel")]
    Held,
    /// A record is not of this version.
    #[error("record {0} of the panel's journal is not of this version")]
    Record(u64),
    /// The job files that the panel keeps cannot be read.
    #[error("the job files that the panel keeps cannot be read")]
    Files(#[source] StoreError),
    /// The panel's address cannot be served.
    #[error("the panel's address cannot be served")]
    Listen(#[source] std::io::Error),
    /// The threads of password checks do not start.
    #[error("the threads that check passwords do not start")]
    Threads(#[source] std::io::Error),
    /// The name of the site cannot be the issuer of access tokens.
    #[error(
        "the name of the panel's host is longer than 100 characters, or has characters that no host has"
    )]
    Host,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Randomness,
}

/// The state cannot be changed now: its journal takes nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the journal of the panel takes nothing now; try again later")]
pub(crate) struct Unavailable;
