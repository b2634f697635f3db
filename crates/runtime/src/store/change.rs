//! Changes of the served folder: commits and removals, each whole or not at all.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use betanet_bar::{Commit, Expect, Headers, StoreError};
use betanet_carrier::{file_in, served};
use betanet_wire::cbor;
use cap_std::fs::Dir;

use super::ledger::Charge;
use super::own::{charge_at, hidden, sidecar, sync};
use super::writes::{Writes, lock};
use super::{Writer, file_etag, medium};

/// Maximum number of segments of a written path.
pub(super) const DEPTH_MAX: usize = 16;

/// Checks that a path may be written, and returns the path in the folder.
pub(super) fn writable(path: &str) -> Result<&str, StoreError> {
    let target = served(path).ok_or(StoreError::Path)?;
    if target.split('/').count() > DEPTH_MAX {
        return Err(StoreError::Path);
    }
    Ok(target)
}

/// Checks that a file may be written at a path. Folders and other entries that are not files are not replaced. Each parent must
/// be a folder, or must not exist.
pub(super) fn may_be_at(dir: &Dir, target: &str) -> Result<(), StoreError> {
    let there = dir.symlink_metadata(target);
    let is_other = there.is_ok_and(|m| !(m.is_file() || m.is_symlink()))
        || dir.metadata(target).is_ok_and(|m| !m.is_file());
    let is_below_file = parents(target).any(|p| dir.metadata(p).is_ok_and(|m| !m.is_dir()));
    if is_other || is_below_file {
        return Err(StoreError::Path);
    }
    Ok(())
}

pub(super) fn commit(
    dir: &Dir,
    writer: &mut Writer,
    (path, target): (&str, &str),
    headers: &Headers,
    expect: &Expect,
) -> Result<Commit, StoreError> {
    let writes = Arc::clone(&writer.writes);
    let turn = lock(&writes.turn);
    let old = etag(dir, path)?;
    if !expect.holds(old.as_deref()) {
        return Err(StoreError::Changed);
    }
    may_be_at(dir, target)?;
    let kept = headers
        .iter()
        .next()
        .is_some()
        .then(|| cbor::to_vec(headers));
    let missing = parents(target).filter(|p| dir.metadata(p).is_err()).count();
    let side = kept
        .as_ref()
        .map_or(Charge::default(), |bytes| Charge::file(bytes.len() as u64));
    let more = side.plus(Charge::folders(missing as u64));
    let gone = charge_at(dir, target).plus(charge_at(dir, &sidecar(path)));
    {
        let mut ledger = lock(&writes.ledger);
        ledger.reserve_for(more, gone, writer.credit)?;
        ledger.begin_change();
    }
    let placing = Placing {
        dir,
        path,
        target,
        writer,
        headers: kept,
    };
    let placed = placing.place();
    let mut ledger = lock(&writes.ledger);
    if let Err(e) = placed {
        ledger.release(more);
        drop(ledger);
        // A parent that is a file, or a name that is too long for the disk, is the request's fault.
        return Err(match e.kind() {
            io::ErrorKind::NotADirectory
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::NotFound
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::PermissionDenied => StoreError::Path,
            // Since the write began, a folder on another disk was put in place.
            io::ErrorKind::CrossesDevices => StoreError::Changed,
            _ => medium(e),
        });
    }
    ledger.keep(writer.charge.plus(more));
    ledger.forget(gone);
    writer.end_replacing(&mut ledger);
    drop(ledger);
    writer.committed = true;
    let new = etag(dir, path)?.ok_or(StoreError::Medium)?;
    drop(turn);
    Ok(Commit {
        created: old.is_none(),
        etag: new,
    })
}

pub(super) fn remove(
    writes: &Writes,
    dir: &Dir,
    (path, target): (&str, &str),
    expect: &Expect,
) -> Result<bool, StoreError> {
    let _turn = lock(&writes.turn);
    let old = etag(dir, path)?;
    if !expect.holds(old.as_deref()) {
        return Err(StoreError::Changed);
    }
    if old.is_none() {
        return Ok(false);
    }
    lock(&writes.ledger).begin_change();
    let mut gone = charge_at(dir, target);
    dir.remove_file(target).map_err(medium)?;
    let side = sidecar(path);
    let headers = charge_at(dir, &side);
    if dir.remove_file(&side).is_ok() {
        gone = gone.plus(headers);
    }
    // An empty folder would be charged for ever, because no request could remove it.
    let emptied = parents(target)
        .rev()
        .take_while(|f| dir.remove_dir(f).is_ok());
    gone = gone.plus(Charge::folders(emptied.count() as u64));
    lock(&writes.ledger).forget(gone);
    sync(dir, Path::new(target).parent());
    Ok(true)
}

fn etag(dir: &Dir, path: &str) -> Result<Option<String>, StoreError> {
    let found = file_in(dir, path).map_err(medium)?;
    Ok(found.map(|(_, m)| file_etag(&m)))
}

/// Returns the folders above a path, outermost first.
fn parents(target: &str) -> impl DoubleEndedIterator<Item = &str> {
    target.match_indices('/').map(move |(at, _)| &target[..at])
}

/// A commit, which moves a hidden file to its place.
struct Placing<'a> {
    dir: &'a Dir,
    path: &'a str,
    target: &'a str,
    writer: &'a Writer,
    /// Headers of the file; `None` if there are none to keep.
    headers: Option<Vec<u8>>,
}

impl Placing<'_> {
    /// Places everything, or nothing. Folders that were created for it are removed again.
    fn place(&self) -> io::Result<()> {
        let mut made = Vec::new();
        let placed = self.folders(&mut made).and_then(|()| self.files());
        if placed.is_err() {
            for folder in made.iter().rev() {
                // A folder that is no longer empty remains, and is measured.
                let _ = self.dir.remove_dir(folder);
            }
        }
        placed
    }

    fn folders<'b>(&'b self, made: &mut Vec<&'b str>) -> io::Result<()> {
        for folder in parents(self.target) {
            match self.dir.create_dir(folder) {
                Ok(()) => made.push(folder),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn files(&self) -> io::Result<()> {
        let side = sidecar(self.path);
        let before = self.dir.read(&side).ok();
        self.keep_headers(&side, self.headers.as_deref())?;
        let (dir, name) = (&self.writer.dir, &self.writer.name);
        let placed = self
            .visible()
            .and_then(|()| dir.rename(name, self.dir, self.target));
        if placed.is_err() {
            // Restore the old headers. If that fails, the resource has headers that do not belong to it.
            let _ = self.keep_headers(&side, before.as_deref());
        }
        placed?;
        sync(self.dir, Path::new(self.target).parent());
        Ok(())
    }

    fn visible(&self) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::Permissions::from_mode(0o644);
        self.writer.file.set_permissions(mode)
    }

    /// Replaces the headers whole, or keeps the old ones.
    fn keep_headers(&self, side: &str, bytes: Option<&[u8]>) -> io::Result<()> {
        let Some(bytes) = bytes else {
            return match self.dir.remove_file(side) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            };
        };
        let (name, mut file) = hidden(self.dir)?;
        let written = file
            .write_all(bytes)
            .and_then(|()| file.sync_all())
            .and_then(|()| self.dir.rename(&name, self.dir, side));
        if written.is_err() {
            // If it cannot be removed now, the next start removes it.
            let _ = self.dir.remove_file(&name);
        }
        written
    }
}
