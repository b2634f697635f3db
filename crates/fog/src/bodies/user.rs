use betanet_wire::NodeId;

use crate::item::{record, tuple};
use crate::{
    Amounts, Digest, Kind, Level, List, Map, NodeState, RefusalCode, TaskId, TaskState, Text, Tier,
    Word,
};

/// Number of nodes that one reason keeps from taking a task.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Counted {
    /// The reason.
    pub reason: Word,
    /// Number of nodes; 1 where the task waits for something else.
    pub nodes: u64,
}

/// Why a task waits: by count descending, then by reason.
pub type Why = List<Counted>;

/// One copy of a task.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct CopyStatus {
    /// Its fence.
    pub fence: u64,
    /// Its node.
    pub node: NodeId,
    /// `assigned`, `running`, or the reason of its end.
    pub state: Word,
}

/// One copy of a plan.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Planned {
    /// The node.
    pub node: NodeId,
    /// Its devices.
    pub devs: List<u64>,
}

tuple!(Counted {
    reason: Word,
    nodes: u64,
});
tuple!(CopyStatus {
    fence: u64,
    node: NodeId,
    state: Word,
});
tuple!(Planned { node: NodeId, devs: List<u64>, });

record! {
    /// Answer to `POST plan`: where the task would go now.
    pub struct Plan {
        /// Why it would not, if so.
        "why" why: Why,
        /// Its cost at most, in µ.
        "cost" cost: u64,
        /// Its copies.
        "copies" copies: List<Planned>,
    }
}

record! {
    /// A task's status.
    pub struct Status {
        /// Digest of the output, where the task has one.
        "out" out: Option<Digest>,
        /// Why it waits.
        "why" why: Why,
        /// What it costs: at most while it lives, then in fact. In µ.
        "cost" cost: u64,
        /// Its state.
        "state" state: TaskState,
        /// The 64 newest copies, oldest first.
        "copies" copies: List<CopyStatus>,
        /// Why it ended other than succeeded; empty otherwise.
        "reason" reason: Word,
        /// Copies that were assigned so far.
        "attempts" attempts: u64,
    }
}

record! {
    /// Something that happened.
    pub struct Event {
        /// Journal index.
        "at" at: u64,
        /// UNIX ms.
        "ts" ts: u64,
        /// The journal record's kind.
        "kind" kind: Word,
        /// The node concerned.
        "node" node: Option<NodeId>,
        /// The task concerned.
        "task" task: Option<TaskId>,
        /// The reason, where there is one.
        "reason" reason: Word,
    }
}

record! {
    /// A snapshot of the cluster.
    pub struct Topology {
        /// Journal index.
        "at" at: u64,
        /// UNIX ms.
        "ts" ts: u64,
        /// Capacity of all active nodes.
        "cap" cap: Amounts,
        /// What is free of it.
        "free" free: Amounts,
        /// Hash of the day's secret.
        "seed" seed: [u8; 32],
        /// The leader's epoch.
        "epoch" epoch: u64,
        /// Number of nodes of each kind.
        "kinds" kinds: Map<Word, u64>,
        /// Number of nodes in each state.
        "nodes" nodes: Map<Word, u64>,
        /// Number of tasks in each state.
        "tasks" tasks: Map<Word, u64>,
    }
}

record! {
    /// `GET topology`: snapshots, oldest first.
    pub struct TopologyList {
        /// The snapshots.
        "items" items: List<Topology, 100>,
    }
}

record! {
    /// A task in a list.
    pub struct TaskSummary {
        /// Journal index of its last change.
        "at" at: u64,
        /// Its ID.
        "id" id: TaskId,
        /// Its namespace.
        "ns" ns: Word,
        /// Its priority.
        "prio" prio: u64,
        /// Its tier.
        "tier" tier: Tier,
        /// Its state.
        "state" state: TaskState,
        /// As in its status.
        "reason" reason: Word,
    }
}

record! {
    /// `GET tasks` and `GET dead`, ascending by ID.
    pub struct TaskList {
        /// The `after` of the next page; `None` on the last.
        "next" next: Option<TaskId>,
        /// The tasks.
        "items" items: List<TaskSummary, 1000>,
    }
}

record! {
    /// A node in a list.
    pub struct NodeSummary {
        /// Its ID.
        "id" id: NodeId,
        /// Its capacity.
        "cap" cap: Amounts,
        /// Its organisation.
        "org" org: Word,
        /// Its reputation, in millionths.
        "rep" rep: u64,
        /// What is free of its capacity.
        "free" free: Amounts,
        /// Its kind.
        "kind" kind: Kind,
        /// Copies that it has.
        "live" live: u64,
        /// UNIX ms of its last beat; 0 where it has not beaten.
        "seen" seen: u64,
        /// Its zone.
        "zone" zone: Word,
        /// Its privacy level.
        "level" level: Level,
        /// Its price.
        "price" price: u64,
        /// Its state.
        "state" state: NodeState,
        /// Its region.
        "region" region: Word,
    }
}

record! {
    /// `GET nodes`, ascending by ID.
    pub struct NodeList {
        /// The `after` of the next page; `None` on the last.
        "next" next: Option<NodeId>,
        /// The nodes.
        "items" items: List<NodeSummary, 1000>,
    }
}

record! {
    /// Body of a refusal.
    pub struct RefusalBody {
        /// The key whose value caused it; empty where no single key did.
        "key" key: Text,
        /// Its code.
        "code" code: Text,
    }
}

impl RefusalBody {
    /// The code, where this version knows it.
    #[must_use]
    pub fn known(&self) -> Option<RefusalCode> {
        RefusalCode::from_word(&self.code)
    }
}

impl From<crate::Refusal> for RefusalBody {
    fn from(refusal: crate::Refusal) -> Self {
        let text = |t: &'static str| t.parse().unwrap_or_default();
        Self {
            key: text(refusal.key),
            code: text(refusal.code.as_str()),
        }
    }
}
