use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata, OpenOptions, OpenOptionsExt as _};
use rustix::fs::{OFlags, Stat, fstat, stat};

/// Bytes of one segment of a path: what file systems take.
pub const SEGMENT_MAX: usize = 255;
/// Segments of a path.
const SEGMENTS_MAX: usize = 64;
/// Bytes of a path below a folder: what the kernel takes.
const PATH_MAX: usize = 4095;

/// A folder that nothing opened in it can leave, by `..` or by a symbolic link.
///
/// When another folder comes to stand at its path, by a link or a rename, that one is served from then on.
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
    /// Device and inode.
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
    /// Opens it.
    ///
    /// # Errors
    ///
    /// It is not there, or no folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let current = RwLock::new(Opened::new(&path)?);
        Ok(Self(Arc::new(Inner { path, current })))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The folder itself, for other operations that stay within it: the one that stands at its path now, or the last one that did.
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
        // Who came first keeps its place: both opened the same folder, or the next look tells.
        if held.id == current.id {
            *held = fresh;
        }
        Arc::clone(&held.dir)
    }

    /// A file within it, by a path that starts with `/`; `None` when there is none that may be shown.
    ///
    /// Shown are regular files alone, under names that [`served`] lets pass. A FIFO, a socket or a device is not even opened.
    ///
    /// # Errors
    ///
    /// The medium failed.
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

/// The same as [`Folder::file`] of a folder that is open.
///
/// # Errors
///
/// The medium failed.
pub fn file_in(dir: &Dir, path: &str) -> io::Result<Option<(File, Metadata)>> {
    let Some(relative) = served(path) else {
        return Ok(None);
    };
    // Looked at before it is opened: opening a FIFO lets whoever writes to it go on, and opening some devices does something.
    let found = match dir.metadata(relative) {
        Ok(meta) if meta.is_file() => open(dir, relative),
        Ok(_) => return Ok(None),
        Err(e) => Err(e),
    };
    match found {
        // Another one by now, perhaps.
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

/// Out of files or memory, or a broken medium; all else means that there is no such file.
fn of_medium(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(5 | 12 | 23 | 24)) || error.kind() == ErrorKind::OutOfMemory
}

/// Whether a folder's entry of this name is shown, written or removed.
///
/// It is 1 to 255 bytes long, does not start with `.`, and has no `/`, no backslash and no control character.
#[must_use]
pub fn served_name(name: &str) -> bool {
    let bad = |c: char| c.is_control() || matches!(c, '/' | '\\');
    (1..=SEGMENT_MAX).contains(&name.len()) && !name.starts_with('.') && !name.contains(bad)
}

/// A request's path below the folder, when it is one that is read, written and removed: `/`, then 1 to 64 names as
/// [`served_name`] lets them pass, with a `/` between each two; at most 4 095 bytes.
#[must_use]
pub fn served(path: &str) -> Option<&str> {
    let path = path.strip_prefix('/')?;
    let few =
        path.len() <= PATH_MAX && path.split('/').take(SEGMENTS_MAX + 1).count() <= SEGMENTS_MAX;
    (few && path.split('/').all(served_name)).then_some(path)
}

/// The media type that a file name's ending suggests.
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
        /// What passes can be written, is found under its name, and is found by nothing else than it.
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
        // Nor does the look let a writer go on: a FIFO that nobody reads is still not open for writing.
        let flags = OFlags::WRONLY | OFlags::NONBLOCK;
        let open = rustix::fs::open(&fifo, flags, Mode::empty());
        assert_eq!(open.unwrap_err(), rustix::io::Errno::NXIO);
        // One that is there by the time of opening does not block either.
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
        // Nothing there for a while: what was served is.
        fs::remove_file(at("current")).unwrap();
        assert_eq!(read(), "two");
        // Made anew.
        fs::create_dir(at("current")).unwrap();
        assert_eq!(read(), "");
        fs::write(at("current").join("f"), "three").unwrap();
        assert_eq!(read(), "three");
    }
}
