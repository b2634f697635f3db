//! Files that a run leaves, written into its output folder by a thread that may wait for the disk.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::{OutFile, heard};

/// Frames that may wait for the disk.
const WAITING: usize = 16;

enum Part {
    File {
        path: String,
    },
    Data(Vec<u8>),
    /// All has been said.
    Whole,
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

/// The thread that writes. Unless [`Keeper::whole`] is called it removes what it wrote.
pub(crate) struct Keeper {
    parts: Sender<Part>,
    done: tokio::task::JoinHandle<std::io::Result<Vec<OutFile>>>,
}

impl Keeper {
    pub(crate) fn open(folder: PathBuf) -> Self {
        let (parts, waiting) = channel(WAITING);
        Self {
            parts,
            done: tokio::task::spawn_blocking(move || write(&folder, waiting)),
        }
    }

    /// Hands over, and waits while the disk is behind.
    pub(crate) async fn pass(&self, parts: &mut Parts) {
        for part in parts.0.drain(..) {
            // A thread that failed says so at the end.
            let _ = self.parts.send(part).await;
        }
    }

    pub(crate) async fn whole(self) -> std::io::Result<Vec<OutFile>> {
        let _ = self.parts.send(Part::Whole).await;
        drop(self.parts);
        self.done
            .await
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::Other))?
    }
}

fn write(folder: &Path, mut parts: Receiver<Part>) -> std::io::Result<Vec<OutFile>> {
    let mut written = Written {
        folder,
        files: Vec::new(),
        open: None,
    };
    let result = written.all(&mut parts);
    match result {
        Ok(true) => Ok(written.files),
        other => {
            written.remove();
            other.map(|_| Vec::new())
        }
    }
}

struct Written<'a> {
    folder: &'a Path,
    files: Vec<OutFile>,
    open: Option<(File, Sha256)>,
}

impl Written<'_> {
    /// Whether all was said.
    fn all(&mut self, parts: &mut Receiver<Part>) -> std::io::Result<bool> {
        while let Some(part) = parts.blocking_recv() {
            match part {
                Part::File { path } => {
                    self.finish();
                    let file = self.folder.join(&path);
                    if let Some(folder) = file.parent() {
                        fs::create_dir_all(folder)?;
                    }
                    // A file that was there before is somebody else's, and is not among those to remove.
                    self.open = Some((File::create_new(file)?, Sha256::new()));
                    self.files.push(OutFile {
                        path,
                        digest: [0; 32],
                        size: 0,
                    });
                }
                Part::Data(bytes) => {
                    let Some((file, digest)) = &mut self.open else {
                        continue;
                    };
                    file.write_all(&bytes)?;
                    digest.update(&bytes);
                    if let Some(last) = self.files.last_mut() {
                        last.size += bytes.len() as u64;
                    }
                }
                Part::Whole => {
                    self.finish();
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn finish(&mut self) {
        if let (Some((_, digest)), Some(last)) = (self.open.take(), self.files.last_mut()) {
            last.digest = digest.finalize().into();
        }
    }

    /// Removes files and the folders that they were in, and leaves the output folder itself.
    fn remove(&self) {
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

    #[tokio::test]
    async fn a_file_that_was_there_before_is_neither_written_nor_removed() {
        let home = tempfile::tempdir().unwrap();
        let strange = home.path().join("stdout");
        fs::write(&strange, "not ours").unwrap();
        let keeper = Keeper::open(home.path().to_owned());
        let mut parts = Parts::default();
        parts.file("a/b", 1);
        parts.data(b"x");
        parts.file("stdout", 0);
        keeper.pass(&mut parts).await;
        assert!(keeper.whole().await.is_err());
        assert_eq!(fs::read_to_string(&strange).unwrap(), "not ours");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
