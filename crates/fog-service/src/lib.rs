//! Runs a fog coordinator: drives its machine over a journal, and serves its requests over BAR and at the admin address.
//!
//! **Promises.** The machine has one thread; a request's answer leaves once its records are committed, and never after the lease
//! that covers it. Records that arise during a commit go into the next one together. A leader whose commit fails follows the
//! journal again. Both faces serve the same routes with the same checks; bodies, streams and queues are bounded. A node has a level
//! above public only while its answer over as many relays of the mix is at most a day old ([`Coordinator::prove_levels`]). With an
//! [`Escrow`], tasks and bids are taken only with money behind them, and the journal keeps what their settlement needs.
//!
//! **Below:** `coordinator` (the machine), `journal` (a port that a program fills), `blobs`, `runtime`. **Above:** the binary
//! `coordinator`. **Source:** profile chapter 10 (`spec-vectors/PROFILE.md`).
//!
//! `cargo run --release -p betanet-fog-service --example load sockets sqlite` measures tasks from acceptance to the result, each step
//! committed before it is answered. On two cores that users, nodes and coordinator shared with other work, it printed 8 100 tasks a
//! second without sockets and 3 300 with them, at 0.6 ms of processor time a task.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use betanet_fog_service::{Coordinator, Settings, Stores};
//! use betanet_journal::MemoryStore;
//! use betanet_runtime::{Gateway, GatewayConfig, load_or_new_identity};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = GatewayConfig::in_state("./coordinator");
//! let identity = load_or_new_identity(&config.node.key)?;
//! let settings = Settings {
//!     operators: vec![*identity.public()],
//!     ..Settings::default()
//! };
//! let state = Arc::new(betanet_store::State::open("./coordinator".as_ref())?);
//! let stores = Stores::open(&state, 1 << 30).await?;
//! let coordinator = Coordinator::new(identity.clone(), settings, stores);
//! let gateway = Gateway::builder(identity, &config)
//!     .with_storage(state)
//!     .service(betanet_fog_service::PREFIX, coordinator.service())
//!     .extension(coordinator.extension())
//!     .start()
//!     .await?;
//!
//! // The address goes into join tokens, and to those who ask a follower.
//! let peer = gateway.listening().peer();
//! let journal = Arc::new(MemoryStore::new().open("one"));
//! let running = coordinator.start(&peer, journal).await?;
//! running.stop().await;
//! gateway.shutdown().await;
//! # Ok(()) }
//! ```

mod api;
mod bar;
mod driver;
mod error;
mod escrow;
mod handle;
mod http;
mod keys;
mod levels;
mod local;
mod measures;
mod openapi;
mod places;
mod room;
mod service;
mod settings;
mod together;

pub use error::Error;
pub use escrow::{Claim, Covered, Escrow, Purpose, Released, Untold};
pub use handle::{Handle, Role, Saved};
pub use levels::MixWays;
pub use local::{BlobParts, Local};
pub use service::{Coordinator, Running, Stores};
pub use settings::{Namespace, Settings};

pub use betanet_blobs::{Place as BlobPlace, PlaceError as BlobPlaceError};
pub use betanet_coordinator::Quota;

/// The path prefix of the service.
pub const PREFIX: &str = api::route::PREFIX;
