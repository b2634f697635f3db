//! The checksums of records and snapshots, each chained to the one before.

use sha2::{Digest as _, Sha256};

use crate::record::NUMBER_MAX;
use crate::{Damage, Entry, Error, Kind, Place, RECORD_MAX, Record};

/// A checksum: the first 16 bytes of SHA-256.
///
/// SHA-256 is the hash of all of this project's state. A CRC of 32 bits would miss one damaged record in 2^32; the truncated hash
/// also tells two histories apart that have the same length, such as an old copy put in place of a newer journal. It costs 0.2 to
/// 1 µs a record of a few hundred bytes.
pub type Sum = [u8; 16];

/// Distance by which indexes rise when a snapshot is restored: no index that was given after it is given again.
pub const RESTORE_INDEXES: u64 = 1 << 40;
/// Distance by which the epoch rises when a snapshot is restored: leaders after the snapshot had higher epochs than it knows of.
pub const RESTORE_EPOCHS: u64 = 1 << 20;

fn sum(parts: &[&[u8]]) -> Sum {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let mut out = [0; 16];
    out.copy_from_slice(&hash.finalize()[..16]);
    out
}

/// Returns the checksum of bytes that are neither a record nor part of a snapshot, such as a file of a backend's own.
#[must_use]
pub fn digest(bytes: &[u8]) -> Sum {
    sum(&[b"BN-J-X1", bytes])
}

/// A position in a journal: an index, and the checksum of all records up to it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Chain {
    /// Index of the last record. 0 before the first.
    pub index: u64,
    /// Checksum of that record. Zeros before the first.
    pub sum: Sum,
}

/// A record as a backend stores it, unchecked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored<'a> {
    /// Index.
    pub index: u64,
    /// Epoch.
    pub epoch: u64,
    /// Kind.
    pub kind: &'a [u8],
    /// Content.
    pub body: Vec<u8>,
    /// Checksum.
    pub sum: &'a [u8],
}

impl Chain {
    fn of_record(&self, index: u64, epoch: u64, kind: Kind, body: &[u8]) -> Sum {
        let kind = kind.as_str().as_bytes();
        // A kind has at most 32 bytes.
        let len = [u8::try_from(kind.len()).unwrap_or(u8::MAX)];
        let (index, epoch) = (index.to_be_bytes(), epoch.to_be_bytes());
        sum(&[b"BN-J-R1", &self.sum, &index, &epoch, &len, kind, body])
    }

    /// Moves on by a record that is appended, and returns the new position.
    ///
    /// # Errors
    ///
    /// [`Error::Exhausted`].
    pub fn seal(&mut self, epoch: u64, record: &Record) -> Result<Self, Error> {
        if self.index >= NUMBER_MAX {
            return Err(Error::Exhausted);
        }
        let index = self.index + 1;
        *self = Self {
            index,
            sum: self.of_record(index, epoch, record.kind, &record.body),
        };
        Ok(*self)
    }

    /// Moves on by a record that was read, if it is the next one and matches its checksum.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], which names the record that should have come next.
    pub fn admit(&mut self, stored: Stored<'_>) -> Result<Entry, Error> {
        let index = self.index.saturating_add(1);
        let damaged = |why| Err(Error::damaged(Place::Record(index), why));
        if stored.index != index {
            return damaged(Damage::Missing);
        }
        let kind = std::str::from_utf8(stored.kind).ok().and_then(Kind::new);
        let Some(kind) = kind.filter(|_| stored.body.len() <= RECORD_MAX) else {
            return damaged(Damage::Form);
        };
        let sum = self.of_record(index, stored.epoch, kind, &stored.body);
        if stored.sum != sum {
            return damaged(Damage::Checksum);
        }
        *self = Self { index, sum };
        Ok(Entry {
            index,
            epoch: stored.epoch,
            record: Record {
                kind,
                body: stored.body,
            },
        })
    }
}

/// The head of a journal: all that an append is checked against.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Head {
    /// Present epoch. 0 before the first leader.
    pub epoch: u64,
    /// Position after which records are kept.
    pub base: Chain,
    /// Position of the last record.
    pub last: Chain,
}

impl Head {
    /// Returns the checksum of the head.
    #[must_use]
    pub fn sum(&self) -> Sum {
        let [epoch, base, last] =
            [self.epoch, self.base.index, self.last.index].map(u64::to_be_bytes);
        sum(&[
            b"BN-J-H1",
            &epoch,
            &base,
            &self.base.sum,
            &last,
            &self.last.sum,
        ])
    }

    /// Checks a head that was read.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`].
    pub fn check(self, sum: &[u8]) -> Result<Self, Error> {
        let ordered = self.base.index <= self.last.index && self.last.index <= NUMBER_MAX;
        if self.sum() == sum && ordered && self.epoch <= NUMBER_MAX {
            Ok(self)
        } else {
            Err(Error::damaged(Place::Head, Damage::Checksum))
        }
    }

    /// Refuses the operation of a leader whose epoch is over.
    ///
    /// # Errors
    ///
    /// [`Error::EpochOver`].
    pub fn fence(&self, epoch: u64) -> Result<(), Error> {
        if epoch == self.epoch && epoch > 0 {
            return Ok(());
        }
        Err(Error::EpochOver {
            epoch,
            current: self.epoch,
        })
    }

    /// Returns the epoch of the next leader.
    ///
    /// # Errors
    ///
    /// [`Error::Exhausted`].
    pub fn next_epoch(&self) -> Result<u64, Error> {
        let next = self.epoch.checked_add(1).filter(|e| *e <= NUMBER_MAX);
        next.ok_or(Error::Exhausted)
    }

    /// Refuses to read after an index whose successor is not there.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`], [`Error::Ahead`].
    pub fn readable(&self, after: u64) -> Result<(), Error> {
        if after < self.base.index {
            let base = self.base.index;
            return Err(Error::Gone { after, base });
        }
        if after > self.last.index {
            let last = self.last.index;
            return Err(Error::Ahead { after, last });
        }
        Ok(())
    }

    /// Returns the head after a snapshot is restored. Its first record will have the index `at` + 2^40.
    ///
    /// # Errors
    ///
    /// [`Error::Exhausted`].
    pub fn restored(&self, snapshot: &Snapshot) -> Result<Self, Error> {
        let next = |n: u64, by: u64| n.checked_add(by).filter(|n| *n <= NUMBER_MAX);
        // The same snapshot may be restored twice.
        let index = next(snapshot.at.index, RESTORE_INDEXES - 1)
            .filter(|index| *index > self.last.index)
            .or_else(|| next(self.last.index, RESTORE_INDEXES - 1))
            .ok_or(Error::Exhausted)?;
        let epoch = next(self.epoch.max(snapshot.epoch), RESTORE_EPOCHS).ok_or(Error::Exhausted)?;
        let numbers = [epoch, index].map(u64::to_be_bytes);
        let at = Chain {
            index,
            sum: sum(&[b"BN-J-B1", &snapshot.at.sum, &numbers[0], &numbers[1]]),
        };
        Ok(Self {
            epoch,
            base: at,
            last: at,
        })
    }
}

/// The description of a snapshot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Snapshot {
    /// Position at which it was saved: the state after that record.
    pub at: Chain,
    /// Epoch of the leader that saved it.
    pub epoch: u64,
    /// Number of its parts.
    pub parts: u32,
    /// Length of all parts, in bytes.
    pub bytes: u64,
    /// Checksum of its last part, which covers the parts before it.
    pub content: Sum,
}

impl Snapshot {
    /// Begins the description of a snapshot, without a part.
    #[must_use]
    pub const fn begin(at: Chain, epoch: u64) -> Self {
        Self {
            at,
            epoch,
            parts: 0,
            bytes: 0,
            content: [0; 16],
        }
    }

    /// Moves on by a part.
    pub fn add(&mut self, body: &[u8]) {
        let part = self.parts.to_be_bytes();
        self.content = sum(&[b"BN-J-P1", &self.content, &part, body]);
        self.parts += 1;
        self.bytes += body.len() as u64;
    }

    /// Returns the checksum of the description.
    #[must_use]
    pub fn sum(&self) -> Sum {
        let [at, epoch, bytes] = [self.at.index, self.epoch, self.bytes].map(u64::to_be_bytes);
        let parts = self.parts.to_be_bytes();
        let (before, content) = (&self.at.sum, &self.content);
        sum(&[b"BN-J-S1", &at, before, &epoch, &parts, &bytes, content])
    }

    /// Checks a description that was read.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`].
    pub fn check(self, sum: &[u8]) -> Result<Self, Error> {
        if self.sum() == sum {
            Ok(self)
        } else {
            let place = Place::Snapshot(self.at.index);
            Err(Error::damaged(place, Damage::Checksum))
        }
    }

    /// Returns the description under which a restored snapshot is kept: its position is the base of the restored journal.
    #[must_use]
    pub const fn moved(mut self, to: &Head) -> Self {
        self.at = to.base;
        self.epoch = to.epoch;
        self
    }
}

/// Checks one part of a snapshot after the other.
#[derive(Clone, Copy, Debug)]
pub struct PartCheck {
    seen: Snapshot,
    all: Snapshot,
}

impl PartCheck {
    /// Begins with the first part.
    #[must_use]
    pub const fn new(all: Snapshot) -> Self {
        Self {
            seen: Snapshot::begin(all.at, all.epoch),
            all,
        }
    }

    /// Checks the next part.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] names the part if its own checksum differs, and the snapshot if its last part does not end it.
    pub fn admit(&mut self, body: &[u8], sum: &[u8]) -> Result<(), Error> {
        let place = Place::Part {
            at: self.all.at.index,
            part: self.seen.parts,
        };
        self.seen.add(body);
        if self.seen.content != sum {
            return Err(Error::damaged(place, Damage::Checksum));
        }
        if self.seen.parts == self.all.parts && self.seen != self.all {
            let place = Place::Snapshot(self.all.at.index);
            return Err(Error::damaged(place, Damage::Checksum));
        }
        Ok(())
    }
}
