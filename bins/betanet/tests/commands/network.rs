//! Networks of processes, and the files that name them.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::{BETANET, run};

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
            &["entry", "core", "gateway"]
        };
        let roles = roles.iter().flat_map(|r| ["--role", r]);
        let ip = text("address").rsplit_once(':').unwrap().0;
        let mut child = Command::new(BETANET)
            .args(["serve", &at("files"), "--key", &at("node.pem"), "--json"])
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
