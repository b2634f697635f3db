//! `cargo xtask layers`: who may use whom, and what pure crates may reach.

pub mod circles;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::output;

/// Checks tiers over `cargo metadata`, purity crate by crate over `cargo tree`.
///
/// # Errors
///
/// All that is wrong, each with the offending path.
pub fn run() -> Result<(), String> {
    let cargo = env!("CARGO");
    let text = output(
        cargo,
        &["metadata", "--format-version=1", "--locked", "--no-deps"],
    )?;
    let meta: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    let rule = &meta["metadata"]["layers"];
    let mut problems = Vec::new();
    let crates = crates(&meta, &mut problems);
    check_edges(&crates, rule, &mut problems);
    check_circles(&meta, &mut problems)?;
    check_purity(cargo, &crates, rule, &mut problems)?;
    if problems.is_empty() {
        println!("layers: {} crates in order", crates.len());
        Ok(())
    } else {
        Err(format!("layers:\n  {}", problems.join("\n  ")))
    }
}

struct Crate {
    tier: u64,
    uses: Vec<String>,
    no_std: bool,
}

fn strings(v: &Value) -> Vec<&str> {
    v.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn crates(meta: &Value, problems: &mut Vec<String>) -> BTreeMap<String, Crate> {
    let mut out = BTreeMap::new();
    for p in meta["packages"].as_array().into_iter().flatten() {
        let name = p["name"].as_str().unwrap_or_default().to_owned();
        let Some(tier) = p["metadata"]["layers"]["tier"].as_u64() else {
            problems.push(format!("{name} names no tier"));
            continue;
        };
        // A dev edge ships nothing.
        let uses = p["dependencies"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|d| d["kind"] != "dev" && d["path"].is_string())
            .filter_map(|d| d["name"].as_str().map(str::to_owned))
            .collect();
        out.insert(
            name,
            Crate {
                tier,
                uses,
                no_std: says_no_std(p),
            },
        );
    }
    out
}

fn says_no_std(package: &Value) -> bool {
    let source = package["targets"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|t| strings(&t["kind"]).contains(&"lib"))
        .and_then(|t| std::fs::read_to_string(t["src_path"].as_str()?).ok());
    source.is_some_and(|s| s.lines().any(|l| l.trim() == "#![no_std]"))
}

/// Within a crate, modules use each other in one direction only.
fn check_circles(meta: &Value, problems: &mut Vec<String>) -> Result<(), String> {
    for p in meta["packages"].as_array().into_iter().flatten() {
        let manifest = p["manifest_path"].as_str().map(Path::new);
        let Some(src) = manifest.and_then(|m| Some(m.parent()?.join("src"))) else {
            continue;
        };
        if src.is_dir() {
            let name = p["name"].as_str().unwrap_or_default();
            let found = circles::find(&circles::sources(&src)?);
            problems.extend(found.iter().map(|c| format!("{name} has a circle: {c}")));
        }
    }
    Ok(())
}

/// Lower tiers only; within an ordered tier, those to the left.
fn check_edges(crates: &BTreeMap<String, Crate>, rule: &Value, problems: &mut Vec<String>) {
    let ordered: Vec<Vec<&str>> = rule["ordered"]
        .as_array()
        .into_iter()
        .flatten()
        .map(strings)
        .collect();
    let to_the_left = |from: &str, to: &str| {
        ordered.iter().any(|row| {
            let at = |n: &str| row.iter().position(|r| *r == n);
            matches!((at(from), at(to)), (Some(f), Some(t)) if t < f)
        })
    };
    for (name, c) in crates {
        for used in &c.uses {
            let Some(other) = crates.get(used) else {
                continue;
            };
            if other.tier < c.tier || (other.tier == c.tier && to_the_left(name, used)) {
                continue;
            }
            problems.push(format!(
                "{name} (tier {}) may not use {used} (tier {})",
                c.tier, other.tier
            ));
        }
    }
    for name in ordered.into_iter().flatten() {
        if !crates.contains_key(name) {
            problems.push(format!("the order names {name}, which is no crate here"));
        }
    }
}

fn check_purity(
    cargo: &str,
    crates: &BTreeMap<String, Crate>,
    rule: &Value,
    problems: &mut Vec<String>,
) -> Result<(), String> {
    let up_to = rule["pure-up-to"].as_u64().unwrap_or(0);
    let impure: BTreeSet<&str> = strings(&rule["impure"]).into_iter().collect();
    let allow: BTreeSet<(&str, &str)> = rule["allow"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|a| Some((a["via"].as_str()?, a["to"].as_str()?)))
        .collect();
    let mut used = BTreeSet::new();
    for (name, c) in crates.iter().filter(|(_, c)| c.tier <= up_to) {
        if !c.no_std {
            problems.push(format!("{name} (tier {}) must say #![no_std]", c.tier));
        }
        let tree = output(
            cargo,
            &[
                "tree",
                "-p",
                name,
                "-e",
                "no-dev",
                "--prefix=depth",
                "--locked",
                "--format",
                " {p}",
            ],
        )?;
        // The path to the line at hand, by depth.
        let mut path: Vec<&str> = Vec::new();
        for line in tree.lines() {
            let Some((depth, rest)) = line.split_once(' ') else {
                continue;
            };
            let Ok(depth) = depth.parse::<usize>() else {
                continue;
            };
            let package = rest.split_whitespace().next().unwrap_or_default();
            path.truncate(depth);
            let via = path.last().copied().unwrap_or_default();
            path.push(package);
            if !impure.contains(package) {
                continue;
            }
            if allow.contains(&(via, package)) {
                used.insert((via.to_owned(), package.to_owned()));
            } else {
                problems.push(format!(
                    "{name} (tier {}) must stay pure but reaches {}",
                    c.tier,
                    path.join(" -> ")
                ));
            }
        }
    }
    for (via, to) in allow {
        if !used.contains(&(via.to_owned(), to.to_owned())) {
            problems.push(format!(
                "the allowed path {via} -> {to} is not used; take it out"
            ));
        }
    }
    Ok(())
}
