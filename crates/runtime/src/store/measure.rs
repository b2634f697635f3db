//! Measures the charge of a folder's files on disk.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use cap_std::fs::Dir;

use super::ledger::Charge;
use super::own::{HEADERS, OWN, headers_name};

/// Prefix of the file names of writes in progress.
pub(super) const WRITE: &str = "write-";
/// Maximum depth of nested folders that are read.
const DEPTH_MAX: usize = 4096;

/// The result of measuring a folder.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// Charge of everything except writes in progress.
    pub(super) charge: Charge,
    /// Folders that could not be read, with the errors.
    pub(super) skipped: Vec<(PathBuf, io::Error)>,
    /// Names of kept headers without a resource. Empty unless the whole folder was read.
    pub(super) orphans: Vec<String>,
}

/// Measures a folder. At most two folders are open at any time, whatever the depth. Folders that cannot be read are skipped.
pub(super) fn measure(root: &Dir) -> Measured {
    let mut found = Measured::default();
    let mut headers = BTreeSet::new();
    // Read the kept headers first. The files then show which of them are needed.
    let mut waiting = vec![PathBuf::new(), PathBuf::from(OWN)];
    while let Some(path) = waiting.pop() {
        let looked = look(root, &path, &mut found, &mut headers, &mut waiting);
        match looked {
            Err(e) if e.kind() != ErrorKind::NotFound => found.skipped.push((path, e)),
            _ => {}
        }
    }
    if found.skipped.is_empty() {
        found.orphans = headers.into_iter().collect();
    }
    found
}

fn look(
    root: &Dir,
    path: &Path,
    found: &mut Measured,
    headers: &mut BTreeSet<String>,
    waiting: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let at_root = path.as_os_str().is_empty();
    let own = path == Path::new(OWN);
    for entry in descend(root, path)?.entries()? {
        let entry = entry?;
        let name = entry.file_name();
        let kind = match entry.file_type() {
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            kind => kind?,
        };
        if kind.is_dir() {
            if at_root && name == OWN {
                continue;
            }
            found.charge = found.charge.plus(Charge::folders(1));
            if path.components().count() < DEPTH_MAX {
                waiting.push(path.join(name));
            } else {
                let why = io::Error::other(format!("more than {DEPTH_MAX} folders deep"));
                found.skipped.push((path.join(name), why));
            }
        } else if !kind.is_file() {
            found.charge = found.charge.plus(Charge::folders(1));
        } else if !(own && begins(&name, WRITE)) {
            let len = match entry.metadata() {
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                meta => meta?.len(),
            };
            found.charge = found.charge.plus(Charge::file(len));
            if own {
                headers.extend(name.into_string().ok().filter(|n| n.starts_with(HEADERS)));
            } else if let Some(at) = path.join(name).to_str().map(|p| format!("/{p}")) {
                headers.remove(&headers_name(&at));
            }
        }
    }
    Ok(())
}

fn begins(name: &OsStr, with: &str) -> bool {
    name.as_encoded_bytes().starts_with(with.as_bytes())
}

/// Opens a folder by its path, one step at a time, so that neither the path's length nor its depth reaches a system limit.
fn descend(root: &Dir, path: &Path) -> io::Result<Dir> {
    let mut dir = root.try_clone()?;
    for step in path.components() {
        dir = dir.open_dir(step)?;
    }
    Ok(dir)
}
