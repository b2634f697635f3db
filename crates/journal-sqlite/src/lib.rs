//! The fenced journal in a SQLite file of a state folder.
//!
//! **Promises.** [`SqliteJournal`] implements [`Journal`] by one file, `journal.sqlite`, which only its owner may read. An append
//! returns once its commit is synced to the disk. Concurrent appends are committed together. The state folder's lock keeps other
//! processes away; one that ignores the lock is fenced by the epoch.
//!
//! **Below:** `betanet-journal` (the port), `betanet-store` (the folder and its lock), SQLite. **Above:** the coordinator.
//!
//! - The database has a write-ahead log and `synchronous=FULL`: a commit is one write and one sync of the log. `NORMAL` would sync
//!   at checkpoints only, and lose acknowledged records with the machine's power.
//! - One thread writes, another reads. The futures wait for them under any executor.
//! - `journal.tip` has the index of the last commit. With it, a database whose end was lost or that is an old copy is refused by
//!   name. It has to be copied together with the database.
//! - It reads no clock: a stepped clock changes nothing.
//! - An append is refused while the disk has less free space than [`Settings::floor`] and the length of the log. Retention works
//!   below the floor.
//! - A commit whose sync failed closes the journal, since the disk's state is unknown then.
//!
//! `cargo run --release -p betanet-journal-sqlite --example sqlite_appends` measures appends, and raw transactions beside them.
//!
//! ```
//! use std::sync::Arc;
//!
//! use betanet_journal::{Batch, Journal, Kind, Lead, Record};
//! use betanet_journal_sqlite::{Settings, SqliteJournal};
//! use betanet_store::State;
//!
//! # let home = tempfile::tempdir()?;
//! # let folder = home.path().join("state");
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async {
//! let state = Arc::new(State::open(&folder)?);
//! let journal = SqliteJournal::open(&state, Settings::default())?;
//! let Lead::Leads(term) = journal.lead().await? else { panic!() };
//! let task = Record::new(Kind::new("accepted").unwrap(), b"a task");
//! assert_eq!(journal.append(term.epoch, vec![task.clone()]).await?, 1);
//!
//! drop(journal);
//! let again = SqliteJournal::open(&state, Settings::default())?;
//! assert_eq!(again.read(0, Batch::default()).await?[0].record, task);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod journal;
mod open;
mod reader;
mod sql;
mod tip;
mod writer;

#[cfg(doc)]
use betanet_journal::Journal;
pub use journal::SqliteJournal;
pub use open::Settings;
