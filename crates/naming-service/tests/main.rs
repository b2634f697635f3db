//! Ledger nodes over loopback sockets: signing, gossip, evidence, restarts, refusals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

mod all {
    mod admin;
    mod codes;
    mod gossip;
    mod registries;
    mod restart;
    mod signing;
    mod turnover;
    pub(crate) mod world;
    mod wrong;
}
