//! The file of a signer's memory: one process at a time reads it, signs, and writes it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use betanet_keys::PublicKey;
use betanet_naming::signer::Memory;
use betanet_store::disk;

use crate::Fail;

/// Longest memory of a signer that is read, in bytes.
const MEMORY_MAX: u64 = 256 << 20;

/// A signer's memory, locked until it is dropped: two processes that both read it before either writes would sign two records of one
/// `seq`.
#[derive(Debug)]
pub(super) struct MemoryFile {
    path: PathBuf,
    memory: Memory,
    /// The file beside the memory: the memory itself is replaced when it is written.
    _lock: File,
}

impl MemoryFile {
    /// Locks and reads the memory of a key. `new` creates it, and then there must be none.
    pub(super) fn open(path: &Path, new: bool, key: &PublicKey) -> Result<Self, Fail> {
        // One file has one lock, whatever link it is named by.
        let path = match std::fs::canonicalize(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => path.to_owned(),
            found => found.map_err(Fail::file(path))?,
        };
        let shown = path.display();
        let lock = lock(&path)?;
        let mut memory = match (disk::read_bounded(&path, MEMORY_MAX), new) {
            (Ok(_), true) => {
                let why = "exists: --new-memory is for a key that has never signed";
                return Err(Fail::Usage(format!("--memory {shown}: {why}")));
            }
            (Ok(bytes), false) => {
                Memory::from_bytes(&bytes).map_err(|e| Fail::Local(format!("{shown}: {e}")))?
            }
            (Err(e), true) if e.kind() == ErrorKind::NotFound => Memory::default(),
            (Err(e), false) if e.kind() == ErrorKind::NotFound => {
                let why = "does not exist. If this key has signed before, find its memory: without it, the key can sign two \
                           records of one seq. If it has never signed, add --new-memory";
                return Err(Fail::Usage(format!("--memory {shown}: {why}")));
            }
            (Err(e), _) => return Err(Fail::file(&path)(e)),
        };
        let bound = memory.bind(key);
        bound.map_err(|e| Fail::Usage(format!("--memory {shown}: {e}")))?;
        Ok(Self {
            path,
            memory,
            _lock: lock,
        })
    }

    /// The memory, for a signer.
    pub(super) fn take(&mut self) -> Memory {
        std::mem::take(&mut self.memory)
    }

    /// Writes the memory of the signer durably.
    pub(super) fn write(&self, memory: &Memory) -> Result<(), Fail> {
        disk::write_private(&self.path, memory.to_bytes()).map_err(Fail::file(&self.path))
    }
}

/// Takes the lock of a memory without waiting.
fn lock(memory: &Path) -> Result<File, Fail> {
    let mut name = OsString::from(memory);
    name.push(".lock");
    let path = PathBuf::from(name);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(0o600).open(&path);
    let file = file.map_err(Fail::file(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let why = "another process signs with this memory; try again once it has ended";
            Err(Fail::Local(format!("{}: {why}", memory.display())))
        }
        Err(TryLockError::Error(e)) => Err(Fail::file(&path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use betanet_keys::Identity;

    use super::*;

    fn key(n: u8) -> PublicKey {
        *Identity::from_seed(&[n; 32]).public()
    }

    fn why(opened: Result<MemoryFile, Fail>) -> String {
        opened.unwrap_err().why().to_owned()
    }

    #[test]
    fn a_memory_has_one_process_and_one_key_and_is_never_new_by_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signer.memory");
        let missing = why(MemoryFile::open(&path, false, &key(1)));
        assert!(missing.contains("--new-memory"), "{missing}");
        let mut first = MemoryFile::open(&path, true, &key(1)).unwrap();
        // Neither while the first has not written it, nor by another name.
        let link = folder.path().join("link");
        let second = why(MemoryFile::open(&path, true, &key(1)));
        assert!(second.contains("another process"), "{second}");
        let memory = first.take();
        first.write(&memory).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let second = why(MemoryFile::open(&link, false, &key(1)));
        assert!(second.contains("another process"), "{second}");
        drop(first);
        let again = why(MemoryFile::open(&path, true, &key(1)));
        assert!(again.contains("exists"), "{again}");
        let other = why(MemoryFile::open(&path, false, &key(2)));
        assert!(other.contains("another key"), "{other}");
        let mut read = MemoryFile::open(&link, false, &key(1)).unwrap();
        assert_eq!(read.take(), memory);
    }
}
