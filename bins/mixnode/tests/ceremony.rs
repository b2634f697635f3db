//! A mix of real processes, from its keys to a file that came through it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const MIXNODE: &str = env!("CARGO_BIN_EXE_mixnode");

fn betanet() -> PathBuf {
    let binary = Path::new(MIXNODE).with_file_name("betanet");
    assert!(
        binary.exists(),
        "{} is not there: cargo build -p betanet",
        binary.display()
    );
    binary
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A process with its first line, stopped when dropped.
struct Running(Child, Value);

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        assert!(line.starts_with('{'), "{line}");
        let facts = serde_json::from_str(&line).unwrap();
        Self(child, facts)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct World {
    home: tempfile::TempDir,
    network: String,
    nodes: Vec<Value>,
    running: Vec<Running>,
}

impl World {
    fn run(&self, args: &[&str]) -> Output {
        Command::new(betanet())
            .args(args)
            .env("XDG_DATA_HOME", self.home.path().join("client"))
            .current_dir(self.home.path())
            .output()
            .unwrap()
    }

    /// Runs what has to succeed; what it printed.
    fn good(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
        text(&out.stdout)
    }

    fn bad(&self, code: i32, args: &[&str]) -> String {
        let out = self.run(args);
        assert_eq!(
            out.status.code(),
            Some(code),
            "{args:?}: {}",
            text(&out.stderr)
        );
        text(&out.stderr)
    }

    fn node(&self, name: &str) -> &Value {
        self.nodes.iter().find(|n| n["node"] == name).unwrap()
    }

    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let listener = std::net::TcpListener::bind("127.11.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        drop(listener);
        let mut this = Self {
            home,
            network: String::new(),
            nodes: Vec::new(),
            running: Vec::new(),
        };
        let made = this.good(&[
            "network",
            "new",
            "net",
            "--relays",
            "1",
            "--mixnodes",
            "3",
            "--port",
            &port,
            "--json",
        ]);
        let facts: Value = serde_json::from_str(&made).unwrap();
        this.network = facts["network"].as_str().unwrap().to_owned();
        this.nodes = facts["nodes"].as_array().unwrap().clone();
        for node in this.nodes.clone() {
            let config = PathBuf::from(node["config"].as_str().unwrap());
            let dir = config.parent().unwrap();
            let mut command = if config.ends_with("mixnode.toml") {
                let mut text = std::fs::read_to_string(&config).unwrap();
                text.push_str("[accounts]\nkeep = true\nevery = 1\n");
                std::fs::write(&config, text).unwrap();
                let mut command = Command::new(MIXNODE);
                command.args(["--json", "--config", config.to_str().unwrap()]);
                command
            } else {
                // What `gateway --config` does, by the binary that is at hand.
                let address = node["address"].as_str().unwrap();
                let role = if node["seed"] == true {
                    "seed"
                } else {
                    "gateway"
                };
                let mut command = Command::new(betanet());
                command.arg("serve").arg(dir.join("files"));
                command.args(["--json", "--listen", address, "--role", role]);
                command.args(["--dial-from", address.split(':').next().unwrap()]);
                command.args(["--per-address", "64", "--network", &this.network]);
                command.arg("--key").arg(dir.join("node.pem"));
                command
            };
            this.running.push(Running::start(&mut command));
        }
        this
    }
}

/// A ledger pays a relay for the bytes that it and its peer signed.
fn relays_are_paid(world: &World) {
    let list: Value =
        serde_json::from_str(&world.good(&["pay", "evidence", "evidence", "--json"])).unwrap();
    let account = &list["accounts"][0];
    let fact = |name: &str| account[name].as_str().unwrap().to_owned();
    let (relay, peer) = (fact("relay"), fact("from"));
    let key_of = |name: &str| {
        let mut nodes = world.nodes.iter();
        let node = nodes.find(|n| n["name"] == name).unwrap();
        let config = PathBuf::from(node["config"].as_str().unwrap());
        let key = config.with_file_name("node.pem");
        key.to_str().unwrap().to_owned()
    };
    let [relay_key, peer_key] = [&relay, &peer].map(|name| key_of(name));
    let public = |key: &str| {
        let shown = world.good(&["id", "show", "--json", "--key", key]);
        let facts: Value = serde_json::from_str(&shown).unwrap();
        facts["public_key"].as_str().unwrap().to_owned()
    };
    for name in ["lead.pem", "second.pem"] {
        world.good(&["id", "new", "--key", name]);
    }
    let signers = ["lead.pem", "second.pem"].map(public);
    let genesis = format!(
        "name = \"relays\"\ncap = 1000000\nbase = 0\nhalving = 1000\ntreasury = 0\nsigners = {signers:?}\n\
         [params]\nmin_bond = 1000000\n[[alloc]]\nkey = \"{}\"\namount = 20\nnode = true\n[[alloc]]\nkey = \"{}\"\namount = 50\nnode = true\n",
        public(&relay_key),
        public(&peer_key)
    );
    std::fs::write(world.home.path().join("ledger.toml"), genesis).unwrap();
    world.good(&["ledger", "genesis", "ledger.toml", "-o", "GENESIS"]);
    let mut command = Command::new(betanet());
    command.args(["coordinator", "--json", "--key", "lead.pem"]);
    command.args(["--state", "books", "--listen", "127.0.0.1:0"]);
    command.args(["--operator", &signers[0], "--economy", "GENESIS"]);
    command.args(["--economy-head", "1", "--economy-signer", "second.pem"]);
    let books = Running::start(command.current_dir(world.home.path()));
    let ledger = books.1["peer"].as_str().unwrap();
    let ask = |args: &[&str], key: &str| {
        let ledger = ["--ledger", ledger, "--genesis", "GENESIS", "--key", key];
        world.run(&[args, &ledger, &["--json"]].concat())
    };
    let until = |args: &[&str], key: &str| {
        for _ in 0..300 {
            let out = ask(args, key);
            if out.status.success() {
                return serde_json::from_slice::<Value>(&out.stdout).unwrap();
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("{args:?}: {}", text(&ask(args, key).stderr));
    };
    let available = |name: &str| {
        let shown = until(&["token", "balance", name], &peer_key);
        let fog = shown["fog_micro"]["available"].as_str().unwrap();
        fog.parse::<u64>().unwrap()
    };
    assert_eq!(available(&peer), 50_000_000);
    let hold = [
        "token", "hold", "20", "--to", &relay, "--price", "1", "--wait",
    ];
    let held = until(&hold, &peer_key);
    let held = held["hold"].as_str().unwrap();
    // The fee of the request is paid, and the hold is not there to be spent.
    assert_eq!(available(&peer), 29_999_900);
    let meter = ["token", "meter", "evidence", "--hold", held, "--wait"];
    // Only the payee collects, and by default no day that still runs.
    let other = ask(&meter, &peer_key);
    assert!(text(&other.stderr).contains("it is for"), "{other:?}");
    let early = ask(&meter, &relay_key);
    assert!(
        text(&early.stderr).contains("a day that has ended"),
        "{early:?}"
    );
    let day = account["period"].to_string();
    let meter = [&meter[..], &["--day", &day]].concat();
    let paid = until(&meter, &relay_key);
    // The evidence has a record a day and peer: the one that is shown.
    let bytes = paid["bytes"].as_u64().unwrap();
    assert_eq!(paid["bytes"], account["bytes"]);
    let due = (bytes * 1_000_000 / (1 << 20)).min(20_000_000);
    assert!(due > 0);
    assert_eq!(paid["fog_micro"], due.to_string());
    assert_eq!(available(&relay), 20_000_000 + due);
    assert_eq!(available(&peer), 49_999_900 - due);
    // The day is paid once, and a second hold is not ended by it.
    let again = until(&hold, &peer_key);
    let again = again["hold"].as_str().unwrap();
    let meter = ["token", "meter", "evidence", "--hold", again, "--day", &day];
    let twice = ask(&meter, &relay_key);
    assert!(text(&twice.stderr).contains("not paid yet"), "{twice:?}");
    // Stake is weight in the directory. Relays that are not on the ledger have the least.
    until(&["stake", "bond", "10", "--wait"], &relay_key);
    let written = until(&["stake", "standing", "-o", "standing.toml"], &peer_key);
    assert_eq!(written["nodes"], 1);
    let weights = weights(world);
    assert_eq!(weights.len(), 3);
    for (name, weight) in weights {
        // 65 535 × (0.5 × 0.1 + 0.2 × ln(1 + 10) / 20), rounded.
        assert_eq!(weight, if name == relay { 4_848 } else { 1 }, "{name}");
    }
}

/// The weights of the relays in a directory that is built with the ratings of a file.
fn weights(world: &World) -> Vec<(String, u64)> {
    let network = &world.network;
    let build = ["mix", "directory", "build", "--network", network];
    let with = ["--beacon-key", "net/keys/beacon.key", "--relays", "3"];
    let out = ["--standing", "standing.toml", "-o", "w.rec"];
    world.good(&[&build[..], &with, &out].concat());
    let mut join = vec!["mix", "directory", "join", "--network", network];
    let files: Vec<String> = (1..=5).map(|n| format!("w.sig{n}")).collect();
    for (n, out) in (1..).zip(&files) {
        let key = format!("net/keys/maintainer{n}.pem");
        let sign = ["mix", "directory", "sign", "w.rec", "--key", &key];
        world.good(&[&sign[..], &["-o", out]].concat());
        join.push(out);
    }
    world.good(&[&join[..], &["-o", "w.dir"]].concat());
    let show = ["mix", "directory", "show", "w.dir", "--network", network];
    let shown = world.good(&[&show[..], &["--json"]].concat());
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let relays = shown["relays"].as_array().unwrap().iter();
    let one = |r: &Value| {
        let name = r["name"].as_str().unwrap().to_owned();
        (name, r["weight"].as_u64().unwrap())
    };
    relays.map(one).collect()
}

/// The mixnodes countersign what they forward for each other, and the evidence is good.
fn relays_settle(world: &World) {
    let mixes = world.nodes.iter().filter(|n| {
        let config = n["config"].as_str().unwrap();
        config.ends_with("mixnode.toml")
    });
    let admins: Vec<&str> = mixes.map(|n| n["admin"].as_str().unwrap()).collect();
    let settled = (0..200).find_map(|_| {
        let one = admins.iter().find(|admin| {
            let args = [
                "pay", "accounts", "--admin", admin, "--json", "-o", "evidence",
            ];
            let list: Value = serde_json::from_str(&world.good(&args)).unwrap();
            list["evidence"].as_u64().unwrap() > 0
        });
        if one.is_none() {
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
        one.copied()
    });
    let settled = settled.unwrap();
    relays_are_paid(world);
    let good = world.good(&["pay", "evidence", "evidence"]);
    assert!(good.contains("both signatures of each are good"), "{good}");
    let shown = world.good(&["pay", "accounts", "--admin", settled]);
    assert!(shown.contains(" settled"), "{shown}");
    let path = world.home.path().join("evidence");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    world.bad(3, &["pay", "evidence", "evidence"]);
}

#[test]
fn a_directory_is_made_signed_joined_and_published_and_a_file_comes_through_the_mix() {
    let world = World::start();
    let network = &world.network;
    let url = format!(
        "bar://{}/hello.txt",
        world.node("relay1")["name"].as_str().unwrap()
    );
    let through = ["get", "--network", network, "--mix", "3", &url];
    let none = world.bad(1, &through);
    assert!(
        none.contains("has a directory of relays for epoch"),
        "{none}"
    );
    // The beacon's holders make it together: any two of three, but not one.
    world.good(&[
        "mix",
        "beacon",
        "split",
        "--beacon-key",
        "net/keys/beacon.key",
        "--threshold",
        "2",
        "--shares",
        "3",
        "-o",
        "shares",
    ]);
    let epoch = shown_epoch(&none);
    let part = |n: u8| {
        let share = format!("shares/{n}");
        let signed = world.good(&[
            "mix", "beacon", "sign", "--share", &share, "--epoch", &epoch,
        ]);
        signed.trim().to_owned()
    };
    let join = [
        "mix",
        "beacon",
        "join",
        "--network",
        network,
        "--epoch",
        &epoch,
    ];
    let alone = world.bad(3, &[&join[..], &[&part(1)]].concat());
    assert!(alone.contains("too few of them"), "{alone}");
    let beacon = world.good(&[&join[..], &[&part(3), &part(1)]].concat());
    let together = world.good(&[
        "mix",
        "directory",
        "build",
        "--network",
        network,
        "--beacon",
        beacon.trim(),
        "--relays",
        "3",
        "-o",
        "together.rec",
    ]);
    assert!(together.contains("3 relays"), "{together}");
    let built = world.good(&[
        "mix",
        "directory",
        "build",
        "--network",
        network,
        "--beacon-key",
        "net/keys/beacon.key",
        "--relays",
        "3",
        "-o",
        "d.rec",
    ]);
    assert!(built.contains("3 relays"), "{built}");
    let mut signed = Vec::new();
    for n in 1..=5 {
        let (key, out) = (format!("net/keys/maintainer{n}.pem"), format!("d.sig{n}"));
        world.good(&[
            "mix",
            "directory",
            "sign",
            "d.rec",
            "--key",
            &key,
            "-o",
            &out,
        ]);
        signed.push(out);
    }
    let join = |files: &[String], out: &str| {
        let mut args = vec!["mix", "directory", "join", "--network", network, "-o", out];
        args.extend(files.iter().map(String::as_str));
        world.run(&args)
    };
    let few = join(&signed[..4], "d.few");
    assert_eq!(few.status.code(), Some(3));
    assert!(text(&few.stderr).contains("signed by 4 of the maintainers, where 5 are needed"));
    assert!(join(&signed, "d.dir").status.success());
    let published = world.good(&["mix", "directory", "publish", "d.dir", "--network", network]);
    assert_eq!(published.lines().filter(|l| l.ends_with(" 201")).count(), 5);
    let shown = world.good(&[
        "mix",
        "directory",
        "show",
        "d.dir",
        "--network",
        network,
        "--json",
    ]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["relays"].as_array().unwrap().len(), 3);
    assert_eq!(world.good(&through), "hello from relay1\n");
    relays_settle(&world);
    // The guard is kept.
    let guard = world.home.path().join("client/betanet/guard-testnet");
    let kept = std::fs::read_to_string(&guard).unwrap();
    let to_file = [
        "get",
        "--network",
        network,
        "--mix",
        "2",
        &url,
        "-o",
        "hello",
        "--json",
    ];
    let facts: Value = serde_json::from_str(&world.good(&to_file)).unwrap();
    assert!(facts["mix_packets"]["received"].as_u64().unwrap() > 0);
    assert_eq!(std::fs::read_to_string(&guard).unwrap(), kept);
    // One that was damaged is told, and no other one is drawn.
    std::fs::write(&guard, &kept[..kept.len() - 5]).unwrap();
    let told = world.bad(3, &through);
    assert!(told.contains("guard-testnet: damaged"), "{told}");
    std::fs::write(&guard, &kept).unwrap();
    let many = world.bad(1, &["get", "--network", network, "--mix", "4", &url]);
    assert!(
        many.contains("4 relays are asked for, and 3 count in this epoch"),
        "{many}"
    );
    let looped = world.good(&[
        "mix",
        "loop",
        "--network",
        network,
        "--seconds",
        "3",
        "--every",
        "200",
        "--loops",
        "loops",
        "--json",
    ]);
    let looped: Value = serde_json::from_str(&looped).unwrap();
    assert!(looped["back"].as_u64().unwrap() > 3, "{looped}");
    // Proofs come once the epoch is over: without them the loops say nothing, and the directory stands.
    let audit = [
        "mix",
        "audit",
        "--network",
        network,
        "--directory",
        "d.dir",
        "--loops",
        "loops",
        "--json",
    ];
    let audit: Value = serde_json::from_str(&world.good(&audit)).unwrap();
    assert_eq!(
        (&audit["layers_proved"], &audit["checked"]),
        (&3.into(), &0.into())
    );
    let relay = world.node("mix1")["name"].as_str().unwrap();
    let proof = format!("bar://{relay}/.bn/mix/proof/1");
    let early = world.bad(1, &["get", "--network", network, &proof]);
    assert!(early.contains("404"), "{early}");
}

/// The epoch that an error names.
fn shown_epoch(text: &str) -> String {
    let (_, rest) = text.split_once("for epoch ").unwrap();
    rest.chars().take_while(char::is_ascii_digit).collect()
}

#[test]
fn what_is_no_mixnode_is_said() {
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let out = Command::new(MIXNODE)
            .args(args)
            .current_dir(home.path())
            .output()
            .unwrap();
        (out.status.code().unwrap(), text(&out.stderr))
    };
    std::fs::create_dir(home.path().join("site")).unwrap();
    let basic = ["--cover", "site", "--key", "node.pem"];
    let (code, why) = run(&basic);
    assert!(
        code == 2 && why.contains("a mixnode is part of a network"),
        "{why}"
    );
    let made = Command::new(betanet())
        .args(["network", "new", "net", "--relays", "1"])
        .current_dir(home.path())
        .output()
        .unwrap();
    assert!(made.status.success());
    let listen = ["--listen", "127.0.0.1:0", "--advertise", "127.0.0.1:1"];
    let with = |more: &[&'static str]| {
        let all: Vec<&str> = basic.iter().chain(&listen).chain(more).copied().collect();
        run(&all)
    };
    let (code, why) = with(&["--network", "net/NETWORK.toml"]);
    assert!(
        code == 3 && why.contains("has no mix: its file has no [mix] part"),
        "{why}"
    );
    let (code, why) = with(&["--network", "net/NETWORK.toml", "--role", "gateway"]);
    assert!(code == 2 && why.contains("gateway"), "{why}");
    let (code, help) = {
        let out = Command::new(MIXNODE).arg("--help").output().unwrap();
        (out.status.code().unwrap(), text(&out.stdout))
    };
    assert!(
        code == 0 && help.contains("Example: mixnode --listen"),
        "{help}"
    );
}
