//! A snapshot as a file, which `restore` takes in another journal.
//!
//! The file has a line `betanet-snapshot 1`, the description, and the parts. Numbers are big-endian.
//!
//! | bytes | content |
//! |---|---|
//! | 19 | `betanet-snapshot 1` and a line feed |
//! | 8, 16, 8 | index, checksum of the records up to it, epoch |
//! | 4, 8, 16 | number of parts, their length, checksum of the last part |
//! | 16 | checksum of the description |
//! | 4, 16, … | each part: its length, its checksum, its content |

use std::io::{ErrorKind, Read, Write};

use crate::chain::{Chain, PartCheck};
use crate::{Damage, Error, Journal, PART_MAX, PARTS_MAX, Place, Snapshot};

const LINE: &[u8; 19] = b"betanet-snapshot 1\n";
const WORD: usize = 17;

fn description(snapshot: &Snapshot) -> [u8; 95] {
    let mut out = [0; 95];
    let parts: [&[u8]; 8] = [
        LINE,
        &snapshot.at.index.to_be_bytes(),
        &snapshot.at.sum,
        &snapshot.epoch.to_be_bytes(),
        &snapshot.parts.to_be_bytes(),
        &snapshot.bytes.to_be_bytes(),
        &snapshot.content,
        &snapshot.sum(),
    ];
    let mut at = 0;
    for part in parts {
        out[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    out
}

/// Writes a snapshot of a journal to a file. Returns its description.
///
/// # Errors
///
/// See [`Journal::load`]; or the file cannot be written.
pub async fn export(
    journal: &dyn Journal,
    at: u64,
    out: &mut (dyn Write + Send),
) -> Result<Snapshot, Error> {
    let write = |out: &mut (dyn Write + Send), bytes: &[u8]| {
        out.write_all(bytes)
            .map_err(Error::backend("write the snapshot's file"))
    };
    let all = journal.snapshots().await?;
    let snapshot = all.into_iter().find(|s| s.at.index == at);
    let snapshot = snapshot.ok_or(Error::NoSnapshot { at })?;
    write(out, &description(&snapshot))?;
    let mut seen = Snapshot::begin(snapshot.at, snapshot.epoch);
    for part in 0..snapshot.parts {
        let body = journal.load(at, part).await?;
        seen.add(&body);
        // A part is bounded by `PART_MAX`.
        let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
        write(out, &len.to_be_bytes())?;
        write(out, &seen.content)?;
        write(out, &body)?;
    }
    if seen != snapshot {
        return Err(Error::damaged(Place::Snapshot(at), Damage::Checksum));
    }
    out.flush()
        .map_err(Error::backend("write the snapshot's file"))?;
    Ok(snapshot)
}

/// A snapshot's file that is read. It iterates over the parts, and checks each.
#[derive(Debug)]
pub struct SnapshotFile<R> {
    from: R,
    snapshot: Snapshot,
    check: PartCheck,
    next: u32,
    failed: bool,
}

/// Fills `out`, or says that the file ends early.
fn fill(from: &mut impl Read, out: &mut [u8], place: Place) -> Result<(), Error> {
    from.read_exact(out).map_err(|e| match e.kind() {
        ErrorKind::UnexpectedEof => Error::damaged(place, Damage::Truncated),
        _ => Error::backend("read the snapshot's file")(e),
    })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    match bytes.split_first_chunk::<N>() {
        Some((first, rest)) => {
            *bytes = rest;
            *first
        }
        None => [0; N],
    }
}

impl<R: Read> SnapshotFile<R> {
    /// Reads the description.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], [`Error::Newer`], or the file cannot be read.
    pub fn open(mut from: R) -> Result<Self, Error> {
        let mut line = [0; LINE.len()];
        fill(&mut from, &mut line, Place::Whole)?;
        if line != *LINE {
            let digit = line[WORD].wrapping_sub(b'0');
            let newer = line[..WORD] == LINE[..WORD] && (2..=9).contains(&digit);
            return Err(match newer {
                true => Error::Newer {
                    found: digit.into(),
                    known: 1,
                },
                false => Error::damaged(Place::Whole, Damage::Form),
            });
        }
        let mut bytes = [0; 76];
        fill(&mut from, &mut bytes, Place::Whole)?;
        let mut rest = &bytes[..];
        let at = Chain {
            index: u64::from_be_bytes(take(&mut rest)),
            sum: take(&mut rest),
        };
        let snapshot = Snapshot {
            at,
            epoch: u64::from_be_bytes(take(&mut rest)),
            parts: u32::from_be_bytes(take(&mut rest)),
            bytes: u64::from_be_bytes(take(&mut rest)),
            content: take(&mut rest),
        };
        let snapshot = snapshot.check(rest)?;
        if !(1..=PARTS_MAX).contains(&snapshot.parts) {
            let place = Place::Snapshot(at.index);
            return Err(Error::damaged(place, Damage::Form));
        }
        Ok(Self {
            from,
            snapshot,
            check: PartCheck::new(snapshot),
            next: 0,
            failed: false,
        })
    }

    /// Returns the description.
    #[must_use]
    pub const fn snapshot(&self) -> Snapshot {
        self.snapshot
    }

    fn part(&mut self) -> Result<Option<Vec<u8>>, Error> {
        if self.next == self.snapshot.parts {
            let mut more = [0];
            return match self.from.read(&mut more) {
                Ok(0) => Ok(None),
                Ok(_) => {
                    let place = Place::Snapshot(self.snapshot.at.index);
                    Err(Error::damaged(place, Damage::Form))
                }
                Err(e) => Err(Error::backend("read the snapshot's file")(e)),
            };
        }
        let place = Place::Part {
            at: self.snapshot.at.index,
            part: self.next,
        };
        let mut head = [0; 20];
        fill(&mut self.from, &mut head, place)?;
        let mut rest = &head[..];
        let len = u32::from_be_bytes(take(&mut rest));
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > PART_MAX {
            return Err(Error::damaged(place, Damage::Form));
        }
        let mut body = Vec::new();
        // A file that ends early allocates no more than it has.
        let read = self.from.by_ref().take(len as u64).read_to_end(&mut body);
        if read.map_err(Error::backend("read the snapshot's file"))? < len {
            return Err(Error::damaged(place, Damage::Truncated));
        }
        self.check.admit(&body, rest)?;
        self.next += 1;
        Ok(Some(body))
    }
}

impl<R: Read> Iterator for SnapshotFile<R> {
    type Item = Result<Vec<u8>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let part = self.part().transpose();
        self.failed = !matches!(part, Some(Ok(_)));
        part
    }
}

/// Reads arbitrary bytes as a snapshot's file, and writes it again.
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(file) = SnapshotFile::open(bytes) else {
        return;
    };
    let mut again = description(&file.snapshot()).to_vec();
    let mut seen = Snapshot::begin(file.snapshot().at, file.snapshot().epoch);
    for part in file {
        let Ok(body) = part else {
            return;
        };
        seen.add(&body);
        again.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
        again.extend_from_slice(&seen.content);
        again.extend_from_slice(&body);
    }
    assert!(again == bytes, "a snapshot reads as another");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(parts: &[Vec<u8>]) -> Vec<u8> {
        let at = Chain {
            index: 77,
            sum: [3; 16],
        };
        let (mut snapshot, mut content) = (Snapshot::begin(at, 5), Vec::new());
        for body in parts {
            snapshot.add(body);
            content.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
            content.extend_from_slice(&snapshot.content);
            content.extend_from_slice(body);
        }
        [&description(&snapshot)[..], &content].concat()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        SnapshotFile::open(bytes)?.collect()
    }

    #[test]
    fn each_flipped_bit_and_each_cut_is_named() {
        let parts = [b"first".to_vec(), Vec::new(), b"third".to_vec()];
        let all = file(&parts);
        assert_eq!(read(&all).unwrap(), parts);
        for at in 0..all.len() {
            for bit in 0..8 {
                let mut bad = all.clone();
                bad[at] ^= 1 << bit;
                let found = read(&bad);
                let named = matches!(found, Err(Error::Damaged { .. } | Error::Newer { .. }));
                assert!(named, "{at} {bit} {found:?}");
            }
            assert!(matches!(read(&all[..at]), Err(Error::Damaged { .. })));
        }
        let third = Place::Part { at: 77, part: 2 };
        let cut = read(&all[..all.len() - 1]);
        assert!(matches!(cut, Err(Error::Damaged { place, .. }) if place == third));
        let long = read(&[&all[..], b"x"].concat());
        assert!(matches!(long, Err(Error::Damaged { .. })));
        let mut newer = all;
        newer[WORD] = b'2';
        let newer = read(&newer);
        assert!(matches!(newer, Err(Error::Newer { found: 2, known: 1 })));
    }

    /// Reads the committed inputs of a fuzz target, and some that are built here.
    #[test]
    fn corpus() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/journal");
        let mut inputs = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            crate::fuzz(&bytes);
            inputs += 1;
        }
        assert!(inputs >= 10, "{inputs} inputs");
    }

    proptest! {
        #[test]
        fn whatever_reads_is_what_is_written(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..4),
            at in any::<proptest::sample::Index>(),
            with in any::<u8>(),
        ) {
            let mut bytes = file(&parts);
            prop_assert_eq!(read(&bytes).unwrap(), parts);
            crate::fuzz(&bytes);
            let at = at.index(bytes.len());
            bytes[at] = with;
            crate::fuzz(&bytes);
        }
    }
}
