//! The machine under the contract checker: known answers, dangers, and a simulated fleet.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::missing_panics_doc,
    unreachable_pub,
    missing_docs,
    reason = "a test stops where it is surprised"
)]

#[path = "all/asking.rs"]
mod asking;
#[path = "all/basics.rs"]
mod basics;
#[path = "all/checks.rs"]
mod checks;
#[path = "all/dangers.rs"]
mod dangers;
#[path = "all/fleet.rs"]
mod fleet;
#[path = "all/market.rs"]
mod market;
#[path = "all/naive.rs"]
mod naive;
#[path = "all/receipts.rs"]
mod receipts;
#[path = "all/sim.rs"]
mod sim;
#[path = "all/vectors.rs"]
mod vectors;
#[path = "all/views.rs"]
mod views;
#[path = "all/ways.rs"]
mod ways;
#[path = "all/world.rs"]
mod world;
