//! Honest handshakes while one address floods the gateway with TCP connections from the other core.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use betanet_runtime::{Node, Peer};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use crate::idle::{self, resident_kib};
use crate::{Effort, Figure};

/// Connections that the attacker has open at once.
const AT_ONCE: usize = 400;

fn child(core: &str, args: &[&str]) -> Child {
    Command::new("taskset")
        .args(["-c", core])
        .arg(std::env::current_exe().unwrap())
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("taskset, of util-linux, pins processes to cores")
}

fn on_tokio<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

/// The attacker: connects from an address of its own until its input ends; prints how often.
pub(crate) fn attacker(target: &str) {
    idle::raise_files();
    let target: SocketAddr = target.parse().unwrap();
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        let _ = stop.send(());
    });
    let connects = on_tokio(async move {
        let mut open = JoinSet::new();
        let mut connects = 0_u64;
        while stopped.try_recv().is_err() {
            while open.len() >= AT_ONCE {
                open.join_next().await;
            }
            connects += 1;
            open.spawn(async move {
                let socket = TcpSocket::new_v4().unwrap();
                // Closed by RST: ports that wait after a FIN would run out, and hold the flood up.
                socket.set_zero_linger().unwrap();
                socket.bind("127.9.9.9:0".parse().unwrap()).unwrap();
                // It waits for no answer: what is turned away does not hold it up.
                let soon = tokio::time::Instant::now() + Duration::from_millis(5);
                let tcp = tokio::time::timeout_at(soon, socket.connect(target)).await;
                tokio::time::sleep_until(soon).await;
                drop(tcp);
            });
        }
        connects
    });
    println!("{connects}");
}

/// The honest client: prints the 99th percentile of `n` handshakes, in microseconds.
pub(crate) fn client(peer: &str, n: usize) {
    let peer: Peer = peer.parse().unwrap();
    let mut took = on_tokio(async {
        let mut took = Vec::new();
        for i in 0..n {
            // Each from an address of its own, as different clients are.
            let from = [127, 10, (i >> 8) as u8, i as u8].into();
            let node = Node::client()
                .unwrap()
                .with_transport(betanet_runtime::Transport::Tcp)
                .with_source_address(Some(from));
            let began = Instant::now();
            let session = node.connect(&peer).await.unwrap();
            took.push(began.elapsed().as_micros());
            session.close().await;
        }
        took
    });
    took.sort_unstable();
    println!("{}", took[n * 99 / 100]);
}

fn p99(peer: &str, n: &str) -> f64 {
    let out = child("0", &["flood-client", peer, n])
        .wait_with_output()
        .unwrap();
    String::from_utf8(out.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let (n, flood) = if effort.quick {
        ("200", 5)
    } else {
        ("1000", 30)
    };
    let mut server = child("0", &["flood-server"]);
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let text = lines.next().unwrap().unwrap();
    let peer: Peer = text.parse().unwrap();
    p99(&text, "100");
    let calm = p99(&text, n);
    let calm_kib = resident_kib(server.id());
    let began = Instant::now();
    let mut attacker = child("1", &["flood-attacker", &peer.addrs[0]]);
    std::thread::sleep(Duration::from_secs(1));
    let flooded = p99(&text, n);
    // What the connections hold that are borne with is reached soon, and does not grow.
    let most_until = |end: Duration| {
        let mut most = resident_kib(server.id());
        while began.elapsed() < end {
            std::thread::sleep(Duration::from_millis(100));
            most = most.max(resident_kib(server.id()));
        }
        most
    };
    let flood = Duration::from_secs(flood);
    let early = most_until(flood / 3);
    let late = most_until(flood);
    let seconds = began.elapsed().as_secs_f64();
    drop(attacker.stdin.take());
    let mut said = String::new();
    attacker
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    attacker.wait().unwrap();
    let connects: f64 = said.trim().parse().unwrap();
    drop(server.stdin.take());
    server.wait().unwrap();
    vec![
        Figure {
            name: "p99 handshake under a TCP flood",
            ratio: flooded / calm,
            bound: 2.0,
            at_least: false,
            detail: format!(
                "{:.1} ms, {:.1} ms without; {:.0} attempts/s for {seconds:.0} s, {n} handshakes each",
                flooded / 1000.0,
                calm / 1000.0,
                connects / seconds
            ),
        },
        Figure {
            name: "memory under a TCP flood",
            ratio: late as f64 / early as f64,
            bound: 1.1,
            at_least: false,
            detail: format!(
                "{} MiB at most in the last two thirds, {} MiB in the first, {} MiB before",
                late / 1024,
                early / 1024,
                calm_kib / 1024
            ),
        },
    ]
}
