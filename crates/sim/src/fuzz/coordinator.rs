//! The fog's coordinator, driven by bytes beside a small model: tasks that it accepted are known, an end stays, and a replay of its
//! journal gives the same state.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use betanet_coordinator::{
    Caller, Command, Coordinator, Entry, Event, Input, Item, Reply, Request, Setup, Transmit,
};
use betanet_fog::bodies::{Beat, Held, StateRequest, TokenRequest};
use betanet_fog::{
    Amounts, Kind, Labels, Level, List, Map, Module, Node, NodeState, Offline, Outcome, Placement,
    Policy, Receipt, Received, Resources, Retry, Signed, Strategy, Task, TaskId, TaskState, Tier,
    Token, Verification, Verify,
};
use betanet_keys::Identity;
use betanet_machine::testkit::Checked;
use betanet_machine::{Machine as _, Now, Seed, Time};
use betanet_scheduler::Placer;
use betanet_wire::NodeId;

const UNIX_MS: u64 = 1_790_000_000_000;
/// Steps of one input, so that none takes long.
const STEPS: usize = 400;

type Machine = Checked<Coordinator<Placer>>;

struct World {
    machine: Machine,
    journal: Vec<(u64, Entry)>,
    epoch: u64,
    now: Time,
    calls: u64,
    answer: Option<Result<Reply, betanet_fog::Refusal>>,
    nodes: Vec<Identity>,
    seqs: [u64; 4],
    /// Copies that each node was told to run.
    copies: [Vec<(TaskId, betanet_fog::Assignment)>; 4],
    user: Identity,
    key: Identity,
    /// What is known of accepted tasks: their last state that ended, if any.
    tasks: BTreeMap<TaskId, Option<TaskState>>,
}

fn fresh(key: &Identity, now: Time) -> Machine {
    let seed = Seed::from_number(1);
    let machine = Coordinator::new(Setup::new(*key.public()), Placer::new(), &seed);
    Checked::since(machine, now)
}

impl World {
    fn new() -> Self {
        let key = Identity::from_seed(&[1; 32]);
        let now = Time::ZERO + Duration::from_secs(1);
        let mut this = Self {
            machine: fresh(&key, now),
            journal: Vec::new(),
            epoch: 0,
            now,
            calls: 0,
            answer: None,
            nodes: (2..6).map(|n| Identity::from_seed(&[n; 32])).collect(),
            seqs: [0; 4],
            copies: Default::default(),
            user: Identity::from_seed(&[9; 32]),
            key,
            tasks: BTreeMap::new(),
        };
        this.lead();
        this
    }

    fn clock(&self) -> Now {
        Now::new(self.now, self.unix())
    }

    fn unix(&self) -> u64 {
        UNIX_MS + self.now.as_micros() / 1_000
    }

    fn replayed(&self) -> Machine {
        let mut machine = fresh(&self.key, self.now);
        for (index, entry) in &self.journal {
            let entry = Input::Entry {
                index: *index,
                kind: entry.kind.into(),
                body: entry.body.as_slice().into(),
            };
            let taken = machine.handle_input(self.clock(), entry);
            assert!(taken.is_ok() && !machine.get().is_broken());
        }
        machine
    }

    fn lead(&mut self) {
        self.machine = self.replayed();
        self.epoch += 1;
        let lead = Input::Lead {
            epoch: self.epoch,
            last: self.journal.last().map_or(0, |(index, _)| *index),
        };
        assert!(self.machine.handle_input(self.clock(), lead).is_ok());
        self.settle();
    }

    fn settle(&mut self) {
        // A call's timers at one instant are fewer than the checker's bound.
        for _ in 0..60 {
            self.drain();
            let due = self
                .machine
                .poll_timeout()
                .is_some_and(|w| w.at <= self.now);
            if !due {
                return;
            }
            self.machine.handle_timeout(self.clock());
        }
    }

    fn drain(&mut self) {
        while let Some(out) = self.machine.poll_transmit() {
            match out {
                Transmit::Append { first, records, .. } => {
                    let last = self.journal.last().map_or(0, |(index, _)| *index);
                    assert_eq!(first, last + 1);
                    self.journal.extend((first..).zip(records));
                    let committed = Input::Committed {
                        index: self.journal.last().map_or(0, |(index, _)| *index),
                        began: self.now,
                    };
                    assert!(self.machine.handle_input(self.clock(), committed).is_ok());
                }
                Transmit::Answer { answer, .. } => self.answer = Some(answer),
                Transmit::Item { .. } => {}
                Transmit::Fetch(digest) => {
                    let none = Input::Output(digest, None);
                    assert!(self.machine.handle_input(self.clock(), none).is_ok());
                }
            }
        }
        while let Some(event) = self.machine.poll_event() {
            assert!(!matches!(event, Event::Bug(_)), "{event:?}");
        }
    }

    fn ask(&mut self, by: &Identity, operator: bool, request: Request) -> Option<Reply> {
        self.calls += 1;
        self.answer = None;
        let caller = Caller {
            key: *by.public().as_bytes(),
            node: by.public().node_id(),
            operator,
            namespaces: "lab".parse().into_iter().collect(),
        };
        let command = Command {
            call: self.calls,
            caller,
            request,
        };
        let before = self.machine.get().last();
        if self.machine.handle_command(self.clock(), command).is_err() {
            assert_eq!(self.machine.get().last(), before);
            return None;
        }
        self.settle();
        self.answer.take()?.ok()
    }

    fn join(&mut self, at: usize) -> Option<()> {
        let id = self.nodes.get(at)?.clone();
        let key = *id.public().as_bytes();
        let amounts = Amounts {
            cpu: 2_000,
            memory: 1 << 32,
            ..Amounts::default()
        };
        let node = Node {
            cap: Resources::capacity(amounts).ok()?,
            key,
            org: ["a", "b", "c", "d"].get(at)?.parse().ok()?,
            seq: 1,
            kind: Kind::Compute,
            zone: "z".parse().ok()?,
            level: Level::Public,
            model: "".parse().ok()?,
            price: 1,
            engine: "e".parse().ok()?,
            labels: Labels::default(),
            region: "".parse().ok()?,
        };
        let asked = TokenRequest {
            id: [u8::try_from(at).ok()?; 16],
            exp: UNIX_MS + (1 << 40),
            org: node.org.clone(),
            node: None,
            kinds: List::try_from([Kind::Compute].to_vec()).ok()?,
        };
        let key = self.key.clone();
        let Some(Reply::Token(token)) = self.ask(&key, true, Request::IssueToken(asked)) else {
            return None;
        };
        let token: Signed<Token> = Signed::sign(*token, &key).ok()?;
        let node = Signed::sign(node, &id).ok()?;
        let request = Request::Join {
            node: Box::new(Received::new(node.envelope().clone()).ok()?),
            token: token.to_text().ok()?.into(),
        };
        self.ask(&id, false, request).map(|_| ())
    }

    fn submit(&mut self, byte: u8) -> Option<()> {
        let user = self.user.clone();
        let verify = match byte % 3 {
            0 => Verification::NONE,
            1 => Verification {
                rule: Verify::Spot,
                k: 0,
                n: 0,
            },
            _ => Verification {
                rule: Verify::Quorum,
                k: 2,
                n: 2,
            },
        };
        let amounts = Amounts {
            cpu: u64::from(byte % 4) * 500 + 100,
            memory: 1 << 20,
            ..Amounts::default()
        };
        let after: Vec<TaskId> = self
            .tasks
            .keys()
            .take(usize::from(byte % 2))
            .copied()
            .collect();
        let task = Task {
            ns: "lab".parse().ok()?,
            env: Map::new(),
            res: Resources::demand(amounts).ok()?,
            rsv: None,
            args: List::new(),
            fuel: 1 << 30,
            prio: u64::from(byte % 10),
            tier: if byte > 200 {
                Tier::Silver
            } else {
                Tier::Bronze
            },
            after: List::try_from(after).ok()?,
            group: "".parse().ok()?,
            level: Level::Public,
            nonce: [byte; 16],
            owner: *user.public().as_bytes(),
            place: Placement::default(),
            retry: Retry {
                most: u64::from(byte % 3),
                base: 1_000,
                cap: 5_000,
            },
            start: 0,
            budget: 1 << 40,
            grants: List::new(),
            inputs: List::new(),
            module: Module {
                digest: [9; 32],
                size: 1,
            },
            run_ms: 20_000,
            verify,
            offline: Policy {
                rule: Offline::Stop,
                ms: 0,
            },
            out_max: 1,
            deadline: UNIX_MS + 1_000_000 + u64::from(byte) * 1_000,
            strategy: Strategy::RoundRobin,
        };
        let task = Signed::sign(task, &user).ok()?;
        let id = task.id();
        let request = Request::Submit {
            task: Box::new(task),
            missing: None,
        };
        self.ask(&user, false, request)?;
        self.tasks.entry(id).or_insert(None);
        Some(())
    }

    fn beat(&mut self, at: usize, byte: u8) -> Option<()> {
        let id = self.nodes.get(at)?.clone();
        self.seqs[at] += 1;
        let held = self.copies[at].iter().take(usize::from(byte));
        let have: Vec<Held> = held
            .map(|(task, work)| Held {
                task: *task,
                fence: work.fence,
            })
            .collect();
        let beat = Beat {
            rtt: List::new(),
            seq: self.seqs[at],
            gone: List::new(),
            have: List::try_from(have).ok()?,
            work: byte != 1,
        };
        let node: NodeId = id.public().node_id();
        self.ask(&id, false, Request::Beat(node, Box::new(beat)))?;
        let Reply::Work(items) = self.ask(&id, false, Request::Work { node, after: 0 })? else {
            return None;
        };
        self.copies[at] = items
            .into_iter()
            .filter_map(|item| match item {
                Item::Run { work, .. } => Some((work.task, *work)),
                Item::Drop { .. } => None,
            })
            .take(64)
            .collect();
        Some(())
    }

    fn done(&mut self, at: usize, byte: u8) -> Option<()> {
        let id = self.nodes.get(at)?.clone();
        let nth = usize::from(byte) % self.copies[at].len().max(1);
        let (task, work) = self.copies[at].get(nth)?.clone();
        let status = *Outcome::ALL.get(usize::from(byte) % Outcome::ALL.len())?;
        let receipt = Receipt {
            inputs: work.inputs_digest(),
            end: 0,
            key: *id.public().as_bytes(),
            out: status.has_output().then_some([byte % 2; 32]),
            copy: work.copy,
            fuel: u64::from(byte),
            task,
            epoch: work.epoch,
            fence: work.fence,
            start: 0,
            engine: "e".parse().ok()?,
            module: if byte == 255 { [0; 32] } else { [9; 32] },
            status,
        };
        let receipt = Box::new(Signed::sign(receipt, &id).ok()?);
        self.ask(&id, false, Request::Done(task, receipt))
            .map(|_| ())
    }

    fn step(&mut self, op: u8, byte: u8) {
        let at = usize::from(op >> 4) % 4;
        let nth = |tasks: &BTreeMap<TaskId, _>| tasks.keys().nth(usize::from(byte) % 16).copied();
        let id = self.nodes.get(at).cloned();
        let Some(id) = id else {
            return;
        };
        let node = id.public().node_id();
        match op & 15 {
            0 => drop(self.join(at)),
            1..=3 => drop(self.submit(byte)),
            4..=6 => drop(self.beat(at, byte)),
            7..=9 => drop(self.done(at, byte)),
            10 => {
                if let Some((task, work)) = self.copies[at].first().cloned() {
                    self.ask(&id, false, Request::Nack(task, work.fence));
                }
            }
            11 => {
                if let Some(task) = nth(&self.tasks) {
                    let user = self.user.clone();
                    self.ask(&user, false, Request::Cancel(task));
                }
            }
            12 => {
                let to = NodeState::ALL[usize::from(byte) % NodeState::ALL.len()];
                let until = self.unix() + u64::from(byte) * 100;
                let key = self.key.clone();
                self.ask(&key, true, Request::State(node, StateRequest { to, until }));
            }
            13 => drop(self.ask(&id, false, Request::Leave(node))),
            14 => self.lead(),
            _ => {
                self.now = self.now + Duration::from_millis(u64::from(byte) * 500);
                self.settle();
            }
        }
    }

    fn check(&mut self) {
        assert_eq!(self.machine.get().audit(), Ok(()));
        assert_eq!(self.machine.get().audit_capacity(), Ok(()));
        let user = self.user.clone();
        for id in self.tasks.keys().copied().collect::<Vec<_>>() {
            let Some(Reply::Status(status)) = self.ask(&user, false, Request::Status(id)) else {
                // Nobody leads, or its time is over.
                continue;
            };
            let known = self.tasks.get_mut(&id);
            if let Some(known) = known {
                assert!(
                    known.is_none_or(|state| state == status.state),
                    "an end stays"
                );
                *known = status.state.ended().then_some(status.state);
            }
            assert!(status.state != TaskState::Queued || !status.why.is_empty());
        }
    }
}

/// A coordinator, its nodes and a user: two bytes a step.
pub fn coordinator(data: &[u8]) {
    let mut world = World::new();
    for (n, step) in data.chunks_exact(2).take(STEPS).enumerate() {
        world.step(step[0], step[1]);
        if n % 16 == 15 {
            world.check();
        }
    }
    world.check();
    let copy = world.replayed();
    if copy.get().last() == world.machine.get().last() {
        assert_eq!(copy.get().hash(), world.machine.get().hash());
    }
}
