//! Nodes of a ledger over loopback sockets and SQLite: answers and their proofs, signers, restarts, failures, bounds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

mod all {
    mod evidence;
    mod failures;
    mod posting;
    mod remote;
    mod restart;
    mod serving;
    mod shared;
    mod signing;
    pub(crate) mod world;
}
