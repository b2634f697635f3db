//! `cargo xtask semver`: the crates' public interfaces beside those of the last tag.

use std::process::Command;

use serde_json::Value;

use crate::{output, root, run as exec};

const VERSION: &str = "0.51";

/// Compares each published crate with the last tag; there is nothing to compare before the first one.
///
/// # Errors
///
/// A change that its version does not allow, or the tool cannot be installed.
pub fn run() -> Result<(), String> {
    let tags = output("git", &["tag", "--merged", "HEAD", "--sort=-creatordate"])?;
    let Some(tag) = last(&tags) else {
        println!("semver: there is no version tag yet: nothing to compare with");
        return Ok(());
    };
    let there = Command::new("cargo")
        .args(["semver-checks", "--version"])
        .output()
        .is_ok_and(|o| o.status.success());
    if !there {
        println!("semver: installing cargo-semver-checks {VERSION}");
        let version = format!("^{VERSION}");
        let install = ["install", "--locked", "cargo-semver-checks", "--version"];
        exec("cargo", &[&install[..], &[&version]].concat())?;
    }
    let text = output(
        env!("CARGO"),
        &["metadata", "--format-version=1", "--locked", "--no-deps"],
    )?;
    let meta: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    for name in published(&meta, |name| is_at(tag, name)) {
        exec(
            "cargo",
            &["semver-checks", "-p", &name, "--baseline-rev", tag],
        )?;
    }
    println!("semver: no change since {tag} that its version does not allow");
    Ok(())
}

/// The newest tag that names a version, as `v0.1.0`.
fn last(tags: &str) -> Option<&str> {
    tags.lines().map(str::trim).find(|tag| {
        let mut parts = tag.strip_prefix('v').unwrap_or_default().split('.');
        parts.next().is_some_and(|n| n.parse::<u32>().is_ok()) && parts.next().is_some()
    })
}

/// Libraries that are published and that the tag already has.
fn published(meta: &Value, at_tag: impl Fn(&str) -> bool) -> Vec<String> {
    let packages = meta["packages"].as_array().into_iter().flatten();
    packages
        // An empty list stands for `publish = false`, and null for any registry.
        .filter(|p| p["publish"].is_null())
        .filter(|p| {
            let targets = p["targets"].as_array().into_iter().flatten();
            targets
                .filter_map(|t| t["kind"][0].as_str())
                .any(|kind| kind == "lib")
        })
        .filter_map(|p| p["name"].as_str())
        .filter(|name| at_tag(name))
        .map(str::to_owned)
        .collect()
}

/// Whether a crate's folder was there at the tag.
fn is_at(tag: &str, name: &str) -> bool {
    let folder = name.strip_prefix("betanet-").unwrap_or(name);
    let object = format!("{tag}:crates/{folder}/Cargo.toml");
    Command::new("git")
        .args(["cat-file", "-e", &object])
        .current_dir(root())
        .output()
        .is_ok_and(|o| o.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_tag_is_taken() {
        assert_eq!(last(""), None);
        assert_eq!(last("nightly\nvectors-2\n"), None);
        assert_eq!(last("before-v2\nv0.2.0\nv0.1.0\n"), Some("v0.2.0"));
    }

    #[test]
    fn only_published_libraries_of_the_tag_are_compared() {
        let package = |name: &str, kind: &str, publish: Value| serde_json::json!({ "name": name, "targets": [{ "kind": [kind] }], "publish": publish });
        let meta = serde_json::json!({ "packages": [
            package("old", "lib", Value::Null),
            package("new", "lib", Value::Null),
            package("inner", "lib", serde_json::json!([])),
            package("tool", "bin", Value::Null),
        ]});
        assert_eq!(published(&meta, |name| name != "new"), ["old"]);
    }
}
