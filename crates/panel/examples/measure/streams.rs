//! Many clients of the events: their memory, and what they notice of one that is stopped.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use betanet_journal::MemoryStore;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{PASSWORD, World, over};
use crate::{FACTOR, NO_LIMIT, browser, percent, resident, sorted, submit};

/// Tasks a second, while the others are watched.
const RATE: u64 = 10;
/// Positions of the journal, and when a client learned of each.
type Told = Arc<Mutex<Vec<(u64, Instant)>>>;

/// Opens a stream of events.
async fn open(at: SocketAddr, cookie: &str, page: &str) -> TcpStream {
    let page = match page {
        "" => String::new(),
        path => format!("&page={}", path.replace('/', "%2F")),
    };
    let text = format!(
        "GET /events?topics=nodes,tasks,overview{page} HTTP/1.1\r\nhost: {at}\r\ncookie: {cookie}\r\n\r\n"
    );
    let mut tcp = TcpStream::connect(at).await.unwrap();
    tcp.write_all(text.as_bytes()).await.unwrap();
    let mut head = [0; 17];
    tcp.read_exact(&mut head).await.unwrap();
    assert_eq!(&head[9..12], b"200", "{}", String::from_utf8_lossy(&head));
    tcp
}

/// Reads a stream as a browser does, until it ends.
async fn read(mut tcp: TcpStream, at: SocketAddr, cookie: String, told: Option<Told>) {
    let (mut buf, mut id, mut number) = ([0; 2048], String::new(), 0);
    let mut text = String::new();
    while let Ok(n @ 1..) = tcp.read(&mut buf).await {
        text += &String::from_utf8_lossy(&buf[..n]);
        let after = |mark: &str| text.rsplit_once(mark).map(|(_, rest)| rest);
        let digits = |rest: &str| {
            rest.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        };
        if let Some(rest) = after("\"stream\":\"").filter(|r| r.len() >= 32) {
            id = rest[..32].to_owned();
        }
        if let Some(told) = &told
            && let Some(position) = after("\"position\":")
                .or_else(|| after("data-position=\\\""))
                .and_then(digits)
        {
            told.lock().unwrap().push((position, Instant::now()));
        }
        let new = after("\"number\":").and_then(digits);
        let beat = text.contains("event: beat\n");
        if beat || new.is_some_and(|new| new > number) {
            number = new.unwrap_or(number);
            confirm(at, &cookie, &id, number).await;
        }
        // What may go on in the next piece.
        let tail = text.len().saturating_sub(96);
        let tail = (tail..=text.len()).find(|at| text.is_char_boundary(*at));
        text = match text[tail.unwrap_or(0)..].rsplit_once("\n\n") {
            Some((_, rest)) => rest.to_owned(),
            None => text[tail.unwrap_or(0)..].to_owned(),
        };
    }
}

/// Says that a stream's client reads, and up to which page.
async fn confirm(at: SocketAddr, cookie: &str, id: &str, page: u64) {
    let mut tcp = TcpStream::connect(at).await.unwrap();
    let text = format!(
        "GET /events/seen?stream={id}&page={page} HTTP/1.1\r\nhost: {at}\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n"
    );
    tcp.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}

/// The process that is stopped: it prints the port of its stream, and reads.
pub(crate) async fn reader(at: SocketAddr, cookie: &str, page: &str) {
    let tcp = open(at, cookie, page).await;
    println!("{}", tcp.local_addr().unwrap().port());
    read(tcp, at, cookie.to_owned(), None).await;
}

/// Whether the server holds the connection of a client's port.
fn held(port: u16) -> bool {
    let all = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let at = format!(":{port:04X}");
    // The server's end: its remote address is the client's.
    all.lines().any(|l| {
        let mut words = l.split_whitespace().skip(2);
        words.next().is_some_and(|r| r.ends_with(&at)) && words.next() == Some("01")
    })
}

/// Submits tasks for some time, or until it is over, and prints how late a client learns of each.
async fn watched(
    world: &World,
    sent: &mut usize,
    told: &Told,
    what: &str,
    mut over: impl FnMut(Duration) -> bool,
) {
    told.lock().unwrap().clear();
    let began = Instant::now();
    let mut commits = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(1_000 / RATE));
    while !over(began.elapsed()) {
        ticks.tick().await;
        submit(world, *sent, 1).await;
        *sent += 1;
        commits.push((world.local().position(), Instant::now()));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let told = told.lock().unwrap();
    let late = commits.iter().map(|(position, at)| {
        let seen = told.iter().find(|(p, _)| p >= position);
        seen.map_or(f64::INFINITY, |(_, t)| {
            t.saturating_duration_since(*at).as_secs_f64() * 1000.0
        })
    });
    let late = sorted(late.collect());
    println!(
        "{what}: another client learns of a task after p50 {:.0} ms, p99 {:.0} ms, most {:.0} ms of {}; {:.0} KiB resident",
        percent(&late, 50),
        percent(&late, 99),
        late[late.len() - 1],
        late.len(),
        resident() as f64 / 1024.0
    );
}

pub(crate) async fn run(clients: usize, pages: bool) {
    let page = if pages { "/control-panel" } else { "" };
    let world = over(&MemoryStore::new(), NO_LIMIT, FACTOR).await;
    world.admin().await;
    let (root, _) = world.access("root").await;
    let mut cookies = Vec::new();
    // An account has sixteen streams, and an address thirty logins a minute.
    for n in 0..clients.div_ceil(16) {
        let name = format!("viewer-{n}");
        let account = json!({"name": name, "password": PASSWORD, "grants": "viewer"});
        let made = world.api("POST", "/api/v1/accounts", &root, &account).await;
        assert_eq!(made.status, 201, "{made:?}");
        let from = Ipv4Addr::new(127, 0, 1, 1 + (n / 20) as u8);
        cookies.push(browser(world.at, from, &name).await);
    }
    let told = Told::default();
    let mut readers = tokio::task::JoinSet::new();
    let before = resident();
    for n in 0..clients - 1 {
        let cookie = &cookies[n / 16];
        let tcp = open(world.at, cookie, page).await;
        let told = (n == 0).then(|| Arc::clone(&told));
        readers.spawn(read(tcp, world.at, cookie.clone(), told));
    }
    println!(
        "{} clients: {} bytes each, with what they take themselves in this process",
        clients - 1,
        (resident().saturating_sub(before)) / (clients as u64 - 1)
    );
    let mut sent = 0;
    let ten = |past: Duration| past >= Duration::from_secs(10);
    watched(&world, &mut sent, &told, "before", ten).await;
    let mut stopped = Command::new(std::env::current_exe().unwrap())
        .args([
            "reader",
            &world.at.to_string(),
            &cookies[(clients - 1) / 16],
            page,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(stopped.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let port = line.trim().parse().unwrap();
    assert!(held(port));
    kill_process(Pid::from_child(&stopped), Signal::STOP).unwrap();
    let mut took = None;
    let gone = |past: Duration| {
        if !held(port) {
            took = Some(past);
        }
        took.is_some() || past > Duration::from_secs(60)
    };
    watched(&world, &mut sent, &told, "beside a stopped client", gone).await;
    match took {
        Some(took) => println!(
            "the stopped client was dropped after {:.1} s",
            took.as_secs_f64()
        ),
        None => println!("the stopped client is still held"),
    }
    stopped.kill().unwrap();
    stopped.wait().unwrap();
    let mut left = readers.len();
    while readers.try_join_next().is_some() {
        left -= 1;
    }
    println!("{left} of {} other clients are connected", clients - 1);
}
