//! What a node holds and owes, without clock, socket or task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use betanet_fog::bodies::{Beat, BeatAnswer, Held, JoinAnswer, RoundTrip, RunCopy, WorkItem};
use betanet_fog::{Assignment, Digest, List, Received, Refusal, RefusalCode, Signed, Task, TaskId};
use betanet_keys::{PreparedKey, PublicKey};
use betanet_machine::{Now, Time};
use betanet_wire::NodeId;

/// Most copies that a node holds: a beat lists no more.
const COPIES_MAX: usize = 1024;
/// Fences of copies that are over, which are remembered.
const OVER_MAX: usize = 4096;
/// Most blobs that a beat reports as gone; the rest follows with the next one.
const GONE_MAX: usize = 1024;
/// Most round trips that a beat reports.
const TRIPS_MAX: usize = 16;
/// Shortest and longest interval between beats that a coordinator can set.
const TTL: std::ops::RangeInclusive<u64> = 1_000..=86_400_000;
/// Interval after a beat that was not answered.
const AGAIN: Duration = Duration::from_secs(5);
/// First jump of the sequence number after one that was too old; each later one is twice as far.
const JUMP: u64 = 1 << 10;

/// A copy to run, with both records checked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Run {
    /// The task.
    pub task: Signed<Task>,
    /// Its ID.
    pub id: TaskId,
    /// The leader's order.
    pub work: Signed<Assignment>,
}

/// The outcome of an item of the node's stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Order {
    /// Run this copy.
    Run(Arc<Run>),
    /// Stop the copy of this task under this fence, and report nothing.
    Drop(TaskId, u64),
    /// The item is known, or concerns nothing that the node holds.
    Nothing,
}

/// Reason why a node does not obey an item.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// A record breaks a rule, or its signature does not verify.
    #[error("{0}")]
    Record(Refusal),
    /// The assignment is signed by no coordinator of the cluster.
    #[error("no coordinator of the cluster signed the assignment")]
    Signer,
    /// The assignment's epoch is below the highest that the node has seen.
    #[error("epoch {0} is over")]
    Epoch(u64),
    /// The assignment is for another node, task or position.
    #[error("the assignment does not belong to this item")]
    Mismatch,
    /// The node holds as many copies as a beat can list.
    #[error("the node holds {COPIES_MAX} copies")]
    Full,
}

/// What a node has to do now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Due {
    /// Send a beat.
    Beat,
    /// Stop the copy under this fence: its offline policy says so, because beats were not answered for long.
    Stop(TaskId, u64),
    /// Stop the copy under this fence and report the outcome `time`: its end is reached.
    Time(u64),
}

/// The outcome of an answer to a beat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Beaten {
    /// The leader answered.
    Counts,
    /// The answer's epoch is below the highest seen: the coordinator was deposed.
    Deposed,
}

struct Copy {
    run: Arc<Run>,
    /// Whether the program has ended. Its receipt is not taken yet.
    ended: bool,
}

/// A key that may sign assignments. Whoever does signs all of them, so it is prepared at its first.
struct Leader {
    key: PublicKey,
    prepared: Option<PreparedKey>,
}

/// A node's state towards its coordinators.
pub struct NodeSession {
    own: NodeId,
    leaders: Vec<Leader>,
    epoch: u64,
    /// Whether the coordinator in use was deposed: its drops are not obeyed.
    deposed: bool,
    seq: u64,
    jump: u64,
    /// Silence after which the node is offline, in ms.
    down: u64,
    next_beat: Time,
    /// When the last beat that was answered was sent; at first, when the node began.
    answered: Time,
    held: BTreeMap<u64, Copy>,
    gone: BTreeSet<Digest>,
    trips: Vec<RoundTrip>,
    open: bool,
    /// The newest fences whose copies are over, so that a stream that begins again starts none a second time.
    over: BTreeSet<u64>,
}

impl std::fmt::Debug for NodeSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeSession")
            .field("epoch", &self.epoch)
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

fn ms(at: Time) -> u64 {
    at.as_micros() / 1000
}

impl NodeSession {
    /// Begins with the answer to the node's join. Sequence numbers begin at the time, so that they rise over restarts.
    #[must_use]
    pub fn new(now: Now, own: NodeId, joined: &JoinAnswer) -> Self {
        let keys = joined.coords.iter();
        Self {
            own,
            leaders: keys
                .filter_map(|key| PublicKey::from_bytes(key).ok())
                .map(|key| Leader {
                    key,
                    prepared: None,
                })
                .collect(),
            epoch: joined.epoch,
            deposed: false,
            seq: now.unix_ms,
            jump: JUMP,
            down: joined.down,
            next_beat: now.mono,
            answered: now.mono,
            held: BTreeMap::new(),
            gone: BTreeSet::new(),
            trips: Vec::new(),
            open: true,
            over: BTreeSet::new(),
        }
    }

    /// Highest epoch seen.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Number of copies that are held: running ones, and ended ones whose receipt no coordinator has taken.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// The copy under a fence.
    #[must_use]
    pub fn run(&self, fence: u64) -> Option<&Arc<Run>> {
        self.held.get(&fence).map(|copy| &copy.run)
    }

    /// Says whether the node takes new copies, from the next beat on.
    pub const fn set_open(&mut self, open: bool) {
        self.open = open;
    }

    /// Makes the next beat due at once, so that the coordinator learns soon what has changed.
    pub fn hurry(&mut self, now: Now) {
        self.next_beat = self.next_beat.min(now.mono);
    }

    /// Notes that a receipt of an earlier run is stored for this fence: its copy does not run again.
    pub fn settle(&mut self, fence: u64) {
        self.held.remove(&fence);
        self.remember(fence);
    }

    /// Reports a blob that the node no longer holds, with the next beats.
    pub fn lost_blob(&mut self, blob: Digest) {
        // Beyond the bound, a coordinator believes a little longer that the node holds some.
        if self.gone.len() < 4 * GONE_MAX {
            self.gone.insert(blob);
        }
    }

    /// Reports a measured round trip, with the next beat.
    pub fn measured(&mut self, trip: RoundTrip) {
        self.trips.retain(|known| known.node != trip.node);
        if self.trips.len() >= TRIPS_MAX {
            self.trips.remove(0);
        }
        self.trips.push(trip);
    }

    /// Makes the next beat. Each has a new sequence number.
    pub fn beat(&mut self, now: Now) -> Beat {
        self.seq = self.seq.saturating_add(1).max(now.unix_ms);
        self.next_beat = now.mono + AGAIN;
        let gone: Vec<Digest> = self.gone.iter().take(GONE_MAX).copied().collect();
        let have: Vec<Held> = self
            .held
            .iter()
            .map(|(fence, copy)| Held {
                task: copy.run.id,
                fence: *fence,
            })
            .collect();
        Beat {
            rtt: List::try_from(self.trips.clone()).unwrap_or_default(),
            seq: self.seq,
            gone: List::try_from(gone).unwrap_or_default(),
            have: List::try_from(have).unwrap_or_default(),
            work: self.open && self.held.len() < COPIES_MAX,
        }
    }

    /// Takes the answer to a beat that was sent at `sent`.
    pub fn beaten(&mut self, sent: Time, beat: &Beat, answer: &BeatAnswer) -> Beaten {
        if answer.epoch < self.epoch {
            self.deposed = true;
            return Beaten::Deposed;
        }
        self.deposed = false;
        self.epoch = answer.epoch;
        self.jump = JUMP;
        self.down = answer.down;
        self.answered = self.answered.max(sent);
        let ttl = answer.ttl.clamp(*TTL.start(), *TTL.end());
        self.next_beat = sent + Duration::from_millis(ttl);
        for blob in &beat.gone {
            self.gone.remove(blob);
        }
        let told = &beat.rtt;
        self.trips.retain(|trip| !told.contains(trip));
        Beaten::Counts
    }

    /// Takes the refusal of a beat. After `seq_old`, as with a clock that was set back, the sequence number jumps ahead.
    pub fn beat_refused(&mut self, now: Now, code: Option<RefusalCode>) {
        if code == Some(RefusalCode::SeqOld) {
            self.seq = self.seq.saturating_add(self.jump);
            self.jump = self.jump.saturating_mul(2);
            self.next_beat = now.mono;
        }
    }

    /// Takes an item of the node's stream.
    ///
    /// # Errors
    ///
    /// The node does not obey it. Nothing has changed.
    pub fn work(&mut self, item: &WorkItem) -> Result<Order, WorkError> {
        match item {
            // A stream that begins again may repeat copies.
            WorkItem::Run(run) if self.held.contains_key(&run.at) => Ok(Order::Nothing),
            WorkItem::Run(run) if self.over.contains(&run.at) => Ok(Order::Nothing),
            WorkItem::Run(run) => self.take(run),
            WorkItem::Drop(drop) => {
                let known = self.held.get(&drop.fence);
                // An answer of a deposed coordinator is no order.
                if self.deposed || known.is_none_or(|copy| copy.run.id != drop.task) {
                    return Ok(Order::Nothing);
                }
                self.forget(drop.fence);
                Ok(Order::Drop(drop.task, drop.fence))
            }
        }
    }

    fn take(&mut self, item: &RunCopy) -> Result<Order, WorkError> {
        let received = Received::<Assignment>::new(item.work.clone()).map_err(WorkError::Record)?;
        let mut leaders = self.leaders.iter_mut();
        let leader = leaders.find(|leader| leader.key.as_bytes() == received.signer());
        let leader = leader.ok_or(WorkError::Signer)?;
        let key = leader
            .prepared
            .get_or_insert_with(|| PreparedKey::new(leader.key));
        let work = received
            .verify_prepared(key)
            .and_then(|authentic| authentic.check(0))
            .map_err(WorkError::Record)?;
        if work.epoch < self.epoch {
            return Err(WorkError::Epoch(work.epoch));
        }
        // A task's deadline was checked when it was submitted; the assignment's end bounds the copy.
        let task = Received::<Task>::new(item.task.clone())
            .and_then(Received::verify)
            .map_err(WorkError::Record)?;
        let id = TaskId::of(task.rec());
        if work.node != self.own || work.task != id || work.fence != item.at {
            return Err(WorkError::Mismatch);
        }
        let envelope = betanet_fog::to_vec(&item.task);
        let task = Signed::<Task>::restore(&envelope).map_err(WorkError::Record)?;
        if self.held.len() >= COPIES_MAX {
            return Err(WorkError::Full);
        }
        self.epoch = work.epoch;
        let fence = work.fence;
        let run = Arc::new(Run { task, id, work });
        let copy = Copy {
            run: Arc::clone(&run),
            ended: false,
        };
        self.held.insert(fence, copy);
        Ok(Order::Run(run))
    }

    /// Notes that the program under a fence has ended. The copy is held until its receipt is taken. Returns whether it was held.
    pub fn ended(&mut self, fence: u64) -> bool {
        let copy = self.held.get_mut(&fence);
        copy.is_some_and(|copy| !std::mem::replace(&mut copy.ended, true))
    }

    /// Forgets a copy: its receipt was taken or refused for good, or it was given back.
    pub fn forget(&mut self, fence: u64) {
        if self.held.remove(&fence).is_some() {
            self.remember(fence);
        }
    }

    fn remember(&mut self, fence: u64) {
        self.over.insert(fence);
        if self.over.len() > OVER_MAX {
            self.over.pop_first();
        }
    }

    /// When a running copy has to stop: by its offline policy, and by its end. The second is a time of day.
    fn stops(&self, copy: &Copy) -> (Option<u64>, u64) {
        let policy = copy.run.task.offline;
        let stop = policy.worker_stops(ms(self.answered), self.down);
        (stop, copy.run.work.end)
    }

    /// Takes what is due. A copy that has to stop by its policy is no longer held.
    pub fn due(&mut self, now: Now) -> Vec<Due> {
        let mut due = Vec::new();
        if self.next_beat <= now.mono {
            self.next_beat = now.mono + AGAIN;
            due.push(Due::Beat);
        }
        let mut stopped = Vec::new();
        for (fence, copy) in self.held.iter().filter(|(_, copy)| !copy.ended) {
            let (stop, end) = self.stops(copy);
            if stop.is_some_and(|at| at <= ms(now.mono)) {
                stopped.push(*fence);
                due.push(Due::Stop(copy.run.id, *fence));
            } else if end <= now.unix_ms {
                due.push(Due::Time(*fence));
            }
        }
        for fence in stopped {
            self.forget(fence);
        }
        due
    }

    /// When something is due next.
    #[must_use]
    pub fn wake(&self, now: Now) -> Time {
        let mut at = self.next_beat;
        for copy in self.held.values().filter(|copy| !copy.ended) {
            let (stop, end) = self.stops(copy);
            let left = Duration::from_millis(end.saturating_sub(now.unix_ms));
            at = at.min(now.mono + left);
            if let Some(stop) = stop {
                at = at.min(Time::from_micros(stop.saturating_mul(1000)));
            }
        }
        at
    }
}

#[cfg(test)]
mod tests;
