//! Serves a ledger of tokens, stake and votes, and signs its heads.
//!
//! **Promises.** A request's answer leaves once its record is committed, and is signed by the leader. A row of the state is served
//! with its proof under the final head, which a reader checks with the genesis alone ([`client`]). A head is signed by nodes that
//! replayed every record under it, and is final once enough of them have signed. A node that signs keeps what it signed on disk
//! before the signature leaves. Whoever has the journal can verify all of it, offline ([`mod@verify`]).
//!
//! **Below:** `tokenomics` (the machine), `log` (heads and proofs), `durable`, `runtime`. **Above:** the binary `coordinator`, and
//! `betanet token`, `stake`, `gov` and `ledger`. **Source:** profile chapter 11 (`spec-vectors/PROFILE.md`).
//!
//! - Requests have the prefix [`PREFIX`] and bodies in DET-CBOR ([`mod@body`]).
//! - One node leads: it takes requests, lets happen what is due, and proposes a head each minute or 1 000 records.
//! - The other signers follow: they fetch the leader's records, replay each with its signatures, and sign the head that these give.
//! - A signer that follows drops records that the leader does not have, unless they are final or it signed them.
//! - All records are kept in memory and in the journal, and the state twice: after all records, and under the final head.
//! - A snapshot has the rows under the final head, and counts only if their root is the head's.
//! - The leader posts one final head of each epoch to a network's ledger of names ([`mod@anchor`]). Maintainers sign the record: by keys
//!   of the leader, and of nodes that follow. A cut tail and a second view of the ledger contradict it.
//! - A saved ledger fills the empty journal of a node that goes on with it ([`EconomyService::restore`]).
//! - Services of other nodes read it over sessions, and send it requests, by [`Remote`].
//! - Other parts of the process read the state and send requests by [`Ledger`].
//!
//! `cargo run --release -p betanet-economy-service --example load` measures payments over sessions, each committed to SQLite before it is
//! answered. Built without full optimisation, on two cores that others used too, four clients had 513 requests a second of one payment
//! (99 % within 18 ms), and 401 a second of 64 payments (99 % within 20 ms).
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use betanet_economy_service::{EconomyService, PREFIX, Settings};
//! use betanet_journal::MemoryStore;
//! use betanet_runtime::{Gateway, GatewayConfig, load_or_new_identity};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = GatewayConfig::in_state("./ledger");
//! let identity = load_or_new_identity(&config.node.key)?;
//! let mut settings = Settings::new(std::fs::read("GENESIS")?);
//! settings.signers = vec![identity.clone()];
//! let economy = EconomyService::new(identity.clone(), settings)?;
//!
//! let gateway = Gateway::builder(identity, &config)
//!     .service(PREFIX, economy.service())
//!     .extension(economy.extension())
//!     .start()
//!     .await?;
//! let running = economy.start(Arc::new(MemoryStore::new().open("one"))).await?;
//! running.stop().await;
//! gateway.shutdown().await;
//! # Ok(()) }
//! ```

pub mod anchor;
mod bar;
pub mod body;
pub mod client;
mod error;
mod follow;
mod http;
mod lead;
mod local;
mod measures;
mod post;
mod posted;
mod rates;
pub mod remote;
mod restore;
pub mod rows;
mod service;
mod shared;
mod state;
pub mod verify;
mod view;
pub mod words;

pub use client::ClientError;
pub use error::Error;
pub use local::Ledger;
pub use post::Anchoring;
pub use remote::{Remote, RemoteError};
pub use service::{EconomyService, Running, Settings};
pub use verify::{Finding, Verified, Verifier, verify};
pub use view::View;

pub use betanet_durable::Unavailable;

/// The path prefix of the service.
pub const PREFIX: &str = "/economy/1";

/// Reads arbitrary bytes as each body, as rows, and as a journal.
#[cfg(any(test, feature = "testkit"))]
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    body::fuzz(data);
    rows::fuzz(data);
    // Whatever is found, it is found without a panic.
    let _ = verify(data, None, Vec::new());
}
