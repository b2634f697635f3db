//! A worker's process.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

pub(crate) const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// The program, without the settings of whoever runs the tests.
pub(crate) fn program() -> Command {
    let mut command = Command::new(WORKER);
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
    child: Option<Child>,
}

impl Worker {
    pub(crate) fn new(org: &str) -> Self {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        Self {
            home: tempfile::tempdir().unwrap(),
            org: org.to_owned(),
            admin: free.local_addr().unwrap().port(),
            child: None,
        }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = program();
        command
            .args(["--json", "--org", &self.org])
            .args(["--admin", &self.admin()])
            .args(["--cpu", "8", "--memory", "4 GiB"])
            .arg("--state")
            .arg(self.state())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts it, and waits until it has joined. Returns what it tells then.
    pub(crate) fn start(&mut self, args: &[&str]) -> serde_json::Value {
        let mut child = self.command().args(args).spawn().unwrap();
        let log = child.stderr.take().unwrap();
        let org = self.org.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                eprintln!("{org}: {line}");
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

impl Drop for Worker {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}
