//! Measurements, attacks and probes: the programs that they are made with, and each in its shortest form.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{run as exec, target};

/// The packages of the programs that users run.
pub(crate) const PROGRAMS: [&str; 5] = [
    "betanet",
    "betanet-coordinator-bin",
    "betanet-gateway",
    "betanet-mixnode",
    "betanet-worker-bin",
];
const BENCHES: &str = "betanet-benches";

/// Arguments of `bench`.
#[derive(Args, Debug)]
pub struct Bench {
    /// Run each measurement in its shortest form.
    #[arg(long)]
    pub quick: bool,
    /// Exit with code 1 if a figure misses its bound.
    #[arg(long)]
    pub strict: bool,
    /// Run this group only; an unknown name lists the groups.
    #[arg(long, value_name = "GROUP")]
    pub only: Option<String>,
    /// Output file for the results, with the machine and the commit.
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
    /// Output file for the results as a page of Markdown.
    #[arg(long, value_name = "FILE")]
    pub page: Option<String>,
    /// Show the changes between two files of --json. The exit code is 1 if B violates a bound that A kept.
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["quick", "strict", "only", "json", "page"])]
    pub compare: Option<Vec<PathBuf>>,
}

impl Bench {
    /// The arguments as the program takes them.
    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        flag(&mut words, "--quick", self.quick);
        flag(&mut words, "--strict", self.strict);
        option(&mut words, "--only", self.only.as_ref());
        option(&mut words, "--json", self.json.as_ref());
        option(&mut words, "--page", self.page.as_ref());
        if let Some(two) = &self.compare {
            words.push("--compare".to_owned());
            words.extend(two.iter().map(|path| path.display().to_string()));
        }
        words
    }
}

/// Arguments of `attacks`.
#[derive(Args, Debug)]
pub struct Attacks {
    /// Duration of each attack in seconds; by default 20, or 600 with --mixed.
    #[arg(value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: Option<u32>,
    /// Run this attack only; an unknown name lists the attacks.
    #[arg(long, value_name = "NAME")]
    pub only: Option<String>,
    /// Attack from the address of the honest clients.
    #[arg(long)]
    pub same: bool,
    /// Run all attacks together.
    #[arg(long)]
    pub mixed: bool,
    /// Run each attack for 2 seconds, and check no times.
    #[arg(long)]
    pub quick: bool,
    /// Output file for the results, in JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
}

/// Arguments of `probes`.
#[derive(Args, Debug)]
pub struct Probes {
    /// Number of tries per kind of request; by default 2000, or 1 with --quick.
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub tries: Option<u32>,
    /// Gateway binary to probe, instead of the one of this build.
    #[arg(requires = "tries")]
    pub gateway: Option<String>,
    /// Send each request once, and check no times.
    #[arg(long)]
    pub quick: bool,
    /// Send only the kinds of requests whose names contain this text.
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Output file for the results, in JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<String>,
}

impl Probes {
    /// The arguments as the program takes them: the numbers come first.
    fn words(&self) -> Vec<String> {
        let tries = self.tries.or((!self.quick).then_some(2000));
        let mut words = Vec::from_iter(tries.map(|n| n.to_string()));
        words.extend(self.gateway.clone());
        flag(&mut words, "--quick", self.quick);
        option(&mut words, "--only", self.only.as_ref());
        option(&mut words, "--json", self.json.as_ref());
        words
    }
}

/// Builds all of it together, optimised; the folder where it is. For one package alone cargo selects other features, and builds everything
/// again.
fn built() -> Result<PathBuf, String> {
    let mut build = vec!["build", "--release", "--locked", "--package", BENCHES];
    build.extend(PROGRAMS.iter().flat_map(|name| ["--package", name]));
    exec("cargo", &build)?;
    Ok(target().join("release"))
}

fn benches(dir: &Path, args: &[impl AsRef<str>]) -> Result<(), String> {
    let words: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
    exec(&dir.join(BENCHES).to_string_lossy(), &words)
}

fn flag(words: &mut Vec<String>, name: &str, given: bool) {
    if given {
        words.push(name.to_owned());
    }
}

fn option(words: &mut Vec<String>, name: &str, value: Option<&String>) {
    if let Some(value) = value {
        words.extend([name.to_owned(), value.clone()]);
    }
}

/// Runs the measurements, optimised.
///
/// # Errors
///
/// They do not build or run.
pub fn bench(args: &Bench) -> Result<(), String> {
    benches(&built()?, &args.words())
}

/// Attacks a gateway from other processes, all of it optimised.
///
/// # Errors
///
/// It does not build, or the node does not keep its bounds.
pub fn attacks(args: &Attacks) -> Result<(), String> {
    let mut words = vec!["attacks".to_owned()];
    words.extend(args.seconds.map(|n| n.to_string()));
    option(&mut words, "--only", args.only.as_ref());
    flag(&mut words, "--same", args.same);
    flag(&mut words, "--mixed", args.mixed);
    flag(&mut words, "--quick", args.quick);
    option(&mut words, "--json", args.json.as_ref());
    benches(&built()?, &words)
}

const NGINX: &str = "/usr/sbin/nginx";

/// On the first core, with its arguments: the servers that are asked have the other one.
fn pinned(dir: &Path, args: &[impl AsRef<str>]) -> Result<(), String> {
    if !Path::new(NGINX).exists() {
        return Err(format!(
            "{NGINX} is missing; run: apt-get install -y nginx-core"
        ));
    }
    let program = dir.join(BENCHES);
    let program = program.to_string_lossy();
    let mut words = vec!["--cpu-list", "0", &program, "probes"];
    words.extend(args.iter().map(AsRef::as_ref));
    exec("taskset", &words)
}

/// Asks a gateway, the same site without betanet, and nginx the same; all of it optimised.
///
/// # Errors
///
/// It does not build, or an answer or a time differs.
pub fn probes(args: &Probes) -> Result<(), String> {
    pinned(&built()?, &args.words())
}

/// Builds all programs with the features of the tests. The example is named for that: with it, cargo takes the features that only tests use.
///
/// # Errors
///
/// They do not build.
pub(crate) fn programs() -> Result<(), String> {
    let build = "build --workspace --bins --example decide --all-features --locked";
    exec("cargo", &build.split(' ').collect::<Vec<_>>())
}

/// Each of them in its shortest form, with the programs that the tests were built with. No time decides anything.
///
/// # Errors
///
/// One does not run, a bound of what a node holds is not kept, or an answer differs.
pub(crate) fn quick() -> Result<(), String> {
    programs()?;
    let dir = target().join("debug");
    benches(&dir, &["--quick"])?;
    benches(&dir, &["attacks", "--quick"])?;
    pinned(&dir, &["--quick"])
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: Bench,
    }

    fn words(line: &str) -> Vec<String> {
        let line = Line::try_parse_from(std::iter::once("x").chain(line.split_whitespace()));
        line.unwrap_or_else(|error| panic!("{error}")).bench.words()
    }

    #[test]
    fn what_a_measurement_is_asked_for_reaches_the_program() {
        for line in [
            "--quick --strict --only quic --json out",
            "--strict",
            "--compare one two",
            "",
        ] {
            let asked: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(words(line), asked);
        }
    }
}
