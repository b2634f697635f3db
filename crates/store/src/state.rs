use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::header::{Form, decode, encode};
use crate::journal::{self, RECORD_MAX};
use crate::lock::{self, Lock};
use crate::{Damage, Error, Kind, Loaded, Storage, disk};

/// Maximum size of an entry's file.
pub const ENTRY_MAX: u64 = 64 << 20;
/// Interval between two attempts to take a folder that another process holds.
const AGAIN: Duration = Duration::from_millis(5);

/// A state folder that this process holds, until it is dropped or closed.
///
/// Each entry is a file under its own name.
#[derive(Debug)]
pub struct State {
    folder: PathBuf,
    /// Lock for one read or write at a time. `None` once the folder is closed.
    held: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    _lock: Lock,
    /// Kind and length of each journal that was appended to, by name. All of its records are complete.
    journals: BTreeMap<String, (Kind, u64)>,
}

/// Refuses a name that is not valid for an entry.
pub(crate) fn checked(name: &str) -> Result<&str, Error> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let good = (1..=96).contains(&name.len()) && name.bytes().all(fits);
    if good && !name.starts_with('.') && name != lock::FILE {
        Ok(name)
    } else {
        Err(Error::Name)
    }
}

/// Removes the access of other users to a folder. A folder that does not exist is not an error.
///
/// # Errors
///
/// The folder's mode cannot be changed.
pub fn tighten(folder: &Path) -> Result<(), Error> {
    match fs::metadata(folder) {
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
            let mode = meta.permissions().mode() & 0o7700;
            fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(Error::file(folder))
        }
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::file(folder)(e)),
        _ => Ok(()),
    }
}

impl State {
    /// Opens and holds a folder. Creates it with mode 0700 if it does not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] if another process holds it, [`Error::Open`] if other users have access to it, and [`Error::File`].
    pub fn open(folder: &Path) -> Result<Self, Error> {
        prepare(folder)?;
        let lock = Lock::take(folder)?;
        Self::begin(folder, lock)
    }

    /// Like [`State::open`], but waits up to `patience` for another process to release the folder.
    ///
    /// # Errors
    ///
    /// See [`State::open`].
    pub fn open_within(folder: &Path, patience: Duration) -> Result<Self, Error> {
        prepare(folder)?;
        let mut waited = Duration::ZERO;
        let lock = loop {
            match Lock::take(folder) {
                Err(Error::Held { .. }) if waited < patience => {
                    std::thread::sleep(AGAIN);
                    waited += AGAIN;
                }
                taken => break taken?,
            }
        };
        Self::begin(folder, lock)
    }

    fn begin(folder: &Path, lock: Lock) -> Result<Self, Error> {
        disk::remove_unfinished(folder).map_err(Error::file(folder))?;
        Ok(Self {
            folder: folder.to_owned(),
            held: Mutex::new(Some(Held {
                _lock: lock,
                journals: BTreeMap::new(),
            })),
        })
    }

    /// Checks whether a folder could be opened now. Creates and changes nothing. A folder that does not exist is `Ok`.
    ///
    /// # Errors
    ///
    /// See [`State::open`].
    pub fn look(folder: &Path) -> Result<(), Error> {
        match fs::metadata(folder) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Ok(meta) if !meta.is_dir() => {
                return Err(Error::file(folder)(ErrorKind::NotADirectory.into()));
            }
            found => found.map_err(Error::file(folder))?,
        };
        if is_of_others(folder)? {
            return Err(Error::Open {
                folder: folder.to_owned(),
            });
        }
        lock::look(folder)
    }

    /// Returns the folder's path.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Releases the folder after any write in progress. Later operations on this value fail.
    pub fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on an entry's file, with exclusive access.
    fn with<T>(
        &self,
        name: &str,
        work: impl FnOnce(&mut Held, &Path) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let path = self.folder.join(checked(name)?);
        match &mut *self.lock() {
            Some(held) => work(held, &path),
            None => Err(Error::Closed {
                folder: self.folder.clone(),
            }),
        }
    }
}

/// Creates the folder, or checks whether other users have access to it.
fn prepare(folder: &Path) -> Result<(), Error> {
    let mut builder = DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(folder);
    made.map_err(|e| match e.kind() {
        // A file of that name.
        ErrorKind::AlreadyExists => ErrorKind::NotADirectory.into(),
        _ => e,
    })
    .map_err(Error::file(folder))?;
    if is_of_others(folder)? {
        return Err(Error::Open {
            folder: folder.to_owned(),
        });
    }
    tighten(folder)
}

/// Returns whether other users have access to a folder that holds something and is no state folder yet, such as a home or /tmp.
fn is_of_others(folder: &Path) -> Result<bool, Error> {
    let meta = fs::metadata(folder).map_err(Error::file(folder))?;
    if meta.permissions().mode() & 0o077 == 0 || folder.join(lock::FILE).exists() {
        return Ok(false);
    }
    let mut names = fs::read_dir(folder).map_err(Error::file(folder))?;
    Ok(names.next().is_some())
}

fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    match disk::read_private(path, ENTRY_MAX) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(Error::file(path)),
    }
}

/// Loads the content of an entry's file.
pub(crate) fn load_file(kind: Kind, path: &Path) -> Result<Option<Loaded>, Error> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    let (version, content) = decode(Form::Whole, kind, path, &bytes)?;
    Ok(Some(Loaded {
        version,
        bytes: Zeroizing::new(content.to_vec()),
    }))
}

/// Reads a journal's records, and returns the length of the complete ones.
fn read_journal(kind: Kind, path: &Path) -> Result<Option<(journal::Read, u64)>, Error> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    let (_, records) = decode(Form::Journal, kind, path, &bytes)?;
    let damaged = |why: Damage| Error::Damaged {
        path: path.to_owned(),
        why,
    };
    let read = journal::read(records).map_err(damaged)?;
    let whole = bytes.len() - records.len() + read.whole;
    Ok(Some((read, whole as u64)))
}

impl Storage for State {
    fn place(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn load(&self, kind: Kind, name: &str) -> Result<Option<Loaded>, Error> {
        self.with(name, |_, path| load_file(kind, path))
    }

    fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.with(name, |_, path| {
            let file = encode(Form::Whole, kind, bytes);
            if file.len() as u64 > ENTRY_MAX {
                return Err(Error::Long {
                    path: path.to_owned(),
                });
            }
            disk::write_state(path, &file).map_err(Error::file(path))
        })
    }

    fn append(&self, kind: Kind, name: &str, record: &[u8]) -> Result<(), Error> {
        self.with(name, |held, path| {
            let long = || Error::Long {
                path: path.to_owned(),
            };
            if record.len() > RECORD_MAX {
                return Err(long());
            }
            let whole = match held.journals.remove(name) {
                Some((of, whole)) if of == kind => whole,
                _ => match read_journal(kind, path)? {
                    Some((_, whole)) => whole,
                    None => {
                        let head = encode(Form::Journal, kind, &[]);
                        disk::write_state(path, &head).map_err(Error::file(path))?;
                        head.len() as u64
                    }
                },
            };
            let bytes = journal::encode(record);
            let end = whole + bytes.len() as u64;
            if end > ENTRY_MAX {
                return Err(long());
            }
            let mut options = File::options();
            let file = options.append(true).mode(0o600).open(path);
            let mut file = file.map_err(Error::file(path))?;
            // Remove the remains of a crash or of a failed attempt.
            file.set_len(whole)
                .and_then(|()| file.write_all(&bytes))
                .and_then(|()| file.sync_data())
                .map_err(Error::file(path))?;
            held.journals.insert(name.to_owned(), (kind, end));
            Ok(())
        })
    }

    fn records(&self, kind: Kind, name: &str) -> Result<Vec<Zeroizing<Vec<u8>>>, Error> {
        self.with(name, |_, path| {
            let read = read_journal(kind, path)?;
            Ok(read.map(|(read, _)| read.records).unwrap_or_default())
        })
    }

    fn remove(&self, name: &str) -> Result<bool, Error> {
        self.with(name, |held, path| {
            held.journals.remove(name);
            match fs::remove_file(path) {
                Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
                removed => removed
                    .and_then(|()| disk::sync(&self.folder))
                    .map(|()| true)
                    .map_err(Error::file(path)),
            }
        })
    }
}
