//! The destination of fetched data, checked before anything is requested from a peer.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::Fail;

/// Maximum number of symbolic links followed in sequence.
const LINKS_MAX: usize = 40;

/// A destination.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Place {
    Stdout,
    /// An existing entry that is not a regular file: a device or a pipe. It keeps its name, and cannot be resumed.
    Device(PathBuf),
    /// A file that exists or will be created. It is not a symbolic link, and its folder exists.
    File(PathBuf),
}

impl Place {
    /// Resolves the destination of `-o`. In a folder, the file has the last name of the URL.
    ///
    /// # Errors
    ///
    /// The destination cannot be written.
    pub(super) fn look(output: Option<&Path>, target: &str) -> Result<Self, Fail> {
        let Some(path) = output.filter(|p| p.as_os_str() != "-") else {
            return Ok(Self::Stdout);
        };
        let wants_folder = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => {
                let inside = path.join(last_name(path, target)?);
                if inside.is_dir() {
                    return Err(Fail::Local(format!("{}: is a folder", inside.display())));
                }
                Self::file(&inside)
            }
            Err(e) if wants_folder && e.kind() == io::ErrorKind::NotFound => Err(Fail::Local(
                format!("{}: there is no such folder", path.display()),
            )),
            // With a trailing /, the system also reports a file as "not a directory".
            Err(e) if wants_folder => Err(Fail::file(path)(e)),
            Ok(meta) if !meta.is_file() => Ok(Self::Device(path.to_owned())),
            _ => Self::file(path),
        }
    }

    /// Resolves a file, by its own name or through symbolic links.
    fn file(path: &Path) -> Result<Self, Fail> {
        let at = Fail::file(path);
        let real = match follow(path).map_err(&at)? {
            Some(real) => real,
            // The path names an open file of this process, by its number.
            None => return Ok(Self::Device(path.to_owned())),
        };
        match fs::metadata(&real) {
            Ok(meta) if meta.is_file() => {
                OpenOptions::new().write(true).open(&real).map_err(&at)?;
            }
            Ok(_) => return Ok(Self::Device(real)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                if real.file_name().is_none() {
                    return Err(at(e));
                }
                let folder = folder_of(&real);
                let meta = fs::metadata(folder).map_err(|e| Fail::file(folder)(e))?;
                if !meta.is_dir() {
                    return Err(Fail::Local(format!("{}: no folder", folder.display())));
                }
            }
            Err(e) => return Err(at(e)),
        }
        Ok(Self::File(real))
    }
}

/// Returns the folder of a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Returns the last name of a URL's path.
fn last_name<'a>(folder: &Path, target: &'a str) -> Result<&'a str, Fail> {
    let path = target.split('?').next().unwrap_or_default();
    match path.rsplit('/').next() {
        Some(name) if !name.is_empty() && name != "." && name != ".." => Ok(name),
        _ => Err(Fail::Usage(format!(
            "-o {}: is a folder, and the URL ends in no file's name: name the file, or take the folder with -r",
            folder.display()
        ))),
    }
}

/// Follows the symbolic links of a path, the last of which may be dangling. Returns `None` for links in /proc, which are not real
/// ones.
fn follow(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        if path.starts_with("/proc") || path.starts_with("/dev/fd") {
            return Ok(None);
        }
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => path = folder_of(&path).join(fs::read_link(&path)?),
            _ => return Ok(Some(path)),
        }
    }
    Err(io::Error::from_raw_os_error(ELOOP))
}

/// Too many levels of symbolic links.
const ELOOP: i32 = 40;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_output_names_is_found_before_anything_is_fetched() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("folder")).unwrap();
        fs::create_dir(at("folder/sub")).unwrap();
        fs::write(at("file"), "x").unwrap();
        symlink("folder/new", at("dangling")).unwrap();
        symlink("file", at("linked")).unwrap();
        symlink("loop", at("loop")).unwrap();
        let look = |path: PathBuf, url: &str| Place::look(Some(&path), url);
        let file = |name: &str| Ok::<_, String>(Place::File(at(name)));
        let got = |path: &str, url: &str| look(at(path), url).map_err(|e| format!("{e:?}"));
        assert_eq!(got("new", "/x"), file("new"));
        assert_eq!(got("file", "/x"), file("file"));
        assert_eq!(got("linked", "/x"), file("file"));
        assert_eq!(got("dangling", "/x"), file("folder/new"));
        assert_eq!(got("folder", "/a/x.iso?q=/y"), file("folder/x.iso"));
        assert_eq!(got("folder/", "/x"), file("folder/x"));
        for (path, url, why) in [
            ("none/", "/x", "no such folder"),
            ("none/x", "/x", "none"),
            ("file/x", "/x", "file"),
            ("file/", "/x", "file"),
            ("folder", "/a/", "-r"),
            ("folder", "/sub", "is a folder"),
            ("loop", "/x", "loop"),
        ] {
            let said = got(path, url).unwrap_err();
            assert!(said.contains(why), "{path}: {said}");
        }
        assert_eq!(
            Place::look(Some(Path::new("-")), "/x").unwrap(),
            Place::Stdout
        );
        let null = Path::new("/dev/null");
        assert_eq!(
            Place::look(Some(null), "/x").unwrap(),
            Place::Device(null.into())
        );
        let left = fs::read_dir(at("folder")).unwrap().count();
        assert_eq!(left, 1, "a look makes nothing");
    }
}
