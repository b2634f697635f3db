use alloc::collections::BTreeSet;

use betanet_wire::cbor::{Kind as Cbor, Reader, Writer};

use super::ensure;
use crate::item::{record, tuple};
use crate::shape::refuse;
use crate::{
    Digest, Grant, Item, Level, List, Map, Offline, Placement, Record, Refusal, Resources, Shape,
    Strategy, TaskId, Text, Tier, Verify, Word, label,
};

/// One day, in ms.
pub const DAY_MS: u64 = 86_400_000;
/// Longest time to a deadline, longest run, longest offline time.
const LONGEST_MS: u64 = 30 * DAY_MS;
/// Least mix capacity of a task above public, in bit/s.
const RELAY_LEAST: u64 = 1_000_000;

/// The program of a task.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Module {
    /// Digest of the WebAssembly module.
    pub digest: Digest,
    /// Its size in bytes: 1 to 2^26.
    pub size: u64,
}

/// A file that the program reads.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Input {
    /// Where the program finds it.
    pub path: Text,
    /// Where it comes from.
    pub source: Source,
}

/// Origin of an input.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Source {
    /// A stored blob.
    Blob {
        /// Its digest.
        digest: Digest,
        /// Its size in bytes, up to 2^32.
        size: u64,
    },
    /// A file of another task's output.
    File {
        /// The task, one of those that this one comes after.
        task: TaskId,
        /// The file's path in that output.
        path: Text,
    },
}

/// What happens to a copy whose node falls silent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Policy {
    /// The rule.
    pub rule: Offline,
    /// Its time in ms, within 30 days.
    pub ms: u64,
}

/// When a fault is tried again.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Retry {
    /// Faults that a task may have and still go on: up to 20.
    pub most: u64,
    /// Longest delay after the first fault, in ms: at least 100.
    pub base: u64,
    /// Longest delay after any fault, in ms: from `base` to one day.
    pub cap: u64,
}

/// How results decide.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Verification {
    /// The rule.
    pub rule: Verify,
    /// Equal results that decide under quorum: 2 to `n`, over half of `n`. 0 under the other rules.
    pub k: u64,
    /// Copies that are placed under quorum: up to 15. 0 under the other rules.
    pub n: u64,
}

record! {
    /// A task: a program, its inputs, and the conditions under which copies of it are placed and paid.
    pub struct Task {
        /// Namespace; never empty.
        "ns" ns: Word,
        /// Environment variables of the program.
        "env" env: Map<Text, Text>,
        /// Resources of each copy.
        "res" res: Resources,
        /// ID of the reservation that it runs under, if any.
        "rsv" rsv: Option<[u8; 16]>,
        /// Arguments of the program.
        "args" args: List<Text>,
        /// Most fuel that the program burns: 1 to 2^60.
        "fuel" fuel: u64,
        /// Priority, 0 to 9; 9 goes first.
        "prio" prio: u64,
        /// Service tier.
        "tier" tier: Tier,
        /// Tasks of the namespace that must succeed first.
        "after" after: List<TaskId>,
        /// Group whose copies spread; empty means none.
        "group" group: Word,
        /// Privacy level.
        "level" level: Level,
        /// Makes equal tasks different.
        "nonce" nonce: [u8; 16],
        /// Public key of the owner, who signs this.
        "owner" owner: [u8; 32],
        /// Wishes about nodes.
        "place" place: Placement,
        /// When faults are tried again.
        "retry" retry: Retry,
        /// Earliest start, in UNIX ms.
        "start" start: u64,
        /// Most that it may cost, in µ: at least 1.
        "budget" budget: u64,
        /// What the program may use of the world outside it, ascending.
        "grants" grants: List<Grant>,
        /// Files that the program reads.
        "inputs" inputs: List<Input>,
        /// The program.
        "module" module: Module,
        /// Longest run, in ms: 1 to 30 days.
        "run_ms" run_ms: u64,
        /// How results decide.
        "verify" verify: Verification,
        /// What happens when a node falls silent.
        "offline" offline: Policy,
        /// Most bytes of output, up to 2^30.
        "out_max" out_max: u64,
        /// Moment at which it expires, in UNIX ms, within 30 days.
        "deadline" deadline: u64,
        /// Placement strategy.
        "strategy" strategy: Strategy,
    }
}

record! {
    /// A named list of tasks, in versions.
    pub struct Job {
        /// Namespace; never empty.
        "ns" ns: Word,
        /// Version: the last one plus 1.
        "ver" ver: u64,
        /// Name in the namespace; never empty.
        "name" name: Word,
        /// Public key of the owner, who signs this.
        "owner" owner: [u8; 32],
        /// Its tasks.
        "tasks" tasks: List<TaskId, 1024>,
    }
}

tuple!(Module {
    digest: Digest,
    size: u64,
});
tuple!(Policy {
    rule: Offline,
    ms: u64,
});
tuple!(Retry {
    most: u64,
    base: u64,
    cap: u64,
});
tuple!(Verification {
    rule: Verify,
    k: u64,
    n: u64,
});

impl Item for Input {
    const SHAPE: Shape = Shape::Tuple(&[Shape::Text, Digest::SHAPE, Shape::NumberOrText]);

    fn encode(&self, w: &mut Writer) {
        w.array(3);
        self.path.encode(w);
        match &self.source {
            Source::Blob { digest, size } => {
                digest.encode(w);
                size.encode(w);
            }
            Source::File { task, path } => {
                task.encode(w);
                path.encode(w);
            }
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        crate::item::enter_tuple(r, 3)?;
        let path = Item::decode(r)?;
        let digest = Digest::decode(r)?;
        let source = match r.kind().map_err(|e| refuse(e, ""))? {
            Cbor::Text => Source::File {
                task: TaskId(digest),
                path: Item::decode(r)?,
            },
            _ => Source::Blob {
                digest,
                size: Item::decode(r)?,
            },
        };
        r.leave();
        Ok(Self { path, source })
    }
}

/// Whether a path names one file below the folder it is relative to, in its only spelling.
pub(super) fn relative(path: &str) -> bool {
    let segment = |s: &str| !matches!(s, "" | "." | "..");
    !path.chars().any(|c| c.is_control() || c == '\\') && path.split('/').all(segment)
}

/// Whether all paths are relative, and none is another or a folder of another.
pub(super) fn disjoint<'a>(paths: impl Iterator<Item = &'a str>) -> bool {
    let mut seen = BTreeSet::new();
    let mut folders = BTreeSet::new();
    for path in paths {
        if !relative(path) || !seen.insert(path) {
            return false;
        }
        folders.extend(path.match_indices('/').map(|(at, _)| &path[..at]));
    }
    seen.is_disjoint(&folders)
}

impl Module {
    fn check(&self) -> Result<(), Refusal> {
        ensure((1..=1 << 26).contains(&self.size), "module")
    }
}

impl Retry {
    fn check(self) -> Result<(), Refusal> {
        let good =
            self.most <= 20 && 100 <= self.base && self.base <= self.cap && self.cap <= DAY_MS;
        ensure(good, "retry")
    }
}

impl Verification {
    /// No comparison of results.
    pub const NONE: Self = Self {
        rule: Verify::None,
        k: 0,
        n: 0,
    };

    fn check(self, tier: Tier, grants: bool) -> Result<(), Refusal> {
        let Self { rule, k, n } = self;
        let good = match rule {
            Verify::None => (k, n) == (0, 0) && tier != Tier::Platinum,
            Verify::Spot => (k, n) == (0, 0) && tier != Tier::Platinum && !grants,
            Verify::Quorum => {
                let least = if tier == Tier::Platinum { 3 } else { 2 };
                2 <= k && k <= n && n <= 15 && 2 * k > n && n >= least && !grants
            }
        };
        ensure(good, "verify")
    }
}

impl Task {
    /// Its ID, from the encoding. A signed task's ID is that of the bytes that were signed: [`crate::Signed::id`].
    #[must_use]
    pub fn id(&self) -> TaskId {
        TaskId::of(&crate::to_vec(self))
    }

    fn check_inputs(&self) -> Result<(), Refusal> {
        let good = |input: &Input| match &input.source {
            Source::Blob { size, .. } => *size <= 1 << 32,
            Source::File { task, path } => self.after.contains(task) && relative(path),
        };
        let paths = self.inputs.iter().map(|i| i.path.as_str());
        ensure(self.inputs.iter().all(good) && disjoint(paths), "inputs")
    }
}

impl Record for Task {
    const LABEL: &'static str = label::TASK;
    const SIGNER: &'static str = "owner";

    fn signer(&self) -> &[u8; 32] {
        &self.owner
    }

    fn check(&self) -> Result<(), Refusal> {
        ensure(!self.ns.is_empty(), "ns")?;
        self.res.check_demand()?;
        let private = self.level > Level::Public;
        ensure(!private || self.res.relay() >= RELAY_LEAST, "relay")?;
        ensure((1..=1 << 60).contains(&self.fuel), "fuel")?;
        ensure(self.prio <= 9, "prio")?;
        self.place.check()?;
        self.retry.check()?;
        ensure(self.budget >= 1, "budget")?;
        let ascending = self.grants.is_sorted_by(|a, b| a.as_str() < b.as_str());
        ensure(ascending, "grants")?;
        self.check_inputs()?;
        self.module.check()?;
        ensure((1..=LONGEST_MS).contains(&self.run_ms), "run_ms")?;
        self.verify.check(self.tier, !self.grants.is_empty())?;
        let Policy { rule, ms } = self.offline;
        let fixed = rule == Offline::Replace;
        ensure(ms <= LONGEST_MS && (!fixed || ms == 0), "offline")?;
        ensure(self.out_max <= 1 << 30, "out_max")
    }

    fn check_time(&self, now_ms: u64) -> Result<(), Refusal> {
        let left = self.deadline.checked_sub(now_ms);
        ensure(
            left.is_some_and(|ms| (1..=LONGEST_MS).contains(&ms)),
            "deadline",
        )
    }
}

impl crate::Signed<Task> {
    /// The task's ID: the hash of the bytes that were signed.
    #[must_use]
    pub fn id(&self) -> TaskId {
        TaskId::of(self.rec())
    }
}

impl Record for Job {
    const LABEL: &'static str = label::JOB;
    const SIGNER: &'static str = "owner";

    fn signer(&self) -> &[u8; 32] {
        &self.owner
    }

    fn check(&self) -> Result<(), Refusal> {
        ensure(!self.ns.is_empty(), "ns")?;
        ensure(!self.name.is_empty(), "name")
    }
}
