//! `cargo xtask sizes`: source files stay readable.

use std::path::PathBuf;

use crate::{output, root};

const MEDIAN: usize = 200;
const NINE_IN_TEN: usize = 700;
const MOST: usize = 1000;

/// Lines before a file's own tests, which stand last.
fn code_lines(text: &str) -> usize {
    text.lines()
        .position(|l| l == "#[cfg(test)]")
        .unwrap_or_else(|| text.lines().count())
}

/// Checks every Rust file that git knows.
///
/// # Errors
///
/// The bounds that do not hold, and the longest files.
pub fn run() -> Result<(), String> {
    let list = output("git", &["ls-files", "*.rs"])?;
    let mut sizes = Vec::new();
    for name in list.lines() {
        let path: PathBuf = root().join(name);
        // A file that was deleted and not committed yet.
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        sizes.push((code_lines(&text), name.to_owned()));
    }
    sizes.sort();
    let at = |share: usize| sizes.get(sizes.len() * share / 100).map_or(0, |s| s.0);
    let (median, nine, most) = (at(50), at(90), sizes.last().map_or(0, |s| s.0));
    println!(
        "sizes: {} files, median {median}, nine in ten up to {nine}, longest {most}",
        sizes.len()
    );
    if median <= MEDIAN && nine <= NINE_IN_TEN && most <= MOST {
        return Ok(());
    }
    let longest: Vec<String> = sizes
        .iter()
        .rev()
        .take(5)
        .map(|(n, name)| format!("{n} {name}"))
        .collect();
    Err(format!(
        "sizes: median at most {MEDIAN}, nine in ten at most {NINE_IN_TEN}, none over {MOST}:\n  {}",
        longest.join("\n  ")
    ))
}
