use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use betanet_carrier::disk::{self, Readers};
use betanet_keys::Identity;
use betanet_machine::Rng;
use betanet_session::{Error as SessionError, seed};
use tokio::runtime::{Handle, RuntimeFlavor};
use zeroize::Zeroizing;

use crate::{Error, FileError};

/// Adds a file's path to an error of the system.
pub(crate) fn file_error(path: &Path) -> impl Fn(std::io::Error) -> Error + use<> {
    let of = FileError::io(path);
    move |source| of(source).into()
}

/// Returns the folder of a user's betanet files: `$XDG_DATA_HOME/betanet`, else `~/.local/share/betanet`. As the XDG
/// specification requires, a variable that is empty or not an absolute path counts as unset.
#[must_use]
pub fn state_dir() -> PathBuf {
    data_home(std::env::var_os("XDG_DATA_HOME"), std::env::home_dir()).join("betanet")
}

fn data_home(set: Option<OsString>, home: Option<PathBuf>) -> PathBuf {
    let absolute = |p: &PathBuf| p.is_absolute();
    set.map(PathBuf::from)
        .filter(absolute)
        .or_else(|| home.filter(absolute).map(|h| h.join(".local/share")))
        // For a user without a home. Never use the folder in which a command happens to run.
        .unwrap_or_else(|| PathBuf::from("/var/lib"))
}

/// Runs blocking disk work, while the executor's other tasks go on.
pub fn on_disk<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(work)
        }
        _ => work(),
    }
}

/// Generates a new identity.
///
/// # Errors
///
/// [`SessionError::Entropy`].
pub fn fresh_identity() -> Result<Identity, SessionError> {
    let bytes = Zeroizing::new(Rng::new(&seed()?).array::<32>());
    Ok(Identity::from_seed(&bytes))
}

/// Reads an identity from a key file, or generates one and writes it there if the file does not exist: PKCS#8 PEM, mode 0600.
///
/// The file appears whole or not at all. If several processes call this at once, all return the same identity. Missing folders
/// are created with mode 0700.
///
/// # Errors
///
/// See [`load_identity`], or the file cannot be written.
pub fn load_or_new_identity(path: &Path) -> Result<Identity, Error> {
    let is = |error: &FileError, of| matches!(error, FileError::Io { source, .. } if source.kind() == of);
    match load_identity(path) {
        Err(e) if is(&e, ErrorKind::NotFound) => {}
        loaded => return Ok(loaded?),
    }
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(folder);
        made.map_err(file_error(folder))?;
    }
    match new_identity(path) {
        // Another process was first.
        Err(Error::File(e)) if is(&e, ErrorKind::AlreadyExists) => Ok(load_identity(path)?),
        made => made,
    }
}

/// Generates a new identity and writes it to a file that must not exist yet: PKCS#8 PEM, mode 0600.
///
/// # Errors
///
/// The file exists or cannot be written.
pub fn new_identity(path: &Path) -> Result<Identity, Error> {
    let identity = fresh_identity()?;
    let pem = identity.to_pem().map_err(|_| FileError::Key {
        path: path.to_owned(),
        why: "the key cannot be encoded",
    })?;
    write_secret(path, pem.as_bytes())?;
    Ok(identity)
}

/// Writes a file that must not exist yet and that only its owner may read. It appears whole, or not at all.
///
/// # Errors
///
/// The file exists or cannot be written.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    disk::write_new(path, bytes).map_err(FileError::io(path))
}

/// Writes a file that only its owner may read. Replaces an existing file, whole or not at all.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    disk::write_private(path, bytes).map_err(FileError::io(path))
}

/// Reads an identity from a PKCS#8 PEM file that no other user may read.
///
/// # Errors
///
/// The file is missing, readable by others, or holds no Ed25519 key.
pub fn load_identity(path: &Path) -> Result<Identity, FileError> {
    let pem = read_secret(path)?;
    if pem.is_empty() {
        return Err(FileError::Key {
            path: path.to_owned(),
            why: "the file is empty and holds no key; remove it, and one can be made there",
        });
    }
    Identity::from_pem(&pem).map_err(|_| FileError::Key {
        path: path.to_owned(),
        why: "not a PKCS#8 PEM Ed25519 private key",
    })
}

/// Reads a key file that no other user may read.
///
/// # Errors
///
/// The file is missing, readable by others, not regular, too large, or not text.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, FileError> {
    let mut bytes = disk::read_secret(path, Readers::Owner).map_err(FileError::io(path))?;
    String::from_utf8(std::mem::take(&mut *bytes))
        .map(Zeroizing::new)
        .map_err(|e| {
            drop(Zeroizing::new(e.into_bytes()));
            FileError::Key {
                path: path.to_owned(),
                why: "not text: it holds no key that is read here",
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_whoever_asks_at_the_same_time() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/node/id.pem");
        let made: Vec<_> = std::thread::scope(|all| {
            let ask = || *load_or_new_identity(&path).unwrap().public();
            let asked: Vec<_> = (0..8).map(|_| all.spawn(ask)).collect();
            asked.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(made.iter().all(|key| *key == made[0]));
        assert_eq!(*load_identity(&path).unwrap().public(), made[0]);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        // A damaged key is never replaced.
        std::fs::write(&path, "no key").unwrap();
        assert!(load_or_new_identity(&path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"no key");
    }

    #[test]
    fn a_variable_that_is_no_absolute_path_is_not_set() {
        let home = || Some(PathBuf::from("/home/me"));
        let at = |set: &str, home| data_home(Some(set.into()), home);
        assert_eq!(at("/data", home()), Path::new("/data"));
        for unset in ["", "data", "./data"] {
            assert_eq!(at(unset, home()), Path::new("/home/me/.local/share"));
            assert_eq!(at(unset, Some("".into())), Path::new("/var/lib"));
        }
        assert_eq!(data_home(None, None), Path::new("/var/lib"));
    }
}
