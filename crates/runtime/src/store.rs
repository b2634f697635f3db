mod listing;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use betanet_bar::{Commit, Expect, Headers, Listing, Meta, Store, StoreError};
use betanet_carrier::{Folder, content_type};
use betanet_wire::cbor;
use bytes::Bytes;
use cap_std::fs::{Dir, Metadata, OpenOptions, PermissionsExt as _};

/// The store's own folder within the served one: hidden, so that no request reaches it.
const OWN: &str = ".betanet";

/// Serves a folder, and keeps PUTs and POSTs in it up to a quota.
///
/// Nothing outside the folder is ever opened, symbolic links included. A write becomes visible whole, by a rename.
#[derive(Clone, Debug)]
pub struct FolderStore {
    folder: Folder,
    writes: Option<Arc<Writes>>,
    lists: Arc<listing::Lists>,
}

#[derive(Debug)]
struct Writes {
    quota: u64,
    used: Mutex<u64>,
    next: AtomicU64,
}

/// An open resource, and where its next read begins.
#[derive(Debug)]
pub struct Reader {
    file: File,
    position: u64,
}

/// A write under way: a hidden file, removed when dropped.
#[derive(Debug)]
pub struct Writer {
    folder: Folder,
    writes: Arc<Writes>,
    name: String,
    file: File,
    len: u64,
    committed: bool,
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.committed {
            *self.writes.lock() -= self.len;
            // What cannot be removed now is removed at the next start.
            let _ = self.folder.dir().remove_file(&self.name);
        }
    }
}

impl Writes {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn medium(error: io::Error) -> StoreError {
    tracing::warn!(%error, "the store's medium failed");
    StoreError::Medium
}

fn file_etag(meta: &Metadata) -> String {
    let time = meta
        .modified()
        .ok()
        .and_then(|t| t.into_std().duration_since(io_epoch()).ok())
        .map_or(0, |d| d.as_nanos());
    format!("\"{:x}-{time:x}-{:x}\"", inode(meta), meta.len())
}

fn io_epoch() -> std::time::SystemTime {
    std::time::SystemTime::UNIX_EPOCH
}

fn inode(meta: &Metadata) -> u64 {
    use cap_std::fs::MetadataExt as _;
    meta.ino()
}

/// Where a resource's own headers are kept.
fn sidecar(path: &str) -> String {
    let digest = betanet_keys::hash(&[path.as_bytes()]);
    format!("{OWN}/headers-{}", betanet_wire::text::hex(&digest[..16]))
}

/// Bytes of visible files below a folder.
fn measure(dir: &Dir) -> io::Result<u64> {
    let mut sum = 0;
    for entry in dir.entries()? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && entry.file_name() != OWN {
            sum += measure(&entry.open_dir()?)?;
        } else if kind.is_file() {
            sum += entry.metadata()?.len();
        }
    }
    Ok(sum)
}

impl FolderStore {
    /// Serves a folder to readers only.
    ///
    /// # Errors
    ///
    /// The folder is not there.
    pub fn read_only(path: &Path) -> io::Result<Self> {
        Ok(Self {
            folder: Folder::open(path)?,
            writes: None,
            lists: Arc::default(),
        })
    }

    /// Serves a folder that may grow to `quota` bytes, what is there included.
    ///
    /// # Errors
    ///
    /// The folder is not there, or cannot be written.
    pub fn writable(path: &Path, quota: u64) -> io::Result<Self> {
        let folder = Folder::open(path)?;
        let dir = folder.dir();
        dir.create_dir_all(OWN)?;
        for entry in dir.read_dir(OWN)? {
            let name = entry?.file_name();
            if name.to_string_lossy().starts_with("write-") {
                dir.remove_file(Path::new(OWN).join(name))?;
            }
        }
        let writes = Writes {
            quota,
            used: Mutex::new(measure(dir)?),
            next: AtomicU64::new(0),
        };
        Ok(Self {
            folder,
            writes: Some(Arc::new(writes)),
            lists: Arc::default(),
        })
    }

    fn meta(&self, path: &str, meta: &Metadata) -> Meta {
        let kept = self
            .writes
            .as_ref()
            .and_then(|_| self.folder.dir().read(sidecar(path)).ok())
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

    fn etag(&self, path: &str) -> Result<Option<(String, u64)>, StoreError> {
        let found = self.folder.file(path).map_err(medium)?;
        Ok(found.map(|(_, m)| (file_etag(&m), m.len())))
    }
}

impl Store for FolderStore {
    type Reader = Reader;
    type Writer = Writer;

    fn open(&mut self, path: &str) -> Result<Option<(Meta, Reader)>, StoreError> {
        let found = self.folder.file(path).map_err(medium)?;
        Ok(found.map(|(file, meta)| {
            let reader = Reader {
                file: file.into_std(),
                position: 0,
            };
            (self.meta(path, &meta), reader)
        }))
    }

    fn read(&mut self, reader: &mut Reader, offset: u64, max: usize) -> Result<Bytes, StoreError> {
        if reader.position != offset {
            reader.file.seek(SeekFrom::Start(offset)).map_err(medium)?;
        }
        let mut buf = Vec::with_capacity(max);
        let n = (&reader.file)
            .take(max as u64)
            .read_to_end(&mut buf)
            .map_err(medium)?;
        reader.position = offset + n as u64;
        Ok(buf.into())
    }

    fn list(&mut self, path: &str, after: &str, max: usize) -> Result<Option<Listing>, StoreError> {
        self.lists.list(&self.folder, path, after, max)
    }

    fn create(&mut self) -> Result<Writer, StoreError> {
        let writes = self.writes.clone().ok_or(StoreError::ReadOnly)?;
        let n = writes.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("{OWN}/write-{}-{n}", std::process::id());
        let file = self
            .folder
            .dir()
            .open_with(&name, OpenOptions::new().write(true).create_new(true))
            .map_err(medium)?;
        Ok(Writer {
            folder: self.folder.clone(),
            writes,
            name,
            file: file.into_std(),
            len: 0,
            committed: false,
        })
    }

    fn write(&mut self, writer: &mut Writer, bytes: &[u8]) -> Result<(), StoreError> {
        {
            let mut used = writer.writes.lock();
            if *used + bytes.len() as u64 > writer.writes.quota {
                return Err(StoreError::Quota);
            }
            *used += bytes.len() as u64;
        }
        writer.len += bytes.len() as u64;
        writer.file.write_all(bytes).map_err(medium)
    }

    fn commit(
        &mut self,
        mut writer: Writer,
        path: &str,
        headers: &Headers,
        expect: &Expect,
    ) -> Result<Commit, StoreError> {
        let target = path.strip_prefix('/').ok_or(StoreError::Path)?;
        let plain = |s: &str| !s.is_empty() && !s.starts_with('.');
        if !target.split('/').all(plain) || self.folder.has_folder(path) {
            return Err(StoreError::Path);
        }
        writer.file.sync_all().map_err(medium)?;
        let writes = Arc::clone(&writer.writes);
        // One commit at a time: between the look and the rename nobody else renames.
        let mut used = writes.lock();
        let old = self.etag(path)?;
        if !expect.holds(old.as_ref().map(|(etag, _)| etag.as_str())) {
            drop(used);
            return Err(StoreError::Changed);
        }
        let dir = self.folder.dir();
        let place = || -> io::Result<()> {
            if let Some(parent) = Path::new(target).parent() {
                dir.create_dir_all(parent)?;
            }
            dir.write(sidecar(path), cbor::to_vec(headers))?;
            dir.set_permissions(&writer.name, cap_std::fs::Permissions::from_mode(0o644))?;
            dir.rename(&writer.name, dir, target)
        };
        let placed = place();
        if let Err(e) = placed {
            drop(used);
            // A parent that is a file, or a name too long for the disk, is the path's fault.
            return Err(match e.kind() {
                io::ErrorKind::NotADirectory
                | io::ErrorKind::AlreadyExists
                | io::ErrorKind::InvalidFilename
                | io::ErrorKind::PermissionDenied => StoreError::Path,
                _ => medium(e),
            });
        }
        writer.committed = true;
        *used -= old.as_ref().map_or(0, |(_, len)| *len);
        drop(used);
        let (etag, _) = self.etag(path)?.ok_or(StoreError::Medium)?;
        Ok(Commit {
            created: old.is_none(),
            etag,
        })
    }

    fn remove(&mut self, path: &str, expect: &Expect) -> Result<bool, StoreError> {
        let writes = self.writes.clone().ok_or(StoreError::ReadOnly)?;
        let mut used = writes.lock();
        let old = self.etag(path)?;
        if !expect.holds(old.as_ref().map(|(etag, _)| etag.as_str())) {
            return Err(StoreError::Changed);
        }
        let (Some((_, len)), Some(target)) = (old, path.strip_prefix('/')) else {
            return Ok(false);
        };
        self.folder.dir().remove_file(target).map_err(medium)?;
        // Kept headers of a resource that is gone harm nobody; the next PUT replaces them.
        let _ = self.folder.dir().remove_file(sidecar(path));
        *used -= len;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn put(store: &mut FolderStore, path: &str, bytes: &[u8]) -> Result<Commit, StoreError> {
        let mut writer = store.create()?;
        store.write(&mut writer, bytes)?;
        let headers = Headers::default().with("x-kept", "yes");
        store.commit(writer, path, &headers, &Expect::Anything)
    }

    #[test]
    fn writes_are_whole_counted_and_keep_their_headers() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("old.txt"), [0; 10]).unwrap();
        let mut store = FolderStore::writable(dir.path(), 30).unwrap();
        assert!(put(&mut store, "/a/b.html", &[1; 20]).unwrap().created);
        assert_eq!(put(&mut store, "/c", &[1; 1]), Err(StoreError::Quota));
        assert!(!put(&mut store, "/a/b.html", &[]).unwrap().created);
        let (meta, _) = store.open("/a/b.html").unwrap().unwrap();
        assert_eq!(meta.headers.text("x-kept"), Some("yes"));
        assert_eq!(
            meta.headers.text("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert!(put(&mut store, "/c", &[1; 20]).is_ok());
        assert_eq!(store.remove("/c", &Expect::Anything), Ok(true));
        assert_eq!(store.remove("/c", &Expect::Anything), Ok(false));
        let left: Vec<_> = std::fs::read_dir(dir.path().join(OWN)).unwrap().collect();
        assert_eq!(
            left.len(),
            1,
            "only the kept headers of /a/b.html: {left:?}"
        );
        drop(store);
        assert_eq!(
            *FolderStore::writable(dir.path(), 30)
                .unwrap()
                .writes
                .unwrap()
                .lock(),
            10
        );
    }

    #[test]
    fn nothing_outside_is_read_or_written() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(outer.path().join("secret"), b"secret").unwrap();
        std::fs::create_dir(outer.path().join("beside")).unwrap();
        symlink(outer.path().join("secret"), root.join("absolute")).unwrap();
        symlink("../secret", root.join("relative")).unwrap();
        symlink("../beside", root.join("folder")).unwrap();
        std::fs::write(root.join("real"), b"real").unwrap();
        symlink("real", root.join("within")).unwrap();
        let mut store = FolderStore::writable(&root, 1000).unwrap();
        for path in [
            "/absolute",
            "/relative",
            "/../secret",
            "/.betanet/x",
            "/folder/x",
            "//real",
        ] {
            assert!(store.open(path).unwrap().is_none(), "{path}");
        }
        assert!(
            store.open("/within").unwrap().is_some(),
            "a link that stays within"
        );
        for path in ["/folder/x", "/../x", "/.betanet/x", "/x/", "/", "/real/x"] {
            assert!(put(&mut store, path, b"x").is_err(), "{path}");
        }
        assert!(
            std::fs::read_dir(outer.path().join("beside"))
                .unwrap()
                .next()
                .is_none()
        );
        assert_eq!(
            std::fs::read(outer.path().join("secret")).unwrap(),
            b"secret"
        );
    }

    #[test]
    fn expectations_hold_at_the_commit() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = FolderStore::writable(dir.path(), 100).unwrap();
        let etag = put(&mut store, "/a", b"1").unwrap().etag;
        let late = store.create().unwrap();
        put(&mut store, "/a", b"22").unwrap();
        let expect = Expect::Etag(etag);
        let got = store.commit(late, "/a", &Headers::default(), &expect);
        assert_eq!(got, Err(StoreError::Changed));
        assert_eq!(store.remove("/a", &expect), Err(StoreError::Changed));
    }

    #[test]
    fn a_read_only_store_takes_no_writes() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = FolderStore::read_only(dir.path()).unwrap();
        assert!(matches!(store.create(), Err(StoreError::ReadOnly)));
        assert_eq!(
            store.remove("/a", &Expect::Anything),
            Err(StoreError::ReadOnly)
        );
    }
}
