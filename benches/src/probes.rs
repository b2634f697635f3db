//! Active probes: a gateway beside the same web site without betanet, asked the same in turns that are drawn; every answer compared,
//! and the times by a Kolmogorov-Smirnov test. `probes N [GATEWAY] [--json FILE]`, N of each kind and each side.

mod kinds;
mod stats;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use betanet_carrier::{CertSource, Certificate, Cover, Limits, QuicListener, Site, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use kinds::{Kind, Seen};
use stats::{holm, ks, median};

/// The family-wise error of all tests together.
const ALPHA: f64 = 0.01;
/// How far medians may lie apart.
const APART: f64 = 0.05;
/// What is planted, to see that it is found.
const PLANTED: Duration = Duration::from_millis(1);

/// The web site without betanet, until its standard input ends. Prints its port.
pub(crate) fn site(folder: &str) {
    let runtime = crate::parts::runtime(None);
    let folder = folder.to_owned();
    let all = async move {
        let certificate = Arc::new(CertSource::fixed(
            Certificate::self_signed(&["localhost".into()]).unwrap(),
        ));
        let (listener, udp) = loop {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let local = listener.local_addr().unwrap();
            if let Ok(udp) = std::net::UdpSocket::bind(local) {
                break (listener, udp);
            }
        };
        let port = listener.local_addr().unwrap().port();
        let cover = Cover::new(Path::new(&folder), std::time::SystemTime::now).unwrap();
        let site = Site::new(certificate, cover.with_h3(port), None, Limits::default()).unwrap();
        let site = Arc::new(site);
        let stop = CancellationToken::new();
        println!("{port}");
        let quic = QuicListener::new(&site, udp).unwrap();
        let (over_quic, stopped) = (Arc::clone(&site), stop.clone());
        tokio::spawn(async move {
            while let Some(visitor) = quic.accept().await {
                let (site, stop) = (Arc::clone(&over_quic), stopped.clone());
                tokio::spawn(async move {
                    if let Some(greeted) = visitor.greet(&site).await {
                        greeted.serve(site, stop).await;
                    }
                });
            }
        });
        tokio::spawn(async move {
            while let Ok((tcp, peer)) = listener.accept().await {
                tokio::spawn(serve(Arc::clone(&site), tcp, peer, stop.clone()));
            }
        });
        // Until whoever began it is gone.
        let mut rest = Vec::new();
        let _ = tokio::io::stdin().read_to_end(&mut rest).await;
    };
    runtime.block_on(all);
}

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

impl Server {
    fn start(command: &mut Command, port: impl Fn(&str) -> Option<u16>) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let port = port(&line).expect("a server that says its port");
        Self { child, port }
    }

    fn gateway(binary: &str, home: &Path) -> Self {
        let key = home.join("key.pem");
        let mut command = Command::new(binary);
        command
            .args(["--listen", "127.0.0.1:0", "--json", "--serve"])
            .arg(home.join("served"))
            .arg("--cover")
            .arg(home.join("cover"))
            .arg("--key")
            .arg(key);
        let config = home.join("gateway.toml");
        std::fs::write(
            &config,
            "connections_per_address = 1000000\nconnects_per_second = 1000000\n",
        )
        .unwrap();
        command.arg("--config").arg(config);
        Self::start(&mut command, |line| {
            let facts: Value = serde_json::from_str(line).ok()?;
            facts["addresses"][0]
                .as_str()?
                .rsplit_once(':')?
                .1
                .parse()
                .ok()
        })
    }

    fn plain(home: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("site").arg(home.join("cover"));
        Self::start(&mut command, |line| line.trim().parse().ok())
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
    let gateway = gateway.map_or("target/release/gateway", String::as_str);
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
    let a = Server::gateway(gateway, home.path());
    let b = Server::plain(home.path());
    let runtime = crate::parts::runtime(Some(1));
    let mut dice = 0x5eed;
    let (rows, planted) = runtime.block_on(async {
        let recorded = kinds::recorded(a.address()).await;
        let mut rows = Vec::new();
        for kind in kinds::all(recorded) {
            rows.push(compare(&kind, a.address(), b.address(), n, &mut dice).await);
            eprintln!("{}", kind.name);
        }
        let slow = later(b.address(), PLANTED).await;
        let straight = later(b.address(), Duration::ZERO).await;
        let get = kinds::get();
        let planted = compare(&get, slow, straight, n, &mut dice).await;
        (rows, planted)
    });
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
