//! The economy of a fog with real processes: two coordinators that sign, two people who trade, a proposal, and the audit.

use std::time::{Duration, Instant};

use super::*;

/// A coordinator's process.
pub(crate) struct Coordinating {
    child: Child,
    pub(crate) facts: Value,
}

impl Drop for Coordinating {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keys, a genesis with epochs of two seconds, and a place for everything.
pub(crate) struct Town(tempfile::TempDir);

impl Town {
    pub(crate) fn new() -> Self {
        Self::with("", "")
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// A town whose ledger has a simulated past of thirty days, in the state of the coordinator `one`; and what the seed told.
    pub(super) fn with_a_past() -> (Self, Value) {
        let town = Self(tempfile::tempdir().unwrap());
        let made = town.run(&["seed", "--ledger", "past", "--json"]);
        assert_eq!(code(&made), 0, "{}", text(&made.stderr));
        let told: Value = serde_json::from_slice(&made.stdout).unwrap();
        let copy = |from: &str, to: &str| {
            std::fs::copy(town.path(from), town.path(to)).unwrap();
        };
        for name in told["keys"].as_array().unwrap() {
            let file = format!("{}.pem", name.as_str().unwrap());
            copy(&format!("past/keys/{file}"), &file);
        }
        copy("past/genesis.cbor", "GENESIS");
        let restore = ["ledger", "restore", "past", "--state", "state-one"];
        let restored = town.run(&restore);
        assert_eq!(code(&restored), 0, "{}", text(&restored.stderr));
        (town, told)
    }

    /// A town whose ledger pays for tasks.
    pub(super) fn with_a_fog() -> Self {
        let roles = "coordinators = [\"{lead}\", \"{second}\"]\n";
        let alloc =
            "[[alloc]]\nkey = \"{lead}\"\namount = 1\n[[alloc]]\nkey = \"{second}\"\namount = 1\n";
        Self::with(roles, alloc)
    }

    /// With more lines of the genesis, in which names stand for keys.
    fn with(roles: &str, alloc: &str) -> Self {
        Self::with_params(roles, "", alloc)
    }

    pub(super) fn with_params(roles: &str, params: &str, alloc: &str) -> Self {
        let town = Self(tempfile::tempdir().unwrap());
        for name in ["alice", "bob", "node", "lead", "second"] {
            let made = town.run(&["id", "new", "--key", &format!("{name}.pem")]);
            assert_eq!(code(&made), 0, "{}", text(&made.stderr));
        }
        let key = |name| town.fact(name, "public_key");
        let file = format!(
            "name = \"a town\"\nepoch_seconds = 2\ncap = 1000000\nbase = \"0.5\"\nhalving = 1000\ntreasury = 500\n\
             signers = [\"{}\", \"{}\"]\n{roles}[params]\nmin_bond = 1000000\ndeposit = 1000000\n{params}\
             [[alloc]]\nkey = \"{}\"\namount = 1000\n[[alloc]]\nkey = \"{}\"\namount = \"900.5\"\nnode = true\n{alloc}",
            key("lead"),
            key("second"),
            key("alice"),
            key("node")
        );
        let file = file.replace("{lead}", &key("lead"));
        let file = file.replace("{alice}", &key("alice"));
        let file = file.replace("{second}", &key("second"));
        std::fs::write(town.0.path().join("ledger.toml"), file).unwrap();
        let made = ["ledger", "genesis", "ledger.toml", "-o", "GENESIS"];
        let made = town.run(&made);
        assert_eq!(code(&made), 0, "{}", text(&made.stderr));
        town
    }

    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BETANET);
        command
            .args(args)
            .current_dir(self.0.path())
            .env("XDG_DATA_HOME", self.0.path().join("data"))
            .env("BETANET_GENESIS", "GENESIS");
        command
    }

    pub(super) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub(super) fn fact(&self, name: &str, fact: &str) -> String {
        let key = format!("{name}.pem");
        let shown = self.run(&["id", "show", "--json", "--key", &key]);
        let facts: Value = serde_json::from_slice(&shown.stdout).unwrap();
        facts[fact].as_str().unwrap().to_owned()
    }

    pub(crate) fn coordinate(&self, name: &str, listen: &str, more: &[&str]) -> Coordinating {
        let (key, state) = (format!("{name}.pem"), format!("state-{name}"));
        let operator = self.fact("alice", "public_key");
        let args = ["coordinator", "--json", "--key", &key, "--state", &state];
        let args = [&args[..], &["--listen", listen, "--operator", &operator]].concat();
        let economy = ["--economy", "GENESIS", "--economy-head", "1"];
        let mut child = self
            .command(&[&args[..], &economy, more].concat())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        Coordinating {
            child,
            facts: serde_json::from_str(&line).unwrap(),
        }
    }

    /// Runs a command with a key until it succeeds, and returns its facts.
    pub(crate) fn until(&self, args: &[&str]) -> Value {
        let begun = Instant::now();
        loop {
            let out = self.run(&[args, &["--json"]].concat());
            if code(&out) == 0 {
                return serde_json::from_slice(&out.stdout).unwrap();
            }
            let said = text(&out.stderr);
            assert!(
                begun.elapsed() < Duration::from_secs(90),
                "{args:?}: {said}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub(crate) fn refused(&self, args: &[&str], want: i32) -> String {
        let out = self.run(args);
        let said = text(&out.stderr);
        assert_eq!(code(&out), want, "{args:?}: {said}");
        said
    }
}

/// The arguments of a request to a ledger as the owner of a key.
pub(super) fn with<'a>(args: &[&'a str], ledger: &'a str, key: &'a str) -> Vec<&'a str> {
    [args, &["--ledger", ledger, "--key", key]].concat()
}

#[test]
fn two_people_trade_a_proposal_is_made_and_a_flipped_byte_is_found() {
    let town = Town::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = free.local_addr().unwrap().to_string();
    drop(free);
    let lead = town.coordinate("lead", &listen, &[]);
    let leader = lead.facts["peer"].as_str().unwrap().to_owned();
    let until = |args: &[&str], key: &str| town.until(&with(args, &leader, key));
    let refused = |args: &[&str], key: &str, want| town.refused(&with(args, &leader, key), want);
    // One of two signers makes nothing final.
    let early = refused(&["token", "balance"], "alice.pem", 1);
    assert!(early.contains("no final head"), "{early}");
    let second = town.coordinate("second", "127.0.0.1:0", &["--economy-leader", &leader]);

    // Two people trade.
    let balance = until(&["token", "balance"], "alice.pem");
    assert_eq!(balance["fog_micro"]["available"], "1000000000");
    let none = refused(&["token", "send", "1", "--to", "treasury"], "bob.pem", 1);
    assert!(none.contains("UNKNOWN_SIGNER"), "{none}");
    let (bob, bob_key) = (town.fact("bob", "name"), town.fact("bob", "public_key"));
    until(&["token", "open", &bob_key, "--wait"], "alice.pem");
    let id = "11".repeat(16);
    let send = ["token", "send", "2.5", "--to", &bob, "--id", &id, "--wait"];
    let sent = until(&send, "alice.pem");
    assert_eq!(sent["final"], Value::Bool(true));
    // The same payment again moves nothing.
    until(&send, "alice.pem");
    let alice = town.fact("alice", "name");
    until(&["token", "send", "1", "--to", &alice, "--wait"], "bob.pem");
    let balance = until(&["token", "balance", &bob], "alice.pem");
    // Less the fee of one request.
    assert_eq!(balance["fog_micro"]["available"], "1499900");
    let poor = refused(&["token", "send", "5", "--to", &alice], "bob.pem", 1);
    assert!(poor.contains("FUNDS"), "{poor}");
    let history = until(&["token", "history"], "bob.pem");
    assert_eq!(history["transfers"].as_array().map(Vec::len), Some(2));
    // Bob paid the fee of one request: the lines are the whole balance.
    let changes = history["changes"].as_array().unwrap();
    let seen: Vec<_> = changes
        .iter()
        .map(|c| (&c["what"], &c["amount"], &c["asset"]))
        .collect();
    assert_eq!(seen, [(&"fee".into(), &"-100".into(), &0.into())]);
    // The other signer serves the same proof, and names the leader for requests.
    let follower = second.facts["peer"].as_str().unwrap();
    let read = ["token", "balance", &bob, "--ledger", follower];
    let begun = Instant::now();
    while town.until(&read)["fog_micro"]["available"] != "1499900" {
        assert!(begun.elapsed() < Duration::from_secs(60));
    }
    let told = ["token", "send", "1", "--to", &bob, "--ledger", follower];
    let told = town.refused(&[&told[..], &["--key", "alice.pem"]].concat(), 1);
    assert!(told.contains(&leader), "{told}");

    // Stake, and a proposal that waits for its day.
    until(&["stake", "bond", "800", "--wait"], "node.pem");
    let status = until(&["stake", "status"], "node.pem");
    assert_eq!(
        (&status["standing"], &status["own_micro"]),
        (&"good".into(), &"800000000".into())
    );
    let propose = ["gov", "propose", "--param", "fee_tx=200"];
    let dry = until(&[&propose[..], &["--dry-run"]].concat(), "node.pem");
    assert_eq!(dry["change"][0], "fee_tx: 100 -> 200");
    let weak = refused(&[&propose[..], &["--dry-run"]].concat(), "bob.pem", 1);
    assert!(
        weak.contains("on a copy") && weak.contains("LOW_POWER"),
        "{weak}"
    );
    let far = [&propose[..], &["--param", "vote_ms=1", "--dry-run"]].concat();
    let far = refused(&far, "node.pem", 1);
    assert!(far.contains("BOUNDS"), "{far}");
    let made = until(&[&propose[..], &["--wait"]].concat(), "node.pem");
    let pid = made["proposal"].as_str().unwrap();
    let shown = until(&["gov", "show", pid], "alice.pem");
    assert_eq!(
        (&shown["stage"], &shown["effects"][0]),
        (&"open".into(), &"fee_tx -> 200".into())
    );
    let early = refused(&["gov", "vote", pid, "for"], "node.pem", 1);
    assert!(early.contains("TOO_EARLY"), "{early}");
    let early = refused(&["gov", "execute", pid], "alice.pem", 1);
    assert!(early.contains("error: "), "{early}");
    let tally = until(&["gov", "tally", pid], "alice.pem");
    assert_eq!(tally["votes"].as_array().map(Vec::len), Some(0));
    let brake = refused(&["gov", "brake", "--pause"], "alice.pem", 1);
    assert!(brake.contains("NOT_ALLOWED"), "{brake}");

    // The audit.
    let save = |dir: &str| {
        let all = ["ledger", "save", dir];
        until(&all, "alice.pem")
    };
    let kept = until(&["ledger", "head", "-o", "kept.head"], "alice.pem");
    save("audit");
    let verify = ["ledger", "verify", "audit", "--head", "kept.head", "--json"];
    let verified: Value = serde_json::from_slice(&town.run(&verify).stdout).unwrap();
    assert!(
        verified["covered"].as_u64() >= kept["size"].as_u64(),
        "{verified}"
    );
    until(&["ledger", "proof", &bob, "-o", "bob.proof"], "alice.pem");
    let proven: Value = serde_json::from_slice(
        &town
            .run(&["ledger", "verify", "bob.proof", "--json"])
            .stdout,
    )
    .unwrap();
    assert_eq!(proven["fog_micro"], "1499900");
    for file in ["audit/journal.cbor", "bob.proof"] {
        let path = town.0.path().join(file);
        let whole = std::fs::read(&path).unwrap();
        let flips = (0..whole.len()).step_by(whole.len() / 7);
        for at in flips {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(town.0.path().join("flipped"), flipped).unwrap();
            let head = ["--head", "audit/head.cbor"];
            let out = town.run(&[&["ledger", "verify", "flipped"], &head[..]].concat());
            assert_eq!(code(&out), 6, "{file} at {at}: {}", text(&out.stdout));
        }
    }
    // Records that no head covers may be anybody's.
    let open = town.refused(&["ledger", "verify", "audit/journal.cbor"], 6);
    assert!(open.contains("no head covers"), "{open}");
    // Each part of a saved ledger counts: another genesis, a signature that is wrong, a head that is none.
    for (file, at) in [("genesis.cbor", 40), ("head.cbor", 9), ("head.cbor", 0)] {
        let path = town.0.path().join("audit").join(file);
        let whole = std::fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        let at = if at == 0 { 0 } else { whole.len() - at };
        flipped[at] ^= 1;
        std::fs::write(&path, flipped).unwrap();
        town.refused(&["ledger", "verify", "audit"], 6);
        std::fs::write(&path, whole).unwrap();
    }
    assert_eq!(code(&town.run(&["ledger", "verify", "audit"])), 0);
    // A node that shows less than this machine saw is refused.
    let apart = ["ledger", "head", "--state", "apart"];
    until(&apart, "alice.pem");
    let seen = town.0.path().join("apart/economy-seen");
    let seen = std::fs::read_dir(seen).unwrap().next().unwrap();
    let seen = seen.unwrap().path();
    let head = std::fs::read(&seen).unwrap();
    let mut larger = *betanet_log::SignedHead::from_bytes(&head).unwrap().head();
    larger.size = 1_000_000;
    std::fs::write(&seen, betanet_log::SignedHead::new(larger).to_bytes()).unwrap();
    let old = refused(&apart, "alice.pem", 1);
    assert!(old.contains("older head"), "{old}");
    // A journal that ends before a head that somebody kept.
    let whole = std::fs::read(town.0.path().join("audit/journal.cbor")).unwrap();
    let list = betanet_economy_service::body::records(&whole).unwrap();
    std::fs::write(town.0.path().join("cut"), list[..3].concat()).unwrap();
    let cut = town.refused(&["ledger", "verify", "cut", "--head", "kept.head"], 6);
    assert!(cut.contains("ends after 3"), "{cut}");

    // Killed, the leader goes on where it was.
    drop(lead);
    let _lead = town.coordinate("lead", &listen, &[]);
    let begun = Instant::now();
    let again = until(&["token", "balance", &bob], "alice.pem");
    assert_eq!(
        again["fog_micro"]["available"],
        "1499900",
        "{:?}",
        begun.elapsed()
    );
    until(
        &["token", "send", "0.5", "--to", &bob, "--wait"],
        "alice.pem",
    );
    let again = until(&["token", "balance", &bob], "alice.pem");
    assert_eq!(again["fog_micro"]["available"], "1999900");
}

#[test]
fn a_job_that_would_be_refused_holds_nothing() {
    let town = Town::with_a_fog();
    let user = format!("lab={}", town.fact("alice", "public_key"));
    let more = ["--economy-signer", "second.pem", "--user", &user];
    let lead = town.coordinate("lead", "127.0.0.1:0", &more);
    let leader = lead.facts["peer"].as_str().unwrap();
    let balance = || {
        let args = with(&["token", "balance"], leader, "alice.pem");
        let balance = town.until(&args);
        balance["fog_micro"]["available"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(balance(), "1000000000");
    std::fs::write(town.0.path().join("one.wasm"), b"\0asm\x01\0\0\0").unwrap();
    let run = |ns: &str| {
        let job = format!(
            "ns = \"{ns}\"\nname = \"two\"\n[task.one]\nmodule = \"one.wasm\"\n\
             [task.two]\nmodule = \"one.wasm\"\nafter = [\"one\"]\n"
        );
        std::fs::write(town.0.path().join("job.toml"), job).unwrap();
        let args = [
            "job",
            "run",
            "job.toml",
            "--coordinator",
            leader,
            "--escrow",
        ];
        town.run(&with(&args, leader, "alice.pem"))
    };
    let refused = run("other");
    assert_ne!(code(&refused), 0);
    assert_eq!(balance(), "1000000000", "{}", text(&refused.stderr));
    // One of hers is held: 1 FOG for each task, and a fee for each hold.
    let taken = run("lab");
    assert_eq!(code(&taken), 0, "{}", text(&taken.stderr));
    assert_eq!(balance(), "997999800");
}

#[test]
fn what_is_not_a_ledger_is_named() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    let run = |args: &[&str]| run(args, home.path(), b"");
    std::fs::write(
        at("bad.toml"),
        "name = \"x\"\ncap = 1\nbase = 0\nhalving = 1\ntreasury = 0\nsigners = []\n",
    )
    .unwrap();
    let one = run(&["ledger", "genesis", &at("bad.toml"), "-o", &at("G")]);
    assert_eq!(code(&one), 2);
    assert!(
        text(&one.stderr).contains("two signers"),
        "{}",
        text(&one.stderr)
    );
    let none = run(&["ledger", "genesis", &at("none.toml"), "-o", &at("G")]);
    assert_eq!(code(&none), 3);
    let none = run(&[
        "token",
        "balance",
        "burn",
        "--ledger",
        "x",
        "--genesis",
        &at("G"),
    ]);
    assert_eq!(code(&none), 3, "{}", text(&none.stderr));
    std::fs::write(at("G"), b"no genesis").unwrap();
    let bad = run(&[
        "token",
        "balance",
        "burn",
        "--ledger",
        "x",
        "--genesis",
        &at("G"),
    ]);
    assert_eq!(code(&bad), 2);
    assert!(
        text(&bad.stderr).contains("not a genesis"),
        "{}",
        text(&bad.stderr)
    );
    let bad = run(&[
        "coordinator",
        "--state",
        &at("s"),
        "--economy",
        &at("G"),
        "--listen",
        "127.0.0.1:0",
    ]);
    assert_eq!(code(&bad), 2, "{}", text(&bad.stderr));
    let state = at("s");
    let alone = ["coordinator", "check", "--state", &state];
    for flag in ["--economy-leader", "--economy-signer", "--economy-head"] {
        let bad = run(&[&alone[..], &[flag, "7"]].concat());
        assert_eq!(code(&bad), 2, "{flag}: {}", text(&bad.stderr));
        assert!(text(&bad.stderr).contains("genesis"), "{flag}");
    }
}
