//! All nodes and tasks at one position of the journal, for lists with filters, sorting and pages.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use betanet_coordinator::{Reply, Request};
use betanet_fog::bodies::{NodeSummary, TaskSummary};
use betanet_fog::{Refusal, RefusalCode, TaskId, Word};
use betanet_fog_service::Local;
use betanet_wire::NodeId;
use tokio::sync::Mutex;

/// Rows that are asked for at once.
const ROWS: u64 = 1000;
/// Longest look after which each request looks again, in ms. Lists that take longer may be ten times as old as they took.
const QUICK: u64 = 20;

/// All nodes and tasks. Tasks that no list shows are not among them.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Index of the journal up to which it is complete.
    pub(crate) position: u64,
    /// When it was taken, in UNIX ms.
    pub(crate) at: u64,
    /// How long that took, in ms.
    took: u64,
    pub(crate) nodes: Vec<NodeSummary>,
    pub(crate) tasks: Vec<TaskSummary>,
}

impl Snapshot {
    /// The namespace of a task, if a list shows it.
    pub(crate) fn namespace(&self, id: &TaskId) -> Option<&Word> {
        self.task(id).map(|t| &t.ns)
    }

    /// A task; they stand by ID.
    pub(crate) fn task(&self, id: &TaskId) -> Option<&TaskSummary> {
        let at = self.tasks.binary_search_by(|t| t.id.cmp(id)).ok()?;
        self.tasks.get(at)
    }

    /// A node; they stand by ID.
    pub(crate) fn node(&self, id: &NodeId) -> Option<&NodeSummary> {
        let at = self.nodes.binary_search_by(|n| n.id.cmp(id)).ok()?;
        self.nodes.get(at)
    }

    /// Number of nodes of each state.
    pub(crate) fn node_states(&self) -> BTreeMap<&'static str, u64> {
        let mut out = BTreeMap::new();
        for node in &self.nodes {
            *out.entry(node.state.as_str()).or_default() += 1;
        }
        out
    }
}

/// The last snapshot.
pub(crate) struct View {
    local: Local,
    last: RwLock<Arc<Snapshot>>,
    /// Held by the one who looks.
    turn: Mutex<()>,
}

impl View {
    pub(crate) fn new(local: Local) -> Self {
        Self {
            local,
            last: RwLock::default(),
            turn: Mutex::default(),
        }
    }

    fn last(&self) -> Arc<Snapshot> {
        Arc::clone(&self.last.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a snapshot is new enough. `now_ms` may be a little behind.
    fn serves(&self, snapshot: &Snapshot, now_ms: u64) -> bool {
        if snapshot.at == 0 {
            return false;
        }
        let current = snapshot.position >= self.local.position();
        // Beats of nodes and the reasons why tasks wait change without a record.
        let age = now_ms.saturating_sub(snapshot.at);
        let bound = if current { 1000 } else { 0 };
        age <= bound.max(if snapshot.took > QUICK {
            10 * snapshot.took
        } else {
            0
        })
    }

    /// A snapshot that is new enough.
    pub(crate) async fn get(&self, now_ms: u64) -> Result<Arc<Snapshot>, Refusal> {
        let last = self.last();
        if self.serves(&last, now_ms) {
            return Ok(last);
        }
        let _turn = self.turn.lock().await;
        let last = self.last();
        if self.serves(&last, now_ms) {
            return Ok(last);
        }
        let started = tokio::time::Instant::now();
        // Rows are read after this, so none is older.
        let position = self.local.position();
        let (nodes, tasks) = (self.nodes().await?, self.tasks().await?);
        let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let snapshot = Arc::new(Snapshot {
            position,
            at: now_ms.saturating_add(took),
            took,
            nodes,
            tasks,
        });
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&snapshot);
        Ok(snapshot)
    }

    async fn nodes(&self) -> Result<Vec<NodeSummary>, Refusal> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (state, n) = (None, ROWS);
            let asked = Request::Nodes { state, after, n };
            let Reply::Nodes(page) = self.local.ask(asked).await? else {
                return Err(RefusalCode::NotLeader.bare());
            };
            all.extend(page.items.into_vec());
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }

    async fn tasks(&self) -> Result<Vec<TaskSummary>, Refusal> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let asked = Request::Tasks {
                ns: Word::default(),
                state: None,
                after,
                n: ROWS,
            };
            let Reply::Tasks(page) = self.local.ask(asked).await? else {
                return Err(RefusalCode::NotLeader.bare());
            };
            all.extend(page.items.into_vec());
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }
}
