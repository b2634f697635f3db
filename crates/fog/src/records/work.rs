use betanet_keys::hash;
use betanet_wire::{NodeId, PeerId};

use super::ensure;
use super::task::disjoint;
use crate::item::{record, tuple};
use crate::{
    Digest, List, Outcome, Record, Refusal, RefusalCode, Task, TaskId, Text, label, to_vec,
};

/// A file that a worker fetches before it starts the program.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Fetched {
    /// Where the program finds it.
    pub path: Text,
    /// Digest of the blob.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
}

record! {
    /// The leader's order to a node to run a copy of a task.
    pub struct Assignment {
        /// The task's inputs, with files of other tasks' outputs replaced by their blobs.
        "in" inputs: List<Fetched>,
        /// Moment at which the worker reports the outcome time, in UNIX ms.
        "end" end: u64,
        /// Public key of the leader, which signs this.
        "key" key: [u8; 32],
        /// Number of the copy among the task's copies.
        "copy" copy: u64,
        /// Devices that the copy gets.
        "devs" devs: List<u64>,
        /// The node.
        "node" node: NodeId,
        /// The task.
        "task" task: TaskId,
        /// The leader's epoch.
        "epoch" epoch: u64,
        /// Journal index of this assignment, which names the copy from then on.
        "fence" fence: u64,
    }
}

record! {
    /// A node's statement about how a copy ended.
    pub struct Receipt {
        /// Hash of the assignment's inputs.
        "in" inputs: Digest,
        /// Moment of the end by the node's clock, in UNIX ms.
        "end" end: u64,
        /// Public key of the node, which signs this.
        "key" key: [u8; 32],
        /// Digest of the output, after ok and exit.
        "out" out: Option<Digest>,
        /// Number of the copy.
        "copy" copy: u64,
        /// Fuel that the program burned.
        "fuel" fuel: u64,
        /// The task.
        "task" task: TaskId,
        /// The epoch of the assignment.
        "epoch" epoch: u64,
        /// The assignment's fence.
        "fence" fence: u64,
        /// Moment of the start by the node's clock, in UNIX ms.
        "start" start: u64,
        /// Name and version of the engine.
        "engine" engine: Text,
        /// Digest of the module that ran.
        "module" module: Digest,
        /// The outcome.
        "status" status: Outcome,
    }
}

/// A file of an output.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct OutputFile {
    /// Its path; `stdout` is the standard output.
    pub path: Text,
    /// Digest of the blob.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
}

record! {
    /// A program's output: the blob that a receipt names.
    pub struct Output {
        /// Exit code.
        "exit" exit: i64,
        /// Its files, ascending by path.
        "files" files: List<OutputFile>,
    }
}

tuple!(Fetched {
    path: Text,
    digest: Digest,
    size: u64,
});
tuple!(OutputFile {
    path: Text,
    digest: Digest,
    size: u64,
});

impl Output {
    /// Reads an output.
    ///
    /// # Errors
    ///
    /// `too_large`, `malformed`, or `bad_value` for paths that do not ascend, are not relative, or stand twice.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, Refusal> {
        let output: Self = crate::from_slice(bytes)?;
        output.check()?;
        Ok(output)
    }

    /// Checks the paths.
    ///
    /// # Errors
    ///
    /// `bad_value`.
    pub fn check(&self) -> Result<(), Refusal> {
        let paths = || self.files.iter().map(|f| f.path.as_str());
        ensure(paths().is_sorted() && disjoint(paths()), "files")
    }

    /// Digest of the blob.
    #[must_use]
    pub fn digest(&self) -> Digest {
        hash(&[&to_vec(self)])
    }
}

impl Assignment {
    /// Hash of the inputs, as receipts name it.
    #[must_use]
    pub fn inputs_digest(&self) -> Digest {
        hash(&[&to_vec(&self.inputs)])
    }
}

impl Record for Assignment {
    const LABEL: &'static str = label::ASSIGNMENT;
    const SIGNER: &'static str = "key";

    fn signer(&self) -> &[u8; 32] {
        &self.key
    }

    fn check(&self) -> Result<(), Refusal> {
        ensure(disjoint(self.inputs.iter().map(|f| f.path.as_str())), "in")
    }
}

impl Receipt {
    /// Checks a receipt against the task and the assignment that it answers: signer, then bounds, then copy and fence.
    ///
    /// The epoch is not compared: the fence names the assignment.
    ///
    /// # Errors
    ///
    /// `not_yours` from another node, `bad_value` for another module, other inputs or more fuel than the task has,
    /// `fence_stale` for another task, copy or fence.
    pub fn answers(&self, task: &Task, assignment: &Assignment) -> Result<(), Refusal> {
        // Whoever verified the signature has checked the key, which is slow.
        let node = PeerId::from_hash(hash(&[&self.key])).node_id();
        if node != assignment.node {
            return Err(RefusalCode::NotYours.of("key"));
        }
        ensure(self.inputs == assignment.inputs_digest(), "in")?;
        ensure(self.fuel <= task.fuel, "fuel")?;
        ensure(self.module == task.module.digest, "module")?;
        let copy = (self.task, self.copy, self.fence);
        if copy != (assignment.task, assignment.copy, assignment.fence) {
            return Err(RefusalCode::FenceStale.of("fence"));
        }
        Ok(())
    }
}

impl Record for Receipt {
    const LABEL: &'static str = label::RECEIPT;
    const SIGNER: &'static str = "key";

    fn signer(&self) -> &[u8; 32] {
        &self.key
    }

    fn check(&self) -> Result<(), Refusal> {
        ensure(self.out.is_some() == self.status.has_output(), "out")
    }
}
