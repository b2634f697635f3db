//! The records of a journal. Each has its length and two checksums, so that a truncated record differs from a damaged one.

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::Damage;

/// Length of a record's head: a length of four bytes, its checksum, and the record's checksum.
const HEAD: usize = 16;
/// Maximum length of a record.
pub(crate) const RECORD_MAX: usize = 1 << 20;

fn check<const N: usize>(label: u8, bytes: &[u8]) -> [u8; N] {
    let digest = Sha256::new().chain_update([label]).chain_update(bytes);
    let mut out = [0; N];
    out.copy_from_slice(&digest.finalize()[..N]);
    out
}

/// Encodes a record for a journal. It has at most [`RECORD_MAX`] bytes.
pub(crate) fn encode(record: &[u8]) -> Zeroizing<Vec<u8>> {
    let len = u32::try_from(record.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let mut out = Zeroizing::new(Vec::with_capacity(HEAD + record.len()));
    out.extend_from_slice(&len);
    out.extend_from_slice(&check::<4>(0, &len));
    out.extend_from_slice(&check::<8>(1, record));
    out.extend_from_slice(record);
    out
}

/// The content of a journal.
pub(crate) struct Read {
    pub(crate) records: Vec<Zeroizing<Vec<u8>>>,
    /// Length of all complete records. A crash has cut short the bytes after them.
    pub(crate) whole: usize,
}

/// Reads the records of a journal. The last one may be truncated, or its last blocks may never have reached the disk and read as
/// zeros.
pub(crate) fn read(bytes: &[u8]) -> Result<Read, Damage> {
    let mut out = Read {
        records: Vec::new(),
        whole: 0,
    };
    loop {
        let rest = &bytes[out.whole..];
        let Some((head, rest)) = rest.split_first_chunk::<HEAD>() else {
            return Ok(out);
        };
        let (len, checks) = (&head[..4], &head[4..]);
        let long = u32::from_be_bytes([len[0], len[1], len[2], len[3]]);
        let long = usize::try_from(long).unwrap_or(usize::MAX);
        if checks[..4] != check::<4>(0, len) || long > RECORD_MAX {
            let zeros = head.iter().chain(rest).all(|b| *b == 0);
            return if zeros { Ok(out) } else { Err(Damage::Record) };
        }
        let Some(record) = rest.get(..long) else {
            return Ok(out);
        };
        if checks[4..] != check::<8>(1, record) {
            return if rest.len() == long {
                Ok(out)
            } else {
                Err(Damage::Record)
            };
        }
        out.records.push(Zeroizing::new(record.to_vec()));
        out.whole += HEAD + long;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> Vec<u8> {
        [&b"one"[..], b"", b"three"]
            .iter()
            .flat_map(|r| encode(r).to_vec())
            .collect()
    }

    #[test]
    fn what_is_cut_short_ends_after_the_last_whole_record() {
        let all = journal();
        let ends = [0, 19, 35, 56];
        for len in 0..=all.len() {
            let read = read(&all[..len]).unwrap();
            let whole = ends.iter().rposition(|e| *e <= len).unwrap();
            assert_eq!((read.records.len(), read.whole), (whole, ends[whole]));
            // Blocks that never reached the disk read as zeros.
            let mut holes = all[..len].to_vec();
            holes.extend([0; 40]);
            if ends.contains(&len) {
                assert_eq!(super::read(&holes).unwrap().whole, len);
            }
        }
    }

    #[test]
    fn damage_before_the_last_record_is_told() {
        let all = journal();
        for at in 0..35 {
            let mut bad = all.clone();
            bad[at] ^= 4;
            assert_eq!(read(&bad).err(), Some(Damage::Record), "{at}");
        }
    }
}
