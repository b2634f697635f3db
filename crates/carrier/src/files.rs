use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata};

/// A folder that nothing opened in it can leave, by `..` or by a symbolic link.
#[derive(Clone, Debug)]
pub struct Folder(Arc<Dir>);

impl Folder {
    /// Opens it.
    ///
    /// # Errors
    ///
    /// It is not there, or no folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        Dir::open_ambient_dir(path, ambient_authority()).map(|d| Self(Arc::new(d)))
    }

    /// The folder itself, for other operations that stay within it.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.0
    }

    /// A file within it, by a path that starts with `/`; `None` when there is none that may be shown.
    ///
    /// Hidden names, empty and `.` or `..` segments are never there.
    ///
    /// # Errors
    ///
    /// The medium failed.
    pub fn file(&self, path: &str) -> io::Result<Option<(File, Metadata)>> {
        let Some(relative) = relative(path) else {
            return Ok(None);
        };
        let found = self.0.open(relative).and_then(|f| {
            let meta = f.metadata()?;
            Ok((f, meta))
        });
        match found {
            Ok((file, meta)) if meta.is_file() => Ok(Some((file, meta))),
            Ok(_) => Ok(None),
            // Out of files or memory, or a broken medium; all else means that there is no such file.
            Err(e) if matches!(e.raw_os_error(), Some(5 | 12 | 23 | 24)) => Err(e),
            Err(_) => Ok(None),
        }
    }

    /// Whether there is a folder at `path`.
    #[must_use]
    pub fn has_folder(&self, path: &str) -> bool {
        relative(path.trim_end_matches('/'))
            .and_then(|p| self.0.metadata(p).ok())
            .is_some_and(|m| m.is_dir())
    }
}

/// The path below the folder, when every segment is a plain visible name.
fn relative(path: &str) -> Option<&str> {
    let path = path.strip_prefix('/')?;
    let plain = |s: &str| !s.is_empty() && !s.starts_with('.') && !s.contains(['\0', '\\']);
    path.split('/').all(plain).then_some(path)
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
