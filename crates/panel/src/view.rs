//! Lists of all nodes and tasks, for filters, sorting and pages. They are read once, and follow the journal from then on.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use betanet_coordinator::{Changed, Reply, Request};
use betanet_fog::bodies::{NodeSummary, TaskSummary};
use betanet_fog::{Refusal, RefusalCode, TaskId, Word};
use betanet_fog_service::Local;
use betanet_wire::NodeId;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::rows::Rows;

/// Rows that are asked for at once.
const ROWS: usize = 1000;
/// Longest time for which lists count without a question to the coordinator, in ms.
const FRESH: u64 = 1000;
/// Time for which a list waits for a coordinator that has much to do, while the last one is not stale.
const PATIENCE: Duration = Duration::from_millis(500);
/// Age from which lists are stale, in ms.
const STALE: u64 = 10_000;
/// Time after which the lists follow the journal though nobody asks, so that nobody waits later.
const FOLLOW: Duration = Duration::from_millis(250);
/// Time after which a coordinator that did not answer, since it does not lead, is asked again though nobody wants to know.
const REST: Duration = Duration::from_secs(5);
/// Time in which the moments of all nodes' last beats are read again, in pieces. They change without a record.
const ROUND: Duration = Duration::from_secs(2);

/// All nodes and tasks. Tasks that no list shows are not among them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Index of the journal up to which it is complete. Rows may show later records too.
    pub(crate) position: u64,
    /// When it was that, in UNIX ms.
    pub(crate) at: u64,
    pub(crate) nodes: Rows<NodeSummary>,
    pub(crate) tasks: Rows<TaskSummary>,
}

impl Snapshot {
    /// Whether it has all up to a position, and the coordinator was asked lately.
    const fn serves(&self, position: u64, now_ms: u64) -> bool {
        self.at > 0 && self.position >= position && now_ms.saturating_sub(self.at) <= FRESH
    }

    /// The namespace of a task, if a list shows it.
    pub(crate) fn namespace(&self, id: &TaskId) -> Option<&Word> {
        self.task(id).map(|t| &t.ns)
    }

    /// A task.
    pub(crate) fn task(&self, id: &TaskId) -> Option<&TaskSummary> {
        self.tasks.get(*id)
    }

    /// A node.
    pub(crate) fn node(&self, id: &NodeId) -> Option<&NodeSummary> {
        self.nodes.get(*id)
    }

    /// Number of nodes of each state.
    pub(crate) fn node_states(&self) -> BTreeMap<&'static str, u64> {
        let mut out = BTreeMap::new();
        for node in self.nodes.iter() {
            *out.entry(node.state.as_str()).or_default() += 1;
        }
        out
    }

    fn apply(&mut self, changed: Changed) {
        for (id, row) in changed.nodes {
            self.nodes.put(id, row);
        }
        for (id, row) in changed.tasks {
            self.tasks.put(id, row);
        }
        self.position = self.position.max(changed.until);
    }
}

/// The last snapshot. Clones share it.
#[derive(Clone)]
pub(crate) struct View(Arc<Inner>);

struct Inner {
    local: Local,
    last: RwLock<Arc<Snapshot>>,
    /// Held by the one who reads. The last node whose beat was read again.
    turn: Mutex<Option<NodeId>>,
}

impl View {
    pub(crate) fn new(local: Local) -> Self {
        Self(Arc::new(Inner {
            local,
            last: RwLock::default(),
            turn: Mutex::default(),
        }))
    }

    /// A snapshot of all that is committed now; or the last one, if the coordinator has too much to do to answer soon. Its position and
    /// age are told.
    pub(crate) async fn get(&self, now_ms: u64) -> Result<Arc<Snapshot>, Refusal> {
        if let Ok(read) = timeout(PATIENCE, self.fresh(now_ms)).await {
            return read;
        }
        let last = self.0.last();
        match last.at > 0 && now_ms.saturating_sub(last.at) <= STALE {
            true => Ok(last),
            false => self.fresh(now_ms).await,
        }
    }

    /// A snapshot of all that is committed now.
    pub(crate) async fn fresh(&self, now_ms: u64) -> Result<Arc<Snapshot>, Refusal> {
        let position = self.0.local.position();
        let last = self.0.last();
        if last.serves(position, now_ms) {
            return Ok(last);
        }
        let _turn = self.0.turn.lock().await;
        let last = self.0.last();
        if last.serves(position, now_ms) {
            return Ok(last);
        }
        self.0.read(now_ms).await
    }

    /// Follows the journal until it is to stop.
    pub(crate) async fn follow(self, clock: impl Fn() -> u64, stop: CancellationToken) {
        let mut answered = true;
        loop {
            let pieces = self.0.last().nodes.len().div_ceil(ROWS).max(1);
            let pause = match answered {
                true => FOLLOW.min(ROUND / u32::try_from(pieces).unwrap_or(u32::MAX)),
                false => REST,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            let mut turn = self.0.turn.lock().await;
            answered = self.0.read(clock()).await.is_ok();
            if answered {
                *turn = self.0.beats(*turn).await.ok().flatten();
            }
        }
    }
}

impl Inner {
    fn last(&self) -> Arc<Snapshot> {
        Arc::clone(&self.last.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&snapshot);
        snapshot
    }

    /// Reads what changed, or all if that is not known. The turn is the caller's.
    async fn read(&self, now_ms: u64) -> Result<Arc<Snapshot>, Refusal> {
        // Rows are read after this, so none is older.
        let position = self.local.position();
        let mut next = Snapshot::clone(&self.last());
        if next.at == 0 {
            next = self.whole().await?;
        }
        loop {
            let after = next.position;
            match self.local.ask(Request::Changed { after }).await? {
                Reply::Changed(Some(changed)) => next.apply(*changed),
                Reply::Changed(None) => next = self.whole().await?,
                _ => return Err(RefusalCode::NotLeader.bare()),
            }
            if next.position >= position {
                next.at = now_ms;
                return Ok(self.set(next));
            }
        }
    }

    /// Reads all rows.
    async fn whole(&self) -> Result<Snapshot, Refusal> {
        let position = self.local.position();
        let (mut nodes, mut after) = (Vec::new(), None);
        loop {
            let (rows, next) = self.nodes(after).await?;
            nodes.extend(rows);
            if next.is_none() {
                break;
            }
            after = next;
        }
        Ok(Snapshot {
            position,
            at: 0,
            nodes: Rows::new(nodes),
            tasks: Rows::new(self.tasks().await?),
        })
    }

    async fn nodes(
        &self,
        after: Option<NodeId>,
    ) -> Result<(Vec<NodeSummary>, Option<NodeId>), Refusal> {
        let (state, n) = (None, ROWS as u64);
        let asked = Request::Nodes { state, after, n };
        let Reply::Nodes(page) = self.local.ask(asked).await? else {
            return Err(RefusalCode::NotLeader.bare());
        };
        Ok((page.items.into_vec(), page.next))
    }

    async fn tasks(&self) -> Result<Vec<TaskSummary>, Refusal> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let asked = Request::Tasks {
                ns: Word::default(),
                state: None,
                after,
                n: ROWS as u64,
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

    /// Reads the nodes after one again, for the moments of their last beats. Returns the last of them, or `None` at the end. The turn is
    /// the caller's.
    async fn beats(&self, after: Option<NodeId>) -> Result<Option<NodeId>, Refusal> {
        let mut next = Snapshot::clone(&self.last());
        let (rows, last) = self.nodes(after).await?;
        for row in rows {
            // One that left meanwhile is told as a change.
            if next.nodes.get(row.id).is_some_and(|old| *old != row) {
                next.nodes.put(row.id, Some(row));
            }
        }
        self.set(next);
        Ok(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_count_at_their_position_and_for_a_second() {
        let lists = Snapshot {
            position: 5,
            at: 1_000,
            ..Snapshot::default()
        };
        assert!(lists.serves(5, 2_000) && !lists.serves(5, 2_001));
        assert!(!lists.serves(6, 1_000), "a record is missing");
        assert!(!Snapshot::default().serves(0, 0), "nothing was read yet");
    }
}
