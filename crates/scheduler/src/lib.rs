//! The fog's scheduler: which node gets which copy of a task, and what it costs.
//!
//! **Promises.** A decision is a pure function of what was put in: no clock, no randomness, no floating point. Resources are
//! reserved when a copy is placed, and no more than a node has. The cost of a decision hardly grows with the number of nodes.
//! A batch plan ([`batch`]) uses floating point, and proposes only.
//!
//! **Below:** `wire`, `keys`, `fog`. **Above:** coordinators.
//! **Source:** profile chapter 10 (`spec-vectors/PROFILE.md`).
//!
//! ```
//! use betanet_fog::{Amounts, Kind, Level, Placement, Resources, Strategy, TaskId, Tier, Word};
//! use betanet_scheduler::{NewCopy, NodeSpec, Placer, Request};
//! use betanet_wire::NodeId;
//!
//! let amounts = |cpu| Amounts { cpu, memory: 1 << 30, ..Amounts::default() };
//! let node = NodeSpec {
//!     id: NodeId([7; 20]),
//!     capacity: Resources::capacity(amounts(4_000))?,
//!     kind: Kind::Compute,
//!     model: Word::default(),
//!     org: "lab".parse()?,
//!     vouched: true,
//!     region: "eu".parse()?,
//!     zone: Word::default(),
//!     labels: Default::default(),
//!     level: Level::Public,
//!     price: 500_000,
//! };
//! let mut placer = Placer::new();
//! placer.put(&node);
//! placer.set_active(&node.id, true, true)?;
//! let resources = Resources::demand(amounts(3_000))?;
//! let request = Request {
//!     task: &TaskId([1; 32]),
//!     ns: "lab",
//!     group: "",
//!     tier: Tier::Bronze,
//!     prio: 5,
//!     level: Level::Public,
//!     strategy: Strategy::LeastLoaded,
//!     resources: &resources,
//!     wishes: &Placement::default(),
//!     blobs: &[],
//!     seed: &[0; 32],
//!     factor: placer.totals().factor(&resources),
//!     apart: &[],
//!     failed: &[],
//!     preempted: 0,
//!     reservation: None,
//! };
//! let now = 1_790_000_000_000;
//! let placed = placer.place(now, &request, &[NewCopy { number: 0, fence: 100 }])?;
//! assert_eq!(placed.map(|p| p.copies[0].node), Some(node.id));
//! // The second one is refused, and every node says why.
//! let why = placer.plan(now, &request, 1, 1)?.unwrap_err();
//! assert_eq!((why[0].0.as_str(), why[0].1), ("cpu_free", 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Measured
//!
//! `cargo run --release -p betanet-scheduler --example decide` on one core of an Intel Xeon (2 cores that others used too), 2026-11-29.
//! The fleet is about half full; one task in four asks for devices, one in four for a zone. Times are in µs. The third number of
//! a size is processor time for a decision and the end of a copy.
//!
//! | strategy | 10 000 nodes: median | p99 | with an end | 100 000 nodes: median | p99 | with an end |
//! |---|---|---|---|---|---|---|
//! | round_robin | 2.1 | 4.4 | 3.9 | 2.9 | 7.3 | 5.2 |
//! | least_loaded | 2.1 | 4.0 | 4.3 | 3.0 | 7.1 | 7.2 |
//! | affinity | 4.6 | 10.0 | 6.8 | 5.5 | 14.3 | 8.4 |
//! | proximity | 3.4 | 5.9 | 5.6 | 5.7 | 10.6 | 10.0 |
//! | privacy_aware | 2.4 | 16.7 | 6.1 | 5.6 | 38.4 | 13.8 |
//! | all in turn | 5.3 | 20.0 | 9.3 | 10.2 | 48.6 | 18.8 |
//!
//! A node with 16 round trips takes 2.2 KB while one order is kept, and about 0.1 KB for each order more. A live copy takes 0.25 KB.
//!
//! All tasks of the trace `openb` in the order of their creation, none of which ends, by `cargo xtask fog openb`:
//!
//! | rule | placed | refused | gpu demand placed | free gpu that an average task cannot use |
//! |---|---|---|---|---|
//! | round_robin | 8047 | 12 cpu_free, 5 cpu_total, 74 gpu_free, 14 gpu_total | 93.3 % | 95.2 % |
//! | least_loaded | 7938 | 15 cpu_free, 5 cpu_total, 181 gpu_free, 13 gpu_total | 91.4 % | 93.6 % |
//! | affinity | 7555 | 467 cpu_free, 130 gpu_free | 91.3 % | 99.7 % |
//! | proximity | 7938 | 15 cpu_free, 5 cpu_total, 181 gpu_free, 13 gpu_total | 91.4 % | 93.6 % |
//! | privacy_aware | 7572 | 158 cpu_free, 4 cpu_total, 413 gpu_free, 5 gpu_total | 89.1 % | 95.1 % |
//! | best fit, for comparison | 7674 | 478 no fit | 93.0 % | 99.6 % |
#![no_std]

extern crate alloc;

mod account;
mod answer;
mod attributes;
pub mod auction;
pub mod batch;
mod brake;
mod class;
mod could_hold;
pub mod credit;
mod drawn;
mod fit;
mod fleet;
mod groups;
mod held;
mod lots;
pub mod money;
mod near;
mod node;
mod ordered;
mod placer;
mod preempt;
mod query;
mod queue;
mod request;
mod restore;
mod seats;
mod select;
#[cfg(any(test, feature = "testkit"))]
#[doc(hidden)]
#[allow(clippy::unwrap_used, reason = "a model stops where it is surprised")]
pub mod testkit;
mod totals;
mod trust;
mod weights;

pub use answer::{AT_ONCE, Ended, Error, NewCopy, Placed, Placement, Usage, Why};
pub use brake::{Brake, brake};
pub use held::HELD_MAX;
pub use near::TRIPS_MAX;
pub use node::{COPIES_MAX, NodeSpec};
pub use placer::Placer;
pub use queue::Place;
pub use request::Request;
pub use restore::Standing;
pub use totals::{Totals, factor};
pub use trust::{TRUSTED, Trust};
