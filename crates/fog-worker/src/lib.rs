//! A node of the fog: takes copies of tasks, runs them in a sandbox, and returns signed receipts.
//!
//! **Promises.** A program runs as its task says, with the same seed and virtual clock on each node. Its module and inputs are verified
//! by digest before it starts. A receipt is on disk before it is sent, and there is one for each copy. A copy that ends or is stopped
//! leaves no file. The log of a copy never holds up its program. A restart runs the copies that are still live again, under the same
//! fences.
//!
//! **Below:** `fog-client` (leases, requests), `sandbox`, `blobs`, `host` (sensors), `harvest` (rules of idle computing). **Above:** the command line.
//! **Source:** profile chapter 10 (`spec-vectors/PROFILE.md`).
//!
//! - [`Service::open`] prepares a node in its state folder, and [`Service::run`] works until it is told to stop, and drains.
//! - [`Described`] and [`Measured`] become the description that the coordinator knows.
//! - [`Service::serve`] adds to a gateway how the node proves its privacy level, and its blobs for peers. Blobs and logs of a task above
//!   public travel over as many relays of the mix as its level has.
//! - [`Handle`] tells status and metrics.
//! - [`job`], [`output`] and [`output_blob`] are what a node makes of a task, for those who run it alone.
//!
//! ```no_run
//! # async fn example(fog: betanet_fog_client::FogClient, token: betanet_fog::Text) -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use betanet_fog_worker::{Described, Measured, Service, Settings};
//! use betanet_host::{Machine, Own, Root, Sensors};
//! use betanet_sandbox::ChildProgram;
//! use betanet_store::State;
//! use tokio_util::sync::CancellationToken;
//!
//! let state = Arc::new(State::open("worker".as_ref())?);
//! let settings = Settings {
//!     described: Described { org: "acme".parse()?, ..Described::default() },
//!     measured: Measured::from(&Machine::read(&Root::here(), "worker".as_ref())),
//!     child: ChildProgram::this()?, // its `main` asks `betanet_sandbox::is_child` first
//!     spare: 1,
//!     compiled_max: 1 << 30,
//!     blobs: Default::default(),
//!     peers: Default::default(), // asks the coordinators alone
//!     network: false,
//!     network_private: Vec::new(),
//!     harvest: None,
//!     drain: Duration::from_secs(30),
//!     mix: None, // and of the level public
//! };
//! let node = Service::open(&state, fog, settings).await?;
//! let sensors = Sensors::new(Root::here(), Own::this_process());
//! node.run(Some(token.into()), sensors, CancellationToken::new()).await?;
//! # Ok(()) }
//! ```

mod announce;
mod archive;
mod counters;
mod engine;
mod error;
mod fuzz;
mod holdings;
mod job;
mod logs;
mod membership;
mod peers;
pub mod programs;
mod receipts;
mod scratch;
mod service;
mod status;
mod usage;

pub use announce::{Described, Measured, UnknownDevice};
pub use counters::{Counters, Counts};
pub use error::Error;
#[doc(hidden)]
pub use fuzz::fuzz;
pub use job::{HOSTS, NoOutput, host, job, outcome, output, output_blob};
pub use peers::Peers;
pub use receipts::StoredReceipts;
pub use service::{Handle, Service, Settings};
