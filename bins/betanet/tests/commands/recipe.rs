//! The recipes of the README for names and vouchers, run from its own text as a new user would.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// A folder in which a recipe is cooked, and what its commands printed.
struct Kitchen {
    home: tempfile::TempDir,
    env: BTreeMap<String, String>,
    /// What stands where the README has a shortened text.
    words: BTreeMap<&'static str, String>,
    nodes: Vec<Child>,
}

/// `gateway` is `betanet serve` with more options; the folder stands elsewhere.
const GATEWAY: &str = "#!/bin/bash
args=()
while [ $# -gt 0 ]; do
  case \"$1\" in
    --serve) dir=\"$2\"; shift 2 ;;
    *) args+=(\"$1\"); shift ;;
  esac
done
exec betanet serve \"$dir\" \"${args[@]}\" --json
";

impl Kitchen {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let bin = home.path().join("bin");
        fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(BETANET, bin.join("betanet")).unwrap();
        fs::write(bin.join("gateway"), GATEWAY).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(bin.join("gateway"), mode).unwrap();
        fs::create_dir(home.path().join("public")).unwrap();
        fs::write(home.path().join("public/file.iso"), "the whole file\n").unwrap();
        Self {
            home,
            env: BTreeMap::new(),
            words: BTreeMap::new(),
            nodes: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }

    /// A line with the words that the README shortens.
    fn whole(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (short, word) in &self.words {
            line = line.replace(short, word);
        }
        line
    }

    fn command(&self, line: &str) -> Command {
        let path = std::env::var("PATH").unwrap();
        let bin = self.path("bin");
        let mut command = Command::new("bash");
        command
            .args(["-euo", "pipefail", "-c", line])
            .current_dir(self.home.path())
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("XDG_DATA_HOME", self.path("data"))
            .envs(&self.env);
        command
    }

    /// Runs a line that has to succeed. Returns its output.
    fn run(&self, line: &str) -> String {
        let line = self.whole(line);
        assert!(!line.contains('…'), "nothing stands for a word of: {line}");
        let out = self.command(&line).output().unwrap();
        assert_eq!(code(&out), 0, "{line}: {}", text(&out.stderr));
        text(&out.stdout)
    }

    /// Starts a gateway. Returns what it prints once it listens.
    fn start(&mut self, line: &str) -> Value {
        let line = format!("exec {}", self.whole(line));
        let mut command = self.command(&line);
        let mut node = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut out = BufReader::new(node.stdout.take().unwrap());
        out.read_line(&mut said).unwrap();
        self.nodes.push(node);
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{line}: {said}"))
    }

    fn keep(&mut self, word: &'static str, value: &str) {
        self.words.insert(word, value.to_owned());
    }
}

impl Drop for Kitchen {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.kill();
            let _ = node.wait();
        }
        let _ = self.command("betanet network down ./namesnet").output();
    }
}

/// The commands of a part of the README, without their comments.
fn recipe(title: &str) -> Vec<String> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
    let readme = fs::read_to_string(file).unwrap();
    let (_, part) = readme.split_once(&format!("\n**{title}**\n")).unwrap();
    let (_, block) = part.split_once("```text\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let command = |line: &str| {
        let end = if line.trim_start().starts_with('#') {
            0
        } else {
            line.find(" # ").unwrap_or(line.len())
        };
        line[..end].trim().to_owned()
    };
    block
        .lines()
        .map(command)
        .filter(|line| !line.is_empty())
        .collect()
}

/// Takes the first command that is left, which has to begin so.
fn next(lines: &mut Vec<String>, begins: &str) -> String {
    let line = lines.remove(0);
    assert!(line.starts_with(begins), "{line:?}, where {begins:?} was");
    line
}

#[test]
fn the_recipes_for_names_and_vouchers_work_as_they_are_written() {
    let mut k = Kitchen::new();
    // Ports that are free: other tests run beside this one.
    let port = {
        let free = TcpListener::bind("127.11.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };

    let mut names = recipe("Names");
    let made = next(&mut names, "betanet network new ./namesnet ");
    k.run(&format!("{made} --port {port}"));
    k.run(&next(&mut names, "betanet network up ./namesnet --detach"));
    let export = next(&mut names, "export BETANET_NETWORK=");
    let (variable, value) = export["export ".len()..].split_once('=').unwrap();
    k.env.insert(variable.to_owned(), value.to_owned());
    k.run(&next(&mut names, "betanet id new "));
    let gateway = next(&mut names, "gateway --listen 127.0.0.1:8445 ");
    let facts = k.start(&gateway.replace("127.0.0.1:8445", "127.0.0.1:0"));
    let node = facts["name"].as_str().unwrap();
    k.run(&next(&mut names, "betanet name claim files.example "));
    for signer in ["signer1.pem", "signer2.pem"] {
        let sign = next(&mut names, "betanet name sign files.claim ");
        assert!(sign.contains(signer), "{sign}");
        k.run(&sign);
    }
    k.run(&next(&mut names, "betanet name publish files.claim"));
    let resolved = k.run(&next(&mut names, "betanet name resolve files.example"));
    assert!(resolved.contains(node), "{resolved}");
    k.run(&next(
        &mut names,
        "betanet get bar://files.example/file.iso ",
    ));
    let fetched = || fs::read_to_string(k.path("file.iso")).unwrap();
    assert_eq!(fetched(), "the whole file\n");
    fs::remove_file(k.path("file.iso")).unwrap();
    k.run(&next(&mut names, "betanet name audit"));
    assert_eq!(names, Vec::<String>::new());

    let mut pay = recipe("Vouchers");
    k.run(&next(&mut pay, "betanet id new --key ./shop.pem"));
    let mint = next(&mut pay, "betanet pay mint-init ./mint ");
    k.run(&mint);
    let gateway = next(&mut pay, "gateway --listen 127.0.0.1:8443 ");
    let facts = k.start(&gateway.replace("127.0.0.1:8443", "127.0.0.1:0"));
    k.keep("bnp1…", facts["peer"].as_str().unwrap());
    k.keep("bn1:…", facts["name"].as_str().unwrap());
    let coupon = k.run(&next(&mut pay, "betanet pay coupon 10 "));
    k.keep("bnc1…", coupon.trim());
    k.run(&next(&mut pay, "(umask 077; "));
    let new = next(&mut pay, "betanet pay new --wallet ./wallet ");
    fs::write(k.path("phrase"), k.run(&new)).unwrap();
    let learn = next(&mut pay, "betanet pay mint bnp1… ");
    k.run(&learn);
    // Each maintainer signs, and the last one's call gives the record to the ledger of names.
    let publish = next(&mut pay, "betanet pay publish ./record ");
    let publish = publish.replace("NETWORK.toml", "./namesnet/NETWORK.toml");
    let mut said = String::new();
    for n in 1..=5 {
        let key = format!("./namesnet/keys/maintainer{n}.pem");
        said = k.run(&publish.replace("./me.pem", &key));
    }
    assert!(said.contains("is final"), "{said}");
    k.run(&next(&mut pay, "betanet pay issue bnc1… "));
    k.run(&next(&mut pay, "betanet get bar://bn1:…/file.iso "));
    let fetched = fs::read_to_string(k.path("file.iso")).unwrap();
    assert_eq!(fetched, "the whole file\n");
    k.run(&next(&mut pay, "betanet pay send 3 "));
    // "A wallet that knows the mint".
    for line in [&new, &learn] {
        k.run(&line.replace("--wallet ./wallet", "--wallet ./other"));
    }
    k.run(&next(&mut pay, "betanet pay receive - --wallet ./other "));
    k.run(&next(&mut pay, "betanet pay redeem 3 --to bn1:… "));
    k.run(&next(
        &mut pay,
        "betanet pay restore ./phrase bnp1… --wallet ./again ",
    ));
    let units = |wallet: &str| {
        let line =
            format!("betanet pay balance --json --wallet {wallet} --password-file ./password");
        let balance: Value = serde_json::from_str(&k.run(&line)).unwrap();
        balance["keysets"][0]["units"].as_u64()
    };
    // Of ten, two paid for a file, three went to another wallet, and three to a balance.
    assert_eq!(units("./wallet"), Some(2));
    assert_eq!(units("./other"), Some(3));
    assert_eq!(units("./again"), Some(2));

    // Keys without a dealer: three members make a plan, and each its first message. The later rounds have a test of their own.
    let plan = next(&mut pay, "betanet pay mint-init ./plan --dkg ");
    let mut line = plan;
    for key in ["s", "a", "b", "c"] {
        let made = k.run(&format!("betanet id new --key ./{key}.pem --json"));
        let made: Value = serde_json::from_str(&made).unwrap();
        line = line.replacen("KEYHEX", made["public_key"].as_str().unwrap(), 1);
    }
    k.run(&line);
    k.run(&next(
        &mut pay,
        "betanet pay mint-round ./run --key ./a.pem ",
    ));
    let refresh = next(&mut pay, "betanet pay mint-refresh ./again ");
    assert!(refresh.contains("--member KEYHEX"), "{refresh}");
    assert_eq!(pay, Vec::<String>::new());
}
