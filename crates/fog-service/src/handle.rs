//! What requests and the driver share: the way in, who leads, and who waits for what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use betanet_coordinator::{Caller, Item, LevelClaims, NamedBlobs, Reply, Request};
use betanet_fog::bodies::Topology;
use betanet_fog::{Digest, Level, Output, Refusal, RefusalCode, TaskId, Tier, Word};
use betanet_machine::Time;
use betanet_session::Clock;
use betanet_wire::NodeId;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// Most requests that wait for the driver.
pub(crate) const INBOX_MAX: usize = 4_096;

/// Most items that wait for a node's stream to take them.
const ITEMS_MAX: usize = 1_024;

/// What the coordinator does at present.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Role {
    /// It reads the journal.
    Starting,
    /// It leads in this epoch.
    Leads(u64),
    /// Another one leads: its address, as far as the journal names it.
    Follows(Box<str>),
    /// It cannot go on: the reason.
    Failed(Box<str>),
    /// The disk of its journal is nearly full.
    Full(Box<str>),
    /// It was asked to stop.
    Stopped,
}

/// A saved snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Saved {
    /// Index of its last record.
    pub at: u64,
    /// Its length.
    pub bytes: u64,
}

/// The answer of the machine, and the end of the lease under which it counts.
pub(crate) type Answered = (Result<Reply, Refusal>, Time);

/// Something for the driver.
#[derive(Debug)]
pub(crate) enum Ask {
    Call {
        caller: Caller,
        request: Request,
        /// Whether the caller is to be refused if the request is about a task that is for the mix.
        directly: bool,
        answer: oneshot::Sender<Answered>,
    },
    Output(Digest, Option<Box<Output>>),
    Reached(NodeId, Level),
    Claims(Option<NodeId>, oneshot::Sender<LevelClaims>),
    Named(Option<TaskId>, oneshot::Sender<NamedBlobs>),
    Snapshot(oneshot::Sender<Result<Saved, Refusal>>),
    /// Percent of the credit of a namespace, tier and day.
    Credit(Word, Tier, u64, oneshot::Sender<u64>),
}

/// Counters of the driver.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) commit_micros: AtomicU64,
    pub(crate) terms: AtomicU64,
    pub(crate) snapshots: AtomicU64,
}

impl Counts {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// What driver and requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) role: watch::Sender<Role>,
    /// Index of the last committed record.
    pub(crate) committed: watch::Sender<u64>,
    pub(crate) counts: Counts,
    pub(crate) topology: Mutex<Option<Topology>>,
    watchers: Mutex<BTreeMap<TaskId, Weak<Notify>>>,
    nodes: Mutex<BTreeMap<NodeId, mpsc::Sender<(Item, Time)>>>,
}

fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            role: watch::Sender::new(Role::Starting),
            committed: watch::Sender::new(0),
            counts: Counts::default(),
            topology: Mutex::default(),
            watchers: Mutex::default(),
            nodes: Mutex::default(),
        }
    }

    pub(crate) fn be(&self, role: Role) {
        self.role.send_if_modified(|old| {
            let changed = *old != role;
            *old = role;
            changed
        });
    }

    /// Gives an item to the stream of a node, if it has one. A stream that is full ends: the node asks again from its last item.
    pub(crate) fn deliver(&self, node: NodeId, item: Item, until: Time) {
        let mut nodes = locked(&self.nodes);
        if let Some(stream) = nodes.get(&node)
            && stream.try_send((item, until)).is_err()
        {
            nodes.remove(&node);
        }
    }

    /// Ends all streams of nodes: their items are another leader's from now on.
    pub(crate) fn end_streams(&self) {
        locked(&self.nodes).clear();
    }

    pub(crate) fn changed(&self, task: &TaskId) {
        let mut watchers = locked(&self.watchers);
        if let Some(notify) = watchers.get(task) {
            match notify.upgrade() {
                Some(notify) => notify.notify_waiters(),
                None => {
                    watchers.remove(task);
                }
            }
        }
    }
}

/// The coordinator, for those who ask it. Clones share it.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) inbox: mpsc::Sender<Ask>,
}

const NOT_LEADER: Refusal = RefusalCode::NotLeader.bare();

impl Handle {
    /// Asks the machine, and returns its answer once the records that it follows from are committed.
    ///
    /// # Errors
    ///
    /// The machine's refusal; `rate` while its queue is full; `not_leader` or `disk_floor`.
    pub async fn ask(&self, caller: Caller, request: Request) -> Result<Reply, Refusal> {
        self.counted((caller, false), request).await
    }

    /// Like [`Handle::ask`], for a request that did not come over the mix.
    ///
    /// # Errors
    ///
    /// `privacy_route` also for a request about a task above the level public.
    pub async fn ask_directly(&self, caller: Caller, request: Request) -> Result<Reply, Refusal> {
        self.counted((caller, true), request).await
    }

    async fn counted(&self, by: (Caller, bool), request: Request) -> Result<Reply, Refusal> {
        let counts = &self.shared.counts;
        Counts::add(&counts.requests, 1);
        let answered = self.asked(by, request).await;
        if answered.is_err() {
            Counts::add(&counts.refused, 1);
        }
        answered
    }

    async fn asked(
        &self,
        (caller, directly): (Caller, bool),
        request: Request,
    ) -> Result<Reply, Refusal> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask::Call {
            caller,
            request,
            directly,
            answer,
        };
        match self.inbox.try_send(ask) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(RefusalCode::Rate.bare()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(NOT_LEADER),
        }
        // The driver drops what it does not answer, as when it leads no more.
        let (answer, until) = answered.await.map_err(|_| self.silent())?;
        if self.counts_until(until) {
            answer
        } else {
            Err(NOT_LEADER)
        }
    }

    /// The refusal of a coordinator that does not answer.
    fn silent(&self) -> Refusal {
        match &*self.shared.role.borrow() {
            Role::Full(_) => RefusalCode::DiskFloor.bare(),
            _ => NOT_LEADER,
        }
    }

    pub(crate) fn counts_until(&self, until: Time) -> bool {
        self.shared.clock.now().mono < until
    }

    /// What the coordinator does at present.
    #[must_use]
    pub fn role(&self) -> Role {
        self.shared.role.borrow().clone()
    }

    /// Waits until the role passes the test.
    pub async fn wait_for(&self, test: impl FnMut(&Role) -> bool) {
        let mut role = self.shared.role.subscribe();
        // It fails only if the sender is gone, which this handle holds.
        let _ = role.wait_for(test).await;
    }

    /// Waits until the coordinator was asked to stop.
    pub(crate) async fn stopped(&self) {
        self.wait_for(|role| *role == Role::Stopped).await;
    }

    /// Tells that a node answered over as many relays of the mix as this level has.
    pub async fn reached(&self, node: NodeId, level: Level) {
        let _ = self.inbox.send(Ask::Reached(node, level)).await;
    }

    /// All nodes that claim a level above public, unless this coordinator does not lead.
    pub(crate) async fn level_claims(&self) -> Option<Vec<(NodeId, Level)>> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (answer, answered) = oneshot::channel();
            self.inbox.send(Ask::Claims(after, answer)).await.ok()?;
            let LevelClaims { nodes, next } = answered.await.ok()?;
            all.extend(nodes);
            if next.is_none() {
                return Some(all);
            }
            after = next;
        }
    }

    /// The blobs named by tasks that have not ended or ended within the last 24 h, and the names of all known tasks. `None` unless
    /// this coordinator leads.
    pub(crate) async fn named(&self) -> Option<(BTreeSet<Digest>, BTreeSet<TaskId>)> {
        let (mut all, mut known) = (BTreeSet::new(), BTreeSet::new());
        let mut after = None;
        loop {
            let (answer, answered) = oneshot::channel();
            self.inbox.send(Ask::Named(after, answer)).await.ok()?;
            let NamedBlobs {
                digests,
                tasks,
                next,
            } = answered.await.ok()?;
            all.extend(digests);
            known.extend(tasks);
            if next.is_none() {
                return Some((all, known));
            }
            after = next;
        }
    }

    /// Saves a snapshot, and removes records and snapshots before those that are kept.
    ///
    /// # Errors
    ///
    /// `not_leader`: only the leader saves. `in_use` while another snapshot is being saved.
    pub async fn snapshot(&self) -> Result<Saved, Refusal> {
        let (answer, answered) = oneshot::channel();
        let asked = self.inbox.send(Ask::Snapshot(answer)).await;
        asked.map_err(|_| NOT_LEADER)?;
        answered.await.unwrap_or(Err(NOT_LEADER))
    }

    /// Opens the stream of a node, in place of the one that it had.
    pub(crate) fn stream_of(&self, node: NodeId) -> mpsc::Receiver<(Item, Time)> {
        let (sender, items) = mpsc::channel(ITEMS_MAX);
        let mut nodes = locked(&self.shared.nodes);
        nodes.retain(|_, stream| !stream.is_closed());
        nodes.insert(node, sender);
        items
    }

    /// Is notified when a task changes.
    pub(crate) fn watch(&self, task: TaskId) -> Arc<Notify> {
        let mut watchers = locked(&self.shared.watchers);
        if let Some(notify) = watchers.get(&task).and_then(Weak::upgrade) {
            return notify;
        }
        let notify = Arc::new(Notify::new());
        watchers.insert(task, Arc::downgrade(&notify));
        // Those whose last watcher left.
        if watchers.len() > 1_024 && watchers.len().is_power_of_two() {
            watchers.retain(|_, n| n.strong_count() > 0);
        }
        notify
    }

    /// Told of each commit.
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.shared.committed.subscribe()
    }
}

impl Handle {
    /// The part of the pay, in percent, that a namespace gets back for a day in UTC and a tier, as far as the day has come. `None`
    /// unless this coordinator leads, or follows the journal.
    pub async fn credit(&self, ns: Word, tier: Tier, day: u64) -> Option<u64> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask::Credit(ns, tier, day, answer);
        self.inbox.send(ask).await.ok()?;
        answered.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use betanet_fog::Reason;
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_stream_that_is_not_read_ends_at_its_bound() {
        let (inbox, _asks) = mpsc::channel(1);
        let handle = Handle {
            shared: Arc::new(Shared::new(Clock::start())),
            inbox,
        };
        let node = NodeId([1; 20]);
        let mut items = handle.stream_of(node);
        for at in 1..=2_000 {
            let item = Item::Drop {
                at,
                task: TaskId([0; 32]),
                fence: at,
                why: Reason::Ended,
            };
            handle.shared.deliver(node, item, Time::ZERO);
        }
        let mut n = 0;
        while items.try_recv().is_ok() {
            n += 1;
        }
        assert_eq!(n, ITEMS_MAX);
        assert!(items.is_closed(), "the node has to ask again");
    }

    #[tokio::test]
    async fn requests_beyond_the_queue_are_refused_at_once() {
        let (inbox, mut asks) = mpsc::channel(INBOX_MAX);
        let handle = Handle {
            shared: Arc::new(Shared::new(Clock::start())),
            inbox,
        };
        let caller = Caller {
            key: [0; 32],
            node: NodeId([1; 20]),
            operator: false,
            namespaces: Vec::new(),
        };
        let mut waiting = Vec::new();
        for _ in 0..INBOX_MAX {
            let mut asked = Box::pin(handle.ask(caller.clone(), Request::Price));
            assert!((&mut asked).now_or_never().is_none());
            waiting.push(asked);
        }
        let refused = handle.ask(caller, Request::Price).now_or_never();
        assert_eq!(refused, Some(Err(RefusalCode::Rate.bare())));
        // Those that wait are answered, or told that nobody leads.
        let Some(Ask::Call { answer, .. }) = asks.recv().await else {
            panic!("a request is lost")
        };
        let lease = handle.shared.clock.now().mono + std::time::Duration::from_secs(10);
        answer.send((Ok(Reply::Done), lease)).unwrap();
        drop(asks);
        let mut answers = futures_util::future::join_all(waiting).await.into_iter();
        assert_eq!(answers.next(), Some(Ok(Reply::Done)));
        assert!(answers.all(|a| a == Err(NOT_LEADER)));
    }
}
