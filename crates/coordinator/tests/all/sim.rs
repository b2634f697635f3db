//! A fleet in bad weather: crashes, partitions, lost answers, lying workers, slow journals, deposed leaders. Everything follows from
//! a seed, and the invariants are checked after every step.

#[path = "sim_weather.rs"]
mod weather;
#[path = "sim_worker.rs"]
mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use betanet_coordinator::placer::Placer;
use betanet_coordinator::{Change, Record, Reply, Request, Transmit};
use betanet_fog::{Assignment, Offline, Policy, Reason, Signed, Task, TaskId};
use betanet_keys::Identity;
use betanet_machine::Time;
use betanet_wire::NodeId;

use crate::world::{World, caller, identity, node_of};

/// How bad the weather is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub workers: u64,
    pub steps: u64,
    pub tasks: u64,
    /// Events of each kind in 1 000 steps.
    pub crashes: u64,
    pub partitions: u64,
    pub depositions: u64,
    pub slow: u64,
    pub lost: u64,
}

/// A receipt that is sent until it is answered.
type Stored = Box<Signed<betanet_fog::Receipt>>;

struct Running {
    work: Box<Assignment>,
    policy: Policy,
    done: Time,
    started: bool,
    /// Its receipt, once it has one. It is sent until it is answered.
    receipt: Option<Stored>,
    stopped: bool,
}

struct Worker {
    id: Identity,
    node: NodeId,
    liar: bool,
    zone: usize,
    alive: bool,
    linked: bool,
    seq: u64,
    next: Time,
    /// Sending of the last beat that was answered, and what the answer said.
    answered: Option<(Time, u64)>,
    epoch: u64,
    after: u64,
    copies: BTreeMap<u64, Running>,
}

enum Ask {
    Beat(usize, Time),
    Work(usize),
    Start(usize, u64),
    Done(usize, u64),
    Submit(TaskId),
    Other,
}

pub struct Sim<P: Placer> {
    w: World<P>,
    weather: Weather,
    workers: Vec<Worker>,
    users: Vec<Identity>,
    asked: BTreeMap<u64, (Ask, Time)>,
    tasks: BTreeMap<TaskId, Task>,
    acknowledged: BTreeSet<TaskId>,
    returned: BTreeSet<u64>,
    seen: usize,
    in_journal: BTreeSet<TaskId>,
    placed: BTreeMap<u64, (TaskId, NodeId)>,
    leaderless: Option<Time>,
    release: Time,
    shrunk: bool,
    pub ended: BTreeMap<TaskId, Reason>,
    pub losses: u64,
}

impl<P: Placer + Default> Sim<P> {
    pub fn new(seed: u64, weather: Weather) -> Self {
        let mut w = World::new(seed);
        let mut workers = Vec::new();
        for n in 0..weather.workers {
            let id = identity(1_000 + n);
            let zone = (n % 3) as usize;
            w.join(
                &id,
                node_of(&id, &format!("z{zone}"), &format!("org{}", n / 2)),
            );
            let liar = w.rng.below(6) == 0;
            workers.push(Worker {
                node: id.public().node_id(),
                id,
                liar,
                zone,
                alive: true,
                linked: true,
                seq: 10,
                next: w.now,
                answered: Some((w.now, 90_000)),
                epoch: 0,
                after: 0,
                copies: BTreeMap::new(),
            });
        }
        w.items.clear();
        Self {
            w,
            weather,
            workers,
            users: vec![identity(20), identity(21)],
            asked: BTreeMap::new(),
            tasks: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            returned: BTreeSet::new(),
            seen: 0,
            in_journal: BTreeSet::new(),
            placed: BTreeMap::new(),
            leaderless: None,
            release: Time::ZERO,
            shrunk: false,
            ended: BTreeMap::new(),
            losses: 0,
        }
    }

    fn happens(&mut self, in_thousand: u64) -> bool {
        self.w.rng.below(1_000) < in_thousand
    }

    fn pick(&mut self, n: usize) -> usize {
        self.w.rng.below(n as u64) as usize
    }

    /// Sends a request to a member that believes to lead, if there is one.
    fn send(&mut self, by: &Identity, request: Request, ask: Ask) {
        let leading: Vec<usize> = (0..self.w.members.len())
            .filter(|at| self.w.members[*at].machine.get().leads())
            .collect();
        if leading.is_empty() {
            return;
        }
        let pick = self.pick(leading.len());
        let call = self.w.send_to(leading[pick], caller(by, false), request);
        if self.happens(self.weather.lost) {
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
                    match answer {
                        Ok(_) => {
                            self.returned.insert(fence);
                        }
                        Err(refusal) if refusal.code.status() == 503 => return,
                        Err(_) => {}
                    }
                    self.workers[at].copies.remove(&fence);
                }
                (Ask::Submit(id), Ok(Reply::Created | Reply::Done)) => {
                    self.acknowledged.insert(id);
                }
                _ => {}
            }
        }
    }

    /// Commits what the journal held back, and elects a leader once the lease is over.
    fn journal(&mut self) {
        if self.release <= self.w.now && self.w.held.is_some() {
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
            for at in 0..self.w.members.len() {
                let stale = self.w.members[at].cut || self.w.members[at].machine.get().is_broken();
                if stale || self.w.members[at].leads {
                    self.w.rebuild(at);
                }
            }
            let next = if self.w.members.len() == 1 {
                self.w.add_member()
            } else {
                self.pick(2)
            };
            self.w.elect(next);
        }
    }

    fn step(&mut self) {
        let pass = 1 + self.w.rng.below(3_000);
        self.w.pass(pass);
        self.weather();
        for at in 0..self.workers.len() {
            self.work(at);
        }
        self.journal();
        self.answers();
        self.w.items.clear();
        self.w.events.clear();
        self.check();
    }

    fn check(&mut self) {
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
            match Record::read(stored.kind, &stored.body).unwrap().change {
                Change::Accepted { task, .. } => {
                    self.in_journal
                        .insert(Signed::<Task>::restore(&task).unwrap().id());
                }
                Change::Assigned { task, node, .. } => {
                    self.placed.insert(stored.index, (task, node));
                }
                Change::Lost { fence, why, .. } => {
                    self.losses += 1;
                    let (task, node) = self.placed[&fence];
                    let worker = self.workers.iter().find(|w| w.node == node).unwrap();
                    let runs = worker
                        .copies
                        .get(&fence)
                        .is_some_and(|c| c.receipt.is_none());
                    let stops = self.tasks[&task].offline.rule == Offline::Stop;
                    assert!(
                        !(why == Reason::Down && stops && runs && worker.alive),
                        "a copy runs beyond its fence"
                    );
                }
                Change::Ended { task, reason, .. } => {
                    assert!(
                        self.ended.insert(task, reason).is_none(),
                        "a task ends once"
                    );
                }
                _ => {}
            }
        }
        let early: Vec<&TaskId> = self.acknowledged.difference(&self.in_journal).collect();
        assert!(early.is_empty(), "said before it is committed: {early:?}");
    }

    /// The weather clears: every accepted task ends, or waits with a reason.
    fn heal(&mut self) {
        self.weather = Weather {
            crashes: 0,
            partitions: 0,
            depositions: 0,
            slow: 0,
            lost: 0,
            tasks: 0,
            ..self.weather
        };
        for worker in &mut self.workers {
            (worker.alive, worker.linked) = (true, true);
            worker.next = self.w.now;
        }
        for _ in 0..200 {
            self.step();
        }
        let open: Vec<TaskId> = self
            .in_journal
            .iter()
            .filter(|t| !self.ended.contains_key(*t))
            .copied()
            .collect();
        for id in open {
            let status = self.w.status(id);
            let live = status
                .copies
                .iter()
                .any(|c| matches!(&*c.state, "assigned" | "running"));
            assert!(
                live || !status.why.is_empty(),
                "a task waits for no reason: {status:?}"
            );
        }
        self.w.check();
    }

    pub fn run(&mut self) {
        for _ in 0..self.weather.steps {
            self.step();
        }
        self.heal();
    }
}

pub const ROUGH: Weather = Weather {
    workers: 9,
    steps: 250,
    tasks: 60,
    crashes: 30,
    partitions: 25,
    depositions: 8,
    slow: 40,
    lost: 30,
};

/// Number of seeds of a run: `FOG_SEEDS`, or a few.
fn seeds(few: u64) -> std::ops::Range<u64> {
    let first = std::env::var("FOG_FIRST")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    let n = std::env::var("FOG_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(few);
    first..first + n
}

/// Runs seeds and prints what happened.
fn storms<P: Placer + Default>(weather: Weather, few: u64) {
    let (mut done, mut losses, mut reasons) = (0, 0, BTreeMap::<Reason, u64>::new());
    let all = seeds(few);
    for seed in all.clone() {
        let run = std::panic::AssertUnwindSafe(|| {
            let mut sim = Sim::<P>::new(seed, weather);
            sim.run();
            sim
        });
        let sim = std::panic::catch_unwind(run).unwrap_or_else(|_| panic!("seed {seed}"));
        done += sim.ended.len();
        losses += sim.losses;
        for reason in sim.ended.values() {
            *reasons.entry(*reason).or_default() += 1;
        }
    }
    println!(
        "{} seeds: {done} tasks ended, {losses} copies lost, {reasons:?}",
        all.end - all.start
    );
    assert!(done > 0 && losses > 0, "the weather was bad");
}

#[test]
fn nothing_is_lost_and_nothing_counts_twice_in_rough_weather() {
    storms::<betanet_scheduler::Placer>(ROUGH, 6);
}

#[test]
fn a_placer_that_goes_over_all_nodes_weathers_it_too() {
    storms::<crate::naive::Naive>(ROUGH, 2);
}
