use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use betanet_store::State;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::backend::Backend;
use crate::index::{Area, Index};
use crate::names::create_folder;
use crate::pins::Holder;
use crate::seal::content_len;
use crate::{Damage, Digest, Error, Facts, Place, Settings};

/// Maximum length of a blob, in bytes.
pub const BLOB_MAX: u64 = 1 << 32;
/// Maximum number of uploads at a time.
pub const UPLOADS_MAX: usize = 64;
/// Maximum number of blobs that are read at a time.
pub const READS_MAX: usize = 128;

/// Number of locks of names.
const NAMES: usize = 64;

type MutexOf<'a> = tokio::sync::MutexGuard<'a, ()>;

/// Result of [`Blobs::put`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stored {
    /// Length of the blob, in bytes.
    pub size: u64,
    /// Whether this upload has stored it. Otherwise it was there before, or another upload was faster.
    pub new: bool,
}

/// Result of [`Blobs::sweep`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Swept {
    /// Pins that have ended.
    pub pins: usize,
    /// Blobs that were evicted, because the quota or the floor did not hold.
    pub blobs: u64,
}

/// Blobs in a state folder or a bucket, each named by the SHA-256 of its content. Clones share one store.
///
/// A store belongs to the tokio runtime under which it was opened.
#[derive(Clone)]
pub struct Blobs(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) backend: Backend,
    index: Mutex<Index>,
    /// Held while a file gets its name, or loses it, by the first byte of its digest. Syncing a long file delays few others.
    names: Vec<tokio::sync::Mutex<()>>,
    pub(crate) uploads: Arc<Semaphore>,
    pub(crate) reads: Arc<Semaphore>,
    /// Work that must not stop halfway runs here, whatever becomes of its caller.
    pub(crate) runtime: Handle,
    /// Keeps the folder's lock.
    _state: Arc<State>,
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blobs").finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other task changes the file of this name, and keeps others out.
    pub(crate) async fn name(&self, digest: Digest) -> Option<MutexOf<'_>> {
        let at = usize::from(digest.0[0]) % NAMES;
        match self.names.get(at) {
            Some(name) => Some(name.lock().await),
            None => None,
        }
    }

    /// Runs `work` to its end, even if the caller goes.
    pub(crate) async fn surely<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        match self.runtime.spawn(work).await {
            Ok(done) => done,
            Err(e) => Err(Error::backend(action)(e)),
        }
    }

    /// Deletes the files that are to be deleted.
    pub(crate) async fn purge(self: &Arc<Self>) -> Result<(), Error> {
        let inner = Arc::clone(self);
        let work = async move {
            let doomed = inner.index().doomed();
            for (area, digest) in doomed {
                let _name = inner.name(digest).await;
                if !inner.index().is_doomed(area, digest) {
                    continue;
                }
                inner.backend.delete(area, &digest).await?;
                inner.index().purged(area, digest);
            }
            Ok(())
        };
        self.surely("delete blobs", work).await
    }

    /// Sets a blob aside, unless another one stands in its place by now. Returns the error that names it.
    pub(crate) async fn set_aside(self: &Arc<Self>, digest: Digest, id: u64, why: Damage) -> Error {
        let inner = Arc::clone(self);
        let work = async move {
            let _name = inner.name(digest).await;
            if !inner.index().doom_damaged(digest, id) {
                return Ok(());
            }
            inner.put_aside(digest).await
        };
        // If it fails, the file is to be deleted instead.
        let _ = self.surely("set a damaged blob aside", work).await;
        Error::Damaged { digest, why }
    }

    /// Moves a file that the index does not have to the damaged ones. If that fails, it is to be deleted.
    async fn put_aside(&self, digest: Digest) -> Result<(), Error> {
        let bytes = self.backend.len(&digest).await?;
        self.backend.set_aside(&digest).await?;
        self.index().set_aside(digest, bytes);
        Ok(())
    }
}

async fn backend(state: &Arc<State>, place: &Place) -> Result<Backend, Error> {
    match place {
        Place::Folder => {
            let folder = state.folder().join("blobs");
            let opened = tokio::task::spawn_blocking(move || {
                create_folder(&folder).map_err(Error::backend("create the folder of the blobs"))?;
                Backend::folder(folder)
            });
            opened
                .await
                .map_err(Error::backend("open the folder of the blobs"))?
        }
        #[cfg(feature = "s3")]
        Place::S3(bucket) => {
            let notes = state.folder().join("uploads");
            let objects = crate::bucket::Objects::open(bucket, notes).await?;
            Ok(Backend::Bucket(Arc::new(objects)))
        }
        #[cfg(not(feature = "s3"))]
        Place::S3(_) => Err(Error::backend("open the blobs")(
            crate::PlaceError::NotBuilt,
        )),
    }
}

impl Blobs {
    /// Opens the blobs of a state folder, or creates it. Lists the stored ones, and removes what a crash has left of uploads.
    ///
    /// Blobs are not read here: a damaged one is found when it is read.
    ///
    /// # Errors
    ///
    /// The folder cannot be read or created.
    pub async fn open(state: &Arc<State>, settings: Settings) -> Result<Self, Error> {
        Self::open_at(state, &Place::Folder, settings).await
    }

    /// Like [`Blobs::open`], with the blobs at a place. A bucket takes its endpoint and keys from the variables `AWS_…`.
    ///
    /// One store at a time may use a bucket's prefix. Another that takes over from it calls [`Blobs::refresh`].
    ///
    /// # Errors
    ///
    /// The state folder or the place cannot be used.
    pub async fn open_at(
        state: &Arc<State>,
        place: &Place,
        settings: Settings,
    ) -> Result<Self, Error> {
        let backend = backend(state, place).await?;
        let inner = Inner {
            backend,
            index: Mutex::new(Index::new(settings)),
            names: (0..NAMES).map(|_| tokio::sync::Mutex::new(())).collect(),
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            runtime: Handle::current(),
            _state: Arc::clone(state),
        };
        for found in inner.backend.list().await? {
            match (found.area, content_len(found.bytes)) {
                (Area::Served, Some(size)) => inner.index().add(found.digest, size),
                (Area::Served, None) => inner.put_aside(found.digest).await?,
                (Area::Damaged, _) => inner.index().set_aside(found.digest, Some(found.bytes)),
            }
        }
        Ok(Self(Arc::new(inner)))
    }

    /// Whether others may store at the same place. Of those, one at a time may: the others neither serve nor evict.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.backend.is_shared()
    }

    /// Lists a bucket again, which another store may have changed. A folder is this store's own, and nothing is done.
    ///
    /// # Errors
    ///
    /// The bucket cannot be listed.
    pub async fn refresh(&self) -> Result<(), Error> {
        if !self.is_shared() {
            return Ok(());
        }
        let since = self.0.index().begin_listing();
        let listed = self.0.backend.list().await;
        let mut index = self.0.index();
        let listed = match listed {
            Ok(listed) => listed,
            Err(e) => {
                index.cancel_listing();
                return Err(e);
            }
        };
        let served = listed.iter().filter(|found| found.area == Area::Served);
        let served = served.filter_map(|found| Some((found.digest, content_len(found.bytes)?)));
        index.end_listing(since, served.collect());
        Ok(())
    }

    /// Returns the length of a blob in bytes, if it is stored.
    #[must_use]
    pub fn has(&self, digest: Digest) -> Option<u64> {
        self.0.index().size(&digest)
    }

    /// Removes a blob, pinned or not. Readers of it get [`Error::Missing`]. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// Its file cannot be deleted. The blob is not served all the same, and the next eviction tries again.
    pub async fn remove(&self, digest: Digest) -> Result<bool, Error> {
        let had = self.0.index().doom(digest);
        if had {
            self.0.purge().await?;
        }
        Ok(had)
    }

    /// Keeps a blob from eviction until `until_ms`, for one holder. A blob may be pinned before it is stored.
    ///
    /// The time is that of [`Blobs::sweep`], which ends pins: milliseconds since the Unix epoch. Pins are not kept across a restart:
    /// the caller pins again before it stores anything.
    ///
    /// # Errors
    ///
    /// [`Error::Full`].
    pub fn pin(&self, digest: Digest, holder: Holder, until_ms: u64) -> Result<(), Error> {
        self.0.index().pin(digest, holder, until_ms)
    }

    /// Drops a holder's pin. Returns whether there was one.
    pub fn unpin(&self, digest: Digest, holder: &Holder) -> bool {
        self.0.index().unpin(digest, holder)
    }

    /// Drops pins that have ended. Evicts blobs if the quota or the floor does not hold, which may be after a restart with a lower
    /// quota, or because others fill the disk.
    ///
    /// # Errors
    ///
    /// A file cannot be deleted.
    pub async fn sweep(&self, now_ms: u64) -> Result<Swept, Error> {
        let free = self.0.backend.free().await;
        let swept = {
            let mut index = self.0.index();
            let pins = index.expire(now_ms);
            let before = index.facts().evicted;
            index.shrink(free);
            Swept {
                pins,
                blobs: index.facts().evicted - before,
            }
        };
        self.0.purge().await?;
        Ok(swept)
    }

    /// Waits until no upload is in progress and the remains of cancelled ones are removed. New ones are [`Error::Busy`]
    /// meanwhile.
    pub async fn settle(&self) {
        // Permits end with the runtime, and with it the uploads.
        let all = u32::try_from(UPLOADS_MAX).unwrap_or(u32::MAX);
        let _ = self.0.uploads.acquire_many(all).await;
    }

    /// Returns the names of damaged blobs that were set aside. Their files are the first to be evicted.
    #[must_use]
    pub fn damaged(&self) -> Vec<Digest> {
        self.0.index().damaged()
    }

    /// Returns measures of the store.
    pub async fn facts(&self) -> Facts {
        let free = self.0.backend.free().await;
        let mut facts = self.0.index().facts();
        facts.free = free;
        facts
    }
}
