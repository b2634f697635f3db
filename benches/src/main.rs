//! Measurements beside peers, interleaved in one run, printed as ratios: `cargo xtask bench --help`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a measurement that cannot be made has nothing else to say"
)]

mod attacks;
#[cfg(feature = "mimic")]
mod browser;
mod cbor;
mod download;
mod economy;
mod flood;
mod fog;
mod frames;
mod handshakes;
mod harvest;
mod idle;
mod leak;
mod legs;
mod mesh;
mod mix;
mod mixnode;
mod naming;
mod neighbours;
mod parts;
mod path;
mod probes;
mod quic;
mod results;
mod sandbox;
mod services;
mod tasks;
mod vouchers;

use std::path::PathBuf;
use std::time::Duration;

/// The allocator of the binaries that are measured.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A figure, what it is measured against, and the bound that it should keep.
struct Figure {
    name: &'static str,
    ratio: f64,
    bound: f64,
    /// Whether the ratio should be at least the bound, or at most.
    at_least: bool,
    detail: String,
}

type Measure = fn(Effort) -> Vec<Figure>;

/// How long and how often.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    quick: bool,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// CPU time of this process, all threads, user and system.
fn cpu() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec.try_into().unwrap(), t.tv_nsec.try_into().unwrap())
}

/// CPU seconds that some work takes.
fn spent(work: impl FnOnce()) -> f64 {
    let before = cpu();
    work();
    (cpu() - before).as_secs_f64()
}

/// A binary that was built where this one was.
fn beside(name: &str) -> PathBuf {
    let binary = std::env::current_exe().unwrap().with_file_name(name);
    assert!(
        binary.exists(),
        "{} is not there: cargo build --release -p betanet-{name}",
        binary.display()
    );
    binary
}

const GROUPS: &[(&str, Measure)] = &[
    ("cbor", cbor::measure),
    ("fog", fog::measure),
    ("harvest", harvest::measure),
    ("sandbox", sandbox::measure),
    ("neighbours", neighbours::measure),
    ("tasks", tasks::measure),
    ("frames", frames::measure),
    ("path", path::measure),
    ("mesh", mesh::measure),
    ("economy", economy::measure),
    ("naming", naming::measure),
    ("x25519", mix::multiplications),
    ("leak", leak::measure),
    ("exchanges", mix::exchanges),
    ("mix", mix::measure),
    ("mixnode", mixnode::measure),
    ("download", download::measure),
    ("quic", quic::measure),
    ("legs", legs::measure),
    #[cfg(feature = "mimic")]
    ("browser", browser::measure),
    ("handshakes", handshakes::measure),
    ("idle", idle::measure),
    ("flood", flood::measure),
    ("services", services::measure),
    ("vouchers", vouchers::measure),
];

fn usage() -> String {
    let names: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).collect();
    format!(
        "usage: cargo xtask bench [--quick] [--strict] [--only GROUP] [--json FILE] [--page FILE]\n       cargo xtask bench --compare A B\n\ngroups: {}\n\n\
         --json writes the results with the machine and the commit, and --page writes them as a page of Markdown. --compare shows the changes between two such files.\n\
         The exit code is 1 if B violates a bound that A kept, and with --strict if a figure misses its bound.\n\n\
         Example: cargo xtask bench --quick --only quic",
        names.join(" ")
    )
}

/// What is to be measured, and where the figures go.
#[derive(Default)]
struct Asked {
    quick: bool,
    /// Whether a missed bound is an error.
    strict: bool,
    only: Option<String>,
    json: Option<PathBuf>,
    page: Option<PathBuf>,
    compare: Option<[PathBuf; 2]>,
}

impl Asked {
    /// `None` where help is asked for.
    fn parse(args: &[String]) -> Result<Option<Self>, String> {
        let mut asked = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().cloned().ok_or(format!("{arg} lacks its value"));
            match arg.as_str() {
                "--quick" => asked.quick = true,
                "--strict" => asked.strict = true,
                "--json" => asked.json = Some(value()?.into()),
                "--page" => asked.page = Some(value()?.into()),
                "--compare" => asked.compare = Some([value()?.into(), value()?.into()]),
                "--only" => {
                    let only = value()?;
                    if GROUPS.iter().all(|(name, _)| *name != only) {
                        return Err(format!("there is no group {only:?}"));
                    }
                    asked.only = Some(only);
                }
                "-h" | "--help" => return Ok(None),
                _ => return Err(format!("{arg:?} is not known here")),
            }
        }
        Ok(Some(asked))
    }
}

fn main() {
    if betanet_sandbox::is_child(std::env::args_os()) {
        // No thread of the allocator runs here: the parent says so in the environment.
        let done = betanet_sandbox::child_main();
        std::process::exit(i32::from(done != std::process::ExitCode::SUCCESS));
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["probes", "-h" | "--help", ..] => return println!("{}", probes::USAGE),
        ["probes", ..] => {
            let fine = probes::run(&args[1..]);
            std::process::exit(i32::from(!fine));
        }
        ["attacks", ..] => {
            let fine = attacks::run(&args[1..]);
            std::process::exit(i32::from(!fine));
        }
        ["attack", ref words @ ..] => return attacks::attacker(words),
        ["attack-holder", peer] => return attacks::holder(peer),
        ["timer"] => return neighbours::timer(),
        ["idle-server"] => return idle::server(Some(1_000_000)),
        // With what a gateway allows by itself.
        ["flood-server"] => return idle::server(None),
        ["flood-attacker", target] => return flood::attacker(target),
        ["flood-client", peer, n] => return flood::client(peer, n.parse().unwrap()),
        _ => {}
    }
    let asked = match Asked::parse(&args) {
        Ok(Some(asked)) => asked,
        Ok(None) => return println!("{}", usage()),
        Err(why) => {
            eprintln!("{why}\n\n{}", usage());
            std::process::exit(2);
        }
    };
    if let Some([before, after]) = asked.compare {
        match results::compare(&before, &after) {
            Ok(kept) => std::process::exit(i32::from(!kept)),
            Err(why) => {
                eprintln!("{why}");
                std::process::exit(2);
            }
        }
    }
    let effort = Effort {
        rounds: if asked.quick { 5 } else { 30 },
        quick: asked.quick,
    };
    let mut figures = Vec::new();
    for (name, measure) in GROUPS {
        if asked.only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        for figure in measure(effort) {
            let sign = if figure.at_least { ">=" } else { "<=" };
            println!(
                "{:34} {:>8.2} {sign} {:<6} {:6} {}",
                figure.name,
                figure.ratio,
                figure.bound,
                if figure.is_met() { "met" } else { "MISSED" },
                figure.detail
            );
            figures.push(figure);
        }
    }
    let missed = figures.iter().filter(|f| !f.is_met()).count();
    let write = |path: PathBuf, text: String| {
        if let Err(e) = std::fs::write(&path, text) {
            eprintln!("{}: {e}", path.display());
            std::process::exit(1);
        }
    };
    if let Some(path) = asked.json {
        let results = results::to_json(&figures, asked.quick);
        write(path, format!("{results}\n"));
    }
    if let Some(path) = asked.page {
        write(path, results::to_page(&figures, asked.quick));
    }
    if asked.strict && missed > 0 {
        eprintln!("{missed} figures missed their bounds");
        std::process::exit(1);
    }
}
