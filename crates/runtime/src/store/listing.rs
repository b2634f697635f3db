//! Folder listings: sorted names that a request can ask for, in pages.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use betanet_bar::{Entry, Listing, StoreError};
use betanet_carrier::{Folder, served_name};
use cap_std::fs::{Dir, DirEntry, Metadata, MetadataExt as _};

use super::medium;
use crate::Clock;

/// Maximum number of names read in one folder, including hidden ones.
const NAMES_MAX: usize = 16_384;
/// Number of folders whose names are cached. A client that asks repeatedly then costs no more than a page.
const REMEMBERED: usize = 8;
/// Number of seconds after a change in which a folder may change again with the same modification time.
const SETTLED: i64 = 2;

/// The names of the folders that were listed last.
#[derive(Debug)]
pub(super) struct Lists {
    clock: Clock,
    last: Mutex<VecDeque<(Version, Arc<Names>)>>,
}

/// Names, and whether each is a folder.
type Names = Vec<(Box<str>, bool)>;

/// The state of a folder at one time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Version {
    device: u64,
    inode: u64,
    changed: (i64, i64),
}

impl Version {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

impl Default for Lists {
    fn default() -> Self {
        Self {
            clock: Clock::start(),
            last: Mutex::default(),
        }
    }
}

impl Lists {
    pub(super) fn list(
        &self,
        folder: &Folder,
        path: &str,
        after: &str,
        max: usize,
    ) -> Result<Option<Listing>, StoreError> {
        let now = i64::try_from(self.clock.now().unix_ms / 1000).unwrap_or(i64::MAX);
        self.list_at(now, folder, path, (after, max))
    }

    fn list_at(
        &self,
        now: i64,
        folder: &Folder,
        path: &str,
        (after, max): (&str, usize),
    ) -> Result<Option<Listing>, StoreError> {
        let Some(dir) = opened(folder, path).map_err(medium)? else {
            return Ok(None);
        };
        let Some(names) = self.names(&dir, now)? else {
            return Ok(None);
        };
        let from = names.partition_point(|(name, _)| &**name <= after);
        let mut entries = Vec::new();
        let mut rest = names[from..].iter();
        while entries.len() < max
            && let Some((name, is_folder)) = rest.next()
        {
            let len = if *is_folder {
                None
            } else {
                match dir.metadata(&**name) {
                    Ok(meta) if meta.is_file() => Some(meta.len()),
                    // The entry is gone, or is a link that leads out of the served folder or to something other than a file.
                    _ => continue,
                }
            };
            let name = name.to_string();
            entries.push(Entry { name, len });
        }
        let more = rest.next().is_some();
        Ok(Some(Listing { entries, more }))
    }

    /// Returns the folder's names. `None` for a folder that cannot be read, which is treated as missing, as files are.
    fn names(&self, dir: &Dir, now: i64) -> Result<Option<Arc<Names>>, StoreError> {
        let version = Version::of(&dir.dir_metadata().map_err(medium)?);
        let known = |last: &VecDeque<(Version, Arc<Names>)>| {
            let found = last.iter().find(|(v, _)| *v == version);
            found.map(|(_, names)| Arc::clone(names))
        };
        let lock = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(names) = known(&lock()) {
            return Ok(Some(names));
        }
        let Some(names) = read(dir)?.map(Arc::new) else {
            return Ok(None);
        };
        if version.changed.0 + SETTLED < now {
            let mut last = lock();
            last.truncate(REMEMBERED - 1);
            last.push_front((version, Arc::clone(&names)));
        }
        Ok(Some(names))
    }
}

/// Opens a folder below the served one. Returns `None` if there is none that may be shown.
fn opened(folder: &Folder, path: &str) -> io::Result<Option<Dir>> {
    if path == "/" {
        return folder.dir().try_clone().map(Some);
    }
    let Some(relative) = path.strip_prefix('/').and_then(|p| p.strip_suffix('/')) else {
        return Ok(None);
    };
    if !relative.split('/').all(may_be_asked) {
        return Ok(None);
    }
    match folder.dir().open_dir(relative) {
        Ok(dir) => Ok(Some(dir)),
        // The process is out of files or memory, or the medium fails. All other errors mean that there is no such folder.
        Err(e) if matches!(e.raw_os_error(), Some(5 | 12 | 23 | 24)) => Err(e),
        Err(_) => Ok(None),
    }
}

/// Returns whether a request's path can contain this name: after a `?`, it would be part of the query.
fn may_be_asked(name: &str) -> bool {
    served_name(name) && !name.contains('?')
}

fn read(dir: &Dir) -> Result<Option<Names>, StoreError> {
    let mut names = BTreeSet::new();
    let entries = match dir.entries() {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        entries => entries.map_err(medium)?,
    };
    for (seen, entry) in entries.enumerate() {
        if seen >= NAMES_MAX {
            return Err(StoreError::TooMany);
        }
        let entry = entry.map_err(medium)?;
        if let Ok(name) = entry.file_name().into_string()
            && may_be_asked(&name)
            && let Some(is_folder) = kind(&entry)
        {
            names.insert((name.into_boxed_str(), is_folder));
        }
    }
    Ok(Some(names.into_iter().collect()))
}

/// Returns whether the entry is a folder, or `None` if it is neither file nor folder. Links to folders are not listed, since they
/// may form loops.
fn kind(entry: &DirEntry) -> Option<bool> {
    let kind = entry.file_type().ok()?;
    (kind.is_file() || kind.is_dir() || kind.is_symlink()).then_some(kind.is_dir())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder_meta(path: &std::path::Path) -> Metadata {
        Folder::open(path).unwrap().dir().dir_metadata().unwrap()
    }

    #[test]
    fn only_what_can_be_asked_for_is_listed() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("sub/deep")).unwrap();
        fs::create_dir(root.join(".hidden")).unwrap();
        fs::write(outer.path().join("secret"), "secret").unwrap();
        for name in ["b", "a b", ".dot", "q?x", "back\\slash", "new\nline", "ü"] {
            fs::write(root.join(name), "12345").unwrap();
        }
        symlink("b", root.join("link")).unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink(".", root.join("round")).unwrap();
        let folder = Folder::open(&root).unwrap();
        let lists = Lists::default();
        let at = |path: &str, after: &str, max| lists.list(&folder, path, after, max).unwrap();
        let names = |l: Option<Listing>| -> Vec<(String, Option<u64>)> {
            let entries = l.unwrap().entries.into_iter();
            entries.map(|e| (e.name, e.len)).collect()
        };
        let file = |name: &str| (name.to_owned(), Some(5));
        let all = [
            file("a b"),
            file("b"),
            file("link"),
            ("sub".into(), None),
            file("ü"),
        ];
        assert_eq!(names(at("/", "", 100)), all);
        assert_eq!(names(at("/", "b", 2)), all[2..4]);
        assert!(at("/", "", 4).unwrap().more && !at("/", "sub", 1).unwrap().more);
        assert_eq!(names(at("/sub/", "", 9)), [("deep".to_owned(), None)]);
        for none in ["/.hidden/", "/b/", "/none/", "/../", "//", "/sub//", "/sub"] {
            assert_eq!(at(none, "", 9), None, "{none}");
        }
    }

    #[test]
    fn what_is_remembered_of_folders_is_bounded_and_never_older_than_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let lists = Lists::default();
        let names = |path: &str, now: i64| -> Vec<String> {
            let list = lists.list_at(now, &folder, path, ("", 100));
            let entries = list.unwrap().unwrap().entries.into_iter();
            entries.map(|e| e.name).collect()
        };
        let known = || lists.last.lock().unwrap().len();
        for n in 0..REMEMBERED + 3 {
            fs::create_dir(dir.path().join(format!("{n:02}"))).unwrap();
        }
        assert!(names("/00/", 0).is_empty());
        assert_eq!(known(), 0, "it may be changing");
        for n in 0..REMEMBERED + 3 {
            for _ in 0..2 {
                assert!(names(&format!("/{n:02}/"), i64::MAX).is_empty());
            }
        }
        assert_eq!(known(), REMEMBERED);
        // Two changes within one tick of the file system's clock look the same. Here, each has a separate tick.
        let folder = dir.path().join("10");
        let change = |work: &dyn Fn() -> io::Result<()>| {
            let changed = || Version::of(&folder_meta(&folder)).changed;
            let before = changed();
            work().unwrap();
            while changed() == before {
                fs::set_permissions(&folder, fs::metadata(&folder).unwrap().permissions()).unwrap();
            }
        };
        change(&|| fs::write(folder.join("new"), ""));
        assert_eq!(names("/10/", i64::MAX), ["new"]);
        change(&|| fs::rename(folder.join("new"), folder.join("newer")));
        assert_eq!(names("/10/", i64::MAX), ["newer"]);
        change(&|| fs::remove_file(folder.join("newer")));
        assert!(names("/10/", i64::MAX).is_empty());
    }

    #[test]
    fn a_folder_of_too_many_names_is_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..NAMES_MAX {
            fs::File::create(dir.path().join(n.to_string())).unwrap();
        }
        let folder = Folder::open(dir.path()).unwrap();
        let lists = Lists::default();
        let some = lists.list(&folder, "/", "9", 1000).unwrap().unwrap();
        assert_eq!(some.entries.len(), 1000);
        fs::write(dir.path().join("one more"), "").unwrap();
        let all = lists.list(&folder, "/", "", 1000);
        assert_eq!(all, Err(StoreError::TooMany));
    }
}
