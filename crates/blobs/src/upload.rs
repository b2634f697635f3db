use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::OwnedSemaphorePermit;

use crate::backend::Upload;
use crate::error::Failure;
use crate::index::{Plan, charge};
use crate::seal::{CHUNK, Sealer};
use crate::store::{BLOB_MAX, Inner, UPLOADS_MAX};
use crate::{Blobs, Digest, Error, Stored};

/// Room reserved for an upload, which is given back on drop.
struct Reserved {
    inner: Arc<Inner>,
    size: u64,
    /// Bytes that are not on the disk yet.
    pending: u64,
    /// Whether the blob is in the index, and the reservation ended.
    stored: bool,
    _permit: OwnedSemaphorePermit,
}

impl Reserved {
    /// Enters the blob into the index in place of the reservation.
    fn store(mut self, digest: Digest) {
        let mut index = self.inner.index();
        index.release(self.size, self.pending);
        index.add(digest, self.size);
        drop(index);
        self.stored = true;
    }

    fn written(&mut self, bytes: u64) {
        let bytes = bytes.min(self.pending);
        self.pending -= bytes;
        self.inner.index().written(bytes);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.stored {
            self.inner.index().release(self.size, self.pending);
        }
    }
}

/// An upload in progress. Its file is removed on drop, and the reservation lasts until that is done.
struct Staged {
    parts: Option<(Upload, Reserved)>,
    inner: Arc<Inner>,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some((upload, reserved)) = self.parts.take() {
            self.inner.runtime.spawn(abort(upload, reserved));
        }
    }
}

async fn abort(mut upload: Upload, reserved: Reserved) {
    upload.abort().await;
    drop(reserved);
}

impl Staged {
    /// Removes the file, and waits for it.
    async fn abort(mut self) {
        if let Some((upload, reserved)) = self.parts.take() {
            let work = async {
                abort(upload, reserved).await;
                Ok(())
            };
            let _ = self.inner.surely("remove an upload", work).await;
        }
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let Some((upload, reserved)) = &mut self.parts else {
            return Ok(());
        };
        let len = bytes.len() as u64;
        upload.write(bytes).await?;
        reserved.written(len);
        Ok(())
    }

    /// Gives the file its name.
    async fn complete(mut self, digest: Digest, size: u64) -> Result<Stored, Error> {
        let inner = Arc::clone(&self.inner);
        let Some((mut upload, reserved)) = self.parts.take() else {
            return Ok(Stored { size, new: false });
        };
        let work = async move {
            let _name = inner.name(digest).await;
            if inner.index().touch(&digest).is_some() {
                abort(upload, reserved).await;
                return Ok(Stored { size, new: false });
            }
            if let Err(e) = upload.complete().await {
                // Its file may have its name by now, or none.
                let _ = inner.backend.discard(&digest).await;
                return Err(e);
            }
            reserved.store(digest);
            Ok(Stored { size, new: true })
        };
        self.inner.surely("store a blob", work).await
    }
}

impl Blobs {
    /// Stores a blob of `size` bytes, read from `body`. Its digest and length are verified as it is read.
    ///
    /// A blob that is there already is not read again: `body` is dropped unread. An upload that fails or is dropped leaves nothing; one
    /// that is dropped after its last byte may be stored. A body that stalls keeps its reservation, so the caller sets a time limit.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], [`Error::Short`], [`Error::Digest`], [`Error::Size`] and [`Error::Body`] refuse the content.
    /// [`Error::Quota`], [`Error::Full`], [`Error::DiskFloor`], [`Error::DiskFull`] and [`Error::Busy`] may pass.
    pub async fn put<S, E>(&self, digest: Digest, size: u64, body: S) -> Result<Stored, Error>
    where
        S: Stream<Item = Result<Bytes, E>>,
        E: Into<Failure>,
    {
        if size > BLOB_MAX {
            return Err(Error::TooLarge { most: BLOB_MAX });
        }
        if let Some(found) = self.stored(digest, size).await? {
            return Ok(found);
        }
        let reserved = self.reserve(size).await?;
        let upload = self.0.backend.upload(&digest).await?;
        let mut staged = Staged {
            parts: Some((upload, reserved)),
            inner: Arc::clone(&self.0),
        };
        match receive(&mut staged, digest, size, body).await {
            Ok(()) => staged.complete(digest, size).await,
            Err(e) => {
                staged.abort().await;
                Err(e)
            }
        }
    }

    /// Looks for a blob that is there already.
    async fn stored(&self, digest: Digest, announced: u64) -> Result<Option<Stored>, Error> {
        let Some(size) = self.0.index().touch(&digest) else {
            return Ok(None);
        };
        if size == announced {
            return Ok(Some(Stored { size, new: false }));
        }
        // The upload or the file is wrong. If it is the file, the upload mends it.
        match self.check_length(digest).await {
            Err(Error::Damaged { .. } | Error::Missing(_)) => Ok(None),
            Err(e) => Err(e),
            Ok(()) => Err(Error::Size {
                digest,
                size,
                announced,
            }),
        }
    }

    /// Reserves room for a blob, and evicts others for it.
    async fn reserve(&self, size: u64) -> Result<Reserved, Error> {
        let permit = Arc::clone(&self.0.uploads).try_acquire_owned();
        let permit = permit.map_err(|_| Error::Busy {
            what: "uploads",
            most: UPLOADS_MAX,
        })?;
        loop {
            let free = self.0.backend.free().await;
            let plan = self.0.index().reserve(size, free)?;
            match plan {
                Plan::Reserved => {
                    return Ok(Reserved {
                        inner: Arc::clone(&self.0),
                        size,
                        pending: charge(size),
                        stored: false,
                        _permit: permit,
                    });
                }
                Plan::Purge => self.0.purge().await?,
            }
        }
    }
}

/// Reads all of a body, verifies it, and writes it to the upload's file.
async fn receive<S, E>(staged: &mut Staged, digest: Digest, size: u64, body: S) -> Result<(), Error>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<Failure>,
{
    // At most `CHUNK`, which fits.
    let chunk = usize::try_from(CHUNK.min(size)).unwrap_or(0);
    let (mut sealer, mut waiting, mut received) = (Sealer::new(), BytesMut::new(), 0);
    let mut body = std::pin::pin!(body);
    while let Some(part) = body.next().await {
        let mut part = part.map_err(|e| Error::Body(e.into()))?;
        received += part.len() as u64;
        if received > size {
            return Err(Error::TooLarge { most: size });
        }
        while !part.is_empty() {
            let take = part.len().min(chunk - waiting.len());
            waiting.extend_from_slice(&part.split_to(take));
            if waiting.len() == chunk {
                let full = waiting.split().freeze();
                sealer = hash(sealer, full.clone()).await?;
                staged.write(full).await?;
            }
        }
    }
    if received < size {
        return Err(Error::Short {
            received,
            announced: size,
        });
    }
    let rest = waiting.freeze();
    if !rest.is_empty() {
        sealer = hash(sealer, rest.clone()).await?;
        staged.write(rest).await?;
    }
    let (found, tail) = sealer.finish();
    if found != digest {
        return Err(Error::Digest {
            wanted: digest,
            found,
        });
    }
    staged.write(tail.into()).await
}

/// Hashes a chunk off the executor's threads.
async fn hash(mut sealer: Sealer, chunk: Bytes) -> Result<Sealer, Error> {
    let hashed = tokio::task::spawn_blocking(move || {
        sealer.add(&chunk);
        sealer
    });
    hashed.await.map_err(Error::backend("hash a blob"))
}
