//! `FILE.part`, which is renamed to FILE once it is complete, and `FILE.part.json`, which describes its source.
//!
//! One process holds both at a time. Data that is not verifiably the beginning of the requested resource is discarded.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::place::folder_of;
use crate::Fail;

/// Maximum length of a name with our suffix. File systems allow 255 bytes.
const NAME_MAX: usize = 240;
/// Number of bytes kept of a longer name.
const NAME_KEPT: usize = 180;
/// Maximum length of a note. It has a few hundred bytes, and a URL at most 8 KiB.
const NOTE_MAX: u64 = 64 << 10;
/// Maximum number of attempts to open a file that another process has just renamed.
const OPENS: usize = 16;
/// Extended attribute of a complete file that records its source.
const MARK: &str = "user.betanet.copy";
const MARK_MAX: usize = 512;

/// The source of a part.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub(super) struct Holds {
    /// `bar://NAME/path`
    pub(super) url: String,
    /// The range, as given to `--range`.
    pub(super) range: Option<String>,
    /// Offset of its first byte in the resource.
    pub(super) first: u64,
    /// End of the requested range, after its last byte. `None` if unknown.
    pub(super) end: Option<u64>,
    /// Etag of the resource from which its bytes come.
    pub(super) etag: String,
}

/// The source of a complete file. It does not reveal the resource's URL.
#[derive(Debug, Eq, PartialEq, Serialize, Deserialize)]
struct Mark {
    /// SHA-256 of URL and range, in hex.
    of: String,
    etag: String,
    /// Length and modification time. Other values mean that the file was changed.
    bytes: u64,
    written: (i64, i64),
}

fn resource(url: &str, range: Option<&str>) -> String {
    let mut hash = Sha256::new();
    hash.update(url);
    hash.update([0]);
    hash.update(range.unwrap_or_default());
    betanet_wire::text::hex(&hash.finalize())
}

/// An open part.
pub(super) struct Part {
    file: File,
    path: PathBuf,
    note: PathBuf,
    target: PathBuf,
    done: bool,
}

/// Returns the path beside `path` with our suffix. A name that is too long is shortened and hashed.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let bytes = name.as_encoded_bytes();
    let mut own = std::ffi::OsString::new();
    if bytes.len() + ending.len() <= NAME_MAX {
        own.push(name);
    } else {
        let text = name.to_string_lossy();
        let kept = text.floor_char_boundary(NAME_KEPT);
        own.push(&text[..kept]);
        own.push("~");
        own.push(betanet_wire::text::hex(&Sha256::digest(bytes)[..8]));
    }
    own.push(ending);
    path.with_file_name(own)
}

impl Part {
    /// Opens the part of `target`, and creates it if it does not exist. Locks it against other processes.
    ///
    /// # Errors
    ///
    /// The part cannot be written, or another process is writing it.
    pub(super) fn open(target: &Path) -> Result<Self, Fail> {
        let path = beside(target, ".part");
        let at = Fail::file(&path);
        for _ in 0..OPENS {
            if fs::symlink_metadata(&path).is_ok_and(|m| !m.is_file()) {
                return Err(Fail::Local(format!("{}: is no file", path.display())));
            }
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(&at)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Fail::Local(format!(
                        "{}: another process writes it; wait for that, or name another -o FILE",
                        path.display()
                    )));
                }
                // The file system has no locks.
                Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
                Err(TryLockError::Error(e)) => return Err(at(e)),
            }
            // The previous holder may have renamed or removed it.
            let same =
                |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
            let ours = file.metadata().map_err(&at)?;
            if fs::symlink_metadata(&path).is_ok_and(|there| same(&ours, &there)) {
                return Ok(Self {
                    file,
                    note: beside(target, ".part.json"),
                    path,
                    target: target.to_owned(),
                    done: false,
                });
            }
        }
        Err(Fail::Local(format!(
            "{}: others keep replacing it",
            path.display()
        )))
    }

    /// Returns the file, for the writer.
    pub(super) fn writer(&self) -> Result<File, Fail> {
        self.file.try_clone().map_err(Fail::file(&self.path))
    }

    /// Returns the source that an earlier run recorded for this resource and range, and the number of stored bytes.
    pub(super) fn pick_up(
        &self,
        url: &str,
        range: Option<&str>,
    ) -> Result<Option<(Holds, u64)>, Fail> {
        let at = Fail::file(&self.path);
        let len = self.file.metadata().map_err(&at)?.len();
        if len == 0 {
            return Ok(None);
        }
        let fits = |h: &Holds| {
            h.url == url
                && h.range.as_deref() == range
                && h.end
                    .is_none_or(|end| h.first.checked_add(len).is_some_and(|n| n <= end))
        };
        if let Some(holds) = self.noted().filter(fits) {
            return Ok(Some((holds, len)));
        }
        note!(
            "note: {} is no part of this, and is begun anew",
            self.path.display()
        );
        Ok(None)
    }

    fn noted(&self) -> Option<Holds> {
        let meta = fs::symlink_metadata(&self.note).ok()?;
        if !meta.is_file() || meta.len() > NOTE_MAX {
            return None;
        }
        serde_json::from_slice(&fs::read(&self.note).ok()?).ok()
    }

    /// Discards the stored data.
    pub(super) fn clear(&self) -> Result<(), Fail> {
        self.file.set_len(0).map_err(Fail::file(&self.path))
    }

    /// Records the source of the part.
    pub(super) fn note(&self, holds: &Holds) -> Result<(), Fail> {
        let at = Fail::file(&self.note);
        let text = serde_json::to_vec(holds).map_err(|e| at(e.into()))?;
        let fresh = self.note.with_extension("new");
        let write = || {
            // A killed run may have left this file. Only one process is here at a time.
            match fs::remove_file(&fresh) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&fresh)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&fresh, &self.note)
        };
        write().map_err(|e| {
            let _ = fs::remove_file(&fresh);
            at(e)
        })
    }

    /// Removes the note of a part that cannot be resumed.
    pub(super) fn forget(&self) -> Result<(), Fail> {
        match fs::remove_file(&self.note) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Fail::file(&self.note)(e)),
            _ => Ok(()),
        }
    }

    /// Returns etag and length of the complete copy of this resource and range under the final name.
    pub(super) fn copy(&self, url: &str, range: Option<&str>) -> Option<(String, u64)> {
        let file = File::open(&self.target).ok()?;
        let mut buf = [0; MARK_MAX];
        let (text, _) = rustix::fs::fgetxattr(&file, MARK, &mut buf)
            .ok()
            .and_then(|n| buf.split_at_checked(n))?;
        let mark: Mark = serde_json::from_slice(text).ok()?;
        let meta = file.metadata().ok()?;
        let same = mark.of == resource(url, range)
            && mark.bytes == meta.len()
            && mark.written == (meta.mtime(), meta.mtime_nsec());
        same.then_some((mark.etag, mark.bytes))
    }

    /// Returns the file under the final name, for reading.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Renames the complete part to its final name.
    pub(super) fn keep(mut self, len: u64, holds: Option<&Holds>) -> Result<(), Fail> {
        let at = Fail::file(&self.path);
        let meta = self.file.metadata().map_err(&at)?;
        if meta.len() != len {
            return Err(Fail::Local(format!(
                "{}: has {} bytes, where {len} were written: another program changed it",
                self.path.display(),
                meta.len()
            )));
        }
        if let Ok(old) = fs::metadata(&self.target)
            && old.is_file()
        {
            let mode = fs::Permissions::from_mode(old.mode() & 0o7777);
            self.file.set_permissions(mode).map_err(&at)?;
        }
        if let Some(holds) = holds {
            self.mark(holds, &meta);
        }
        // If this fails, the part still matches its note.
        fs::rename(&self.path, &self.target).map_err(Fail::file(&self.target))?;
        self.done = true;
        self.forget()?;
        // Make the name as durable as the data. Some file systems do not support this call on a folder.
        match File::open(folder_of(&self.target)).and_then(|f| f.sync_all()) {
            Err(e) if e.kind() == ErrorKind::StorageFull => Err(Fail::file(&self.target)(e)),
            _ => Ok(()),
        }
    }

    /// Records the source of the complete file. On a file system without extended attributes, this only costs another fetch.
    fn mark(&self, holds: &Holds, meta: &fs::Metadata) {
        let mark = Mark {
            of: resource(&holds.url, holds.range.as_deref()),
            etag: holds.etag.clone(),
            bytes: meta.len(),
            written: (meta.mtime(), meta.mtime_nsec()),
        };
        let flags = rustix::fs::XattrFlags::empty();
        if let Ok(text) = serde_json::to_vec(&mark)
            && text.len() <= MARK_MAX
        {
            let _ = rustix::fs::fsetxattr(&self.file, MARK, &text, flags);
        }
    }

    /// Removes the part and its note.
    pub(super) fn discard(mut self) {
        self.remove();
    }

    fn remove(&mut self) {
        self.done = true;
        // If it cannot be removed, the next run starts again.
        let _ = fs::remove_file(&self.note);
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Remove an empty part, since nothing arrived.
        if !self.done && self.file.metadata().is_ok_and(|m| m.len() == 0) {
            self.remove();
        }
    }
}

/// Returns the SHA-256 of a file.
pub(super) fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut file = File::open(path)?;
    let mut buf = vec![0; 1 << 20];
    loop {
        match io::Read::read(&mut file, &mut buf)? {
            0 => return Ok(hash.finalize().into()),
            n => hash.update(&buf[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(url: &str, range: Option<&str>) -> Holds {
        Holds {
            url: url.into(),
            range: range.map(str::to_owned),
            first: 0,
            end: Some(10),
            etag: "\"e\"".into(),
        }
    }

    #[test]
    fn a_part_is_one_process_s_and_says_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x".repeat(255));
        let part = Part::open(&target).unwrap();
        assert!(Part::open(&target).is_err(), "it is locked");
        drop(part);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "it was empty");

        let part = Part::open(&target).unwrap();
        part.writer().unwrap().write_all(b"12345").unwrap();
        part.note(&holds("u", None)).unwrap();
        drop(part);
        let left = |url, range| Part::open(&target).unwrap().pick_up(url, range).unwrap();
        assert_eq!(left("u", None), Some((holds("u", None), 5)));
        assert_eq!(left("u", Some("0-9")), None, "a range is no whole");
        assert_eq!(left("v", None), None, "nor is another resource");
        let part = Part::open(&target).unwrap();
        part.writer().unwrap().write_all(&[0; 11]).unwrap();
        drop(part);
        assert_eq!(left("u", None), None, "longer than the resource");
    }

    #[test]
    fn a_whole_file_is_known_until_it_is_changed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("f");
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        let part = Part::open(&target).unwrap();
        assert_eq!(part.copy("u", None), None);
        part.writer().unwrap().write_all(b"whole").unwrap();
        part.note(&holds("u", None)).unwrap();
        part.keep(5, Some(&holds("u", None))).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o600);
        let part = Part::open(&target).unwrap();
        // A file system without extended attributes has no record.
        if let Some(known) = part.copy("u", None) {
            assert_eq!(known, ("\"e\"".into(), 5));
            assert_eq!(part.copy("v", None), None);
            assert_eq!(part.copy("u", Some("0-4")), None);
            fs::write(&target, "WHOLE").unwrap();
            assert_eq!(part.copy("u", None), None);
        }
    }

    #[test]
    fn a_length_that_is_not_what_was_written_gets_no_name() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("f");
        let part = Part::open(&target).unwrap();
        part.writer().unwrap().write_all(b"whole").unwrap();
        assert!(part.keep(6, None).is_err());
        assert!(!target.exists());
    }
}
