use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::{Damage, Error};

/// A kind of state, and the newest version of it that this program reads and writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kind {
    pub(crate) name: &'static str,
    pub(crate) version: u16,
}

impl Kind {
    /// A kind whose name is 1 to 32 of `a` to `z`, `0` to `9` and `-`.
    #[must_use]
    pub const fn new(name: &'static str, version: u16) -> Self {
        Self { name, version }
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// An entry's content. It is wiped when dropped.
#[derive(Clone, Eq, PartialEq)]
pub struct Loaded {
    /// The version that it was written in, at most the kind's.
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

/// The port to a node's state: entries by name, each of a kind.
///
/// An entry is either a value that is replaced whole, or a journal that records are appended to.
pub trait Storage: Send + Sync {
    /// The content of an entry; `None` where there is none.
    ///
    /// # Errors
    ///
    /// The entry cannot be read, is damaged, newer, or of another kind.
    fn load(&self, kind: Kind, name: &str) -> Result<Option<Loaded>, Error>;

    /// Puts content in place of an entry's: all of it, or none. It outlives a crash once this has returned.
    ///
    /// # Errors
    ///
    /// The entry cannot be written; what was there is still there.
    fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error>;

    /// Appends a record to a journal, which is made where there is none. It outlives a crash once this has returned.
    ///
    /// # Errors
    ///
    /// The journal cannot be written, is damaged, newer, or of another kind.
    fn append(&self, kind: Kind, name: &str, record: &[u8]) -> Result<(), Error>;

    /// A journal's records, the oldest first; none where there is no journal. A record that a crash cut short is not among them.
    ///
    /// # Errors
    ///
    /// The journal cannot be read, is damaged, newer, or of another kind.
    fn records(&self, kind: Kind, name: &str) -> Result<Vec<Zeroizing<Vec<u8>>>, Error>;

    /// Removes an entry, whatever it holds; whether there was one.
    ///
    /// # Errors
    ///
    /// The entry cannot be removed.
    fn remove(&self, name: &str) -> Result<bool, Error>;

    /// Where an entry is, for whoever reads an error.
    fn place(&self, name: &str) -> PathBuf;

    /// The error for an entry that is whole, and whose content does not read.
    fn unreadable(&self, name: &str) -> Error {
        Error::Damaged {
            path: self.place(name),
            why: Damage::Content,
        }
    }
}
