//! A fog whose tasks are paid from a ledger, in one process, stopped at each point between the two journals.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

mod crash;
mod credits;
mod holds;
mod kills;
mod several;
mod world;
mod wrong;
