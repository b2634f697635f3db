//! A fog in a simulated world: coordinators over one fenced journal, workers that speak the protocol, users, and bad weather.
//!
//! [`World`] has a hand on every append, answer and clock, for tests of one behaviour. [`Storm`] runs a [`Scenario`] in it, and checks
//! the invariants after every step. Everything follows from a seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::missing_panics_doc,
    reason = "a simulated world stops where it is surprised"
)]

mod asking;
mod checks;
mod market;
mod model;
mod records;
mod scenario;
mod storm;
mod weather;
mod worker;
mod world;

pub use records::{UNIX_MS, amounts, caller, identity, ms, node_of, node_state, receipt, task_of};
pub use scenario::{Outcome, Scenario};
pub use storm::Storm;
pub use world::{Answer, Journal, Member, Stored, World};
