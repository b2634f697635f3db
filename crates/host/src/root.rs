//! The folder that stands for `/`, and what is read below it.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// Most bytes of a file that are read. `/proc/interrupts` of a large machine is the longest.
pub const FILE_MAX: u64 = 1 << 20;
/// Most names of a folder that are looked at. Each process has one in `/proc`.
pub const NAMES_MAX: usize = 1 << 16;

/// The folder that stands for `/`: that of this machine, or files made for a test.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Root(PathBuf);

impl Default for Root {
    fn default() -> Self {
        Self::here()
    }
}

impl Root {
    /// This machine.
    #[must_use]
    pub fn here() -> Self {
        Self(PathBuf::from("/"))
    }

    /// A folder with `proc`, `sys`, `dev` and `etc` of its own.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }

    /// Whether this is the machine's own root, and not a test's.
    #[cfg(feature = "dbus")]
    pub(crate) fn is_here(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// The bytes of a file, cut at [`FILE_MAX`]. `None` where it cannot be read, or is no regular file: a pipe would be waited for.
    pub(crate) fn bytes(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).ok()?;
        let mut options = File::options();
        let file = options.read(true).custom_flags(nonblocking);
        let file = file.open(self.path(path)).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        file.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// The text of a file, without white space at its ends.
    pub(crate) fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let bytes = self.bytes(path)?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// A file that holds one number.
    pub(crate) fn number<N: std::str::FromStr>(&self, path: impl AsRef<Path>) -> Option<N> {
        self.text(path)?.parse().ok()
    }

    /// The names in a folder, in order. Empty where it cannot be read.
    pub(crate) fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(path)) else {
            return Vec::new();
        };
        bounded(entries.filter_map(|e| e.ok()?.file_name().into_string().ok()))
    }

    /// When a file was last read from, in milliseconds since 1970.
    pub(crate) fn read_at_ms(&self, path: impl AsRef<Path>) -> Option<u64> {
        let meta = fs::metadata(self.path(path)).ok()?;
        let ms = u64::try_from(meta.atime_nsec()).ok()? / 1_000_000;
        u64::try_from(meta.atime())
            .ok()?
            .checked_mul(1000)?
            .checked_add(ms)
    }

    pub(crate) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).exists()
    }
}

/// The first [`NAMES_MAX`] names, in order.
fn bounded(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.take(NAMES_MAX).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_without_end_are_read_in_part() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let file = File::create(root.path("long")).unwrap();
        file.set_len(FILE_MAX * 4).unwrap();
        assert_eq!(root.bytes("long").unwrap().len() as u64, FILE_MAX);
        assert_eq!(root.bytes("absent"), None);
        let endless = (0_u64..).map(|n| n.to_string());
        assert_eq!(bounded(endless).len(), NAMES_MAX);
    }

    #[test]
    fn a_pipe_is_no_file_and_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        let pipe = root.path("temperature");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let (done, read) = std::sync::mpsc::channel();
        let reader = root.clone();
        std::thread::spawn(move || {
            let _ = done.send(reader.text("temperature"));
        });
        let read = read.recv_timeout(std::time::Duration::from_secs(20));
        assert_eq!(read, Ok(None));
        // With somebody at its other end too.
        let _writer = File::options().read(true).write(true).open(&pipe).unwrap();
        assert_eq!(root.text("temperature"), None);
    }

    #[test]
    fn folders_that_are_not_there_are_empty() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Root::at(folder.path()).names("sys/class/hwmon").is_empty());
        #[cfg(feature = "dbus")]
        assert!(Root::here().is_here() && !Root::at(folder.path()).is_here());
    }
}
