//! `cargo xtask no-std`: tiers 0 to 3, built for a target that has no `std`.

use std::collections::BTreeSet;
use std::process::Command;

use clap::Args;
use serde_json::Value;

use crate::{output, root, run as exec};

/// Bare ARM, 32 bits. `ring` is at home on ARMv7-A; it has no code for Cortex-M, nor for x86-64 without SSE.
const TARGET: &str = "armv7a-none-eabi";
/// Debian's compiler for it, which compiles the C of `ring` and `blst`.
const COMPILER: &str = "arm-none-eabi-gcc";
/// The library that depends on every crate of tiers 0 to 3.
const EXAMPLE: &str = "betanet-example-no-std";

/// Arguments of `no-std`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Target without std, whose C compiler is installed.
    #[arg(long, default_value = TARGET)]
    pub target: String,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            target: TARGET.to_owned(),
        }
    }
}

/// Installs the target and its compiler, where they are not there yet.
///
/// # Errors
///
/// They cannot be had; says what to install.
pub fn prepare(args: &Arguments) -> Result<(), String> {
    target(&args.target)?;
    if args.target == TARGET {
        compiler()?;
    }
    Ok(())
}

/// Checks that the example names every pure crate, and type-checks it for the target; the C in it is compiled.
///
/// # Errors
///
/// A pure crate is not in the example, the target or its compiler cannot be had, or something needs `std`.
pub fn run(args: &Arguments) -> Result<(), String> {
    let text = output(
        env!("CARGO"),
        &["metadata", "--format-version=1", "--locked", "--no-deps"],
    )?;
    let meta: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let left_out = left_out(&meta);
    if !left_out.is_empty() {
        let names = left_out.join(", ");
        return Err(format!("no-std: examples/no-std does not use {names}"));
    }
    prepare(args)?;
    let line = ["check", "--locked", "-p", EXAMPLE, "--target", &args.target];
    let flags = format!("CFLAGS_{}", args.target.replace('-', "_"));
    let status = Command::new("cargo")
        .args(line)
        .current_dir(root())
        // There is no C library: `ring` then leaves its assertions out.
        .env(flags, "-DRING_CORE_NOSTDLIBINC=1")
        .status()
        .map_err(|e| e.to_string())?;
    if !status.success() {
        return Err(format!("no-std: cargo {}: {status}", line.join(" ")));
    }
    println!("no-std: tiers 0 to 3 build for {}", args.target);
    Ok(())
}

/// Crates of pure tiers that the example does not depend on.
fn left_out(meta: &Value) -> Vec<String> {
    let empty = Vec::new();
    let up_to = meta["metadata"]["layers"]["pure-up-to"].as_u64();
    let packages = meta["packages"].as_array().unwrap_or(&empty);
    let used: BTreeSet<&str> = packages
        .iter()
        .filter(|p| p["name"] == EXAMPLE)
        .flat_map(|p| p["dependencies"].as_array().unwrap_or(&empty))
        .filter_map(|d| d["name"].as_str())
        .collect();
    packages
        .iter()
        .filter(|p| p["metadata"]["layers"]["tier"].as_u64() <= up_to)
        .filter(|p| p["metadata"]["layers"]["tier"].is_u64())
        .filter_map(|p| p["name"].as_str())
        .filter(|name| !used.contains(name))
        .map(str::to_owned)
        .collect()
}

/// Installs the target's `core` and `alloc`, where they are not there yet.
fn target(name: &str) -> Result<(), String> {
    let installed = output("rustup", &["target", "list", "--installed"])?;
    if installed.lines().any(|line| line == name) {
        return Ok(());
    }
    println!("no-std: installing the target {name}");
    exec("rustup", &["target", "add", name])
        .map_err(|why| format!("no-std: the target cannot be installed: {why}"))
}

fn compiler() -> Result<(), String> {
    let there = |program: &str, args: &[&str]| {
        let run = Command::new(program).args(args).output();
        run.is_ok_and(|o| o.status.success())
    };
    if there(COMPILER, &["--version"]) {
        return Ok(());
    }
    println!("no-std: installing {COMPILER}");
    let packages = [
        "install",
        "-y",
        "--no-install-recommends",
        "gcc-arm-none-eabi",
    ];
    if there("apt-get", &["update"]) && there("apt-get", &packages) {
        return Ok(());
    }
    Err(format!(
        "{COMPILER} is missing; run: apt-get install -y --no-install-recommends gcc-arm-none-eabi"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pure_crate_that_the_example_forgot_is_named() {
        let package = |name: &str, tier: u64, uses: &[&str]| {
            let uses: Vec<Value> = uses
                .iter()
                .map(|n| serde_json::json!({ "name": n }))
                .collect();
            serde_json::json!({ "name": name, "metadata": { "layers": { "tier": tier } }, "dependencies": uses })
        };
        let meta = serde_json::json!({
            "metadata": { "layers": { "pure-up-to": 3 } },
            "packages": [
                package("low", 0, &[]),
                package("new", 3, &["low"]),
                package("socket", 4, &["low"]),
                package(EXAMPLE, 7, &["low"]),
            ],
        });
        assert_eq!(left_out(&meta), ["new"]);
    }
}
