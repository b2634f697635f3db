//! Files of the store itself: kept headers and writes in progress, in a hidden folder of the served one.

use std::fs::File;
use std::io;
use std::path::Path;

use betanet_wire::text;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};

use super::ledger::Charge;
use super::measure::WRITE;

/// The store's own folder within the served one. It is hidden, so no request reaches it.
pub(super) const OWN: &str = ".betanet";
/// Prefix of the file names of kept headers.
pub(super) const HEADERS: &str = "headers-";

/// Returns the file name of a resource's own headers.
pub(super) fn headers_name(path: &str) -> String {
    let digest = betanet_keys::hash(&[path.as_bytes()]);
    format!("{HEADERS}{}", text::hex(&digest[..16]))
}

/// Returns the path at which a resource's headers are kept.
pub(super) fn sidecar(path: &str) -> String {
    format!("{OWN}/{}", headers_name(path))
}

/// Returns the charge of the entry at a path. A symbolic link is charged itself, not its target.
pub(super) fn charge_at(dir: &Dir, path: &str) -> Charge {
    match dir.symlink_metadata(path) {
        Ok(meta) if meta.is_file() => Charge::file(meta.len()),
        Ok(_) => Charge::folders(1),
        Err(_) => Charge::default(),
    }
}

/// Creates a hidden file with a random name, which only its owner may read. Locks it, so that a sweep skips it.
pub(super) fn hidden(dir: &Dir) -> io::Result<(String, File)> {
    let mut drawn = [0; 16];
    getrandom::fill(&mut drawn).map_err(|_| io::Error::other("the system gives no randomness"))?;
    let name = format!("{OWN}/{WRITE}{}", text::hex(&drawn));
    let mut options = OpenOptions::new();
    let options = options.write(true).create_new(true).mode(0o600);
    let file = match dir.open_with(&name, options) {
        // The folder for such files has been removed.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            dir.create_dir_all(OWN)?;
            dir.open_with(&name, options)?
        }
        opened => opened?,
    };
    let file = file.into_std();
    // On file systems without locks, only a start sweeps.
    let _ = file.try_lock();
    Ok((name, file))
}

/// Removes unfinished writes of processes that have ended.
pub(super) fn sweep(dir: &Dir) -> io::Result<()> {
    for entry in dir.read_dir(OWN)? {
        let name = entry?.file_name();
        if name.to_string_lossy().starts_with(WRITE) {
            let path = Path::new(OWN).join(name);
            let held = dir.open(&path).map(cap_std::fs::File::into_std);
            if held.is_ok_and(|f| matches!(f.try_lock(), Err(std::fs::TryLockError::WouldBlock))) {
                continue;
            }
            dir.remove_file(path)?;
        }
    }
    Ok(())
}

/// Removes kept headers without a resource. Returns the charge that this frees.
pub(super) fn tidy(dir: &Dir, orphans: Vec<String>) -> Charge {
    let mut gone = Charge::default();
    for name in orphans {
        let path = format!("{OWN}/{name}");
        let charge = charge_at(dir, &path);
        if dir.remove_file(&path).is_ok() {
            gone = gone.plus(charge);
        }
    }
    gone
}

/// Syncs a folder's names to the disk, where possible.
pub(super) fn sync(dir: &Dir, folder: Option<&Path>) {
    let opened = match folder.filter(|f| !f.as_os_str().is_empty()) {
        Some(folder) => dir.open_dir(folder),
        None => dir.try_clone(),
    };
    // The write itself is complete. The next one reports this error.
    let _ = opened.map(|d| d.into_std_file().sync_all());
}
