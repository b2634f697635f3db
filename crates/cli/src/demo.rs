//! `betanet demo`: real nodes on loopback, in one process, shown step by step.

mod economy;
mod fog;
mod names;
mod panel;
mod vouchers;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use betanet_bar::{Headers, Method, Request};
use betanet_machine::{Rng, Seed};
use betanet_runtime::{
    Clock, DialError, Error, Gateway, GatewayConfig, Listening, Node, Peer, Transport,
    load_identity, new_identity, seed, visit,
};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::Fail;
use crate::args::DemoArgs;
use crate::fail::interruptible;

/// Name and length of the fetched files.
const FILES: [(&str, usize); 3] = [
    ("1k.bin", 1 << 10),
    ("1m.bin", 1 << 20),
    ("256m.bin", 256 << 20),
];
/// Offset in the largest file at which both keys are rekeyed.
const REKEY_AT: u64 = 64 << 20;
/// Offset of the byte of the TCP stream that the tampering proxy flips.
const TAMPER_AT: u64 = 300_000;

/// Prints each step with its duration.
struct Steps {
    clock: Clock,
    last: Duration,
}

impl Steps {
    fn done(&mut self, what: &str) {
        let now = self.clock.elapsed();
        say!("{:>9.3} s  {what}", (now - self.last).as_secs_f64());
        self.last = now;
    }
}

pub(crate) async fn run(args: DemoArgs) -> Result<(), Fail> {
    if args.panel {
        return panel::run(args.json).await;
    }
    interruptible(demo(args.keep)).await
}

struct Served {
    name: &'static str,
    sha256: [u8; 32],
}

fn failed(why: impl Into<String>) -> Fail {
    Fail::Peer(why.into())
}

async fn demo(keep: bool) -> Result<(), Fail> {
    let mut steps = Steps {
        clock: Clock::start(),
        last: Duration::ZERO,
    };
    let home = tempfile::tempdir().map_err(|e| Fail::Local(format!("temporary folder: {e}")))?;
    let files = make_files(home.path())?;
    steps.done("made a folder with files of 1 KiB, 1 MiB and 256 MiB");

    let mut fog = fog::Fog::start(home.path()).await?;
    steps.done("started a coordinator with a journal in SQLite, and three workers that joined it with tokens");
    fog.run(&mut steps).await?;

    let first = start(home.path(), "first", &[]).await?;
    let second = start(home.path(), "second", &[]).await?;
    steps.done(&format!(
        "started two nodes: {} on {}, {} on {}",
        first.listening().name,
        first.listening().addresses.join(" "),
        second.listening().name,
        second.listening().addresses.join(" "),
    ));

    let address = first
        .listening()
        .addresses
        .first()
        .cloned()
        .unwrap_or_default();
    let (facts, status, _) = visit(&address).await?;
    if status != 200 {
        return Err(failed(format!("the cover site answered {status}")));
    }
    steps.done(&format!(
        "visited it as a browser would: {}, {}, GET / answered {status}",
        facts.version, facts.group
    ));

    let (facts, status, _) = visit(&format!("quic:{address}")).await?;
    steps.done(&format!(
        "visited it over QUIC: {}, {}, GET / answered {status}",
        facts.version, facts.alpn
    ));

    let node = Node::client()?.with_transport(Transport::Tcp);
    let peer = first.listening().peer();
    let session = node.connect(&peer).await?;
    let agreed = session.facts().await?;
    steps.done(&format!(
        "opened a session by name: {}, {}, ML-KEM-768 {}",
        agreed
            .ids
            .iter()
            .map(|(_, id)| id.as_str())
            .filter(|id| !id.is_empty())
            .collect::<Vec<_>>()
            .join(" "),
        agreed.aead,
        if agreed.pq { "on" } else { "off" }
    ));
    for served in &files {
        let rekey = served.name == FILES[2].0;
        let bytes = fetch(&session, served, rekey).await?;
        let seconds = (steps.clock.elapsed() - steps.last).as_secs_f64();
        let rate = bytes as f64 / seconds / 1e6;
        steps.done(&format!(
            "fetched bar://{}/{}, SHA-256 right, {rate:.0} MB/s",
            first.listening().name,
            served.name
        ));
    }
    let turned = session.facts().await?.rekeys;
    if turned.0 < 1 || turned.1 < 1 {
        return Err(failed(format!("the keys did not turn: {turned:?}")));
    }
    steps.done(&format!(
        "turned the keys mid-transfer: {} times ours, {} times theirs",
        turned.0, turned.1
    ));

    let quic = Node::client()?.with_transport(Transport::Quic);
    let session = quic.connect(&peer).await?;
    let bytes = fetch(&session, &files[1], false).await?;
    let alpn = session.outer().alpn.clone();
    session.close().await;
    steps.done(&format!(
        "fetched {bytes} bytes over QUIC ({alpn}), SHA-256 right"
    ));

    let core = start(home.path(), "core", &[&first]).await?;
    let entry = start(home.path(), "entry", &[&core]).await?;
    steps.done("started two relays, each of which knows the next node only");
    let relays = [&entry, &core].map(|g| g.listening().peer());
    let forwarded = node.connect_over(&relays, &peer).await?;
    let bytes = fetch(&forwarded, &files[1], false).await?;
    steps.done(&format!("fetched {bytes} bytes over both, SHA-256 right"));
    forwarded.close().await;
    let why = refuse_stranger(&node, &relays, second.listening()).await?;
    steps.done(&format!("refused, signed by the hop that says so: {why}"));

    refuse_wrong_name(&node, &peer, second.listening()).await?;
    steps.done("refused: the first node's name with the second node's key");
    refuse_wrong_pin(&node, &peer).await?;
    steps.done("refused: a certificate that is not the pinned one");
    let delivered = refuse_tampering(&node, &peer, &files[2], home.path()).await?;
    steps.done(&format!(
        "refused: a byte flipped on the wire; {delivered} bytes had come, all of them right"
    ));

    let owner = load_identity(&home.path().join("first.pem"))?;
    let peers = [second.listening().peer(), peer.clone()];
    names::run(home.path(), &mut steps, (&owner, &peers), &files[1]).await?;
    vouchers::run(home.path(), &mut steps).await?;
    economy::run(home.path(), &mut steps, fog.lie().await?).await?;

    steps.done("waiting until the killed worker is given up, which takes 90 s of silence");
    let told = fog.end().await?;
    steps.done(&told);

    say!("{:>9.3} s  in all", steps.clock.elapsed().as_secs_f64());
    if keep {
        let l = first.listening();
        say!("\nThe nodes run until Ctrl-C. Try:");
        say!(
            "  betanet get bar://{}/1k.bin --peer {} -o 1k.bin",
            l.name,
            l.peer()
        );
        say!("  betanet probe {}", l.peer());
        say!("  betanet probe {address}");
        say!("  curl -k https://{address}/");
        // Ctrl-C ends the process.
        std::future::pending::<()>().await;
    }
    session.close().await;
    for gateway in [entry, core, first, second] {
        if !gateway.shutdown().await {
            return Err(failed("a node did not stop in time"));
        }
    }
    Ok(())
}

fn make_files(home: &Path) -> Result<Vec<Served>, Fail> {
    let served = home.join("served");
    std::fs::create_dir(&served).map_err(Fail::file(&served))?;
    let random: Seed = seed()?;
    let mut rng = Rng::new(&random);
    let mut out = Vec::new();
    for (name, len) in FILES {
        let path = home.join("served").join(name);
        let mut file = std::fs::File::create(&path).map_err(Fail::file(&path))?;
        let mut hash = Sha256::new();
        let mut left = len;
        let mut block = vec![0; 1 << 20];
        while left > 0 {
            let n = left.min(block.len());
            rng.fill(&mut block[..n]);
            hash.update(&block[..n]);
            file.write_all(&block[..n]).map_err(Fail::file(&path))?;
            left -= n;
        }
        out.push(Served {
            name,
            sha256: hash.finalize().into(),
        });
    }
    Ok(out)
}

async fn start(home: &Path, name: &str, onward: &[&Gateway]) -> Result<Gateway, Fail> {
    let key: PathBuf = home.join(format!("{name}.pem"));
    let identity = new_identity(&key)?;
    let mut config = GatewayConfig::default();
    config.folder.serve = Some(home.join("served"));
    config.node.key = key;
    config.listener.quic = true;
    config.relay.onward = onward.iter().map(|g| g.listening().peer()).collect();
    config.check().map_err(|p| Fail::Local(p.to_string()))?;
    Ok(Gateway::start(identity, &config).await?)
}

/// Fetches one file, and rekeys this side on the way. The server rekeys every 64 MiB.
async fn fetch(
    session: &betanet_runtime::SessionHandle,
    served: &Served,
    rekey: bool,
) -> Result<u64, Fail> {
    let request = Request::new(
        Method::Get,
        &format!("/{}", served.name),
        Headers::default(),
    );
    let mut answer = session.ask(request).await?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut turned = !rekey;
    while let Some(chunk) = answer.body.chunk().await.map_err(Error::from)? {
        hash.update(&chunk);
        bytes += chunk.len() as u64;
        if !turned && bytes >= REKEY_AT {
            turned = true;
            session.rekey().await?;
        }
    }
    if hash.finalize()[..] != served.sha256 {
        return Err(failed(format!("{}: wrong SHA-256", served.name)));
    }
    Ok(bytes)
}

/// Dials the second node's address with the first node's key: the certificate is right, the key is wrong.
///
/// The second relay does not know the second node, so the path ends there.
async fn refuse_stranger(
    node: &Node,
    relays: &[Peer],
    stranger: &Listening,
) -> Result<DialError, Fail> {
    match node.connect_over(relays, &stranger.peer()).await {
        Err(error @ DialError::PathEnded { .. }) => Ok(error),
        Err(other) => Err(other.into()),
        Ok(_) => Err(failed("a relay carried a path to a node it does not know")),
    }
}

async fn refuse_wrong_name(node: &Node, peer: &Peer, second: &Listening) -> Result<(), Fail> {
    let wrong = Peer {
        key: peer.key,
        ..second.peer()
    };
    match node.connect(&wrong).await {
        Err(DialError::Outer {
            source: betanet_carrier::Error::NotATunnel { .. },
            ..
        }) => Ok(()),
        Err(e) => Err(e.into()),
        Ok(_) => Err(failed("another node was taken for the first")),
    }
}

async fn refuse_wrong_pin(node: &Node, peer: &Peer) -> Result<(), Fail> {
    let wrong = Peer {
        pin: Some([0; 32]),
        ..peer.clone()
    };
    match node.connect(&wrong).await {
        Err(DialError::Outer {
            source: betanet_carrier::Error::Pin,
            ..
        }) => Ok(()),
        Err(e) => Err(e.into()),
        Ok(_) => Err(failed("a wrong pin was accepted")),
    }
}

/// Fetches through a proxy that flips one byte of the server's data. Returns how many correct bytes arrived before it.
async fn refuse_tampering(
    node: &Node,
    peer: &Peer,
    served: &Served,
    home: &Path,
) -> Result<u64, Fail> {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(|e| Fail::Local(format!("listen: {e}")))?;
    let address = listener
        .local_addr()
        .map_err(|e| Fail::Local(format!("listen: {e}")))?;
    let upstream = peer.addrs.first().cloned().unwrap_or_default();
    let proxy = tokio::spawn(tamper(listener, upstream));
    let through = Peer {
        addrs: vec![address.to_string()],
        ..peer.clone()
    };
    let session = node.connect(&through).await?;
    let request = Request::new(
        Method::Get,
        &format!("/{}", served.name),
        Headers::default(),
    );
    let mut answer = session.ask(request).await?;
    let path = home.join("served").join(served.name);
    let mut file = tokio::fs::File::open(&path)
        .await
        .map_err(Fail::file(&path))?;
    let mut delivered = 0;
    let ended = loop {
        match answer.body.chunk().await {
            Ok(Some(chunk)) => {
                let mut right = vec![0; chunk.len()];
                file.read_exact(&mut right)
                    .await
                    .map_err(Fail::file(&path))?;
                if right != chunk {
                    return Err(failed("a wrong byte was delivered"));
                }
                delivered += chunk.len() as u64;
            }
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    proxy.abort();
    if ended {
        Ok(delivered)
    } else {
        Err(failed("a flipped byte went unnoticed"))
    }
}

async fn tamper(listener: TcpListener, upstream: String) -> std::io::Result<()> {
    let (client, _) = listener.accept().await?;
    let server = TcpStream::connect(upstream).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let passed = Arc::new(AtomicU64::new(0));
    let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut buf = vec![0; 16 << 10];
    loop {
        let n = from_server.read(&mut buf).await?;
        if n == 0 {
            break;
        }
        let before = passed.fetch_add(n as u64, Ordering::Relaxed);
        if let Some(at) = TAMPER_AT.checked_sub(before)
            && let Some(byte) = usize::try_from(at).ok().and_then(|at| buf[..n].get_mut(at))
        {
            *byte ^= 1;
        }
        to_client.write_all(&buf[..n]).await?;
    }
    up.abort();
    Ok(())
}
