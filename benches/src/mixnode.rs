//! The `mixnode` binary end to end: this process sends it packets over a session and takes them back over the same one.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use betanet_keys::Identity;
use betanet_mix::{
    Backend, BeaconSecret, Command, Delay, EpochKeys, Hop, Outcome, PACKET, PAYLOAD, Packet,
    Refusal, RelayKey, Way, build_batch, epoch_at, public_key, unwrap_batch_with,
};
use betanet_runtime::{
    Clock, DirectoryPlan, Network, Node, Peer, PeerSession, Streams, Substream, build_directory,
};
use betanet_wire::text::hex;
use bytes::{Bytes, BytesMut};
use serde_json::Value;

use crate::{Effort, Figure};

/// Packets that are on their way at once while the most is measured.
const OUTSTANDING: u64 = 768;
/// Packets that are written together.
const TOGETHER: usize = 26;
/// Of the most, what is sent while residence is measured.
const PACE: f64 = 0.5;

/// Counts the packets that come back.
struct Sink(Arc<AtomicU64>);

impl Streams for Sink {
    fn opened(&self, _: &PeerSession, _: u8, mut stream: Substream) {
        let count = Arc::clone(&self.0);
        tokio::spawn(async move {
            stream.end();
            let mut bytes = 0;
            while let Ok(Some(more)) = std::future::poll_fn(|cx| stream.poll_next(cx)).await {
                bytes += more.len();
                count.fetch_add((bytes / PACKET) as u64, Ordering::Relaxed);
                bytes %= PACKET;
            }
        });
    }
}

/// A network of which the mixnode is the only node that runs.
fn write_network(home: &Path, beacon: &BeaconSecret, port: u16) -> Identity {
    let own = Identity::from_seed(&[1; 32]);
    let pem = own.to_pem().unwrap();
    let key = home.join("node.pem");
    std::fs::write(&key, pem.as_bytes()).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, mode).unwrap();
    let certificate = betanet_carrier::Certificate::load_or_create(
        &home.join("node.pem.tls.pem"),
        &["localhost".into()],
    );
    let pin = hex(certificate.unwrap().pin());
    let keys = |from: u8, n: u8| -> String {
        let all = (from..from + n).map(|k| {
            let identity = Identity::from_seed(&[k; 32]);
            format!("\"{}\"", identity.public())
        });
        all.collect::<Vec<_>>().join(", ")
    };
    let epoch = epoch_at(Clock::start().now().unix_ms);
    let mut file = format!(
        "name = \"bench\"\nsigners = [{}]\nmaintainers = [{}]\n[policy]\nprivate = true\nper_address = 64\n[mix]\n\
         beacon_key = \"{}\"\nlayers = 1\nfirst_epoch = {epoch}\n",
        keys(60, 3),
        keys(70, 5),
        hex(&beacon.public().to_bytes()),
    );
    for n in 1..=5_u8 {
        let key = Identity::from_seed(&[n; 32]);
        file += &format!(
            "[[seed]]\nkey = \"{}\"\naddrs = [\"/ip4/127.0.0.{n}/tcp/{port}/tls\"]\npin = \"{pin}\"\n",
            key.public()
        );
    }
    std::fs::write(home.join("NETWORK.toml"), file).unwrap();
    own
}

struct Mixnode {
    child: Child,
    peer: Peer,
    admin: String,
}

impl Drop for Mixnode {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn start(home: &Path, port: u16) -> Mixnode {
    let binary = crate::beside("mixnode");
    let admin = format!("127.0.0.1:{}", free_port());
    let mut child = Process::new(binary)
        .args([
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--json",
            "--role",
            "seed",
        ])
        .args(["--mix-rate", "5000", "--mix-memory", "2048"])
        .args(["--admin", &admin, "--log", "warn"])
        .arg("--key")
        .arg(home.join("node.pem"))
        .arg("--network")
        .arg(home.join("NETWORK.toml"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let out = child.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    let facts: Value = serde_json::from_str(&line).unwrap();
    let peer = facts["peer"].as_str().unwrap().parse().unwrap();
    Mixnode { child, peer, admin }
}

impl Mixnode {
    /// The values of all metrics of this name, added.
    fn metric(&self, name: &str) -> f64 {
        let mut tcp = std::net::TcpStream::connect(&self.admin).unwrap();
        let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        tcp.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        tcp.read_to_string(&mut text).unwrap();
        let of = |l: &&str| l.starts_with(name) && !l.starts_with('#');
        let value = |l: &str| l.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap();
        text.lines().filter(of).map(value).sum()
    }
}

/// Distinct packets over a relay and back, without delay.
fn packets(n: usize, key: RelayKey, back: &Identity, epoch: u32) -> Vec<Packet> {
    let own = RelayKey::check(public_key(&[9; 32])).unwrap();
    let hops = [
        Hop {
            key,
            command: Command::Forward {
                delay: Delay::Chosen(0),
                next: back.public().node_id(),
            },
        },
        Hop {
            key: own,
            command: Command::Deliver { id: [1; 16] },
        },
    ];
    packets_to(n, 0, epoch, |_| hops)
}

/// Distinct packets of which the i-th has the hops that are said of i, counted from `first`.
pub(crate) fn packets_to(
    n: usize,
    first: u64,
    epoch: u32,
    hops: impl Fn(u64) -> [Hop; 2],
) -> Vec<Packet> {
    let mut all = Vec::with_capacity(n);
    while all.len() < n {
        let count = 64.min(n - all.len());
        let from = first + all.len() as u64;
        let hops: Vec<[Hop; 2]> = (0..count).map(|i| hops(i as u64)).collect();
        let ways: Vec<_> = hops
            .iter()
            .zip(from..)
            .map(|(hops, number)| {
                let mut x = [3; 32];
                // Not the first bytes, whose lowest bits X25519 clears.
                x[8..16].copy_from_slice(&number.to_le_bytes());
                let way = Way {
                    epoch: epoch.to_be_bytes()[3],
                    hops,
                    x,
                    pad: [5; 320],
                };
                (way, &[7; PAYLOAD])
            })
            .collect();
        all.extend(build_batch(&ways).into_iter().map(Result::unwrap));
    }
    all
}

/// Packets a second that one core unwraps, without anything around it.
fn unwrap_rate(n: usize) -> f64 {
    let private = [4; 32];
    let key = RelayKey::check(public_key(&private)).unwrap();
    let mut all = packets(n, key, &Identity::from_seed(&[2; 32]), 1);
    let mut keys = EpochKeys::new();
    assert!(keys.add(1, private, [0; 64]));
    let mut outcomes: Vec<Outcome> = vec![Err(Refusal::Epoch); n];
    let began = Instant::now();
    for (packets, outcomes) in all.chunks_mut(32).zip(outcomes.chunks_mut(32)) {
        unwrap_batch_with(Backend::best(), &keys, packets, |_, _, _| false, outcomes);
    }
    let rate = n as f64 / began.elapsed().as_secs_f64();
    assert!(outcomes.iter().all(Result::is_ok));
    rate
}

async fn write(stream: &mut Substream, packets: &[Packet]) {
    let mut bytes = BytesMut::with_capacity(packets.len() * PACKET);
    for packet in packets {
        bytes.extend_from_slice(&packet.0);
    }
    std::future::poll_fn(|cx| stream.poll_ready(cx))
        .await
        .unwrap();
    stream.send(Bytes::from(bytes)).unwrap();
    std::future::poll_fn(|cx| stream.poll_ready(cx))
        .await
        .unwrap();
}

/// Waits until so many have come back, or none has come for two seconds.
async fn until(back: &AtomicU64, wanted: u64) {
    let (mut last, mut since) = (back.load(Ordering::Relaxed), Instant::now());
    while last < wanted && since.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_micros(200)).await;
        let now = back.load(Ordering::Relaxed);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(effort))
}

async fn run(effort: Effort) -> Vec<Figure> {
    let n = if effort.quick { 20_000 } else { 250_000 };
    let home = tempfile::tempdir().unwrap();
    let beacon = BeaconSecret::from_seed(&[7; 32]).unwrap();
    let port = free_port();
    write_network(home.path(), &beacon, port);
    let mixnode = start(home.path(), port);
    let network = Network::read(&home.path().join("NETWORK.toml")).unwrap();
    let epoch = epoch_at(Clock::start().now().unix_ms);
    let plan = DirectoryPlan {
        epoch,
        seq: 1,
        beacon_sig: beacon.sign(epoch),
        wait: Duration::from_secs(30),
        enough: Some(1),
        standing: std::collections::BTreeMap::new(),
        others: betanet_runtime::LotteryWeight::default(),
    };
    let (directory, _) = build_directory(&network, &plan).await.unwrap();
    let key = RelayKey::check(directory.relays[0].key).unwrap();
    let me = Identity::from_seed(&[2; 32]);
    let all = packets(n, key, &me, epoch);
    let alone = unwrap_rate(4096);
    let back = Arc::new(AtomicU64::new(0));
    let node = Node::new(Some(me), betanet_htx::Config::default())
        .unwrap()
        .with_transport(betanet_runtime::Transport::Tcp);
    let node = node.with_mix_handler(Arc::new(Sink(Arc::clone(&back))));
    let session = node.connect(&mixnode.peer).await.unwrap();
    let mut stream = session.peer_session().open(0x02).await.unwrap();
    // Buffers and links that are made once.
    let (warm, rest) = all.split_at(2000.min(n / 10));
    for some in warm.chunks(TOGETHER) {
        write(&mut stream, some).await;
    }
    until(&back, warm.len() as u64).await;
    let (most, paced) = rest.split_at(rest.len() / 2);
    // As many as it takes, a bounded number on their way.
    let before = back.load(Ordering::Relaxed);
    let began = Instant::now();
    for (i, some) in most.chunks(TOGETHER).enumerate() {
        let sent = (i * TOGETHER) as u64;
        while sent.saturating_sub(back.load(Ordering::Relaxed) - before) > OUTSTANDING {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        write(&mut stream, some).await;
    }
    until(&back, before + most.len() as u64).await;
    let rate = most.len() as f64 / began.elapsed().as_secs_f64();
    // At a pace below that, so that what is measured is not a queue.
    let (stayed, left) = (
        mixnode.metric("betanet_mix_residence_seconds_sum"),
        mixnode.metric("betanet_mix_residence_seconds_count"),
    );
    let before = back.load(Ordering::Relaxed);
    let mut tick = tokio::time::interval(Duration::from_secs_f64(4.0 / (rate * PACE)));
    for some in paced.chunks(4) {
        tick.tick().await;
        write(&mut stream, some).await;
    }
    until(&back, before + paced.len() as u64).await;
    let stayed = mixnode.metric("betanet_mix_residence_seconds_sum") - stayed;
    let left = mixnode.metric("betanet_mix_residence_seconds_count") - left;
    let dropped = mixnode.metric("betanet_mix_dropped_total");
    let hits = mixnode.metric("betanet_mix_buffers_total{hit=\"yes\"}");
    let misses = mixnode.metric("betanet_mix_buffers_total{hit=\"no\"}");
    let came = back.load(Ordering::Relaxed);
    let lost = (n as u64 - came) as f64 / n as f64;
    vec![
        Figure {
            name: "mixnode, thousand packets a second",
            ratio: rate / 1000.0,
            bound: 25.0,
            at_least: true,
            detail: format!("{rate:.0}/s end to end, {came} of {n} came back"),
        },
        Figure {
            name: "mixnode vs unwrapping on one core",
            ratio: rate / alone,
            bound: 0.5,
            at_least: true,
            detail: format!("{alone:.0}/s unwrapped by one core"),
        },
        Figure {
            name: "mixnode, mean residence, ms",
            ratio: stayed / left * 1000.0,
            bound: 1.0,
            at_least: false,
            detail: format!("at {:.0}/s, delay excluded", rate * PACE),
        },
        Figure {
            name: "mixnode, dropped, percent",
            ratio: lost * 100.0,
            bound: 0.1,
            at_least: false,
            detail: format!("{dropped} by its own count"),
        },
        Figure {
            name: "mixnode, buffers from the pool, %",
            ratio: hits / (hits + misses) * 100.0,
            bound: 99.0,
            at_least: true,
            detail: format!("{misses} of {} were made", hits + misses),
        },
    ]
}
