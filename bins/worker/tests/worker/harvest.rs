//! Idle computing with real processes: files in place of sensors say what others do with the machine.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use betanet_fog::{Kind, TaskState};
use serde_json::Value;

use crate::Fog;
use crate::process::Worker;

const SECOND: Duration = Duration::from_secs(1);

/// Files in place of sensors.
struct Sensors(tempfile::TempDir);

impl Sensors {
    fn new() -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir_all(this.told()).unwrap();
        this.load(0);
        this
    }

    fn told(&self) -> PathBuf {
        self.0.path().join("run/betanet/readings")
    }

    /// Lets others use so many thousandths of the machine.
    fn load(&self, permille: u16) {
        let (new, file) = (self.0.path().join("new"), self.told().join("load"));
        std::fs::write(&new, permille.to_string()).unwrap();
        std::fs::rename(new, file).unwrap();
    }

    /// Starts a worker with these sensors that pauses for at least so many seconds, and gives back after so many.
    async fn worker(&self, fog: &Fog, pause_min: u64, give_back: u64) -> Worker {
        let config = self.0.path().join("worker.toml");
        let text = format!(
            "[harvest]\nrun_min_s = 0\npause_min_s = {pause_min}\ngive_back_s = {give_back}\nevery_ms = 100\n"
        );
        std::fs::write(&config, text).unwrap();
        let token = fog.token("one", Kind::Compute).await;
        let mut worker = Worker::new("one").with_sensors(self.0.path());
        let config: &Path = &config;
        worker.start(&["--token", &token, "--config", config.to_str().unwrap()]);
        decides(&worker, "run").await;
        worker
    }
}

/// Waits until the rules of a worker decide so.
async fn decides(worker: &Worker, word: &str) -> Value {
    let began = Instant::now();
    loop {
        let status = worker.status();
        if status["harvest"]["decision"] == word {
            return status;
        }
        assert!(began.elapsed() < 60 * SECOND, "{word}: {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the programs of a worker have used more processor time than this, in ticks.
async fn works(worker: &Worker, than: u64) -> u64 {
    let began = Instant::now();
    loop {
        let ticks = worker.ticks();
        if ticks > than {
            return ticks;
        }
        assert!(began.elapsed() < 120 * SECOND, "{ticks} ticks");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_of_others_stops_the_program_until_it_is_over_and_the_least_pause_too() {
    const PAUSE: u64 = 5;
    let fog = Fog::start().await;
    let sensors = Sensors::new();
    let worker = sensors.worker(&fog, PAUSE, 3_600).await;
    let id = fog.submit(fog.task(1, &["spin", "2000"])).await;
    fog.copy(&id, "running").await;
    let ran = Instant::now();
    works(&worker, worker.ticks() + 5).await;
    sensors.load(900);
    let status = decides(&worker, "pause").await;
    let paused = Instant::now();
    let cause = status["harvest"]["causes"][0].as_str().unwrap();
    assert!(cause.contains("load"), "{status}");
    // Nothing of it runs: not even a tick goes by.
    let stopped = worker.ticks();
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(worker.ticks(), stopped, "the program went on");
    assert_eq!(worker.status()["copies"]["running"], 1);
    sensors.load(0);
    decides(&worker, "run").await;
    let pause = paused.elapsed();
    // Seen some time after it began.
    assert!(pause + SECOND >= Duration::from_secs(PAUSE), "{pause:?}");
    works(&worker, stopped).await;
    let status = fog.end(&id).await;
    let all = ran.elapsed();
    assert_eq!(
        (status.state, status.attempts),
        (TaskState::Succeeded, 1),
        "{status:?}"
    );
    // The pause is no contribution of memory.
    let given = &worker.status()["given"][0];
    let held = given["memory_kib_ms"].as_u64().unwrap() / (64 << 10);
    let most = all - pause + SECOND;
    assert!(held > 0, "{given}");
    assert!(
        u128::from(held) <= most.as_millis(),
        "{held} ms of {most:?}"
    );
    fog.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_still_too_long_is_given_back_and_ends_elsewhere() {
    let fog = Fog::start().await;
    let sensors = Sensors::new();
    let one = sensors.worker(&fog, 1, 2).await;
    let id = fog.submit(fog.task(1, &["spin", "1000"])).await;
    let fence = fog.copy(&id, "running").await;
    let _two = fog.worker("two").await;
    sensors.load(900);
    let status = decides(&one, "give_back").await;
    assert_eq!(status["harvest"]["given_back"], 1, "{status}");
    let status = fog.end(&id).await;
    assert_eq!(
        (status.state, status.attempts),
        (TaskState::Succeeded, 2),
        "{status:?}"
    );
    let good = status.copies.iter().find(|c| c.state.as_str() == "ok");
    assert_ne!(good.unwrap().fence, fence, "{status:?}");
    // It keeps nothing of it, and takes nothing while the load lasts.
    for _ in 0..250 {
        if one.left() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(one.left(), 0);
    let counts = &one.status()["counts"];
    assert_eq!(counts["started"], 1, "{counts}");
    fog.stop().await;
}
