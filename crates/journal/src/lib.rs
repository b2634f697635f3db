//! The fenced journal of a coordinator: the port to it, its checksums, and a backend in memory.
//!
//! **Promises.** [`Journal::append`] commits all of its records or says that the epoch is over: the append of a deposed leader
//! changes nothing. [`Journal::lead`] begins a new epoch, which is 1 higher. A record that is torn, flipped or missing is named
//! by its index and never skipped. [`Journal::restore`] goes on 2^40 above the snapshot's index, so that no index is given twice.
//!
//! **Below:** nothing but a disk or a database, which a backend brings: `betanet-journal-sqlite`, `betanet-journal-postgres`, or
//! [`MemoryStore`]. **Above:** the coordinator's driver. **Source:** chapter 10 of the profile, "Leases" and "Takeover".
//!
//! - An index is a position within the whole journal, counted from 1. It rises by 1 with each record.
//! - Each record has a [`Sum`], chained to the record before it. [`Head`] has the epoch and the last index, with a checksum.
//! - A snapshot is a list of parts of at most 1 MiB. The leader saves one while it goes on appending.
//! - [`Journal::retain`] removes the records up to the oldest snapshot that it keeps.
//! - A lease lasts 10 s ([`LEASE_MS`]) from the begin of a commit. A backend that one process holds has no leases.
//!
//! The interface is asynchronous, because its caller serves a network while a disk syncs. It names no executor: the backends in
//! memory and of SQLite run under any. Concurrent appends are committed together.
//!
//! ```
//! use betanet_journal::{Batch, Error, Journal, Kind, Lead, MemoryStore, Record};
//!
//! # futures_util::future::FutureExt::now_or_never(async {
//! let store = MemoryStore::new();
//! let (a, b) = (store.open("a"), store.open("b"));
//! let Lead::Leads(first) = a.lead().await? else { panic!() };
//! let task = Record::new(Kind::new("accepted").unwrap(), b"a task");
//! assert_eq!(a.append(first.epoch, vec![task.clone()]).await?, 1);
//!
//! // Another coordinator leads once the lease of the first has ended.
//! assert!(matches!(b.lead().await?, Lead::Held(_)));
//! store.pass(10_000);
//! let Lead::Leads(second) = b.lead().await? else { panic!() };
//! let late = a.append(first.epoch, vec![task.clone()]).await;
//! assert!(matches!(late, Err(Error::EpochOver { epoch: 1, current: 2 })));
//! assert_eq!(b.append(second.epoch, vec![task]).await?, 2);
//! assert_eq!(a.read(0, Batch::default()).await?.len(), 2);
//! # Ok::<(), Error>(())
//! # }).unwrap()?;
//! # Ok::<(), Error>(())
//! ```
//!
//! With the feature `testkit`, `testkit` has the conformance suite that every backend passes.

mod chain;
mod error;
pub mod file;
pub mod frame;
mod memory;
mod port;
mod record;
#[cfg(feature = "testkit")]
pub mod testkit;
mod verify;

pub use chain::{
    Chain, Head, PartCheck, RESTORE_EPOCHS, RESTORE_INDEXES, Snapshot, Stored, Sum, digest,
};
pub use error::{Damage, Error, Failure, Held, Place};
pub use memory::{Faults, MemoryJournal, MemoryStore};
pub use port::{
    Answer, Batch, FLOOR, Facts, Journal, LEASE_MS, Lead, PART_MAX, PARTS_MAX, Parts, Restored,
    Term,
};
pub use record::{
    APPEND_BYTES_MAX, APPEND_RECORDS_MAX, Entry, Kind, NUMBER_MAX, RECORD_MAX, Record, check_bounds,
};
pub use verify::{Verified, verify};

/// Decodes arbitrary bytes as records and as a snapshot's file. What decodes must equal its encoding.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    frame::fuzz(bytes);
    file::fuzz(bytes);
}
