use std::fmt;

use crate::Error;

/// Maximum length of a record's body, in bytes.
pub const RECORD_MAX: usize = 1 << 20;
/// Maximum number of records of one append.
pub const APPEND_RECORDS_MAX: usize = 4096;
/// Maximum length of all bodies of one append, in bytes.
pub const APPEND_BYTES_MAX: usize = 16 << 20;
/// Highest index and epoch: the highest number of an SQL `bigint`.
pub const NUMBER_MAX: u64 = (1 << 63) - 1;

const KIND_MAX: usize = 32;

/// The kind of a record, for inspection: 1 to 32 of `a-z 0-9 - _ .`. The journal does not interpret it.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
pub struct Kind {
    bytes: [u8; KIND_MAX],
    len: u8,
}

impl Kind {
    /// Creates a kind, or `None` if `word` is not valid.
    #[must_use]
    pub const fn new(word: &str) -> Option<Self> {
        let from = word.as_bytes();
        if from.is_empty() || from.len() > KIND_MAX {
            return None;
        }
        let mut kind = Self {
            bytes: [0; KIND_MAX],
            len: 0,
        };
        while (kind.len as usize) < from.len() {
            let b = from[kind.len as usize];
            if !matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.') {
                return None;
            }
            kind.bytes[kind.len as usize] = b;
            kind.len += 1;
        }
        Some(kind)
    }

    /// Returns the word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // `new` admits ASCII only.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A record to append.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Kind, for inspection.
    pub kind: Kind,
    /// Content, at most [`RECORD_MAX`] bytes. The journal does not interpret it.
    pub body: Vec<u8>,
}

impl Record {
    /// Creates a record.
    #[must_use]
    pub fn new(kind: Kind, body: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            body: body.into(),
        }
    }
}

/// A committed record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Position within the journal, counted from 1. Rises by 1 with each record, and by 2^40 where a snapshot was restored.
    pub index: u64,
    /// Epoch of the leader that appended it.
    pub epoch: u64,
    /// Kind and content.
    pub record: Record,
}

/// Refuses records that exceed the bounds of one append.
///
/// # Errors
///
/// [`Error::Bounds`].
pub fn check_bounds(records: &[Record]) -> Result<(), Error> {
    let bounds = |what, found: usize, most: usize| {
        if found > most {
            return Err(Error::Bounds {
                what,
                found: found as u64,
                most: most as u64,
            });
        }
        Ok(())
    };
    bounds("records of an append", records.len(), APPEND_RECORDS_MAX)?;
    let mut bytes = 0;
    for record in records {
        bounds("bytes of a record", record.body.len(), RECORD_MAX)?;
        bytes += record.body.len();
    }
    bounds("bytes of an append", bytes, APPEND_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_a_short_word() {
        assert_eq!(Kind::new("task.end-2_x").unwrap().as_str(), "task.end-2_x");
        let longest = "a".repeat(32);
        assert_eq!(Kind::new(&longest).unwrap().to_string(), longest);
        for bad in ["", "Task", "a b", "ä", &"a".repeat(33), "a/b", "a\0"] {
            assert_eq!(Kind::new(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn each_bound_is_inclusive() {
        let kind = Kind::new("x").unwrap();
        let of = |len: usize| Record::new(kind, vec![0; len]);
        assert!(check_bounds(&[of(RECORD_MAX)]).is_ok());
        assert!(check_bounds(&[of(RECORD_MAX + 1)]).is_err());
        assert!(check_bounds(&vec![of(0); APPEND_RECORDS_MAX]).is_ok());
        assert!(check_bounds(&vec![of(0); APPEND_RECORDS_MAX + 1]).is_err());
        let full = vec![of(RECORD_MAX); APPEND_BYTES_MAX / RECORD_MAX];
        assert!(check_bounds(&full).is_ok());
        let over = [full, vec![of(1)]].concat();
        assert!(check_bounds(&over).is_err());
    }
}
