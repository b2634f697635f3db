//! Mints, a redemption service and paid requests over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

mod all {
    mod accounts;
    mod admin;
    mod bounds;
    mod crash;
    mod issue;
    mod keygen;
    mod ledger;
    mod life;
    mod lost;
    mod paid;
    mod redeem;
    mod reports;
    pub(crate) mod world;
    mod wrong;
}
