//! Measurements, attacks and probes: the programs that they are made with, and each in its shortest form.

use std::path::{Path, PathBuf};

use crate::{run as exec, target};

/// What measures, and what is measured.
const PACKAGES: [&str; 4] = [
    "betanet",
    "betanet-gateway",
    "betanet-mixnode",
    "betanet-benches",
];
const BENCHES: &str = "betanet-benches";

/// Builds all of it together, optimised; the folder where it is. For one package alone cargo selects other features, and builds everything
/// again.
fn built() -> Result<PathBuf, String> {
    let mut build = vec!["build", "--release", "--locked"];
    build.extend(PACKAGES.iter().flat_map(|name| ["--package", name]));
    exec("cargo", &build)?;
    Ok(target().join("release"))
}

fn benches(dir: &Path, args: &[&str]) -> Result<(), String> {
    exec(&dir.join(BENCHES).to_string_lossy(), args)
}

/// Runs the measurements, optimised.
///
/// # Errors
///
/// They do not build or run.
pub fn bench(args: &[&str]) -> Result<(), String> {
    benches(&built()?, args)
}

/// Attacks a gateway from other processes, all of it optimised.
///
/// # Errors
///
/// It does not build, or the node does not keep its bounds.
pub fn attacks(args: &[&str]) -> Result<(), String> {
    benches(&built()?, &[&["attacks"], args].concat())
}

const NGINX: &str = "/usr/sbin/nginx";

/// On the first core, with its arguments: the servers that are asked have the other one.
fn pinned(dir: &Path, args: &[&str]) -> Result<(), String> {
    if !Path::new(NGINX).exists() {
        return Err(format!(
            "{NGINX} is missing; run: apt-get install -y nginx-core"
        ));
    }
    let program = dir.join(BENCHES);
    let first = ["--cpu-list", "0", &program.to_string_lossy(), "probes"];
    exec("taskset", &[&first[..], args].concat())
}

/// Asks a gateway, the same site without betanet, and nginx the same; all of it optimised.
///
/// # Errors
///
/// It does not build, or an answer or a time differs.
pub fn probes(args: &[&str]) -> Result<(), String> {
    pinned(&built()?, args)
}

/// Each of them in its shortest form, with the programs that the tests were built with. No time decides anything.
///
/// # Errors
///
/// One does not run, a bound of what a node holds is not kept, or an answer differs.
pub(crate) fn quick() -> Result<(), String> {
    let bins = [
        "build",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--locked",
    ];
    exec("cargo", &bins)?;
    let dir = target().join("debug");
    benches(&dir, &["--quick"])?;
    benches(&dir, &["attacks", "--quick"])?;
    pinned(&dir, &["--quick"])
}
