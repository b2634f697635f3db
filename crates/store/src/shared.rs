use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::state::{checked, load_file};
use crate::{Damage, Error, Kind, Loaded, State, Storage, load_or_move};

/// Time that one process waits for another's piece of work.
const PATIENCE: Duration = Duration::from_secs(5);

/// A state folder that processes use in turn. Each holds it for one piece of work, such as reading an entry and replacing it.
///
/// It serves commands of which a user runs several at a time. A node holds its folder for as long as it runs: see [`State`].
#[derive(Clone, Debug)]
pub struct SharedFolder {
    folder: PathBuf,
}

impl SharedFolder {
    /// Creates a handle. The folder need not exist: it is created on the first write.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// Returns the folder's path.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Holds the folder while `work` runs.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] if another process does not release it within 5 s. Otherwise see [`State::open`], or the error of `work`.
    pub fn hold<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&State) -> Result<T, E>,
    ) -> Result<T, E> {
        work(&State::open_within(&self.folder, PATIENCE)?)
    }

    /// Loads the content of an entry, without holding the folder: entries are replaced whole.
    ///
    /// # Errors
    ///
    /// See [`Storage::load`].
    pub fn load(&self, kind: Kind, name: &str) -> Result<Option<Loaded>, Error> {
        load_file(kind, &self.folder.join(checked(name)?))
    }

    /// Loads an entry. If it does not exist, moves it here from the file `old`, like [`load_or_move`].
    ///
    /// # Errors
    ///
    /// See [`load_or_move`].
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
    /// See [`SharedFolder::hold`] and [`Storage::replace`].
    pub fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.hold(|state| state.replace(kind, name, bytes))
    }
}

/// Derives a valid entry name from any text, which may be long or have invalid characters. Different texts have different names.
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
