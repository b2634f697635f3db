//! Tiers 0 to 3 of betanet in a library without `std`: for firmware, a kernel, or a host with an executor of its own.
//!
//! `cargo xtask no-std` checks it for a target that has no `std`. Time and randomness are arguments: [`begin`] takes both, and
//! nothing here reads a clock.
//!
//! A binary for such a target brings an allocator, and answers `getrandom` 0.2 (its macro `register_custom_getrandom`) with an
//! error: `ring` links that function, and no crate here calls it.
#![no_std]

pub use betanet_auth as auth;
pub use betanet_bar as bar;
pub use betanet_bls as bls;
pub use betanet_compat11 as compat11;
pub use betanet_coordinator as coordinator;
pub use betanet_fog as fog;
pub use betanet_harvest as harvest;
pub use betanet_hctr2 as hctr2;
pub use betanet_htx as htx;
pub use betanet_keys as keys;
pub use betanet_log as log;
pub use betanet_machine as machine;
pub use betanet_mesh as mesh;
pub use betanet_mix as mix;
pub use betanet_naming as naming;
pub use betanet_path as path;
pub use betanet_scheduler as scheduler;
pub use betanet_sim as sim;
pub use betanet_stack as stack;
pub use betanet_tokenomics as tokenomics;
pub use betanet_traffic as traffic;
pub use betanet_vouchers as vouchers;
pub use betanet_wire as wire;
pub use betanet_x25519_batch as x25519_batch;

use htx::{Config, Error, Secrets, Session};
use keys::{Identity, PublicKey};
use machine::{Now, Rng, Seed};

/// Begins a session as the client. The caller moves its bytes, tells it the time, and draws `seed` from a source that it trusts.
///
/// # Errors
///
/// The responder's key is useless.
pub fn begin(
    now: Now,
    seed: &Seed,
    identity: &Identity,
    responder: &PublicKey,
    exported: &[u8; 32],
) -> Result<Session, Error> {
    let secrets = Secrets::draw(&mut Rng::new(seed));
    let config = Config::default();
    Session::connect(now, config, identity, responder, exported, secrets)
}
