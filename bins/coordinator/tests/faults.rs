//! Coordinators as processes under load, killed, cut off or without their database: nothing accepted is lost, and no task counts twice.
//!
//! `BETANET_KILLS` is the number of kills, 1 by default. Mounting a small disk needs root, and stepping a clock needs a C compiler.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test stops where it is surprised, and tells what it measured"
)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use betanet_fog::{RefusalCode, Signed, TaskId, TaskState};
use betanet_fog_client::node::{MemoryReceipts, Worker};
use betanet_fog_client::testkit::{MODULE, Waits, client, node, task, token_request};
use betanet_fog_client::{Blob, FogClient};
use betanet_journal_postgres::testkit::{Cluster, Proxy};
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
    env: Vec<(&'static str, PathBuf)>,
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
            env: Vec::new(),
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
            .envs(self.env.iter().cloned())
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

    /// Tells it to stop, and returns its exit code.
    fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let pid = child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        child.wait().unwrap().code()
    }

    fn get(&self, path: &str) -> Option<String> {
        self.ask(&format!("GET {path}"), "")
    }

    /// The answer to a request at its admin address.
    fn ask(&self, line: &str, body: &str) -> Option<String> {
        let mut tcp = TcpStream::connect(("127.0.0.1", self.admin)).ok()?;
        tcp.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        tcp.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Orders a join token with this ID.
    fn order(&self, id: &str) -> String {
        let exp = now_ms() + 600_000;
        let order =
            format!(r#"{{"exp":{exp},"id":"{id}","kinds":["compute"],"node":"","org":"acme"}}"#);
        self.ask("POST /fog/1/tokens", &order).unwrap()
    }

    /// Orders join tokens until the answer has this status. Returns it.
    async fn order_until(&self, status: &str) -> String {
        let began = Clock::start();
        for n in 0_u32.. {
            let said = self.order(&format!("{n:032x}"));
            if said.starts_with(&format!("HTTP/1.1 {status}")) {
                return said;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{said}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        unreachable!("it asks without end")
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
        let mut task = task(&me, n, now_ms());
        // No deadline passes when a clock is an hour ahead.
        task.deadline += 7_200_000;
        let signed = Signed::sign(task, &me).unwrap();
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

/// Lets three workers run a user's tasks while something happens to the coordinators, and looks at each task's end.
async fn under_load(
    all: &mut [Process],
    peers: &[Peer],
    happens: impl AsyncFnOnce(&mut [Process]) -> String,
) {
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
    let told = happens(all).await;
    end.store(true, Ordering::Relaxed);
    let accepted = loading.await.unwrap();
    assert!(!accepted.is_empty(), "no task was accepted");
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
    // Older events may have been forgotten, but none comes twice, and the newest is there.
    assert!(ends.values().all(|n| *n == 1));
    assert!(accepted.iter().any(|id| ends.contains_key(id)));
    let begun: u64 = engine.begun.lock().unwrap().values().sum();
    eprintln!("{told}: {} tasks, {begun} copies begun", accepted.len());
    stop.cancel();
    for worker in workers {
        worker.await.unwrap();
    }
}

/// Kills the leader again and again.
async fn kills(all: &mut [Process], peers: &[Peer], n: usize) {
    under_load(all, peers, async |all| {
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
        times.sort_unstable();
        format!(
            "{n} kills, another led after {:.1} s (median), {:.1} s at most",
            times[times.len() / 2].as_secs_f64(),
            times[times.len() - 1].as_secs_f64(),
        )
    })
    .await;
}

fn count() -> usize {
    let text = std::env::var("BETANET_KILLS").unwrap_or_default();
    text.parse().unwrap_or(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_coordinator_leads_when_the_first_is_killed_and_no_task_is_lost() {
    let cluster = Cluster::start();
    let mut all = [(); 2].map(|()| Process::new(&cluster.url()));
    introduce(&mut all);
    let peers: Vec<Peer> = all.iter_mut().map(Process::start).collect();
    wait_for_leader(&all, None).await;
    for peer in &peers {
        put_module(peer).await;
    }
    kills(&mut all, &peers, count()).await;
}

/// Lets each list the other: nodes obey the coordinators that the one they joined lists.
fn introduce(all: &mut [Process; 2]) {
    let keys = [0, 1].map(|n: usize| all[n].key.public().to_string());
    all[0].others.push(keys[1].clone());
    all[1].others.push(keys[0].clone());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_from_the_database_says_nothing_that_counts() {
    let cluster = Cluster::start();
    let proxy = Proxy::start(&cluster.socket()).await;
    // The first one leads, and reaches the database by the proxy alone.
    let mut all = [Process::new(&proxy.url()), Process::new(&cluster.url())];
    introduce(&mut all);
    let first = all[0].start();
    wait_for_leader(&all, None).await;
    let peers = [first, all[1].start()];
    for peer in &peers {
        put_module(peer).await;
    }
    under_load(&mut all, &peers, async |all| {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(all[0].epoch() > 0 && all[1].epoch() == 0);
        let began = Clock::start();
        proxy.close();
        while all[1].epoch() == 0 {
            assert!(began.elapsed() < TAKEOVER, "nobody else leads");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let took = began.elapsed();
        // The old one answers nothing, while it cannot know who leads and once it knows.
        for cut in [true, false] {
            let said = all[0].get("/fog/1/price").unwrap();
            assert!(said.starts_with("HTTP/1.1 503"), "cut {cut}: {said}");
            assert!(said.contains("not_leader"), "cut {cut}: {said}");
            proxy.pass();
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
        assert_eq!(all[0].epoch(), 0);
        format!("cut off, another led after {:.1} s", took.as_secs_f64())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_restarts_under_two_coordinators_loses_no_task() {
    let cluster = Cluster::start();
    let mut all = [(); 2].map(|()| Process::new(&cluster.url()));
    introduce(&mut all);
    let peers: Vec<Peer> = all.iter_mut().map(Process::start).collect();
    wait_for_leader(&all, None).await;
    for peer in &peers {
        put_module(peer).await;
    }
    under_load(&mut all, &peers, async |all| {
        for mode in ["immediate", "fast"] {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            tokio::task::block_in_place(|| {
                cluster.stop(mode);
                cluster.launch();
            });
            wait_for_leader(all, None).await;
        }
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        "the database crashed, and was restarted".to_owned()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_alone_goes_on_after_it_was_killed_and_no_task_is_lost() {
    let mut all = [Process::new("sqlite")];
    let peers = vec![all[0].start()];
    wait_for_leader(&all, None).await;
    put_module(&peers[0]).await;
    kills(&mut all, &peers, count()).await;
}

/// A library that puts the system's time of a process ahead, by as many seconds as a file says.
const AHEAD: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile long *ahead;

__attribute__((constructor)) static void begin(void)
{
    int file = open(getenv("CLOCK_AHEAD"), O_RDONLY);
    void *at = mmap(0, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    ahead = at == MAP_FAILED ? 0 : at;
}

int clock_gettime(clockid_t id, struct timespec *time)
{
    int failed = syscall(SYS_clock_gettime, id, time);
    if (!failed && id == CLOCK_REALTIME && ahead)
        time->tv_sec += *ahead;
    return failed;
}
"#;

/// The system's clock of a process, which can be stepped.
struct Stepped {
    library: PathBuf,
    file: PathBuf,
}

impl Stepped {
    fn new(home: &Path) -> Self {
        let [source, library, file] = ["ahead.c", "ahead.so", "ahead"].map(|name| home.join(name));
        std::fs::write(&source, AHEAD).unwrap();
        std::fs::write(&file, 0_i64.to_ne_bytes()).unwrap();
        let mut command = Command::new("cc");
        command
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(&library);
        let made = command.arg(&source).status();
        assert!(made.is_ok_and(|s| s.success()), "this needs a C compiler");
        Self { library, file }
    }

    fn env(&self) -> Vec<(&'static str, PathBuf)> {
        let of = |name, path: &PathBuf| (name, path.clone());
        vec![
            of("LD_PRELOAD", &self.library),
            of("CLOCK_AHEAD", &self.file),
        ]
    }

    /// Steps the clock. Another program under it shows that it did.
    fn step(&self, ahead: i64) {
        // The file is mapped, and must not be truncated.
        let mut file = std::fs::OpenOptions::new();
        let mut file = file.write(true).open(&self.file).unwrap();
        file.write_all(&ahead.to_ne_bytes()).unwrap();
        let mut date = Command::new("date");
        let said = date.arg("+%s").envs(self.env()).output().unwrap();
        let told: i64 = String::from_utf8_lossy(&said.stdout)
            .trim()
            .parse()
            .unwrap();
        let now = i64::try_from(now_ms() / 1_000).unwrap();
        assert!((told - now - ahead).abs() < 60, "{told} {now}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_stepped_by_an_hour_both_ways_loses_no_task_and_no_node() {
    let mut all = [Process::new("sqlite")];
    let clock = Stepped::new(all[0].home.path());
    all[0].env = clock.env();
    let peers = vec![all[0].start()];
    wait_for_leader(&all, None).await;
    put_module(&peers[0]).await;
    under_load(&mut all, &peers, async |all| {
        let epoch = all[0].epoch();
        for ahead in [3_600, -3_600, 0] {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            clock.step(ahead);
        }
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(all[0].epoch(), epoch, "it leads on");
        let offline = all[0].get("/fog/1/nodes?state=offline").unwrap();
        assert!(offline.contains("\"items\":[]"), "{offline}");
        let health = all[0].get("/healthz").unwrap();
        assert!(health.starts_with("HTTP/1.1 200"), "{health}");
        "the clock was stepped".to_owned()
    })
    .await;
}

/// What `coordinator snapshot` prints as JSON.
fn snapshot(args: &[&str]) -> serde_json::Value {
    let mut command = Command::new(COORDINATOR);
    let out = command.arg("snapshot").args(args).arg("--json").output();
    let out = out.unwrap();
    assert_eq!(out.status.code(), Some(0), "{args:?}: {out:?}");
    serde_json::from_slice(&out.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_is_told_to_stop_loses_nothing_and_goes_back_to_a_snapshot() {
    let mut all = [Process::new("sqlite")];
    let peers = vec![all[0].start()];
    wait_for_leader(&all, None).await;
    put_module(&peers[0]).await;
    let me = identity(2);
    let home = all[0].home.path().to_owned();
    let path = |name: &str| home.join(name).display().to_string();
    let [early, late, state] = ["early", "late", "state"].map(path);
    let [first, second] = [1, 2].map(|n| Signed::sign(task(&me, n, now_ms()), &me).unwrap());
    let user = client(&me, &peers);
    user.submit(&first).await.unwrap();
    let admin = format!("127.0.0.1:{}", all[0].admin);
    let saved = snapshot(&["save", &early, "--admin", &admin]);
    // What is accepted just before it stops is there.
    user.submit(&second).await.unwrap();
    user.close().await;
    assert_eq!(all[0].stop(), Some(0));
    let index = |of: &serde_json::Value| of["index"].as_u64().unwrap();
    let at_rest = snapshot(&["save", &late, "--state", &state]);
    assert!(index(&at_rest) > index(&saved));
    for (file, tasks) in [(&early, 1), (&late, 2)] {
        let told = snapshot(&["inspect", file]);
        assert_eq!(told["tasks"], tasks, "{told}");
        assert_eq!(told, snapshot(&["inspect", file]));
    }
    // A flipped bit is found, and restores nothing.
    let mut bytes = std::fs::read(&early).unwrap();
    let half = bytes.len() / 2;
    bytes[half] ^= 1;
    let bad = path("bad");
    std::fs::write(&bad, &bytes).unwrap();
    let mut command = Command::new(COORDINATOR);
    command.args(["snapshot", "restore", &bad, "--state", &state]);
    let refused = command.output().unwrap();
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let again = snapshot(&["save", &path("again"), "--state", &state]);
    assert_eq!(index(&again), index(&at_rest));

    let restored = snapshot(&["restore", &early, "--state", &state]);
    assert_eq!(index(&restored) + 1, index(&saved) + (1 << 40));
    all[0].start();
    wait_for_leader(&all, None).await;
    assert!(all[0].epoch() > at_rest["epoch"].as_u64().unwrap());
    let user = client(&me, &peers);
    let known = user.status(&first.id()).await.unwrap();
    assert_eq!(known.state, TaskState::Queued);
    let unknown = user.status(&second.id()).await.unwrap_err();
    assert_eq!(unknown.code(), Some(RefusalCode::Unknown));
    user.submit(&second).await.unwrap();
    user.close().await;
}

/// A small file system in memory, which is unmounted on drop.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: PathBuf, options: &str) -> Self {
        std::fs::create_dir(&path).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]);
        let status = command.arg(&path).status().unwrap();
        assert!(status.success(), "mounting a tmpfs needs root");
        Self(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_new_work_and_loses_none_that_was_accepted() {
    let mut all = [Process::new("sqlite")];
    let disk = Tmpfs::mount(all[0].home.path().join("state"), "size=421m,mode=700");
    let ballast = disk.0.join("ballast");
    let peers = vec![all[0].start()];
    wait_for_leader(&all, None).await;
    put_module(&peers[0]).await;
    under_load(&mut all, &peers, async |all| {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let token = "ee".repeat(16);
        let said = all[0].order(&token);
        assert!(said.starts_with("HTTP/1.1 201"), "{said}");
        // The journal leaves 256 MiB free, and the coordinator takes no new work 64 MiB before that.
        std::fs::write(&ballast, vec![1; 120 << 20]).unwrap();
        let said = all[0].order_until("503").await;
        assert!(said.contains("disk_floor"), "{said}");
        let health = all[0].get("/healthz").unwrap();
        assert!(health.contains("bytes free"), "{health}");
        // What grows nothing goes on.
        let price = all[0].get("/fog/1/price").unwrap();
        assert!(price.starts_with("HTTP/1.1 200"), "{price}");
        // Below, the journal takes no record at all.
        let more = disk.0.join("more");
        std::fs::write(&more, vec![1; 100 << 20]).unwrap();
        let revoke = format!("DELETE /fog/1/tokens/{token}");
        let said = all[0].ask(&revoke, "").unwrap();
        assert!(said.starts_with("HTTP/1.1 503"), "{said}");
        let began = Clock::start();
        loop {
            let price = all[0].get("/fog/1/price").unwrap();
            if price.contains("disk_floor") {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{price}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        std::fs::remove_file(&more).unwrap();
        std::fs::remove_file(&ballast).unwrap();
        all[0].order_until("201").await;
        let said = all[0].ask(&revoke, "").unwrap();
        assert!(said.starts_with("HTTP/1.1 204"), "{said}");
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        "the disk was full".to_owned()
    })
    .await;
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
