//! The coordinator of a fog: a deterministic machine that places tasks on nodes and records one result each.
//!
//! **Promises.** Durable state is the fold of the journal's records, and nothing else changes it: a replay, a follower and a restored
//! snapshot have the same [`Coordinator::hash`]. Nothing is said before the records that it follows from are committed, and nothing
//! from 10 s after the leader began its last commit. A refused request changes nothing. A copy is live under one fence and ends once;
//! a task ends once, and pays only for a canonical result or for the time that it ran. Every queue has a bound.
//!
//! **Below:** `fog` (records), a [`placer::Placer`]. **Above:** the coordinator's driver, with journal, sessions and clock.
//! **Source:** profile chapter 10 (`spec-vectors/PROFILE.md`).
//!
//! - [`Command`] is a request of a caller whose identity was verified. Its answer comes as [`Transmit::Answer`].
//! - [`Transmit::Append`] has the records of one call. The driver appends all or none, and gives [`Input::Committed`].
//! - A follower gets [`Input::Entry`] for each record. [`Input::Lead`] makes it the leader, [`Input::Deposed`] a follower.
//! - Beats, round-trip times and streams are no durable state. A new leader begins without them, and gives each node 300 s.
//! - A restored snapshot is [`Coordinator::restore`]. The journal goes on above every index that it gave before.
//!
//! Tasks that wait are grouped by all that their placement depends on. Where the first of a group does not fit, none of it is tried
//! before something changed. A task that does not fit holds up nobody. Once a big one has waited for 10 minutes behind small ones,
//! nodes are kept for it: tasks behind it in the queue are not placed there, for an hour at most. One in eight active nodes is kept
//! at most, and at least one. A leader keeps that outside of the journal, so a new one waits for what it finds.
//!
//! # Size
//!
//! `cargo run --release -p betanet-coordinator --example scale` prints these figures, in processor time of one core of a Xeon server:
//!
//! | | 10 000 nodes, 50 000 tasks | 100 000 nodes, 1 000 000 tasks |
//! |---|---|---|
//! | memory of a node, with its place in the scheduler | 2.1 kB | 1.9 kB |
//! | memory of a task, with all indexes | 2.0 kB | 1.9 kB, of which its row is 1.2 kB |
//! | tasks accepted and placed, without journal and signatures | 20 000 a second | 17 400 a second |
//! | snapshot | 0.11 s | 2.2 s, 814 MiB |
//! | restore | 0.89 s | 19 s |
//! | takeover: first record, everything looked at | 0.07 s, 0.13 s | 1.9 s, 3.2 s |
//!
//! Each task has a live copy. With 100 000 nodes it handles 301 000 beats a second, where at most 1 000 come. Records of nodes replay at
//! 27 700 a second. The process of the larger run had 4.4 GiB, of which its snapshot was a part. A leader says nothing while it makes one.
//!
//! Memory and restore bound one coordinator, beats and placement do not. Past about a million tasks, namespaces would be sharded, which
//! is not built: each namespace belongs to one cluster with a journal, an epoch and a leader of its own, by a table that operators
//! sign. Dependencies, quotas, jobs, credits and the groups of `spread` do not leave a namespace, so no request needs two shards. A
//! node joins several shards and describes a part of its capacity to each, so no shard can over-commit it. Prices and auctions are
//! those of a shard. Trust is earned in each shard anew.
//!
//! ```
//! use betanet_coordinator::{Coordinator, Input, Setup, Transmit};
//! use betanet_keys::Identity;
//! use betanet_machine::{Machine, Now, Seed, Time};
//!
//! let key = *Identity::from_seed(&[1; 32]).public(); // the coordinator's
//! let seed = Seed::new([2; 32]); // 32 random bytes
//! let placer = betanet_scheduler::Placer::new();
//! let mut coordinator = Coordinator::new(Setup::new(key), placer, &seed);
//!
//! // The journal is empty, and says that this coordinator leads.
//! let now = Now::new(Time::ZERO, 1_790_000_000_000);
//! coordinator.handle_input(now, Input::Lead { epoch: 1, last: 0 })?;
//! let Some(Transmit::Append { first: 1, records, .. }) = coordinator.poll_transmit() else { panic!() };
//! assert_eq!(records[0].kind, "leads");
//!
//! // Once its first record is committed, it serves.
//! assert!(!coordinator.leads());
//! coordinator.handle_input(now, Input::Committed { index: 1, began: now.mono })?;
//! assert!(coordinator.leads());
//! # Ok::<(), betanet_fog::Refusal>(())
//! ```
#![no_std]

extern crate alloc;

mod audit;
mod clock;
mod codec;
mod coordinator;
mod lead;
pub mod lease;
pub mod life;
pub mod placer;
mod rating;
mod record;
mod request;
mod seating;
mod setup;
mod state;
mod waiting;

pub use audit::Broken;
pub use codec::Damaged;
pub use coordinator::{Coordinator, LevelClaims, NamedBlobs};
pub use lead::{LEASE, RENEW};
pub use rating::{RATED_MAX, Rating, Ratings};
pub use record::{Change, Entry, Record};
pub use request::{
    Caller, Changed, Command, Event, Input, Item, JobPage, JobSummary, LastJob, Reply, Request,
    Transmit,
};
pub use setup::{Quota, Setup};
