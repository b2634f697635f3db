//! The mix in a node: the data plane for packets, its keys and directories, and the client.
//!
//! **Promises.** Packets never pass through the node's control task. Their queues, the replay memory and expensive requests are
//! bounded, overall and for each party charged. A client that cannot reach its guard draws no other for that.
//!
//! **Below:** `relay`, `dial`, `session`. **Above:** `runtime`, which configures a node's parts.
//! **Source:** profile chapter 5 (`spec-vectors/PROFILE.md`).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::path::Path;
//!
//! use betanet_bar::{Headers, Method, Request};
//! use betanet_dial::{Network, Node};
//! use betanet_mixnet::{MixClient, MixOptions};
//!
//! let network = Network::read(Path::new("NETWORK.toml"))?;
//! let client = MixClient::join(Node::client()?, &network, &MixOptions::default()).await?;
//! let session = client.session("bn1:…".parse()?).await?;
//! let answer = session.ask(Request::new(Method::Get, "/", Headers::default())).await?;
//! println!("{}", answer.head.status);
//! client.close().await;
//! # Ok(()) }
//! ```

mod count;
mod directory_problem;
mod error;
mod mix;
mod replay_memory;

pub use count::CountMix;
pub use directory_problem::DirectoryProblem;
pub use error::{Error, SeedFailure};
pub use mix::{
    Directories, DirectoryPlan, LeftOut, LotteryWeight, MixClient, MixOptions, MixPlane,
    MixSession, MixSetup, Mixing, PLACE, PublishedProof, WellKnown, build_directory,
    check_directory, publish_directory,
};
pub use replay_memory::needed as replay_memory_needed;
