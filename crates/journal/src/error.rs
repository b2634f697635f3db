use std::fmt;

/// The reason why an operation on a journal failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another leader, or a restored snapshot, has ended the epoch. The operation has changed nothing.
    #[error("epoch {epoch} is over: epoch {current} has begun: follow the journal")]
    EpochOver {
        /// Epoch of the operation.
        epoch: u64,
        /// Present epoch.
        current: u64,
    },
    /// The connection or the disk failed during a commit, and the journal could not be asked whether it stands.
    ///
    /// Every later operation of this epoch by this handle fails too. The caller leads again and replays the journal.
    #[error(
        "the commit failed and its outcome is unknown: lead again, and replay the journal from the last known index"
    )]
    Unknown {
        /// The failure.
        #[source]
        source: Failure,
    },
    /// Another coordinator leads.
    #[error("another coordinator leads: {}", .0.name)]
    Held(Held),
    /// Something in the journal is damaged. The journal is left as it is.
    #[error("{place}: {why}: the journal is left as it is; restore a snapshot to go on")]
    Damaged {
        /// The damaged part.
        place: Place,
        /// Kind of the damage.
        why: Damage,
    },
    /// A newer program wrote the journal.
    #[error(
        "the journal has version {found}, and this program knows versions up to {known}: run a newer one"
    )]
    Newer {
        /// Version of the journal.
        found: u32,
        /// Newest version that this program knows.
        known: u32,
    },
    /// The records after this index are no longer there, or belong to a history that a restored snapshot has replaced.
    #[error(
        "no records directly after {after}: the journal begins after {base}: load the newest snapshot"
    )]
    Gone {
        /// Index after which was to be read.
        after: u64,
        /// Index after which the records begin.
        base: u64,
    },
    /// The index is beyond the last record.
    #[error("{after} is beyond the last record, {last}")]
    Ahead {
        /// Requested index.
        after: u64,
        /// Index of the last record.
        last: u64,
    },
    /// The disk has less free space than the floor. Nothing was changed.
    #[error(
        "the disk has {free} bytes free, and the journal accepts nothing below {floor}: free some, or lower the floor"
    )]
    DiskFloor {
        /// Free space, in bytes.
        free: u64,
        /// Configured floor, in bytes.
        floor: u64,
    },
    /// The disk is full. Nothing was changed.
    #[error("the disk is full: free some space")]
    DiskFull,
    /// A value exceeds its bound.
    #[error("{found} {what}: at most {most} are allowed")]
    Bounds {
        /// Unit of the value.
        what: &'static str,
        /// The value.
        found: u64,
        /// Its bound.
        most: u64,
    },
    /// A part of a snapshot was saved out of turn, or under an index that has one.
    #[error(
        "part {part} of the snapshot at {at} is out of turn: parts are saved in order, each once"
    )]
    Turn {
        /// Index of the snapshot.
        at: u64,
        /// The part.
        part: u32,
    },
    /// There is no such snapshot.
    #[error("there is no snapshot at {at}")]
    NoSnapshot {
        /// Requested index.
        at: u64,
    },
    /// A setting of the backend has no valid value.
    #[error("the setting {key}: {why}")]
    Settings {
        /// The setting.
        key: &'static str,
        /// The problem, and what is allowed.
        why: &'static str,
    },
    /// The highest index or epoch was reached.
    #[error("the journal has reached its highest index or epoch")]
    Exhausted,
    /// The journal was closed, or its disk failed during an earlier commit. It has to be opened again.
    #[error("the journal is closed: open it again")]
    Closed,
    /// The backend failed, and nothing was changed.
    #[error("cannot {action}")]
    Backend {
        /// The failed action.
        action: &'static str,
        /// The failure.
        #[source]
        source: Failure,
    },
}

/// A failure of a backend.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The coordinator that leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// Its name.
    pub name: Box<str>,
    /// Its epoch.
    pub epoch: u64,
    /// Time until its lease ends, in milliseconds.
    pub ends_in_ms: u64,
}

/// A part of a journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Place {
    /// The record of this index.
    Record(u64),
    /// A part of the snapshot at this index.
    Part {
        /// Index of the snapshot.
        at: u64,
        /// Number of the part, from 0.
        part: u32,
    },
    /// The description of the snapshot at this index.
    Snapshot(u64),
    /// The head, which holds the epoch, the last index and the version.
    Head,
    /// The second copy of the last index, in a file of its own.
    Tip,
    /// The journal as a whole: its tables cannot be read.
    Whole,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(index) => write!(f, "record {index}"),
            Self::Part { at, part } => write!(f, "part {part} of the snapshot at {at}"),
            Self::Snapshot(at) => write!(f, "the snapshot at {at}"),
            Self::Head => f.write_str("the journal's head"),
            Self::Tip => f.write_str("the journal's file of the last index"),
            Self::Whole => f.write_str("the journal"),
        }
    }
}

/// Kind of damage.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// It is missing, though later ones are there or it is known to have been committed.
    #[error("missing")]
    Missing,
    /// It does not match its checksum, which covers all records before it too.
    #[error("does not match its checksum")]
    Checksum,
    /// It ends early.
    #[error("truncated")]
    Truncated,
    /// It lacks commits that are known: the end of the storage was lost, or an old copy was put in place.
    #[error("older than what was committed")]
    Older,
    /// It cannot be parsed.
    #[error("does not parse")]
    Form,
}

impl Error {
    /// Creates the error of damage.
    #[must_use]
    pub const fn damaged(place: Place, why: Damage) -> Self {
        Self::Damaged { place, why }
    }

    /// Creates the error of a backend that failed to do `action` and has changed nothing.
    pub fn backend<E: Into<Failure>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Backend {
            action,
            source: source.into(),
        }
    }
}

/// A failure whose original another caller was given.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Copied(Box<str>);

impl Error {
    /// Returns this error for another caller, when one commit of several appends failed.
    #[must_use]
    pub fn for_another(&self) -> Self {
        let copied = |text: String| Box::new(Copied(text.into()));
        match self {
            Self::EpochOver { epoch, current } => Self::EpochOver {
                epoch: *epoch,
                current: *current,
            },
            Self::DiskFloor { free, floor } => Self::DiskFloor {
                free: *free,
                floor: *floor,
            },
            Self::DiskFull => Self::DiskFull,
            Self::Closed => Self::Closed,
            Self::Exhausted => Self::Exhausted,
            Self::Damaged { place, why } => Self::damaged(*place, *why),
            Self::Unknown { source } => Self::Unknown {
                source: copied(source.to_string()),
            },
            Self::Backend { action, source } => Self::Backend {
                action,
                source: copied(source.to_string()),
            },
            other => Self::Backend {
                action: "append to the journal",
                source: copied(other.to_string()),
            },
        }
    }
}
