//! Append-only logs of tasks' copies.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use betanet_store::State;
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::backend::free;
use crate::index::UNIT;
use crate::names::create_folder;
use crate::{Digest, Error, FLOOR};

/// Maximum length of a log, in bytes.
pub const LOG_MAX: u64 = 16 << 20;
/// Maximum length of one append, in bytes.
pub const APPEND_MAX: usize = 64 << 10;
/// Maximum length of one read, in bytes.
pub const READ_MAX: u64 = 256 << 10;
/// Maximum number of operations that work on the disk at a time. Others wait.
const AT_ONCE: usize = 16;

/// Settings of the logs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogSettings {
    /// Bytes of all logs together. Each is charged its length, rounded up to 4 KiB.
    pub quota: u64,
    /// Free space on the disk below which nothing is appended, in bytes. 0 appends until the disk is full.
    pub floor: u64,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            quota: 4 << 30,
            floor: FLOOR,
        }
    }
}

/// Logs in a state folder, one of each copy of a task: a copy is named by the task's ID and its fence. Clones share them.
///
/// Appends are not synced to the disk: they outlast the process, and a loss of power may cost the last seconds.
#[derive(Clone)]
pub struct Logs(Arc<Inner>);

/// Name of a log: the task's ID, and the copy's fence.
type Name = (Digest, u64);

struct Inner {
    folder: PathBuf,
    settings: LogSettings,
    index: Mutex<Index>,
    at_once: Semaphore,
    /// Keeps the folder's lock.
    _state: Arc<State>,
}

#[derive(Default)]
struct Index {
    logs: BTreeMap<Name, Arc<Mutex<Log>>>,
    /// Bytes charged for all logs.
    used: u64,
}

#[derive(Default)]
struct Log {
    len: u64,
    removed: bool,
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").finish_non_exhaustive()
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the bytes that a log of this length is charged.
const fn charge(len: u64) -> u64 {
    if len < UNIT {
        UNIT
    } else {
        len.next_multiple_of(UNIT)
    }
}

fn file_name((task, fence): &Name) -> String {
    format!("{task}-{fence:016x}")
}

fn parse(name: &str) -> Option<Name> {
    let (task, fence) = name.split_once('-')?;
    let name = (Digest::parse(task)?, u64::from_str_radix(fence, 16).ok()?);
    (file_name(&name).split_once('-')?.1 == fence).then_some(name)
}

impl Inner {
    fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(file_name(name))
    }

    fn find(&self, name: &Name) -> Option<Arc<Mutex<Log>>> {
        lock(&self.index).logs.get(name).cloned()
    }

    fn missing(&(task, fence): &Name) -> Error {
        Error::NoLog { task, fence }
    }

    /// Makes room for a log that grows from `before` to `after` bytes.
    fn reserve(&self, before: Option<u64>, after: u64) -> Result<u64, Error> {
        let bytes = charge(after) - before.map_or(0, charge);
        let LogSettings { quota, floor } = self.settings;
        if let Some(free) = free(&self.folder).filter(|_| floor > 0)
            && free < floor.saturating_add(bytes)
        {
            return Err(Error::DiskFloor { free, floor });
        }
        let mut index = lock(&self.index);
        if index.used + bytes > quota {
            let needed = bytes;
            return Err(Error::Quota { needed, quota });
        }
        index.used += bytes;
        Ok(bytes)
    }

    fn append(&self, name: Name, off: u64, bytes: &[u8]) -> Result<u64, Error> {
        loop {
            let (log, new) = match self.find(&name) {
                Some(log) => (log, false),
                None if off > 0 => return Err(Error::Offset { next: 0 }),
                None => (Arc::new(Mutex::new(Log::default())), true),
            };
            let mut held = lock(&log);
            if new {
                let reserved = self.reserve(None, 0)?;
                let mut index = lock(&self.index);
                // Another append may have been faster.
                if index.logs.contains_key(&name) {
                    index.used -= reserved;
                    continue;
                }
                index.logs.insert(name, Arc::clone(&log));
            }
            if held.removed {
                continue;
            }
            let done = self.extend(&name, &mut held, off, bytes);
            if done.is_err() && new {
                // Nothing stands, so there is no log.
                let _ = fs::remove_file(self.path(&name));
                self.forget(&name, &mut held);
            }
            return done;
        }
    }

    /// Drops a log from the index.
    fn forget(&self, name: &Name, log: &mut Log) {
        log.removed = true;
        let mut index = lock(&self.index);
        if index.logs.remove(name).is_some() {
            index.used -= charge(log.len);
        }
    }

    fn extend(&self, name: &Name, log: &mut Log, off: u64, bytes: &[u8]) -> Result<u64, Error> {
        let end = off + bytes.len() as u64;
        if off > log.len {
            return Err(Error::Offset { next: log.len });
        }
        let failed = || Error::backend("append to a log");
        let path = self.path(name);
        let mut options = OpenOptions::new();
        // A file that has gone is not made anew with a hole in it.
        let options = options.read(true).write(true).mode(0o600);
        let options = options.create(log.len == 0);
        // What it has already is a repetition, after an answer that was lost. `APPEND_MAX` bounds it.
        let known = usize::try_from(log.len - off).map_or(bytes.len(), |n| n.min(bytes.len()));
        let (again, new) = bytes.split_at(known);
        let file = options.open(&path).map_err(failed())?;
        if !again.is_empty() {
            let mut have = vec![0; again.len()];
            file.read_exact_at(&mut have, off).map_err(failed())?;
            if have != again {
                return Err(Error::Offset { next: log.len });
            }
        }
        if new.is_empty() {
            return Ok(log.len);
        }
        let reserved = self.reserve(Some(log.len), end)?;
        if let Err(e) = file.write_all_at(new, log.len) {
            // What was written of it does not count.
            let _ = file.set_len(log.len);
            lock(&self.index).used -= reserved;
            return Err(failed()(e));
        }
        log.len = end;
        Ok(end)
    }

    fn read(&self, name: &Name, range: &Range<u64>) -> Result<Bytes, Error> {
        let log = self.find(name).ok_or_else(|| Self::missing(name))?;
        let held = lock(&log);
        if held.removed {
            return Err(Self::missing(name));
        }
        if range.start > held.len || range.start > range.end {
            return Err(Error::Range { size: held.len });
        }
        let len = (range.end.min(held.len) - range.start).min(READ_MAX);
        let mut out = vec![0; usize::try_from(len).unwrap_or(0)];
        if !out.is_empty() {
            let failed = || Error::backend("read a log");
            let file = File::open(self.path(name)).map_err(failed())?;
            file.read_exact_at(&mut out, range.start)
                .map_err(failed())?;
        }
        Ok(out.into())
    }

    fn remove(&self, name: &Name) -> Result<bool, Error> {
        let Some(log) = self.find(name) else {
            return Ok(false);
        };
        let mut held = lock(&log);
        if held.removed {
            return Ok(false);
        }
        match fs::remove_file(self.path(name)) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(Error::backend("remove a log")(e));
            }
            _ => self.forget(name, &mut held),
        }
        Ok(true)
    }
}

/// Lists the logs of a folder. Other files are left alone.
fn list(folder: &Path) -> io::Result<Index> {
    let mut index = Index::default();
    for file in fs::read_dir(folder)? {
        let file = file?;
        let Some(name) = file.file_name().to_str().and_then(parse) else {
            continue;
        };
        let len = file.metadata()?.len();
        let log = Log {
            len,
            removed: false,
        };
        index.used += charge(len);
        index.logs.insert(name, Arc::new(Mutex::new(log)));
    }
    Ok(index)
}

impl Logs {
    /// Opens the logs of a state folder, or creates it.
    ///
    /// # Errors
    ///
    /// The folder cannot be read or created.
    pub async fn open(state: &Arc<State>, settings: LogSettings) -> Result<Self, Error> {
        let folder = state.folder().join("logs");
        let listed = {
            let folder = folder.clone();
            tokio::task::spawn_blocking(move || {
                create_folder(&folder)?;
                list(&folder)
            })
        };
        let failed = "open the folder of the logs";
        let index = listed.await.map_err(Error::backend(failed))?;
        Ok(Self(Arc::new(Inner {
            folder,
            settings,
            index: Mutex::new(index.map_err(Error::backend(failed))?),
            at_once: Semaphore::new(AT_ONCE),
            _state: Arc::clone(state),
        })))
    }

    /// Runs `work` off the executor's threads. It goes on to its end if the caller goes.
    async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _permit = self.0.at_once.acquire().await;
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&inner));
        done.await.map_err(Error::backend(action))?
    }

    /// Appends bytes at the offset `off`, which is the log's length, and returns its new length.
    ///
    /// Bytes that the log has already are compared, so an append may be repeated after an answer that was lost.
    ///
    /// # Errors
    ///
    /// [`Error::Offset`] names the length at which the log continues. [`Error::TooLarge`], [`Error::Quota`],
    /// [`Error::DiskFloor`] and [`Error::DiskFull`] have appended nothing.
    pub async fn append(
        &self,
        task: Digest,
        fence: u64,
        off: u64,
        bytes: Bytes,
    ) -> Result<u64, Error> {
        if bytes.len() > APPEND_MAX {
            let most = APPEND_MAX as u64;
            return Err(Error::TooLarge { most });
        }
        let end = off.checked_add(bytes.len() as u64);
        if end.is_none_or(|end| end > LOG_MAX) {
            return Err(Error::TooLarge { most: LOG_MAX });
        }
        let work = move |inner: &Inner| inner.append((task, fence), off, &bytes);
        self.run("append to a log", work).await
    }

    /// Returns the length of a log in bytes, if there is one. Waits for an append in progress.
    ///
    /// # Errors
    ///
    /// The runtime is shutting down.
    pub async fn len(&self, task: Digest, fence: u64) -> Result<Option<u64>, Error> {
        let work = move |inner: &Inner| {
            let log = inner.find(&(task, fence));
            let len = log.and_then(|log| {
                let held = lock(&log);
                (!held.removed).then_some(held.len)
            });
            Ok(len)
        };
        self.run("read a log", work).await
    }

    /// Reads a range of a log, up to its end and at most 256 KiB.
    ///
    /// # Errors
    ///
    /// [`Error::NoLog`]; [`Error::Range`] if the range begins beyond the end.
    pub async fn read(&self, task: Digest, fence: u64, range: Range<u64>) -> Result<Bytes, Error> {
        let work = move |inner: &Inner| inner.read(&(task, fence), &range);
        self.run("read a log", work).await
    }

    /// Returns the fences of a task's logs, ascending.
    #[must_use]
    pub fn fences(&self, task: Digest) -> Vec<u64> {
        let index = lock(&self.0.index);
        let of_task = index.logs.range((task, 0)..=(task, u64::MAX));
        of_task.map(|((_, fence), _)| *fence).collect()
    }

    /// Returns the tasks that have logs, ascending.
    #[must_use]
    pub fn tasks(&self) -> Vec<Digest> {
        let index = lock(&self.0.index);
        let mut tasks: Vec<Digest> = index.logs.keys().map(|(task, _)| *task).collect();
        tasks.dedup();
        tasks
    }

    /// Removes a log. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// Its file cannot be deleted, and the log stays.
    pub async fn remove(&self, task: Digest, fence: u64) -> Result<bool, Error> {
        let work = move |inner: &Inner| inner.remove(&(task, fence));
        self.run("remove a log", work).await
    }

    /// Returns the bytes that all logs are charged.
    #[must_use]
    pub fn used(&self) -> u64 {
        lock(&self.0.index).used
    }
}
