//! From a task to a job of the sandbox, and from what a program left to a task's output.

use std::path::{Path, PathBuf};
use std::time::Duration;

use betanet_fog::{Grant, List, Outcome, Output, OutputFile, Task, TaskId, to_vec};
use betanet_fog_client::Blob;
use betanet_keys::hash;
use betanet_sandbox::{Ended, Grants, Input, Job, Limits, NetworkPolicy, Status};

/// Label of the seed of a task's randomness.
const SEED: &[u8] = b"BN-FOG-SEED1";
/// Variable in which a task with the network's grant names hosts and ports: `HOST:PORT`, with spaces between.
pub const HOSTS: &str = "BETANET_HOSTS";
/// Most files of an output, standard output included, as its record can list.
const FILES_MAX: u32 = 64;

/// The hosts that a task names.
fn hosts(task: &Task) -> Vec<(String, u16)> {
    let named = task.env.iter().find(|(name, _)| name.as_str() == HOSTS);
    let named = named.map_or("", |(_, hosts)| hosts.as_str());
    named.split_whitespace().filter_map(host).collect()
}

/// Reads a host and a port as a task names them: `HOST:PORT`, with brackets around an IPv6 address.
#[must_use]
pub fn host(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|ip| ip.contains(':'))?,
        None => Some(host).filter(|name| !name.contains([':', ']']))?,
    };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let named = !host.is_empty() && !host.contains(char::is_whitespace);
    named.then(|| (host.to_owned(), port))
}

/// The job of a task. It is the same on every node: the seed is that of the task, and the virtual clock starts with it.
///
/// `files` are the task's inputs on this machine, in the order of the assignment.
#[must_use]
pub fn job(task: &Task, id: &TaskId, files: Vec<(String, PathBuf)>, output: &Path) -> Job {
    let has = |grant| task.grants.contains(&grant);
    let network = has(Grant::Network).then(|| NetworkPolicy {
        hosts: hosts(task),
        private: Vec::new(),
    });
    Job {
        args: task.args.iter().map(|a| a.as_str().to_owned()).collect(),
        env: task
            .env
            .iter()
            .map(|(k, v)| (k.as_str().to_owned(), v.as_str().to_owned()))
            .collect(),
        inputs: files
            .into_iter()
            .map(|(path, file)| Input { path, file })
            .collect(),
        limits: Limits {
            fuel: task.fuel,
            wall: Duration::from_millis(task.run_ms),
            memory: task.res.memory(),
            output: task.out_max,
            files: FILES_MAX,
        },
        grants: Grants {
            clock: has(Grant::Clock),
            random: has(Grant::Random),
            network,
        },
        seed: hash(&[SEED, &id.0]),
        start_ms: task.start,
        output: output.to_owned(),
    }
}

/// The outcome and the exit code of a status.
#[must_use]
pub const fn outcome(status: Status) -> (Outcome, i64) {
    match status {
        Status::Ok => (Outcome::Ok, 0),
        Status::Exit(code) => (Outcome::Exit, code as i64),
        Status::Trap => (Outcome::Trap, 0),
        Status::Fuel => (Outcome::Fuel, 0),
        Status::Memory => (Outcome::Memory, 0),
        Status::Output => (Outcome::Output, 0),
        Status::Module => (Outcome::Module, 0),
        Status::Time => (Outcome::Time, 0),
        Status::Input => (Outcome::Input, 0),
        Status::Internal => (Outcome::Internal, 0),
    }
}

/// A program left files whose names or number no output can have.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the program left files that no output can list: at most 64, with paths of up to 1024 bytes without control characters"
)]
pub struct NoOutput;

/// The record of what a program left, after ok and exit.
///
/// # Errors
///
/// [`NoOutput`]: the outcome is `output`.
pub fn output(ended: &Ended) -> Result<Output, NoOutput> {
    let (_, exit) = outcome(ended.status);
    let file = |file: &betanet_sandbox::OutFile| {
        Some(OutputFile {
            path: file.path.parse().ok()?,
            digest: file.digest,
            size: file.size,
        })
    };
    let files: Option<Vec<OutputFile>> = ended.files.iter().map(file).collect();
    let files = List::try_from(files.ok_or(NoOutput)?).map_err(|_| NoOutput)?;
    let output = Output { exit, files };
    output.check().map_err(|_| NoOutput)?;
    Ok(output)
}

/// The blob of an output's record.
#[must_use]
pub fn output_blob(output: &Output) -> Blob {
    Blob::from(to_vec(output))
}
