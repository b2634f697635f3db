//! Requests, answers, and what goes to nodes.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_fog::bodies::{
    Beat, BeatAnswer, Event as FogEvent, JoinAnswer, MarketView, NodeList, NodeSummary, Plan,
    Price, SeedView, StateRequest, Status, TaskList, TaskSummary, TokenRequest, Topology,
};
use betanet_fog::{
    Assignment, Commitment, Digest, Job, Level, Node, NodeState, Order, Output, Reason, Receipt,
    Received, Refusal, Signed, Task, TaskId, TaskState, Tier, Token, Word,
};
use betanet_machine::Time;
use betanet_wire::NodeId;

use crate::rating::Ratings;
use crate::record::Entry;

/// Who asks. The caller's identity was verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    /// Public key.
    pub key: [u8; 32],
    /// NodeID of the key.
    pub node: NodeId,
    /// Whether the configuration lists the key as an operator's.
    pub operator: bool,
    /// Namespaces for which the key is listed.
    pub namespaces: Vec<Word>,
}

/// A request.
#[derive(Clone, Debug)]
pub enum Request {
    /// `POST join`.
    Join {
        /// The node's description.
        node: Box<Received<Node>>,
        /// Text of its token.
        token: betanet_fog::bodies::TokenText,
    },
    /// `PUT nodes/<id>`.
    Describe(Box<Signed<Node>>),
    /// `DEL nodes/<id>`.
    Leave(NodeId),
    /// `POST nodes/<id>/beat`.
    Beat(NodeId, Box<Beat>),
    /// `GET nodes/<id>/work?after=`: what the node's stream begins with.
    Work {
        /// The node.
        node: NodeId,
        /// Journal index of the last item that it has.
        after: u64,
    },
    /// `POST nodes/<id>/state`.
    State(NodeId, StateRequest),
    /// `POST tasks/<id>/start`.
    Start(TaskId, u64),
    /// `POST tasks/<id>/nack`.
    Nack(TaskId, u64),
    /// `POST tasks/<id>/done`.
    Done(TaskId, Box<Signed<Receipt>>),
    /// `POST tasks/<id>/log`: may a node append to the log of its copy?
    Log {
        /// The task.
        task: TaskId,
        /// The copy's fence.
        fence: u64,
        /// Offset at which the bytes belong.
        off: u64,
        /// Number of bytes.
        len: u64,
        /// Length of the log that is stored.
        stored: u64,
    },
    /// `POST tokens`.
    IssueToken(TokenRequest),
    /// `DEL tokens/<id>`.
    RevokeToken([u8; 16]),
    /// `PUT tasks/<id>`.
    Submit {
        /// The task.
        task: Box<Signed<Task>>,
        /// The first key that names a blob which is not stored.
        missing: Option<&'static str>,
    },
    /// `GET tasks/<id>`.
    Status(TaskId),
    /// `DEL tasks/<id>`.
    Cancel(TaskId),
    /// `POST plan`.
    Plan(Box<Signed<Task>>),
    /// `PUT jobs/<ns>/<name>`.
    PutJob(Box<Signed<Job>>),
    /// `GET jobs/<ns>/<name>`.
    Job(Word, Word),
    /// `DEL jobs/<ns>/<name>`.
    DeleteJob(Word, Word),
    /// The last version of a job, for the process that runs the coordinator.
    LastJob(Word, Word),
    /// What a ledger of tokens says of nodes, by the process that runs the coordinator. Jailed ones get no tasks.
    Rate(Ratings),
    /// Nodes and tasks that changed, for the process that runs the coordinator.
    Changed {
        /// Journal index after which they changed.
        after: u64,
    },
    /// The jobs, for the process that runs the coordinator.
    Jobs {
        /// Namespace; empty means all.
        ns: Word,
        /// Last job of the page before, by namespace and name.
        after: Option<(Word, Word)>,
        /// Most jobs of the page.
        n: u64,
    },
    /// `GET tasks`, and `GET dead` with the state failed.
    Tasks {
        /// Namespace; empty means all.
        ns: Word,
        /// State; `None` means all.
        state: Option<TaskState>,
        /// Last task of the page before.
        after: Option<TaskId>,
        /// Most tasks of the page.
        n: u64,
    },
    /// `GET nodes`.
    Nodes {
        /// State; `None` means all.
        state: Option<NodeState>,
        /// Last node of the page before.
        after: Option<NodeId>,
        /// Most nodes of the page.
        n: u64,
    },
    /// `GET events?after=`: what the stream begins with.
    Events {
        /// Journal index of the last event that the caller has.
        after: u64,
    },
    /// `GET topology`.
    Topology,
    /// `GET price`.
    Price,
    /// `GET seed/<day>`.
    Seed(u64),
    /// `POST market/commit`.
    Commit(Box<Signed<Commitment>>),
    /// `POST market/reveal`.
    Reveal(Order),
    /// `GET market/<tier>/<round>`.
    Market {
        /// Tier of the lots.
        tier: Tier,
        /// Number of the round.
        round: u64,
        /// Last commitment of the page before.
        after: Option<Digest>,
    },
}

/// A request with its caller.
#[derive(Clone, Debug)]
pub struct Command {
    /// Number under which the answer comes.
    pub call: u64,
    /// Who asks.
    pub caller: Caller,
    /// The request.
    pub request: Request,
}

/// The answer to a request that was not refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// 204.
    Done,
    /// 201 without a body.
    Created,
    /// To a join; whether the node is new.
    Joined(JoinAnswer, bool),
    /// To a beat.
    Beat(BeatAnswer),
    /// The token to sign.
    Token(Box<Token>),
    /// Status of a task.
    Status(Box<Status>),
    /// Where a task would go.
    Plan(Box<Plan>),
    /// The signed job.
    Job(Box<[u8]>),
    /// The last version of a job.
    LastJob(LastJob),
    /// What changed; `None` if that is not known any more.
    Changed(Option<Box<Changed>>),
    /// A page of jobs.
    Jobs(JobPage),
    /// A page of tasks.
    Tasks(Box<TaskList>),
    /// A page of nodes.
    Nodes(Box<NodeList>),
    /// Items of a node's stream, oldest first.
    Work(Vec<Item>),
    /// Events, oldest first.
    Events(Vec<FogEvent>),
    /// History of the cluster, oldest first.
    Topology(Vec<Topology>),
    /// Prices.
    Price(Price),
    /// A day's secret.
    Seed(SeedView),
    /// A page of a round of the auction.
    Market(Box<MarketView>),
    /// Offset at which a log goes on; whether the bytes are to be stored.
    Log {
        /// The offset.
        next: u64,
        /// Whether these bytes are new.
        store: bool,
    },
}

/// Rows of lists that changed after a position of the journal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Changed {
    /// Journal index up to which these are all.
    pub until: u64,
    /// The nodes as they are now; `None` for those that left.
    pub nodes: BTreeMap<NodeId, Option<NodeSummary>>,
    /// The tasks as they are now; `None` for those that no list shows.
    pub tasks: BTreeMap<TaskId, Option<TaskSummary>>,
}

/// The last version of a job, which the next one follows. A deleted job keeps it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LastJob {
    /// Key of its owner. No other key can state a version of it.
    pub owner: [u8; 32],
    /// Number of the version.
    pub ver: u64,
    /// Whether the job is deleted.
    pub deleted: bool,
}

/// A job in a list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JobSummary {
    /// Namespace.
    pub ns: Word,
    /// Name.
    pub name: Word,
    /// Present version.
    pub ver: u64,
    /// Key of its owner.
    pub owner: [u8; 32],
    /// Number of its tasks.
    pub tasks: u64,
    /// Number of its tasks by state. Tasks that were forgotten, and those of the level secret, are in none.
    pub states: BTreeMap<TaskState, u64>,
}

/// A page of jobs, ascending by namespace and name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JobPage {
    /// The jobs.
    pub items: Vec<JobSummary>,
    /// Last job that was looked at, if there are more.
    pub next: Option<(Word, Word)>,
}

/// An item of a node's stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Item {
    /// Run a copy.
    Run {
        /// The assignment to sign. Its fence is the item's journal index.
        work: Box<Assignment>,
        /// The signed task.
        task: Box<[u8]>,
    },
    /// Drop a copy.
    Drop {
        /// The item's journal index.
        at: u64,
        /// The task.
        task: TaskId,
        /// The copy's fence.
        fence: u64,
        /// Why.
        why: Reason,
    },
}

impl Item {
    /// The item's journal index.
    #[must_use]
    pub const fn at(&self) -> u64 {
        match self {
            Self::Run { work, .. } => work.fence,
            Self::Drop { at, .. } => *at,
        }
    }
}

/// Output of the machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Transmit {
    /// Records for the journal, all in one append. The first one's index is `first`. An append without records renews the lease.
    Append {
        /// Epoch of the leader.
        epoch: u64,
        /// Index of the first record.
        first: u64,
        /// The records.
        records: Vec<Entry>,
    },
    /// The answer to a request. It must not be sent after `until`.
    Answer {
        /// Number of the request.
        call: u64,
        /// The answer.
        answer: Result<Reply, Refusal>,
        /// End of the leader's lease, as far as it is known.
        until: Time,
    },
    /// An item for a node's stream, if it has one open. It must not be sent after `until`.
    Item {
        /// The node.
        node: NodeId,
        /// The item.
        item: Item,
        /// End of the leader's lease, as far as it is known.
        until: Time,
    },
    /// An output whose list of files is needed.
    Fetch(Digest),
}

/// Input of the machine.
#[derive(Clone, Debug)]
pub enum Input {
    /// A record that another leader committed, or that is replayed.
    Entry {
        /// Its index.
        index: u64,
        /// Its kind.
        kind: Box<str>,
        /// Its content.
        body: Box<[u8]>,
    },
    /// The journal made this coordinator the leader.
    Lead {
        /// The new epoch.
        epoch: u64,
        /// Index of the last record. All records up to it were given.
        last: u64,
    },
    /// An append was committed.
    Committed {
        /// Index of its last record; of the last record before it, if it had none.
        index: u64,
        /// When the append began.
        began: Time,
    },
    /// The epoch is over: another leads, or the journal cannot say whether an append was committed.
    Deposed,
    /// List of files of an output; `None` if it is not stored or is none.
    Output(Digest, Option<Box<Output>>),
    /// A node answered over as many relays of the mix as this level has.
    Reached(NodeId, Level),
}

/// Something for the layer above.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A task ended: what it cost, and the nodes that share it.
    Paid {
        /// The task.
        task: TaskId,
        /// Its owner.
        owner: [u8; 32],
        /// Cost in µ.
        cost: u64,
        /// Shares in µ.
        shares: Vec<(NodeId, u64)>,
    },
    /// A bid was committed to, and this much of the bidder's money is blocked.
    Blocked {
        /// Key of the bidder.
        by: [u8; 32],
        /// The commitment.
        commit: Digest,
        /// Amount in µ.
        amount: u64,
    },
    /// A round was cleared, and a bid's money is blocked no longer. `paid`, `lost` and `back` are the amount that was blocked.
    Settled {
        /// Key of the bidder.
        by: [u8; 32],
        /// The commitment.
        commit: Digest,
        /// Price of the lots that it bought, in µ. It is kept until their hour is over.
        paid: u64,
        /// Loss of a bid that was not revealed, in µ.
        lost: u64,
        /// The rest, in µ.
        back: u64,
    },
    /// The hour of a reservation is over, and its node is paid; or the node failed, and the bidder is paid back.
    Rented {
        /// ID of the reservation.
        id: [u8; 16],
        /// Key of the bidder.
        bidder: [u8; 32],
        /// The node.
        node: NodeId,
        /// Amount in µ.
        amount: u64,
        /// Whether the bidder gets it back.
        back: bool,
    },
    /// A task changed: those who wait for its status are to be told.
    Changed(TaskId),
    /// Journal and state disagree, or an invariant is broken. The machine leads no more, and has to be rebuilt.
    Bug(&'static str),
}
