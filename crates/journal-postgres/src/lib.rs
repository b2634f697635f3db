//! The fenced journal in PostgreSQL: one coordinator leads, the others follow and take over.
//!
//! **Promises.** [`PostgresJournal`] implements [`Journal`] by the tables of one schema. Each append is fenced by the epoch in the
//! same transaction: once another coordinator leads, nothing of an earlier leader is committed. A leader's lease ends by the
//! database's clock, and each append renews it. If a connection is cut during a commit, the next one asks whether it stands.
//!
//! **Below:** `betanet-journal` (the port), PostgreSQL 13 or later. **Above:** the coordinator, on tokio.
//!
//! - The row of the table `head` has the epoch, the last index, the lease's end and the leader's `claim`. An append is one
//!   statement that updates this row if epoch and claim are its own, and inserts the records. It locks the row, so two leaders
//!   never write at once.
//! - After a cut connection the leader raises its claim, which waits for the old statement or makes it fail. Then the last index
//!   says whether the append stands; if not, it is sent again. Without an answer until the lease's end the outcome is
//!   [`Error::Unknown`].
//! - Followers hear of commits by `LISTEN`, and look each second in case that a notification was lost.
//! - A follower takes over when the lease has ended by `clock_timestamp()`. If the database's clock is stepped back, it takes over
//!   once the lease was not renewed for its duration by the follower's own clock.
//! - Concurrent appends are committed together. `synchronous_commit = off` is switched on.
//! - There is no disk floor, since a client cannot ask PostgreSQL for the free space of its disks. A full disk of the tables
//!   refuses an append as [`Error::DiskFull`], and nothing stands. A full disk of the server's own log (`pg_wal`) stops the server,
//!   and the append ends as after a cut connection. The operator watches the server's disks. `Facts::size` is the size of the tables.
//! - A connection to another machine needs `sslmode=require`, which verifies the server's certificate.
//!
//! ```no_run
//! use betanet_journal::{Journal, Kind, Lead, Record};
//! use betanet_journal_postgres::{PostgresJournal, Settings};
//!
//! # async fn run() -> Result<(), betanet_journal::Error> {
//! let url = "postgres://fog@db.example/fog?sslmode=require";
//! let journal = PostgresJournal::open(Settings::new(url)?).await?;
//! if let Lead::Leads(term) = journal.lead().await? {
//!     let task = Record::new(Kind::new("accepted").unwrap(), b"a task");
//!     journal.append(term.epoch, vec![task]).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `cargo run --release -p betanet-journal-postgres --features testkit --example postgres_appends` measures appends in a cluster of
//! its own, and raw statements beside them.
//!
//! With the feature `testkit`, `testkit` starts a cluster of a test's own.

mod commit;
mod journal;
mod link;
mod query;
mod reader;
mod schema;
mod settings;
mod snapshots;
#[cfg(feature = "testkit")]
pub mod testkit;
mod tls;
mod writer;

#[cfg(doc)]
use betanet_journal::{Error, Journal};
pub use journal::PostgresJournal;
pub use settings::Settings;
