use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::Headers;

/// What is known of a stored resource.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Meta {
    /// Its length.
    pub len: u64,
    /// Changes whenever the bytes do; with its quotes.
    pub etag: String,
    /// Headers that are shown with it: `content-type`, and whatever unknown ones it was put with.
    pub headers: Headers,
}

/// What must hold when a write is committed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Expect {
    /// Nothing.
    #[default]
    Anything,
    /// Nothing stands there.
    Absent,
    /// This etag stands there.
    Etag(String),
}

impl Expect {
    /// Whether it holds, given what stands there.
    #[must_use]
    pub fn holds(&self, etag: Option<&str>) -> bool {
        match self {
            Self::Anything => true,
            Self::Absent => etag.is_none(),
            Self::Etag(want) => etag == Some(want),
        }
    }
}

/// How a commit went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Commit {
    /// Nothing stood there before.
    pub created: bool,
    /// The new etag.
    pub etag: String,
}

/// Why a store could not.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The path cannot be stored under: hidden, empty, a folder.
    #[error("that path cannot be written")]
    Path,
    /// The quota is used up.
    #[error("the quota is used up")]
    Quota,
    /// What was expected does not hold any more.
    #[error("the resource has changed")]
    Changed,
    /// A folder has more names than are looked through for a list.
    #[error("the folder has too many names to be listed")]
    TooMany,
    /// The store keeps no writes.
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
    /// Without the folder's.
    pub name: String,
    /// The length of a resource; `None` of a folder.
    pub len: Option<u64>,
}

/// A folder's names in order, or some of them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Listing {
    /// Those.
    pub entries: Vec<Entry>,
    /// Whether there are more behind the last.
    pub more: bool,
}

/// Where resources are kept. Paths are those of checked requests, without query.
pub trait Store {
    /// An open resource: its bytes stay those of its meta.
    type Reader;
    /// A write that is not visible until it is committed; dropped, it leaves nothing.
    type Writer;

    /// Opens a resource; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Medium`].
    fn open(&mut self, path: &str) -> Result<Option<(Meta, Self::Reader)>, StoreError>;

    /// Up to `max` bytes from `offset`; at least one unless at the end.
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

    /// The same where nothing has to be waited for; `None` where it would be, and [`Store::read`] does so. It may give less.
    fn read_ready(
        &mut self,
        _reader: &mut Self::Reader,
        _offset: u64,
        _max: usize,
    ) -> Option<Result<Bytes, StoreError>> {
        None
    }

    /// The names in a folder, whose path ends in `/`, that stand behind `after` in order, at most `max`; `None` when there is no
    /// such folder. Only names are told that [`Store::open`] opens, and folders.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooMany`], [`StoreError::Medium`].
    fn list(&mut self, path: &str, after: &str, max: usize) -> Result<Option<Listing>, StoreError>;

    /// Begins a write.
    ///
    /// # Errors
    ///
    /// [`StoreError::ReadOnly`], [`StoreError::Medium`].
    fn create(&mut self) -> Result<Self::Writer, StoreError>;

    /// Adds bytes to a write.
    ///
    /// # Errors
    ///
    /// [`StoreError::Quota`], [`StoreError::Medium`].
    fn write(&mut self, writer: &mut Self::Writer, bytes: &[u8]) -> Result<(), StoreError>;

    /// Makes a write visible, all of it or nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Changed`] when the expectation does not hold, and all others.
    fn commit(
        &mut self,
        writer: Self::Writer,
        path: &str,
        headers: &Headers,
        expect: &Expect,
    ) -> Result<Commit, StoreError>;

    /// Removes a resource; whether there was one.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    fn remove(&mut self, path: &str, expect: &Expect) -> Result<bool, StoreError>;
}
