//! Coordinators as processes, killed under load: nothing accepted is lost, and no task counts twice.
//!
//! `BETANET_KILLS` is the number of kills, 1 by default.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test stops where it is surprised, and tells what it measured"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use betanet_fog::{Signed, TaskId, TaskState};
use betanet_fog_client::node::{MemoryReceipts, Worker};
use betanet_fog_client::testkit::{MODULE, Waits, client, node, task, token_request};
use betanet_fog_client::{Blob, FogClient};
use betanet_journal_postgres::testkit::Cluster;
use betanet_keys::{Identity, Peer};
use betanet_runtime::Clock;
use tokio_util::sync::CancellationToken;

const COORDINATOR: &str = env!("CARGO_BIN_EXE_coordinator");

/// Longest time until another coordinator leads.
const TAKEOVER: Duration = Duration::from_secs(20);

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

fn now_ms() -> u64 {
    Clock::start().now().unix_ms
}

fn free_port() -> u16 {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    free.local_addr().unwrap().port()
}

/// A coordinator's process, with addresses that outlast it.
struct Process {
    home: tempfile::TempDir,
    store: String,
    key: Identity,
    others: Vec<String>,
    port: u16,
    admin: u16,
    child: Option<Child>,
}

impl Process {
    fn new(store: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let key = betanet_runtime::new_identity(&home.path().join("key.pem")).unwrap();
        Self {
            home,
            store: store.to_owned(),
            key,
            others: Vec::new(),
            port: free_port(),
            admin: free_port(),
            child: None,
        }
    }

    /// Starts it, and returns its address.
    fn start(&mut self) -> Peer {
        let key = |n: u8| identity(n).public().to_string();
        let mut child = Command::new(COORDINATOR)
            .args(["--json", "--log", "warn"])
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(["--admin", &format!("127.0.0.1:{}", self.admin)])
            .args(["--operator", &key(1), "--user", &format!("lab={}", key(2))])
            .args(["--per-address", "1000"])
            .args(["--opens", "100000", "--opens-per-second", "10000"])
            .args(self.others.iter().flat_map(|key| ["--coordinator", key]))
            .arg("--key")
            .arg(self.home.path().join("key.pem"))
            .arg("--state")
            .arg(self.home.path().join("state"))
            .env("BETANET_STORE", &self.store)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        self.child = Some(child);
        let facts: serde_json::Value = serde_json::from_str(&line).unwrap();
        facts["peer"].as_str().unwrap().parse().unwrap()
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut tcp = TcpStream::connect(("127.0.0.1", self.admin)).ok()?;
        tcp.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// The epoch in which it leads; 0 if it does not.
    fn epoch(&self) -> u64 {
        let metrics = self.get("/metrics").unwrap_or_default();
        let line = metrics
            .lines()
            .find_map(|l| l.strip_prefix("betanet_fog_epoch "));
        line.map_or(0, |n| n.parse().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// Submits tasks until it is told to stop. Returns those that were accepted.
async fn load(user: FogClient, stop: Arc<AtomicBool>) -> Vec<TaskId> {
    let me = identity(2);
    let mut accepted = Vec::new();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let signed = Signed::sign(task(&me, n, now_ms()), &me).unwrap();
        // The same task is sent until somebody takes it: it is one task however often it is sent.
        while !stop.load(Ordering::Relaxed) {
            if user.submit(&signed).await.is_ok() {
                accepted.push(signed.id());
                break;
            }
        }
    }
    accepted
}

async fn put_module(peer: &Peer) {
    let one = client(&identity(2), std::slice::from_ref(peer));
    one.put_blob(&Blob::from(MODULE.to_vec())).await.unwrap();
    one.close().await;
}

fn leader(all: &[Process]) -> Option<usize> {
    all.iter().position(|p| p.epoch() > 0)
}

async fn wait_for_leader(all: &[Process], but: Option<usize>) -> (usize, Duration) {
    let began = Clock::start();
    loop {
        if let Some(at) = leader(all).filter(|at| Some(*at) != but) {
            return (at, began.elapsed());
        }
        assert!(
            began.elapsed() < TAKEOVER,
            "nobody leads within {TAKEOVER:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Starts three workers, kills the leader again and again, and looks at each task's end.
async fn kills(all: &mut [Process], peers: &[Peer], n: usize) {
    let operator = client(&identity(1), peers);
    let stop = CancellationToken::new();
    let engine = Waits {
        time: Duration::from_millis(20),
        ..Waits::default()
    };
    let mut workers = Vec::new();
    for seed in 0..3_u8 {
        let me = identity(100 + seed);
        let order = token_request(u64::from(seed), now_ms());
        let token = operator.token(&order).await.unwrap();
        let fog = client(&me, peers);
        let described = Signed::sign(node(&me, 1), &me).unwrap();
        let joined = fog.join(&described, &token).await.unwrap();
        let worker = Worker::new(fog, &joined, engine.clone(), MemoryReceipts::default());
        workers.push(tokio::spawn(worker.run(stop.clone())));
    }
    let end = Arc::new(AtomicBool::new(false));
    let user = client(&identity(2), peers);
    let loading = tokio::spawn(load(user.clone(), Arc::clone(&end)));
    let mut times = Vec::new();
    for _ in 0..n {
        let (at, _) = wait_for_leader(all, None).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        all[at].kill();
        let alone = all.len() == 1;
        if alone {
            all[at].start();
        }
        let (_, took) = wait_for_leader(all, (!alone).then_some(at)).await;
        times.push(took);
        if !alone {
            all[at].start();
        }
    }
    end.store(true, Ordering::Relaxed);
    let accepted = loading.await.unwrap();
    for id in &accepted {
        let mut states = user.watch(id);
        let last = loop {
            let status = states.next().await.unwrap().unwrap();
            if status.state.ended() {
                break status;
            }
        };
        assert_eq!(last.state, TaskState::Succeeded, "{id}: {last:?}");
    }
    let mut ends: BTreeMap<TaskId, usize> = BTreeMap::new();
    let mut events = user.events(0, false);
    // Each request brings a part of them.
    let mut before = None;
    while before != Some(events.after()) {
        before = Some(events.after());
        while let Some(event) = events.next().await.unwrap() {
            if let Some(task) = event.task.filter(|_| &*event.kind == "ended") {
                *ends.entry(task).or_default() += 1;
            }
        }
    }
    // Older events may have been forgotten, but none comes twice.
    assert!(ends.values().all(|n| *n == 1));
    let begun: u64 = engine.begun.lock().unwrap().values().sum();
    times.sort_unstable();
    eprintln!(
        "{n} kills: {} tasks, {begun} copies begun; another led after {:.1} s (median), {:.1} s at most",
        accepted.len(),
        times[times.len() / 2].as_secs_f64(),
        times[times.len() - 1].as_secs_f64(),
    );
    stop.cancel();
    for worker in workers {
        worker.await.unwrap();
    }
}

fn count() -> usize {
    let text = std::env::var("BETANET_KILLS").unwrap_or_default();
    text.parse().unwrap_or(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_coordinator_leads_when_the_first_is_killed_and_no_task_is_lost() {
    let cluster = Cluster::start();
    let mut all = [(); 2].map(|()| Process::new(&cluster.url()));
    // Nodes obey the coordinators that the one they joined lists.
    let keys = [0, 1].map(|n: usize| all[n].key.public().to_string());
    all[0].others.push(keys[1].clone());
    all[1].others.push(keys[0].clone());
    let peers: Vec<Peer> = all.iter_mut().map(Process::start).collect();
    wait_for_leader(&all, None).await;
    for peer in &peers {
        put_module(peer).await;
    }
    kills(&mut all, &peers, count()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_alone_goes_on_after_it_was_killed_and_no_task_is_lost() {
    let mut all = [Process::new("sqlite")];
    let peers = vec![all[0].start()];
    wait_for_leader(&all, None).await;
    put_module(&peers[0]).await;
    kills(&mut all, &peers, count()).await;
}

#[test]
fn settings_that_cannot_be_used_are_told_at_once() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("c.toml");
    let text = "[node]\nstate = \"state\"\n[fog]\nstore = \"mysql://db\"\noperators = [\"xyz\"]\nsnapshots = 0\n\
                [economy]\nsettle = \"never\"\n";
    std::fs::write(&path, text).unwrap();
    let run = |panel: &str| {
        let mut command = Command::new(COORDINATOR);
        command.arg("check").arg("--config").arg(&path);
        command.arg("--panel").arg(panel);
        command.current_dir(home.path()).output().unwrap()
    };
    // Plain HTTP on such an address needs a proxy before it.
    let out = run("192.0.2.1:9470");
    assert_eq!(out.status.code(), Some(2));
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    for part in [
        "store",
        "fog.operators",
        "fog.snapshots",
        "64 hex digits",
        "economy",
        "--panel-proxy",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!home.path().join("state").exists());
    std::fs::write(&path, "[node]\nstate = \"state\"\n[fog]\noperators = []\n").unwrap();
    let out = run("127.0.0.1:9470");
    assert_eq!(out.status.code(), Some(0), "{out:?}");
}
