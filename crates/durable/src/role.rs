use betanet_journal::Error as JournalError;

/// When snapshots are taken and how many are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Number of records after which a snapshot is saved, at least 1.
    pub snapshot_every: u64,
    /// Number of snapshots that are kept, at least 1.
    pub snapshots: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            snapshot_every: 100_000,
            snapshots: 2,
        }
    }
}

/// The present part of a process in the life of a state.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Role {
    /// It reads its journal.
    Starting,
    /// It answers requests, in this epoch.
    Leads(u64),
    /// Another process leads: its name.
    Follows(Box<str>),
    /// Its journal takes nothing, for this reason. It tries again each second.
    Failed(Box<str>),
    /// It has stopped.
    Stopped,
}

/// A start that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The journal is damaged or cannot be reached.
    #[error("the journal cannot be read")]
    Journal(#[source] JournalError),
    /// A record is not of this version.
    #[error("record {index} of the journal is not of this version")]
    Record {
        /// Index of the record.
        index: u64,
    },
    /// A snapshot is not of this version.
    #[error("the snapshot at {at} is not of this version")]
    Snapshot {
        /// Index after which it was taken.
        at: u64,
    },
}
