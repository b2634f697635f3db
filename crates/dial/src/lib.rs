//! The dialling side of a node: chooses an address, a transport and a fingerprint, and opens sessions with peers.
//!
//! **Promises.** Each peer sees a separate identity, unless the node has one. A peer that failed is dialled again only after a
//! rest. A connection looks like a browser's where the build has one, and its template matches what the origin really sends.
//!
//! **Below:** `session`, `stack`, `carrier`, `store`. **Above:** `relay`, `mixnet`, `legacy`, `runtime`.
//! **Source:** profile chapters 2, 3 and 8 (`spec-vectors/PROFILE.md`).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use betanet_bar::{Headers, Method, Request};
//! use betanet_dial::Node;
//!
//! let node = Node::client()?;
//! let session = node.connect(&"bnp1…".parse()?).await?;
//! let answer = session.ask(Request::new(Method::Get, "/", Headers::default())).await?;
//! println!("{}", answer.head.status);
//! # Ok(()) }
//! ```
//!
//! The crates above also take the [`Network`], identities and private files from here.

mod address;
mod book;
mod error;
mod farewell;
mod files;
mod fronts;
mod network;
mod node;
mod own_paths;
mod templates;
mod toml_error;
mod trace_selector;

pub use address::QUIC;
pub use betanet_session::ErrorKind;
pub use book::Book;
pub use error::{Error, FileError, FrontProblem};
pub use farewell::farewell;
pub use files::{
    fresh_identity, load_identity, load_or_new_identity, new_identity, on_disk, read_secret,
    state_dir, write_private, write_secret,
};
pub use fronts::FrontRules;
pub use network::{
    LEAST, LedgerNode, MixNetwork, Network, NetworkError, NetworkProblem, SeedSource, SeedsFuture,
};
pub use node::{
    Node, PathTo, Transport, calibrate_origin, default_fingerprint, serve_carrier, visit,
};
pub use own_paths::{Reports, read as read_control};
pub use templates::{Calibrated, Templates};
pub use toml_error::TomlError;
pub use trace_selector::TraceSelector;
