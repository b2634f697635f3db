//! Money under SIGKILL: gateways with a mint, and wallets, that are killed at random moments and started again. And what such a mint
//! learns: whether it can tell whose voucher is spent.
//!
//! The tests run in a short form. `cargo xtask money` runs them in full, by the variables `BETANET_MONEY_OPERATIONS`,
//! `BETANET_MONEY_POINTS`, `BETANET_MONEY_VOUCHERS` and `BETANET_MONEY_SEED`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "a test stops where it is surprised, may look at the clock, and draws small numbers"
)]

#[path = "money/clients.rs"]
mod clients;
#[path = "money/service.rs"]
mod service;
#[path = "money/shop.rs"]
mod shop;
#[path = "money/unlinkable.rs"]
mod unlinkable;
#[path = "money/wallets.rs"]
mod wallets;

const BETANET: &str = env!("CARGO_BIN_EXE_betanet");

/// A size of the run, from the environment or in its short form.
fn size(name: &str, short: u64) -> u64 {
    let given = std::env::var(format!("BETANET_MONEY_{name}"));
    given.map_or(short, |text| text.parse().unwrap())
}
