//! The port to what runs programs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use betanet_fog::{Digest, Level, Outcome};

use super::session::Run;

/// How a copy ended, by its engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ended {
    /// The outcome.
    pub status: Outcome,
    /// Digest of the output, which is stored as a blob; after `ok` and `exit` only.
    pub out: Option<Digest>,
    /// Fuel that the program burned, at most the task's.
    pub fuel: u64,
}

/// The future of [`Engine::run`]. It is dropped when the copy is to stop.
pub type Running = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// Runs programs.
pub trait Engine: Send + Sync + 'static {
    /// Name and version, as receipts state them.
    fn name(&self) -> &str;

    /// Whether the engine sends blobs of tasks of this level as the level asks. Copies of other levels are given back.
    fn serves(&self, level: Level) -> bool {
        level == Level::Public
    }

    /// Runs a copy: fetches module and inputs, runs the program, and stores its output as a blob.
    fn run(&self, run: Arc<Run>) -> Running;
}
