//! The binaries as a user runs them: output, files, exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test stops where it is surprised, and may look at the clock"
)]

#[path = "commands/aliases.rs"]
mod aliases;
#[path = "commands/anchors.rs"]
mod anchors;
#[path = "commands/bootstrap.rs"]
mod bootstrap;
#[path = "commands/bridge.rs"]
mod bridge;
#[path = "commands/cards.rs"]
mod cards;
#[path = "commands/disk.rs"]
mod disk;
#[path = "commands/ends.rs"]
mod ends;
#[path = "commands/fetches.rs"]
mod fetches;
#[path = "commands/folders.rs"]
mod folders;
#[path = "commands/governance.rs"]
mod governance;
#[path = "commands/keys.rs"]
mod keys;
#[path = "commands/legacy.rs"]
mod legacy;
#[path = "commands/local.rs"]
mod local;
#[path = "commands/names.rs"]
mod names;
#[path = "commands/network.rs"]
mod network;
#[path = "commands/observed.rs"]
mod observed;
#[path = "commands/output.rs"]
mod output;
#[path = "commands/pay.rs"]
mod pay;
#[path = "commands/printed.rs"]
mod printed;
#[path = "commands/puts.rs"]
mod puts;
#[path = "commands/recipe.rs"]
mod recipe;
#[path = "commands/seed.rs"]
mod seed;
#[path = "commands/stakes.rs"]
mod stakes;
#[path = "commands/template.rs"]
mod template;
#[path = "commands/tokens.rs"]
mod tokens;
#[path = "commands/trade.rs"]
mod trade;
#[path = "commands/updown.rs"]
mod updown;
#[path = "commands/verifier.rs"]
mod verifier;
#[path = "commands/wrong.rs"]
mod wrong;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const BETANET: &str = env!("CARGO_BIN_EXE_betanet");

/// `betanet serve` over a fresh folder, stopped with SIGTERM when dropped.
struct Serving {
    child: Child,
    facts: Value,
    home: tempfile::TempDir,
    gone: bool,
}

impl Serving {
    fn start(extra: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let served = home.path().join("served");
        std::fs::create_dir(&served).unwrap();
        std::fs::write(served.join("hello.txt"), "hello, betanet\n").unwrap();
        let mut child = Command::new(BETANET)
            .args(["serve", served.to_str().unwrap(), "--json"])
            .args(extra)
            .env("XDG_DATA_HOME", home.path().join("server"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self {
            child,
            facts: serde_json::from_str(&line).unwrap(),
            home,
            gone: false,
        }
    }

    fn fact(&self, key: &str) -> &str {
        self.facts[key].as_str().unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("bar://{}{path}", self.fact("name"))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }

    /// For one that was killed.
    fn goes_down(mut self) {
        self.child.wait().unwrap();
        self.gone = true;
    }

    fn run(&self, args: &[&str]) -> Output {
        run(args, &self.home.path().join("client"), b"")
    }

    /// Keeps a file to be fetched.
    fn keep(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.home.path().join("served").join(name), bytes).unwrap();
    }

    /// The same as [`Serving::run`], where no file may grow beyond so many blocks of 512 bytes.
    fn run_within(&self, blocks: u32, args: &[&str]) -> Output {
        let limited = "ulimit -f \"$0\" && exec \"$@\"";
        Command::new("sh")
            .args(["-c", limited, &blocks.to_string(), BETANET])
            .args(args)
            .env("XDG_DATA_HOME", self.path("client"))
            .output()
            .unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success() || std::thread::panicking(), "{status}");
    }
}

fn run(args: &[&str], data: &Path, input: &[u8]) -> Output {
    let mut child = Command::new(BETANET)
        .args(args)
        .env("XDG_DATA_HOME", data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn code(out: &Output) -> i32 {
    out.status.code().unwrap()
}

#[test]
fn a_name_is_enough_after_its_first_use() {
    let s = Serving::start(&[]);
    let url = s.url("/hello.txt");
    let unknown = s.run(&["get", &url]);
    assert_eq!(code(&unknown), 2, "{}", text(&unknown.stderr));
    assert!(text(&unknown.stderr).contains("--peer"));
    let first = s.run(&["get", &url, "--peer", s.fact("peer")]);
    assert_eq!(
        (code(&first), text(&first.stdout)),
        (0, "hello, betanet\n".into())
    );
    let again = s.run(&["get", &url, "--range", "7-"]);
    assert_eq!((code(&again), text(&again.stdout)), (0, "betanet\n".into()));
    let long = format!(
        "{}@{}#{}",
        s.fact("public_key"),
        s.facts["addresses"][0].as_str().unwrap(),
        s.fact("pin")
    );
    let ping = s.run(&["ping", &long, "--count", "2", "--json"]);
    let times: Value = serde_json::from_slice(&ping.stdout).unwrap();
    assert_eq!(times["rtt_ms"].as_array().unwrap().len(), 2);
    let probe = s.run(&["probe", s.fact("name"), "--json"]);
    let facts: Value = serde_json::from_slice(&probe.stdout).unwrap();
    assert_eq!(facts["ids"]["l2"], "betanet/htx/1.2.0");
    assert_eq!(facts["session"]["pq"], "ML-KEM-768");
    let offered = facts["features"]
        .as_array()
        .unwrap()
        .contains(&"aes".into());
    let aead = ["ChaCha20-Poly1305", "AES-256-GCM"][usize::from(offered)];
    assert_eq!(facts["session"]["aead"], aead);
    let outside = s.run(&["probe", s.facts["addresses"][0].as_str().unwrap(), "--json"]);
    let facts: Value = serde_json::from_slice(&outside.stdout).unwrap();
    assert_eq!(facts["get"]["status"], 200);
    assert_eq!(facts["outer"]["pin"].as_str(), Some(s.fact("pin")));
}

#[test]
fn a_server_that_may_not_use_aes_does_not() {
    let s = Serving::start(&["--no-aes"]);
    let probe = s.run(&["probe", s.fact("peer"), "--json"]);
    let facts: Value = serde_json::from_slice(&probe.stdout).unwrap();
    assert_eq!(facts["session"]["aead"], "ChaCha20-Poly1305");
    assert_eq!(facts["features"], serde_json::json!(["padding", "pq"]));
}

#[test]
fn faults_have_their_exit_codes() {
    let s = Serving::start(&[]);
    let (peer, url) = (s.fact("peer"), s.url("/hello.txt"));
    let other = "bar://bn1:e24udde4j3w74dfs2yo2sq4yutpy6hbat44h3py/x";
    let dead = format!("{}@127.0.0.1:1#{}", s.fact("public_key"), s.fact("pin"));
    let pin = format!(
        "{}@{}#{}",
        s.fact("public_key"),
        s.facts["addresses"][0].as_str().unwrap(),
        "00".repeat(32)
    );
    for (args, want, says) in [
        (vec!["get", &s.url("/none"), "--peer", peer], 1, "404"),
        (vec!["get", &url, "--peer", &dead], 1, "cannot connect"),
        (vec!["get", &url, "--peer", &pin], 1, "pinned"),
        (
            vec!["get", other, "--peer", peer],
            2,
            "is not the name of the peer's key",
        ),
        (
            vec!["get", "http://x/", "--peer", peer],
            2,
            "bar://NAME/path",
        ),
        (
            vec!["get", "bar://bn1:abc/x", "--peer", peer],
            2,
            "39 characters",
        ),
        (
            vec!["get", &url, "--peer", "nonsense"],
            2,
            "KEYHEX@HOST:PORT",
        ),
        (
            vec!["get", &url, "--peer", peer, "--range", "5-1"],
            2,
            "--range",
        ),
        (
            vec!["get", &url, "--peer", peer, "-o", "/no/such/folder/x"],
            3,
            "/no/such/folder",
        ),
        (vec!["probe", "localhost:port"], 2, "port of an address"),
        (vec!["probe", "bn1:abc"], 2, "KEYHEX@HOST:PORT"),
        (vec!["status", "--admin", "here"], 2, "HOST:PORT"),
        (
            vec!["put", "/no/such/file", &url, "--peer", peer],
            3,
            "/no/such/file",
        ),
        (vec!["put", "/etc/hostname", &url, "--peer", peer], 1, "403"),
        (
            vec!["id", "show", "--key", "/no/such/key"],
            3,
            "/no/such/key",
        ),
        (vec!["inspect", "ff"], 1, "no name"),
        (vec!["frobnicate"], 2, "frobnicate"),
    ] {
        let out = s.run(&args);
        let said = text(&out.stderr);
        assert_eq!(code(&out), want, "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    }
}

#[test]
fn inspect_names_what_is_on_the_wire() {
    let home = tempfile::tempdir().unwrap();
    let name = "bn1:e24udde4j3w74dfs2yo2sq4yutpy6hbat44h3py";
    for (item, what) in [
        (name, "name"),
        ("a2627071f56770616464696e67f5", "DET-CBOR"),
        (
            "0000001ba46162406168a0616d6347455461756b2f696e6465782e68746d6c",
            "message: BAR request head",
        ),
        (
            "00001f020000000000006a26e49f7cbdb2c66c68658689df6d53c7cb1d1b7dee0a37",
            "frame (payload sealed)",
        ),
    ] {
        let out = run(&["inspect", item, "--json"], home.path(), b"");
        let facts: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(facts["what"], what);
    }
}

#[test]
fn relays_are_named_and_a_hop_that_cannot_go_on_says_so() {
    let exit = Serving::start(&[]);
    let entry = Serving::start(&["--onward", exit.fact("peer")]);
    let url = exit.url("/hello.txt");
    let via = ["--via", entry.fact("peer")];
    let get = [&["get", &url, "--peer", exit.fact("peer")][..], &via].concat();
    let out = exit.run(&get);
    assert_eq!(
        (code(&out), text(&out.stdout)),
        (0, "hello, betanet\n".into())
    );
    // The other way round nothing is carried on.
    let url = entry.url("/hello.txt");
    let back = [
        "get",
        &url,
        "--peer",
        entry.fact("peer"),
        "--via",
        exit.fact("peer"),
    ];
    let out = exit.run(&back);
    assert_eq!((code(&out), text(&out.stdout)), (1, String::new()));
    let said = text(&out.stderr);
    assert!(
        said.contains("POLICY_DENY") && said.contains(exit.fact("name")),
        "{said}"
    );
    let wrong = exit.run(&["ping", exit.fact("peer"), "--via", "bnp1x"]);
    assert_eq!(code(&wrong), 2);
    assert!(text(&wrong.stderr).contains("--via bnp1x"));
}
