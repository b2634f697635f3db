//! Faults of this machine, as opposed to those of a program.

use std::io;

/// Why a sandbox could not be opened or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder of the sandbox.
    #[error("cannot {what}: {source}")]
    Folder {
        /// The action that failed.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The key of the cache has another length, or others can read it.
    #[error(
        "the cache's key is not 32 bytes that only its owner can read; remove it, and the cache is built anew"
    )]
    Key,
    /// The system gave no randomness.
    #[error("the system gave no randomness")]
    Random,
    /// A child did not start.
    #[error("cannot start a child: {0}")]
    Spawn(io::Error),
    /// A child did not report ready in time, or something else than that.
    #[error(
        "a child that was started did not report ready; perhaps that program does not call `betanet_sandbox::child_main`"
    )]
    NotReady,
    /// A child is closed in less than the first one was.
    #[error("a child lacks the layer `{0}`, which the first child of this sandbox had")]
    Layer(&'static str),
    /// The engine refuses its settings.
    #[error("the engine does not work on this machine: {0}")]
    Engine(wasmtime::Error),
    /// The thread that starts children has ended.
    #[error("the thread that starts children has ended")]
    Ended,
}

impl Error {
    pub(crate) fn folder(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Folder { what, source }
    }
}
