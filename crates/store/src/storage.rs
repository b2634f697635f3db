use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::{Damage, Error};

/// A kind of state, with the newest version that this program reads and writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kind {
    pub(crate) name: &'static str,
    pub(crate) version: u16,
}

impl Kind {
    /// Creates a kind. Its name has 1 to 32 characters of `a` to `z`, `0` to `9` and `-`.
    #[must_use]
    pub const fn new(name: &'static str, version: u16) -> Self {
        Self { name, version }
    }

    /// Returns the kind's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// The content of an entry. It is wiped on drop.
#[derive(Clone, Eq, PartialEq)]
pub struct Loaded {
    /// Version in which the content was written, at most that of the kind.
    pub version: u16,
    /// The content.
    pub bytes: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("version", &self.version)
            .field("len", &self.bytes.len())
            .finish()
    }
}

/// The interface to a node's state: entries by name, each of one kind.
///
/// An entry is either a value that is replaced whole, or a journal to which records are appended.
pub trait Storage: Send + Sync {
    /// Loads the content of an entry, or `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// The entry cannot be read, is damaged, is newer, or is of another kind.
    fn load(&self, kind: Kind, name: &str) -> Result<Option<Loaded>, Error>;

    /// Replaces an entry's content, whole or not at all. The content survives a crash once this has returned.
    ///
    /// # Errors
    ///
    /// The entry cannot be written. Its old content remains.
    fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error>;

    /// Appends a record to a journal, which is created if it does not exist. The record survives a crash once this has returned.
    ///
    /// # Errors
    ///
    /// The journal cannot be written, is damaged, is newer, or is of another kind.
    fn append(&self, kind: Kind, name: &str, record: &[u8]) -> Result<(), Error>;

    /// Returns a journal's records, oldest first, or none if there is no journal. A record that a crash cut short is left out.
    ///
    /// # Errors
    ///
    /// The journal cannot be read, is damaged, is newer, or is of another kind.
    fn records(&self, kind: Kind, name: &str) -> Result<Vec<Zeroizing<Vec<u8>>>, Error>;

    /// Removes an entry of any kind. Returns whether it existed.
    ///
    /// # Errors
    ///
    /// The entry cannot be removed.
    fn remove(&self, name: &str) -> Result<bool, Error>;

    /// Returns the location of an entry, for error messages.
    fn place(&self, name: &str) -> PathBuf;

    /// Returns the error for an entry that is complete but cannot be parsed.
    fn unreadable(&self, name: &str) -> Error {
        Error::Damaged {
            path: self.place(name),
            why: Damage::Content,
        }
    }
}
