//! How fast small tasks pass, beside the same program in the sandbox alone.
//!
//! `BETANET_TASKS` is the number of tasks, 30 by default.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use betanet_fog::{TaskId, TaskState};
use betanet_fog_worker::job;
use betanet_fog_worker::programs::WORDS;
use betanet_sandbox::{CHILD_ARGUMENT, ChildProgram, Program, Sandbox, Settings, Status};

use crate::Fog;
use crate::process::WORKER;

/// Arguments of the program: about 10 ms of a core at 3 GHz.
const ARGS: [&str; 2] = ["spin", "5"];
/// Runs at a time, as this machine's workers have cores.
const AT_A_TIME: usize = 2;

fn count() -> u64 {
    let text = std::env::var("BETANET_TASKS").unwrap_or_default();
    text.parse().unwrap_or(30)
}

/// Runs the program so often in the sandbox alone. Returns the time.
async fn alone(fog: &Fog, n: u64) -> Duration {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("words.wasm");
    std::fs::write(&file, WORDS).unwrap();
    let settings = Settings {
        folder: home.path().join("compiled"),
        child: ChildProgram {
            path: WORKER.into(),
            args: vec![CHILD_ARGUMENT.into()],
        },
        spare: AT_A_TIME,
        cache_max: 1 << 30,
        idle: false,
    };
    let sandbox = Sandbox::open(settings).await.unwrap();
    let run = async |at: u64| {
        let output = home.path().join(at.to_string());
        std::fs::create_dir(&output).unwrap();
        let program = Program {
            digest: *fog.module.digest(),
            file: file.clone(),
        };
        let task = fog.task(at, &ARGS);
        let ended = sandbox
            .run(
                program,
                job(&task, &task.id(), Vec::new(), &output),
                |_: &[u8]| {},
            )
            .await;
        assert_eq!(ended.status, Status::Ok, "{}", ended.reason);
    };
    // The first compiles.
    run(u64::MAX).await;
    let began = Instant::now();
    let lane = async |lane: u64| {
        for at in (lane..n).step_by(AT_A_TIME) {
            run(at).await;
        }
    };
    tokio::join!(lane(0), lane(1));
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn small_tasks_pass_three_workers() {
    let n = count();
    let fog = Fog::start().await;
    let alone = alone(&fog, n).await;
    let _workers = [
        fog.worker("one").await,
        fog.worker("two").await,
        fog.worker("three").await,
    ];
    // Each worker compiles the program once.
    let mut first = Vec::new();
    for at in 0..6 {
        first.push(fog.submit(fog.task(1 << 40 | at, &ARGS)).await);
    }
    for id in &first {
        fog.end(id).await;
    }
    let began = Instant::now();
    let mut ids = Vec::new();
    for at in 0..n {
        ids.push(fog.submit(fog.task(at, &ARGS)).await);
    }
    for id in &ids {
        assert_eq!(fog.end(id).await.state, TaskState::Succeeded);
    }
    let took = began.elapsed();
    let mut times: BTreeMap<TaskId, (u64, u64)> = BTreeMap::new();
    let mut events = fog.operator.events(0, false);
    let mut before = None;
    while before != Some(events.after()) {
        before = Some(events.after());
        while let Some(event) = events.next().await.unwrap() {
            match (&*event.kind, event.task) {
                ("accepted", Some(task)) => times.entry(task).or_default().0 = event.ts,
                ("ended", Some(task)) => times.entry(task).or_default().1 = event.ts,
                _ => {}
            }
        }
    }
    let of = |id: &TaskId| times.get(id).filter(|t| t.0 > 0).map(|t| t.1 - t.0);
    let mut all: Vec<u64> = ids.iter().filter_map(of).collect();
    all.sort_unstable();
    let rate = |time: Duration| n as f64 / time.as_secs_f64();
    eprintln!(
        "{n} tasks: {:.1}/s through three workers, {:.1}/s in the sandbox alone, ratio {:.2}; {:.1} ms more a task; from accepted \
         to ended p50 {} ms, p99 {} ms",
        rate(took),
        rate(alone),
        rate(took) / rate(alone),
        (took.as_secs_f64() - alone.as_secs_f64()) * 1e3 / n as f64,
        all.get(all.len() / 2).copied().unwrap_or(0),
        all.get(all.len() * 99 / 100).copied().unwrap_or(0),
    );
    fog.stop().await;
}
