use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::{Damage, ENTRY_MAX, Error, Kind, Loaded, Storage, disk};

/// Loads an entry. If it does not exist, moves its content here from the file `old` of an earlier version.
///
/// `read` converts the file's content to the entry's, or returns `None` if the file is invalid.
///
/// # Errors
///
/// See [`Storage::load`]. If the old file cannot be read, it is left unchanged.
pub fn load_or_move(
    storage: &dyn Storage,
    (kind, name): (Kind, &str),
    old: &Path,
    read: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
) -> Result<Option<Loaded>, Error> {
    // The old file may have the same name as the entry.
    let same = match storage.load(kind, name) {
        Err(Error::Damaged {
            path,
            why: Damage::Header,
        }) if path == old => true,
        Ok(None) => false,
        other => return other,
    };
    let bytes = match disk::read_private(old, ENTRY_MAX) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(Error::file(old))?,
    };
    let content = read(&bytes).ok_or_else(|| Error::Damaged {
        path: old.to_owned(),
        why: Damage::Content,
    })?;
    let bytes = zeroize::Zeroizing::new(content);
    storage.replace(kind, name, &bytes)?;
    if !same {
        // The entry is on disk by now, and takes precedence over the old file.
        fs::remove_file(old).map_err(Error::file(old))?;
    }
    Ok(Some(Loaded {
        version: kind.version,
        bytes,
    }))
}
