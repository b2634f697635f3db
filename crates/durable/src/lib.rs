//! Runs a deterministic state over a fenced journal.
//!
//! **Promises.** An answer leaves only after every record that it depends on is committed. A state that was cut off at any point is
//! rebuilt from the newest snapshot and the records after it. Of several processes with one journal, one leads; the others refuse
//! requests and take over when its lease ends.
//!
//! **Below:** `betanet-journal` (the port, and its backends). **Above:** the services of vouchers and names.
//!
//! - A [`State`] is a value without a clock or a disk. [`State::decide`] gets the time, changes the state and names its records.
//! - Requests that arrive while a commit is under way are decided together and share the next commit.
//! - The inbox holds [`INBOX_MAX`] requests. Whoever comes later waits, and is charged by its own session.
//! - A failed commit discards the state, which is then rebuilt. Requests without an answer get [`Unavailable`].
//!
//! ```
//! use std::sync::Arc;
//!
//! use betanet_durable::{Durable, Now, Settings, State, Unreadable};
//! use betanet_journal::{Kind, MemoryStore, Record};
//!
//! /// Adds numbers up.
//! #[derive(Default)]
//! struct Sum(u64);
//!
//! impl State for Sum {
//!     type Request = u8;
//!     type Answer = u64;
//!
//!     fn apply(&mut self, record: &Record) -> Result<(), Unreadable> {
//!         let [n] = record.body[..] else { return Err(Unreadable) };
//!         self.0 += u64::from(n);
//!         Ok(())
//!     }
//!
//!     fn decide(&mut self, _: Now, n: u8, records: &mut Vec<Record>) -> u64 {
//!         records.extend(Kind::new("add").map(|kind| Record::new(kind, [n])));
//!         self.0 += u64::from(n);
//!         self.0
//!     }
//!
//!     fn snapshot(&self) -> Vec<Vec<u8>> {
//!         vec![self.0.to_be_bytes().to_vec()]
//!     }
//!
//!     fn restore(&mut self, parts: Vec<Vec<u8>>) -> Result<(), Unreadable> {
//!         let bytes = parts.concat().try_into().map_err(|_| Unreadable)?;
//!         self.0 = u64::from_be_bytes(bytes);
//!         Ok(())
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let store = MemoryStore::new();
//! let open = || Durable::start(Arc::new(store.open("a")), Settings::default(), Sum::default);
//! let sum = open().await?;
//! assert_eq!(sum.handle().ask(2).await?, 2);
//! assert_eq!(sum.handle().ask(3).await?, 5);
//! sum.stop().await;
//!
//! let again = open().await?;
//! assert_eq!(again.handle().ask(1).await?, 6);
//! # again.stop().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod driver;
mod durable;
mod role;
mod state;

pub use betanet_machine::Now;
pub use durable::{Durable, Handle, INBOX_MAX, Unavailable};
pub use role::{Error, Role, Settings};
pub use state::{State, Unreadable};
