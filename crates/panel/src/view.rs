//! Lists of all nodes and tasks, for filters, sorting and pages. They are read one piece after another: each row is at least as new as
//! the position that is told.

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
    /// Index of the journal up to which it is complete. Rows may show later records too.
    pub(crate) position: u64,
    /// When it was taken, in UNIX ms.
    pub(crate) at: u64,
    /// How long that took, in ms.
    took: u64,
    pub(crate) nodes: Vec<NodeSummary>,
    pub(crate) tasks: Vec<TaskSummary>,
}

impl Snapshot {
    /// Whether it is new enough while the journal is at a position, or has all up to there. `now_ms` may be a little behind.
    fn serves(&self, position: u64, now_ms: u64, whole: bool) -> bool {
        if self.at == 0 {
            return false;
        }
        let current = self.position >= position;
        if whole {
            return current;
        }
        // Beats of nodes and the reasons why tasks wait change without a record.
        let age = now_ms.saturating_sub(self.at);
        let bound = if current { 1000 } else { 0 };
        let slow = self.took > QUICK;
        age <= bound.max(if slow { 10 * self.took } else { 0 })
    }

    /// Whether the next one is to be made while this one still serves: half of the time before it is too old.
    const fn is_due(&self, now_ms: u64) -> bool {
        self.took > QUICK && now_ms.saturating_sub(self.at) >= 5 * self.took
    }

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

/// The last snapshot. Clones share it.
#[derive(Clone)]
pub(crate) struct View(Arc<Inner>);

struct Inner {
    local: Local,
    last: RwLock<Arc<Snapshot>>,
    /// Held by the one who looks.
    turn: Mutex<()>,
}

impl View {
    pub(crate) fn new(local: Local) -> Self {
        Self(Arc::new(Inner {
            local,
            last: RwLock::default(),
            turn: Mutex::default(),
        }))
    }

    /// A snapshot that is new enough. If it took long, the next one is made before it is too old, so that nobody waits for it.
    pub(crate) async fn get(&self, now_ms: u64) -> Result<Arc<Snapshot>, Refusal> {
        let last = self.0.last();
        if !last.serves(self.0.local.position(), now_ms, false) {
            return self.0.look(now_ms, false).await;
        }
        if last.is_due(now_ms) {
            self.make_next(now_ms);
        }
        Ok(last)
    }

    /// Makes the next snapshot in the background, unless somebody does.
    fn make_next(&self, now_ms: u64) {
        let view = self.clone();
        tokio::spawn(async move {
            let Ok(_turn) = view.0.turn.try_lock() else {
                return;
            };
            // A refusal is told to the next one who has to wait.
            let _ = view.0.read(now_ms).await;
        });
    }

    /// A snapshot of all that is committed now, for what was just made.
    pub(crate) async fn fresh(&self, now_ms: u64) -> Result<Arc<Snapshot>, Refusal> {
        self.0.look(now_ms, true).await
    }
}

impl Inner {
    fn last(&self) -> Arc<Snapshot> {
        Arc::clone(&self.last.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn look(&self, now_ms: u64, whole: bool) -> Result<Arc<Snapshot>, Refusal> {
        let serves = |s: &Snapshot| s.serves(self.local.position(), now_ms, whole);
        let last = self.last();
        if serves(&last) {
            return Ok(last);
        }
        let _turn = self.turn.lock().await;
        let last = self.last();
        if serves(&last) {
            return Ok(last);
        }
        self.read(now_ms).await
    }

    /// Reads a snapshot. The turn is the caller's.
    async fn read(&self, now_ms: u64) -> Result<Arc<Snapshot>, Refusal> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_lists_may_be_old_but_not_for_a_task_that_is_not_in_them() {
        let slow = Snapshot {
            position: 5,
            at: 1_000,
            took: 100,
            ..Snapshot::default()
        };
        assert!(slow.serves(6, 1_900, false), "ten times as old as it took");
        assert!(!slow.serves(6, 1_900, true), "a record is missing");
        assert!(slow.serves(5, 1_900, true));
        assert!(!slow.serves(6, 2_001, false));
        assert!(slow.is_due(1_500) && !slow.is_due(1_499));
        let quick = Snapshot { took: 1, ..slow };
        assert!(!quick.is_due(u64::MAX));
        assert!(quick.serves(5, 2_000, false) && !quick.serves(6, 1_001, false));
        assert!(
            !Snapshot::default().serves(0, 0, true),
            "nothing was read yet"
        );
    }
}
