//! The form of a stored blob.
//!
//! | bytes | content |
//! |---|---|
//! | n | content |
//! | 16 × ⌈n / 256 KiB⌉ | checksum of each chunk |
//! | 8 | `BN-BLOB1` |
//! | 8 | n |
//! | 32 | SHA-256 of the content |
//! | 16 | checksum of all that follows the content |
//!
//! A range is verified by the chunks that it touches. SHA-256 of the content alone would need all of it to be read first.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::Digest;

/// Length of a chunk, in bytes.
pub(crate) const CHUNK: u64 = 256 << 10;
const SUM: usize = 16;
const FOOTER: usize = 64;
const MAGIC: &[u8; 8] = b"BN-BLOB1";

fn sum(parts: &[&[u8]]) -> [u8; SUM] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let mut out = [0; SUM];
    out.copy_from_slice(&hash.finalize()[..SUM]);
    out
}

fn chunk_sum(number: u64, bytes: &[u8]) -> [u8; SUM] {
    sum(&[b"BN-B-C1", &number.to_be_bytes(), bytes])
}

/// Returns the length of a stored blob whose content has `size` bytes.
pub(crate) const fn stored_len(size: u64) -> u64 {
    size + size.div_ceil(CHUNK) * SUM as u64 + FOOTER as u64
}

/// Returns the length of the content of a stored blob, or `None` if no blob has this length.
pub(crate) fn content_len(stored: u64) -> Option<u64> {
    let rest = stored.checked_sub(FOOTER as u64)?;
    let chunks = rest.div_ceil(CHUNK + SUM as u64);
    let size = rest.checked_sub(chunks * SUM as u64)?;
    (size.div_ceil(CHUNK) == chunks).then_some(size)
}

/// Checksums of content, chunk by chunk.
#[derive(Clone)]
pub(crate) struct Sealer {
    whole: Sha256,
    size: u64,
    table: Vec<u8>,
}

impl Sealer {
    pub(crate) fn new() -> Self {
        Self {
            whole: Sha256::new(),
            size: 0,
            table: Vec::new(),
        }
    }

    /// Adds the next chunk. All but the last have the full length.
    pub(crate) fn add(&mut self, chunk: &[u8]) {
        self.whole.update(chunk);
        self.table
            .extend_from_slice(&chunk_sum(self.size / CHUNK, chunk));
        self.size += chunk.len() as u64;
    }

    /// Returns the content's digest, and the bytes that follow it.
    pub(crate) fn finish(self) -> (Digest, Vec<u8>) {
        let digest = Digest(self.whole.finalize().into());
        let mut out = self.table;
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.size.to_be_bytes());
        out.extend_from_slice(&digest.0);
        let check = sum(&[b"BN-B-T1", &out]);
        out.extend_from_slice(&check);
        (digest, out)
    }
}

/// The checked checksums of a stored blob.
#[derive(Debug)]
pub(crate) struct Table(Bytes);

impl Table {
    /// Reads what follows the content. Returns `None` if it is damaged or of another blob.
    pub(crate) fn read(digest: &Digest, size: u64, tail: Bytes) -> Option<Self> {
        let (front, check) = tail.split_last_chunk::<SUM>()?;
        if tail.len() as u64 != stored_len(size) - size || sum(&[b"BN-B-T1", front]) != *check {
            return None;
        }
        let footer = &tail[tail.len() - FOOTER..];
        let same = footer[..8] == *MAGIC
            && footer[8..16] == size.to_be_bytes()
            && footer[16..48] == digest.0;
        same.then_some(Self(tail))
    }

    /// Whether a chunk matches its checksum.
    pub(crate) fn matches(&self, number: u64, chunk: &[u8]) -> bool {
        let at = usize::try_from(number)
            .ok()
            .and_then(|n| n.checked_mul(SUM));
        let wanted = at.and_then(|at| self.0.get(at..at + SUM));
        wanted == Some(&chunk_sum(number, chunk)[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_tells_the_contents_length() {
        let c = CHUNK;
        for size in [0, 1, 100, c - 1, c, c + 1, 7 * c, 7 * c + 5, 1 << 32] {
            assert_eq!(content_len(stored_len(size)), Some(size), "{size}");
        }
        for bad in [0, 63, 65, 80, stored_len(c) + 1, stored_len(c) + 16] {
            assert_eq!(content_len(bad), None, "{bad}");
        }
    }

    #[test]
    fn each_flipped_bit_of_the_tail_is_found() {
        let content = vec![7; usize::try_from(CHUNK).unwrap() + 10];
        let mut sealer = Sealer::new();
        for chunk in content.chunks(usize::try_from(CHUNK).unwrap()) {
            sealer.add(chunk);
        }
        let (digest, tail) = sealer.finish();
        assert_eq!(digest, Digest::of(&content));
        let size = content.len() as u64;
        let table = Table::read(&digest, size, tail.clone().into()).unwrap();
        assert!(table.matches(0, &content[..usize::try_from(CHUNK).unwrap()]));
        assert!(table.matches(1, &content[usize::try_from(CHUNK).unwrap()..]));
        assert!(!table.matches(0, &content[..10]));
        assert!(!table.matches(2, b""));
        for at in 0..tail.len() {
            let mut bad = tail.clone();
            bad[at] ^= 1 << (at % 8);
            assert!(Table::read(&digest, size, bad.into()).is_none(), "{at}");
        }
        for len in 0..tail.len() {
            let cut = tail[..len].to_vec();
            assert!(Table::read(&digest, size, cut.into()).is_none(), "{len}");
        }
        assert!(Table::read(&digest, size + 1, tail.clone().into()).is_none());
        assert!(Table::read(&Digest([0; 32]), size, tail.into()).is_none());
    }
}
