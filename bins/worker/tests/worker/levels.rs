//! Privacy levels, with all nodes as processes: a network with a mix, a coordinator, a worker, and a user of `betanet task run`.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use betanet_fog_client::Blob;
use betanet_fog_worker::programs::WORDS;
use serde_json::Value;

use crate::process::{Worker, binary, program};

/// Longest wait for a question of the coordinator.
const ASKED: Duration = Duration::from_secs(90);
/// Addresses beside those of the network's own nodes, which are 127.11.0.1 and on.
const COORDINATOR: &str = "127.245.0.1";
const NODE: &str = "127.246.0.1";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A process that is stopped when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A network with seven relays of the mix, and a coordinator that is part of it.
struct World {
    home: tempfile::TempDir,
    /// The coordinator's peer string.
    coordinator: String,
    running: Option<Running>,
}

impl World {
    fn start() -> Self {
        let free = TcpListener::bind("127.11.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port().to_string();
        drop(free);
        let mut this = Self {
            home: tempfile::tempdir().unwrap(),
            coordinator: String::new(),
            running: None,
        };
        let new = ["network", "new", "net", "--relays", "1"];
        this.good(&[&new[..], &["--mixnodes", "7", "--port", &port]].concat());
        this.good(&["network", "up", "net", "--detach"]);
        this.good(&["id", "new", "--key", "user.pem"]);
        let user = this.good(&["id", "show", "--key", "user.pem", "--json"]);
        let user: Value = serde_json::from_str(&user).unwrap();
        let key = user["public_key"].as_str().unwrap();
        let mut command = this.command("coordinator", &["--json", "--state", "coordinator"]);
        command
            .args(["--listen", &format!("{COORDINATOR}:0")])
            .args(["--dial-from", COORDINATOR, "--network", "net/NETWORK.toml"])
            .args(["--operator", key, "--user", &format!("lab={key}")])
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        this.running = Some(Running(child));
        out.read_line(&mut line).unwrap();
        let facts: Value = serde_json::from_str(&line).unwrap();
        this.coordinator = facts["peer"].as_str().unwrap().to_owned();
        std::fs::write(this.home.path().join("words.wasm"), WORDS).unwrap();
        std::fs::write(this.home.path().join("book"), "the fog and the sea\n").unwrap();
        this
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(binary(program));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BETANET_") {
                command.env_remove(name);
            }
        }
        command
            .args(args)
            .env("XDG_DATA_HOME", self.home.path().join("client"))
            .current_dir(self.home.path());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command("betanet", args).output().unwrap()
    }

    /// Runs what has to succeed. Returns what it printed.
    fn good(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
        text(&out.stdout)
    }

    /// Counts the words of a file by a task.
    fn count(&self, conditions: &[&str]) -> Output {
        self.task(conditions, &["count", "in/book"])
    }

    fn task(&self, conditions: &[&str], args: &[&str]) -> Output {
        let run = ["task", "run", "words.wasm", "--ns", "lab", "--watch"];
        let fog = ["--coordinator", &self.coordinator, "--key", "user.pem"];
        let program = ["--input", "in/book=book", "--"];
        self.run(&[&run[..], &fog, conditions, &program, args].concat())
    }

    fn token(&self) -> String {
        let token = ["node", "token", "--kind", "compute", "--json"];
        let fog = ["--coordinator", &self.coordinator, "--key", "user.pem"];
        let token: Value = serde_json::from_str(&self.good(&[&token[..], &fog].concat())).unwrap();
        token["token"].as_str().unwrap().to_owned()
    }

    fn network(&self) -> String {
        let file = self.home.path().join("net/NETWORK.toml");
        file.to_str().unwrap().to_owned()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.running.take());
        let _ = self.run(&["network", "down", "net"]);
    }
}

/// Waits until the worker has answered a question over so many relays.
fn asked(worker: &Worker, relays: &str) -> Value {
    let began = Instant::now();
    loop {
        let status = worker.status();
        if status["questions"]["answered"][relays].as_u64() > Some(0) {
            return status;
        }
        assert!(began.elapsed() < ASKED, "{status}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

const COUNTED: &str = "and 1\nfog 1\nsea 1\nthe 2\n";

#[test]
fn a_worker_proves_its_level_runs_private_tasks_and_gives_blobs_of_public_ones_to_peers() {
    let world = World::start();
    let network = world.network();
    let mut worker = Worker::new("one");
    let token = world.token();
    let listen = format!("{NODE}:0");
    let part = ["--network", &network, "--listen", &listen];
    let level = ["--dial-from", NODE, "--level", "private"];
    let facts = worker.start(&[&["--token", &token][..], &part, &level].concat());
    assert_eq!(facts["level"], "private");
    let peer = facts["listening"]["peer"].as_str().unwrap().to_owned();
    let status = asked(&worker, "3");
    assert_eq!(status["announced"]["relay"], 1_000_000, "{status}");
    assert!(status["questions"]["answered_ms"].as_u64() > Some(crate::now_ms() - 600_000));
    // The answer is on its way back, and the task may come before it.
    let over = ["--network", &network, "--mix", "3", "--privacy", "private"];
    let began = Instant::now();
    let counted = loop {
        let counted = world.count(&over);
        let said = text(&counted.stderr);
        if counted.status.success() {
            break text(&counted.stdout);
        }
        assert!(said.contains("privacy_unavailable"), "{said}");
        assert!(began.elapsed() < ASKED, "{said}");
    };
    assert_eq!(counted, COUNTED);
    let status = worker.status();
    assert_eq!(status["counts"]["returned"], 1, "{status}");
    // The program, and the book.
    assert_eq!(status["counts"]["fetched"], 2, "{status}");
    let all = worker.metrics();
    let answered = &status["questions"]["answered"];
    for line in [
        "level_relays 3".to_owned(),
        format!("questions_answered_total{{relays=\"3\"}} {}", answered["3"]),
        format!("questions_answered_total{{relays=\"5\"}} {}", answered["5"]),
    ] {
        let line = format!("betanet_worker_{line}\n");
        assert!(all.contains(&line), "{line}: {all}");
    }
    assert_eq!(all.matches("# EOF").count(), 1, "{all}");
    // Those of a private task are not for others to find: that they are here would tell where it ran.
    let name = facts["name"].as_str().unwrap();
    let digest = Blob::from(WORDS.to_vec());
    let digest: String = digest.digest().iter().map(|b| format!("{b:02x}")).collect();
    let url = format!("bar://{name}/fog/1/blob/{digest}");
    let get = ["get", &url, "--peer", &peer, "-o", "module"];
    let none = world.run(&get);
    let said = text(&none.stderr);
    assert!(
        none.status.code() == Some(1) && said.contains("404"),
        "{said}"
    );
    let counted = world.count(&[]);
    assert_eq!(text(&counted.stdout), COUNTED, "{}", text(&counted.stderr));
    world.good(&get);
    assert!(std::fs::read(world.home.path().join("module")).unwrap() == WORDS);
    // Nobody has the level secret.
    let over = ["--network", &network, "--mix", "7", "--mix-cover", "10"];
    let secret = ["--privacy", "secret", "--patience", "1"];
    let refused = world.count(&[&over[..], &secret].concat());
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let words = "no node or path serves the task's level now";
    assert!(
        said.contains("privacy_unavailable") && said.contains(words),
        "{said}"
    );
}

#[test]
fn confidential_and_secret_tasks_run_and_the_log_has_nothing_of_a_secret_one() {
    let world = World::start();
    let network = world.network();
    let mut worker = Worker::new("one");
    let token = world.token();
    let listen = format!("{NODE}:0");
    let config = world.home.path().join("worker.toml");
    let all = "debug,betanet_fog_worker=trace,betanet_fog_client=trace,betanet_sandbox=trace";
    let settings = format!("[worker]\nstate = \"state\"\norg = \"one\"\nlog = \"{all}\"\n");
    std::fs::write(&config, settings).unwrap();
    let config = ["--config", config.to_str().unwrap()];
    let part = ["--network", &network, "--listen", &listen];
    let level = ["--dial-from", NODE, "--level", "secret"];
    let facts = worker.start(&[&config[..], &["--token", &token], &part, &level].concat());
    assert_eq!(facts["level"], "secret");
    asked(&worker, "7");
    let run = |relays: &str, privacy: &str, args: &[&str]| {
        let over = ["--network", &network, "--mix", relays, "--mix-cover", "20"];
        let began = Instant::now();
        loop {
            let ran = world.task(&[&over[..], &["--privacy", privacy]].concat(), args);
            let said = text(&ran.stderr);
            if !said.contains("privacy_unavailable") {
                return ran;
            }
            assert!(began.elapsed() < ASKED, "{said}");
        }
    };
    let count = ["count", "in/book"];
    for (n, (relays, privacy)) in [("5", "confidential"), ("7", "secret")]
        .into_iter()
        .enumerate()
    {
        let ran = run(relays, privacy, &count);
        assert_eq!(text(&ran.stdout), COUNTED, "{}", text(&ran.stderr));
        assert_eq!(worker.status()["counts"]["returned"], n as u64 + 1);
    }
    let failed = run("7", "secret", &["exit", "3"]);
    assert_eq!(failed.status.code(), Some(3), "{}", text(&failed.stderr));
    let log = worker.log();
    assert!(log.contains("the node has joined"), "{log}");
    let secret = [text(&failed.stderr)];
    let id = secret[0].lines().next().unwrap();
    assert_eq!(id.len(), 64, "{secret:?}");
    let lines = log.lines().filter(|line| {
        let of = [
            "betanet_fog_worker",
            "betanet_fog_client",
            "betanet_sandbox",
        ];
        of.iter().any(|name| line.contains(name))
    });
    for line in lines {
        assert!(!line.contains(id), "{line}");
        assert!(
            !line.contains("in/book") && !line.contains("words"),
            "{line}"
        );
        assert!(!line.contains("fence") && !line.contains("exit"), "{line}");
    }
    // Of both secret tasks no receipt is kept, and of the other one is.
    assert_eq!(worker.receipts().len(), 1);
    let fog = ["--coordinator", &world.coordinator, "--key", "user.pem"];
    let listed = world.good(&[&["task", "ps", "--json"][..], &fog].concat());
    assert!(!listed.contains(id), "{listed}");
}

#[test]
fn a_level_without_a_listener_in_a_network_is_a_usage_error() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("w.toml");
    let check = |args: &[&str], text: &str| {
        std::fs::write(&file, text).unwrap();
        let mut command = program();
        command.arg("check").arg("--config").arg(&file).args(args);
        let out = command.current_dir(home.path()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        (out.status.code().unwrap(), said)
    };
    let own = "[worker]\nstate = \"state\"\norg = \"acme\"\n";
    for (args, table, parts) in [
        (
            &["--level", "private"][..],
            "",
            &["level", "--network", "--listen"][..],
        ),
        (
            &["--level", "private", "--listen", "127.0.0.1:0"],
            "",
            &["level", "--network"],
        ),
        (&["--listen", "127.0.0.1:0"], "", &["--network"]),
        (&["--level", "hidden"], "", &["hidden", "confidential"]),
        (
            &["--dial-from", "127.0.0.1"],
            "",
            &["dial_from", "--listen"],
        ),
        (
            &[],
            "[listener]\nadvertise = [\"a:1\"]\n",
            &["listener.advertise", "--listen"],
        ),
        (
            &[],
            "[mesh]\norg = \"other\"\n",
            &["mesh.org", "table [worker]"],
        ),
        (&[], "[wroker]\ntoken = \"bnj1secret\"\n", &["wroker"]),
    ] {
        let (code, said) = check(args, &format!("{own}{table}"));
        assert_eq!(code, 2, "{args:?} {table}: {said}");
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("bnj1secret"), "{said}");
    }
    let (code, said) = check(&[], own);
    assert_eq!(code, 0, "{said}");
    // The tables of a listener, in a network without a mix.
    let network = "../../dist/NETWORK.toml";
    let network = Path::new(env!("CARGO_MANIFEST_DIR")).join(network);
    let tables = format!(
        "[listener]\nlisten = [\"127.0.0.1:8470\"]\n[mesh]\nnetwork = \"{}\"\n",
        network.display()
    );
    let text = format!("{own}{tables}");
    let (code, said) = check(&[], &text);
    assert_eq!(code, 0, "{said}");
    let (code, said) = check(&["--level", "private"], &text);
    assert!(code == 3 && said.contains("has no mix"), "{code}: {said}");
    assert!(!home.path().join("state").exists());
}
