//! `cargo xtask distinguish` and `cargo xtask probes`: whether an observer, or who asks, can tell a gateway from a web site.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::{root, run as exec, target};

/// The gateway's first port. The same in each run: requests tell it, and some numbers are longer in HPACK than others.
const PORT: u16 = 9544;
/// Visits at once, each to a port of its own.
const AT_ONCE: u16 = 4;
/// Page loads that the first shape is learnt from.
const ROUGH: u32 = 40;
/// Parts that the recording is made in. A machine is not as fast in one quarter of an hour as in the next: what is to look like page
/// loads is learnt anew from the last part's before each part. There are as many of those as tunnels: none is followed twice.
const PARTS: u32 = 10;
/// Parts before those, which are not looked at: their tunnels show only how much later they are than what they follow. In the first they
/// are too late to show all of it, and one alone has too few to show it of each request.
const PILOTS: u32 = 3;
/// Parts that this is learnt from.
const LAGS: u32 = 4;
/// What is recorded in each part.
const SORTS: [(&str, &str); 4] = [
    ("--pages", "pages"),
    ("--pages", "control"),
    ("--tunnels", "unshaped"),
    ("--shaped", "shaped"),
];
/// Milliseconds up to which the site's answers wait, with betanet or without.
const JITTER: &str = "20";
/// What tunnels fetch.
const FILES: [usize; 3] = [2000, 20_000, 60_000];

/// Arguments of `distinguish`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Number of page loads, and of tunnels.
    #[arg(default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    pub sessions: u32,
    /// Cover site of the gateway.
    #[arg(value_enum, default_value = "fitted")]
    pub site: Site,
}

/// A site by the sizes of its first answers.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Site {
    /// Its first answers have the sizes of the handshake.
    Fitted,
    /// Its first answers have other sizes.
    Plain,
}

/// What the recordings are made with.
struct Place {
    dir: PathBuf,
    python: PathBuf,
    scripts: PathBuf,
    bins: PathBuf,
    cookie: &'static str,
}

impl Place {
    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.python);
        command.arg(self.scripts.join(name)).current_dir(&self.dir);
        command
    }

    /// Visits into these files, in turns that are drawn.
    fn record(&self, facts: &Value, seed: &str, n: u32, files: &[&str]) -> Result<(), String> {
        println!("distinguish: {n} visits each, {}", files.join(" "));
        let text = |key: &str| facts[key].as_str().unwrap_or_default().to_owned();
        let served = FILES.map(|n| format!("/f{n}.bin")).join(",");
        let mut command = self.script("record.py");
        command
            .args(["--count", &n.to_string(), "--gateway", &PORT.to_string()])
            .args(["--parallel", &AT_ONCE.to_string()])
            .args(["--public-key", &text("public_key"), "--pin", &text("pin")])
            .args(["--name", &text("name"), "--files", &served, "--seed", seed])
            .args(["--cookie", self.cookie])
            .arg("--betanet")
            .arg(self.bins.join("betanet"))
            .args(files);
        succeed(command)
    }

    /// The same, at a gateway of its own.
    fn recorded(&self, more: &[&str], seed: &str, n: u32, files: &[&str]) -> Result<(), String> {
        let (mut gateway, facts) = self.gateway(more)?;
        let recorded = self.record(&facts, seed, n, files);
        let _ = gateway.kill();
        let _ = gateway.wait();
        recorded
    }

    /// Learns the site's shape from page loads.
    fn learn(&self, from: &[&str], into: &str) -> Result<(), String> {
        let mut learn = Command::new(self.bins.join("betanet"));
        learn
            .args(["shape", "learn", "-o", into])
            .args(from)
            .current_dir(&self.dir);
        succeed(learn)
    }

    fn gateway(&self, more: &[&str]) -> Result<(Child, Value), String> {
        let out = fs::File::create(self.dir.join("gateway.json")).map_err(|e| e.to_string())?;
        let listen = (PORT..PORT + AT_ONCE)
            .flat_map(|port| ["--listen".to_owned(), format!("127.0.0.1:{port}")]);
        // A server on a machine of its own does not keep a client from going on as what it sent comes in: woken, it waits here until
        // the processor is free.
        let child = Command::new("chrt")
            .args(["--batch", "0"])
            .arg(self.bins.join("gateway"))
            .args(listen)
            .args(["--serve", "served", "--cover", "site"])
            .args(["--key", "node.pem", "--per-address", "1000000", "--json"])
            .args(["--jitter", JITTER])
            .args(more)
            .current_dir(&self.dir)
            .stdout(Stdio::from(out))
            .spawn()
            .map_err(|e| format!("chrt, of util-linux, which starts the gateway: {e}"))?;
        for _ in 0..100 {
            sleep(Duration::from_millis(100));
            let text = fs::read_to_string(self.dir.join("gateway.json")).unwrap_or_default();
            if let Ok(facts) = serde_json::from_str(&text) {
                return Ok((child, facts));
            }
        }
        Err("the gateway does not come up".into())
    }

    fn classify(&self, name: &str, files: [&str; 2], more: &[&str]) -> Result<(), String> {
        let mut command = self.script("classify.py");
        command
            .args(files)
            .args(["--name", name, "--list"])
            .args(more);
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
pub fn run(args: &Arguments) -> Result<(), String> {
    let n = args.sessions;
    let (site, cookie) = match args.site {
        Site::Fitted => ("fitted", "1255"),
        Site::Plain => ("plain", "0"),
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
    let target = target();
    let dir = target.join("distinguish");
    fs::create_dir_all(dir.join("served")).map_err(|e| e.to_string())?;
    let place = Place {
        python: python(&dir)?,
        dir,
        scripts: root().join("xtask/distinguish"),
        bins: target.join("release"),
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
    place.recorded(&[], "1", n.min(ROUGH), &["--pages", "rough.jsonl"])?;
    let name = |sort: &str, part: u32| format!("{sort}-{part}.jsonl");
    let shape = |part: u32| format!("site-{part}.shape");
    place.learn(&["rough.jsonl"], &shape(0))?;
    for part in 0..PILOTS + PARTS {
        let files = SORTS.map(|(flag, sort)| [flag.to_owned(), name(sort, part)]);
        let files = files.as_flattened().iter().map(String::as_str);
        let follows = shape(part);
        let shaped = ["--shape", &follows];
        let all: Vec<&str> = files.chain(shaped).collect();
        let seed = (2 + part).to_string();
        place.recorded(&shaped, &seed, n.div_ceil(PARTS), &all)?;
        // Loads that tunnels are told from are none that these follow.
        let mut from = vec![name("control", part)];
        for before in part.saturating_sub(LAGS - 1).max(part.min(1))..=part {
            let lag = ["--lag".into(), name("shaped", before)];
            from.extend(lag.into_iter().chain(["--followed".into(), shape(before)]));
        }
        let from: Vec<&str> = from.iter().map(String::as_str).collect();
        place.learn(&from, &shape(part + 1))?;
    }
    for (_, sort) in SORTS {
        let parts = (PILOTS..PILOTS + PARTS).map(|part| place.dir.join(name(sort, part)));
        let parts: Result<Vec<_>, _> = parts.map(fs::read).collect();
        let whole =
            parts.and_then(|all| fs::write(place.dir.join(format!("{sort}.jsonl")), all.concat()));
        whole.map_err(|e| e.to_string())?;
    }
    place.classify(
        "control: two sets of page loads",
        ["pages.jsonl", "control.jsonl"],
        &[],
    )?;
    place.classify(
        "page loads and unshaped tunnels",
        ["pages.jsonl", "unshaped.jsonl"],
        &[],
    )?;
    let shaped = ["pages.jsonl", "shaped.jsonl"];
    place.classify("page loads and shaped tunnels", shaped, &[])?;
    place.classify(
        "the same, by an observer whose clock tells milliseconds",
        shaped,
        &["--clock", "0.001"],
    )
}
