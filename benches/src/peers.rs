//! The same transfer and the same requests over transports that a user would pick: `cargo xtask bench --only peers`.
//!
//! Both ends of each run in this process, the tunnel of another project beside it. A session of a transport without streams
//! keeps the connections that it has opened, and opens another one for each request that runs beside them.

mod raw;
mod swarm;
mod tunnel;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use betanet_runtime::{Gateway, Headers, Method, Node, Plain, Request, SessionHandle, Transport};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;

use crate::download::gateway;
use crate::idle::resident_kib;
use crate::{Effort, Figure, cpu, median, parts};

/// Bytes of an answer to a small request.
const SMALL: u64 = 1 << 10;
/// Requests under way at a time.
const AT_A_TIME: usize = 16;

type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One session of a transport.
trait Line: Send + Sync {
    /// Asks for so many bytes; returns those that came.
    fn fetch(&self, len: u64) -> Later<'_, u64>;
}

/// A transport, with a server of its own.
trait Kind: Send + Sync {
    fn name(&self) -> &'static str;

    fn session(&self) -> Later<'_, Arc<dyn Line>>;

    /// Processes beside this one that carry its bytes.
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }
}

/// Answers each length with so many bytes, until the other end closes.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let buf = vec![9; 64 << 10];
    while let Ok(mut left) = stream.read_u64().await {
        while left > 0 {
            let n = left.min(buf.len() as u64) as usize;
            if stream.write_all(&buf[..n]).await.is_err() {
                return;
            }
            left -= n as u64;
        }
        if stream.flush().await.is_err() {
            return;
        }
    }
}

/// The other side of [`serve`].
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), len: u64) -> u64 {
    stream.write_u64(len).await.unwrap();
    stream.flush().await.unwrap();
    let mut buf = vec![0; len.min(64 << 10) as usize];
    let mut got = 0;
    while got < len {
        let most = buf.len().min((len - got) as usize);
        match stream.read(&mut buf[..most]).await.unwrap() {
            0 => break,
            n => got += n as u64,
        }
    }
    got
}

/// Connections that are kept, for transports without streams.
struct Kept<S, F> {
    idle: Mutex<Vec<S>>,
    connect: F,
}

impl<S, F, C> Line for Kept<S, F>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn() -> C + Send + Sync + 'static,
    C: Future<Output = S> + Send + 'static,
{
    fn fetch(&self, len: u64) -> Later<'_, u64> {
        Box::pin(async move {
            let kept = self.idle.lock().await.pop();
            let mut stream = match kept {
                Some(stream) => stream,
                None => (self.connect)().await,
            };
            let got = ask(&mut stream, len).await;
            self.idle.lock().await.push(stream);
            got
        })
    }
}

/// A session over connections that this makes; the first is made now.
async fn keep<S, F, C>(connect: F) -> Arc<dyn Line>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn() -> C + Send + Sync + 'static,
    C: Future<Output = S> + Send + 'static,
{
    let first = connect().await;
    Arc::new(Kept {
        idle: Mutex::new(vec![first]),
        connect,
    })
}

/// Sessions of this project, with a folder of one file a length.
struct Own {
    name: &'static str,
    gateway: Arc<Gateway>,
    node: Node,
}

struct OwnLine(SessionHandle);

impl Line for OwnLine {
    fn fetch(&self, len: u64) -> Later<'_, u64> {
        Box::pin(async move {
            let path = if len == SMALL {
                "/small.bin"
            } else {
                "/file.bin"
            };
            let get = Request::new(Method::Get, path, Headers::default());
            let mut answer = self.0.ask(get).await.unwrap();
            let mut got = 0;
            while let Some(bytes) = answer.body.chunk().await.unwrap() {
                got += bytes.len() as u64;
            }
            got
        })
    }
}

impl Kind for Own {
    fn name(&self) -> &'static str {
        self.name
    }

    fn session(&self) -> Later<'_, Arc<dyn Line>> {
        Box::pin(async {
            let peer = self.gateway.listening().peer();
            let session = self.node.connect(&peer).await.unwrap();
            Arc::new(OwnLine(session)) as Arc<dyn Line>
        })
    }
}

/// What one transport gave.
struct Row {
    name: &'static str,
    /// Megabytes per CPU second of both ends, of each round.
    rates: Vec<f64>,
    /// Requests per CPU second of both ends.
    requests: f64,
    /// Times of requests, in milliseconds.
    p50: f64,
    p99: f64,
    /// Resident memory of both ends for a session that is idle.
    kib: f64,
}

/// CPU time of this process and of those beside it.
fn spent_by(processes: &[u32]) -> Duration {
    let beside = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
        let per = rustix::param::clock_ticks_per_second();
        Duration::from_secs_f64((ticks(11) + ticks(12)) as f64 / per as f64)
    };
    cpu() + processes.iter().map(beside).sum::<Duration>()
}

async fn transfer(kind: &dyn Kind, line: &dyn Line, len: u64) -> f64 {
    let processes = kind.processes();
    let before = spent_by(&processes);
    assert_eq!(line.fetch(len).await, len, "{}", kind.name());
    len as f64 / (spent_by(&processes) - before).as_secs_f64() / 1e6
}

/// Asks many times over one session. Returns requests per CPU second, and the times at p50 and p99 in milliseconds.
async fn requests(kind: &dyn Kind, line: &Arc<dyn Line>, n: usize) -> (f64, f64, f64) {
    let asker = |n: usize| {
        let line = Arc::clone(line);
        tokio::spawn(async move {
            let mut times = Vec::with_capacity(n);
            for _ in 0..n {
                let began = Instant::now();
                assert_eq!(line.fetch(SMALL).await, SMALL);
                times.push(began.elapsed());
            }
            times
        })
    };
    let all = async |n: usize| {
        let askers: Vec<_> = (0..AT_A_TIME).map(|_| asker(n / AT_A_TIME)).collect();
        let mut times = Vec::new();
        for asker in askers {
            times.extend(asker.await.unwrap());
        }
        times
    };
    // Those without streams connect first.
    all(AT_A_TIME * 4).await;
    let processes = kind.processes();
    let before = spent_by(&processes);
    let mut times = all(n).await;
    let took = (spent_by(&processes) - before).as_secs_f64();
    times.sort_unstable();
    let at = |per_cent: usize| times[times.len() * per_cent / 100].as_secs_f64() * 1e3;
    (times.len() as f64 / took, at(50), at(99))
}

fn resident(processes: &[u32]) -> u64 {
    let all = processes.iter().copied().chain([std::process::id()]);
    all.map(resident_kib).sum()
}

/// Resident memory of both ends for each of `n` idle sessions, in KiB.
async fn idle(kind: &dyn Kind, n: usize) -> f64 {
    let mut held = Vec::new();
    for _ in 0..n / 4 {
        held.push(kind.session().await);
    }
    let before = resident(&kind.processes());
    for _ in 0..n {
        held.push(kind.session().await);
    }
    let after = resident(&kind.processes());
    after.saturating_sub(before) as f64 / n as f64
}

async fn kinds(home: &std::path::Path, len: u64) -> Vec<Box<dyn Kind>> {
    let gateway = Arc::new(gateway(home, len).await);
    std::fs::write(home.join("served/small.bin"), vec![9; SMALL as usize]).unwrap();
    let own = |name, transport| -> Box<dyn Kind> {
        let mut node = Node::client().unwrap().with_transport(transport);
        if transport == Transport::Quic {
            node = node.with_fingerprint(Arc::new(Plain));
        }
        Box::new(Own {
            name,
            gateway: Arc::clone(&gateway),
            node,
        })
    };
    let mut all = vec![
        own("betanet, TCP", Transport::Tcp),
        own("betanet, QUIC", Transport::Quic),
        raw::tls().await,
        raw::quic(),
        swarm::start().await,
    ];
    all.extend(tunnel::start(home).await);
    all
}

async fn measured(effort: Effort) -> Vec<Row> {
    let len: u64 = if effort.quick { 64 << 20 } else { 512 << 20 };
    let home = tempfile::tempdir().unwrap();
    let kinds = kinds(home.path(), len).await;
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    for kind in &kinds {
        // Before the buffers of transfers are there for idle sessions to use.
        let kib = idle(&**kind, if effort.quick { 40 } else { 400 }).await;
        lines.push(kind.session().await);
        rows.push(Row {
            name: kind.name(),
            rates: Vec::new(),
            requests: 0.0,
            p50: 0.0,
            p99: 0.0,
            kib,
        });
    }
    // Round by round: the machine's speed drifts.
    for _ in 0..if effort.quick { 1 } else { 5 } {
        for ((kind, line), row) in kinds.iter().zip(&lines).zip(&mut rows) {
            row.rates.push(transfer(&**kind, &**line, len).await);
        }
    }
    for ((kind, line), row) in kinds.iter().zip(&lines).zip(&mut rows) {
        let n = if effort.quick { 1_600 } else { 48_000 };
        (row.requests, row.p50, row.p99) = requests(&**kind, line, n).await;
    }
    rows
}

/// The rows as a table in Markdown.
fn table(rows: &[Row]) -> String {
    let mut table = "Both ends of a session count, over loopback. Requests are of 1 KiB, 16 at a time over one session.\n\n\
         | Transport | MB per CPU second | Requests per CPU second | p50, ms | p99, ms | KiB of an idle session |\n\
         |---|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for row in rows {
        table += &format!(
            "| {} | {:.0} | {:.0} | {:.2} | {:.2} | {:.1} |\n",
            row.name,
            median(row.rates.clone()),
            row.requests,
            row.p50,
            row.p99,
            row.kib
        );
    }
    table
}

pub(crate) fn measure(effort: Effort) -> (Vec<Figure>, String) {
    let runtime = parts::runtime(None);
    let rows = runtime.block_on(async { tokio::spawn(measured(effort)).await.unwrap() });
    let row = |name: &str| rows.iter().find(|row| row.name == name).unwrap();
    let beside = |name, own: &str, peer: &str, bound| {
        let (own, peer) = (row(own), row(peer));
        let ratios = own.rates.iter().zip(&peer.rates).map(|(a, b)| a / b);
        Figure {
            name,
            ratio: median(ratios.collect()),
            bound,
            at_least: true,
            detail: format!(
                "{:.0} and {:.0} MB per CPU second",
                median(own.rates.clone()),
                median(peer.rates.clone())
            ),
        }
    };
    let figures = vec![
        beside("download vs libp2p", "betanet, TCP", swarm::NAME, 1.0),
        beside("download vs raw TLS", "betanet, TCP", raw::TLS, 0.3),
        beside(
            "QUIC download vs raw quinn",
            "betanet, QUIC",
            raw::QUIC,
            0.5,
        ),
    ];
    (figures, table(&rows))
}
