//! Neighbours of guests: an honest task beside hostile ones, and a program of the machine's user beside guests on all cores.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use betanet_sandbox::{
    CHILD_ARGUMENT, ChildProgram, Ended, Grants, Job, Limits, Program, Sandbox, Settings, Status,
};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use crate::sandbox::{WORK, call, engine};
use crate::{Effort, Figure, median, spent};

/// Processor time of an honest task.
const TIME: Duration = Duration::from_millis(10);
/// Turns of the timer at a time.
const TURNS: usize = 1_000;

/// Hostile programs, each without an end of its own.
const HOSTILE: [&str; 9] = [
    r#"(func (export "_start") (loop (br 0)))"#,
    r#"(func (export "_start") (loop (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br 0)))"#,
    // Memory, each page touched.
    r#"(func (export "_start") (local $i i32) (loop
        (drop (memory.grow (i32.const 16)))
        (local.set $i (i32.add (local.get $i) (i32.const 4096)))
        (i32.store (i32.and (local.get $i) (i32.const 0x3fff000)) (i32.const 1)) (br 0)))"#,
    r#"(table 0 funcref) (func (export "_start") (loop (drop (table.grow (ref.null func) (i32.const 1000))) (br 0)))"#,
    r#"(func $f (export "_start") (call $f))"#,
    // Standard output, the log, files, and randomness.
    r#"(data (i32.const 8) "\00\00\00\00\00\00\01\00") (func (export "_start") (loop
        (drop (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0))) (br 0)))"#,
    r#"(data (i32.const 8) "\00\00\00\00\00\00\01\00") (func (export "_start") (loop
        (drop (call $fd_write (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 0))) (br 0)))"#,
    r#"(func (export "_start") (local $i i32) (loop
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (i32.store (i32.const 64) (i32.or (i32.and (local.get $i) (i32.const 0x3f3f3f3f)) (i32.const 0x40404040)))
        (drop (call $path_open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 4) (i32.const 9) (i64.const 64)
            (i64.const 0) (i32.const 0) (i32.const 32))) (br 0)))"#,
    r#"(func (export "_start") (loop (drop (call $random_get (i32.const 0) (i32.const 65536))) (br 0)))"#,
];

const IMPORTS: &str = r#"
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "path_open"
        (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
    (memory (export "memory") 1)"#;

struct Here {
    home: tempfile::TempDir,
    sandbox: Sandbox,
}

impl Here {
    async fn open(idle: bool) -> Self {
        let home = tempfile::tempdir().unwrap();
        let settings = Settings {
            folder: home.path().join("sandbox"),
            child: ChildProgram {
                path: std::env::current_exe().unwrap(),
                args: vec![CHILD_ARGUMENT.into()],
            },
            spare: 2,
            cache_max: 1 << 30,
            idle,
        };
        let sandbox = Sandbox::open(settings).await.unwrap();
        Self { home, sandbox }
    }

    fn program(&self, wat: &str) -> Program {
        let bytes = wat::parse_str(wat).unwrap();
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let name: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        let file: PathBuf = self.home.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        Program { digest, file }
    }

    async fn run(&self, program: &Program, fuel: u64, wall: Duration) -> Ended {
        let output = tempfile::tempdir_in(self.home.path()).unwrap();
        let job = Job {
            args: Vec::new(),
            env: Vec::new(),
            inputs: Vec::new(),
            limits: Limits {
                fuel,
                wall,
                memory: 64 << 20,
                output: 4 << 20,
                files: 100,
            },
            grants: Grants::default(),
            seed: [0; 32],
            start_ms: 0,
            output: output.path().to_owned(),
        };
        let run = self.sandbox.run(program.clone(), job, |_: &[u8]| {});
        run.await
    }
}

/// A program that computes for [`TIME`].
fn work() -> String {
    let engine = engine(true);
    let first = 20_000_000_u32;
    let text = |count: u32| WORK.replace("COUNT", &count.to_string());
    let module = wasmtime::Module::new(&engine, wat::parse_str(text(first)).unwrap()).unwrap();
    let took = median(
        (0..9)
            .map(|_| {
                spent(|| {
                    let _ = call(&engine, &module, true);
                })
            })
            .collect(),
    );
    text((f64::from(first) * TIME.as_secs_f64() / took) as u32)
}

fn percentile(values: &mut [f64], part: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * part / 100]
}

/// Turns a timer of 1 ms, and prints the milliseconds of each turn.
pub(crate) fn timer() {
    let mut turns = Vec::with_capacity(TURNS);
    for _ in 0..TURNS {
        let began = Instant::now();
        std::thread::sleep(Duration::from_millis(1));
        turns.push(format!("{:.4}", began.elapsed().as_secs_f64() * 1e3));
    }
    println!("{}", turns.join(" "));
}

/// Milliseconds of each turn of a timer in another process.
fn turns() -> Vec<f64> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let out = command
        .arg("timer")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    text.split_whitespace()
        .map(|n| n.parse().unwrap())
        .collect()
}

async fn honest(here: &Here, program: &Program, n: usize, into: &mut Vec<f64>) {
    for _ in 0..n {
        let began = Instant::now();
        let ended = here.run(program, 1 << 40, Duration::from_secs(60)).await;
        into.push(began.elapsed().as_secs_f64() * 1e3);
        assert_eq!(ended.status, Status::Ok, "{}", ended.reason);
        // A child gets ready again, as between two tasks of a worker.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn most(name: &'static str, ratio: f64, bound: f64, detail: String) -> Figure {
    Figure {
        name,
        ratio,
        bound,
        at_least: false,
        detail,
    }
}

async fn hostile(effort: Effort) -> Figure {
    let here = std::sync::Arc::new(Here::open(false).await);
    let program = here.program(&work());
    let hostile = HOSTILE.map(|body| here.program(&format!("(module {IMPORTS} {body})")));
    honest(&here, &program, 2, &mut Vec::new()).await;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (rounds, n) = if effort.quick { (2, 5) } else { (20, 50) };
    let (mut alone, mut beside, mut ended) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        honest(&here, &program, n, &mut alone).await;
        let mut lanes = JoinSet::new();
        // A worker gives each guest a core: the honest one has the last.
        for lane in 0..(cores - 1).max(1) {
            let (here, hostile) = (here.clone(), hostile.clone());
            lanes.spawn(async move {
                let mut count: u64 = 0;
                for program in hostile.iter().cycle().skip(lane) {
                    let ended = here
                        .run(program, 50_000_000, Duration::from_millis(400))
                        .await;
                    assert_ne!(ended.status, Status::Internal, "{}", ended.reason);
                    count += 1;
                    HOSTILES.store(count, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
        honest(&here, &program, n, &mut beside).await;
        lanes.shutdown().await;
        ended += HOSTILES.swap(0, std::sync::atomic::Ordering::Relaxed);
    }
    let (last, first) = (percentile(&mut beside, 99), percentile(&mut alone, 99));
    let [middle, base] = [beside, alone].map(median);
    most(
        "honest task beside hostile, p99",
        last / first,
        1.5,
        format!(
            "{last:.2} ms, {first:.2} ms alone; p50 {middle:.2} ms, {base:.2} ms; {} tasks each, {ended} hostile",
            rounds * n
        ),
    )
}

/// Hostile programs that ended in a round.
static HOSTILES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

async fn foreground(effort: Effort) -> Figure {
    // As on a machine that lends its idle time.
    let here = std::sync::Arc::new(Here::open(true).await);
    let program = here.program(&format!("(module {IMPORTS} {})", HOSTILE[0]));
    here.run(&program, 1_000, Duration::from_secs(60)).await;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut guests = JoinSet::new();
    for _ in 0..cores {
        let (here, program) = (here.clone(), program.clone());
        guests.spawn(async move {
            let ended = here
                .run(&program, 1 << 60, Duration::from_secs(3_600))
                .await;
            panic!("{ended:?}");
        });
    }
    let rounds = if effort.quick { 2 } else { 20 };
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (paused, into) in [(true, &mut without), (false, &mut with)] {
            here.sandbox.pause(paused);
            into.extend(tokio::task::spawn_blocking(turns).await.unwrap());
        }
    }
    guests.shutdown().await;
    let (last, first) = (percentile(&mut with, 99), percentile(&mut without, 99));
    let [middle, base] = [with, without].map(median);
    most(
        "1 ms timer beside guests, p99",
        last / first,
        1.2,
        format!(
            "{last:.3} ms, {first:.3} ms without; p50 {middle:.3} ms, {base:.3} ms; {} turns each",
            rounds * TURNS
        ),
    )
}

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async { vec![hostile(effort).await, foreground(effort).await] })
}
