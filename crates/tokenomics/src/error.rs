/// Reason why the machine was misused, or why a journal, a snapshot or a genesis is not one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The clock fell below the last record's time, or is 2^62 ms or more.
    #[error("time {now} after a record of time {last}")]
    Clock {
        /// The time that was given.
        now: u64,
        /// Time of the last record.
        last: u64,
    },
    /// The genesis does not read, or contradicts itself.
    #[error("not a genesis: {0}")]
    Genesis(&'static str),
    /// A journal's record does not read.
    #[error("record {0} does not read")]
    Record(u64),
    /// A journal's record has another number than its place.
    #[error("record {found} stands in place {place}")]
    Place {
        /// Number in the record.
        found: u64,
        /// Its place.
        place: u64,
    },
    /// A journal's record is refused on replay.
    #[error("record {record} is refused: {}", .code.name())]
    Refused {
        /// Number of the record.
        record: u64,
        /// The answer.
        code: crate::Code,
    },
    /// A snapshot's row does not read.
    #[error("a row of table {0} does not read")]
    Row(u8),
}

impl Error {
    /// A stable word for logs and metrics.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Clock { .. } => "clock",
            Self::Genesis(_) => "genesis",
            Self::Record(_) => "record",
            Self::Place { .. } => "place",
            Self::Refused { .. } => "refused",
            Self::Row(_) => "row",
        }
    }
}
