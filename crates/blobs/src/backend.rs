//! The object store below, and what a folder has beyond it: free space, and files of uploads that a crash has left.
//! The module `bucket` adds the parts that only a bucket needs.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _};

#[cfg(feature = "s3")]
use crate::bucket::Objects;
use crate::index::Area;
use crate::names::{DAMAGED, path};
use crate::seal::CHUNK;
use crate::{Digest, Error};

/// Action that an error names.
const UNFINISHED: &str = "remove an unfinished upload";

/// Bytes that a request to a bucket reads: each is a journey over the network.
#[cfg(feature = "s3")]
const BUCKET_READ: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub(crate) enum Backend {
    Folder(Arc<LocalFileSystem>, PathBuf),
    #[cfg(feature = "s3")]
    Bucket(Arc<Objects>),
}

/// An object of the store.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) area: Area,
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
}

fn parse(prefix: &Path, meta: &ObjectMeta) -> Option<Found> {
    let mut parts = meta.location.prefix_match(prefix)?;
    let (folder, name) = (parts.next()?, parts.next()?);
    let (folder, name) = (folder.as_ref(), name.as_ref());
    let digest = Digest::parse(name).filter(|_| parts.next().is_none())?;
    let area = match folder {
        DAMAGED => Area::Damaged,
        two if name.starts_with(two) && two.len() == 2 => Area::Served,
        _ => return None,
    };
    Some(Found {
        area,
        digest,
        bytes: meta.size,
    })
}

/// An upload in progress.
#[derive(Debug)]
pub(crate) enum Upload {
    File(Box<dyn MultipartUpload>),
    #[cfg(feature = "s3")]
    Object(crate::bucket::Upload),
}

impl Upload {
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        match self {
            Self::File(file) => {
                let written = file.put_part(bytes.into()).await;
                written.map_err(Error::backend("store a blob"))
            }
            #[cfg(feature = "s3")]
            Self::Object(object) => object.write(bytes).await,
        }
    }

    /// Gives the content its name.
    pub(crate) async fn complete(&mut self) -> Result<(), Error> {
        match self {
            Self::File(file) => {
                let done = file.complete().await.map(|_| ());
                done.map_err(Error::backend("store a blob"))
            }
            #[cfg(feature = "s3")]
            Self::Object(object) => object.complete().await,
        }
    }

    /// Removes what was written. If that fails, the next start does it.
    pub(crate) async fn abort(&mut self) {
        match self {
            Self::File(file) => {
                let _ = file.abort().await;
            }
            #[cfg(feature = "s3")]
            Self::Object(object) => object.abort().await,
        }
    }
}

/// Outcome of reading a range.
pub(crate) enum Read {
    Bytes(Bytes),
    /// There is no such object.
    Missing,
    /// The object ends before the range does.
    Short,
}

impl Backend {
    /// Opens a folder, and removes the files of uploads that a crash has left.
    pub(crate) fn folder(folder: PathBuf) -> Result<Self, Error> {
        let failed = "open the folder of the blobs";
        let objects = LocalFileSystem::new_with_prefix(&folder).map_err(Error::backend(failed))?;
        // A stored blob outlasts the machine's power.
        let objects = objects.with_fsync(true);
        for two in fs::read_dir(&folder).map_err(Error::backend(failed))? {
            let two = two.map_err(Error::backend(failed))?;
            if two.path().is_dir() {
                remove_unfinished(&two.path(), "").map_err(Error::backend(UNFINISHED))?;
            }
        }
        Ok(Self::Folder(Arc::new(objects), folder))
    }

    fn objects(&self) -> &dyn ObjectStore {
        match self {
            Self::Folder(objects, _) => &**objects,
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.store(),
        }
    }

    fn prefix(&self) -> Path {
        match self {
            Self::Folder(..) => Path::ROOT,
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => bucket.prefix().clone(),
        }
    }

    fn path(&self, area: Area, digest: &Digest) -> Path {
        path(self.prefix(), area, digest)
    }

    /// Whether others may store here too, and replace this process.
    pub(crate) const fn is_shared(&self) -> bool {
        !matches!(self, Self::Folder(..))
    }

    /// Bytes that are best read at a time.
    pub(crate) const fn read_len(&self) -> u64 {
        match self {
            Self::Folder(..) => CHUNK,
            #[cfg(feature = "s3")]
            Self::Bucket(_) => BUCKET_READ,
        }
    }

    /// Lists the objects, those written longest ago first.
    pub(crate) async fn list(&self) -> Result<Vec<Found>, Error> {
        let prefix = self.prefix();
        let all: Vec<ObjectMeta> = self
            .objects()
            .list(Some(&prefix))
            .try_collect()
            .await
            .map_err(Error::backend("list the blobs"))?;
        let mut all: Vec<_> = all
            .iter()
            .filter_map(|meta| Some((meta.last_modified, parse(&prefix, meta)?)))
            .collect();
        all.sort_by_key(|(time, found)| (*time, found.digest));
        Ok(all.into_iter().map(|(_, found)| found).collect())
    }

    /// Begins to store a blob. Nothing is seen under its name before the upload is completed.
    pub(crate) async fn upload(&self, digest: &Digest) -> Result<Upload, Error> {
        match self {
            Self::Folder(objects, _) => {
                let place = self.path(Area::Served, digest);
                let begun = objects.put_multipart(&place).await;
                let begun = begun.map_err(Error::backend("begin an upload"))?;
                Ok(Upload::File(begun))
            }
            #[cfg(feature = "s3")]
            Self::Bucket(bucket) => {
                let upload = crate::bucket::Upload::new(Arc::clone(bucket), *digest);
                Ok(Upload::Object(upload))
            }
        }
    }

    pub(crate) async fn read(
        &self,
        digest: &Digest,
        range: std::ops::Range<u64>,
    ) -> Result<Read, Error> {
        if range.is_empty() {
            return Ok(Read::Bytes(Bytes::new()));
        }
        let place = self.path(Area::Served, digest);
        let wanted = range.end - range.start;
        match self.objects().get_range(&place, range.clone()).await {
            Ok(bytes) if bytes.len() as u64 == wanted => Ok(Read::Bytes(bytes)),
            Ok(_) => Ok(Read::Short),
            Err(object_store::Error::NotFound { .. }) => Ok(Read::Missing),
            Err(e) => match self.objects().head(&place).await {
                // An object that is too short gives an error of no kind of its own.
                Ok(meta) if meta.size < range.end => Ok(Read::Short),
                _ => Err(Error::backend("read a blob")(e)),
            },
        }
    }

    pub(crate) async fn len(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        match self.objects().head(&self.path(Area::Served, digest)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(e) => Err(Error::backend("read a blob")(e)),
        }
    }

    /// Deletes an object. One that is not there is no error.
    pub(crate) async fn delete(&self, area: Area, digest: &Digest) -> Result<(), Error> {
        match self.objects().delete(&self.path(area, digest)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(Error::backend("delete a blob")(e)),
        }
    }

    /// Moves a blob to the damaged ones. One that is not there is no error.
    pub(crate) async fn set_aside(&self, digest: &Digest) -> Result<(), Error> {
        let from = self.path(Area::Served, digest);
        let to = self.path(Area::Damaged, digest);
        match self.objects().rename(&from, &to).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(Error::backend("set a damaged blob aside")(e)),
        }
    }

    /// Removes what an upload that could not be completed has left.
    pub(crate) async fn discard(&self, digest: &Digest) -> Result<(), Error> {
        self.delete(Area::Served, digest).await?;
        let folder = match self {
            Self::Folder(_, folder) => folder,
            #[cfg(feature = "s3")]
            Self::Bucket(_) => return Ok(()),
        };
        let name = digest.to_string();
        let folder = folder.join(&name[..2]);
        let clean = move || remove_unfinished(&folder, &name);
        match tokio::task::spawn_blocking(clean).await {
            Ok(done) => done.map_err(Error::backend(UNFINISHED)),
            Err(e) => Err(Error::backend(UNFINISHED)(e)),
        }
    }

    /// Returns the free space in bytes, as far as this user may use it. `None` if it is not known.
    pub(crate) async fn free(&self) -> Option<u64> {
        let folder = match self {
            Self::Folder(_, folder) => folder.clone(),
            #[cfg(feature = "s3")]
            Self::Bucket(_) => return None,
        };
        let free = tokio::task::spawn_blocking(move || free(&folder));
        free.await.ok().flatten()
    }
}

/// Removes the files of uploads in a folder whose names begin with `prefix`.
fn remove_unfinished(folder: &std::path::Path, prefix: &str) -> std::io::Result<()> {
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name();
        if is_unfinished(&name) && name.to_string_lossy().starts_with(prefix) {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// Whether a file is that of an upload: `NAME#NUMBER`.
fn is_unfinished(name: &std::ffi::OsStr) -> bool {
    let Some((digest, number)) = name.to_str().and_then(|n| n.split_once('#')) else {
        return false;
    };
    Digest::parse(digest).is_some() && number.bytes().all(|b| b.is_ascii_digit())
}

/// Returns the free space of a folder's disk in bytes, as far as this user may use it.
pub(crate) fn free(folder: &std::path::Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}
