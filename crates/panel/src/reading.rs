//! Reads job files: a port, for the files are those of the command line.

use betanet_fog::{Signed, Task, Word};
use betanet_machine::Rng;

/// A job as its file describes it, signed by the coordinator.
#[derive(Clone, Debug)]
pub struct JobFile {
    /// Namespace.
    pub ns: Word,
    /// Name.
    pub name: Word,
    /// Its tasks with their names, each after those that it comes after.
    pub tasks: Vec<(String, Signed<Task>)>,
}

/// What a job file is read for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reading {
    /// To plan its tasks: each alone, without the tasks that it comes after, which the coordinator does not know yet.
    Plan,
    /// To run it.
    Run,
}

/// Reads job files as `betanet job` does. The files that a job file names are not read: its blobs are stored ones.
pub trait ReadJobs: Send + Sync {
    /// Reads a file and signs its tasks, or gives all that is wrong with it, a sentence each.
    ///
    /// # Errors
    ///
    /// The list, which is not empty.
    fn read(
        &self,
        text: &str,
        json: bool,
        reading: Reading,
        now_ms: u64,
        rng: &mut Rng,
    ) -> Result<JobFile, Vec<String>>;
}
