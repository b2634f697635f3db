//! The node that is attacked: a gateway's process that is a seed and a relay of the mix too, and what the kernel knows of it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use betanet_keys::Identity;
use betanet_mix::BeaconSecret;
use betanet_runtime::Peer;
use serde_json::Value;

/// Length of the large file of the cover site.
const LARGE: usize = 1 << 20;

/// What the processes of one run share.
pub(super) struct Home {
    dir: tempfile::TempDir,
    ports: [u16; 2],
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn write_key(path: &Path, identity: &Identity) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, identity.to_pem().unwrap().as_bytes()).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

impl Home {
    /// Folders, keys, and a network's file whose seeds are the nodes 1 and 2 and three that are not there.
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        for folder in ["served", "cover"] {
            std::fs::create_dir(at.join(folder)).unwrap();
        }
        std::fs::write(at.join("cover/index.html"), "<h1>A garden diary</h1>\n").unwrap();
        std::fs::write(at.join("cover/large.bin"), vec![7; LARGE]).unwrap();
        std::fs::write(at.join("served/kib.bin"), vec![9; 1024]).unwrap();
        std::fs::write(at.join("served/large.bin"), vec![9; LARGE]).unwrap();
        let ports = [free_port(), free_port()];
        let this = Self { dir, ports };
        for n in [1, 2] {
            write_key(&this.key(n), &Identity::from_seed(&[n; 32]));
        }
        this.write_network();
        this
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn key(&self, n: u8) -> PathBuf {
        self.path(&format!("node{n}.pem"))
    }

    pub(super) fn network(&self) -> PathBuf {
        self.path("NETWORK.toml")
    }

    fn write_network(&self) {
        let keys = |from: u8, n: u8| -> String {
            let all = (from..from + n).map(|k| {
                let identity = Identity::from_seed(&[k; 32]);
                format!("\"{}\"", identity.public())
            });
            all.collect::<Vec<_>>().join(", ")
        };
        let beacon = BeaconSecret::from_seed(&[7; 32]).unwrap();
        let now = betanet_runtime::Clock::start().now().unix_ms;
        let mut file = format!(
            "name = \"attacked\"\nsigners = [{}]\nmaintainers = [{}]\n[policy]\nprivate = true\n[mix]\nbeacon_key = \"{}\"\nlayers = 1\n\
             first_epoch = {}\n",
            keys(60, 3),
            keys(70, 5),
            betanet_wire::text::hex(&beacon.public().to_bytes()),
            betanet_mix::epoch_at(now),
        );
        for n in 1..=5_u8 {
            let key = Identity::from_seed(&[n; 32]);
            let port = self.ports.get(usize::from(n) - 1).copied().unwrap_or(9);
            let pem = self.path(&format!("node{}.pem.tls.pem", n.min(2)));
            let certificate =
                betanet_carrier::Certificate::load_or_create(&pem, &["localhost".into()]);
            let pin = betanet_wire::text::hex(certificate.unwrap().pin());
            file += &format!(
                "[[seed]]\nkey = \"{}\"\naddrs = [\"/ip4/127.0.0.1/tcp/{port}/tls\"]\npin = \"{pin}\"\n",
                key.public()
            );
        }
        std::fs::write(self.network(), file).unwrap();
    }
}

/// A gateway's process, gone with this.
pub(super) struct Target {
    child: Child,
    pub(super) text: String,
    pub(super) peer: Peer,
    admin: String,
    log: PathBuf,
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the kernel knows of the process.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub(super) rss_mib: f64,
    pub(super) files: i64,
    /// CPU seconds so far.
    pub(super) cpu: f64,
}

impl Target {
    /// Starts node `n`. With `onward` it is a relay, which carries paths on to that node.
    pub(super) fn start(home: &Home, n: u8, onward: Option<&Self>) -> Self {
        let config = home.path(&format!("node{n}.toml"));
        let text = match onward {
            // A relay is no other client's neighbour: it dials from an address of its own.
            Some(_) => "quic = true\ndial_from = \"127.8.8.8\"\n",
            None => "quic = true\nroles = [\"seed\", \"mix\"]\n",
        };
        std::fs::write(&config, text).unwrap();
        let admin = format!("127.0.0.1:{}", free_port());
        let log = home.path(&format!("node{n}.log"));
        let mut command = Command::new(crate::beside("gateway"));
        command
            .args(["--json", "--log", "warn", "--admin", &admin])
            .args([
                "--listen",
                &format!("127.0.0.1:{}", home.ports[usize::from(n) - 1]),
            ])
            .arg("--serve")
            .arg(home.path("served"))
            .arg("--cover")
            .arg(home.path("cover"))
            .arg("--key")
            .arg(home.key(n))
            .arg("--config")
            .arg(config);
        // Which paths lead on is the network's to say where there is one; the relay has none.
        match onward {
            Some(onward) => command.args(["--onward", &onward.text]),
            None => command.arg("--network").arg(home.network()),
        };
        let errors = std::fs::File::create(&log).unwrap();
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = piped.stderr(errors).spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        // Whatever else it says is dropped, and does not hold it up.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let facts: Value = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!(
                "the gateway did not start: {}",
                std::fs::read_to_string(&log).unwrap()
            )
        });
        let text = facts["peer"].as_str().unwrap().to_owned();
        Self {
            peer: text.parse().unwrap(),
            child,
            text,
            admin,
            log,
        }
    }

    pub(super) fn seen(&self) -> Seen {
        let pid = self.child.id();
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let behind: Vec<&str> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        // utime and stime, in hundredths of a second.
        let ticks: f64 = behind[11..13]
            .iter()
            .map(|t| t.parse::<f64>().unwrap())
            .sum();
        Seen {
            rss_mib: crate::idle::resident_kib(pid) as f64 / 1024.0,
            files: i64::try_from(files).unwrap(),
            cpu: ticks / 100.0,
        }
    }

    /// The values of all metrics of this name, added.
    pub(super) fn metric(&self, name: &str) -> f64 {
        let Ok(mut tcp) = std::net::TcpStream::connect(&self.admin) else {
            return 0.0;
        };
        let request = "GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let mut text = String::new();
        let asked = tcp.write_all(request.as_bytes());
        let _ = asked.and_then(|()| tcp.read_to_string(&mut text));
        let of = |l: &&str| l.starts_with(name) && !l.starts_with('#');
        let value = |l: &str| l.rsplit_once(' ').and_then(|(_, v)| v.parse::<f64>().ok());
        text.lines().filter(of).filter_map(value).sum()
    }

    /// Whether a task of the node panicked, by its own count or by what it wrote.
    pub(super) fn panicked(&self) -> bool {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        self.metric("betanet_panics_total") > 0.0 || log.contains("panicked at")
    }
}

/// What a node says of itself at the end.
pub(super) fn command_line(node: &Target) -> String {
    format!(
        "{} panics, {} sessions stand",
        node.metric("betanet_panics_total"),
        node.metric("betanet_sessions "),
    )
}

/// This program again, told something else.
pub(super) fn child(words: &[&str]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The last line that a process said.
pub(super) fn said(mut child: Child) -> String {
    let mut text = String::new();
    if let Some(mut out) = child.stdout.take() {
        let _ = out.read_to_string(&mut text);
    }
    let _ = child.wait();
    match text.trim().lines().last() {
        Some(line) => line.to_owned(),
        None => "it failed".into(),
    }
}
