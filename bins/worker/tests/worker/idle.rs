//! Idle computing, by what the kernel tells of this machine: others load it, and a program stands still.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use betanet_fog::Kind;

use crate::process::{Worker, busiest, state};
use crate::{Fog, now_ms};

/// Rules about the load alone: what else a machine lacks or has does not count.
const RULES: &str = r#"[worker]
[harvest]
charging = false
metered = true
full_screen = true
battery = "off"
health = "off"
temperature = "off"
heating = "off"
idle_s = "off"
memory_free = "off"
pressure = "off"
load = { pause = 60, resume = 50 }
pause_min_s = 5
give_back_s = 600
"#;
/// The least pause of these rules.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest time for a machine to have nothing else to do.
const QUIET: Duration = Duration::from_secs(240);

/// A program of somebody else on each core. They end with this.
struct Load(Vec<Child>);

impl Load {
    fn new() -> Self {
        let cores = std::thread::available_parallelism().unwrap().get();
        let one = |_| {
            let mut command = Command::new("sh");
            command.args(["-c", "while :; do :; done"]);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            command.spawn().unwrap()
        };
        Self((0..cores).map(one).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until a process stands still, or goes on. Returns the time that it took.
async fn until(pid: u32, stands: bool, within: Duration) -> Duration {
    let began = Instant::now();
    while (state(pid) == Some('T')) != stands {
        assert!(began.elapsed() < within, "{:?}", state(pid));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}

// The load is to be the only one, so this runs alone: see `.config/nextest.toml`.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_of_others_pauses_a_program_within_two_seconds_and_it_goes_on_after_the_bound() {
    let fog = Fog::start().await;
    let token = fog.token("lent", Kind::Compute).await;
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("worker.toml");
    std::fs::write(&config, RULES).unwrap();
    let mut worker = Worker::new("lent");
    worker.start(&["--token", &token, "--config", config.to_str().unwrap()]);
    let mut task = fog.task(1, &["spin", "100000000"]);
    task.fuel = 1 << 60;
    task.run_ms = 3_600_000;
    task.deadline = now_ms() + 7_200_000;
    let id = fog.submit(task).await;
    fog.copy(&id, "running").await;
    let pid = busiest(&worker, QUIET).await;
    let decides = || {
        worker.status()["harvest"]["decision"]
            .as_str()
            .map(str::to_owned)
    };
    for _ in 0..2 {
        // It runs, and for longer than the least time that it does.
        let began = Instant::now();
        let mut ran = Instant::now();
        while ran.elapsed() < Duration::from_millis(1500) {
            assert!(
                began.elapsed() < QUIET,
                "this machine has too much else to do"
            );
            if state(pid) == Some('T') {
                ran = Instant::now();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let load = Load::new();
        let paused = until(pid, true, QUIET).await;
        assert!(paused < Duration::from_secs(2), "{paused:?}");
        assert_eq!(decides().as_deref(), Some("pause"));
        assert_eq!(
            worker.status()["harvest"]["causes"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        drop(load);
        let resumed = until(pid, false, QUIET).await;
        eprintln!("paused {paused:.2?} after the load began, for {resumed:.2?}");
        // The clock of the rules began the pause a moment before the program stood still.
        assert!(resumed > PAUSE - Duration::from_millis(500), "{resumed:?}");
    }
    fog.user.cancel(&id).await.unwrap();
    fog.end(&id).await;
    fog.stop().await;
}
