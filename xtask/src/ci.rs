//! `cargo xtask ci`: all of what has to pass.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::{
    bounds, layers, measured, no_std, panics, readme, root, run as exec, schema, semver, sizes,
    vectors,
};

const DENY_VERSION: &str = "0.20";
const NEXTEST_VERSION: &str = "0.9";
/// Version of the server that speaks S3, which the tests of blobs look for in the folder of this name.
const MOTO_VERSION: &str = "5.2.5";
/// The packages with which it serves.
const MOTO_WITH: [&str; 2] = ["flask==3.1.3", "flask-cors==6.0.5"];

/// Version of the rules for accessible pages, which the panel's test in Chromium looks for in the folder of this name.
const AXE_VERSION: &str = "4.14.1";
/// Version of the program that sends the panel's API what its document allows, and what it does not.
const SCHEMATHESIS_VERSION: &str = "4.32.5";

/// One target directory for all of it, outside the checkout, so that fresh clones start warm.
fn target_dir() -> Option<PathBuf> {
    if std::env::var_os("CARGO_TARGET_DIR").is_some() {
        return None;
    }
    Some(cache()?.join("betanet-target"))
}

fn cache() -> Option<PathBuf> {
    std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
}

/// Installs packages of PyPI into a folder of their own, for a program that is looked for there.
fn python(folder: &Path, program: &str, packages: &[&str]) -> Result<(), String> {
    if folder.join("bin").join(program).exists() {
        return Ok(());
    }
    println!("ci: installing {program}");
    let at = folder.to_string_lossy();
    let made = has("python3", &["-m", "venv", &at]) || {
        let packages = ["install", "-y", "--no-install-recommends", "python3-venv"];
        has("apt-get", &["update"])
            && has("apt-get", &packages)
            && has("/usr/bin/python3", &["-m", "venv", "--clear", &at])
    };
    let pip = folder.join("bin/pip");
    let install = [&["install", "-q"][..], packages].concat();
    match made && has(&pip.to_string_lossy(), &install) {
        true => Ok(()),
        false => Err(format!(
            "{program} is missing; run: apt-get install -y python3-venv && python3 -m venv {at} && {at}/bin/pip install {}",
            packages
                .iter()
                .map(|package| format!("'{package}'"))
                .collect::<Vec<_>>()
                .join(" ")
        )),
    }
}

/// A folder of the cache. Another version has another one, so that an old program is not taken for it.
fn versioned(name: &str, version: &str) -> Result<PathBuf, String> {
    let cache = cache().ok_or("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join(format!("betanet-{name}-{version}")))
}

/// Installs the server that tests of blobs start, where they look for it.
fn moto() -> Result<(), String> {
    let server = format!("moto[s3]=={MOTO_VERSION}");
    let packages = [&[server.as_str()][..], &MOTO_WITH].concat();
    python(&versioned("moto", MOTO_VERSION)?, "moto_server", &packages)
}

/// Installs the program that tests the panel's API; where it is.
pub(crate) fn schemathesis() -> Result<PathBuf, String> {
    let folder = versioned("schemathesis", SCHEMATHESIS_VERSION)?;
    let package = format!("schemathesis=={SCHEMATHESIS_VERSION}");
    python(&folder, "schemathesis", &[&package])?;
    Ok(folder.join("bin/schemathesis"))
}

/// Installs axe-core, where the panel's test in Chromium looks for it.
fn axe() -> Result<(), String> {
    let folder = versioned("axe", AXE_VERSION)?;
    if folder.join("node_modules/axe-core/axe.min.js").exists() {
        return Ok(());
    }
    println!("ci: installing axe-core");
    if !has("npm", &["--version"]) {
        let packages = ["install", "-y", "--no-install-recommends", "npm"];
        if !(has("apt-get", &["update"]) && has("apt-get", &packages)) {
            return Err("npm is missing; run: apt-get install -y npm".into());
        }
    }
    let at = folder.to_string_lossy();
    let package = format!("axe-core@{AXE_VERSION}");
    match has("npm", &["install", "--silent", "--prefix", &at, &package]) {
        true => Ok(()),
        false => Err(format!(
            "axe-core is missing; run: npm install --prefix {at} {package}"
        )),
    }
}

fn has(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .output()
        .is_ok_and(|o| o.status.success())
}

/// Where Debian keeps the library, unless the variable names another place.
fn has_libclang() -> bool {
    let versions = std::fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten();
    let there = |dir: &std::fs::DirEntry| {
        let lib = dir.path().join("lib/libclang.so");
        dir.file_name().to_string_lossy().starts_with("llvm-") && lib.exists()
    };
    std::env::var_os("LIBCLANG_PATH").is_some() || versions.into_iter().any(|dir| there(&dir))
}

/// Installs what the chores need, or says what has to be installed.
fn tools() -> Result<(), String> {
    for program in ["cc", "git"] {
        if !has(program, &["--version"]) {
            return Err(format!(
                "{program} is missing; run: apt-get install -y gcc libc6-dev git"
            ));
        }
    }
    let compilers = ["cmake", "g++", "make"];
    if !(compilers.iter().all(|c| has(c, &["--version"])) && has_libclang()) {
        let packages = ["install", "-y", "cmake", "g++", "make", "libclang-dev"];
        println!("ci: installing what BoringSSL and jemalloc are built with");
        if !(has("apt-get", &["update"]) && has("apt-get", &packages)) {
            return Err(
                "BoringSSL and jemalloc cannot be built; run: apt-get install -y cmake g++ make libclang-dev"
                    .into(),
            );
        }
    }
    // What listeners are compared with.
    if !std::path::Path::new("/usr/sbin/nginx").exists() {
        println!("ci: installing nginx");
        let packages = ["install", "-y", "--no-install-recommends", "nginx-core"];
        if !(has("apt-get", &["update"]) && has("apt-get", &packages)) {
            return Err("nginx is missing; run: apt-get install -y nginx-core".into());
        }
    }
    // The journal's backend, which its tests start clusters of.
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let mut versions = versions.into_iter().flatten().flatten();
    if !versions.any(|dir| dir.path().join("bin/initdb").exists()) {
        println!("ci: installing PostgreSQL");
        let packages = ["install", "-y", "--no-install-recommends", "postgresql"];
        if !(has("apt-get", &["update"]) && has("apt-get", &packages)) {
            return Err("PostgreSQL is missing; run: apt-get install -y postgresql".into());
        }
    }
    // The bus on which the sensors' tests ask services.
    if !has("dbus-daemon", &["--version"]) {
        println!("ci: installing dbus-daemon");
        let packages = ["install", "-y", "--no-install-recommends", "dbus-daemon"];
        if !(has("apt-get", &["update"]) && has("apt-get", &packages)) {
            return Err("dbus-daemon is missing; run: apt-get install -y dbus-daemon".into());
        }
    }
    // The browser in which the control panel is tested.
    if !has("chromium", &["--version"]) {
        println!("ci: installing chromium");
        let packages = ["install", "-y", "--no-install-recommends", "chromium"];
        if !(has("apt-get", &["update"]) && has("apt-get", &packages)) {
            return Err("chromium is missing; run: apt-get install -y chromium".into());
        }
    }
    moto()?;
    axe()?;
    schemathesis()?;
    for component in ["fmt", "clippy"] {
        if !has("cargo", &[component, "--version"]) {
            return Err(format!(
                "cargo {component} is missing; run: rustup component add rustfmt clippy"
            ));
        }
    }
    for (name, version) in [("deny", DENY_VERSION), ("nextest", NEXTEST_VERSION)] {
        if !has("cargo", &[name, "--version"]) {
            println!("ci: installing cargo-{name} {version}");
            let status = Command::new("cargo")
                .args(["install", "--locked", &format!("cargo-{name}"), "--version"])
                .arg(format!("^{version}"))
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .status()
                .map_err(|e| e.to_string())?;
            if !status.success() {
                return Err(format!("cargo install cargo-{name}: {status}"));
            }
        }
    }
    Ok(())
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
    tools()?;
    let began = Instant::now();
    let all = "--workspace --all-targets --all-features --locked";
    let clippy = format!("clippy {all} -- -D warnings");
    let tests = format!("nextest run --profile ci {all}");
    let defaults = format!(
        "check --locked --package {}",
        measured::PROGRAMS.join(" --package ")
    );
    let steps: [Step<'_>; 18] = [
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
            cargo(&tests)?;
            panics::check(&report)
        }),
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
