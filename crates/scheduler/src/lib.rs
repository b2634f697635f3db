//! The fog's scheduler: which node gets which copy of a task, and what it costs.
//!
//! **Promises.** A decision is a pure function of what was put in: no clock, no randomness, no floating point. Resources are
//! reserved when a copy is placed, and no more than a node has. The cost of a decision hardly grows with the number of nodes.
//!
//! **Below:** `wire`, `keys`, `fog`. **Above:** coordinators.
//! **Source:** profile chapter 10 (`spec-vectors/PROFILE.md`).
#![no_std]

extern crate alloc;

mod account;
mod adopt;
mod attributes;
pub mod auction;
mod brake;
mod class;
pub mod credit;
mod drawn;
mod fit;
mod fleet;
mod groups;
mod held;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod model;
pub mod money;
mod near;
mod node;
mod ordered;
mod placer;
mod preempt;
mod query;
mod queue;
mod request;
mod seats;
mod select;
mod totals;
mod trust;
mod weights;

pub use brake::{Brake, brake};
pub use held::HELD_MAX;
pub use near::TRIPS_MAX;
pub use node::{COPIES_MAX, NodeSpec};
pub use placer::{AT_ONCE, Ended, Error, NewCopy, Placed, Placement, Placer, Usage, Why};
pub use queue::Place;
pub use request::Request;
pub use totals::{Totals, factor};
pub use trust::{TRUSTED, Trust};
