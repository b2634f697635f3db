//! Repository chores, as a library so that tests can run them too.
#![allow(missing_docs, reason = "nobody depends on it")]

pub mod anonymity;
pub mod args;
pub mod bounds;
pub mod ci;
pub mod distinguish;
pub mod economy;
pub mod fog;
pub mod layers;
pub mod measured;
pub mod money;
pub mod netns;
pub mod no_std;
mod panics;
pub mod readme;
pub mod replays;
pub mod schema;
pub mod semver;
pub mod settle;
pub mod sim;
pub mod sizes;
mod tools;
pub mod vectors;
pub mod x25519;

use std::path::PathBuf;
use std::process::Command;

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs a command in the root, its output shown; whether it succeeded.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let said = || format!("{program} {}", args.join(" "));
    let status = Command::new(program)
        .args(args)
        .current_dir(root())
        .status()
        .map_err(|e| format!("{}: {e}", said()))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{}: {status}", said()))
    }
}

/// Runs a command in the root and takes its standard output.
pub(crate) fn output(program: &str, args: &[&str]) -> Result<String, String> {
    let said = || format!("{program} {}", args.join(" "));
    let out = Command::new(program)
        .args(args)
        .current_dir(root())
        .output()
        .map_err(|e| format!("{}: {e}", said()))?;
    if !out.status.success() {
        let why = String::from_utf8_lossy(&out.stderr);
        return Err(format!("{}: {}\n{why}", said(), out.status));
    }
    String::from_utf8(out.stdout).map_err(|e| format!("{}: {e}", said()))
}
