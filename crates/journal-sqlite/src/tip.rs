//! The last committed index, in a file beside the database.
//!
//! SQLite takes damage to the end of its write-ahead log for a crash, and drops the commits there without a word. The same holds
//! for an old copy of the database. This file is written after each commit, and not synced: it costs a few microseconds. A crash
//! of the process leaves it whole. A crash of the machine may leave it older than the database, and never newer.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use betanet_journal::{Chain, Damage, Error, Head, Place, digest};

const MAGIC: &[u8; 8] = b"BN-TIP 1";
const SLOT: usize = 64;

/// The last commit that was acknowledged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Mark {
    /// Number of commits so far.
    pub(crate) commits: u64,
    /// Epoch after it.
    pub(crate) epoch: u64,
    /// Last record after it.
    pub(crate) last: Chain,
}

/// The file. Two slots are written in turn, so that a torn write leaves the other.
#[derive(Debug)]
pub(crate) struct Tip {
    file: File,
    pub(crate) mark: Mark,
}

fn encode(mark: &Mark) -> [u8; SLOT] {
    let mut out = [0; SLOT];
    out[..8].copy_from_slice(MAGIC);
    out[8..16].copy_from_slice(&mark.commits.to_be_bytes());
    out[16..24].copy_from_slice(&mark.epoch.to_be_bytes());
    out[24..32].copy_from_slice(&mark.last.index.to_be_bytes());
    out[32..48].copy_from_slice(&mark.last.sum);
    let check = digest(&out[..48]);
    out[48..].copy_from_slice(&check);
    out
}

fn decode(slot: &[u8; SLOT]) -> Option<Mark> {
    let number = |at: usize| {
        let bytes = slot[at..at + 8].try_into().unwrap_or_default();
        u64::from_be_bytes(bytes)
    };
    let mark = Mark {
        commits: number(8),
        epoch: number(16),
        last: Chain {
            index: number(24),
            sum: slot[32..48].try_into().unwrap_or_default(),
        },
    };
    (encode(&mark) == *slot).then_some(mark)
}

impl Tip {
    /// Opens the file, or creates it for a new journal.
    pub(crate) fn open(path: &Path, new: bool) -> Result<Self, Error> {
        let failed = Error::backend("open the journal's file of the last index");
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600).create(new);
        let file = match options.open(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(Error::damaged(Place::Tip, Damage::Missing));
            }
            opened => opened.map_err(failed)?,
        };
        let mut tip = Self {
            file,
            mark: Mark::default(),
        };
        if new {
            let failed = || Error::backend("write the journal's file of the last index");
            tip.file.set_len(0).map_err(failed())?;
            tip.write().map_err(failed())?;
            tip.file.sync_all().map_err(failed())?;
        } else {
            tip.reload()?;
        }
        Ok(tip)
    }

    /// Reads the newest mark, which another handle may have written.
    pub(crate) fn reload(&mut self) -> Result<(), Error> {
        let mut marks = [None; 2];
        for (at, mark) in [0, SLOT as u64].into_iter().zip(&mut marks) {
            let mut slot = [0; SLOT];
            match self.file.read_exact_at(&mut slot, at) {
                Ok(()) => *mark = decode(&slot),
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => {}
                Err(e) => {
                    return Err(Error::backend("read the journal's file of the last index")(
                        e,
                    ));
                }
            }
        }
        let newest = marks.into_iter().flatten().max_by_key(|m| m.commits);
        self.mark = newest.ok_or_else(|| Error::damaged(Place::Tip, Damage::Checksum))?;
        Ok(())
    }

    fn write(&self) -> io::Result<()> {
        let at = self.mark.commits % 2 * SLOT as u64;
        self.file.write_all_at(&encode(&self.mark), at)
    }

    /// Writes the mark of a commit that is on disk.
    pub(crate) fn advance(&mut self, commits: u64, head: &Head) -> io::Result<()> {
        self.mark = Mark {
            commits,
            epoch: head.epoch,
            last: head.last,
        };
        self.write()
    }

    /// Checks that the database has all that was committed. `sum` is the checksum of its record at the mark's index.
    pub(crate) fn check(&self, commits: u64, head: &Head, sum: Option<&[u8]>) -> Result<(), Error> {
        let Mark {
            commits: known,
            epoch,
            last,
        } = self.mark;
        if head.last.index < last.index {
            let first = Place::Record(head.last.index + 1);
            return Err(Error::damaged(first, Damage::Missing));
        }
        if head.epoch < epoch || commits < known {
            return Err(Error::damaged(Place::Head, Damage::Older));
        }
        let same = sum.is_none_or(|sum| sum == last.sum);
        if !same {
            let place = Place::Record(last.index);
            return Err(Error::damaged(place, Damage::Checksum));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_or_flipped_slot_leaves_the_other() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("tip");
        let mut tip = Tip::open(&path, true).unwrap();
        for n in 1..=5_u64 {
            let head = Head {
                epoch: 1,
                last: Chain {
                    index: n * 10,
                    sum: [7; 16],
                },
                ..Head::default()
            };
            tip.advance(n, &head).unwrap();
            let opened = Tip::open(&path, false).unwrap();
            assert_eq!(opened.mark, tip.mark);
        }
        let good = std::fs::read(&path).unwrap();
        assert_eq!(good.len(), 2 * SLOT);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 16;
            std::fs::write(&path, &bad).unwrap();
            // Commit 5 is in the second slot, and commit 4 in the first.
            let mark = Tip::open(&path, false).unwrap().mark;
            assert_eq!(mark.commits, if at < SLOT { 5 } else { 4 }, "{at}");
        }
        for len in 0..SLOT {
            std::fs::write(&path, &good[..len]).unwrap();
            let torn = Tip::open(&path, false);
            assert!(matches!(
                torn,
                Err(Error::Damaged {
                    place: Place::Tip,
                    ..
                })
            ));
        }
        std::fs::remove_file(&path).unwrap();
        let missing = Tip::open(&path, false);
        assert!(matches!(
            missing,
            Err(Error::Damaged {
                place: Place::Tip,
                why: Damage::Missing
            })
        ));
    }
}
