//! Active probes: a gateway beside the same web site without betanet, asked the same in turns that are drawn; every answer compared,
//! and the times by a Kolmogorov-Smirnov test. `probes N [GATEWAY] [--json FILE]`, N of each kind and each side.
//!
//! The site without betanet is the same program with `--cover-only`. Both are started anew several times, in turns: two processes of one
//! program differ by microseconds, by where their memory lies.

pub(crate) mod kinds;
mod stats;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use kinds::{Kind, Seen};
use stats::{holm, ks, median};

/// The family-wise error of all tests together.
const ALPHA: f64 = 0.01;
/// How far medians may lie apart.
const APART: f64 = 0.05;
/// Times that both servers are started anew.
const ROUNDS: usize = 50;
/// What is planted, to see that it is found.
const PLANTED: Duration = Duration::from_millis(1);

/// A server's process, gone with this.
struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A peer that nobody is.
fn nobody() -> String {
    let key = *betanet_keys::Identity::from_seed(&[8; 32]).public();
    let addrs = vec!["127.0.0.1:9".to_owned()];
    let pin = Some([0; 32]);
    betanet_keys::Peer { key, addrs, pin }.to_string()
}

impl Server {
    /// The gateway, or the web site that it is without tunnels.
    fn start(binary: &Path, home: &Path, cover_only: bool) -> Self {
        let config = home.join("gateway.toml");
        let text = "connections_per_address = 1000000\nconnects_per_second = 1000000\n";
        std::fs::write(&config, text).unwrap();
        // One core for the servers, the other for who asks: otherwise a process keeps what the scheduler made of its threads.
        let mut command = Command::new("taskset");
        command
            .args(["--cpu-list", "1"])
            .arg(binary)
            .args(["--listen", "127.0.0.1:0", "--json", "--serve"])
            .arg(home.join("served"))
            .arg("--cover")
            .arg(home.join("cover"))
            .arg("--key")
            .arg(home.join("key.pem"))
            .arg("--config")
            .arg(config)
            .arg("--compat11-tickets")
            .arg(home.join("tickets11.key"))
            .args(["--compat11-to", &nobody()])
            .args(cover_only.then_some("--cover-only"));
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let facts: Value = serde_json::from_str(&line).expect("a gateway that says where it is");
        let address = facts["addresses"][0].as_str().unwrap();
        let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
        Self { child, port }
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
}

/// A way to a server that makes its answers later.
async fn later(to: SocketAddr, by: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let far = TcpStream::connect(to).await.unwrap();
                near.set_nodelay(true).unwrap();
                far.set_nodelay(true).unwrap();
                let (mut near_in, mut near_out) = near.into_split();
                let (mut far_in, mut far_out) = far.into_split();
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut near_in, &mut far_out).await;
                });
                let mut buf = vec![0; 65_536];
                while let Ok(n @ 1..) = far_in.read(&mut buf).await {
                    // Of the executor's timer a millisecond is the least: spun, so that it is no more.
                    let until = Instant::now() + by;
                    while Instant::now() < until {
                        tokio::task::yield_now().await;
                    }
                    if near_out.write_all(&buf[..n]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    at
}

struct Row {
    kind: &'static str,
    a: Vec<f64>,
    b: Vec<f64>,
    differing: Vec<(Seen, Seen)>,
}

impl Row {
    fn extend(&mut self, more: Self) {
        self.a.extend(more.a);
        self.b.extend(more.b);
        self.differing.extend(more.differing);
        self.differing.truncate(3);
    }
}

/// Asks both servers, in turns that are drawn.
async fn compare(kind: &Kind, a: SocketAddr, b: SocketAddr, n: usize, dice: &mut u64) -> Row {
    let mut row = Row {
        kind: kind.name,
        a: Vec::new(),
        b: Vec::new(),
        differing: Vec::new(),
    };
    for _ in 0..n {
        *dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let first_a = *dice >> 63 == 0;
        let order = if first_a { [a, b] } else { [b, a] };
        let (one, time_one) = kinds::ask(kind, order[0]).await;
        let (two, time_two) = kinds::ask(kind, order[1]).await;
        let ((seen_a, time_a), (seen_b, time_b)) = if first_a {
            ((one, time_one), (two, time_two))
        } else {
            ((two, time_two), (one, time_one))
        };
        row.a.push(time_a.as_secs_f64() * 1000.0);
        row.b.push(time_b.as_secs_f64() * 1000.0);
        if seen_a != seen_b && row.differing.len() < 3 {
            row.differing.push((seen_a, seen_b));
        }
    }
    row
}

/// Runs the suite; whether nothing differs, and what was planted is found.
pub(crate) fn run(args: &[String]) -> bool {
    let n: usize = args.first().map_or(200, |n| n.parse().expect("probes N"));
    let gateway = args.get(1).filter(|a| !a.starts_with("--"));
    let gateway = gateway.map_or_else(|| crate::beside("gateway"), PathBuf::from);
    let home = tempfile::tempdir().unwrap();
    for folder in ["served", "cover"] {
        std::fs::create_dir(home.path().join(folder)).unwrap();
    }
    std::fs::write(
        home.path().join("cover/index.html"),
        "<h1>A garden diary</h1>\n",
    )
    .unwrap();
    std::fs::write(home.path().join("cover/large.bin"), vec![7; 200_000]).unwrap();
    std::fs::write(home.path().join("served/hello.txt"), "hello").unwrap();
    let runtime = crate::parts::runtime(Some(1));
    let mut dice = 0x5eed;
    let mut rows: Vec<Row> = Vec::new();
    let mut planted = None;
    let rounds = (n / 25).clamp(1, ROUNDS);
    for round in 0..rounds {
        // Each is the one that was started first as often as the other.
        let first = Server::start(&gateway, home.path(), round % 2 == 1);
        let second = Server::start(&gateway, home.path(), round % 2 == 0);
        let (a, b) = if round % 2 == 0 {
            (first, second)
        } else {
            (second, first)
        };
        let asked = n / rounds + usize::from(round < n % rounds);
        runtime.block_on(async {
            let recorded = kinds::recorded(a.address()).await;
            for (i, kind) in kinds::all(recorded).iter().enumerate() {
                let row = compare(kind, a.address(), b.address(), asked, &mut dice).await;
                match rows.get_mut(i) {
                    Some(before) => before.extend(row),
                    None => rows.push(row),
                }
            }
            if round + 1 == rounds {
                let slow = later(b.address(), PLANTED).await;
                let straight = later(b.address(), Duration::ZERO).await;
                planted = Some(compare(&kinds::get(), slow, straight, n, &mut dice).await);
            }
        });
        eprintln!("round {} of {rounds}", round + 1);
    }
    let planted = planted.expect("a last round");
    let ps: Vec<f64> = rows.iter().map(|r| ks(&r.a, &r.b).1).collect();
    let rejected = holm(&ps, ALPHA);
    let mut fine = true;
    let mut list = Vec::new();
    println!(
        "{:34} {:>9} {:>9} {:>7} {:>7} {:>9}  answers",
        "probe", "gateway", "site", "apart", "D", "p"
    );
    for ((row, p), rejected) in rows.iter().zip(&ps).zip(&rejected) {
        let (ma, mb) = (median(&row.a), median(&row.b));
        let apart = (ma - mb).abs() / mb;
        let same = row.differing.is_empty();
        fine &= same && !rejected && apart <= APART;
        let verdict = match (same, rejected) {
            (false, _) => "DIFFER",
            (true, true) => "same, times DIFFER",
            (true, false) => "same",
        };
        println!(
            "{:34} {ma:>7.3}ms {mb:>7.3}ms {:>6.1}% {:>7.4} {p:>9.2e}  {verdict}",
            row.kind,
            apart * 100.0,
            ks(&row.a, &row.b).0
        );
        for (a, b) in &row.differing {
            println!("  gateway {a:?}\n  site    {b:?}");
        }
        list.push(json!({"probe": row.kind, "median_ms": [ma, mb], "d": ks(&row.a, &row.b).0, "p": p, "same": same, "rejected": rejected}));
    }
    let (d, p) = ks(&planted.a, &planted.b);
    let found = p < ALPHA;
    println!(
        "planted {} ms: D {d:.4}, p {p:.2e}: {}",
        PLANTED.as_millis(),
        if found { "found" } else { "NOT FOUND" }
    );
    if let Some(at) = args.iter().position(|a| a == "--json") {
        let path = args.get(at + 1).expect("--json FILE");
        let all = json!({"each": n, "probes": list, "planted_found": found});
        std::fs::write(path, all.to_string()).unwrap();
    }
    fine && found
}
