//! Files that are written whole or not at all, and files of secrets that no other user may read.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// Maximum size of a file of a secret. A key file has a few kilobytes.
const SECRET_MAX: u64 = 64 << 10;
/// Maximum number of symbolic links that lead to a file, one to the next.
const LINKS_MAX: usize = 8;
/// Prefix of the name of an unfinished file. Random letters follow it.
const UNFINISHED: &str = ".betanet-";
/// Prefix of the name of an unfinished entry of a state folder, which only the folder's holder writes.
const UNFINISHED_STATE: &str = ".state-";
const DRAWN: usize = 16;

/// Users besides the owner that may read a file of a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readers {
    /// No other user.
    Owner,
    /// The file's group too, as is common for an ACME client's certificate keys. The group may not write, and other users may not
    /// read.
    Group,
}

/// Writes a file that must not exist yet and that only its owner may read (mode 0600, whatever the umask).
///
/// The file appears whole under its name, or it does not appear.
///
/// # Errors
///
/// A file of that name exists, or the file cannot be written.
pub fn write_new(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let bytes = bytes.as_ref();
    let folder = folder_of(path);
    let fresh = fresh((folder, UNFINISHED), 0o600, true, bytes)?;
    fresh.persist_noclobber(path).map_err(|e| e.error)?;
    sync(folder)
}

/// Writes a file that only its owner may read (mode 0600, whatever the umask), and replaces an existing one.
///
/// A reader of the name sees the whole old file or the whole new one.
///
/// # Errors
///
/// The file cannot be written, or the existing one is not a regular file.
pub fn write_private(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let bytes = bytes.as_ref();
    let path = followed(path)?;
    if fs::metadata(&path).is_ok_and(|m| !m.is_file()) {
        return Err(irregular());
    }
    replace(&path, 0o600, true, bytes)
}

/// Writes a file that others may read as the umask allows. Replaces an existing file, and keeps its mode.
///
/// A reader of the name sees the whole old file or the whole new one. A target that is not a regular file, such as `/dev/stdout`,
/// is written in place.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_shared(path: &Path, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let bytes = bytes.as_ref();
    let path = followed(path)?;
    match fs::metadata(&path) {
        Ok(meta) if meta.is_file() => {
            replace(&path, meta.permissions().mode() & 0o777, true, bytes)
        }
        Ok(_) => File::options().write(true).open(&path)?.write_all(bytes),
        Err(e) if e.kind() == ErrorKind::NotFound => replace(&path, 0o666, false, bytes),
        Err(e) => Err(e),
    }
}

/// Reads a file of a secret: a regular file of at most 64 KiB that only its owner and its `readers` may read.
///
/// # Errors
///
/// The file cannot be read, or is not of this form; the error says what is allowed.
pub fn read_secret(path: &Path, readers: Readers) -> io::Result<Zeroizing<Vec<u8>>> {
    let (file, meta) = open_regular(path)?;
    let mode = meta.permissions().mode() & 0o7777;
    let (refused, allowed) = match readers {
        Readers::Owner => (0o077, "600"),
        Readers::Group => (0o027, "640"),
    };
    if mode & refused != 0 {
        let why = format!(
            "its mode is {mode:04o}, and others may use it: a secret key is read only after chmod {allowed} {}",
            path.display()
        );
        return Err(io::Error::new(ErrorKind::PermissionDenied, why));
    }
    read_whole(&file, &meta, SECRET_MAX)
}

/// Reads a regular file of at most `most` bytes. Refuses a FIFO or a device without waiting for it.
///
/// # Errors
///
/// The file cannot be read, or is not of this form.
pub fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let (file, meta) = open_regular(path)?;
    read_whole(&file, &meta, most).map(|mut bytes| std::mem::take(&mut *bytes))
}

/// Maximum bytes read from a file of settings, addresses or certificates.
pub const TEXT_MAX: u64 = 16 << 20;
/// Maximum bytes read from a capture, a recording, or data learnt from them.
pub const CAPTURE_MAX: u64 = 1 << 30;

/// Reads a file or a pipe of at most `most` bytes. A device that never ends is refused once it has given more.
///
/// # Errors
///
/// The file cannot be read, or is longer than `most`.
pub fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(most.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        let why = format!("longer than the {most} bytes that are read of such a file");
        return Err(io::Error::new(ErrorKind::InvalidData, why));
    }
    Ok(bytes)
}

/// Like [`read_bounded`], for text.
///
/// # Errors
///
/// The file cannot be read, is longer than `most`, or is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let bytes = read_bounded(path, most)?;
    String::from_utf8(bytes).map_err(|e| io::Error::new(ErrorKind::InvalidData, e.utf8_error()))
}

/// Reads a regular file of at most `most` bytes into a buffer that is wiped on drop.
pub(crate) fn read_private(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let (file, meta) = open_regular(path)?;
    read_whole(&file, &meta, most)
}

/// Writes an entry of a state folder, and replaces an existing one. The caller holds the folder.
pub(crate) fn write_state(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = followed(path)?;
    if fs::metadata(&path).is_ok_and(|m| !m.is_file()) {
        return Err(irregular());
    }
    let folder = folder_of(&path);
    let fresh = fresh((folder, UNFINISHED_STATE), 0o600, true, bytes)?;
    fresh.persist(&path).map_err(|e| e.error)?;
    sync(folder)
}

/// Removes the unfinished entries of a killed process. The caller holds the state folder.
pub(crate) fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let drawn = name.to_str().and_then(|n| n.strip_prefix(UNFINISHED_STATE));
        if drawn.is_some_and(|d| d.len() == DRAWN) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn open_regular(path: &Path) -> io::Result<(File, fs::Metadata)> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() {
        Ok((file, meta))
    } else {
        Err(irregular())
    }
}

fn read_whole(file: &File, meta: &fs::Metadata, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let room = usize::try_from(meta.len().min(most)).unwrap_or(0) + 1;
    // Reserve room for all of it, since a growing buffer leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(room as u64).read_to_end(&mut bytes)?;
    if bytes.len() >= room {
        let why = format!("too large, or still growing: at most {most} bytes are read");
        return Err(io::Error::new(ErrorKind::InvalidData, why));
    }
    Ok(bytes)
}

fn irregular() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "not a regular file")
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => Path::new("/"),
    }
}

/// Follows the symbolic links of a path, so that they remain when the file is replaced.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => path = folder_of(&path).join(fs::read_link(&path)?),
            _ => return Ok(path),
        }
    }
    Err(io::Error::new(
        ErrorKind::InvalidInput,
        format!("more than {LINKS_MAX} links lead to the file"),
    ))
}

fn replace(path: &Path, mode: u32, exact: bool, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let fresh = fresh((folder, UNFINISHED), mode, exact, bytes)?;
    fresh.persist(path).map_err(|e| e.error)?;
    sync(folder)
}

/// A complete file with a random name, removed on drop. If its mode is to be `exact`, the umask does not reduce it.
fn fresh(
    (folder, unfinished): (&Path, &str),
    mode: u32,
    exact: bool,
    bytes: &[u8],
) -> io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(unfinished)
        .rand_bytes(DRAWN)
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    if exact {
        file.as_file()
            .set_permissions(Permissions::from_mode(mode))?;
    }
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Syncs a folder's names to the disk. Some file systems cannot do this, and some folders may be written but not read.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|f| f.sync_all()) {
        Err(e)
            if !matches!(
                e.kind(),
                ErrorKind::InvalidInput | ErrorKind::PermissionDenied
            ) =>
        {
            Err(e)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = names
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_gives_bytes_without_end_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "12345").unwrap();
        assert_eq!(read_text(&file, 5).unwrap(), "12345");
        let long = read_bounded(&file, 4).unwrap_err();
        assert_eq!(long.kind(), ErrorKind::InvalidData);
        assert!(read_text(Path::new("/dev/zero"), 1 << 20).is_err());
        fs::write(&file, [0xff]).unwrap();
        assert!(read_text(&file, 5).is_err(), "no UTF-8");
    }

    #[test]
    fn a_private_file_has_its_mode_and_replaces_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("k");
        fs::write(&file, "a longer text than the new one").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        write_private(&file, b"new").unwrap();
        assert_eq!(
            (fs::read(&file).unwrap(), mode(&file)),
            (b"new".to_vec(), 0o600)
        );
        assert_eq!(names(dir.path()), ["k"]);
        symlink("k", dir.path().join("l")).unwrap();
        write_private(&dir.path().join("l"), b"by a link").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"by a link");
        symlink("l2", dir.path().join("l2")).unwrap();
        assert!(write_private(&dir.path().join("l2"), b"x").is_err());
        assert!(write_private(dir.path(), b"x").is_err());
    }

    #[test]
    fn a_new_file_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("k");
        write_new(&file, b"one").unwrap();
        let again = write_new(&file, b"two").unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        assert_eq!(
            (fs::read(&file).unwrap(), mode(&file)),
            (b"one".to_vec(), 0o600)
        );
        let dangling = dir.path().join("l");
        symlink("nowhere", &dangling).unwrap();
        assert!(write_new(&dangling, b"x").is_err());
        assert_eq!(names(dir.path()), ["k", "l"]);
    }

    #[test]
    fn a_shared_file_keeps_its_mode_and_a_device_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        write_shared(&file, b"one").unwrap();
        assert_ne!(mode(&file), 0o600, "as the umask says");
        fs::set_permissions(&file, Permissions::from_mode(0o664)).unwrap();
        write_shared(&file, b"two").unwrap();
        assert_eq!(
            (fs::read(&file).unwrap(), mode(&file)),
            (b"two".to_vec(), 0o664)
        );
        write_shared(Path::new("/dev/null"), b"x").unwrap();
        let full = write_shared(Path::new("/dev/full"), b"x").unwrap_err();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
        assert_eq!(names(dir.path()), ["f"]);
    }

    #[test]
    fn a_secret_that_others_may_read_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("k");
        write_new(&file, b"secret").unwrap();
        assert_eq!(&**read_secret(&file, Readers::Owner).unwrap(), b"secret");
        for (mode, owner, group) in [
            (0o400, true, true),
            (0o640, false, true),
            (0o660, false, false),
            (0o604, false, false),
            (0o601, false, false),
        ] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                read_secret(&file, Readers::Owner).is_ok(),
                owner,
                "{mode:o}"
            );
            assert_eq!(
                read_secret(&file, Readers::Group).is_ok(),
                group,
                "{mode:o}"
            );
        }
        let said = read_secret(&file, Readers::Owner).unwrap_err().to_string();
        assert!(
            said.contains("0601") && said.contains("chmod 600"),
            "{said}"
        );
    }

    #[test]
    fn what_is_no_file_or_too_large_is_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).unwrap();
        for path in [fifo.as_path(), dir.path(), Path::new("/dev/zero")] {
            let said = read_secret(path, Readers::Owner).unwrap_err();
            assert_eq!(said.to_string(), "not a regular file", "{}", path.display());
            assert!(read_regular(path, 1 << 20).is_err(), "{}", path.display());
        }
        let large = dir.path().join("large");
        let most = usize::try_from(SECRET_MAX).unwrap();
        for (len, reads) in [(0, true), (most, true), (most + 1, false)] {
            write_private(&large, vec![7; len]).unwrap();
            assert_eq!(read_secret(&large, Readers::Owner).is_ok(), reads, "{len}");
        }
    }
}
