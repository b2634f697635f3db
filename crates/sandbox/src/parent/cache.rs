//! Compiled code: in memory while it is used much, on disk under a key of this node.
//!
//! A file holds an authenticator over the program's digest, what the code depends on, and the code. A file that somebody else
//! wrote, changed or renamed is removed, and the program compiled anew.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::code::{Code, Memory, Sealed};
use crate::{
    Error,
    job::{MODULE_MAX, Program},
};

/// Most bytes of compiled code.
pub(crate) const CODE_MAX: u64 = 1 << 30;
/// Most bytes and entries that are kept in memory.
const HOT_BYTES: u64 = 32 << 20;
const HOT_MAX: usize = 16;
/// How a file begins: the format, then one byte for the kind.
const MAGIC: &[u8; 7] = b"bn-code";
const HEAD: usize = MAGIC.len() + 1 + 32;
const PART: usize = 64 * 1024;

pub(crate) struct Cache {
    folder: PathBuf,
    secret: Zeroizing<[u8; 32]>,
    /// Digest of everything that code depends on, beside the program.
    engine: [u8; 32],
    max: u64,
    hot: Mutex<Vec<([u8; 32], Arc<Code>)>>,
    /// Programs that are being loaded or compiled: others that want them wait.
    busy: Mutex<BTreeMap<[u8; 32], Arc<tokio::sync::Mutex<()>>>>,
}

/// A fault of a program's file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    #[error("the module's file cannot be read: {0}")]
    File(#[from] io::Error),
    #[error("the module has more than {MODULE_MAX} bytes")]
    Long,
    #[error("the module's file has another digest than its name")]
    Digest,
}

impl Cache {
    pub(crate) fn open(folder: &Path, engine: [u8; 32], max: u64) -> Result<Self, Error> {
        let secret = secret(folder)?;
        let folder = folder.join("code");
        make(&folder)?;
        // Files of a process that was ended while it wrote.
        for entry in fs::read_dir(&folder)
            .map_err(Error::folder("list the cache"))?
            .flatten()
        {
            if entry.file_name().to_string_lossy().starts_with("new-") {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Self {
            folder,
            secret,
            engine,
            max,
            hot: Mutex::default(),
            busy: Mutex::default(),
        })
    }

    pub(crate) fn hot(&self, digest: [u8; 32]) -> Option<Arc<Code>> {
        let mut hot = lock(&self.hot);
        let at = hot.iter().position(|(d, _)| *d == digest)?;
        let entry = hot.remove(at);
        let code = entry.1.clone();
        hot.push(entry);
        Some(code)
    }

    /// Keeps code in memory, those used longest ago least.
    pub(crate) fn heat(&self, digest: [u8; 32], code: &Arc<Code>) {
        let mut hot = lock(&self.hot);
        hot.retain(|(d, _)| *d != digest);
        hot.push((digest, code.clone()));
        let bytes =
            |hot: &[([u8; 32], Arc<Code>)]| hot.iter().map(|(_, c)| c.sealed.size).sum::<u64>();
        while hot.len() > HOT_MAX || (hot.len() > 1 && bytes(&hot) > HOT_BYTES) {
            hot.remove(0);
        }
    }

    /// The lock by which callers that want the same program take turns.
    pub(crate) fn turn(&self, digest: [u8; 32]) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = lock(&self.busy);
        busy.retain(|_, turn| Arc::strong_count(turn) > 1);
        busy.entry(digest).or_default().clone()
    }

    /// Code from the disk, if it is there and this node wrote it.
    pub(crate) fn load(&self, digest: [u8; 32]) -> io::Result<Option<Code>> {
        let path = self.path(digest);
        let mut file = match open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let code = self.verified(digest, &mut file)?;
        if code.is_some() {
            // The order of use. Where the time cannot be set, the order of writing serves.
            let _ = file.set_modified(now());
        } else {
            tracing::warn!(
                ?path,
                "a file of compiled code that this node did not write was removed"
            );
            fs::remove_file(&path)?;
        }
        Ok(code)
    }

    fn verified(&self, digest: [u8; 32], file: &mut File) -> io::Result<Option<Code>> {
        let mut head = [0; HEAD];
        let meta = file.metadata()?;
        if !meta.is_file()
            || meta.len() > CODE_MAX + HEAD as u64
            || file.read_exact(&mut head).is_err()
        {
            return Ok(None);
        }
        let (magic, rest) = head.split_at(MAGIC.len());
        let (kind, tag) = (rest[0], &rest[1..]);
        let mut mac = self.mac(digest, kind);
        let mut memory = Memory::new()?;
        let mut part = vec![0; PART];
        loop {
            let n = file.read(&mut part)?;
            if n == 0 {
                break;
            }
            mac.update(&part[..n]);
            memory.write(&part[..n])?;
        }
        if magic != MAGIC || kind > 1 || mac.verify_slice(tag).is_err() {
            return Ok(None);
        }
        // Children map the verified copy in memory, which nobody changes.
        Ok(Some(Code {
            sealed: memory.seal()?,
            component: kind == 1,
        }))
    }

    /// Writes code whole or not at all, then makes room.
    pub(crate) fn store(&self, digest: [u8; 32], code: &Code) -> io::Result<()> {
        let size = code.sealed.size + HEAD as u64;
        if size > self.max {
            return Ok(());
        }
        let kind = u8::from(code.component);
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|_| io::ErrorKind::Other)?;
        let new = self
            .folder
            .join(format!("new-{:016x}", u64::from_le_bytes(random)));
        let written = self
            .write(&new, digest, kind, &code.sealed)
            .and_then(|()| fs::rename(&new, self.path(digest)));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written?;
        self.make_room()
    }

    fn write(&self, path: &Path, digest: [u8; 32], kind: u8, code: &Sealed) -> io::Result<()> {
        let mut mac = self.mac(digest, kind);
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let mut head = MAGIC.to_vec();
        head.push(kind);
        head.extend([0; 32]);
        file.write_all(&head)?;
        let mut part = vec![0; PART];
        let mut at = 0;
        while at < code.size {
            let n = rustix::io::pread(&code.file, &mut part, at)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            mac.update(&part[..n]);
            file.write_all(&part[..n])?;
            at += n as u64;
        }
        let tag = mac.finalize().into_bytes();
        std::os::unix::fs::FileExt::write_all_at(&file, &tag, (MAGIC.len() + 1) as u64)
    }

    fn make_room(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            files.push((meta.modified()?, meta.len(), entry.path()));
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if total <= self.max {
                break;
            }
            fs::remove_file(path)?;
            total -= size;
        }
        Ok(())
    }

    fn path(&self, digest: [u8; 32]) -> PathBuf {
        let name: [u8; 32] = Sha256::new()
            .chain_update(digest)
            .chain_update(self.engine)
            .finalize()
            .into();
        self.folder
            .join(name.iter().map(|b| format!("{b:02x}")).collect::<String>())
    }

    fn mac(&self, digest: [u8; 32], kind: u8) -> Hmac<Sha256> {
        // A key as long as a block is used as it is, so this cannot fail.
        let mut block = Zeroizing::new([0; 64]);
        block[..32].copy_from_slice(self.secret.as_ref());
        let mut mac = Hmac::<Sha256>::new(&(*block).into());
        mac.update(MAGIC);
        mac.update(&digest);
        mac.update(&self.engine);
        mac.update(&[kind]);
        mac
    }
}

/// Opens a file to read. A pipe in its place, which nobody writes to, makes nobody wait.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

/// Reads a program into memory and checks that it is the one named.
pub(crate) fn program(program: &Program) -> Result<(Sealed, bool), Unread> {
    let mut file = open(&program.file)?;
    if !file.metadata()?.is_file() {
        return Err(Unread::File(io::ErrorKind::InvalidInput.into()));
    }
    let mut memory = Memory::new()?;
    let mut digest = Sha256::new();
    let (mut part, mut size) = (vec![0; PART], 0);
    let mut component = None;
    loop {
        let n = file.read(&mut part)?;
        if n == 0 {
            break;
        }
        component.get_or_insert(crate::child::is_component(&part[..n]));
        size += n as u64;
        if size > MODULE_MAX {
            return Err(Unread::Long);
        }
        digest.update(&part[..n]);
        memory.write(&part[..n])?;
    }
    if <[u8; 32]>::from(digest.finalize()) != program.digest {
        return Err(Unread::Digest);
    }
    Ok((memory.seal()?, component.unwrap_or(false)))
}

fn make(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::folder("make a folder"))?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
        .map_err(Error::folder("close a folder to others"))
}

/// The cache's key; made at the first start.
fn secret(folder: &Path) -> Result<Zeroizing<[u8; 32]>, Error> {
    make(folder)?;
    let path = folder.join("key");
    let mut secret = Zeroizing::new([0; 32]);
    match open(&path) {
        Ok(mut file) => {
            let meta = file
                .metadata()
                .map_err(Error::folder("read the cache's key"))?;
            if !meta.is_file() || meta.len() != 32 || meta.permissions().mode() & 0o077 != 0 {
                return Err(Error::Key);
            }
            file.read_exact(secret.as_mut())
                .map_err(Error::folder("read the cache's key"))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            getrandom::fill(secret.as_mut()).map_err(|_| Error::Random)?;
            let new = folder.join("key.new");
            let _ = fs::remove_file(&new);
            let mut file = File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&new);
            let written = file
                .as_mut()
                .map_err(|e| io::Error::from(e.kind()))
                .and_then(|file| {
                    file.write_all(secret.as_ref())?;
                    file.sync_all()?;
                    fs::rename(&new, &path)
                });
            written.map_err(Error::folder("write the cache's key"))?;
        }
        Err(error) => return Err(Error::folder("read the cache's key")(error)),
    }
    Ok(secret)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the order in which files were used is nothing that a caller could tell"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_for_another_engine_is_no_hit_under_its_own_name_or_another() {
        let home = tempfile::tempdir().unwrap();
        let open = |engine| Cache::open(home.path(), [engine; 32], 1 << 20).unwrap();
        let (old, new) = (open(1), open(2));
        let mut memory = Memory::new().unwrap();
        memory.write(b"code").unwrap();
        let code = Code {
            sealed: memory.seal().unwrap(),
            component: true,
        };
        let digest = [7; 32];
        old.store(digest, &code).unwrap();
        assert!(new.load(digest).unwrap().is_none());
        // What the old one wrote stays: it may run again.
        assert!(old.load(digest).unwrap().is_some_and(|code| code.component));
        // In the new one's place it is not that of the new one.
        fs::rename(old.path(digest), new.path(digest)).unwrap();
        assert!(new.load(digest).unwrap().is_none());
        assert!(!new.path(digest).exists());
        new.store(digest, &code).unwrap();
        assert!(new.load(digest).unwrap().is_some());
        assert!(old.load(digest).unwrap().is_none());
    }
}
