//! Measures a ledger node that takes all records from another one by ALIAS_GOSSIP over loopback, and commits them to SQLite.
//!
//! `sync [RECORDS] [OWNERS]`: 1 000 000 records of 16 owners by default. Each record has a signature of its owner and of two signers, and
//! each is verified. The measured node and the node that serves it run on threads of their own, so that their processor times are
//! told apart. Then the node answers questions, and restarts from a snapshot. The limits that follow from the parts are measured
//! after the run, on the same machine. Exits with 1 if a figure misses its bound, which holds for 1 000 000 records.

#![allow(
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for measurements"
)]

mod parts;
mod world;

use std::future::Future;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use betanet_journal::{Journal, MemoryStore};
use betanet_journal_sqlite::{Settings as SqliteSettings, SqliteJournal};
use betanet_naming_service::client;
use betanet_runtime::Clock;
use betanet_store::State;
use tokio::runtime::Runtime;
use world::{Node, World, alias};

/// Names of the threads of the measured node, and of the others.
const MEASURED: &str = "measured";
const OTHERS: &str = "others";
/// Records before the time of the others begins: a node asks a new peer after a random time of up to 5 s.
const FIRST: u64 = 1024;
/// Questions that are asked.
const QUESTIONS: usize = 1000;
/// Records a second that a node has to take, verify and commit at least.
const RECORDS_A_SECOND: f64 = 20_000.0;
/// Milliseconds that half of the proofs take at most, from question to answer.
const PROOF_MS: f64 = 1.0;
/// Seconds that a restart from a snapshot takes at most.
const RESTART_S: f64 = 2.0;

/// The figures that missed their bounds.
#[derive(Default)]
struct Missed(Vec<&'static str>);

impl Missed {
    fn check(&mut self, what: &'static str, is_met: bool) {
        if !is_met {
            self.0.push(what);
        }
    }
}

fn runtime(name: &str) -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name(name).build().unwrap()
}

/// Runs a future on the threads of a runtime.
fn on<T: Send + 'static>(runtime: &Runtime, future: impl Future<Output = T> + Send + 'static) -> T {
    runtime.block_on(runtime.spawn(future)).unwrap()
}

fn sqlite(home: &Path) -> Arc<dyn Journal> {
    let state = Arc::new(State::open_within(home, Duration::from_secs(60)).unwrap());
    Arc::new(SqliteJournal::open(&state, SqliteSettings::default()).unwrap())
}

fn main() -> ExitCode {
    let mut missed = Missed::default();
    let mut args = std::env::args().skip(1);
    let mut number = |or: usize| args.next().map_or(or, |text| text.parse().unwrap());
    let (records, owners) = (number(1_000_000), number(16));
    let home = tempfile::tempdir().unwrap();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let began = Clock::start();
    let world = Arc::new(World::new(records, owners));
    println!(
        "{records} records of {owners} owners, {} bytes each, signed in {:.0} s",
        world.bytes() / records,
        began.elapsed().as_secs_f64()
    );
    let (measured, others) = (runtime(MEASURED), runtime(OTHERS));
    let served = {
        let (world, home) = (Arc::clone(&world), home.path().join("served"));
        on(&others, async move {
            let journal = Arc::new(MemoryStore::new().open("served"));
            world.write(&*journal).await;
            Node::start(&world, &home, journal, Vec::new(), u64::MAX).await
        })
    };
    println!(
        "the serving node has read them after {:.0} s",
        began.elapsed().as_secs_f64()
    );

    let (folder, database) = (home.path().join("node"), home.path().join("journal"));
    let (memory, cpu, clock) = (resident(), Cpu::now(), Clock::start());
    let node = {
        let (world, folder, peer) = (Arc::clone(&world), folder.clone(), served.peer.clone());
        let journal = sqlite(&database);
        let size = records as u64;
        on(&measured, async move {
            let node = Node::start(&world, &folder, journal, vec![peer], u64::MAX).await;
            node.running.reaches(FIRST.min(size)).await;
            let waited = clock.elapsed();
            node.running.reaches(size).await;
            (node, waited)
        })
    };
    let (node, waited) = node;
    let cpu = Cpu::now().since(&cpu);
    let took = (clock.elapsed() - waited).as_secs_f64();
    let each = |seconds: f64| seconds * 1e6 / records as f64;
    let rate = (records as u64).saturating_sub(FIRST) as f64 / took;
    println!(
        "taken by gossip, verified and committed: {rate:.0} records/s; {took:.1} s after the first {FIRST}, which took {:.1} s",
        waited.as_secs_f64(),
    );
    missed.check("records/s", rate >= RECORDS_A_SECOND);
    println!(
        "processor: {:.1} µs a record ({:.0} records per CPU-second), the serving node {:.1} µs, on {cores} cores shared by all",
        each(cpu.measured),
        records as f64 / cpu.measured.max(1e-9),
        each(cpu.others),
    );
    println!(
        "memory: {} MiB more; journal: {} MiB on the disk",
        (resident() - memory) >> 20,
        size_of(&database) >> 20,
    );
    let proof = questions(&others, &world, &node);
    missed.check("an inclusion proof", proof <= PROOF_MS);
    let running = |node: Node| on(&measured, node.stop());
    running(node);
    let restarted = restart(&measured, &world, (&folder, &database));
    missed.check("restart from the snapshot", restarted <= RESTART_S);
    on(&others, served.stop());
    measured.shutdown_background();
    others.shutdown_background();
    parts::signatures(&world, cores);
    parts::ledger(&world);
    parts::journal(&world, home.path());
    if missed.0.is_empty() {
        println!("every bound is met: {RECORDS_A_SECOND} records/s, {PROOF_MS} ms, {RESTART_S} s");
        return ExitCode::SUCCESS;
    }
    println!("MISSED: {}", missed.0.join(", "));
    ExitCode::FAILURE
}

/// Asks the node about aliases, and verifies its proofs. Gives the median in milliseconds.
fn questions(others: &Runtime, world: &Arc<World>, node: &Node) -> f64 {
    let (world, peer) = (Arc::clone(world), node.peer.clone());
    let took = on(others, async move {
        let mut asker = world::Asker::of(&world, &peer).await;
        let mut took = Vec::new();
        for n in 0..QUESTIONS {
            let alias = alias(n * 7919 % world.records.len());
            let clock = Clock::start();
            let body = asker.get(client::alias_request(&alias)).await;
            took.push(clock.elapsed());
            let now = Clock::start().now().unix_ms;
            let found = client::resolved(&body, &alias, &mut asker.trust, now).unwrap();
            assert!(found.node().is_some());
        }
        took
    });
    let mut took = took;
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!(
        "an inclusion proof, from question to answer over a session: p50 {:.2} ms, p99 {:.2} ms",
        at(50),
        at(99)
    );
    at(50)
}

/// Restarts the node once so that it saves a snapshot, and once more from that snapshot. Gives the seconds that the latter takes.
fn restart(measured: &Runtime, world: &Arc<World>, (folder, database): (&Path, &Path)) -> f64 {
    let start = |snapshot_every| {
        let (world, folder) = (Arc::clone(world), folder.to_owned());
        let journal = sqlite(database);
        let (clock, cpu) = (Clock::start(), Cpu::now());
        let (node, journal) = on(measured, async move {
            let of = Arc::clone(&journal);
            let node = Node::start(&world, &folder, of, Vec::new(), snapshot_every).await;
            node.running.reaches(world.records.len() as u64).await;
            (node, journal)
        });
        (
            node,
            journal,
            clock.elapsed().as_secs_f64(),
            Cpu::now().since(&cpu).measured,
        )
    };
    let before = start(1);
    println!(
        "restart without a snapshot, all verified again: {:.1} s",
        before.2
    );
    let clock = Clock::start();
    on(measured, async move {
        let (node, journal, ..) = before;
        node.touch().await;
        while journal.snapshots().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        node.stop().await;
    });
    println!("snapshot: saved in {:.1} s", clock.elapsed().as_secs_f64());
    let (node, _, took, busy) = start(u64::MAX);
    println!("restart from the snapshot: {took:.2} s ({busy:.2} s of processors)");
    on(measured, node.stop());
    took
}

/// Bytes of memory of this process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|n| n.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

/// Bytes of the files in a folder.
fn size_of(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .filter_map(|f| f.metadata().ok())
        .map(|m| m.len())
        .sum()
}

/// Processor time in seconds, of user and system.
struct Cpu {
    measured: f64,
    others: f64,
}

impl Cpu {
    /// Sums up the threads of this process by whose they are. The journal's threads are the measured node's.
    fn now() -> Self {
        let (mut measured, mut others) = (0.0, 0.0);
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
        for task in tasks.flatten() {
            let path = task.path();
            let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
            let spent = seconds(&path.join("stat").to_string_lossy()).unwrap_or(0.0);
            match name.trim() {
                OTHERS => others += spent,
                _ => measured += spent,
            }
        }
        Self { measured, others }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            measured: self.measured - before.measured,
            others: self.others - before.others,
        }
    }
}

/// Processor time that a file in `/proc` tells, in ticks of 10 ms.
pub(crate) fn seconds(path: &str) -> Option<f64> {
    let stat = std::fs::read_to_string(path).ok()?;
    let fields: Vec<&str> = stat.rsplit(") ").next()?.split(' ').collect();
    let ticks = |n: usize| fields.get(n)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}
