//! A store for a served folder, with a quota for written files.

mod held;
mod ledger;
mod listing;
mod measure;
mod open;

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use betanet_bar::{Commit, Expect, Headers, Listing, Meta, Store, StoreError};
use betanet_carrier::{Folder, content_type, file_in, served};
use betanet_wire::{cbor, text};
use bytes::Bytes;
use cap_std::fs::{Dir, Metadata, MetadataExt as _, OpenOptions, OpenOptionsExt as _};

use crate::Clock;
use crate::files::on_disk;
use held::Held;
use ledger::{Charge, Ledger};
use measure::{Measured, WRITE, measure};
use open::{Open, Seen, next};

/// The store's own folder within the served one. It is hidden, so no request reaches it.
const OWN: &str = ".betanet";
/// Prefix of the file names of kept headers.
const HEADERS: &str = "headers-";
/// Maximum number of segments of a written path.
const DEPTH_MAX: usize = 16;
/// Minimum interval between two measurements of the folder.
const REST: Duration = Duration::from_millis(20);
/// Minimum interval between two measurements, as a multiple of the last one's duration.
const REST_TIMES: u32 = 50;
/// Interval at which writes cause a new measurement, since others may change the folder too.
const STALE: Duration = Duration::from_secs(60);

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

pub(crate) type Ticks = dyn Fn() -> Duration + Send + Sync;

struct Writes {
    ledger: Mutex<Ledger>,
    /// Held while committing or removing, so that no other rename happens between check and rename.
    turn: Mutex<()>,
    /// The measured folder.
    of: Mutex<Arc<Dir>>,
    /// Time of the last measurement, and its duration. Locked while measuring.
    measured: Mutex<(Duration, Duration)>,
    elapsed: Box<Ticks>,
}

impl std::fmt::Debug for Writes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writes").finish_non_exhaustive()
    }
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

/// Removes kept headers without a resource. Returns the charge that this frees.
fn tidy(dir: &Dir, orphans: Vec<String>) -> Charge {
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

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Returns the file name of a resource's own headers.
fn headers_name(path: &str) -> String {
    let digest = betanet_keys::hash(&[path.as_bytes()]);
    format!("{HEADERS}{}", text::hex(&digest[..16]))
}

/// Returns the path at which a resource's headers are kept.
fn sidecar(path: &str) -> String {
    format!("{OWN}/{}", headers_name(path))
}

/// Returns the charge of the entry at a path. A symbolic link is charged itself, not its target.
fn charge_at(dir: &Dir, path: &str) -> Charge {
    match dir.symlink_metadata(path) {
        Ok(meta) if meta.is_file() => Charge::file(meta.len()),
        Ok(_) => Charge::folders(1),
        Err(_) => Charge::default(),
    }
}

/// Creates a hidden file with a random name, which only its owner may read. Locks it, so that a sweep skips it.
fn hidden(dir: &Dir) -> io::Result<(String, File)> {
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
fn sweep(dir: &Dir) -> io::Result<()> {
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

/// Syncs a folder's names to the disk, where possible.
fn sync(dir: &Dir, folder: Option<&Path>) {
    let opened = match folder.filter(|f| !f.as_os_str().is_empty()) {
        Some(folder) => dir.open_dir(folder),
        None => dir.try_clone(),
    };
    // The write itself is complete. The next one reports this error.
    let _ = opened.map(|d| d.into_std_file().sync_all());
}

impl Writes {
    /// Measures the folder and starts counting. Removes headers without a resource, if the whole folder could be read.
    fn begin(&self, folder: &Folder, dir: &Dir) -> io::Result<()> {
        dir.create_dir_all(OWN)
            .and_then(|()| sweep(dir))
            .map_err(|e| {
                let own = folder.path().join(OWN);
                io::Error::new(
                    e.kind(),
                    format!("{} cannot be written: {e}", own.display()),
                )
            })?;
        let found = measure(dir);
        for (path, error) in &found.skipped {
            let path = folder.path().join(path);
            tracing::warn!(path = %path.display(), %error, "a folder cannot be read: the quota leaves it out");
        }
        let kept = found.charge.less(tidy(dir, found.orphans));
        let mut ledger = lock(&self.ledger);
        let changes = ledger.changes();
        ledger.measured(kept, changes);
        if ledger.is_full() {
            tracing::warn!(
                path = %folder.path().display(),
                bytes = kept.bytes,
                entries = kept.entries,
                "the folder is as large as its quota lets it be: nothing can be written"
            );
        }
        Ok(())
    }

    /// Returns the folder that is currently at the path, measured.
    fn dir(&self, folder: &Folder) -> Result<Arc<Dir>, StoreError> {
        let dir = folder.dir();
        if Arc::ptr_eq(&lock(&self.of), &dir) {
            return Ok(dir);
        }
        let _turn = lock(&self.turn);
        let mut of = lock(&self.of);
        if !Arc::ptr_eq(&of, &dir) {
            lock(&self.ledger).begin_change();
            on_disk(|| self.begin(folder, &dir)).map_err(medium)?;
            *of = Arc::clone(&dir);
        }
        drop(of);
        Ok(dir)
    }

    /// Measures again, unless that was done a moment ago. Returns whether it was done now.
    fn again(&self) -> bool {
        let Ok(mut last) = self.measured.try_lock() else {
            return false;
        };
        let now = (self.elapsed)();
        let rest = REST.max(last.1.saturating_mul(REST_TIMES));
        if now.saturating_sub(last.0) < rest {
            return false;
        }
        on_disk(|| {
            let (dir, changes) = {
                let _turn = lock(&self.turn);
                (Arc::clone(&lock(&self.of)), lock(&self.ledger).changes())
            };
            let found = measure(&dir);
            // No write may run during the removal.
            let _turn = lock(&self.turn);
            if self.settle(&dir, found, changes) {
                return;
            }
            // If writes never pause, they wait this once.
            let dir = Arc::clone(&lock(&self.of));
            let changes = lock(&self.ledger).changes();
            self.settle(&dir, measure(&dir), changes);
        });
        let ended = (self.elapsed)();
        *last = (ended, ended.saturating_sub(now));
        true
    }

    /// Takes a measurement as the new count, unless something was written since. The caller holds `turn`.
    fn settle(&self, dir: &Dir, found: Measured, changes: u64) -> bool {
        if !lock(&self.ledger).measured(found.charge, changes) {
            return false;
        }
        let gone = tidy(dir, found.orphans);
        lock(&self.ledger).forget(gone);
        true
    }

    /// Measures again in the background, if the count may be wrong.
    fn look_again(self: &Arc<Self>) {
        let doubt = lock(&self.ledger).in_doubt();
        let since = match self.measured.try_lock() {
            Ok(last) => (self.elapsed)().saturating_sub(last.0),
            Err(_) => return,
        };
        if doubt || since >= STALE {
            let this = Arc::clone(self);
            let named = std::thread::Builder::new().name("measure".into());
            // If no thread can be started, the next write tries again.
            let _ = named.spawn(move || this.again());
        }
    }

    /// Charges a write. Measures the disk again first if there seems to be no room.
    fn charge(
        &self,
        take: impl Fn(&mut Ledger) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let taken = take(&mut lock(&self.ledger));
        if taken.is_err() && self.again() {
            return take(&mut lock(&self.ledger));
        }
        taken
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

/// Checks that a path may be written, and returns the path in the folder.
fn writable(path: &str) -> Result<&str, StoreError> {
    let target = served(path).ok_or(StoreError::Path)?;
    if target.split('/').count() > DEPTH_MAX {
        return Err(StoreError::Path);
    }
    Ok(target)
}

/// Checks that a file may be written at a path. Folders and other entries that are not files are not replaced. Each parent must
/// be a folder, or must not exist.
fn may_be_at(dir: &Dir, target: &str) -> Result<(), StoreError> {
    let there = dir.symlink_metadata(target);
    let is_other = there.is_ok_and(|m| !(m.is_file() || m.is_symlink()))
        || dir.metadata(target).is_ok_and(|m| !m.is_file());
    let is_below_file = parents(target).any(|p| dir.metadata(p).is_ok_and(|m| !m.is_dir()));
    if is_other || is_below_file {
        return Err(StoreError::Path);
    }
    Ok(())
}

fn commit(
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

fn remove(
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

#[cfg(test)]
mod tests;
