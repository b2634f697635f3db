//! Serves a ledger of names, gossips it, and signs its heads.
//!
//! **Promises.** An answer about a final record has a proof under the newest head, which a reader checks with the signers' keys
//! alone ([`client`]). A submitted record is committed before it is answered, and waits until a head covers it. An online signer's
//! memory is committed before its signature leaves, so a crash makes it sign nothing twice. Evidence of two views outlasts a restart.
//!
//! **Below:** `naming` (ledger, signer, gossip), `durable`, `runtime`. **Above:** the binary `gateway`, and `betanet name`.
//! **Source:** profile chapter 6 (`spec-vectors/PROFILE.md`).
//!
//! - Requests have the prefix [`PREFIX`] and bodies in DET-CBOR ([`mod@body`]); streams are ALIAS_GOSSIP.
//! - Final records are kept in memory, about 500 bytes each, and in the journal.
//! - Signatures are verified on all processors before a record reaches the ordered state, each by itself.
//! - A proposer signs last: one whom nobody follows is bound to nothing.
//!
//! `cargo run --release -p betanet-naming-service --example sync` measures a node that takes a million records from another one.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use betanet_journal::MemoryStore;
//! use betanet_log::Signers;
//! use betanet_naming::Genesis;
//! use betanet_naming_service::{NameService, PREFIX, Settings};
//! use betanet_runtime::{Gateway, GatewayConfig, Network, load_or_new_identity};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Network::read("NETWORK.toml".as_ref())?;
//! let genesis = Genesis {
//!     signers: Signers::new(&network.signers)?,
//!     maintainers: network.maintainers.clone(),
//! };
//! let names = NameService::new(Settings::new(genesis))?;
//!
//! let config = GatewayConfig::in_state("./ledger");
//! let identity = load_or_new_identity(&config.node.key)?;
//! let gateway = Gateway::builder(identity.clone(), &config)
//!     .service(PREFIX, names.service())
//!     .stream_type(NameService::STREAMS, names.streams())
//!     .extension(names.extension())
//!     .start()
//!     .await?;
//! let journal = Arc::new(MemoryStore::new().open("one"));
//! let running = names.start(&identity, journal, |node| node).await?;
//! running.stop().await;
//! gateway.shutdown().await;
//! # Ok(()) }
//! ```

mod arithmetic;
mod bar;
pub mod body;
mod claim;
pub mod client;
mod error;
mod fault;
mod gossip;
mod http;
mod measures;
mod peers;
mod proposer;
mod rates;
mod round;
mod seeds;
mod service;
mod shared;
mod sign;
mod state;
mod trust;
mod turn;

pub use body::{Proposal, ProposalError};
pub use claim::{CLAIM_MAX, Claim, ClaimError};
pub use client::ClientError;
pub use error::Error;
pub use seeds::RegistrySeeds;
pub use service::{NameService, Running, Settings};

/// The path prefix of the service.
pub const PREFIX: &str = "/names/1";

/// Reads arbitrary bytes as each body, and as a claim.
#[cfg(any(test, feature = "testkit"))]
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    body::fuzz(data);
    let _ = Claim::from_bytes(data);
}
