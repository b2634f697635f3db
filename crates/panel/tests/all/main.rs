//! A panel over a coordinator that runs, asked over real sockets.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops where it is surprised"
)]

mod fleet;
mod hostile;
mod jobs;
mod ledger;
mod lists;
mod outputs;
mod panel;
mod passkeys;
mod rights;
mod sources;
mod streams;
mod world;
