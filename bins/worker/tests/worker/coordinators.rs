//! Coordinators as processes, which share a journal in PostgreSQL.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use betanet_journal_postgres::testkit::Cluster;
use betanet_journal_postgres::{PostgresJournal, Settings};
use betanet_keys::{Identity, Peer};

use crate::process::{binary, clean};
use crate::{operator, owner};

/// Longest time until another coordinator leads.
const TAKEOVER: Duration = Duration::from_secs(60);

fn free_port() -> u16 {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    free.local_addr().unwrap().port()
}

/// A process, with addresses that outlast it.
pub(crate) struct Coordinator {
    home: tempfile::TempDir,
    key: Identity,
    port: u16,
    admin: u16,
    child: Option<Child>,
}

impl Coordinator {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        Self {
            key: betanet_runtime::new_identity(&home.path().join("key.pem")).unwrap(),
            home,
            port: free_port(),
            admin: free_port(),
            child: None,
        }
    }

    /// Its command, without a place for the journal and without other coordinators.
    fn command(&self) -> Command {
        let mut command = clean(Command::new(binary("coordinator")));
        command
            .args(["--json", "--log", "warn"])
            .args(["--listen", &format!("127.0.0.1:{}", self.port)])
            .args(["--admin", &format!("127.0.0.1:{}", self.admin)])
            .args(["--operator", &operator().public().to_string()])
            .args(["--user", &format!("lab={}", owner().public())])
            .args(["--per-address", "1000"])
            .args(["--opens", "100000", "--opens-per-second", "10000"])
            .arg("--key")
            .arg(self.home.path().join("key.pem"))
            .arg("--state")
            .arg(self.home.path().join("state"))
            .stdout(Stdio::piped());
        command
    }

    fn run(&mut self, mut command: Command) -> Peer {
        let mut child = command.spawn().unwrap();
        let facts = told(&mut child);
        self.child = Some(child);
        facts["peer"].as_str().unwrap().parse().unwrap()
    }

    /// Starts one alone, with a journal of its own.
    pub(crate) fn alone(args: &[&str], envs: &[(&str, &str)]) -> (Self, Peer) {
        let mut this = Self::new();
        let mut command = this.command();
        command.args(args).envs(envs.iter().copied());
        let peer = this.run(command);
        (this, peer)
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Whether it leads.
    fn leads(&self) -> bool {
        let metrics = || {
            let mut tcp = TcpStream::connect(("127.0.0.1", self.admin)).ok()?;
            tcp.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
            let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            tcp.write_all(request.as_bytes()).ok()?;
            let mut answer = String::new();
            tcp.read_to_string(&mut answer).ok()?;
            Some(answer)
        };
        let metrics = metrics().unwrap_or_default();
        let mut lines = metrics.lines();
        let epoch = lines.find_map(|l| l.strip_prefix("betanet_fog_epoch "));
        epoch.is_some_and(|n| n != "0")
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A gateway that connects its clients to one peer.
pub(crate) struct Relay {
    /// Its peer string.
    pub(crate) peer: String,
    child: Child,
    _home: tempfile::TempDir,
}

impl Relay {
    pub(crate) fn to(peer: &Peer) -> Self {
        let home = tempfile::tempdir().unwrap();
        let served = home.path().join("served");
        std::fs::create_dir(&served).unwrap();
        let mut child = clean(Command::new(binary("gateway")))
            .args(["--json", "--listen", "127.0.0.1:0"])
            .args(["--onward", &peer.to_string()])
            .arg("--serve")
            .arg(served)
            .arg("--state")
            .arg(home.path().join("state"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let facts = told(&mut child);
        Self {
            peer: facts["peer"].as_str().unwrap().to_owned(),
            child,
            _home: home,
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the line that a process tells once it serves.
fn told(child: &mut Child) -> serde_json::Value {
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"))
}

/// Two that share a journal.
pub(crate) struct Pair {
    pub(crate) both: [Coordinator; 2],
    pub(crate) peers: Vec<Peer>,
    cluster: Cluster,
}

impl Pair {
    pub(crate) async fn start() -> Self {
        let cluster = Cluster::start();
        let mut this = Self {
            both: [Coordinator::new(), Coordinator::new()],
            peers: Vec::new(),
            cluster,
        };
        for at in 0..2 {
            let peer = this.run(at);
            this.peers.push(peer);
        }
        this.leader().await;
        this
    }

    /// What the leaders of both wrote down.
    pub(crate) async fn journal(&self) -> PostgresJournal {
        let settings = Settings::new(&self.cluster.url()).unwrap();
        PostgresJournal::open(settings).await.unwrap()
    }

    /// Starts one of them, also after it was killed.
    pub(crate) fn run(&mut self, at: usize) -> Peer {
        let other = self.both[1 - at].key.public().to_string();
        let mut command = self.both[at].command();
        command.args(["--coordinator", &other]);
        command.env("BETANET_STORE", self.cluster.url());
        self.both[at].run(command)
    }

    /// Waits until one of them leads.
    pub(crate) async fn leader(&self) -> usize {
        let began = Instant::now();
        loop {
            if let Some(at) = self.both.iter().position(Coordinator::leads) {
                return at;
            }
            assert!(began.elapsed() < TAKEOVER, "nobody leads");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
