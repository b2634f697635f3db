//! `cargo xtask ci`: all of what has to pass.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::{
    bounds, layers, measured, no_std, panics, readme, root, run as exec, schema, semver, sim,
    sizes, tools, vectors,
};

/// One target directory for all of it, outside the checkout, so that fresh clones start warm.
fn target_dir() -> Option<PathBuf> {
    if std::env::var_os("CARGO_TARGET_DIR").is_some() {
        return None;
    }
    Some(tools::cache()?.join("betanet-target"))
}

/// A step's name, and what it does.
type Step<'a> = (&'a str, &'a dyn Fn() -> Result<(), String>);

/// Runs everything, in the order in which it fails fastest.
///
/// # Errors
///
/// The first step that fails.
pub fn run() -> Result<(), String> {
    // A second run of this very program, so that every step inherits the directory.
    if let Some(dir) = target_dir() {
        println!("ci: target directory {}", dir.display());
        let status = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--package", "xtask", "--", "ci"])
            .current_dir(root())
            .env("CARGO_TARGET_DIR", dir)
            .env("CARGO_INCREMENTAL", "0")
            // Panics tell their place without it; the directory is smaller, and links are faster.
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .status()
            .map_err(|e| e.to_string())?;
        return if status.success() {
            Ok(())
        } else {
            Err(format!("ci: {status}"))
        };
    }
    tools::install()?;
    let began = Instant::now();
    let all = "--workspace --all-targets --all-features --locked";
    let clippy = format!("clippy {all} -- -D warnings");
    let tests = format!("nextest run --profile ci {all}");
    let defaults = format!(
        "check --locked --package {}",
        measured::PROGRAMS.join(" --package ")
    );
    let steps: [Step<'_>; 19] = [
        ("fmt", &|| cargo("fmt --all -- --check")),
        ("readme texts", &readme::texts),
        ("sizes", &sizes::run),
        ("bounds", &bounds::run),
        ("layers", &layers::run),
        ("deny", &|| {
            // Without the network it needs the sources of all targets at hand.
            cargo("fetch --locked")?;
            cargo("deny --offline check --hide-inclusion-graph bans licenses sources")
        }),
        ("clippy", &|| cargo(&clippy)),
        // What users build: without the features that the tests ask for.
        ("default features", &|| cargo(&defaults)),
        ("no-std", &|| {
            // A machine that reaches no server of Rust's cannot have the target: said, and left out.
            let args = no_std::Arguments::default();
            match no_std::prepare(&args) {
                Ok(()) => no_std::run(&args),
                Err(why) => {
                    println!("ci: NOT CHECKED: {why}");
                    Ok(())
                }
            }
        }),
        ("semver", &semver::run),
        ("vectors", &known_answers),
        ("tests", &|| {
            let report = panics::report(&root());
            // An earlier run's report says nothing of this one.
            let _ = std::fs::remove_file(&report);
            let _ = std::fs::remove_file(sim::seeds_report());
            cargo(&tests)?;
            panics::check(&report)
        }),
        ("fog seeds", &fog_seeds),
        ("measurements", &measured::quick),
        ("schema", &schema::quick),
        ("doctests", &|| {
            cargo("test --doc --workspace --all-features --locked")
        }),
        ("rustdoc", &rustdoc),
        ("fuzz targets", &fuzz_targets),
        ("readme commands", &readme::commands),
    ];
    for (name, step) in steps {
        let start = Instant::now();
        println!("ci: {name}");
        step()?;
        println!("ci: {name} passed in {} s", start.elapsed().as_secs());
    }
    println!("ci: all passed in {} s", began.elapsed().as_secs());
    Ok(())
}

fn cargo(line: &str) -> Result<(), String> {
    let args: Vec<&str> = line.split_whitespace().collect();
    exec("cargo", &args)
}

/// Prints how many seeds of the fog's scenarios the tests ran.
fn fog_seeds() -> Result<(), String> {
    let path = sim::seeds_report();
    let told = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    print!("{told}");
    Ok(())
}

fn known_answers() -> Result<(), String> {
    if vectors::run(&root().join("spec-vectors"), &mut |line| println!("{line}"))? {
        Ok(())
    } else {
        Err("not every known answer was given".into())
    }
}

fn rustdoc() -> Result<(), String> {
    let status = Command::new("cargo")
        .args([
            "doc",
            "--workspace",
            "--no-deps",
            "--all-features",
            "--locked",
        ])
        .current_dir(root())
        .env("RUSTDOCFLAGS", "-D warnings")
        .status()
        .map_err(|e| e.to_string())?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("cargo doc: {status}"))
    }
}

/// Each target is one line over a function that the corpus tests call too: that the two lists are one is checked here.
fn fuzz_targets() -> Result<(), String> {
    let folder = root().join("fuzz");
    let names = |sub: &str, ending: &str| -> Result<Vec<String>, String> {
        let mut out: Vec<String> = std::fs::read_dir(folder.join(sub))
            .map_err(|e| format!("fuzz/{sub}: {e}"))?
            .filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned()))
            .filter_map(|n| n.strip_suffix(ending).map(str::to_owned))
            .collect();
        out.sort();
        Ok(out)
    };
    let (targets, corpora) = (names("fuzz_targets", ".rs")?, names("corpus", "")?);
    if targets == corpora && !targets.is_empty() {
        println!("fuzz: {}", targets.join(" "));
        Ok(())
    } else {
        Err(format!("fuzz targets {targets:?}, corpora {corpora:?}"))
    }
}

/// Runs the demo, optimised.
///
/// # Errors
///
/// It does not build or run.
pub fn demo() -> Result<(), String> {
    exec(
        "cargo",
        &[
            "run",
            "--release",
            "--locked",
            "--package",
            "betanet",
            "--",
            "demo",
        ],
    )
}
