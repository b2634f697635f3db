//! A fleet in bad weather: crashes, partitions, lost answers, lying workers, slow journals, deposed leaders.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use betanet_coordinator::placer::Placer;
use betanet_coordinator::{Input, Reply, Request, Transmit};
use betanet_fog::bodies::Status;
use betanet_fog::{Assignment, Offline, Order, Policy, Reason, Signed, Task, TaskId};
use betanet_keys::Identity;
use betanet_machine::{Machine as _, Time};
use betanet_wire::NodeId;

use super::model::Model;
use super::records::{caller, identity};
use super::scenario::{Outcome, Scenario};
use super::world::World;

/// A receipt that is sent until it is answered.
pub(super) type Kept = Box<Signed<betanet_fog::Receipt>>;

/// A copy at its worker.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) work: Box<Assignment>,
    pub(super) policy: Policy,
    pub(super) done: Time,
    pub(super) started: bool,
    /// Its receipt, once it has one. It is sent until it is answered.
    pub(super) receipt: Option<Kept>,
    pub(super) stopped: bool,
}

/// A node that speaks the protocol and does trivial work.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) id: Identity,
    pub(super) node: NodeId,
    pub(super) record: betanet_fog::Node,
    pub(super) liar: bool,
    pub(super) zone: u64,
    pub(super) alive: bool,
    pub(super) linked: bool,
    /// The only coordinator that hears it, if not all do.
    pub(super) side: Option<usize>,
    pub(super) seq: u64,
    pub(super) next: Time,
    /// Sending of the last beat that was answered, and what the answer said.
    pub(super) answered: Option<(Time, u64)>,
    pub(super) epoch: u64,
    pub(super) after: u64,
    pub(super) copies: BTreeMap<u64, Running>,
}

/// What an answer is to.
#[derive(Debug)]
pub(super) enum Ask {
    Beat(usize, Time),
    Work(usize),
    Start(usize, u64),
    Done(usize, u64),
    Submit(TaskId),
    Commit(Box<(Identity, Order)>),
    Market(u64),
    Status(TaskId),
    Other,
}

/// Longest time for which a task may wait without a reason, until its turn comes.
const TURN: Duration = Duration::from_secs(30);

/// Whether a task has ended, runs, or waits with a reason.
fn has_reason(status: &Status) -> bool {
    let mut copies = status.copies.iter();
    let live = copies.any(|c| matches!(&*c.state, "assigned" | "running"));
    status.state.ended() || live || !status.why.is_empty()
}

/// A scenario in a world.
#[derive(Debug)]
pub struct Storm<P: Placer> {
    pub(super) w: World<P>,
    pub(super) s: Scenario,
    pub(super) workers: Vec<Worker>,
    pub(super) users: Vec<Identity>,
    asked: BTreeMap<u64, (Ask, Time)>,
    pub(super) tasks: BTreeMap<TaskId, Task>,
    pub(super) acknowledged: BTreeSet<TaskId>,
    pub(super) model: Model,
    seen: usize,
    /// A follower that replays the journal.
    witness: usize,
    /// A snapshot, and the number of entries that are in it.
    snapshot: Option<(Vec<Vec<u8>>, usize)>,
    leaderless: Option<Time>,
    /// Whether the leader dies in the next step, with appends under way.
    dying: bool,
    /// Whether the last leader waits for its appends.
    stalled: bool,
    release: Time,
    pub(super) shrunk: bool,
    steps: u64,
    /// Index of the last record at which states were compared.
    compared: u64,
    /// Task whose reason was asked for last.
    looked: Option<TaskId>,
    /// That task, if it waits for no reason, and since when.
    unexplained: Option<(TaskId, Time)>,
    /// Orders that were committed to, with their round.
    pub(super) orders: Vec<(Identity, Order)>,
    /// Reservations that users know of.
    pub(super) rents: Vec<([u8; 16], Identity)>,
    pub(super) asked_round: u64,
    pub(super) outcome: Outcome,
}

impl<P: Placer + Default> Storm<P> {
    /// A fleet of this scenario, before the first step.
    #[must_use]
    pub fn new(seed: u64, scenario: &Scenario) -> Self {
        let mut w = World::new(seed);
        let mut workers = Vec::new();
        for n in 0..scenario.nodes {
            let id = identity(1_000 + n);
            let zone = n % scenario.zones.max(1);
            let record = super::market::lessor(&id, zone, n / scenario.per_org.max(1));
            w.join(&id, record.clone());
            let liar = w.rng.below(100) < scenario.liars_percent;
            workers.push(Worker {
                node: id.public().node_id(),
                id,
                record,
                liar,
                zone,
                alive: true,
                linked: true,
                side: None,
                seq: 10,
                next: w.now,
                answered: Some((w.now, 90_000)),
                epoch: 0,
                after: 0,
                copies: BTreeMap::new(),
            });
        }
        w.items.clear();
        let witness = w.add_member();
        w.members[witness].cut = true;
        Self {
            w,
            s: scenario.clone(),
            workers,
            users: [identity(20), identity(21)].into(),
            asked: BTreeMap::new(),
            tasks: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            model: Model::default(),
            seen: 0,
            witness,
            snapshot: None,
            leaderless: None,
            dying: false,
            stalled: false,
            release: Time::ZERO,
            shrunk: false,
            steps: 0,
            compared: 0,
            looked: None,
            unexplained: None,
            orders: Vec::new(),
            rents: Vec::new(),
            asked_round: 0,
            outcome: Outcome::default(),
        }
    }

    pub(super) fn happens(&mut self, in_thousand: u64) -> bool {
        self.w.rng.below(1_000) < in_thousand
    }

    pub(super) fn pick(&mut self, n: usize) -> usize {
        self.w.rng.below(n as u64) as usize
    }

    /// Sends a request to a member that believes to lead, if there is one that hears.
    pub(super) fn send(&mut self, by: &Identity, request: Request, ask: Ask) {
        let me = self.workers.iter().find(|w| w.id.public() == by.public());
        let side = me.and_then(|w| w.side);
        let leading: Vec<usize> = (0..self.w.members.len())
            .filter(|at| self.w.members[*at].machine.get().leads())
            .filter(|at| side.is_none_or(|side| side == *at))
            .collect();
        if leading.is_empty() {
            return;
        }
        let pick = self.pick(leading.len());
        let call = self.w.send_to(leading[pick], caller(by, false), request);
        if self.happens(self.s.lost) {
            self.w.answers.remove(&call);
        } else {
            self.asked.insert(call, (ask, self.w.now));
        }
    }

    fn answers(&mut self) {
        let calls: Vec<u64> = self.asked.keys().copied().collect();
        for call in calls {
            let Some(answer) = self.w.answers.remove(&call) else {
                if self.asked[&call].1 + Duration::from_secs(20) < self.w.now {
                    self.asked.remove(&call);
                }
                continue;
            };
            let (ask, _) = self.asked.remove(&call).unwrap();
            match (ask, answer) {
                (Ask::Beat(at, sent), Ok(Reply::Beat(beat))) => {
                    let worker = &mut self.workers[at];
                    if worker.alive && worker.linked {
                        worker.answered = Some((sent, beat.down));
                        worker.next = sent + Duration::from_millis(beat.ttl);
                    }
                }
                (Ask::Work(at), Ok(Reply::Work(items))) => self.take(at, items),
                (Ask::Start(at, fence), answer) => {
                    let copy = self.workers[at].copies.get_mut(&fence);
                    if let (Some(copy), Ok(_)) = (copy, answer) {
                        copy.started = true;
                    }
                }
                (Ask::Done(at, fence), answer) => {
                    if answer.is_err_and(|refusal| refusal.code.status() == 503) {
                        continue;
                    }
                    self.workers[at].copies.remove(&fence);
                }
                (Ask::Submit(id), Ok(Reply::Created | Reply::Done)) => {
                    self.acknowledged.insert(id);
                }
                (Ask::Commit(order), Ok(_)) => self.orders.push(*order),
                (Ask::Market(round), Ok(Reply::Market(view))) => self.market_seen(round, &view),
                (Ask::Status(id), Ok(Reply::Status(status))) => self.explain(id, &status),
                _ => {}
            }
        }
    }

    /// Commits what the journal held back, and elects a leader once the lease is over.
    fn journal(&mut self) {
        if self.release <= self.w.now && self.w.held.is_some() && self.leaderless.is_none() {
            // What comes of a commit is appended after what was held.
            while let Some(held) = self.w.held.take().filter(|held| !held.is_empty()) {
                self.w.held = Some(Vec::new());
                for (at, append, began) in held {
                    let Transmit::Append { epoch, .. } = &append else {
                        continue;
                    };
                    if *epoch == self.w.journal.epoch || self.w.members[at].leads {
                        self.w.append(at, append, began);
                    }
                }
            }
        }
        if self.leaderless.is_some_and(|at| at <= self.w.now) {
            self.leaderless = None;
            self.w.held = None;
            if core::mem::take(&mut self.stalled) {
                let at = self.w.leader();
                self.w.depose(at);
            }
            for at in 0..self.w.members.len() {
                let member = &self.w.members[at];
                let stale = member.cut || member.leads || member.machine.get().is_broken();
                if at != self.witness && stale {
                    self.rebuild(at);
                }
            }
            let next = if self.w.members.len() == 2 {
                self.w.add_member()
            } else {
                [0, 2][self.pick(2)]
            };
            self.outcome.elections += 1;
            self.w.elect(next);
        }
    }

    /// Rebuilds a member from the journal, or from a snapshot and the records after it.
    fn rebuild(&mut self, at: usize) {
        match self.snapshot.take() {
            Some((parts, fed)) => {
                self.outcome.restored += 1;
                self.w.restore(at, &parts, fed);
            }
            None => self.w.rebuild(at),
        }
    }

    /// The leader dies, goes on believing, or waits. Of appends that are under way, the journal has some.
    pub(super) fn depose(&mut self) {
        if self.leaderless.is_some() {
            return;
        }
        if !core::mem::replace(&mut self.dying, true) {
            self.w.held.get_or_insert_default();
            self.release = self.w.now + Duration::from_secs(60);
            return;
        }
        self.dying = false;
        for (_, append, _) in self.w.held.take().into_iter().flatten() {
            if self.happens(self.s.unheard) {
                let before = self.w.journal.last;
                self.w.write_unheard(append);
                self.outcome.unheard += u64::from(self.w.journal.last > before);
            }
        }
        let at = self.w.leader();
        match self.pick(3) {
            0 => self.w.members[at].cut = true,
            1 => self.rebuild(at),
            _ => {
                // It waits for its appends until it hears of the next leader.
                self.w.held = Some(Vec::new());
                self.stalled = true;
            }
        }
        let wait = 10_000 + self.w.rng.below(20_000);
        let leased = self.w.journal.leased.unwrap_or(self.w.now).max(self.w.now);
        self.leaderless = Some(leased + Duration::from_millis(wait));
    }

    /// Whether a leader is about to die.
    pub(super) const fn is_dying(&self) -> bool {
        self.dying
    }

    /// The journal takes its time from now on.
    pub(super) fn slow_down(&mut self) {
        if self.leaderless.is_none() && self.w.held.is_none() {
            self.w.held = Some(Vec::new());
            self.release = self.w.now + Duration::from_millis(self.w.rng.below(3_000));
        }
    }

    fn step(&mut self) {
        self.steps += 1;
        let pass = 1 + self.w.rng.below(self.s.step_ms);
        self.w.pass(pass);
        self.weather();
        for at in 0..self.workers.len() {
            self.work(at);
        }
        self.trade();
        self.journal();
        self.look();
        self.answers();
        self.w.items.clear();
        self.w.events.clear();
        self.check();
    }

    /// Asks the leader for an open task: one after each step, in turn. It has no turns while the journal is slow.
    fn look(&mut self) {
        let at = self.w.leader();
        let leads = self.leaderless.is_none() && self.w.members[at].machine.get().leads();
        if !leads || self.w.held.is_some() {
            self.unexplained = None;
            return;
        }
        let open = self.model.open();
        let after = |id: &&TaskId| match (self.unexplained, self.looked) {
            (Some((same, _)), _) => **id == same,
            (None, last) => last.is_none_or(|last| **id > last),
        };
        let Some(next) = open.iter().find(after).or(open.first()).copied() else {
            return;
        };
        self.looked = Some(next);
        let anyone = caller(&identity(99), false);
        let call = self.w.send_to(at, anyone, Request::Status(next));
        self.asked.insert(call, (Ask::Status(next), self.w.now));
    }

    /// Checks that a task does not wait for long without a reason.
    fn explain(&mut self, id: TaskId, status: &Status) {
        let known = self.unexplained.filter(|(same, _)| *same == id);
        let since = known.map_or(self.w.now, |(_, since)| since);
        self.unexplained = (!has_reason(status)).then_some((id, since));
        assert!(
            self.unexplained.is_none() || self.w.now <= since + TURN,
            "a task waits for no reason, for {} s: {status:?}",
            (self.w.now - since).as_secs()
        );
    }

    /// Checks the invariants.
    fn check(&mut self) {
        self.outcome.checks += 1;
        for member in &self.w.members {
            let machine = member.machine.get();
            if !machine.is_broken() {
                machine.audit().unwrap();
                if !self.shrunk {
                    machine.audit_capacity().unwrap();
                }
            }
        }
        while let Some(stored) = self.w.journal.entries.get(self.seen) {
            self.seen += 1;
            let lost = self.model.take(stored, &mut self.outcome);
            let Some((fence, why)) = lost else {
                continue;
            };
            let (task, _, node) = self.model.copies[&fence];
            let worker = self.workers.iter().find(|w| w.node == node).unwrap();
            let copy = worker.copies.get(&fence);
            let runs = copy.is_some_and(|c| c.receipt.is_none());
            let stops = self.tasks[&task].offline.rule == Offline::Stop;
            assert!(
                !(why == Reason::Down && stops && runs && worker.alive),
                "a copy runs beyond its fence"
            );
        }
        self.model.check_capacity();
        for id in &self.acknowledged {
            let known = self.model.tasks.contains_key(id);
            assert!(known, "said before it is committed: {id:?}");
        }
        self.replay();
    }

    /// Lets the witness replay what is new, and compares its state with the leader's.
    fn replay(&mut self) {
        let now = self.w.clock();
        let member = &mut self.w.members[self.witness];
        while let Some(stored) = self.w.journal.entries.get(member.fed) {
            let entry = Input::Entry {
                index: stored.index,
                kind: stored.kind.into(),
                body: stored.body.clone().into(),
            };
            member.machine.handle_input(now, entry).unwrap();
            member.fed += 1;
        }
        assert!(!member.machine.get().is_broken(), "the journal is whole");
        let last = self.w.journal.last;
        if last == self.compared || !self.steps.is_multiple_of(self.s.compare.max(1)) {
            return;
        }
        let replayed = &self.w.members[self.witness];
        let leader = self.w.machine();
        if leader.leads() && leader.last() == last {
            self.compared = last;
            let same = leader.hash() == replayed.machine.get().hash();
            assert!(same, "a replay gives the same state");
        }
        if self.w.rng.below(20) == 0 {
            let parts = self.w.members[self.witness].machine.get().snapshot();
            self.snapshot = Some((parts, self.w.members[self.witness].fed));
        }
    }

    /// The weather clears: every accepted task ends, or waits with a reason.
    fn heal(&mut self) {
        self.s = Scenario {
            crashes: 0,
            partitions: 0,
            depositions: 0,
            slow: 0,
            lost: 0,
            tasks: 0,
            shrinks: 0,
            orders: 0,
            skew_ms: 0,
            ..self.s.clone()
        };
        self.w.skew = 0;
        if self.dying {
            self.depose();
        }
        for worker in &mut self.workers {
            (worker.alive, worker.linked, worker.side) = (true, true, None);
            worker.next = self.w.now;
        }
        for _ in 0..self.s.calm {
            self.step();
        }
        for id in self.model.open() {
            self.outcome.open += 1;
            let status = self.w.status(id);
            assert!(
                has_reason(&status),
                "a task waits for no reason: {status:?}"
            );
        }
        self.w.check();
    }

    /// Runs the scenario, and returns what was counted.
    ///
    /// # Panics
    ///
    /// An invariant is broken.
    pub fn run(mut self) -> Outcome {
        let began = self.w.now;
        for _ in 0..self.s.steps {
            self.step();
        }
        self.heal();
        self.outcome.seconds = (self.w.now - began).as_secs();
        self.outcome
    }
}
