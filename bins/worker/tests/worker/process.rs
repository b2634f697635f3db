//! A worker's process.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

pub(crate) const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// A program of this build, or of the folder that `BETANET_BINARIES` names.
pub(crate) fn binary(name: &str) -> PathBuf {
    let folder = std::env::var_os("BETANET_BINARIES").map(PathBuf::from);
    let binary = match folder {
        Some(folder) => folder.join(name),
        None => Path::new(WORKER).with_file_name(name),
    };
    let why = "is not there: cargo build -p betanet -p betanet-coordinator-bin -p betanet-gateway";
    assert!(binary.exists(), "{} {why}", binary.display());
    binary
}

/// The program, without the settings of whoever runs the tests.
pub(crate) fn program() -> Command {
    clean(Command::new(binary("worker")))
}

/// Takes the settings of whoever runs the tests away.
pub(crate) fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BETANET_") {
            command.env_remove(name);
        }
    }
    command
}

/// A process, with a state folder that outlasts it.
pub(crate) struct Worker {
    home: tempfile::TempDir,
    org: String,
    admin: u16,
    /// Length of its own disk in MiB.
    disk: Option<u32>,
    /// Whether it has the first core alone, and offers what it measured of itself.
    one_core: bool,
    /// Folder in place of `/` for its sensors.
    sensors: Option<PathBuf>,
    child: Option<Child>,
    log: Arc<Mutex<String>>,
}

/// Mounts a disk of so many MiB over a folder that nobody else sees, and runs a program on it.
const ON_DISK: &str = r#"mount -t tmpfs -o size=$0m none "$1" && shift && exec "$@""#;

impl Worker {
    pub(crate) fn new(org: &str) -> Self {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        Self {
            home: tempfile::tempdir().unwrap(),
            org: org.to_owned(),
            admin: free.local_addr().unwrap().port(),
            disk: None,
            one_core: false,
            sensors: None,
            child: None,
            log: Arc::default(),
        }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Gives it a disk of so many MiB.
    pub(crate) fn on_disk_of(mut self, size: u32) -> Self {
        self.disk = Some(size);
        self
    }

    /// Gives it the first core alone, and no amounts to announce in place of those that it measures.
    pub(crate) fn on_one_core(mut self) -> Self {
        self.one_core = true;
        self
    }

    /// Gives it files in place of sensors and devices.
    pub(crate) fn with_sensors(mut self, folder: &Path) -> Self {
        self.sensors = Some(folder.to_owned());
        self
    }

    /// Its state folder. With a disk of its own, it is there while the process is.
    pub(crate) fn state(&self) -> PathBuf {
        let place = self.home.path().join("state");
        match (self.disk, &self.child) {
            (Some(_), Some(child)) => {
                let root = PathBuf::from(format!("/proc/{}/root", child.id()));
                root.join(place.strip_prefix("/").unwrap())
            }
            _ => place,
        }
    }

    /// Takes all room of its disk, or gives it back.
    pub(crate) fn fill(&self, full: bool) {
        let file = self.state().join("ballast");
        if !full {
            return std::fs::remove_file(file).unwrap();
        }
        let mut file = std::fs::File::create(file).unwrap();
        let zeros = vec![0; 1 << 20];
        // Shorter writes fill what is left of the last page.
        for piece in [1 << 20, 4096] {
            while file.write_all(&zeros[..piece]).is_ok() {}
        }
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = match self.disk {
            None if self.one_core => {
                let mut command = clean(Command::new("taskset"));
                command.args(["--cpu-list", "0"]).arg(binary("worker"));
                command
            }
            None => program(),
            Some(size) => {
                let mut command = clean(Command::new("unshare"));
                let root = rustix::process::getuid().is_root();
                command
                    .arg("--mount")
                    .args((!root).then_some("--map-root-user"));
                command.args(["sh", "-c", ON_DISK]).arg(size.to_string());
                command.arg(self.home.path()).arg(binary("worker"));
                command
            }
        };
        if let Some(folder) = &self.sensors {
            command.env("BETANET_SENSORS", folder);
        }
        command
            .args(["--json", "--org", &self.org])
            .args(["--admin", &self.admin()])
            .arg("--state")
            .arg(self.state())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if !self.one_core {
            command.args(["--cpu", "8", "--memory", "4 GiB"]);
        }
        command
    }

    /// Starts it, and waits until it has joined. Returns what it tells then.
    pub(crate) fn start(&mut self, args: &[&str]) -> serde_json::Value {
        let mut child = self.command().args(args).spawn().unwrap();
        let log = child.stderr.take().unwrap();
        let (org, kept) = (self.org.clone(), Arc::clone(&self.log));
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                eprintln!("{org}: {line}");
                *kept.lock().unwrap() += &(line + "\n");
            }
        });
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let facts: serde_json::Value = serde_json::from_str(&line).unwrap();
        let engine = facts["engine"].as_str().unwrap();
        assert!(engine.starts_with("wasmtime"), "{line}");
        self.child = Some(child);
        facts
    }

    /// Address of `worker status` and of the metrics.
    pub(crate) fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.admin)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.as_ref().unwrap().id()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Stops its programs, or lets them go on. It does not notice.
    pub(crate) fn freeze(&self, frozen: bool) {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        for pid in self.below() {
            let pid = Pid::from_raw(pid.cast_signed()).unwrap();
            let _ = kill_process(pid, signal);
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The processes that descend from it.
    pub(crate) fn below(&self) -> Vec<u32> {
        let (me, parents) = (self.pid(), parents());
        let others = parents.keys().copied().filter(|pid| *pid != me);
        let mine = others.filter(|pid| {
            let mut above = std::iter::successors(Some(*pid), |pid| parents.get(pid).copied());
            above.any(|pid| pid == me)
        });
        mine.collect()
    }

    /// Processor time of its programs, in ticks.
    pub(crate) fn ticks(&self) -> u64 {
        self.below().into_iter().filter_map(ticks).sum()
    }

    /// Processor time of its own process, in ticks.
    pub(crate) fn own_ticks(&self) -> u64 {
        ticks(self.pid()).unwrap()
    }

    /// What its metrics say.
    pub(crate) fn metrics(&self) -> String {
        let admin = self.admin();
        let mut tcp = TcpStream::connect(&admin).unwrap();
        let request =
            format!("GET /metrics HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).unwrap();
        let mut all = String::new();
        tcp.read_to_string(&mut all).unwrap();
        all
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits until it has ended by itself. Returns its exit code.
    pub(crate) fn wait(&mut self) -> i32 {
        let mut child = self.child.take().unwrap();
        child.wait().unwrap().code().unwrap()
    }

    /// What `worker status` tells.
    pub(crate) fn status(&self) -> serde_json::Value {
        let mut command = program();
        command.args(["status", "--json", "--admin", &self.admin()]);
        let out = command.output().unwrap();
        serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"))
    }

    /// The receipts that it keeps.
    pub(crate) fn receipts(&self) -> Vec<PathBuf> {
        let folder = self.state().join("node/receipts");
        let all = std::fs::read_dir(folder).unwrap();
        all.map(|entry| entry.unwrap().path()).collect()
    }

    /// Waits until these workers keep so many receipts: they do so once the coordinator has taken them.
    pub(crate) async fn kept(all: &[&Self], n: usize) -> Vec<PathBuf> {
        let count = || {
            all.iter()
                .flat_map(|worker| worker.receipts())
                .collect::<Vec<_>>()
        };
        for _ in 0..500 {
            if count().len() >= n {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let kept = count();
        assert_eq!(kept.len(), n);
        kept
    }

    /// Number of folders of copies that run, or that were left.
    pub(crate) fn left(&self) -> usize {
        let copies = self.state().join("node/running/copies");
        std::fs::read_dir(copies).map_or(0, Iterator::count)
    }
}

/// Processor time of a process, in ticks.
fn ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?)
}

/// The parent of each process.
fn parents() -> BTreeMap<u32, u32> {
    let all = std::fs::read_dir("/proc").unwrap();
    let parent = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        Some((pid, rest.split_whitespace().nth(1)?.parse().ok()?))
    };
    all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(parent)
        .collect()
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}
