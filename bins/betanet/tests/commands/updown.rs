//! A whole test network, started and stopped.

use std::fs;
use std::net::TcpListener;

use super::*;

pub(crate) struct Net {
    home: tempfile::TempDir,
}

impl Net {
    fn new(relays: &str, mixnodes: &str) -> Self {
        Self::with(&["--relays", relays, "--mixnodes", mixnodes])
    }

    pub(crate) fn with(more: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        // Its nodes are at 127.11.0.1 and on: a port that is free at the first of them.
        let port = TcpListener::bind("127.11.0.1:0").unwrap();
        let port = port.local_addr().unwrap().port().to_string();
        let this = Self { home };
        let args = ["network", "new", "net", "--port", &port];
        let made = this.run(&[&args[..], more].concat());
        assert_eq!(code(&made), 0, "{}", text(&made.stderr));
        assert!(text(&made.stdout).contains("betanet network up net"));
        this
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BETANET);
        command
            .args(args)
            .env("XDG_DATA_HOME", self.home.path().join("client"))
            .current_dir(self.home.path());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Folder of a mixnode that a text does not name.
    fn mixnode_other_than(&self, text: &str) -> String {
        let name = |dir: &String| {
            let key = format!("net/{dir}/node.pem");
            let shown = self.run(&["id", "show", "--key", &key, "--json"]);
            let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
            shown["name"].as_str().unwrap().to_owned()
        };
        let mut all = (1..=3).map(|n| format!("mix{n}"));
        all.find(|dir| !text.contains(&name(dir))).unwrap()
    }

    /// Processes whose command line names the folder.
    fn processes(&self) -> usize {
        let dir = self.home.path().canonicalize().unwrap().join("net");
        let dir = dir.to_str().unwrap().as_bytes();
        let names = |entry: &fs::DirEntry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line.windows(dir.len()).any(|w| w == dir)
        };
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter(names).count()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = self.run(&["network", "down", "net"]);
    }
}

#[test]
fn a_network_goes_up_carries_a_file_over_paths_and_the_mix_and_goes_down() {
    let net = Net::new("2", "3");
    let down = net.run(&["network", "status", "net"]);
    assert!(code(&down) == 1 && text(&down.stdout).contains("net is down"));
    let up = net.run(&["network", "up", "net", "--detach", "--json"]);
    assert_eq!(code(&up), 0, "{}", text(&up.stderr));
    let facts: Value = serde_json::from_slice(&up.stdout).unwrap();
    assert_eq!(facts["nodes"].as_array().unwrap().len(), 10);
    // The directory of this epoch, and that of the next.
    let directories = facts["directories"].as_array().unwrap();
    assert_eq!(directories.len(), 2);
    assert!(directories.iter().all(|d| d["relays"] == 3), "{facts}");
    let twice = net.run(&["network", "up", "net"]);
    assert!(code(&twice) == 3 && text(&twice.stderr).contains("is up already"));
    let nodes = facts["nodes"].as_array().unwrap();
    let relay = nodes.iter().find(|n| n["node"] == "relay1").unwrap();
    let url = format!(
        "bar://{}/hello.txt",
        relay["facts"]["name"].as_str().unwrap()
    );
    for way in ["--path", "--mix"] {
        let got = net.run(&["get", "--network", "net/NETWORK.toml", way, "2", &url]);
        assert_eq!(
            (code(&got), text(&got.stdout)),
            (0, "hello from relay1\n".into()),
            "{way}: {}",
            text(&got.stderr)
        );
    }
    // Its nodes have no QUIC, and nothing goes over TCP instead.
    let network = ["--network", "net/NETWORK.toml", "--mix", "2"];
    let quic = [&["get", "--transport", "quic", &url][..], &network].concat();
    let quic = net.run(&quic);
    let said = text(&quic.stderr);
    assert!(code(&quic) == 1 && said.contains("QUIC"), "{said}");
    // A refusal does not wait for the end of what is sent.
    let put = [&["put", "-", &url][..], &network].concat();
    let mut put = net.command(&put);
    put.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut put = put.spawn().unwrap();
    let mut input = put.stdin.take().unwrap();
    input.write_all(b"the first bytes\n").unwrap();
    let refused = put.wait_with_output().unwrap();
    let said = text(&refused.stderr);
    assert!(code(&refused) == 1 && said.contains("403"), "{said}");
    drop(input);
    let status = net.run(&["network", "status", "net", "--json"]);
    assert_eq!(code(&status), 0, "{}", text(&status.stdout));
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(
        (&status["up"], &status["well"]),
        (&true.into(), &true.into())
    );
    assert_eq!(status["directories"].as_array().unwrap().len(), 2);
    assert!(net.processes() > 10);
    let down = net.run(&["network", "down", "net"]);
    assert_eq!(code(&down), 0, "{}", text(&down.stderr));
    assert_eq!(net.processes(), 0);
    let again = net.run(&["network", "down", "net"]);
    assert!(code(&again) == 0 && text(&again.stdout).contains("is not up"));
    // The mixnodes draw new keys, and the mix works at once.
    let up = net.run(&["network", "up", "net", "--detach"]);
    assert_eq!(code(&up), 0, "{}", text(&up.stderr));
    let mix = ["get", "--network", "net/NETWORK.toml", "--mix", "3", &url];
    let got = net.run(&mix);
    let said = (code(&got), text(&got.stdout));
    assert_eq!(
        said,
        (0, "hello from relay1\n".into()),
        "{}",
        text(&got.stderr)
    );
    // One of three relays dies, over which all paths lead. The command says so, and ends.
    let guard = fs::read(net.home.path().join("client/betanet/guard-testnet"));
    let guard = text(&guard.unwrap());
    let dead = net.mixnode_other_than(&guard);
    let pid = fs::read_to_string(net.home.path().join(format!("net/run/{dead}.pid")));
    let killed = Command::new("kill").args(["-KILL", &pid.unwrap()]).status();
    assert!(killed.unwrap().success());
    let got = net.run(&mix);
    let said = text(&got.stderr);
    assert_eq!(code(&got), 1, "{said}");
    assert!(said.contains("nothing has come over the mix"), "{said}");
}

#[test]
fn nodes_end_with_the_process_that_started_them_however_it_ends() {
    let net = Net::new("1", "0");
    for signal in ["-INT", "-KILL"] {
        let mut up = net
            .command(&["network", "up", "net", "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(up.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.starts_with('{'), "{line}");
        let pid = up.id().to_string();
        Command::new("kill").args([signal, &pid]).status().unwrap();
        let ended = up.wait().unwrap();
        assert_eq!(ended.success(), signal == "-INT", "{ended}");
        // Returns when every node has ended.
        let down = net.run(&["network", "down", "net"]);
        assert_eq!(code(&down), 0, "{}", text(&down.stderr));
        assert_eq!(net.processes(), 0);
    }
}

#[test]
fn a_node_that_cannot_start_ends_the_others_and_is_named() {
    let net = Net::new("1", "0");
    let key = net.home.path().join("net/relay1/node.pem");
    fs::write(key, "no key").unwrap();
    let up = net.run(&["network", "up", "net", "--detach"]);
    assert_eq!(code(&up), 3, "{}", text(&up.stdout));
    assert!(
        text(&up.stderr).contains("relay1: it ended"),
        "{}",
        text(&up.stderr)
    );
    let log = fs::read_to_string(net.home.path().join("net/run/relay1.log")).unwrap();
    assert!(log.contains("node.pem"), "{log}");
    assert_eq!(net.processes(), 0);
}
