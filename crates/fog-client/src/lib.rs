//! The fog for its users and nodes: typed requests to coordinators, and a node's side of its leases.
//!
//! **Promises.** A request goes to the coordinator that leads: answers that name another one are followed, and coordinators that do
//! not answer are passed over, both within bounds. A refusal carries its code, and text that says what would have been allowed. Over
//! the mix, each request proves its caller. Tasks above the level public never leave over too few relays. Received lengths are bounded.
//!
//! **Below:** `runtime` (sessions), `fog` (records and bodies). **Above:** the command line, workers, programs that use the fog.
//! **Source:** profile chapter 10 (`spec-vectors/PROFILE.md`).
//!
//! - [`FogClient`] has a method for each request. [`Items`] reads streams, and continues where one was cut.
//! - [`Sources`] fetches a blob from whoever has it, and goes on where a download was cut. `BlobService`, with the cargo feature
//!   `serve`, gives a node's blobs to its peers.
//! - [`Connect`] opens sessions: [`Direct`] dials, [`Mixed`] uses a client of the mix.
//! - [`node::NodeSession`] decides for a node, without clock or socket. [`node::Worker`] drives it over a client.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use betanet_fog_client::{Direct, FogClient, Lists};
//! use betanet_runtime::{Node, SessionConfig, load_identity};
//!
//! let me = load_identity("id.pem".as_ref())?;
//! let node = Node::new(Some(me.clone()), SessionConfig::default())?;
//! let coordinator = "bnp1…".parse()?; // the string that the coordinator printed
//! let fog = FogClient::new(me, Direct::new(node.into(), vec![coordinator]));
//! for task in &fog.tasks(&Lists::default()).await?.items {
//!     println!("{} {}", task.id, task.state);
//! }
//! # Ok(()) }
//! ```

mod auth;
mod blob;
mod client;
mod error;
mod fetch;
mod link;
pub mod node;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "testkit")]
pub mod testkit;
mod words;

pub use blob::Blob;
pub use client::{BlobBody, FogClient, Items, Lists, Log, Patience, Positioned, Stored, node_id};
pub use error::{Error, Refused};
pub use fetch::{Fetch, PEERS_MAX, Sources};
pub use link::{Connect, Connecting, Direct, Link, Mixed};
#[cfg(feature = "serve")]
pub use serve::{BLOB_PREFIX, BlobService, SERVED_MAX};
pub use words::{allowed, meaning};
