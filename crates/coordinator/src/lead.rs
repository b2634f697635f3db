//! What a leader knows beside the durable state. A new leader begins without it.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use betanet_fog::{TaskId, Word};
use betanet_machine::Time;
use betanet_scheduler::Place;
use betanet_wire::NodeId;

use crate::record::Entry;
use crate::request::{Event, Transmit};
use crate::state::tasks::Alike;
use crate::waiting::Waiting;

/// Time from the begin of the last commit after which a leader says nothing.
pub const LEASE: Duration = Duration::from_secs(10);

/// Longest time between two appends.
pub const RENEW: Duration = Duration::from_secs(2);

/// Time from a new leader's first commit to the moment from which its nodes count, in ms.
pub(crate) const TAKEOVER: u64 = 10_000;

/// Most answers, items and events that wait for commits.
pub(crate) const HELD_MAX: usize = 1 << 16;

/// Something that is said once its record is committed.
#[derive(Debug)]
pub(crate) enum Held {
    Out(Transmit),
    Event(Event),
}

/// A node's last beat.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    pub(crate) seq: Option<u64>,
    /// Time of the last beat; under amnesty, the time at which it counts as having beaten.
    pub(crate) last: Time,
    /// The silences after which it would be offline, as its last answers said: newest first, in ms.
    pub(crate) downs: [u64; 3],
    pub(crate) work: bool,
    /// Live copies that the last beats lacked, and how many of them.
    pub(crate) lacks: BTreeMap<u64, u8>,
}

impl Pulse {
    /// Silence after which the node is offline.
    pub(crate) const fn down(&self) -> Duration {
        Duration::from_millis(self.downs[0])
    }

    /// The longest silence that the node may still go by: an answer may be lost. After three beats the first one's has passed.
    pub(crate) fn longest_down(&self) -> u64 {
        self.downs.into_iter().max().unwrap_or(0)
    }

    pub(crate) fn answered(&mut self, down: u64) {
        self.downs = [down, self.downs[0], self.downs[1]];
    }
}

/// Offline nodes of a zone whose fences are due and held back.
#[derive(Debug, Default)]
pub(crate) struct Braked {
    /// Nodes by their last beat.
    pub(crate) nodes: BTreeSet<(Time, NodeId)>,
    /// Time of the next step.
    pub(crate) next: Time,
    /// Nodes that are left of a step.
    pub(crate) left: Option<usize>,
}

/// Heartbeats, and what follows from silence.
#[derive(Debug, Default)]
pub(crate) struct Pulses {
    pub(crate) of: BTreeMap<NodeId, Pulse>,
    /// Nodes by the time at which they are offline.
    pub(crate) silence: BTreeSet<(Time, NodeId)>,
    /// Fences of offline nodes by the time at which they die.
    pub(crate) deaths: BTreeSet<(Time, u64)>,
    pub(crate) death_of: BTreeMap<u64, (Time, NodeId)>,
    pub(crate) braked: BTreeMap<Word, Braked>,
}

impl Pulses {
    /// Sets the time of a node's last beat.
    pub(crate) fn beat(
        &mut self,
        id: NodeId,
        last: Time,
        fresh: impl FnOnce() -> Pulse,
    ) -> &mut Pulse {
        let pulse = self.of.entry(id).or_insert_with(fresh);
        self.silence.remove(&(pulse.last + pulse.down(), id));
        pulse.last = last;
        pulse
    }

    /// Waits for the node's silence from now on.
    pub(crate) fn watch(&mut self, id: NodeId) {
        if let Some(pulse) = self.of.get(&id) {
            self.silence.insert((pulse.last + pulse.down(), id));
        }
    }

    pub(crate) fn unwatch(&mut self, id: NodeId) {
        if let Some(pulse) = self.of.get(&id) {
            self.silence.remove(&(pulse.last + pulse.down(), id));
        }
    }

    pub(crate) fn forget(&mut self, id: NodeId) {
        self.unwatch(id);
        self.of.remove(&id);
    }

    /// A fence of an offline node dies then.
    pub(crate) fn doom(&mut self, fence: u64, at: Time, node: NodeId) {
        self.spare(fence);
        self.deaths.insert((at, fence));
        self.death_of.insert(fence, (at, node));
    }

    pub(crate) fn spare(&mut self, fence: u64) {
        if let Some((at, _)) = self.death_of.remove(&fence) {
            self.deaths.remove(&(at, fence));
        }
    }
}

/// When a task is looked at next, and where it stands in the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) wake: Option<u64>,
    pub(crate) queued: Option<(Alike, Place)>,
}

/// Nodes that are kept for a task. Tasks that come before it in the queue get them all the same.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) task: TaskId,
    pub(crate) place: Place,
    pub(crate) nodes: Vec<NodeId>,
    /// End of the claim, in UNIX ms.
    pub(crate) until: u64,
    /// Whether the nodes take nothing now.
    pub(crate) closed: bool,
}

/// What is to be done, and when, in UNIX ms.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    pub(crate) marks: BTreeMap<TaskId, Mark>,
    pub(crate) tasks: BTreeSet<(u64, TaskId)>,
    pub(crate) node_marks: BTreeMap<NodeId, u64>,
    pub(crate) nodes: BTreeSet<(u64, NodeId)>,
    /// Tasks that changed since they were looked at.
    pub(crate) dirty: BTreeSet<TaskId>,
    pub(crate) dirty_nodes: BTreeSet<NodeId>,
    /// Live copies by fence.
    pub(crate) live: BTreeMap<u64, TaskId>,
    pub(crate) waiting: Waiting,
    /// Something changed that may make room.
    pub(crate) stirred: bool,
    /// The next time at which blocked groups are tried although nothing is known to have changed.
    pub(crate) retry: u64,
    /// Groups that did not fit: when it was found out why, and the last time at which no credit was due for that.
    pub(crate) reasons: BTreeMap<Alike, (u64, Option<u64>)>,
    /// Nodes that are kept for tasks which waited long.
    pub(crate) claims: Vec<Claim>,
    /// Time before which no more are looked for, in UNIX ms.
    pub(crate) next_claim: u64,
    pub(crate) topology: u64,
}

impl Agenda {
    /// Takes a task out of the queue until then.
    pub(crate) fn postpone(&mut self, id: TaskId, until: u64) {
        let queued = self.marks.get(&id).and_then(|m| m.queued);
        if let Some((alike, place)) = queued {
            self.waiting.remove(alike, place);
        }
        let wake = self.marks.get(&id).and_then(|m| m.wake);
        self.mark(id, Some(wake.map_or(until, |at| at.min(until))), None);
    }

    /// Sets when a task is looked at next, and its place in the queue.
    pub(crate) fn mark(&mut self, id: TaskId, wake: Option<u64>, queued: Option<(Alike, Place)>) {
        let old = self.marks.remove(&id);
        let (old_wake, old_place) = old.map_or((None, None), |m| (m.wake, m.queued));
        if old_wake != wake {
            if let Some(at) = old_wake {
                self.tasks.remove(&(at, id));
            }
            if let Some(at) = wake {
                self.tasks.insert((at, id));
            }
        }
        if old_place != queued {
            if let Some((alike, place)) = old_place {
                self.waiting.remove(alike, place);
            }
            if let Some((alike, place)) = queued {
                self.waiting.insert(alike, place, id);
            }
        }
        if wake.is_some() || queued.is_some() {
            self.marks.insert(id, Mark { wake, queued });
        }
    }
}

/// A leader.
#[derive(Debug)]
pub(crate) struct Lead {
    pub(crate) epoch: u64,
    /// Index of its first record.
    pub(crate) first: u64,
    /// Index of the last committed record.
    pub(crate) committed: u64,
    /// It says nothing from then on.
    pub(crate) until: Time,
    /// Time of the last append.
    pub(crate) appended: Time,
    /// Records of this call.
    pub(crate) group: Vec<Entry>,
    pub(crate) held: VecDeque<(u64, Held)>,
    /// Whether its first record is committed.
    pub(crate) started: bool,
    /// Moment from which its nodes count.
    pub(crate) counts_from: Time,
    pub(crate) pulses: Pulses,
    pub(crate) agenda: Agenda,
}

impl Lead {
    pub(crate) fn new(epoch: u64, last: u64, now: Time) -> Self {
        Self {
            epoch,
            first: last.saturating_add(1),
            committed: last,
            until: now,
            appended: now,
            group: Vec::new(),
            held: VecDeque::new(),
            started: false,
            counts_from: now,
            pulses: Pulses::default(),
            agenda: Agenda::default(),
        }
    }

    /// Whether it may say something.
    pub(crate) fn speaks(&self, now: Time) -> bool {
        self.started && now < self.until
    }
}
