use std::path::PathBuf;

use betanet_fog::{Level, Refusal};

use crate::announce::UnknownDevice;

/// Reason why a node cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The state folder cannot be used.
    #[error("the node's state cannot be used")]
    State(#[from] betanet_store::Error),
    /// The store of blobs cannot be used.
    #[error("the node's blobs cannot be used")]
    Blobs(#[from] betanet_blobs::Error),
    /// The sandbox does not start.
    #[error("the sandbox does not start")]
    Sandbox(#[from] betanet_sandbox::Error),
    /// A folder for running programs cannot be used.
    #[error("cannot use {}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The node is to offer a device that is not there.
    #[error(transparent)]
    Device(#[from] UnknownDevice),
    /// The node's description breaks a rule.
    #[error("the node cannot be described: {0}")]
    Described(Refusal),
    /// The node claims a level, and is part of no network with a mix.
    #[error("a node of the level {0} needs the mix of a network")]
    NoMix(Level),
    /// No token is given, and the node has not joined before.
    #[error("the node has not joined yet, and has no token")]
    NoToken,
    /// The token cannot be read.
    #[error("the token cannot be used: {0}")]
    Token(Refusal),
    /// The coordinator refuses the node for good.
    #[error("the coordinator does not take this node")]
    Join(#[source] Box<betanet_fog_client::Error>),
    /// It was told to stop before it had joined.
    #[error("stopped before the node had joined")]
    Stopped,
}
