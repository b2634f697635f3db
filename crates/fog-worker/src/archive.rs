//! The last receipts of a node as files, for its operator: `betanet task verify` checks them. Secret tasks are not listed here.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use betanet_fog::{Receipt, Signed};

/// Receipts that are kept.
pub(crate) const KEPT_MAX: usize = 1024;

/// A folder of receipts. They are not synced: nothing depends on them.
#[derive(Debug)]
pub(crate) struct Archive {
    folder: PathBuf,
    /// Fence and name of each, so that the oldest goes first.
    kept: BTreeSet<(u64, String)>,
}

impl Archive {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder)?;
        let mut kept = BTreeSet::new();
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name();
            let known = name.to_str().and_then(|name| {
                let fence = name.strip_suffix(".receipt")?.rsplit_once('-')?.1;
                Some((fence.parse().ok()?, name.to_owned()))
            });
            kept.extend(known);
        }
        Ok(Self {
            folder: folder.to_owned(),
            kept,
        })
    }

    /// Keeps a receipt that a coordinator has taken or refused, in the place of the oldest.
    pub(crate) fn keep(&mut self, receipt: &[u8]) {
        let Ok(read) = Signed::<Receipt>::restore(receipt) else {
            return;
        };
        let name = format!("{}-{}.receipt", read.task, read.fence);
        if let Err(error) = std::fs::write(self.folder.join(&name), receipt) {
            return tracing::warn!(%error, "a receipt is not kept");
        }
        self.kept.insert((read.fence, name));
        while self.kept.len() > KEPT_MAX
            && let Some((_, oldest)) = self.kept.pop_first()
        {
            // One that stays takes a few hundred bytes.
            let _ = std::fs::remove_file(self.folder.join(oldest));
        }
    }
}

#[cfg(test)]
mod tests {
    use betanet_fog::{Outcome, TaskId};
    use betanet_keys::Identity;

    use super::*;

    fn receipt(fence: u64) -> Vec<u8> {
        let me = Identity::from_seed(&[4; 32]);
        let receipt = Receipt {
            inputs: [1; 32],
            end: 2,
            key: *me.public().as_bytes(),
            out: None,
            copy: 0,
            fuel: 70,
            task: TaskId([5; 32]),
            epoch: 1,
            fence,
            start: 1,
            engine: "test".parse().unwrap(),
            module: [3; 32],
            status: Outcome::Trap,
        };
        Signed::sign(receipt, &me).unwrap().to_bytes()
    }

    #[test]
    fn the_newest_receipts_are_kept_over_restarts() {
        let home = tempfile::tempdir().unwrap();
        let mut archive = Archive::open(home.path()).unwrap();
        for fence in 0..KEPT_MAX as u64 {
            archive.keep(&receipt(fence));
        }
        archive.keep(b"no receipt");
        let mut archive = Archive::open(home.path()).unwrap();
        archive.keep(&receipt(5_000));
        let count = std::fs::read_dir(home.path()).unwrap().count();
        assert_eq!(count, KEPT_MAX);
        let name = |fence| format!("{}-{fence}.receipt", TaskId([5; 32]));
        assert!(!home.path().join(name(0)).exists());
        assert_eq!(
            std::fs::read(home.path().join(name(5_000))).unwrap(),
            receipt(5_000)
        );
    }
}
