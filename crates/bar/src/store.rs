use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::Headers;

/// Metadata of a stored resource.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Meta {
    /// Length in bytes.
    pub len: u64,
    /// Etag with its quotes; changes whenever the bytes do.
    pub etag: String,
    /// Headers to answer with: `content-type`, and unknown headers of the PUT.
    pub headers: Headers,
}

/// Condition that must hold when a write is committed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Expect {
    /// No condition.
    #[default]
    Anything,
    /// The resource does not exist.
    Absent,
    /// The resource has this etag.
    Etag(String),
}

impl Expect {
    /// Whether the condition holds for the current etag; `None` means no resource.
    #[must_use]
    pub fn holds(&self, etag: Option<&str>) -> bool {
        match self {
            Self::Anything => true,
            Self::Absent => etag.is_none(),
            Self::Etag(want) => etag == Some(want),
        }
    }
}

/// Result of a commit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Commit {
    /// Whether the resource is new.
    pub created: bool,
    /// The new etag.
    pub etag: String,
}

/// Reason why a store operation failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The path cannot hold a resource: hidden, empty, or a folder.
    #[error("that path cannot be written")]
    Path,
    /// The quota is exhausted.
    #[error("the quota is used up")]
    Quota,
    /// The condition does not hold.
    #[error("the resource has changed")]
    Changed,
    /// The folder has too many names to list.
    #[error("the folder has too many names to be listed")]
    TooMany,
    /// The store accepts no writes.
    #[error("the store is read-only")]
    ReadOnly,
    /// The medium has no room for it.
    #[error("the server's disk is full")]
    Full,
    /// The medium failed.
    #[error("the medium failed")]
    Medium,
}

/// A name in a folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Name, without the folder's path.
    pub name: String,
    /// Length of a resource; `None` for a folder.
    pub len: Option<u64>,
}

/// Some or all names of a folder, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Listing {
    /// The names.
    pub entries: Vec<Entry>,
    /// Whether more names follow.
    pub more: bool,
}

/// A store of resources. Paths are those of checked requests, without query.
pub trait Store {
    /// An open resource. Its bytes stay those that its metadata describes.
    type Reader;
    /// A write, invisible until it is committed; dropping it leaves nothing.
    type Writer;

    /// Opens a resource; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// [`StoreError::Medium`].
    fn open(&mut self, path: &str) -> Result<Option<(Meta, Self::Reader)>, StoreError>;

    /// Reads up to `max` bytes from `offset`; at least one, except at the end.
    ///
    /// # Errors
    ///
    /// [`StoreError::Medium`].
    fn read(
        &mut self,
        reader: &mut Self::Reader,
        offset: u64,
        max: usize,
    ) -> Result<Bytes, StoreError>;

    /// Like [`Store::read`], but `None` if reading would have to wait. It may return fewer bytes.
    fn read_ready(
        &mut self,
        _reader: &mut Self::Reader,
        _offset: u64,
        _max: usize,
    ) -> Option<Result<Bytes, StoreError>> {
        None
    }

    /// The names in a folder after `after`, in order, at most `max`. The path ends in `/`. `None` if the folder does not exist.
    /// The list holds folders, and names that [`Store::open`] opens.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooMany`], [`StoreError::Medium`].
    fn list(&mut self, path: &str, after: &str, max: usize) -> Result<Option<Listing>, StoreError>;

    /// Whether something could be stored at this path as things are now: told before a body is sent in vain. A commit looks again.
    ///
    /// # Errors
    ///
    /// [`StoreError::Path`], [`StoreError::ReadOnly`], [`StoreError::Medium`].
    fn may_write(&mut self, _path: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Begins a write.
    ///
    /// # Errors
    ///
    /// [`StoreError::ReadOnly`], [`StoreError::Medium`].
    fn create(&mut self) -> Result<Self::Writer, StoreError>;

    /// Begins a write that is to be committed at `path`. A quota may charge it the difference to the resource that it replaces.
    ///
    /// # Errors
    ///
    /// As [`Store::create`], and [`StoreError::Quota`].
    fn replace(&mut self, _path: &str) -> Result<Self::Writer, StoreError> {
        self.create()
    }

    /// Adds bytes to a write.
    ///
    /// # Errors
    ///
    /// [`StoreError::Quota`], [`StoreError::Medium`].
    fn write(&mut self, writer: &mut Self::Writer, bytes: &[u8]) -> Result<(), StoreError>;

    /// Makes a write visible as a whole.
    ///
    /// # Errors
    ///
    /// [`StoreError::Changed`] if the condition does not hold, and all others.
    fn commit(
        &mut self,
        writer: Self::Writer,
        path: &str,
        headers: &Headers,
        expect: &Expect,
    ) -> Result<Commit, StoreError>;

    /// Removes a resource. Returns whether it existed.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    fn remove(&mut self, path: &str, expect: &Expect) -> Result<bool, StoreError>;
}
