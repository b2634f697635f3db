//! `gateway check`, and a gateway that starts with what was checked.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const GATEWAY: &str = env!("CARGO_BIN_EXE_gateway");

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn check(home: &Path, args: &[&str]) -> (Output, Value) {
    let run = |more: &[&str]| {
        let mut command = Command::new(GATEWAY);
        command.arg("check").args(args).args(more).current_dir(home);
        command.output().unwrap()
    };
    let json = serde_json::from_slice(&run(&["--json"]).stdout).unwrap();
    (run(&[]), json)
}

fn keys(list: &Value) -> Vec<&str> {
    let all = list.as_array().unwrap();
    let mut keys: Vec<&str> = all.iter().map(|p| p["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    keys
}

/// All names below a folder.
fn listed(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        all.push(entry.path().display().to_string());
        if entry.path().is_dir() {
            all.extend(listed(&entry.path()));
        }
    }
    all.sort();
    all
}

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for dir in ["site", "pub"] {
        std::fs::create_dir(home.path().join(dir)).unwrap();
    }
    std::fs::write(home.path().join("site/index.html"), "<h1>x</h1>").unwrap();
    home
}

#[test]
fn every_problem_is_told_at_once_and_nothing_is_touched() {
    let home = home();
    let dir = home.path();
    std::fs::write(dir.join("bad.pem"), "no key").unwrap();
    std::fs::write(dir.join("chain.pem"), "no chain").unwrap();
    std::fs::write(dir.join("NETWORK.toml"), "name = 3\n").unwrap();
    let bad = "lisen = [\"a:1\"]\nquota = \"much\"\nlisten = [\"198.51.100.77:9443\"]\nserve = \"pub\"\ncover = \"site\"\n\
               key = \"bad.pem\"\ncertificate = \"chain.pem\"\ncertificate_key = \"chain.pem\"\nnetwork = \"NETWORK.toml\"\n\
               dial_from = \"198.51.100.78\"\nlog = \"[[\"\nca = \"none.pem\"\n";
    std::fs::write(dir.join("g.toml"), bad).unwrap();
    let before = listed(dir);
    let (out, json) = check(dir, &["g.toml"]);
    assert_eq!(out.status.code(), Some(2));
    assert_eq!(json["ok"], false);
    let all = [
        "ca",
        "certificate",
        "dial_from",
        "key",
        "lisen",
        "listen",
        "log",
        "network",
        "quota",
    ];
    assert_eq!(keys(&json["problems"]), all, "{json}");
    let said = text(&out.stderr);
    assert!(
        all.iter().all(|key| said.contains(&format!("{key} = "))),
        "{said}"
    );
    assert!(said.contains("g.toml: line 1: lisen"), "{said}");
    assert_eq!(listed(dir), before);
    // Values that do not read keep no other from being looked at, and are told together.
    let worse = "listen = [\"::1:443\"]\nserve = \"none\"\nkey = \"bad.pem\"\ncover = \"site\"\nadmin = \"0.0.0.0:1\"\npq = 1\n";
    std::fs::write(dir.join("w.toml"), worse).unwrap();
    let (_, json) = check(dir, &["w.toml"]);
    let all = ["admin", "key", "listen", "pq", "serve"];
    assert_eq!(keys(&json["problems"]), all, "{json}");
}

#[test]
fn a_value_is_told_with_its_place_and_a_setting_that_does_nothing_by_name() {
    let home = home();
    let dir = home.path();
    let tables = "[node]\nkey = \"k.pem\"\n[folder]\nserve = \"pub\"\nquota = 4096\n[mesh]\nroles = [\"worker\"]\n";
    std::fs::write(dir.join("t.toml"), tables).unwrap();
    let out = Command::new(GATEWAY)
        .args(["check", "t.toml", "--no-alt-svc", "--json"])
        .env("BETANET_ADMIN", "0.0.0.0:1")
        .env("BETANET_LISTEN", "")
        .current_dir(dir)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(2));
    let json: Value = serde_json::from_slice(&out.stdout).unwrap();
    let place = |key: &str, list: &str| {
        let all = json[list].as_array().unwrap();
        let one = all.iter().find(|p| p["key"] == key);
        one.unwrap_or_else(|| panic!("{key}: {json}"))["where"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(place("admin", "problems"), "BETANET_ADMIN");
    assert_eq!(place("mesh.roles", "problems"), "t.toml: line 7");
    assert_eq!(place("folder.quota", "warnings"), "t.toml: line 5");
    assert!(text(&out.stdout).contains("no node acts on the role worker yet"));
    assert_eq!(keys(&json["problems"]), ["admin", "mesh.roles"]);
}

#[test]
fn settings_that_do_not_go_together_are_refused_and_named() {
    let home = home();
    let basic = ["--serve", "pub", "--cover", "site", "--key", "k.pem"];
    for (more, key) in [
        (["--advertise", "quic:a.example:443"], "advertise"),
        (["--certificate-key", "c.pem"], "certificate_key"),
        (["--compat11-to", "bob"], "compat11_to"),
        (["--role", "coordinator"], "roles"),
    ] {
        let args = [&basic[..], &more].concat();
        let (out, json) = check(home.path(), &args);
        assert_eq!(out.status.code(), Some(2), "{more:?}");
        assert_eq!(keys(&json["problems"]), [key], "{json}");
        let mut start = Command::new(GATEWAY);
        let out = start.args(&args).current_dir(home.path()).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{more:?}");
        assert!(text(&out.stderr).contains(key), "{}", text(&out.stderr));
    }
    assert!(!home.path().join("k.pem").exists());
}

#[test]
fn what_is_checked_well_starts_and_a_key_where_others_fetch_it_is_a_problem() {
    let home = home();
    let dir = home.path();
    let good = "listen = [\"127.0.0.1:0\"]\nserve = \"pub\"\ncover = \"site\"\nkey = \"state/k.pem\"\nadmin = \"127.0.0.1:0\"\n";
    std::fs::write(dir.join("g.toml"), good).unwrap();
    let before = listed(dir);
    let (out, json) = check(dir, &["g.toml"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert_eq!(
        (&json["ok"], json["warnings"].as_array().unwrap().len()),
        (&true.into(), 0)
    );
    assert_eq!(listed(dir), before);
    let node = Running::start(dir, &["--config", "g.toml", "--json"]);
    assert_eq!(node.get("/healthz"), (200, "ok\n".to_owned()));
    drop(node);
    let flags = [
        "--listen",
        "127.0.0.1:0",
        "--serve",
        "pub",
        "--cover",
        "site",
        "--key",
        "pub/k.pem",
    ];
    let (out, json) = check(dir, &flags);
    assert_eq!(
        (out.status.code(), keys(&json["problems"])),
        (Some(2), vec!["key"])
    );
}

#[test]
fn connections_that_have_no_files_are_told_and_are_this_machines_fault() {
    let home = home();
    let dir = home.path();
    let many = "listen = [\"127.0.0.1:0\"]\nserve = \"pub\"\ncover = \"site\"\nkey = \"k.pem\"\nmax_connections = 1000\n";
    std::fs::write(dir.join("g.toml"), many).unwrap();
    let limited = |args: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 256 && exec \"$0\" \"$@\"", GATEWAY]);
        command.args(args).current_dir(dir).output().unwrap()
    };
    for (args, code) in [(&["check", "g.toml"], 0), (&["--config", "g.toml"], 3)] {
        let out = limited(args);
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.contains("max_connections"), "{args:?}: {said}");
        assert!(said.contains("at most 192"), "{args:?}: {said}");
    }
}

struct Running {
    child: Child,
    facts: Value,
}

impl Running {
    fn start(dir: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(GATEWAY)
            .args(args)
            .current_dir(dir)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let facts = serde_json::from_str(&line).unwrap();
        Self { child, facts }
    }

    /// Status and body of a GET at its admin address.
    fn get(&self, path: &str) -> (u16, String) {
        let mut tcp = TcpStream::connect(self.facts["admin"].as_str().unwrap()).unwrap();
        write!(
            tcp,
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success() || std::thread::panicking(), "{status}");
    }
}

#[test]
fn metrics_tell_the_build_and_healthz_what_is_wrong() {
    let home = home();
    let dir = home.path();
    let args = [
        "--listen",
        "127.0.0.1:0",
        "--serve",
        "pub",
        "--cover",
        "site",
        "--key",
        "state/k.pem",
        "--writable",
        "--admin",
        "127.0.0.1:0",
        "--json",
    ];
    let node = Running::start(dir, &args);
    let (_, metrics) = node.get("/metrics");
    let build = metrics
        .lines()
        .find(|l| l.starts_with("betanet_build_info{"))
        .unwrap();
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(build.contains(&version) && build.ends_with(" 1"), "{build}");
    for name in [
        "betanet_uptime_seconds ",
        "betanet_panics_total 0",
        "betanet_descriptors ",
        "betanet_refused_total{reason=\"sessions of one address\",limit=\"per_address\"} 0",
    ] {
        assert!(
            metrics.lines().any(|l| l.starts_with(name)),
            "{name}\n{metrics}"
        );
    }
    assert_eq!(node.get("/healthz").0, 200);
    std::fs::rename(dir.join("pub"), dir.join("moved")).unwrap();
    let (status, why) = node.get("/healthz");
    assert_eq!(status, 503);
    assert!(why.starts_with("folder: pub: "), "{why}");
    std::fs::rename(dir.join("moved"), dir.join("pub")).unwrap();
    assert_eq!(node.get("/healthz").0, 200);
}

#[test]
fn a_key_where_others_could_fetch_it_keeps_a_gateway_from_starting() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join("pub")).unwrap();
    for (serve, key) in [("pub", "pub/key.pem"), (".", "key.pem")] {
        let args = ["--serve", serve, "--key", key, "--listen", "127.0.0.1:0"];
        let mut command = Command::new(GATEWAY);
        let out = command
            .args(args)
            .current_dir(home.path())
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(3), "{key}");
        let said = text(&out.stderr);
        assert!(said.contains("others could fetch it"), "{said}");
        let (out, json) = check(home.path(), &args);
        assert_eq!(out.status.code(), Some(2), "{key}");
        assert!(keys(&json["problems"]).contains(&"key"), "{json}");
    }
}

#[test]
fn a_second_process_of_one_key_is_refused_and_told_by_whom() {
    let home = home();
    let dir = home.path();
    let args = [
        "--listen",
        "127.0.0.1:0",
        "--serve",
        "pub",
        "--cover",
        "site",
        "--key",
        "k.pem",
    ];
    let node = Running::start(
        dir,
        &[&args[..], &["--admin", "127.0.0.1:0", "--json"]].concat(),
    );
    let second = Command::new(GATEWAY).args(args).current_dir(dir).output();
    let second = second.unwrap();
    assert_eq!(second.status.code(), Some(3));
    let said = text(&second.stderr);
    let pid = format!("pid {}", node.child.id());
    assert!(said.contains(&pid) && said.contains("--state"), "{said}");
    // A check while the node runs is a note, not a fault.
    let (out, json) = check(dir, &args);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert_eq!(keys(&json["warnings"]), ["state"], "{json}");
    assert!(text(&out.stderr).contains(&pid), "{}", text(&out.stderr));
    assert_eq!(node.get("/healthz").0, 200);
    drop(node);
    let (out, json) = check(dir, &args);
    assert_eq!(out.status.code(), Some(0));
    assert_eq!(keys(&json["warnings"]), Vec::<&str>::new(), "{json}");
}

#[test]
fn a_state_folder_that_cannot_be_used_is_a_fault_where_it_is_needed() {
    let home = home();
    let dir = home.path();
    std::fs::write(dir.join("k.state"), "a file").unwrap();
    let basic = [
        "--listen",
        "127.0.0.1:0",
        "--serve",
        "pub",
        "--cover",
        "site",
        "--key",
        "k.pem",
    ];
    let named = [&basic[..], &["--state", "k.state"]].concat();
    let (out, json) = check(dir, &named);
    assert_eq!(out.status.code(), Some(2), "{json}");
    assert_eq!(keys(&json["problems"]), ["state"], "{json}");
    let start = Command::new(GATEWAY).args(named).current_dir(dir).output();
    let start = start.unwrap();
    assert_eq!(start.status.code(), Some(3));
    let said = text(&start.stderr);
    assert!(said.contains("k.state"), "{said}");
    assert!(!dir.join("k.pem").exists(), "no key is left behind");
    // A folder of others is not taken over.
    std::fs::create_dir(dir.join("shared")).unwrap();
    std::fs::write(dir.join("shared/x"), "").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.join("shared"), mode).unwrap();
    let shared = [&basic[..], &["--state", "shared"]].concat();
    let (_, json) = check(dir, &shared);
    assert_eq!(keys(&json["problems"]), ["state"], "{json}");
    assert!(json.to_string().contains("chmod 700"), "{json}");
    // Nothing needs it here: the node starts, and the check warns.
    let (out, json) = check(dir, &basic);
    assert_eq!(out.status.code(), Some(0), "{json}");
    assert_eq!(keys(&json["warnings"]), ["state"], "{json}");
    drop(Running::start(dir, &[&basic[..], &["--json"]].concat()));
}
