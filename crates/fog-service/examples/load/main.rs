//! Measures tasks per second from acceptance over assignment to the result, each committed before it is answered.
//!
//! `load direct|sockets memory|sqlite|postgres://… [TASKS] [NODES] [UNDER_WAY]`. Without sockets, requests go to the machine as values whose
//! signatures were verified; with them, users and nodes have sessions over loopback, and everything is signed and verified.
//!
//! Users sign their tasks before the clock starts. Nodes verify assignments and sign receipts while it runs. Users and nodes run
//! on threads of their own, so that the processor time of the coordinator is told apart from theirs. The limits that follow from
//! the parts are measured after the run, on the same machine.

#![allow(
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a program for measurements"
)]

mod direct;
mod parts;
mod sockets;
mod world;

use std::sync::Arc;

use betanet_fog::{Signed, Task};
use betanet_fog_service::{Coordinator, Namespace, PREFIX, Role, Settings, Stores};
use betanet_runtime::{Clock, Gateway, GatewayConfig};
use betanet_store::State;
use world::{OPERATOR, Times, USER, Who, now_ms, task};

/// The allocator of the programs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Name of the threads of users and nodes.
const CLIENTS: &str = "clients";

/// The measured load.
struct Load {
    /// Tasks, with their signatures.
    signed: Vec<Signed<Task>>,
    nodes: usize,
    /// Most tasks that are under way at once.
    under_way: usize,
    times: Arc<Times>,
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mode, kind] = [0, 1].map(|n| args.get(n).cloned().unwrap_or_default());
    let number = |n: usize, or: usize| args.get(n).map_or(or, |text| text.parse().unwrap());
    let (tasks, nodes, under_way) = (number(2, 20_000), number(3, 50), number(4, 200));
    let home = tempfile::tempdir().unwrap();
    let mut config = GatewayConfig::in_state(home.path().join("state"));
    config.listener.listen = vec!["127.0.0.1:0".into()];
    config.limits.per_address = Some(10_000);
    config.limits.opens = Some(1 << 20);
    config.limits.opens_per_second = Some(1 << 20);
    let state = Arc::new(State::open(&config.state()).unwrap());
    let stores = Stores::open(&state, 1 << 30).await.unwrap();
    let user = Who::new(USER, 0);
    let lab = Namespace {
        users: vec![*user.identity.public()],
        ..Namespace::default()
    };
    let settings = Settings {
        operators: vec![*Who::new(OPERATOR, 0).identity.public()],
        namespaces: [("lab".parse().unwrap(), lab)].into(),
        ..Settings::default()
    };
    let me = world::identity(world::COORDINATOR, 0);
    let coordinator = Coordinator::new(me.clone(), settings, stores);
    let gateway = Gateway::builder(me, &config)
        .with_storage(state.clone())
        .service(PREFIX, coordinator.service())
        .extension(coordinator.extension())
        .start()
        .await
        .unwrap();
    let journal = parts::open_journal(&kind, &state, "load").await;
    let peer = gateway.listening().peer();
    let running = coordinator
        .start(&peer, Arc::clone(&journal))
        .await
        .unwrap();
    let leads = |role: &Role| matches!(role, Role::Leads(_));
    running.handle().wait_for(leads).await;
    let now = now_ms();
    let load = Load {
        signed: (0..tasks)
            .map(|n| task(&user.identity, n as u64, now))
            .collect(),
        nodes,
        under_way,
        times: Arc::default(),
    };
    let (sample, times) = (load.signed.first().cloned(), Arc::clone(&load.times));
    let clients = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name(CLIENTS)
        .build()
        .unwrap();
    let handle = running.handle().clone();
    let counted = || Counts::read(&gateway.render_metrics());
    let (before, span, ended) = match mode.as_str() {
        "direct" => {
            let ready = direct::prepare(handle.clone());
            let ready = clients.spawn(ready).await.unwrap();
            let begun = (counted(), Span::begin());
            let run = clients.spawn(direct::run(handle, ready, load));
            (begun.0, begun.1, run.await)
        }
        "sockets" => {
            let ready = sockets::prepare(peer, load.nodes);
            let ready = clients.spawn(ready).await.unwrap();
            let begun = (counted(), Span::begin());
            let run = clients.spawn(sockets::run(ready, load));
            (begun.0, begun.1, run.await)
        }
        _ => panic!(
            "load direct|sockets memory|sqlite|postgres://… [TASKS] [NODES] [UNDER_WAY]: {mode:?}"
        ),
    };
    let (took, cpu) = span.end();
    ended.unwrap();
    let after = counted();
    let records = after.records - before.records;
    let commits = (after.commits - before.commits).max(1.0);
    let micros = after.commit_micros - before.commit_micros;
    let mut all = times.took();
    all.sort_unstable();
    let at = |percent: usize| all[(all.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    let each = |seconds: f64| seconds * 1e6 / tasks as f64;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "{mode} {} tasks={tasks} nodes={nodes} under_way={under_way}: {:.0} tasks/s, p50 {:.1} ms, p99 {:.1} ms",
        kind.split(':').next().unwrap_or_default(),
        tasks as f64 / took.as_secs_f64(),
        at(50),
        at(99),
    );
    println!(
        "processor: coordinator {:.0} µs a task ({:.0} tasks per CPU-second), users and nodes {:.0} µs, on {cores} cores shared by all",
        each(cpu.coordinator),
        tasks as f64 / cpu.coordinator.max(1e-9),
        each(cpu.clients),
    );
    println!(
        "journal: {:.1} records a task, {:.1} a commit, {:.2} ms a commit",
        records / tasks as f64,
        records / commits,
        micros / commits / 1e3,
    );
    let written = parts::records(&*journal, after.last).await;
    running.stop().await;
    gateway.shutdown().await;
    drop((journal, state));
    clients.shutdown_background();
    if let Some(sample) = sample {
        let group = (records / commits).round().max(1.0) as usize;
        parts::signatures_and_codec(&sample, cores);
        parts::journal(&kind, &written, (records / tasks as f64, group)).await;
    }
}

/// Counters of the coordinator.
struct Counts {
    commits: f64,
    records: f64,
    commit_micros: f64,
    /// Index of the last record.
    last: u64,
}

impl Counts {
    fn read(metrics: &str) -> Self {
        let value = |name: &str| {
            let is = |line: &&str| {
                let series = line.split(' ').next().unwrap_or_default();
                series.trim_end_matches("_total").ends_with(name)
            };
            let line = metrics.lines().find(is);
            line.and_then(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
                .unwrap_or_else(|| panic!("no metric {name}"))
        };
        Self {
            commits: value("fog_commits"),
            records: value("fog_records"),
            commit_micros: value("fog_commit_microseconds"),
            last: value("fog_journal_index") as u64,
        }
    }
}

/// A span of the clock, and the processor time that passed in it.
struct Span {
    clock: Clock,
    cpu: Cpu,
}

impl Span {
    fn begin() -> Self {
        Self {
            clock: Clock::start(),
            cpu: Cpu::now(),
        }
    }

    fn end(&self) -> (std::time::Duration, Cpu) {
        let now = Cpu::now();
        let cpu = Cpu {
            coordinator: now.coordinator - self.cpu.coordinator,
            clients: now.clients - self.cpu.clients,
        };
        (self.clock.elapsed(), cpu)
    }
}

/// Processor time in seconds, of user and system.
struct Cpu {
    coordinator: f64,
    clients: f64,
}

impl Cpu {
    /// Sums up the threads of this process by whose they are. Ended threads are the coordinator's, and there are hardly any.
    fn now() -> Self {
        let mut cpu = Self {
            coordinator: 0.0,
            clients: 0.0,
        };
        let all = seconds("/proc/self/stat").unwrap_or(0.0);
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
        for task in tasks.flatten() {
            let path = task.path();
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            if name.trim() == CLIENTS {
                cpu.clients += seconds(&path.join("stat").to_string_lossy()).unwrap_or(0.0);
            }
        }
        cpu.coordinator = all - cpu.clients;
        cpu
    }
}

/// Processor time that a file in `/proc` tells, in ticks of 10 ms.
fn seconds(path: &str) -> Option<f64> {
    let stat = std::fs::read_to_string(path).ok()?;
    let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
    let ticks = |n: usize| fields.get(n)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}
