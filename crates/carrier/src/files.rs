use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata, OpenOptions, OpenOptionsExt as _};
use rustix::fs::{OFlags, Stat, fstat, stat};

/// Maximum length of a path segment in bytes, as file systems allow.
pub const SEGMENT_MAX: usize = 255;
/// Maximum number of path segments.
const SEGMENTS_MAX: usize = 64;
/// Maximum length of a path below a folder in bytes, as the kernel allows.
const PATH_MAX: usize = 4095;

/// A folder that confines all access: neither `..` nor a symbolic link leads out of it.
///
/// If another folder takes its path, by a link or a rename, that one is served from then on.
#[derive(Clone, Debug)]
pub struct Folder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    current: RwLock<Opened>,
}

#[derive(Clone, Debug)]
struct Opened {
    dir: Arc<Dir>,
    /// Device and inode number.
    id: (u64, u64),
}

#[allow(
    clippy::unnecessary_cast,
    reason = "their widths differ from one architecture to the other"
)]
const fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

impl Opened {
    fn new(path: &Path) -> io::Result<Self> {
        let dir = Dir::open_ambient_dir(path, ambient_authority())?;
        let id = id(&fstat(&dir)?);
        let dir = Arc::new(dir);
        Ok(Self { dir, id })
    }
}

impl Folder {
    /// Opens a folder.
    ///
    /// # Errors
    ///
    /// The path does not exist, or is not a folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let current = RwLock::new(Opened::new(&path)?);
        Ok(Self(Arc::new(Inner { path, current })))
    }

    /// Path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Handle for other operations confined to the folder: the one at its path now, or the last one that was there.
    #[must_use]
    pub fn dir(&self) -> Arc<Dir> {
        let inner = &*self.0;
        let current = inner
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match stat(&inner.path) {
            Ok(now) if id(&now) != current.id => {}
            _ => return current.dir,
        }
        let Ok(fresh) = Opened::new(&inner.path) else {
            return current.dir;
        };
        tracing::info!(path = %inner.path.display(), "another folder stands there now: it is served from here on");
        let mut held = inner
            .current
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // The first opener wins: both opened the same folder, or the next check notices the difference.
        if held.id == current.id {
            *held = fresh;
        }
        Arc::clone(&held.dir)
    }

    /// Opens a file by a path that starts with `/`; `None` if no served file has it.
    ///
    /// Only regular files are served, under names that [`served`] accepts. A FIFO, a socket or a device is not even opened.
    ///
    /// # Errors
    ///
    /// Reading the medium failed.
    pub fn file(&self, path: &str) -> io::Result<Option<(File, Metadata)>> {
        file_in(&self.dir(), path)
    }

    /// Whether there is a folder at `path`.
    #[must_use]
    pub fn has_folder(&self, path: &str) -> bool {
        served(path.trim_end_matches('/'))
            .and_then(|p| self.dir().metadata(p).ok())
            .is_some_and(|m| m.is_dir())
    }
}

/// As [`Folder::file`], for an open folder.
///
/// # Errors
///
/// Reading the medium failed.
pub fn file_in(dir: &Dir, path: &str) -> io::Result<Option<(File, Metadata)>> {
    let Some(relative) = served(path) else {
        return Ok(None);
    };
    // Checked before opening: opening a FIFO unblocks its writer, and opening some devices has side effects.
    let found = match dir.metadata(relative) {
        Ok(meta) if meta.is_file() => open(dir, relative),
        Ok(_) => return Ok(None),
        Err(e) => Err(e),
    };
    match found {
        // It may have been replaced meanwhile.
        Ok((file, meta)) if meta.is_file() => Ok(Some((file, meta))),
        Ok(_) => Ok(None),
        Err(e) if of_medium(&e) => Err(e),
        Err(_) => Ok(None),
    }
}

fn open(dir: &Dir, relative: &str) -> io::Result<(File, Metadata)> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or(0);
    let mut options = OpenOptions::new();
    let file = dir.open_with(relative, options.read(true).custom_flags(flags))?;
    let meta = file.metadata()?;
    Ok((file, meta))
}

/// Whether descriptors or memory ran out, or the medium failed; any other error means that the file does not exist.
fn of_medium(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(5 | 12 | 23 | 24)) || error.kind() == ErrorKind::OutOfMemory
}

/// Whether a folder entry of this name is served, written or removed.
///
/// The name is 1 to 255 bytes long, does not start with `.`, and has no `/`, no backslash and no control character.
#[must_use]
pub fn served_name(name: &str) -> bool {
    let bad = |c: char| c.is_control() || matches!(c, '/' | '\\');
    (1..=SEGMENT_MAX).contains(&name.len()) && !name.starts_with('.') && !name.contains(bad)
}

/// A request's path below the folder if it may be read, written and removed: `/`, then 1 to 64 names that [`served_name`]
/// accepts, separated by `/`; at most 4 095 bytes.
#[must_use]
pub fn served(path: &str) -> Option<&str> {
    let path = path.strip_prefix('/')?;
    let few =
        path.len() <= PATH_MAX && path.split('/').take(SEGMENTS_MAX + 1).count() <= SEGMENTS_MAX;
    (few && path.split('/').all(served_name)).then_some(path)
}

/// The media type for a file name's extension.
#[must_use]
pub fn content_type(path: &str) -> String {
    let guess = mime_guess::from_path(path).first_or_octet_stream();
    match guess.type_().as_str() {
        "text" => format!("{guess}; charset=utf-8"),
        _ => guess.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    #[test]
    fn names_that_are_served() {
        let long = "x".repeat(SEGMENT_MAX);
        for good in ["a", "a.b", "~", "a b", "é", "%2e", "-", long.as_str()] {
            assert_eq!(served(&format!("/{good}")), Some(good));
            assert_eq!(served(&format!("/a/{good}")), Some(&*format!("a/{good}")));
        }
        let longer = "x".repeat(SEGMENT_MAX + 1);
        for bad in [
            "",
            ".",
            "..",
            ".a",
            "\\",
            "a\\b",
            "a\0",
            "\n",
            "a\u{7f}",
            "\u{85}",
            longer.as_str(),
        ] {
            assert!(!served_name(bad), "{bad:?}");
            for path in [
                format!("/{bad}"),
                format!("/{bad}/a"),
                format!("/a/{bad}"),
                bad.into(),
            ] {
                assert_eq!(served(&path), None, "{path:?}");
            }
        }
        assert!(served(&"/a".repeat(SEGMENTS_MAX)).is_some());
        assert!(served(&"/a".repeat(SEGMENTS_MAX + 1)).is_none());
        assert!(served("a").is_none());
    }

    proptest! {
        /// An accepted path can be written, is found under its name, and under no other.
        #[test]
        fn what_is_served_can_be_made_and_found(path in "(/[a-c.\\\\\u{0}-\u{20}é/]{0,5}){1,4}") {
            let dir = tempfile::tempdir().unwrap();
            let folder = Folder::open(dir.path()).unwrap();
            let Some(relative) = served(&path) else {
                prop_assert!(folder.file(&path).unwrap().is_none());
                return Ok(());
            };
            let at = Path::new(relative);
            prop_assert!(at.components().all(|c| matches!(c, std::path::Component::Normal(_))));
            fs::create_dir_all(dir.path().join(at).parent().unwrap()).unwrap();
            fs::write(dir.path().join(at), &path).unwrap();
            let (mut file, _) = folder.file(&path).unwrap().unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            prop_assert_eq!(&text, &path);
            folder.dir().remove_file(relative).unwrap();
        }
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        symlink("fifo", dir.path().join("link")).unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        for name in ["/fifo", "/fifo", "/socket", "/folder", "/link", "/none"] {
            assert!(folder.file(name).unwrap().is_none(), "{name}");
        }
        // Nor does the check unblock a writer: a FIFO without a reader still cannot be opened for writing.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK;
        let open = rustix::fs::open(&fifo, flags, Mode::empty());
        assert_eq!(open.unwrap_err(), rustix::io::Errno::NXIO);
        // A FIFO that appears before opening does not block either.
        let (file, meta) = super::open(&folder.dir(), "fifo").unwrap();
        assert!(!meta.is_file());
        drop(file);
    }

    #[test]
    fn a_folder_that_takes_anothers_place_is_served() {
        let outer = tempfile::tempdir().unwrap();
        let at = |name: &str| outer.path().join(name);
        for name in ["one", "two"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("f"), name).unwrap();
        }
        symlink("one", at("current")).unwrap();
        let folder = Folder::open(&at("current")).unwrap();
        let read = || {
            let mut text = String::new();
            if let Some((mut file, _)) = folder.file("/f").unwrap() {
                file.read_to_string(&mut text).unwrap();
            }
            text
        };
        assert_eq!(read(), "one");
        symlink("two", at("next")).unwrap();
        fs::rename(at("next"), at("current")).unwrap();
        assert_eq!(read(), "two");
        // While the path is missing, the last folder is served.
        fs::remove_file(at("current")).unwrap();
        assert_eq!(read(), "two");
        // The folder is created again.
        fs::create_dir(at("current")).unwrap();
        assert_eq!(read(), "");
        fs::write(at("current").join("f"), "three").unwrap();
        assert_eq!(read(), "three");
    }
}
