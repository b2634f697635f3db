//! Files that a run leaves, written into its output folder by threads that may wait for the disk.
//!
//! A thread is held only while it writes: runs may be many more than the threads that the executor has for this.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use sha2::{Digest as _, Sha256};
use tokio::{runtime::Handle, task::spawn_blocking};

use crate::{OutFile, heard};

enum Part {
    File { path: String },
    Data(Vec<u8>),
}

/// Collects what a frame says, for [`Keeper::pass`] to hand over.
#[derive(Default)]
pub(crate) struct Parts(Vec<Part>);

impl heard::Keep for Parts {
    fn file(&mut self, path: &str, _: u64) {
        self.0.push(Part::File {
            path: path.to_owned(),
        });
    }

    fn data(&mut self, bytes: &[u8]) {
        self.0.push(Part::Data(bytes.to_vec()));
    }
}

/// Has files written. Unless [`Keeper::whole`] is called, what was written is removed.
pub(crate) struct Keeper {
    /// Absent while a thread has it, and from then on if nobody waited for that thread.
    written: Option<Written>,
    dropped: Arc<AtomicBool>,
}

impl Keeper {
    pub(crate) fn new(folder: PathBuf) -> Self {
        let dropped = Arc::new(AtomicBool::new(false));
        Self {
            written: Some(Written {
                folder,
                files: Vec::new(),
                open: None,
                failed: None,
                kept: false,
                dropped: dropped.clone(),
            }),
            dropped,
        }
    }

    /// Hands over, and waits while the disk is behind.
    pub(crate) async fn pass(&mut self, parts: Parts) {
        if parts.0.is_empty() {
            return;
        }
        let Some(mut written) = self.written.take() else {
            return;
        };
        let work = spawn_blocking(move || {
            written.all(parts);
            written
        });
        self.written = work.await.ok();
    }

    /// The files, after all has been said.
    pub(crate) async fn whole(mut self) -> io::Result<Vec<OutFile>> {
        let lost = || io::Error::from(ErrorKind::Other);
        let mut written = self.written.take().ok_or_else(lost)?;
        written.finish();
        if let Some(error) = written.failed.take() {
            // Its owner may remove the folder next.
            let _ = spawn_blocking(move || drop(written)).await;
            return Err(error);
        }
        written.kept = true;
        Ok(std::mem::take(&mut written.files))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // A thread that writes stops, and removes what it wrote.
        self.dropped.store(true, Ordering::Release);
        if let Some(written) = self.written.take() {
            remove(written);
        }
    }
}

/// Removes what was written, by a thread if there are any: many files take a while, which must not hold up the executor.
fn remove(written: Written) {
    if written.files.is_empty() {
        return;
    }
    if let Ok(runtime) = Handle::try_current() {
        drop(runtime.spawn_blocking(move || drop(written)));
    }
}

/// What is in the folder. It is removed on drop, unless it is kept.
struct Written {
    folder: PathBuf,
    files: Vec<OutFile>,
    open: Option<(File, Sha256)>,
    /// From then on nothing is written.
    failed: Option<io::Error>,
    kept: bool,
    dropped: Arc<AtomicBool>,
}

impl Written {
    fn all(&mut self, parts: Parts) {
        for part in parts.0 {
            if self.failed.is_some() || self.dropped.load(Ordering::Acquire) {
                return;
            }
            if let Err(error) = self.one(part) {
                self.failed = Some(error);
            }
        }
    }

    fn one(&mut self, part: Part) -> io::Result<()> {
        match part {
            Part::File { path } => {
                self.finish();
                self.folders(Path::new(&path))?;
                // A file that was there before is somebody else's, and is not among those to remove.
                let file = File::create_new(self.folder.join(&path))?;
                self.open = Some((file, Sha256::new()));
                self.files.push(OutFile {
                    path,
                    digest: [0; 32],
                    size: 0,
                });
            }
            Part::Data(bytes) => {
                let Some((file, digest)) = &mut self.open else {
                    return Ok(());
                };
                file.write_all(&bytes)?;
                digest.update(&bytes);
                if let Some(last) = self.files.last_mut() {
                    last.size += bytes.len() as u64;
                }
            }
        }
        Ok(())
    }

    /// Makes the folders of a file. The output folder itself is its owner's, who may have removed it.
    fn folders(&self, path: &Path) -> io::Result<()> {
        let mut folder = self.folder.clone();
        for name in path.parent().into_iter().flat_map(Path::components) {
            folder.push(name);
            match fs::create_dir(&folder) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn finish(&mut self) {
        if let (Some((_, digest)), Some(last)) = (self.open.take(), self.files.last_mut()) {
            last.digest = digest.finalize().into();
        }
    }
}

impl Drop for Written {
    /// Removes files and the folders that they were in, and leaves the output folder itself.
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        for file in &self.files {
            let _ = fs::remove_file(self.folder.join(&file.path));
        }
        for file in &self.files {
            let folders = Path::new(&file.path)
                .ancestors()
                .skip(1)
                .filter(|f| !f.as_os_str().is_empty());
            folders.for_each(|folder| drop(fs::remove_dir(self.folder.join(folder))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heard::Keep as _;

    fn parts(files: &[&str]) -> Parts {
        let mut parts = Parts::default();
        for path in files {
            parts.file(path, 1);
            parts.data(b"x");
        }
        parts
    }

    #[tokio::test]
    async fn a_file_that_was_there_before_is_neither_written_nor_removed() {
        let home = tempfile::tempdir().unwrap();
        let strange = home.path().join("stdout");
        fs::write(&strange, "not ours").unwrap();
        let mut keeper = Keeper::new(home.path().to_owned());
        keeper.pass(parts(&["a/b", "stdout"])).await;
        assert!(keeper.whole().await.is_err());
        assert_eq!(fs::read_to_string(&strange).unwrap(), "not ours");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn files_come_in_parts_and_are_kept_when_all_has_been_said() {
        let home = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::new(home.path().to_owned());
        keeper.pass(parts(&["a/b/c"])).await;
        let mut more = Parts::default();
        more.data(b"yz");
        keeper.pass(more).await;
        keeper.pass(parts(&["a/d"])).await;
        let files = keeper.whole().await.unwrap();
        let digest = <[u8; 32]>::from(Sha256::digest(b"xyz"));
        assert_eq!((files[0].size, files[0].digest), (3, digest));
        assert_eq!(fs::read(home.path().join("a/b/c")).unwrap(), b"xyz");
        assert_eq!(fs::read(home.path().join("a/d")).unwrap(), b"x");
    }

    #[tokio::test]
    async fn an_output_folder_that_was_removed_is_not_made_again() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("out");
        let mut keeper = Keeper::new(folder.clone());
        keeper.pass(parts(&["a/b/c"])).await;
        assert!(!folder.exists());
        assert!(keeper.whole().await.is_err());
    }

    #[test]
    fn nothing_is_written_for_a_run_that_was_dropped() {
        let home = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::new(home.path().to_owned());
        // A thread has it at that moment.
        let mut written = keeper.written.take().unwrap();
        written.all(parts(&["a"]));
        assert!(home.path().join("a").exists());
        drop(keeper);
        written.all(parts(&["b/c"]));
        assert!(!home.path().join("b").exists());
        drop(written);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
