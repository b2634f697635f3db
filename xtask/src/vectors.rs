//! `cargo xtask vectors [DIR]`: runs every known-answer file through the crates.

mod base;
mod directory;
mod economy;
mod edges;
mod fog;
mod legs;
mod log;
mod mesh;
mod mix;
mod naming;
mod path;
mod registry;
mod session;
mod template;
mod vouchers;

use std::path::{Path, PathBuf};

use serde_json::Value;

/// Passed and total cases of one file, with what went wrong.
#[derive(Debug, Default)]
pub struct Tally {
    /// Cases that gave the known answer.
    pub passed: usize,
    /// All cases.
    pub total: usize,
    /// The others.
    pub failures: Vec<String>,
}

impl Tally {
    fn case(&mut self, label: impl Into<String>, outcome: Result<(), String>) {
        self.total += 1;
        match outcome {
            Ok(()) => self.passed += 1,
            Err(why) => self.failures.push(format!("{}: {why}", label.into())),
        }
    }
}

type Runner = fn(&Value) -> Result<Tally, String>;

/// The files of layers that are built, and what runs them.
const RUNNERS: &[(&str, Runner)] = &[
    ("bar", base::bar),
    ("det_cbor", base::det_cbor),
    ("directory", directory::directory),
    ("economy", economy::economy),
    ("ed25519_edges", edges::ed25519),
    ("fog", fog::fog),
    ("frames", base::frames),
    ("frames_aes", base::frames_aes),
    ("identity", base::identity),
    ("key_schedule", base::key_schedule),
    ("legs", legs::legs),
    ("log", log::log),
    ("lottery", mix::lottery),
    ("mesh", mesh::mesh),
    ("mix", mix::mix),
    ("naming", naming::naming),
    ("negotiation", base::negotiation),
    ("noise_xk", edges::noise_xk),
    ("path", path::path),
    ("registry", registry::registry),
    ("template", template::template),
    ("session", session::run),
    ("ticket", base::ticket),
    ("voucher_edges", vouchers::edges),
    ("vouchers", vouchers::vouchers),
    ("x25519_edges", edges::x25519),
];

/// The files of layers that are not built yet.
const LATER: &[&str] = &[];

/// Runs every file of a folder; whether all passed. One line a file goes to `out`.
///
/// # Errors
///
/// The folder cannot be read.
pub fn run(dir: &Path, out: &mut dyn FnMut(String)) -> Result<bool, String> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .map_err(|e| format!("{}: {e}", dir.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(format!("{}: no .json files", dir.display()));
    }
    let mut good = true;
    for path in files {
        let name = path
            .file_stem()
            .map(|s| s.to_string_lossy().into_owned())
            .unwrap_or_default();
        if LATER.contains(&name.as_str()) {
            out(format!("{name}: skipped"));
            continue;
        }
        match run_file(&name, &path) {
            Ok(tally) => {
                out(format!("{name}: {}/{}", tally.passed, tally.total));
                for failure in &tally.failures {
                    out(format!("  {failure}"));
                }
                good &= tally.passed == tally.total && tally.total > 0;
                if tally.total == 0 {
                    out(format!("  {name}: no cases"));
                }
            }
            Err(why) => {
                out(format!("{name}: {why}"));
                good = false;
            }
        }
    }
    Ok(good)
}

fn run_file(name: &str, path: &Path) -> Result<Tally, String> {
    let (_, runner) = RUNNERS
        .iter()
        .find(|(n, _)| *n == name)
        .ok_or("no runner knows this file")?;
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let value: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    runner(&value["cases"])
}

// What the runners read their files with.

fn list<'a>(v: &'a Value, what: &str) -> Result<&'a Vec<Value>, String> {
    v.as_array().ok_or_else(|| format!("{what}: not a list"))
}

fn text<'a>(v: &'a Value, key: &str) -> Result<&'a str, String> {
    v[key].as_str().ok_or_else(|| format!("{key}: not text"))
}

fn hex(v: &Value, key: &str) -> Result<Vec<u8>, String> {
    betanet_wire::text::unhex(text(v, key)?).ok_or_else(|| format!("{key}: not hex"))
}

fn array<const N: usize>(v: &Value, key: &str) -> Result<[u8; N], String> {
    hex(v, key)?
        .try_into()
        .map_err(|_| format!("{key}: not {N} bytes"))
}

fn number(v: &Value, key: &str) -> Result<u64, String> {
    v[key]
        .as_u64()
        .or_else(|| v[key].as_str()?.parse().ok())
        .ok_or_else(|| format!("{key}: not a number"))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Result<(), String> {
    if got == want {
        Ok(())
    } else {
        Err(format!("{what}: got {got:02x?}, want {want:02x?}"))
    }
}
