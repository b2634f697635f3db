//! Holds many long polls at a coordinator, each on a session of its own, and measures what the coordinator does meanwhile.
//!
//! Each client follows the events. `--admin` names the address whose `/healthz` is asked once a second; `--pid` the process whose
//! memory is read from `/proc`.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use betanet_fog_client::{Direct, FogClient};
use betanet_keys::Peer;
use betanet_runtime::{Clock, Node, SessionConfig, load_identity};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

const USAGE: &str = "\
long-polls --coordinator PEER --key FILE [--clients N] [--seconds S] [--admin HOST:PORT] [--pid PID]

Example: long-polls --coordinator bnp1… --key ./user.pem --clients 10000 --admin 127.0.0.1:9464 --pid 4711";

/// Sessions that are opened at the same time. A coordinator refuses an address more than about a hundred.
const OPENING: usize = 32;

#[derive(Default)]
struct Counts {
    open: AtomicUsize,
    events: AtomicUsize,
    failed: AtomicUsize,
}

/// Follows the events without end. The first answer shows that the coordinator holds the request.
async fn follow(peer: Peer, key: Arc<str>, opening: Arc<Semaphore>, counts: Arc<Counts>) {
    let followed = async {
        let me = load_identity((*key).as_ref())?;
        let node = Node::new(Some(me.clone()), SessionConfig::default())?;
        let fog = FogClient::new(me, Direct::new(node.into(), vec![peer]));
        let turn = opening.acquire().await?;
        fog.price().await?;
        drop(turn);
        counts.open.fetch_add(1, Ordering::Relaxed);
        let mut events = fog.events(0, true);
        while events.next().await?.is_some() {
            counts.events.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<(), Box<dyn Error + Send + Sync>>(())
    };
    if let Err(error) = followed.await
        && counts.failed.fetch_add(1, Ordering::Relaxed) < 5
    {
        println!("a client failed: {error}");
    }
}

/// Asks for the health. Returns the status line.
async fn health(admin: &str) -> Result<String, Box<dyn Error>> {
    let mut stream = TcpStream::connect(admin).await?;
    let request = format!("GET /healthz HTTP/1.0\r\nHost: {admin}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

fn memory(pid: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut flags = BTreeMap::new();
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let name = flag.strip_prefix("--").ok_or(USAGE)?.to_owned();
        flags.insert(name, args.next().ok_or(USAGE)?);
    }
    let text = |name: &str| flags.get(name).map(String::as_str);
    let number = |name: &str, default: usize| text(name).map_or(Ok(default), str::parse);
    let peer: Peer = text("coordinator").ok_or(USAGE)?.parse()?;
    let key: Arc<str> = text("key").ok_or(USAGE)?.into();
    let (clients, seconds) = (number("clients", 10_000)?, number("seconds", 150)?);
    let counts = Arc::new(Counts::default());
    let opening = Arc::new(Semaphore::new(OPENING));
    for _ in 0..clients {
        let (peer, key) = (peer.clone(), Arc::clone(&key));
        tokio::spawn(follow(peer, key, Arc::clone(&opening), Arc::clone(&counts)));
    }
    let clock = Clock::start();
    let (mut slowest, mut answered, mut late) = (Duration::ZERO, 0_usize, 0_usize);
    for second in 1..=seconds {
        sleep(Duration::from_secs(1)).await;
        if let Some(admin) = text("admin") {
            let began = clock.elapsed();
            match timeout(Duration::from_secs(10), health(admin)).await {
                Ok(Ok(line)) if line.contains("200") => answered += 1,
                _ => late += 1,
            }
            slowest = slowest.max(clock.elapsed().saturating_sub(began));
        }
        if second % 10 == 0 || second == seconds {
            println!(
                "{:>4} s: {} clients open, {} failed, {} events; healthz: {answered} answers, {late} failures, slowest {} ms; \
                 coordinator {} MiB, clients {} MiB",
                clock.elapsed().as_secs(),
                counts.open.load(Ordering::Relaxed),
                counts.failed.load(Ordering::Relaxed),
                counts.events.load(Ordering::Relaxed),
                slowest.as_millis(),
                text("pid").and_then(memory).unwrap_or(0) / 1024,
                memory("self").unwrap_or(0) / 1024,
            );
        }
    }
    Ok(())
}
