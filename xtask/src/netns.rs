//! `cargo xtask netns`: six nodes in network namespaces of their own, with delay and loss between them; one is killed, one cut
//! off, one gets another address.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{root, target};

/// One way, milliseconds.
const DELAY_MS: &str = "20";
const LOSS_PERMILLE: &str = "5";
/// Nodes 11 to 16; the client is 20.
const NODES: [u8; 6] = [11, 12, 13, 14, 15, 16];
const CLIENT: u8 = 20;
const PORT: &str = "7443";

fn namespace(n: u8) -> String {
    format!("betanet{n}")
}

fn ip(args: &[&str]) -> bool {
    let run = Command::new("ip").args(args).stderr(Stdio::null()).status();
    run.is_ok_and(|s| s.success())
}

/// Namespaces, processes and the router, all gone when this is.
struct World {
    router: Child,
    said: BufReader<ChildStdout>,
    orders: Option<ChildStdin>,
    nodes: Vec<(u8, Child)>,
    bin: PathBuf,
    dir: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        for (_, node) in &mut self.nodes {
            let _ = node.kill();
            let _ = node.wait();
        }
        self.orders = None;
        let mut line = String::new();
        if self.said.read_line(&mut line).is_ok() {
            println!("router: {}", line.trim());
        }
        let _ = self.router.wait();
        for n in NODES.into_iter().chain([CLIENT]) {
            ip(&["netns", "del", &namespace(n)]);
        }
    }
}

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

impl World {
    fn start(bin: &Path) -> Result<Self, String> {
        let mut router = Command::new("python3");
        router
            .arg(root().join("xtask/netns/router.py"))
            .args([DELAY_MS, LOSS_PERMILLE, "1"]);
        for n in NODES.into_iter().chain([CLIENT]) {
            ip(&["netns", "del", &namespace(n)]);
            if !ip(&["netns", "add", &namespace(n)]) {
                return Err("no network namespace can be made; it needs root, and: apt-get install -y iproute2 python3".into());
            }
            // The last byte is 1, and 2 after a move.
            router.arg(format!("{}=10.77.{n}.1,10.77.{n}.2", namespace(n)));
        }
        let mut router = router
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("python3: {e}"))?;
        let mut line = String::new();
        let mut said = BufReader::new(router.stdout.take().ok_or("the router has no output")?);
        said.read_line(&mut line).map_err(text)?;
        let orders = router.stdin.take();
        let this = Self {
            router,
            said,
            orders,
            nodes: Vec::new(),
            bin: bin.to_owned(),
            dir: tempfile::tempdir().map_err(text)?,
        };
        if line.trim() != "ready" {
            return Err("the router did not start; it needs root and /dev/net/tun".into());
        }
        Ok(this)
    }

    fn net(&self) -> PathBuf {
        self.dir.path().join("net")
    }

    fn node_dir(&self, n: u8) -> PathBuf {
        let name = if n == 16 {
            "relay1".to_owned()
        } else {
            format!("seed{}", n - 10)
        };
        self.net().join(name)
    }

    /// Makes the network with `betanet network new`, and moves it from loopback to the namespaces' addresses.
    fn make(&self) -> Result<Value, String> {
        let net = self.net();
        let out = Command::new(self.bin.join("betanet"))
            .args([
                "network",
                "new",
                &net.to_string_lossy(),
                "--relays",
                "1",
                "--port",
                PORT,
                "--json",
            ])
            .output()
            .map_err(text)?;
        let facts: Value = serde_json::from_slice(&out.stdout)
            .map_err(|_| String::from_utf8_lossy(&out.stderr).into_owned())?;
        let rewrite = |path: PathBuf, change: &dyn Fn(String) -> String| {
            let old = std::fs::read_to_string(&path).map_err(text)?;
            std::fs::write(&path, change(old)).map_err(text)
        };
        let moved = |t: String| {
            NODES.iter().fold(t, |t, n| {
                t.replace(&format!("127.{n}.0.1"), &format!("10.77.{n}.1"))
            })
        };
        rewrite(net.join("NETWORK.toml"), &moved)?;
        for n in NODES {
            rewrite(self.node_dir(n).join("gateway.toml"), &|t| {
                let t = moved(t).replace(&format!("admin = \"10.77.{n}.1"), "admin = \"127.0.0.1");
                // In six nodes each carries paths.
                t.replace(
                    "\"seed\", \"entry\"",
                    "\"seed\", \"entry\", \"core\", \"exit\"",
                )
            })?;
        }
        Ok(facts)
    }

    fn spawn(&mut self, n: u8) -> Result<(), String> {
        let config = self.node_dir(n).join("gateway.toml");
        let child = Command::new("ip")
            .args(["netns", "exec", &namespace(n)])
            .arg(self.bin.join("gateway"))
            .arg("--config")
            .arg(config)
            .stdout(Stdio::null())
            .spawn()
            .map_err(text)?;
        self.nodes.push((n, child));
        Ok(())
    }

    fn kill(&mut self, n: u8) {
        for (_, node) in self.nodes.iter_mut().filter(|(m, _)| *m == n) {
            let _ = node.kill();
            let _ = node.wait();
        }
        self.nodes.retain(|(m, _)| *m != n);
    }

    fn order(&mut self, word: &str, n: u8) -> Result<(), String> {
        let orders = self.orders.as_mut().ok_or("the router is gone")?;
        writeln!(orders, "{word} {}", namespace(n)).map_err(text)
    }

    /// What a node's `/peers` says, asked in its namespace.
    fn peers(&self, n: u8) -> Vec<Value> {
        let out = Command::new("ip")
            .args(["netns", "exec", &namespace(n)])
            .arg(self.bin.join("betanet"))
            .args(["peers", "--admin", "127.0.0.1:7444", "--json"])
            .output();
        let view = out
            .ok()
            .and_then(|o| serde_json::from_slice::<Value>(&o.stdout).ok());
        view.and_then(|v| v["peers"].as_array().cloned())
            .unwrap_or_default()
    }

    fn get(&self, name: &str, nodes: &str) -> Result<String, String> {
        let out = Command::new("ip")
            .args(["netns", "exec", &namespace(CLIENT)])
            .arg(self.bin.join("betanet"))
            .args([
                "get",
                &format!("bar://{name}/hello.txt"),
                "--path",
                nodes,
                "--network",
            ])
            .arg(self.net().join("NETWORK.toml"))
            .env("XDG_DATA_HOME", self.dir.path())
            .output()
            .map_err(text)?;
        if out.status.success() {
            Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&out.stderr).trim().to_owned())
        }
    }
}

/// Waits for something, and says how long it took.
fn until(what: &str, within_s: u64, mut holds: impl FnMut() -> bool) -> Result<(), String> {
    let began = Instant::now();
    while !holds() {
        if began.elapsed() > Duration::from_secs(within_s) {
            return Err(format!("not within {within_s} s: {what}"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
    Ok(())
}

/// Runs it all.
///
/// # Errors
///
/// What did not come about.
pub fn run() -> Result<(), String> {
    crate::run(
        "cargo",
        &[
            "build",
            "--locked",
            "-p",
            "betanet",
            "-p",
            "betanet-gateway",
        ],
    )?;
    let target = target();
    let mut world = World::start(&target.join("debug"))?;
    let facts = world.make()?;
    let name = |n: u8| {
        let at = usize::from(n - 11);
        facts["nodes"][at]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    for n in NODES {
        world.spawn(n)?;
    }
    let reached = |world: &World, n: u8| {
        world
            .peers(n)
            .iter()
            .filter(|p| p["reached"].is_string())
            .count()
    };
    until("six nodes have reached each other", 90, || {
        NODES.iter().all(|n| reached(&world, *n) == 5)
    })?;
    let fetched = |world: &World, n: u8, nodes: &str| match world.get(&name(n), nodes) {
        Ok(said) => said.starts_with("hello from"),
        Err(why) => {
            println!("          {why}");
            false
        }
    };
    until("a client fetches from 16 over a path of three", 60, || {
        fetched(&world, 16, "3")
    })?;

    world.kill(12);
    until("with 12 killed, a client fetches over others", 60, || {
        fetched(&world, 16, "3")
    })?;
    if world.get(&name(12), "1").is_ok() {
        return Err("a dead node answers".into());
    }

    world.order("cut", 13)?;
    if world.get(&name(13), "1").is_ok() {
        return Err("a node that is cut off answers".into());
    }
    world.order("heal", 13)?;
    until("13, cut off and back, is fetched from", 90, || {
        fetched(&world, 13, "2")
    })?;

    world.kill(16);
    let config = world.node_dir(16).join("gateway.toml");
    let old = std::fs::read_to_string(&config).map_err(text)?;
    std::fs::write(&config, old.replace("10.77.16.1", "10.77.16.2")).map_err(text)?;
    world.spawn(16)?;
    let moved = |world: &World, n: u8| {
        let at_new =
            |p: &&Value| p["name"] == Value::String(name(16)) && p["reached"] == "10.77.16.2";
        world.peers(n).iter().any(|p| at_new(&p))
    };
    until("four nodes have reached 16 at its new address", 120, || {
        [11, 13, 14, 15].iter().all(|n| moved(&world, *n))
    })?;
    until("a client fetches from 16 there", 60, || {
        fetched(&world, 16, "3")
    })?;
    println!("netns: all held");
    Ok(())
}
