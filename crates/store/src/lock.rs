//! The lock of a state folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::Error;

/// Name of the lock file. It remains after the release, and its content names its last holder.
pub(crate) const FILE: &str = "lock";

/// A lock that is held until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the folder's lock without waiting, or returns its holder.
    pub(crate) fn take(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.mode(0o600).open(&path);
        let mut file = file.map_err(Error::file(&path))?;
        match file.try_lock() {
            Ok(()) => {
                // Record the process ID, for other processes that try to take the lock.
                let told = file
                    .set_len(0)
                    .and_then(|()| file.rewind())
                    .and_then(|()| writeln!(file, "{}", std::process::id()));
                told.map_err(Error::file(&path))?;
                Ok(Self(file))
            }
            Err(TryLockError::WouldBlock) => Err(Error::Held {
                folder: folder.to_owned(),
                pid: holder(&mut file),
            }),
            Err(TryLockError::Error(source)) => {
                let source = match source.kind() {
                    ErrorKind::Unsupported => std::io::Error::new(
                        source.kind(),
                        "the file system has no locks: name a folder of another one with --state",
                    ),
                    _ => source,
                };
                Err(Error::File { path, source })
            }
        }
    }
}

/// Returns an error if a process holds the folder's lock. Takes the lock only if its last holder may be running.
pub(crate) fn look(folder: &Path) -> Result<(), Error> {
    let path = folder.join(FILE);
    let mut file = match File::open(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(Error::file(&path))?,
    };
    let runs = |pid: &u32| Path::new("/proc").join(pid.to_string()).exists();
    let Some(pid) = holder(&mut file).filter(runs) else {
        return Ok(());
    };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Err(Error::Held {
            folder: folder.to_owned(),
            pid: Some(pid),
        }),
        _ => Ok(()),
    }
}

/// Returns the process ID in a lock file. The holder may be writing the file right now.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    let read = file.take(16).read_to_string(&mut text);
    read.ok().and_then(|_| text.trim().parse().ok())
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Clear the name of the former holder. If that fails, closing the file still releases the lock.
        let _ = self.0.set_len(0);
        let _ = self.0.unlock();
    }
}
