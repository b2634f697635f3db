//! The README's recipe by which two people trade a task for tokens, run from the README's own text.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::*;

/// The line that the recipe's block comes after.
const TITLE: &str = "Two people trade a task.";
/// Longest time for all of it, as a new user has.
const LIMIT: Duration = Duration::from_secs(600);
/// A program that does nothing: it ends at once.
const HELLO: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x05\x03\x01\0\x01\
    \x07\x13\x02\x06_start\0\0\x06memory\x02\0\x0a\x04\x01\x02\0\x0b";

/// The commands of the block, each in one line, without comments.
fn commands() -> Vec<String> {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, after) = readme.split_once(TITLE).unwrap();
    let (_, block) = after.split_once("```text\n").unwrap();
    let (block, _) = block.split_once("\n```").unwrap();
    let whole = block.replace("\\\n", " ");
    let command = |line: &str| {
        let command = line.split(" # ").next().unwrap_or_default();
        command.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let lines = whole.lines().map(command);
    lines.filter(|line| !line.is_empty()).collect()
}

/// A process in a terminal of its own.
struct Terminal {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A user with an empty folder, the programs in the path, and what was printed so far in place of the README's `…`.
struct User {
    home: tempfile::TempDir,
    programs: PathBuf,
    words: BTreeMap<&'static str, String>,
    terminals: Vec<Terminal>,
    exported: BTreeMap<String, String>,
}

impl User {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let programs = home.path().join("programs");
        std::fs::create_dir(&programs).unwrap();
        // The other programs are commands of this one too.
        for (name, first) in [
            ("betanet", ""),
            ("coordinator", "coordinator"),
            ("worker", "worker"),
        ] {
            let file = programs.join(name);
            let text = format!("#!/bin/sh\nexec '{BETANET}' {first} \"$@\"\n");
            std::fs::write(&file, text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&file, mode).unwrap();
        }
        std::fs::write(home.path().join("hello.wasm"), HELLO).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = port.local_addr().unwrap().port().to_string();
        Self {
            home,
            programs,
            words: [("8460", port)].into(),
            terminals: Vec::new(),
            exported: BTreeMap::new(),
        }
    }

    /// A command with what is known in place of its words.
    fn shell(&self, line: &str) -> Command {
        let mut line = line.to_owned();
        for (word, value) in &self.words {
            line = line.replace(word, value);
        }
        assert!(!line.contains('…'), "{line}");
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("bash");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BETANET_") {
                command.env_remove(name);
            }
        }
        command
            .args(["-euo", "pipefail", "-c", &format!("exec {line}")])
            .current_dir(self.home.path())
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .env("XDG_DATA_HOME", self.home.path().join("data"))
            .envs(&self.exported);
        command
    }

    /// Runs a command that ends, and returns what it printed.
    fn run(&self, line: &str) -> String {
        let out = self.shell(line).output().unwrap();
        assert_eq!(code(&out), 0, "{line}: {}", text(&out.stderr));
        text(&out.stdout)
    }

    /// Starts a command that goes on.
    fn start(&mut self, line: &str) {
        let mut child = self.shell(line).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (told, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = told.send(line);
            }
        });
        self.terminals.push(Terminal { child, lines });
    }

    /// The first word with this beginning that the last process prints.
    fn printed(&self, beginning: &str) -> String {
        let lines = &self.terminals.last().unwrap().lines;
        loop {
            let line = lines.recv_timeout(LIMIT).unwrap();
            if let Some(word) = line.split(' ').find(|w| w.starts_with(beginning)) {
                return word.to_owned();
            }
        }
    }

    fn key(&self, file: &str) -> String {
        let shown = self.run(&format!("betanet id show --json --key {file}"));
        let facts: Value = serde_json::from_str(&shown).unwrap();
        facts["public_key"].as_str().unwrap().to_owned()
    }

    /// Available FOG of a key's account, as text.
    fn available(&self, line: &str) -> f64 {
        let said = self.run(line);
        let line = said.lines().find(|l| l.starts_with("available")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// What the comments say of the genesis: one and two sign and coordinate; 1 for each, 10 for Bob, 100 for Alice.
    fn write_genesis(&self, file: &str) {
        let [one, two, alice, bob] =
            ["one", "two", "alice", "bob"].map(|name| self.key(&format!("{name}.pem")));
        let mut text = format!(
            "name = \"trade\"\ncap = 1000\nbase = 0\nhalving = 1\ntreasury = 0\n\
             signers = [\"{one}\", \"{two}\"]\ncoordinators = [\"{one}\", \"{two}\"]\n"
        );
        for (key, amount) in [(one, 1), (two, 1), (bob, 10), (alice, 100)] {
            text += &format!("[[alloc]]\nkey = \"{key}\"\namount = {amount}\n");
        }
        std::fs::write(self.home.path().join(file), text).unwrap();
    }
}

#[test]
fn two_people_trade_a_task_for_tokens_by_the_readmes_own_commands() {
    let begun = Instant::now();
    let mut user = User::new();
    let lines = commands();
    let mut steps = Vec::new();
    for line in &lines {
        let words: Vec<&str> = line.split(' ').collect();
        steps.push(words[..words.len().min(3)].join(" "));
        match words[..] {
            ["betanet", "id", "new", ..] => {
                user.run(line);
                for name in ["bob", "one", "two"] {
                    user.run(&line.replace("alice", name));
                }
                user.words.insert("ALICEHEX", user.key("alice.pem"));
                user.words.insert("BOBHEX", user.key("bob.pem"));
            }
            ["betanet", "ledger", "genesis", file, ..] => {
                user.write_genesis(file);
                user.run(line);
            }
            ["coordinator", ..] => {
                user.start(line);
                let peer = user.printed("bnp1");
                user.words.insert("bnp1…", peer);
            }
            ["betanet", "node", "token", ..] => {
                let said = user.run(line);
                let token = said.split_whitespace().find(|w| w.starts_with("bnj1"));
                user.words.insert("bnj1…", token.unwrap().to_owned());
            }
            ["worker", ..] => {
                user.start(line);
                // Its key is there once it has joined.
                user.printed("");
                user.words.insert("WORKERHEX", user.key("./worker/key.pem"));
            }
            ["export", ..] => {
                for pair in &words[1..] {
                    let (name, value) = pair.split_once('=').unwrap();
                    let value = user.words.get(value).cloned();
                    let value = value.unwrap_or_else(|| {
                        let (_, given) = pair.split_once('=').unwrap();
                        given.to_owned()
                    });
                    user.exported.insert(name.to_owned(), value);
                }
            }
            ["betanet", "token", "balance", ..] => {
                // The pay comes a few seconds later.
                while user.available(line) == 0.0 {
                    assert!(begun.elapsed() < LIMIT, "the worker is not paid");
                }
            }
            _ => drop(user.run(line)),
        }
    }
    assert_eq!(
        steps,
        [
            "betanet id new",
            "betanet ledger genesis",
            "coordinator --state ./fog",
            "betanet node token",
            "worker --token bnj1…",
            "export BETANET_COORDINATOR=bnp1… BETANET_LEDGER=bnp1…",
            "betanet token open",
            "betanet task run",
            "betanet token balance",
        ]
    );
    // The worker has its pay, and Alice the rest of the FOG that was held.
    let paid = user.available("betanet token balance --key ./worker/key.pem");
    let rest = user.available("betanet token balance --key ./alice.pem");
    assert!(paid > 0.0 && paid < 1.0, "{paid}");
    assert!(rest > 99.0 && rest < 100.0, "{rest}");
    assert!(rest + paid < 100.0, "{rest} and {paid}");
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
}
