use std::pin::Pin;

use crate::{Entry, Error, Held, Record, Snapshot};

/// Maximum length of a part of a snapshot, in bytes.
pub const PART_MAX: usize = 1 << 20;
/// Maximum number of parts of a snapshot.
pub const PARTS_MAX: u32 = 1 << 16;
/// Duration of a lease from the begin of the last commit, in milliseconds. A leader answers nothing once it has passed.
pub const LEASE_MS: u64 = 10_000;
/// Default floor of free space, in bytes.
pub const FLOOR: u64 = 256 << 20;

/// Result of an operation, which is ready later.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// The parts of a snapshot that is restored, read one at a time.
pub type Parts = Box<dyn Iterator<Item = Result<Vec<u8>, Error>> + Send>;

/// A fenced journal, as one coordinator sees it.
///
/// The futures of this trait may be dropped at any time. An append whose future was dropped may still be committed.
pub trait Journal: Send + Sync {
    /// Begins a new epoch with this coordinator as its leader, unless another one holds the lease.
    ///
    /// The epoch rises by 1. All operations of earlier epochs fail from then on.
    ///
    /// # Errors
    ///
    /// The journal is damaged or cannot be reached.
    fn lead(&self) -> Answer<'_, Lead>;

    /// Appends records and renews the lease. Returns the index of the last record, once all are on disk.
    ///
    /// All of them are committed, with consecutive indexes, or none is. An append without records renews the lease alone.
    ///
    /// # Errors
    ///
    /// [`Error::EpochOver`], [`Error::DiskFloor`], [`Error::DiskFull`] and [`Error::Bounds`] have changed nothing.
    /// [`Error::Unknown`]: the records may stand or not, and this handle accepts nothing more in this epoch. A journal whose disk
    /// failed is [`Error::Closed`] from then on.
    fn append(&self, epoch: u64, records: Vec<Record>) -> Answer<'_, u64>;

    /// Ends this leader's lease, so that another coordinator need not wait for its end. The epoch goes on until another leads.
    ///
    /// # Errors
    ///
    /// [`Error::EpochOver`], or the journal cannot be reached.
    fn resign(&self, epoch: u64) -> Answer<'_, ()>;

    /// Reads records that follow the index `after`, in order. Returns none if `after` is the last index.
    ///
    /// Each record was checked. If one is damaged, the records before it are returned, and the next read names it.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] names the first record if it is damaged or missing. [`Error::Gone`], [`Error::Ahead`].
    fn read(&self, after: u64, batch: Batch) -> Answer<'_, Vec<Entry>>;

    /// Waits until the last index is above `after`, and returns it. Commits of other coordinators count too.
    ///
    /// # Errors
    ///
    /// The journal is damaged or cannot be reached.
    fn wait(&self, after: u64) -> Answer<'_, u64>;

    /// Saves a part of the snapshot of the state after record `at`. Part 0 discards an unfinished snapshot at that index, so a leader
    /// whose connection was cut begins anew with it.
    ///
    /// # Errors
    ///
    /// [`Error::Turn`] if the part does not follow the one before, or the snapshot is finished. Otherwise see
    /// [`Journal::append`]; [`Error::Gone`] and [`Error::Ahead`] if there is no record `at`.
    fn save(&self, epoch: u64, at: u64, part: u32, body: Vec<u8>) -> Answer<'_, ()>;

    /// Finishes a snapshot of `parts` parts, at least one. Only finished snapshots are listed and loaded.
    ///
    /// # Errors
    ///
    /// [`Error::Turn`] if another number of parts was saved. Otherwise see [`Journal::save`].
    fn finish(&self, epoch: u64, at: u64, parts: u32) -> Answer<'_, Snapshot>;

    /// Lists the snapshots, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] names a description that is damaged. Otherwise the journal cannot be reached.
    fn snapshots(&self) -> Answer<'_, Vec<Snapshot>>;

    /// Loads a part of a snapshot.
    ///
    /// # Errors
    ///
    /// [`Error::NoSnapshot`], also for a part that it does not have. [`Error::Damaged`] names a damaged part.
    fn load(&self, at: u64, part: u32) -> Answer<'_, Vec<u8>>;

    /// Replaces all records and snapshots by one snapshot, and begins a new epoch without a leader.
    ///
    /// Indexes go on at `snapshot.at.index` + 2^40, above every index that was given after the snapshot was saved. If the journal
    /// is beyond that already, they go on 2^40 above its last one. The epoch rises by at least 2^20.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] if another coordinator leads. [`Error::Damaged`] or an error of `parts` has changed nothing.
    fn restore(&self, snapshot: Snapshot, parts: Parts) -> Answer<'_, Restored>;

    /// Keeps the newest `keep` snapshots, at least one. Removes older ones, and the records up to the oldest one kept.
    ///
    /// # Errors
    ///
    /// [`Error::EpochOver`], or the journal cannot be reached.
    fn retain(&self, epoch: u64, keep: usize) -> Answer<'_, ()>;

    /// Returns measures of the journal.
    ///
    /// # Errors
    ///
    /// The journal is damaged or cannot be reached.
    fn facts(&self) -> Answer<'_, Facts>;
}

/// Result of an attempt to lead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lead {
    /// This coordinator leads.
    Leads(Term),
    /// Another one leads.
    Held(Held),
}

/// The start of a leader's epoch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Term {
    /// The new epoch.
    pub epoch: u64,
    /// Index of the last record.
    pub last: u64,
}

/// Bounds of one read. A read returns one record at least, whatever its length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Batch {
    /// Number of records, at most 4096.
    pub records: usize,
    /// Length of their bodies, in bytes, at most 16 MiB.
    pub bytes: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            records: 1024,
            bytes: 1 << 20,
        }
    }
}

impl Batch {
    /// Returns the bounds that apply: at least one record, at most the maxima.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self {
            records: self.records.clamp(1, crate::APPEND_RECORDS_MAX),
            bytes: self.bytes.min(crate::APPEND_BYTES_MAX),
        }
    }
}

/// Result of restoring a snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Restored {
    /// The new epoch, which has no leader yet.
    pub epoch: u64,
    /// Index under which the snapshot is kept. The next record has the index after it.
    pub at: u64,
}

/// Measures of a journal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// Version of the tables.
    pub version: u32,
    /// Present epoch.
    pub epoch: u64,
    /// Index after which records are kept.
    pub base: u64,
    /// Index of the last record.
    pub last: u64,
    /// Size on disk, in bytes.
    pub size: u64,
    /// Free space on the journal's disk, in bytes. `None` if the backend cannot tell.
    pub free: Option<u64>,
    /// Free space below which appends are refused, in bytes. `None` if the backend has no floor.
    pub floor: Option<u64>,
    /// The leader whose lease lasts. `None` if there is none, or if the backend has no leases.
    pub leader: Option<Held>,
}
