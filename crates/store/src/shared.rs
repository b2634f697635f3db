use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::state::{checked, load_file};
use crate::{Damage, Error, Kind, Loaded, State, Storage, load_or_move};

/// How long one process waits for another's piece of work.
const PATIENCE: Duration = Duration::from_secs(5);

/// A state folder that processes use in turn: each holds it for one piece of work, such as reading an entry and replacing it.
///
/// Commands use one that a user runs several of at a time. A node holds its folder for as long as it runs: see [`State`].
#[derive(Clone, Debug)]
pub struct SharedFolder {
    folder: PathBuf,
}

impl SharedFolder {
    /// The folder need not be there; it is made when something is written.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Holds the folder while `work` is done.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] where another process does not release it within 5 s; else as [`State::open`], or as `work` says.
    pub fn hold<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&State) -> Result<T, E>,
    ) -> Result<T, E> {
        work(&State::open_within(&self.folder, PATIENCE)?)
    }

    /// The content of an entry. The folder is not held for it: an entry is replaced whole.
    ///
    /// # Errors
    ///
    /// As [`Storage::load`].
    pub fn load(&self, kind: Kind, name: &str) -> Result<Option<Loaded>, Error> {
        load_file(kind, &self.folder.join(checked(name)?))
    }

    /// The same; an entry that is not there is moved here from the file `old`, as [`load_or_move`] does.
    ///
    /// # Errors
    ///
    /// As [`load_or_move`].
    pub fn load_or_move(
        &self,
        entry: (Kind, &str),
        old: &Path,
        read: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Option<Loaded>, Error> {
        match self.load(entry.0, entry.1) {
            Err(Error::Damaged {
                path,
                why: Damage::Header,
            }) if path == old => {}
            Ok(None) if old.exists() => {}
            other => return other,
        }
        self.hold(|state| load_or_move(state, entry, old, read))
    }

    /// Replaces an entry.
    ///
    /// # Errors
    ///
    /// As [`SharedFolder::hold`] and [`Storage::replace`].
    pub fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.hold(|state| state.replace(kind, name, bytes))
    }
}

/// An entry's name for a text that may hold what no name does, or be longer: no two texts have the same one.
#[must_use]
pub fn entry_name(prefix: &str, text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c
        } else {
            '_'
        }
    };
    let readable: String = text.chars().map(plain).take(40).collect();
    let digest = Sha256::digest(text.as_bytes());
    let short = digest
        .iter()
        .take(8)
        .fold(0_u64, |n, b| n << 8 | u64::from(*b));
    format!("{prefix}-{readable}-{short:016x}")
}
