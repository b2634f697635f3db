//! `cargo xtask distinguish` and `cargo xtask probes`: whether an observer, or who asks, can tell a gateway from a web site.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::{root, run as exec};

const PORT: u16 = 9543;
/// What tunnels fetch.
const FILES: [usize; 3] = [2000, 20_000, 60_000];

/// Builds the binaries as a release has them, and asks a gateway and the same site without it the same.
///
/// # Errors
///
/// They do not build, or something differs.
pub fn probes(n: &str) -> Result<(), String> {
    let package = |name| ["build", "--release", "--locked", "-p", name];
    exec("cargo", &package("betanet-gateway"))?;
    exec("cargo", &package("betanet-benches"))?;
    // The servers have the other core: see the bench.
    let pinned = ["--cpu-list", "0", "cargo", "run", "--release", "--locked"];
    let bench = ["-p", "betanet-benches", "--", "probes", n];
    exec("taskset", &[&pinned[..], &bench[..]].concat())
}

/// What the recordings are made with.
struct Place {
    dir: PathBuf,
    python: PathBuf,
    scripts: PathBuf,
    bins: PathBuf,
    sessions: String,
    cookie: &'static str,
}

impl Place {
    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(self.scripts.join(name)).current_dir(&self.dir);
        command
    }

    /// Visits into these files, in turns that are drawn.
    fn record(&self, facts: &Value, seed: &str, files: &[&str]) -> Result<(), String> {
        println!(
            "distinguish: {} visits each, {}",
            self.sessions,
            files.join(" ")
        );
        let text = |key: &str| facts[key].as_str().unwrap_or_default().to_owned();
        let served = FILES.map(|n| format!("/f{n}.bin")).join(",");
        let mut command = self.script("record.py");
        command
            .args(["--count", &self.sessions, "--gateway", &PORT.to_string()])
            .args(["--public-key", &text("public_key"), "--pin", &text("pin")])
            .args(["--name", &text("name"), "--files", &served, "--seed", seed])
            .args(["--cookie", self.cookie])
            .arg("--betanet")
            .arg(self.bins.join("betanet"))
            .args(files);
        succeed(command)
    }

    /// Learns the site's shape from its page loads.
    fn learn(&self, more: &[&str]) -> Result<(), String> {
        let mut learn = Command::new(self.bins.join("betanet"));
        learn
            .args(["shape", "learn", "learnt.jsonl", "-o", "site.shape"])
            .args(more)
            .current_dir(&self.dir);
        succeed(learn)
    }

    fn gateway(&self, more: &[&str]) -> Result<(Child, Value), String> {
        let out = fs::File::create(self.dir.join("gateway.json")).map_err(|e| e.to_string())?;
        let child = Command::new(self.bins.join("gateway"))
            .args([
                "--listen",
                &format!("127.0.0.1:{PORT}"),
                "--serve",
                "served",
                "--cover",
                "site",
            ])
            .args(["--key", "node.pem", "--per-address", "1000000", "--json"])
            .args(more)
            .current_dir(&self.dir)
            .stdout(Stdio::from(out))
            .spawn()
            .map_err(|e| e.to_string())?;
        for _ in 0..100 {
            sleep(Duration::from_millis(100));
            let text = fs::read_to_string(self.dir.join("gateway.json")).unwrap_or_default();
            if let Ok(facts) = serde_json::from_str(&text) {
                return Ok((child, facts));
            }
        }
        Err("the gateway does not come up".into())
    }

    fn classify(&self, name: &str, one: &str, other: &str) -> Result<(), String> {
        let mut command = self.script("classify.py");
        command.args([one, other, "--name", name, "--list"]);
        succeed(command)
    }
}

fn succeed(mut command: Command) -> Result<(), String> {
    let status = command.status().map_err(|e| e.to_string())?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {status}"))
    }
}

/// A Python of its own with what the scripts need.
fn python(dir: &Path) -> Result<PathBuf, String> {
    let venv = dir.join("venv");
    let python = venv.join("bin/python");
    if !python.exists() {
        let mut make = Command::new("python3");
        make.args(["-m", "venv"]).arg(&venv);
        succeed(make)?;
        let mut install = Command::new(&python);
        install.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "scikit-learn",
            "websocket-client",
        ]);
        succeed(install)?;
    }
    Ok(python)
}

/// Records page loads of Chromium and tunnels, unshaped and shaped, against one site, and trains classifiers to tell them apart.
///
/// # Errors
///
/// Something needed is missing, or a recording fails.
pub fn run(args: &[&str]) -> Result<(), String> {
    let (sessions, site, cookie) = match args {
        [] => ("300", "fitted", "1255"),
        [n] => (*n, "fitted", "1255"),
        [n, "fitted"] => (*n, "fitted", "1255"),
        [n, "plain"] => (*n, "plain", "0"),
        _ => return Err("distinguish [SESSIONS] [plain|fitted]".into()),
    };
    if !Path::new("/usr/bin/chromium").exists() {
        return Err("Chromium is missing; run: apt-get install -y chromium python3-venv".into());
    }
    let build = [
        "build",
        "--release",
        "--locked",
        "--features",
        "mimic",
        "-p",
        "betanet",
        "-p",
        "betanet-gateway",
    ];
    exec("cargo", &build)?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let dir = target.join("distinguish");
    fs::create_dir_all(dir.join("served")).map_err(|e| e.to_string())?;
    let place = Place {
        python: python(&dir)?,
        dir,
        scripts: root().join("xtask/distinguish"),
        bins: target.join("release"),
        sessions: sessions.to_owned(),
        cookie,
    };
    let _ = fs::remove_dir_all(place.dir.join("site"));
    let mut make = place.script("site.py");
    make.args([site, "site"]);
    succeed(make)?;
    for n in FILES {
        let path = place.dir.join(format!("served/f{n}.bin"));
        let bytes: Vec<u8> = (0..n)
            .map(|i| u8::try_from(i * 31 % 251).unwrap_or(0))
            .collect();
        fs::write(path, bytes).map_err(|e| e.to_string())?;
    }
    let (mut gateway, facts) = place.gateway(&[])?;
    let learnt = ["--pages", "learnt.jsonl", "--tunnels", "beside.jsonl"];
    let recorded = place.record(&facts, "1", &learnt);
    let _ = gateway.kill();
    let _ = gateway.wait();
    recorded?;
    place.learn(&[])?;
    let (mut gateway, facts) = place.gateway(&["--shape", "site.shape"])?;
    let pilot = [
        "--pages",
        "beside.jsonl",
        "--shaped",
        "pilot.jsonl",
        "--shape",
        "site.shape",
    ];
    let recorded = place.record(&facts, "2", &pilot);
    let _ = gateway.kill();
    let _ = gateway.wait();
    recorded?;
    place.learn(&["--lag", "pilot.jsonl"])?;
    let (mut gateway, facts) = place.gateway(&["--shape", "site.shape"])?;
    let all = [
        ["--pages", "pages.jsonl"],
        ["--pages", "control.jsonl"],
        ["--tunnels", "unshaped.jsonl"],
        ["--shaped", "shaped.jsonl"],
        ["--shape", "site.shape"],
    ];
    let recorded = place.record(&facts, "3", &all.concat());
    let _ = gateway.kill();
    let _ = gateway.wait();
    recorded?;
    place.classify(
        "control: two sets of page loads",
        "pages.jsonl",
        "control.jsonl",
    )?;
    place.classify(
        "page loads and unshaped tunnels",
        "pages.jsonl",
        "unshaped.jsonl",
    )?;
    place.classify(
        "page loads and shaped tunnels",
        "pages.jsonl",
        "shaped.jsonl",
    )
}
