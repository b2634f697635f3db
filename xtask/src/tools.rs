//! What the chores need beside Rust, and how it is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

const DENY_VERSION: &str = "0.20";
const NEXTEST_VERSION: &str = "0.9";
/// Version of the server that speaks S3, which the tests of blobs look for in the folder of this name.
const MOTO_VERSION: &str = "5.2.5";
/// The packages with which it serves.
const MOTO_WITH: [&str; 2] = ["flask==3.1.3", "flask-cors==6.0.5"];

/// Version of the package of signatures for the verifier in Python, whose test looks for it in the folder of this name.
const CRYPTOGRAPHY_VERSION: &str = "50.0.2";

/// Version of the rules for accessible pages, which the panel's test in Chromium looks for in the folder of this name.
const AXE_VERSION: &str = "4.14.1";
/// Version of the program that sends the panel's API what its document allows, and what it does not.
const SCHEMATHESIS_VERSION: &str = "4.32.5";

pub(crate) fn cache() -> Option<PathBuf> {
    std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
}

/// Installs packages of PyPI into a folder of their own, for a program that is looked for there.
fn python(folder: &Path, program: &str, packages: &[&str]) -> Result<(), String> {
    match folder.join("bin").join(program).exists() {
        true => Ok(()),
        false => install_python(folder, program, packages),
    }
}

fn install_python(folder: &Path, program: &str, packages: &[&str]) -> Result<(), String> {
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

/// Installs the package with which the verifier of ledgers checks signatures, where its test looks for it.
fn cryptography() -> Result<(), String> {
    let folder = versioned("cryptography", CRYPTOGRAPHY_VERSION)?;
    let python = folder.join("bin/python3");
    if has(&python.to_string_lossy(), &["-c", "import cryptography"]) {
        return Ok(());
    }
    let package = format!("cryptography=={CRYPTOGRAPHY_VERSION}");
    install_python(&folder, "cryptography", &[&package])
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
pub(crate) fn install() -> Result<(), String> {
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
    cryptography()?;
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
