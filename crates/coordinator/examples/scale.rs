//! Memory and times of one coordinator with many nodes and tasks, printed.
//!
//! `cargo run --release -p betanet-coordinator --example scale [NODES] [TASKS]`, by default with 100 000 nodes and 1 000 000 tasks.
//! No journal is written: times are processor time of the machine alone, on one core. Nodes have 64 cores, tasks ask for one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a program that measures: it prints, reads the clock, and stops where it is surprised"
)]

use std::time::Duration;

use betanet_coordinator::{Caller, Event, Setup};
use betanet_coordinator::{Change, Command, Coordinator, Input, Record, Reply, Request, Transmit};
use betanet_fog::bodies::Beat;
use betanet_fog::{List, Resources, Signed};
use betanet_keys::Identity;
use betanet_machine::{Machine as _, Now, Seed, Time};
use betanet_scheduler::Placer;
use betanet_sim::fog::{UNIX_MS, amounts, caller, identity, node_of, task_of};

type Fog = Coordinator<Placer>;

/// Resident memory of the process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

/// Processor time of this thread, which others on the machine do not lengthen.
#[derive(Clone, Copy)]
struct Cpu(Duration);

impl Cpu {
    fn now() -> Self {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        let ns = text.split(' ').next().unwrap().parse().unwrap();
        Self(Duration::from_nanos(ns))
    }

    fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

struct Bench {
    fog: Fog,
    setup: Setup,
    now: Time,
    calls: u64,
    /// Records so far.
    last: u64,
    replied: Option<Reply>,
}

impl Bench {
    fn clock(&self) -> Now {
        Now::new(self.now, UNIX_MS + self.now.as_micros() / 1_000)
    }

    /// Commits what the machine appends, and forgets what it says.
    fn drain(&mut self) {
        while let Some(out) = self.fog.poll_transmit() {
            match out {
                Transmit::Append { first, records, .. } => {
                    self.last = self.last.max(first + records.len() as u64 - 1);
                    let (index, began) = (self.last, self.now);
                    let committed = Input::Committed { index, began };
                    self.fog.handle_input(self.clock(), committed).unwrap();
                }
                Transmit::Answer { answer, .. } => self.replied = Some(answer.unwrap()),
                Transmit::Item { .. } | Transmit::Fetch(_) => {}
            }
        }
        while let Some(event) = self.fog.poll_event() {
            assert!(!matches!(event, Event::Bug(_)), "{event:?}");
        }
    }

    fn ask(&mut self, caller: Caller, request: Request) {
        self.calls += 1;
        let command = Command {
            call: self.calls,
            caller,
            request,
        };
        self.fog.handle_command(self.clock(), command).unwrap();
        self.drain();
    }

    /// Runs timers until none is due.
    fn settle(&mut self) {
        while self.fog.poll_timeout().is_some_and(|w| w.at <= self.now) {
            self.fog.handle_timeout(self.clock());
            self.drain();
        }
    }

    fn lead(&mut self, epoch: u64) {
        let last = self.last;
        let lead = Input::Lead { epoch, last };
        self.fog.handle_input(self.clock(), lead).unwrap();
        self.drain();
    }
}

fn beat(node: &Identity, seq: u64) -> (Caller, Request) {
    let beat = Beat {
        rtt: List::new(),
        seq,
        gone: List::new(),
        have: List::new(),
        work: true,
    };
    let id = node.public().node_id();
    (caller(node, false), Request::Beat(id, Box::new(beat)))
}

fn rate(n: u64, took: Duration) -> u64 {
    (n as f64 / took.as_secs_f64()) as u64
}

fn main() {
    let mut args = std::env::args()
        .skip(1)
        .map(|a| a.parse().expect("a number"));
    let nodes: u64 = args.next().unwrap_or(100_000);
    let tasks: u64 = args.next().unwrap_or(1_000_000);
    let setup = Setup {
        quota: betanet_coordinator::Quota {
            copies: u64::MAX >> 1,
            waiting: u64::MAX >> 1,
            ..betanet_coordinator::Quota::default()
        },
        ..Setup::new(*identity(1).public())
    };
    let seed = Seed::from_number(1);
    let fog = Coordinator::new(setup.clone(), Placer::new(), &seed);
    let mut b = Bench {
        fog,
        setup,
        now: Time::ZERO + Duration::from_secs(1),
        calls: 0,
        last: 0,
        replied: None,
    };

    // Nodes come by their records, as in a replay: a token for each would measure signatures.
    let mut cap = amounts(64_000, 256 << 30);
    cap.storage = 1 << 40;
    let cap = Resources::capacity(cap).unwrap();
    let ids: Vec<Identity> = (0..nodes).map(|n| identity(1_000_000 + n)).collect();
    let joins: Vec<Vec<u8>> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| {
            let mut node = node_of(id, &format!("z{}", n % 64), &format!("org{}", n / 10));
            node.cap = cap;
            Signed::sign(node, id).unwrap().to_bytes()
        })
        .collect();
    let before = resident();
    let began = Cpu::now();
    for (id, node) in ids.iter().zip(joins) {
        let joined = Change::Joined {
            token: id.public().node_id().0[..16].try_into().unwrap(),
            node: node.into(),
            exp: 0,
            vouched: true,
        };
        let change = [
            joined,
            Change::Online {
                node: id.public().node_id(),
            },
        ];
        for change in change {
            b.last += 1;
            let entry = Record {
                ts: UNIX_MS,
                change,
            }
            .to_entry();
            let entry = Input::Entry {
                index: b.last,
                kind: entry.kind.into(),
                body: entry.body.into(),
            };
            b.fog.handle_input(b.clock(), entry).unwrap();
        }
    }
    let took = began.elapsed();
    println!(
        "{nodes} nodes: {} records/s replayed",
        rate(2 * nodes, took)
    );
    b.lead(1);
    b.settle();
    println!("memory a node: {} bytes", (resident() - before) / nodes);

    let base = nodes.max(30_000);
    let began = Cpu::now();
    for (n, id) in ids.iter().enumerate() {
        let (caller, request) = beat(id, 1);
        b.ask(caller, request);
        if n % 1_000 == 0 {
            b.now = b.now + Duration::from_millis(1);
        }
    }
    let took = began.elapsed();
    println!(
        "beats: {} a second handled; {} a second come at the interval of {} s",
        rate(nodes, took),
        nodes * 1_000 / base,
        base / 1_000
    );

    let user = identity(20);
    let before = resident();
    let (mut busy, mut bytes, mut signed) = (Duration::ZERO, 0, Vec::new());
    for n in 0..tasks {
        let task = Signed::sign(task_of(&user, n), &user).unwrap();
        bytes += task.to_bytes().len() as u64;
        signed.push(task);
        if signed.len() == 1_000 || n + 1 == tasks {
            let began = Cpu::now();
            for task in signed.drain(..) {
                let request = Request::Submit {
                    task: Box::new(task),
                    missing: None,
                };
                b.ask(caller(&user, false), request);
            }
            busy += began.elapsed();
        }
    }
    let began = Cpu::now();
    b.settle();
    busy += began.elapsed();
    println!(
        "{tasks} tasks: {} a second accepted and placed; {} live copies",
        rate(tasks, busy),
        b.fog.placer().live()
    );
    let (known, size) = b.fog.tasks_size();
    println!(
        "memory a task: {} bytes, of which {} are its row and {} its signed record",
        (resident() - before) / tasks,
        size / known,
        bytes / tasks
    );

    let began = Cpu::now();
    let parts = b.fog.snapshot();
    let length: usize = parts.iter().map(Vec::len).sum();
    println!(
        "snapshot: {:.2} s, {} MiB",
        began.elapsed().as_secs_f64(),
        length >> 20
    );
    let hash = b.fog.hash();
    let began = Cpu::now();
    let restored = parts.iter().map(|p| &p[..]);
    b.fog = Coordinator::restore(b.setup.clone(), Placer::new(), &seed, restored).unwrap();
    println!("restore: {:.2} s", began.elapsed().as_secs_f64());
    assert_eq!(hash, b.fog.hash(), "a snapshot gives the same state");
    drop(parts);

    let began = Cpu::now();
    b.lead(2);
    let first = began.elapsed();
    b.settle();
    println!(
        "takeover: first record after {:.2} s, all tasks and nodes looked at after {:.2} s",
        first.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    println!("resident: {} MiB", resident() >> 20);
}
