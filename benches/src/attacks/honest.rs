//! Honest clients: `betanet get` of 1 KiB, over TCP and over QUIC alone, and sessions that stand.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use betanet_runtime::{Headers, Method, Node, Peer, Request, Transport};

use super::target::{Home, Target, child};

/// Within which a get has to succeed.
const SOON: Duration = Duration::from_secs(2);
/// Sessions that stand throughout a mixed attack.
pub(super) const STANDING: usize = 4;

/// What became of gets.
#[derive(Default)]
pub(super) struct Tries {
    /// Tried and succeeded in time, over TCP and over QUIC.
    counts: [(u32, u32); 2],
    pub(super) slowest: Duration,
    pub(super) why: Vec<String>,
}

fn get(node: &Target, home: &Home, transport: &str) -> (Duration, Result<(), String>) {
    let name = betanet_keys::Name::from(node.peer.key.node_id());
    let began = Instant::now();
    let out = Command::new(crate::beside("betanet"))
        .args([
            "get",
            &format!("bar://{name}/kib.bin"),
            "--peer",
            &node.text,
        ])
        .args(["--transport", transport, "--retries", "0"])
        .arg("--book")
        .arg(home.path("book"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let whole = out.status.success() && out.stdout == [9; 1024];
    let why = || {
        let said = String::from_utf8_lossy(&out.stderr);
        let line = said.trim().lines().last().unwrap_or_default().to_owned();
        format!(
            "{transport}: {}, {} bytes: {line}",
            out.status,
            out.stdout.len()
        )
    };
    (began.elapsed(), whole.then_some(()).ok_or_else(why))
}

impl Tries {
    /// One get over each.
    pub(super) fn once(&mut self, node: &Target, home: &Home) {
        for (counts, transport) in self.counts.iter_mut().zip(["tcp", "quic"]) {
            let (took, done) = get(node, home, transport);
            counts.0 += 1;
            self.slowest = self.slowest.max(took);
            match done {
                Ok(()) if took <= SOON => counts.1 += 1,
                Ok(()) => self
                    .why
                    .push(format!("{transport}: {} ms", took.as_millis())),
                Err(why) => self.why.push(why),
            }
        }
    }

    /// What a node has to do once only is done before; whether a get succeeds at all.
    pub(super) fn warm(node: &Target, home: &Home) -> bool {
        let mut tries = Self::default();
        for _ in 0..5 {
            tries.once(node, home);
        }
        for why in &tries.why {
            println!("before any attack: {why}");
        }
        tries.why.is_empty()
    }

    pub(super) fn add(&mut self, other: Self) {
        for (sum, more) in self.counts.iter_mut().zip(other.counts) {
            sum.0 += more.0;
            sum.1 += more.1;
        }
        self.slowest = self.slowest.max(other.slowest);
        self.why.extend(other.why);
        self.why.truncate(8);
    }

    pub(super) fn total(&self) -> u32 {
        self.counts.iter().map(|(tried, _)| tried).sum()
    }

    pub(super) fn fine(&self) -> bool {
        self.counts
            .iter()
            .all(|(tried, done)| tried == done && *tried > 0)
    }

    fn text(&self, which: usize) -> String {
        let (tried, done) = self.counts[which];
        format!("{done} of {tried}")
    }

    pub(super) fn tcp(&self) -> String {
        self.text(0)
    }

    pub(super) fn quic(&self) -> String {
        self.text(1)
    }
}

/// A process of sessions that ask for something every few seconds.
pub(super) struct Holder(Child);

impl Holder {
    pub(super) fn start(node: &Target) -> Self {
        let mut child = child(&["attack-holder", &node.text]);
        // It says one line once all sessions stand.
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "standing", "honest sessions before any attack");
        child.stdout = Some(out.into_inner());
        Self(child)
    }

    /// Ends it; how many sessions were lost meanwhile.
    pub(super) fn lost(&mut self) -> usize {
        drop(self.0.stdin.take());
        let mut line = String::new();
        let mut out = BufReader::new(self.0.stdout.take().unwrap());
        let _ = out.read_line(&mut line);
        let _ = self.0.wait();
        line.trim().parse().unwrap_or(STANDING)
    }
}

/// The process: sessions over TCP and QUIC until its input ends; says how many were lost.
pub(super) fn hold(peer: &str) {
    let peer: Peer = peer.parse().unwrap();
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        let _ = stop.send(true);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let lost = runtime.block_on(async {
        let mut sessions = Vec::new();
        for i in 0..STANDING {
            let transport = [Transport::Tcp, Transport::Quic][i % 2];
            let node = Node::client().unwrap().with_transport(transport);
            let session = node.connect(&peer).await.unwrap();
            sessions.push((node, session));
        }
        println!("standing");
        let mut lost = vec![false; STANDING];
        let mut tick = tokio::time::interval(Duration::from_secs(3));
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                _ = stopped.changed() => break,
            }
            for ((_, session), lost) in sessions.iter().zip(&mut lost) {
                let get = Request::new(Method::Get, "/kib.bin", Headers::default());
                let asked = async {
                    let mut answer = session.ask(get).await.ok()?;
                    answer.body.all(2048).await.ok()?
                };
                let answer = tokio::time::timeout(Duration::from_secs(15), asked).await;
                *lost |= !matches!(answer, Ok(Some(bytes)) if bytes.len() == 1024);
            }
        }
        for (_, session) in &sessions {
            session.close().await;
        }
        lost.iter().filter(|l| **l).count()
    });
    println!("{lost}");
}
