//! Files of running copies, which go with them.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use betanet_blobs::Digest;

use crate::holdings::{Holdings, Missing, Route};

/// Bytes of modules that are kept as files. Those of running copies stay with the copies.
pub(crate) const MODULES_MAX: u64 = 256 << 20;

/// The folder of all copies.
#[derive(Debug)]
pub(crate) struct Scratch {
    copies: PathBuf,
    modules: PathBuf,
    /// Modules that are kept as files, the last used one last.
    kept: Mutex<VecDeque<(Digest, u64)>>,
    /// Number of the next folder of a copy.
    next: AtomicU64,
    /// Held while a module's file is linked or removed.
    one: tokio::sync::Mutex<()>,
}

/// The folder of one copy. It is removed on drop.
#[derive(Debug)]
pub(crate) struct CopyFolder(PathBuf);

fn create(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

fn remove(folder: &Path) -> io::Result<()> {
    // A run that was dropped may write one last file meanwhile.
    match std::fs::remove_dir_all(folder).or_else(|_| std::fs::remove_dir_all(folder)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Scratch {
    /// Opens the folder, and removes what an earlier run has left.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        remove(folder)?;
        let (copies, modules) = (folder.join("copies"), folder.join("modules"));
        create(&copies)?;
        create(&modules)?;
        Ok(Self {
            copies,
            modules,
            kept: Mutex::default(),
            next: AtomicU64::default(),
            one: tokio::sync::Mutex::default(),
        })
    }

    /// Makes the folder of a copy, with `in` for its inputs and `out` for what it leaves.
    pub(crate) fn copy(&self, fence: u64) -> io::Result<CopyFolder> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let folder = self.copies.join(format!("{fence}-{n}"));
        let folder = CopyFolder(folder);
        create(&folder.input())?;
        create(&folder.output())?;
        Ok(folder)
    }

    /// Notes the use of a module's file. Returns whether it is there, and the files that are to go.
    fn touch(&self, digest: Digest, size: Option<u64>) -> (bool, Vec<Digest>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(known, _)| *known == digest);
        let known = at.and_then(|at| kept.remove(at));
        let Some(entry) = known.or(size.map(|size| (digest, size))) else {
            return (false, Vec::new());
        };
        kept.push_back(entry);
        let mut gone = Vec::new();
        while kept.len() > 1 && kept.iter().map(|(_, size)| size).sum::<u64>() > MODULES_MAX {
            gone.extend(kept.pop_front().map(|(digest, _)| digest));
        }
        (true, gone)
    }

    /// Puts a module that was fetched into the folder of a copy. Copies of one module share the file.
    pub(crate) async fn module(
        &self,
        (holdings, route): (&Holdings, Route<'_>),
        (digest, size): (Digest, u64),
        copy: &CopyFolder,
    ) -> Result<PathBuf, Missing> {
        let file = self.modules.join(digest.to_string());
        let place = copy.0.join("module");
        let failed = |source| Missing::File { digest, source };
        {
            let _one = self.one.lock().await;
            if self.touch(digest, None).0 {
                tokio::fs::hard_link(&file, &place).await.map_err(failed)?;
                return Ok(place);
            }
        }
        // Written for this copy alone: it holds up no other, and a write that is cut reaches no other's file.
        holdings.extract(route, digest, size, &place).await?;
        let _one = self.one.lock().await;
        if self.touch(digest, None).0 {
            // Another copy was faster.
            return Ok(place);
        }
        tokio::fs::hard_link(&place, &file).await.map_err(failed)?;
        for gone in self.touch(digest, Some(size)).1 {
            // A file that stays costs room until the next start.
            let _ = tokio::fs::remove_file(self.modules.join(gone.to_string())).await;
        }
        Ok(place)
    }
}

impl CopyFolder {
    pub(crate) fn input(&self) -> PathBuf {
        self.0.join("in")
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.0.join("out")
    }
}

impl Drop for CopyFolder {
    fn drop(&mut self) {
        let folder = std::mem::take(&mut self.0);
        let work = move || {
            if let Err(error) = remove(&folder) {
                tracing::warn!(%error, folder = %folder.display(), "files of a copy stay until the next start");
            }
        };
        // Many files take a while, which must not hold up the executor.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(work)),
            Err(_) => work(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_copy_go_with_it_and_those_of_an_earlier_run_at_the_start() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("scratch");
        let scratch = Scratch::open(&folder).unwrap();
        let copy = scratch.copy(7).unwrap();
        std::fs::write(copy.output().join("file"), b"x").unwrap();
        drop(copy);
        assert_eq!(std::fs::read_dir(folder.join("copies")).unwrap().count(), 0);
        let left = scratch.copy(8).unwrap();
        std::mem::forget(left);
        let _again = Scratch::open(&folder).unwrap();
        assert_eq!(std::fs::read_dir(folder.join("copies")).unwrap().count(), 0);
    }

    #[test]
    fn modules_that_were_used_long_ago_go_first() {
        let home = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(home.path()).unwrap();
        let digest = |n: u8| Digest([n; 32]);
        for n in 0..4 {
            assert!(scratch.touch(digest(n), Some(64 << 20)).1.is_empty());
        }
        assert!(scratch.touch(digest(0), None).0);
        assert_eq!(scratch.touch(digest(9), Some(1)).1, [digest(1)]);
        // One alone stays, however long it is.
        assert_eq!(scratch.touch(digest(10), Some(1 << 40)).1.len(), 4);
        assert_eq!(scratch.touch(digest(2), None), (false, Vec::new()));
    }
}
