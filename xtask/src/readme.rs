//! `cargo xtask readme`: what the README promises about itself, and that its commands run.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{measured, output, root, target};

/// Checks the README, the crates' READMEs against their docs, and runs the README's commands.
///
/// # Errors
///
/// The first promise that does not hold.
pub fn run(write: bool) -> Result<(), String> {
    if write {
        return crate_readmes(true);
    }
    texts()?;
    commands()
}

/// Checks the README's layout, and the crates' READMEs against their docs. Runs nothing.
///
/// # Errors
///
/// The first difference.
pub fn texts() -> Result<(), String> {
    crate_readmes(false)?;
    shape(&text()?)
}

fn text() -> Result<String, String> {
    fs::read_to_string(root().join("README.md")).map_err(|e| format!("README.md: {e}"))
}

/// Where things stand in the README: by which line each must have come.
fn shape(text: &str) -> Result<(), String> {
    let by = |what: &str, needle: &str, most: usize| {
        let at = text.lines().position(|l| l.contains(needle)).map(|n| n + 1);
        match at {
            Some(n) if n <= most => Ok(()),
            Some(n) => Err(format!("README: {what} stands on line {n}, not by {most}")),
            None => Err(format!("README: {what} is missing")),
        }
    };
    by("the first command", "cargo run --release -- demo", 15)?;
    by("the drawing", "tier", 30)?;
    by("the embedding example", "```rust", 45)?;
    by("the status", "## Status", 60)
}

/// The programs that the README runs by `cargo run -p PACKAGE`.
const PROGRAMS: [(&str, &str); 4] = [
    ("cargo run -p betanet-gateway -- ", "gateway"),
    ("cargo run -p betanet-mixnode -- ", "mixnode"),
    ("cargo run -p betanet-coordinator-bin -- ", "coordinator"),
    ("cargo run -p betanet-worker-bin -- ", "worker"),
];

/// A line of the README with the programs that the tests were built with: `cargo run` selects other features, and compiles for minutes.
fn with_built(line: &str, dir: &Path) -> String {
    let mut line = line.replace(" --release", "");
    let programs = PROGRAMS.into_iter().chain([("cargo run -- ", "betanet")]);
    for (command, program) in programs {
        line = line.replace(command, &format!("{}/{program} ", dir.display()));
    }
    line
}

/// Runs every line of the README's `sh` blocks with the programs that the tests were built with. Leaves out `cargo xtask ci`, which runs this
/// chore, and `cargo xtask bench`, which takes minutes and is a step of CI of its own.
///
/// # Errors
///
/// The first command that fails.
pub fn commands() -> Result<(), String> {
    measured::programs()?;
    let dir = target().join("debug");
    let mut in_block = false;
    for line in text()?.lines() {
        match line {
            "```sh" => in_block = true,
            "```" => in_block = false,
            _ if in_block && !line.trim().is_empty() => {
                if line.starts_with("cargo xtask ci") || line.starts_with("cargo xtask bench") {
                    continue;
                }
                let line = with_built(line, &dir);
                println!("readme: {line}");
                let status = Command::new("bash")
                    .args(["-euo", "pipefail", "-c", &line])
                    .current_dir(root())
                    .status()
                    .map_err(|e| e.to_string())?;
                if !status.success() {
                    return Err(format!("README: {line}: {status}"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The `//!` lines at the top of a crate, links within the crate made plain.
fn crate_docs(source: &str) -> String {
    let mut out = String::new();
    let mut code = false;
    for line in source.lines().take_while(|l| l.starts_with("//!")) {
        let line = line.trim_start_matches("//!");
        let line = line.strip_prefix(' ').unwrap_or(line);
        if line.starts_with("```") {
            code = !code;
            let tag = if code { "```rust" } else { "```" };
            out.push_str(tag);
        } else if code && (line.starts_with("# ") || line == "#") {
            continue;
        } else {
            out.push_str(&line.replace("[`", "`").replace("`]", "`"));
        }
        out.push('\n');
    }
    out
}

fn crate_readmes(write: bool) -> Result<(), String> {
    let list = output(
        "git",
        &["ls-files", "crates/*/Cargo.toml", "bins/*/Cargo.toml"],
    )?;
    for manifest in list.lines() {
        let folder = root().join(Path::new(manifest).parent().unwrap_or(Path::new("")));
        let source = ["src/lib.rs", "src/main.rs"]
            .into_iter()
            .find_map(|f| fs::read_to_string(folder.join(f)).ok())
            .ok_or_else(|| format!("{manifest}: no lib.rs or main.rs"))?;
        let text = fs::read_to_string(folder.join("Cargo.toml")).map_err(|e| e.to_string())?;
        let name = text
            .lines()
            .find_map(|l| l.strip_prefix("name = \"")?.strip_suffix('"'))
            .unwrap_or_default();
        let want = format!(
            "# {name}\n\n{}\nPart of [betanet](https://github.com/betanet/betanet). MIT OR Apache-2.0.\n",
            crate_docs(&source)
        );
        let path = folder.join("README.md");
        if write {
            fs::write(&path, want).map_err(|e| e.to_string())?;
        } else if fs::read_to_string(&path).ok().as_ref() != Some(&want) {
            return Err(format!(
                "{}: not what the crate's docs say; run cargo xtask readme --write",
                path.display()
            ));
        }
    }
    Ok(())
}
