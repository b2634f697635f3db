//! The binaries as a user runs them: output, files, exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

#[path = "commands/legacy.rs"]
mod legacy;
#[path = "commands/observed.rs"]
mod observed;

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

    fn run(&self, args: &[&str]) -> Output {
        run(args, &self.home.path().join("client"), b"")
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
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
    let outside = s.run(&["probe", s.facts["addresses"][0].as_str().unwrap(), "--json"]);
    let facts: Value = serde_json::from_slice(&outside.stdout).unwrap();
    assert_eq!(facts["get"]["status"], 200);
    assert_eq!(facts["outer"]["pin"].as_str(), Some(s.fact("pin")));
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
fn a_cut_download_goes_on_where_it_stood_or_begins_anew() {
    let s = Serving::start(&[]);
    let bytes: Vec<u8> = (0..2_000_000u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(s.path("served/big.bin"), &bytes).unwrap();
    let url = s.url("/big.bin");
    let out = s.path("big.bin");
    let args = [
        "get",
        &url,
        "--peer",
        s.fact("peer"),
        "-o",
        out.to_str().unwrap(),
        "--json",
    ];
    let whole: Value = serde_json::from_slice(&s.run(&args).stdout).unwrap();
    assert!(std::fs::read(&out).unwrap() == bytes);
    let resume = [&args[..], &["--continue"]].concat();
    for (at, etag, fresh) in [
        (3_000_000, whole["etag"].as_str().unwrap(), false),
        (bytes.len(), whole["etag"].as_str().unwrap(), false),
        (3_000_000, "\"another\"", true),
    ] {
        let mut part = bytes[..at].to_vec();
        if fresh {
            part[0] ^= 1;
        }
        std::fs::write(s.path("big.bin.part"), part).unwrap();
        std::fs::write(s.path("big.bin.part.etag"), etag).unwrap();
        std::fs::remove_file(&out).unwrap();
        let got = s.run(&resume);
        assert_eq!(code(&got), 0, "{}", text(&got.stderr));
        let facts: Value = serde_json::from_slice(&got.stdout).unwrap();
        assert_eq!(facts["sha256"], whole["sha256"]);
        assert!(std::fs::read(&out).unwrap() == bytes);
        assert!(!s.path("big.bin.part").exists() && !s.path("big.bin.part.etag").exists());
    }
}

#[test]
fn who_is_allowed_puts_posts_and_removes() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("me.pem");
    let made = run(
        &["id", "new", "--key", key.to_str().unwrap(), "--json"],
        home.path(),
        b"",
    );
    let me: Value = serde_json::from_slice(&made.stdout).unwrap();
    let again = run(
        &["id", "new", "--key", key.to_str().unwrap()],
        home.path(),
        b"",
    );
    assert_eq!(code(&again), 3, "an identity is not written over");
    let s = Serving::start(&["--allow", me["name"].as_str().unwrap()]);
    let (peer, key) = (s.fact("peer"), key.to_str().unwrap());
    let url = s.url("/notes/a.txt");
    let with = |args: &[&str], input: &[u8]| {
        let all = [args, &["--peer", peer, "--key", key]].concat();
        run(&all, &s.path("client"), input)
    };
    let put = with(&["put", "-", &url, "--new"], b"one");
    assert_eq!(code(&put), 0, "{}", text(&put.stderr));
    assert_eq!(std::fs::read(s.path("served/notes/a.txt")).unwrap(), b"one");
    assert_eq!(
        code(&with(&["put", "-", &url, "--new"], b"two")),
        1,
        "it stands already"
    );
    let post = with(&["post", "-", &s.url("/inbox/")], b"mail");
    let place = text(&post.stdout);
    let got = s.run(&["get", &s.url(place.trim()), "--peer", peer]);
    assert_eq!(text(&got.stdout), "mail");
    assert_eq!(code(&with(&["del", &url], b"")), 0);
    assert_eq!(code(&with(&["del", &url], b"")), 1);
    let stranger = s.run(&["del", &url, "--peer", peer]);
    assert!(text(&stranger.stderr).contains("403"));
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

#[test]
fn a_reader_who_leaves_is_no_panic() {
    let s = Serving::start(&[]);
    let mut child = Command::new(BETANET)
        .args(["ping", s.fact("peer")])
        .env("XDG_DATA_HOME", s.path("client"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!((code(&out), text(&out.stderr)), (0, String::new()));
}

/// A network of `betanet serve` processes, as `betanet network new` writes it.
struct Testnet {
    home: tempfile::TempDir,
    facts: Value,
    nodes: Vec<Child>,
}

impl Drop for Testnet {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

impl Testnet {
    fn start(relays: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("net");
        let port = std::net::TcpListener::bind("127.11.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let (dir, port) = (dir.to_str().unwrap(), port.to_string());
        let new = [
            "network", "new", dir, "--relays", relays, "--port", &port, "--json",
        ];
        let made = run(&new, home.path(), b"");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let facts: Value = serde_json::from_slice(&made.stdout).unwrap();
        let nodes = facts["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| Self::node(&facts, n))
            .collect();
        Self { home, facts, nodes }
    }

    fn node(facts: &Value, node: &Value) -> Child {
        let text = |key: &str| node[key].as_str().unwrap();
        let dir = Path::new(text("config")).parent().unwrap();
        let at = |sub: &str| dir.join(sub).to_str().unwrap().to_owned();
        let seed = node["seed"] == Value::Bool(true);
        let roles: &[&str] = if seed {
            &["seed"]
        } else {
            &["entry", "core", "exit", "gateway"]
        };
        let roles = roles.iter().flat_map(|r| ["--role", r]);
        let ip = text("address").rsplit_once(':').unwrap().0;
        let mut child = Command::new(BETANET)
            .args([
                "serve",
                &at("files"),
                "--cover",
                &at("site"),
                "--key",
                &at("node.pem"),
                "--json",
            ])
            .args([
                "--listen",
                text("address"),
                "--admin",
                text("admin"),
                "--dial-from",
                ip,
            ])
            .args([
                "--network",
                facts["network"].as_str().unwrap(),
                "--per-address",
                "64",
            ])
            .args(roles)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.contains(text("name")), "{line}");
        child
    }

    fn relay(&self) -> &str {
        let nodes = self.facts["nodes"].as_array().unwrap();
        nodes.last().unwrap()["name"].as_str().unwrap()
    }

    fn run(&self, args: &[&str]) -> (i32, String) {
        let network = self.facts["network"].as_str().unwrap();
        let all = [args, &["--network", network]].concat();
        let out = run(&all, &self.home.path().join("client"), b"");
        let said = if out.status.success() {
            out.stdout
        } else {
            out.stderr
        };
        (out.status.code().unwrap(), String::from_utf8(said).unwrap())
    }
}

#[test]
fn a_network_is_made_joined_looked_at_and_fetched_from_over_a_path() {
    let net = Testnet::start("4");
    let url = format!("bar://{}/hello.txt", net.relay());
    let (code, said) = net.run(&["get", &url, "--path", "3"]);
    assert_eq!((code, said.as_str()), (0, "hello from relay4\n"));
    let (code, said) = net.run(&["path", "trace", net.relay(), "--json"]);
    assert_eq!(code, 0, "{said}");
    let traced: Value = serde_json::from_str(&said).unwrap();
    let hops = traced["ways"][0].as_array().unwrap();
    assert_eq!(hops.len(), 3);
    assert!(
        hops.iter().all(|h| h["rtt_ms"].as_f64().unwrap() > 0.0),
        "{said}"
    );
    assert_eq!(hops[2]["name"], net.relay());
    let (code, said) = net.run(&["path", "show", net.relay(), "--nodes", "2"]);
    // Relays but the peer itself are three: as many ways lead over one each.
    assert_eq!((code, said.lines().count()), (0, 9), "{said}");
    let admin = net.facts["nodes"][0]["admin"].as_str().unwrap();
    let out = run(&["peers", "--admin", admin, "--json"], net.home.path(), b"");
    let known: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(known["peers"].as_array().unwrap().len(), 8, "{known}");
    let (code, said) = net.run(&["peers", "--wait", "2"]);
    assert!(code == 0 && said.contains(net.relay()), "{said}");
    let nobody = "bar://bn1:crkwikx5f2xamhp55ouvssoj5wzjlkuulibltvq/x";
    let (code, _) = net.run(&["get", nobody]);
    assert_ne!(code, 0);
}

#[test]
fn a_networks_file_is_checked_and_what_is_wrong_is_said_with_its_line() {
    let home = tempfile::tempdir().unwrap();
    let sample = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../dist/NETWORK.toml"
    ))
    .unwrap();
    let file = home.path().join("N.toml");
    let path = file.to_str().unwrap();
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let out = run(&["network", "check", path], home.path(), b"");
        (
            out.status.code().unwrap(),
            String::from_utf8(out.stderr).unwrap(),
        )
    };
    assert_eq!(check(&sample), (0, String::new()));
    let fewer = sample.rsplit_once("\n[[seed]]").unwrap().0;
    let (code, said) = check(fewer);
    assert!(
        code == 3 && said.contains("4 seeds, where at least 5 are needed"),
        "{said}"
    );
    let (code, said) = check(&sample.replace("links = 32 ", "links = 999 "));
    let line = 1 + sample.lines().position(|l| l.starts_with("links")).unwrap();
    assert!(
        code == 3 && said.contains(&format!("{path}:{line}: links = 999: 1 to 256")),
        "{said}"
    );
    let out = run(
        &["network", "new", home.path().to_str().unwrap()],
        home.path(),
        b"",
    );
    assert_eq!(out.status.code(), Some(2));
    let out = run(&["get", "bar://x/y", "--path", "3"], home.path(), b"");
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn a_capture_of_this_very_program_is_what_it_sends_and_a_browsers_is_where_it_was_built_so() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("own.json");
    let file = file.to_str().unwrap();
    let mut capture = Command::new(BETANET)
        .args(["template", "capture", "-n", "2", "--listen", "127.0.0.1:0"])
        .args(["-o", file, "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(capture.stderr.as_mut().unwrap())
        .read_line(&mut said)
        .unwrap();
    let port = said.split("localhost:").nth(1).unwrap();
    let port = port.split('/').next().unwrap();
    for _ in 0..2 {
        let seen = run(&["probe", &format!("localhost:{port}")], home.path(), b"");
        assert!(seen.status.success(), "{}", text(&seen.stderr));
    }
    let out = capture.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let facts: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(
        (&facts["hellos"], &facts["flights"]),
        (&2.into(), &2.into())
    );
    let ja4 = facts["ja4"][0].as_str().unwrap();
    assert!(ja4.starts_with("t13d"), "{ja4}");
    let same = run(&["template", "check", file], home.path(), b"");
    assert_eq!(same.status.code(), Some(0), "{}", text(&same.stderr));
    let browser = run(&["template", "check", "--json"], home.path(), b"");
    let said: Value = serde_json::from_slice(&browser.stdout).unwrap();
    let mimics = cfg!(feature = "mimic");
    assert_eq!(said["same"], mimics, "{said}");
    assert_eq!(browser.status.code(), Some(i32::from(!mimics)));
    assert!(mimics || text(&browser.stderr).contains("these differ: ciphers"));
    // What is no capture is said, by its file.
    let text_of = std::fs::read_to_string(file).unwrap();
    for (bad, why) in [
        ("{}", "missing field `hellos`"),
        ("{\"hellos\": [], \"flights\": []}", "no hello in it"),
        (
            "{\"hellos\": [\"16030100\"], \"flights\": []}",
            "hello 0: cut short",
        ),
        (
            "{\"hellos\": [\"474554\"], \"flights\": []}",
            "not a handshake record",
        ),
        (&text_of[..900], "EOF while parsing"),
    ] {
        std::fs::write(home.path().join("bad.json"), bad).unwrap();
        let bad = home.path().join("bad.json");
        let out = run(
            &["template", "check", bad.to_str().unwrap()],
            home.path(),
            b"",
        );
        assert_eq!(out.status.code(), Some(3), "{why}");
        let said = text(&out.stderr);
        assert!(said.contains("bad.json: ") && said.contains(why), "{said}");
    }
    // Nobody comes.
    let nobody = [
        "template",
        "capture",
        "--listen",
        "127.0.0.1:0",
        "--wait",
        "0",
    ];
    let out = run(&nobody, home.path(), b"");
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("0 of 2 clients came"));
}
