//! What this machine verified of a ledger: its largest final head, and the signers that a replayed journal led to.

use std::path::PathBuf;

use betanet_log::{Hash, SIGNERS_MAX, SignedHead};
use betanet_store::disk;
use betanet_wire::text::hex;

use crate::Fail;

/// Longest files that are read, in bytes.
const HEAD_MAX: u64 = 64 << 10;
const SET_MAX: u64 = 8 + 32 * SIGNERS_MAX as u64;

/// The files of one ledger.
pub(crate) struct Seen {
    folder: PathBuf,
    ledger: String,
}

impl Seen {
    pub(crate) fn of(state: Option<&std::path::Path>, ledger: &Hash) -> Self {
        let folder = crate::state::folder(state).folder().to_owned();
        Self {
            folder: folder.join("economy-seen"),
            ledger: hex(ledger),
        }
    }

    fn file(&self, what: &str) -> PathBuf {
        self.folder.join(format!("{}.{what}", self.ledger))
    }

    /// The largest head that was verified here. A file that does not read is none.
    pub(crate) fn head(&self) -> Option<SignedHead> {
        let bytes = disk::read_bounded(&self.file("head"), HEAD_MAX).ok()?;
        SignedHead::from_bytes(&bytes).ok()
    }

    /// Keeps a verified head, if it is larger than the last.
    pub(crate) fn keep_head(&self, head: &SignedHead) -> Result<(), Fail> {
        let last = self.head().map_or(0, |last| last.head().size);
        match head.head().size > last {
            true => self.write("head", &head.to_bytes()),
            false => Ok(()),
        }
    }

    fn set(&self) -> Option<(u64, Vec<[u8; 32]>)> {
        let bytes = disk::read_bounded(&self.file("signers"), SET_MAX).ok()?;
        let (size, keys) = bytes.split_first_chunk::<8>()?;
        let keys: Result<Vec<[u8; 32]>, _> = keys.chunks(32).map(TryInto::try_into).collect();
        Some((u64::from_be_bytes(*size), keys.ok()?))
    }

    /// The signers of the newest journal that was replayed here.
    pub(crate) fn signers(&self) -> Option<Vec<[u8; 32]>> {
        self.set().map(|(_, keys)| keys)
    }

    /// Keeps the signers after so many records, if no longer journal was replayed.
    pub(crate) fn keep_signers(&self, size: u64, keys: &[Vec<u8>]) -> Result<(), Fail> {
        if self.set().is_some_and(|(last, _)| last >= size) {
            return Ok(());
        }
        self.write(
            "signers",
            &[&size.to_be_bytes()[..], &keys.concat()].concat(),
        )
    }

    fn write(&self, what: &str, bytes: &[u8]) -> Result<(), Fail> {
        let folder = &self.folder;
        std::fs::create_dir_all(folder).map_err(Fail::file(folder))?;
        let file = self.file(what);
        disk::write_private(&file, bytes).map_err(Fail::file(&file))
    }
}

#[cfg(test)]
mod tests {
    use betanet_log::Head;

    use super::*;

    #[test]
    fn the_largest_head_and_the_newest_signers_are_kept() {
        let home = tempfile::tempdir().unwrap();
        let seen = Seen::of(Some(home.path()), &[1; 32]);
        assert!(seen.head().is_none() && seen.signers().is_none());
        let head = |size| {
            SignedHead::new(Head {
                ts: 5,
                set: [2; 32],
                root: [3; 32],
                size,
                state: Some([4; 32]),
            })
        };
        for size in [7, 9, 8] {
            seen.keep_head(&head(size)).unwrap();
        }
        assert_eq!(seen.head(), Some(head(9)));
        for (size, key) in [(7, 1), (9, 2), (8, 3)] {
            seen.keep_signers(size, &[vec![key; 32], vec![9; 32]])
                .unwrap();
        }
        assert_eq!(seen.signers(), Some(vec![[2; 32], [9; 32]]));
        let other = Seen::of(Some(home.path()), &[2; 32]);
        assert!(other.head().is_none());
    }
}
