use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt as _, try_unfold};
use tokio::sync::OwnedSemaphorePermit;

use crate::backend::Read;
use crate::seal::{CHUNK, Table, stored_len};
use crate::store::{Inner, READS_MAX};
use crate::{Blobs, Damage, Digest, Error};

/// A range of a blob's content, in parts of at most 256 KiB. Each part was verified before it is given out.
pub struct Content {
    size: u64,
    range: Range<u64>,
    parts: BoxStream<'static, Result<Bytes, Error>>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("size", &self.size)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

impl Content {
    /// Returns the length of the whole blob, in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the range that the parts are of.
    #[must_use]
    pub const fn range(&self) -> &Range<u64> {
        &self.range
    }

    /// Returns the next part, or `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`]: the parts before it are good. [`Error::Missing`]: the blob was removed meanwhile.
    pub async fn part(&mut self) -> Option<Result<Bytes, Error>> {
        self.parts.next().await
    }

    /// Reads all parts, if they have at most `most` bytes together.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`]; otherwise see [`Content::part`].
    pub async fn all(mut self, most: u64) -> Result<Vec<u8>, Error> {
        let len = self.range.end - self.range.start;
        let room = usize::try_from(len).ok().filter(|_| len <= most);
        let mut out = Vec::with_capacity(room.ok_or(Error::TooLarge { most })?);
        while let Some(part) = self.part().await {
            out.extend_from_slice(&part?);
        }
        Ok(out)
    }
}

impl Stream for Content {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.parts.poll_next_unpin(context)
    }
}

/// A blob that is being read, and not evicted meanwhile.
struct Reader {
    inner: Arc<Inner>,
    digest: Digest,
    size: u64,
    id: u64,
    _permit: OwnedSemaphorePermit,
}

/// Bytes that were read and not given out yet.
#[derive(Default)]
struct Ahead {
    start: u64,
    bytes: Bytes,
}

impl Ahead {
    /// Takes the bytes from `start` to `end`, if they were read. Those before them are dropped.
    fn take(&mut self, start: u64, end: u64) -> Option<Bytes> {
        let from = usize::try_from(start.checked_sub(self.start)?).ok()?;
        let to = usize::try_from(end.checked_sub(self.start)?).ok()?;
        if from >= to || to > self.bytes.len() {
            return None;
        }
        let mut taken = self.bytes.split_to(to);
        self.start = end;
        Some(taken.split_off(from))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.inner.index().end_read(self.digest, self.id);
    }
}

impl Reader {
    async fn damaged(&self, why: Damage) -> Error {
        self.inner.set_aside(self.digest, self.id, why).await
    }

    /// Reads a range of the file. A blob that was removed is missing, and otherwise its file is damaged.
    async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        match self.inner.backend.read(&self.digest, range).await? {
            Read::Bytes(bytes) => Ok(bytes),
            Read::Missing if !self.inner.index().is(&self.digest, self.id) => {
                Err(Error::Missing(self.digest))
            }
            Read::Missing => Err(self.damaged(Damage::Missing).await),
            Read::Short => Err(self.damaged(Damage::Length).await),
        }
    }

    /// Reads and checks the checksums.
    async fn table(&self) -> Result<Table, Error> {
        let tail = self.read(self.size..stored_len(self.size)).await?;
        match Table::read(&self.digest, self.size, tail) {
            Some(table) => Ok(table),
            None => Err(self.damaged(Damage::Checksums).await),
        }
    }

    /// Reads and checks a chunk. Where a request is dear, those that follow are read with it, up to `wanted`.
    async fn chunk(
        &self,
        ahead: &mut Ahead,
        table: &Arc<Table>,
        number: u64,
        wanted: u64,
    ) -> Result<Bytes, Error> {
        let start = number * CHUNK;
        let end = start.saturating_add(CHUNK).min(self.size);
        let bytes = match ahead.take(start, end) {
            Some(bytes) => bytes,
            None => {
                let most = start.saturating_add(self.inner.backend.read_len());
                let last = most.min(wanted.next_multiple_of(CHUNK)).min(self.size);
                let bytes = self.read(start..last.max(end)).await?;
                *ahead = Ahead { start, bytes };
                ahead
                    .take(start, end)
                    .ok_or(Error::Range { size: self.size })?
            }
        };
        let (table, chunk) = (Arc::clone(table), bytes.clone());
        let matches = tokio::task::spawn_blocking(move || table.matches(number, &chunk));
        if matches.await.map_err(Error::backend("verify a blob"))? {
            Ok(bytes)
        } else {
            Err(self.damaged(Damage::Content(start)).await)
        }
    }
}

impl Blobs {
    /// Reads a range of a blob. It is not evicted before the result is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Range`], [`Error::Busy`]. [`Error::Damaged`] names the blob, which is not served any more.
    pub async fn get(&self, digest: Digest, range: Range<u64>) -> Result<Content, Error> {
        let reader = self.reader(digest)?;
        let size = reader.size;
        if range.start > range.end || range.end > size {
            return Err(Error::Range { size });
        }
        let table = Arc::new(reader.table().await?);
        let wanted = range.clone();
        let begun = (reader, Ahead::default(), range.start);
        let parts = try_unfold(begun, move |(reader, mut ahead, at)| {
            let (table, end) = (Arc::clone(&table), wanted.end);
            async move {
                if at >= end {
                    return Ok(None);
                }
                let chunk = reader.chunk(&mut ahead, &table, at / CHUNK, end).await?;
                // Both are within the chunk, whose length fits.
                let from = usize::try_from(at % CHUNK).unwrap_or(0);
                let start = at - at % CHUNK;
                let to = usize::try_from(end - start).unwrap_or(usize::MAX);
                let part = chunk.slice(from..to.min(chunk.len()));
                let next = at + part.len() as u64;
                Ok(Some((part, (reader, ahead, next))))
            }
        });
        Ok(Content {
            size,
            range,
            parts: parts.boxed(),
        })
    }

    /// Reads all of a blob, which verifies it.
    ///
    /// # Errors
    ///
    /// See [`Blobs::get`] and [`Content::part`].
    pub async fn verify(&self, digest: Digest) -> Result<(), Error> {
        let size = self.has(digest).ok_or(Error::Missing(digest))?;
        let mut content = self.get(digest, 0..size).await?;
        while let Some(part) = content.part().await {
            part?;
        }
        Ok(())
    }

    /// Checks that a stored blob has the length that the index knows.
    pub(crate) async fn check_length(&self, digest: Digest) -> Result<(), Error> {
        self.reader(digest)?.table().await.map(|_| ())
    }

    fn reader(&self, digest: Digest) -> Result<Reader, Error> {
        let permit = Arc::clone(&self.0.reads).try_acquire_owned();
        let permit = permit.map_err(|_| Error::Busy {
            what: "reads",
            most: READS_MAX,
        })?;
        let begun = self.0.index().begin_read(&digest);
        let (size, id) = begun.ok_or(Error::Missing(digest))?;
        Ok(Reader {
            inner: Arc::clone(&self.0),
            digest,
            size,
            id,
            _permit: permit,
        })
    }
}
