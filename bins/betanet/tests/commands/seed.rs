//! `betanet demo --panel` and `betanet seed`: a panel over simulated nodes, until Ctrl-C.

use std::io::Read as _;
use std::net::TcpStream;

use serde_json::{Value, json};

use super::*;

/// A command that runs until SIGINT; its first line is JSON.
struct Shown {
    child: Child,
    facts: Value,
}

impl Shown {
    fn start(home: &Path, args: &[&str]) -> Self {
        let mut child = Command::new(BETANET)
            .args(args)
            .env("XDG_DATA_HOME", home.join("data"))
            .env("TMPDIR", home)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let facts = serde_json::from_str(&line);
        let facts = facts.unwrap_or_else(|e| panic!("{args:?} printed {line:?}: {e}"));
        Self { child, facts }
    }

    /// Ends it by SIGINT, which is no failure.
    fn end(mut self) {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-INT", &pid]).status().unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks the panel's API; the answer's status and JSON.
fn ask(origin: &str, head: &str, token: &str, body: &Value) -> (u16, Value) {
    let authority = origin
        .strip_prefix("http://")
        .unwrap()
        .trim_end_matches('/');
    let mut tcp = TcpStream::connect(authority).unwrap();
    let bearer = match token {
        "" => String::new(),
        token => format!("authorization: Bearer {token}\r\n"),
    };
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    write!(
        tcp,
        "{head} HTTP/1.1\r\nhost: {authority}\r\n{bearer}content-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

/// The items of all pages of a list.
fn items(origin: &str, path: &str, token: &str, pages: usize) -> Vec<Value> {
    let page = |n| {
        let head = format!("GET {path}page={n}");
        let (status, answer) = ask(origin, &head, token, &Value::Null);
        assert_eq!(status, 200, "{answer}");
        answer["items"].as_array().unwrap().clone()
    };
    (1..=pages).flat_map(page).collect()
}

#[test]
fn a_panel_shows_simulated_nodes_which_a_seed_adds_and_takes_away() {
    let home = tempfile::tempdir().unwrap();
    let demo = Shown::start(home.path(), &["demo", "--panel", "--json"]);
    let fact = |key: &str| demo.facts[key].as_str().unwrap().to_owned();
    let origin = fact("panel").trim_end_matches('/').to_owned();
    let login = json!({"name": fact("name"), "password": fact("password")});
    let (status, answer) = ask(&origin, "POST /api/v1/login", "", &login);
    assert_eq!(status, 200, "{answer}");
    let token = answer["access_token"].as_str().unwrap();
    let devices = items(&origin, "/api/v1/nodes?kind=edge_device&", token, 2);
    assert_eq!(devices.len(), 100);
    assert!(
        devices
            .iter()
            .all(|d| d["org"] == "simulated" && d["state"] == "active")
    );
    let relays = items(&origin, "/api/v1/nodes?kind=mixnode&", token, 1);
    assert_eq!(relays.len(), 15);
    let tasks = items(&origin, "/api/v1/tasks?", token, 1);
    assert_eq!(tasks.len(), 50);
    assert!(tasks.iter().any(|t| t["state"] == "queued"), "some wait");

    // The ledger has accounts, a hold, stakes, and proposals at different stages.
    let get = |path: &str| {
        let (status, answer) = ask(&origin, &format!("GET {path}"), token, &Value::Null);
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let tokens = get("/api/v1/tokens");
    assert_eq!(
        (&tokens["accounts"], &tokens["holds"]),
        (&8.into(), &1.into())
    );
    let system = |name: &str| tokens["system"][name]["fog"].clone();
    assert_eq!(
        (system("stake"), system("unbonding")),
        ("8200".into(), "100".into())
    );
    let proposals = get("/api/v1/governance");
    let states = proposals["items"].as_array().unwrap().iter();
    let states: Vec<&str> = states.map(|p| p["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["open", "passed", "passed", "executed", "defeated"]);

    // A seed of another folder beside it: twice, and then taken away.
    let order = json!({"name": "seed", "scope": "look read-work submit operate", "days": 1});
    let (status, made) = ask(&origin, "POST /api/v1/me/tokens", token, &order);
    assert_eq!(status, 201, "{made}");
    let file = home.path().join("token");
    std::fs::write(&file, made["token"].as_str().unwrap()).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, private).unwrap();
    let file = file.to_str().unwrap();
    let args = [
        "seed",
        "--api",
        &origin,
        "--token-file",
        file,
        "--ns",
        "demo",
        "--json",
    ];
    let few = ["--devices", "2", "--mixnodes", "1", "--tasks", "3"];
    for (made, before) in [(3, 0), (0, 3)] {
        let seed = Shown::start(home.path(), &[&args[..], &few].concat());
        assert_eq!(seed.facts["nodes"]["made"], made, "{}", seed.facts);
        for what in ["nodes", "tasks"] {
            assert_eq!(seed.facts[what]["there before"], before);
        }
        seed.end();
    }
    let mut removing = Command::new(BETANET);
    removing.args(args).arg("--remove");
    removing.env("XDG_DATA_HOME", home.path().join("data"));
    let removed = removing.output().unwrap();
    assert_eq!(code(&removed), 0, "{}", text(&removed.stderr));
    let told: Value = serde_json::from_slice(&removed.stdout).unwrap();
    assert_eq!(told["nodes"]["removed"], 3, "{told}");
    let all = items(&origin, "/api/v1/nodes?org=simulated&", token, 3);
    assert_eq!(all.len(), 115);
    demo.end();
    let left = std::fs::read_dir(home.path()).unwrap().flatten();
    let left: Vec<String> = left
        .map(|e| e.file_name().to_string_lossy().into())
        .collect();
    assert!(left.iter().all(|n| n == "token" || n == "data"), "{left:?}");
}
