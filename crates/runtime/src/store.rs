//! A store for a served folder, with a quota for written files.

mod change;
mod held;
mod ledger;
mod listing;
mod measure;
mod open;
mod own;
mod writes;

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use betanet_bar::{Commit, Expect, Headers, Listing, Meta, Store, StoreError};
use betanet_carrier::{Folder, content_type, file_in, served};
use betanet_dial::on_disk;
use betanet_wire::cbor;
use bytes::Bytes;
use cap_std::fs::{Dir, Metadata, MetadataExt as _};

use crate::Clock;
use change::{commit, may_be_at, remove, writable};
use held::Held;
use ledger::{Charge, Ledger};
use open::{Open, Seen, next};
use own::{charge_at, hidden, sidecar};
pub(crate) use writes::Ticks;
use writes::{Writes, lock};

/// Serves a folder, and stores PUTs and POSTs in it up to a quota.
///
/// Nothing outside the folder is ever opened, not even through symbolic links, and only regular files are read. A write becomes
/// visible whole, by a rename. If a file is written to while it is read, the read ends with an error: the parts read before and
/// after would not belong together.
///
/// **Quota.** Each file is charged its length and 4 096 bytes, and each folder 4 096 bytes. Headers that are kept with a file are
/// charged as one more file, and writes in progress count. A write that replaces a file is charged the difference: until it is
/// complete, the disk holds both. Of several writes to one file at a time, one has this credit. Written paths have at most 16
/// segments.
///
/// A start measures the same charge that was counted before. Others may change the folder as they like: it is measured again once
/// a minute while there are writes, and before a write is refused.
#[derive(Clone, Debug)]
pub struct FolderStore {
    folder: Folder,
    writes: Option<Arc<Writes>>,
    lists: Arc<listing::Lists>,
    held: Held,
}

/// A resource that is being read.
#[derive(Debug)]
pub struct Reader {
    path: String,
    etag: String,
    held: Option<Open>,
}

/// A write in progress: a hidden file, removed on drop.
#[derive(Debug)]
pub struct Writer {
    dir: Arc<Dir>,
    writes: Arc<Writes>,
    name: String,
    file: File,
    charge: Charge,
    /// Path of the file that this write replaces, and its charge.
    replaces: Option<(String, Charge)>,
    /// The part of `charge` that replaces it.
    credit: Charge,
    committed: bool,
}

impl Writer {
    /// Charges this much more.
    fn charge(&mut self, more: Charge) -> Result<(), StoreError> {
        let charge = self.charge.plus(more);
        let replaced = self.replaces.as_ref().map(|(_, charge)| *charge);
        let credit = replaced.unwrap_or_default().least(charge);
        let fresh = credit.less(self.credit);
        self.writes.charge(|ledger| ledger.reserve(more, fresh))?;
        (self.charge, self.credit) = (charge, credit);
        Ok(())
    }

    fn end_replacing(&mut self, ledger: &mut Ledger) {
        if let Some((path, _)) = self.replaces.take() {
            ledger.end_replacing(&path, std::mem::take(&mut self.credit));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let writes = Arc::clone(&self.writes);
        self.end_replacing(&mut lock(&writes.ledger));
        if !self.committed {
            // If it cannot be removed now, the next start removes it.
            let _ = self.dir.remove_file(&self.name);
            lock(&self.writes.ledger).release(self.charge);
        }
    }
}

impl FolderStore {
    /// Serves a folder for reading only.
    ///
    /// # Errors
    ///
    /// The folder does not exist.
    pub fn read_only(path: &Path) -> io::Result<Self> {
        Ok(Self {
            folder: Folder::open(path)?,
            writes: None,
            lists: Arc::default(),
            held: Held::default(),
        })
    }

    /// Serves a folder that may grow to `bytes` bytes in `entries` files and folders, including the existing ones.
    ///
    /// # Errors
    ///
    /// The folder does not exist, or is not writable.
    pub fn writable(path: &Path, bytes: u64, entries: u64) -> io::Result<Self> {
        let clock = Clock::start();
        Self::timed(path, bytes, entries, Box::new(move || clock.elapsed()))
    }

    /// Returns the same store for a session, whose open files are counted together.
    pub(crate) fn of_session(&self, session: u64) -> Self {
        Self {
            held: self.held.of_session(session),
            ..self.clone()
        }
    }

    pub(crate) fn timed(
        path: &Path,
        bytes: u64,
        entries: u64,
        elapsed: Box<Ticks>,
    ) -> io::Result<Self> {
        let folder = Folder::open(path)?;
        let dir = folder.dir();
        let began = elapsed();
        let writes = Writes {
            ledger: Mutex::new(Ledger::new(bytes, entries)),
            turn: Mutex::new(()),
            of: Mutex::new(Arc::clone(&dir)),
            measured: Mutex::default(),
            elapsed,
        };
        writes.begin(&folder, &dir)?;
        let ended = (writes.elapsed)();
        *lock(&writes.measured) = (ended, ended.saturating_sub(began));
        Ok(Self {
            folder,
            writes: Some(Arc::new(writes)),
            lists: Arc::default(),
            held: Held::default(),
        })
    }

    fn meta(&self, dir: &Dir, path: &str, meta: &Metadata) -> Meta {
        let kept = self
            .writes
            .as_ref()
            .and_then(|_| dir.read(sidecar(path)).ok())
            .and_then(|bytes| cbor::from_slice::<Headers>(&bytes).ok());
        let mut headers = kept.unwrap_or_default();
        if headers.get("content-type").is_none() {
            headers.set("content-type", content_type(path));
        }
        Meta {
            len: meta.len(),
            etag: file_etag(meta),
            headers,
        }
    }
}

impl Store for FolderStore {
    type Reader = Reader;
    type Writer = Writer;

    fn open(&mut self, path: &str) -> Result<Option<(Meta, Reader)>, StoreError> {
        let dir = self.folder.dir();
        let found = file_in(&dir, path).map_err(medium)?;
        Ok(found.map(|(file, meta)| {
            let written = meta.modified().ok();
            let seen = Seen(meta.len(), written.map(cap_std::time::SystemTime::into_std));
            let place = self.held.enter();
            let held = place.map(|place| Open::new(file.into_std(), seen, place));
            let meta = self.meta(&dir, path, &meta);
            let reader = Reader {
                path: path.to_owned(),
                etag: meta.etag.clone(),
                held,
            };
            (meta, reader)
        }))
    }

    fn read(&mut self, reader: &mut Reader, offset: u64, max: usize) -> Result<Bytes, StoreError> {
        if let Some(open) = &mut reader.held {
            return open.read(offset, max);
        }
        let found = file_in(&self.folder.dir(), &reader.path).map_err(medium)?;
        match found {
            Some((file, meta)) if file_etag(&meta) == reader.etag => {
                let mut file = file.into_std();
                file.seek(SeekFrom::Start(offset)).map_err(medium)?;
                next(&file, max).map_err(medium)
            }
            _ => Err(StoreError::Changed),
        }
    }

    fn read_ready(
        &mut self,
        reader: &mut Reader,
        offset: u64,
        max: usize,
    ) -> Option<Result<Bytes, StoreError>> {
        reader.held.as_mut()?.read_ready(offset, max)
    }

    fn list(&mut self, path: &str, after: &str, max: usize) -> Result<Option<Listing>, StoreError> {
        on_disk(|| self.lists.list(&self.folder, path, after, max))
    }

    fn may_write(&mut self, path: &str) -> Result<(), StoreError> {
        let writes = self.writes.clone().ok_or(StoreError::ReadOnly)?;
        let target = writable(path)?;
        let dir = writes.dir(&self.folder)?;
        on_disk(|| may_be_at(&dir, target))
    }

    fn create(&mut self) -> Result<Writer, StoreError> {
        let writes = self.writes.clone().ok_or(StoreError::ReadOnly)?;
        let dir = writes.dir(&self.folder)?;
        begin(writes, dir, None)
    }

    fn replace(&mut self, path: &str) -> Result<Writer, StoreError> {
        let writes = self.writes.clone().ok_or(StoreError::ReadOnly)?;
        let target = writable(path)?;
        let dir = writes.dir(&self.folder)?;
        let there = on_disk(|| charge_at(&dir, target).plus(charge_at(&dir, &sidecar(path))));
        let credit = there != Charge::default() && lock(&writes.ledger).begin_replacing(path);
        begin(writes, dir, credit.then(|| (path.to_owned(), there)))
    }

    fn write(&mut self, writer: &mut Writer, bytes: &[u8]) -> Result<(), StoreError> {
        writer.charge(Charge::more(bytes.len() as u64))?;
        writer.file.write_all(bytes).map_err(medium)
    }

    fn commit(
        &mut self,
        mut writer: Writer,
        path: &str,
        headers: &Headers,
        expect: &Expect,
    ) -> Result<Commit, StoreError> {
        let target = writable(path)?;
        let writes = Arc::clone(&writer.writes);
        on_disk(|| writer.file.sync_all()).map_err(medium)?;
        let dir = writes.dir(&self.folder)?;
        let mut place = || on_disk(|| commit(&dir, &mut writer, (path, target), headers, expect));
        let mut done = place();
        // Headers and folders are charged here. Like bytes, they cause a second measurement if there is no room.
        if done == Err(StoreError::Quota) && writes.again() {
            done = place();
        }
        writes.look_again();
        done
    }

    fn remove(&mut self, path: &str, expect: &Expect) -> Result<bool, StoreError> {
        let writes = self.writes.clone().ok_or(StoreError::ReadOnly)?;
        let Some(target) = served(path) else {
            return Ok(false);
        };
        let dir = writes.dir(&self.folder)?;
        let done = on_disk(|| remove(&writes, &dir, (path, target), expect));
        writes.look_again();
        done
    }
}

/// Begins a write: charges an empty file, and creates it.
fn begin(
    writes: Arc<Writes>,
    dir: Arc<Dir>,
    replaces: Option<(String, Charge)>,
) -> Result<Writer, StoreError> {
    let charge = Charge::file(0);
    let replaced = replaces.as_ref().map(|(_, charge)| *charge);
    let credit = replaced.unwrap_or_default().least(charge);
    let give_up = |credit, error| {
        if let Some((path, _)) = &replaces {
            lock(&writes.ledger).end_replacing(path, credit);
        }
        error
    };
    let charged = writes.charge(|ledger| ledger.reserve(charge, credit));
    charged.map_err(|e| give_up(Charge::default(), e))?;
    match hidden(&dir) {
        Ok((name, file)) => Ok(Writer {
            dir,
            writes,
            name,
            file,
            charge,
            replaces,
            credit,
            committed: false,
        }),
        Err(e) => {
            lock(&writes.ledger).release(charge);
            Err(give_up(credit, medium(e)))
        }
    }
}

fn medium(error: io::Error) -> StoreError {
    tracing::warn!(%error, "the store's medium failed");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Medium,
    }
}

fn file_etag(meta: &Metadata) -> String {
    let epoch = SystemTime::UNIX_EPOCH;
    let time = meta
        .modified()
        .ok()
        .and_then(|t| t.into_std().duration_since(epoch).ok())
        .map_or(0, |d| d.as_nanos());
    format!("\"{:x}-{time:x}-{:x}\"", meta.ino(), meta.len())
}

#[cfg(test)]
mod tests;
