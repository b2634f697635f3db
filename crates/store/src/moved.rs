use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::{Damage, ENTRY_MAX, Error, Kind, Loaded, Storage, disk};

/// Loads an entry. Where there is none, its content is moved here from the file `old`, where an earlier version kept it: `read` makes
/// the entry's content of the file's, or `None` where the file does not read.
///
/// # Errors
///
/// As [`Storage::load`]; or the old file cannot be read, which is left as it is.
pub fn load_or_move(
    storage: &dyn Storage,
    (kind, name): (Kind, &str),
    old: &Path,
    read: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
) -> Result<Option<Loaded>, Error> {
    // The old file may stand under the entry's own name.
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
        // The entry is on the disk by now, and counts before the old file does.
        fs::remove_file(old).map_err(Error::file(old))?;
    }
    Ok(Some(Loaded {
        version: kind.version,
        bytes,
    }))
}
