//! Times and memory of a panel, printed: `cargo run --release -p betanet-panel --example measure -- WHAT [N] [M]`.
//!
//! | what | |
//! |---|---|
//! | `pages NODES TASKS` | time of each page over so many nodes and tasks, at rest and while tasks come; by default 10 000 and 100 000 |
//! | `chromium NODES TASKS` | bytes, first paint, movement, connections, and the time from an event to the page, in Chromium |
//! | `streams CLIENTS PAGES` | memory of each client of the events, and the time until one that is stopped is dropped, with what the others notice; by default 500, of events alone; with 1, each shows the control panel |
//! | `logins TRIES` | times of wrong passwords for known and for unknown names, and whether they differ; by default 2 000 of each |
//! | `flood SECONDS` | times of other requests, and memory, while 200 wrong logins a second come from another process; by default for 20 s |
//! | `audit RECORDS` | records of the audit log that are made and committed to SQLite a second; by default 50 000 |
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a program that measures: it prints, reads the clock, and stops where it is surprised"
)]

#[allow(dead_code, unreachable_pub, reason = "the tests use the rest")]
#[path = "../../../bins/coordinator/tests/panel/browser.rs"]
mod browser;
#[path = "measure/chromium.rs"]
mod chromium;
#[path = "../tests/all/fleet.rs"]
mod fleet;
#[path = "measure/streams.rs"]
mod streams;
#[allow(dead_code, unreachable_pub, reason = "the tests use the rest")]
#[path = "../tests/all/world.rs"]
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use betanet_auth::audit::{Entry, Trail, Verdict};
use betanet_coordinator::{Quota, Request};
use betanet_fog::Signed;
use betanet_journal::{Journal as _, Kind, Lead, MemoryStore};
use betanet_journal_sqlite::{Settings as SqliteSettings, SqliteJournal};
use betanet_keys::Identity;
use betanet_sim::fog::{caller, identity, task_of};
use betanet_store::State;
use fleet::{beats, journal, now_ms};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use world::{PASSWORD, World, over};

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const NO_LIMIT: Quota = Quota {
    cpu: u64::MAX >> 1,
    memory: u64::MAX >> 1,
    gpu: u64::MAX >> 1,
    copies: u64::MAX >> 1,
    waiting: u64::MAX >> 1,
    spend: u64::MAX >> 1,
};
/// Requests of an account, times those of others.
const FACTOR: u64 = 10_000;

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let what = args.next().unwrap_or_default();
    let args: Vec<String> = args.collect();
    // The other processes of `flood` and `streams`.
    match (what.as_str(), &args[..]) {
        ("asker", [at, cookie, tries]) => {
            return asker(at.parse().unwrap(), cookie, tries.parse().unwrap()).await;
        }
        ("reader", [at, cookie, page]) => {
            return streams::reader(at.parse().unwrap(), cookie, page).await;
        }
        ("flooder", [at, seconds]) => {
            return flooder(at.parse().unwrap(), seconds.parse().unwrap()).await;
        }
        _ => {}
    }
    let numbers: Vec<usize> = args.iter().map(|n| n.parse().unwrap()).collect();
    let number = |at: usize, default| numbers.get(at).copied().unwrap_or(default);
    match what.as_str() {
        "pages" => pages(number(0, 10_000), number(1, 100_000)).await,
        "chromium" => chromium(number(0, 10_000), number(1, 100_000)).await,
        "streams" => streams::run(number(0, 500), number(1, 0) == 1).await,
        "logins" => logins(number(0, 2_000)).await,
        "flood" => flood(number(0, 20)).await,
        "audit" => audit(number(0, 50_000)).await,
        _ => panic!("pages, chromium, streams, logins, flood or audit"),
    }
}

/// The value below which so many per cent lie.
fn percent(sorted: &[f64], part: usize) -> f64 {
    sorted[(sorted.len() * part / 100).min(sorted.len() - 1)]
}

fn sorted(mut all: Vec<f64>) -> Vec<f64> {
    all.sort_by(f64::total_cmp);
    all
}

async fn submit(world: &World, from: usize, n: usize) {
    let user = identity(20);
    let mut deadline = task_of(&user, 0);
    deadline.deadline = now_ms() + 3_600_000;
    for nonce in from..from + n {
        let mut task = task_of(&user, nonce as u64);
        // No node runs it: its copy must not be given up while this measures.
        (task.deadline, task.start, task.run_ms) = (deadline.deadline, 0, 3_000_000);
        let task = Box::new(Signed::sign(task, &user).unwrap());
        let request = Request::Submit {
            task,
            missing: None,
        };
        let answer = world.handle().ask(caller(&user, false), request).await;
        answer.unwrap();
    }
}

async fn times(world: &World, cookie: &str, path: &str, n: usize, pause: Duration) -> Vec<f64> {
    let mut all = Vec::new();
    for _ in 0..n {
        let began = Instant::now();
        let answer = world.ask("GET", path, &[("cookie", cookie)], "").await;
        all.push(began.elapsed().as_secs_f64() * 1000.0);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        tokio::time::sleep(pause).await;
    }
    sorted(all)
}

/// A panel over so many nodes.
async fn with_nodes(nodes: usize) -> (World, Vec<Identity>) {
    let ids: Vec<Identity> = (0..nodes).map(|n| identity(1_000_000 + n as u64)).collect();
    let store = journal(&ids).await;
    let world = over(&store, NO_LIMIT, FACTOR).await;
    beats(&world, &ids, 1).await;
    (world, ids)
}

async fn chromium(nodes: usize, tasks: usize) {
    let (world, ids) = with_nodes(nodes).await;
    chromium::run(&world, &ids, tasks).await;
}

async fn pages(nodes: usize, tasks: usize) {
    const TRIES: usize = 300;
    let (world, ids) = with_nodes(nodes).await;
    let began = Instant::now();
    submit(&world, 0, tasks).await;
    println!(
        "{nodes} nodes, {tasks} tasks; submitted in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    beats(&world, &ids, 2).await;
    let (cookie, _) = world.admin().await;
    let (token, _) = world.access("root").await;
    let first = async |path: &str| {
        let answer = world.api("GET", path, &token, &Value::Null).await.json();
        answer["items"][0]["id"].as_str().unwrap().to_owned()
    };
    let node = first("/api/v1/nodes").await;
    let task = first("/api/v1/tasks").await;
    let paths = [
        "/control-panel".to_owned(),
        "/nodes".to_owned(),
        "/nodes?q=org7&sort=-seen".to_owned(),
        format!("/nodes/{node}"),
        "/tasks".to_owned(),
        "/tasks?state=queued&page=100".to_owned(),
        "/tasks?q=ab".to_owned(),
        format!("/tasks/{task}"),
        "/audit".to_owned(),
        "/settings".to_owned(),
    ];
    println!(
        "{:40} {:>9} {:>9} {:>9}",
        "at rest, ms", "p50", "p99", "most"
    );
    for path in &paths {
        let all = times(&world, &cookie, path, TRIES, Duration::ZERO).await;
        let shown: String = path.chars().take(40).collect();
        println!(
            "{shown:40} {:9.1} {:9.1} {:9.1}",
            percent(&all, 50),
            percent(&all, 99),
            all[all.len() - 1]
        );
    }
    println!(
        "{:40} {:>9} {:>9} {:>9}",
        "while 50 tasks a second come, ms", "p50", "p99", "most"
    );
    for (at, path) in paths.iter().enumerate() {
        let coming = async {
            for n in 0..TRIES {
                submit(&world, tasks + at * 1_000 + n, 1).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let asking = times(&world, &cookie, path, TRIES, Duration::from_millis(20));
        let ((), all) = tokio::join!(coming, asking);
        let shown: String = path.chars().take(40).collect();
        println!(
            "{shown:40} {:9.1} {:9.1} {:9.1}",
            percent(&all, 50),
            percent(&all, 99),
            all[all.len() - 1]
        );
    }
}

/// Resident memory of the process, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

/// Sends a login from an address of loopback. Returns the time that the answer took in ms, and the answer.
async fn login(
    at: SocketAddr,
    from: Ipv4Addr,
    (path, kind, body): (&str, &str, &str),
) -> (f64, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut tcp = socket.connect(at).await.unwrap();
    let text = format!(
        "POST {path} HTTP/1.1\r\nhost: {at}\r\norigin: http://{at}\r\ncontent-type: application/{kind}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let began = Instant::now();
    tcp.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    (began.elapsed().as_secs_f64() * 1000.0, answer)
}

/// Logs a browser in; its cookies.
async fn browser(at: SocketAddr, from: Ipv4Addr, name: &str) -> String {
    let body = format!("name={name}&password={PASSWORD}").replace('#', "%23");
    let form = ("/login", "x-www-form-urlencoded", &*body);
    let (_, answer) = login(at, from, form).await;
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    let fields = answer.lines().filter_map(|l| l.split_once(": "));
    let set = fields.filter(|(n, _)| n.eq_ignore_ascii_case("set-cookie"));
    let pairs: Vec<&str> = set.map(|(_, v)| v.split(';').next().unwrap()).collect();
    pairs.join("; ")
}

async fn logins(tries: usize) {
    let world = over(&MemoryStore::new(), NO_LIMIT, FACTOR).await;
    world.admin().await;
    let (root, _) = world.access("root").await;
    for n in 0..tries {
        let account =
            json!({"name": format!("known-{n:05}"), "password": PASSWORD, "grants": "viewer"});
        let made = world.api("POST", "/api/v1/accounts", &root, &account).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for n in 0..tries {
        // Each name is tried once, each address forty times a minute at most; the order turns.
        let from = Ipv4Addr::new(127, 1, (n / 10 / 250) as u8, 1 + (n / 10 % 250) as u8);
        for turn in 0..2 {
            let is_known = (turn + n) % 2 == 0;
            let (name, all) = match is_known {
                true => (format!("known-{n:05}"), &mut known),
                false => (format!("other-{n:05}"), &mut unknown),
            };
            let body = json!({"name": name, "password": "not the password"}).to_string();
            let (took, answer) = login(world.at, from, ("/api/v1/login", "json", &body)).await;
            assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
            all.push(took);
        }
    }
    let (known, unknown) = (sorted(known), sorted(unknown));
    let below = |all: &[f64], x: f64| all.partition_point(|v| *v <= x) as f64 / all.len() as f64;
    let gaps = known.iter().chain(&unknown);
    let gaps = gaps.map(|x| (below(&known, *x) - below(&unknown, *x)).abs());
    let distance = gaps.fold(0.0, f64::max);
    let bound = 1.628 * (2.0 / tries as f64).sqrt();
    println!(
        "known:   p50 {:.2} ms, p99 {:.2} ms",
        percent(&known, 50),
        percent(&known, 99)
    );
    println!(
        "unknown: p50 {:.2} ms, p99 {:.2} ms",
        percent(&unknown, 50),
        percent(&unknown, 99)
    );
    let told = if distance > bound {
        "they differ"
    } else {
        "they do not differ"
    };
    println!("Kolmogorov-Smirnov distance {distance:.4}, bound at 0.01 {bound:.4}: {told}");
}

/// Wrong logins a second.
const RATE: usize = 200;

/// Runs this program as another process, with an address and more arguments, until it ends.
fn other(what: &str, at: SocketAddr, args: &[&str]) -> tokio::task::JoinHandle<()> {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.arg(what).arg(at.to_string()).args(args);
    tokio::task::spawn_blocking(move || assert!(command.status().unwrap().success()))
}

/// The process of `flood` that asks for other pages, and prints their times.
async fn asker(at: SocketAddr, cookie: &str, tries: usize) {
    for path in ["/control-panel", "/tasks", "/settings", "/healthz"] {
        let mut all = Vec::new();
        for _ in 0..tries {
            let text = format!(
                "GET {path} HTTP/1.1\r\nhost: {at}\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n"
            );
            let began = Instant::now();
            let mut tcp = tokio::net::TcpStream::connect(at).await.unwrap();
            tcp.write_all(text.as_bytes()).await.unwrap();
            let mut answer = String::new();
            tcp.read_to_string(&mut answer).await.unwrap();
            all.push(began.elapsed().as_secs_f64() * 1000.0);
            assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let all = sorted(all);
        println!(
            "{path:20} p50 {:6.1} ms, p99 {:6.1} ms, most {:6.1} ms",
            percent(&all, 50),
            percent(&all, 99),
            all[all.len() - 1]
        );
    }
}

/// The process of `flood` that sends wrong logins, and counts the answers by status.
async fn flooder(at: SocketAddr, seconds: usize) {
    let mut ticks = tokio::time::interval(Duration::from_millis(1_000 / RATE as u64));
    let began = Instant::now();
    let mut logins = tokio::task::JoinSet::new();
    for n in 0..RATE * seconds {
        ticks.tick().await;
        let from = Ipv4Addr::new(127, 2, (n / 250 % 250) as u8, 1 + (n % 250) as u8);
        logins.spawn(async move {
            let body = json!({"name": format!("n{n}"), "password": "not the password"});
            let body = body.to_string();
            let (_, answer) = login(at, from, ("/api/v1/login", "json", &body)).await;
            answer[9..12].to_owned()
        });
    }
    let rate = (RATE * seconds) as f64 / began.elapsed().as_secs_f64();
    let mut statuses = std::collections::BTreeMap::<String, usize>::new();
    while let Some(status) = logins.join_next().await {
        *statuses.entry(status.unwrap()).or_default() += 1;
    }
    println!("{rate:.0} wrong logins a second were sent; answers by status: {statuses:?}");
}

/// Wrong logins at 200 a second, beside other requests. Both come from processes of their own.
async fn flood(seconds: usize) {
    let world = over(&MemoryStore::new(), NO_LIMIT, FACTOR).await;
    let (cookie, _) = world.admin().await;
    println!("without wrong logins");
    other("asker", world.at, &[&cookie, "300"]).await.unwrap();
    let before = resident();
    println!("with {RATE} wrong logins a second");
    let flooding = other("flooder", world.at, &[&seconds.to_string()]);
    let asking = other("asker", world.at, &[&cookie, "300"]);
    let mut most = before;
    while !flooding.is_finished() || !asking.is_finished() {
        most = most.max(resident());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    flooding.await.unwrap();
    asking.await.unwrap();
    println!(
        "memory grew from {:.1} MiB by {:.1} MiB at most",
        before as f64 / f64::from(1 << 20),
        most.saturating_sub(before) as f64 / f64::from(1 << 20)
    );
}

async fn audit(records: usize) {
    let home = tempfile::tempdir().unwrap();
    let state = Arc::new(State::open(home.path()).unwrap());
    let settings = SqliteSettings {
        floor: 0,
        ..SqliteSettings::default()
    };
    let journal = SqliteJournal::open(&state, settings).unwrap();
    let Lead::Leads(term) = journal.lead().await.unwrap() else {
        panic!("somebody leads");
    };
    // Requests that wait for the state share a commit, at most so many.
    for together in [1, 16, 256] {
        let mut trail = Trail::default();
        let began = Instant::now();
        let all = if together == 1 { records / 50 } else { records };
        for from in (0..all).step_by(together) {
            let batch = (from..from + together).map(|n| {
                let entry = Entry {
                    actor: "root 00000000000000000000000000000000",
                    action: "patchNode",
                    target: "node 0000000000000000000000000000000000000000",
                    before: Some([1; 32]),
                    after: Some([2; 32]),
                    verdict: Verdict::Done,
                    request: (n as u128).to_be_bytes(),
                };
                let bytes = trail.append(now_ms(), entry);
                betanet_journal::Record::new(Kind::new("audit").unwrap(), bytes)
            });
            journal.append(term.epoch, batch.collect()).await.unwrap();
        }
        let rate = all as f64 / began.elapsed().as_secs_f64();
        println!("{together} a commit: {rate:.0} records a second");
    }
}
