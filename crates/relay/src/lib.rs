//! Paths of others over a node, and the node's part of the mesh.
//!
//! **Promises.** A relay reads nothing of the sessions that it carries. Lookups and dials for others are bounded for each party
//! charged, and leave room for the node itself. Data of the mesh outlives a restart where the node has a state folder.
//!
//! **Below:** `dial`, `session`, `stack`. **Above:** `mixnet`, `legacy`, `runtime`.
//! **Source:** profile chapters 3 and 4 (`spec-vectors/PROFILE.md`).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{path::Path, sync::Arc, time::Duration};
//!
//! use betanet_dial::{Network, Node};
//! use betanet_relay::Mesh;
//!
//! let network = Network::read(Path::new("NETWORK.toml"))?;
//! let node = Arc::new(Node::client()?);
//! let mesh = Mesh::client(Arc::clone(&node), &network)?;
//! // A path of two nodes: one relay, and the peer.
//! let ways = mesh.ways_to("bn1:…".parse()?, 2, &[], Duration::from_secs(20)).await?;
//! if let Some((peer, relays)) = ways[0].split_last() {
//!     let session = node.connect_over(relays, peer).await?;
//!     session.close().await;
//! }
//! mesh.stop().await;
//! # Ok(()) }
//! ```

mod count;
mod error;
mod forward;
mod mesh;
mod view;

pub use count::{CountPaths, CountPeers, PathOutcome};
pub use error::Error;
pub use forward::{Exits, Relay};
pub use mesh::{Mesh, adopt_saved, multiaddr, peer_of, peer_of_seed};
pub use view::{PeerInfo, View};
