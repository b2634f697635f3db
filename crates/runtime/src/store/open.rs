//! Files that answers hold open. They are read on threads that may wait for a disk, and from memory on those that may not.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::time::SystemTime;

use betanet_bar::StoreError;
use bytes::Bytes;

use super::held::Place;
use super::medium;

/// A file held open between two reads, with the position of the next read.
#[derive(Debug)]
pub(super) struct Open {
    file: File,
    position: u64,
    /// Length and modification time when it was opened.
    seen: Seen,
    _place: Place,
}

impl Open {
    pub(super) const fn new(file: File, seen: Seen, place: Place) -> Self {
        Self {
            file,
            position: 0,
            seen,
            _place: place,
        }
    }

    pub(super) fn read(&mut self, offset: u64, max: usize) -> Result<Bytes, StoreError> {
        if self.position != offset {
            self.file.seek(SeekFrom::Start(offset)).map_err(medium)?;
        }
        let bytes = next(&self.file, max).map_err(medium)?;
        self.position = offset + bytes.len() as u64;
        self.unchanged(bytes)
    }

    /// Reads bytes that the system has in memory. Returns `None` if it would have to read the disk, or does not tell.
    pub(super) fn read_ready(
        &mut self,
        offset: u64,
        max: usize,
    ) -> Option<Result<Bytes, StoreError>> {
        let bytes = cached(&self.file, offset, max)?;
        Some(self.unchanged(bytes))
    }

    /// Returns the read bytes, if the file was not written to.
    fn unchanged(&self, bytes: Bytes) -> Result<Bytes, StoreError> {
        let now = self.file.metadata().map_err(medium)?;
        if self.seen != Seen(now.len(), now.modified().ok()) {
            return Err(StoreError::Changed);
        }
        Ok(bytes)
    }
}

pub(super) fn next(file: &File, max: usize) -> io::Result<Bytes> {
    let mut buf = Vec::with_capacity(max);
    file.take(max as u64).read_to_end(&mut buf)?;
    Ok(buf.into())
}

/// A file's length and modification time. A write changes them, and parts read before and after it do not belong together.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Seen(pub(super) u64, pub(super) Option<SystemTime>);

/// Returns bytes of a file that are in memory. Network and FUSE file systems never report this.
#[cfg(target_os = "linux")]
fn cached(file: &File, offset: u64, max: usize) -> Option<Bytes> {
    use rustix::io::{ReadWriteFlags, preadv2};
    let mut bytes = vec![0; max];
    let mut parts = [io::IoSliceMut::new(&mut bytes)];
    let read = preadv2(file, &mut parts, offset, ReadWriteFlags::NOWAIT).ok()?;
    bytes.truncate(read);
    (read > 0).then(|| bytes.into())
}

#[cfg(not(target_os = "linux"))]
fn cached(_: &File, _: u64, _: usize) -> Option<Bytes> {
    None
}
