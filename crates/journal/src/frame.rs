//! A record as bytes.
//!
//! | bytes | content |
//! |---|---|
//! | 4 | length of all that follows |
//! | 8 | index |
//! | 8 | epoch |
//! | 16 | checksum |
//! | 1 | length of the kind |
//! | 1 to 32 | kind |
//! | rest | body |

use crate::chain::{Chain, Stored};
use crate::{Damage, Entry, Error, Place, RECORD_MAX, Record};

const HEAD: usize = 33;
const LONGEST: usize = HEAD + 32 + RECORD_MAX;

/// Appends the next record's frame to `out`.
///
/// # Errors
///
/// [`Error::Exhausted`].
pub fn encode(
    chain: &mut Chain,
    epoch: u64,
    record: &Record,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let Chain { index, sum } = chain.seal(epoch, record)?;
    let kind = record.kind.as_str().as_bytes();
    // Both lengths were bounded: a kind by its type, a body by `check_bounds`.
    let len = u32::try_from(HEAD + kind.len() + record.body.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&index.to_be_bytes());
    out.extend_from_slice(&epoch.to_be_bytes());
    out.extend_from_slice(&sum);
    out.push(u8::try_from(kind.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(kind);
    out.extend_from_slice(&record.body);
    Ok(())
}

/// Decodes the next record, and returns the length of its frame.
///
/// # Errors
///
/// [`Error::Damaged`] names the record that should stand there.
pub fn decode(chain: &mut Chain, bytes: &[u8]) -> Result<(Entry, usize), Error> {
    let place = Place::Record(chain.index.saturating_add(1));
    let damaged = |why| Error::damaged(place, why);
    let (len, rest) = bytes
        .split_first_chunk::<4>()
        .ok_or_else(|| damaged(Damage::Truncated))?;
    let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
    if !(HEAD..=LONGEST).contains(&len) {
        return Err(damaged(Damage::Form));
    }
    let frame = rest.get(..len).ok_or_else(|| damaged(Damage::Truncated))?;
    let form = || damaged(Damage::Form);
    let (index, frame) = frame.split_first_chunk::<8>().ok_or_else(form)?;
    let (epoch, frame) = frame.split_first_chunk::<8>().ok_or_else(form)?;
    let (sum, frame) = frame.split_first_chunk::<16>().ok_or_else(form)?;
    let (kind_len, frame) = frame.split_first().ok_or_else(form)?;
    let (kind, body) = frame
        .split_at_checked(usize::from(*kind_len))
        .ok_or_else(form)?;
    let entry = chain.admit(Stored {
        index: u64::from_be_bytes(*index),
        epoch: u64::from_be_bytes(*epoch),
        kind,
        body: body.to_vec(),
        sum,
    })?;
    Ok((entry, 4 + len))
}

/// Decodes arbitrary bytes as records, and encodes them again.
pub(crate) fn fuzz(bytes: &[u8]) {
    let (mut chain, mut again) = (Chain::default(), Chain::default());
    let mut rest = bytes;
    while let Ok((entry, len)) = decode(&mut chain, rest) {
        let mut frame = Vec::new();
        let _ = encode(&mut again, entry.epoch, &entry.record, &mut frame);
        assert!(
            frame == rest[..len] && again == chain,
            "record {}",
            entry.index
        );
        rest = &rest[len..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn frames() -> (Vec<u8>, Vec<usize>) {
        let kind = Kind::new("note").unwrap();
        let (mut chain, mut out, mut ends) = (Chain::default(), Vec::new(), vec![0]);
        for body in [&b"one"[..], b"", b"three"] {
            encode(&mut chain, 7, &Record::new(kind, body), &mut out).unwrap();
            ends.push(out.len());
        }
        (out, ends)
    }

    /// Number of records that can be read, and the damage that ends them.
    fn read(bytes: &[u8]) -> (u64, Option<Error>) {
        let (mut chain, mut at) = (Chain::default(), 0);
        while at < bytes.len() {
            match decode(&mut chain, &bytes[at..]) {
                Ok((_, len)) => at += len,
                Err(e) => return (chain.index, Some(e)),
            }
        }
        (chain.index, None)
    }

    fn names(found: Option<Error>, index: u64) -> bool {
        matches!(found, Some(Error::Damaged { place: Place::Record(at), .. }) if at == index)
    }

    #[test]
    fn each_flipped_bit_and_each_cut_names_its_record() {
        let (all, ends) = frames();
        assert!(matches!(read(&all), (3, None)));
        for at in 0..all.len() {
            let of = ends.iter().filter(|end| **end <= at).count() as u64;
            for bit in 0..8 {
                let mut bad = all.clone();
                bad[at] ^= 1 << bit;
                let (good, found) = read(&bad);
                assert!(good == of - 1 && names(found, of), "{at} {bit}");
            }
            let (good, found) = read(&all[..at]);
            assert_eq!(good, of - 1);
            assert!(ends.contains(&at) || names(found, of), "cut at {at}");
        }
    }

    #[test]
    fn a_record_that_is_missing_or_twice_names_its_place() {
        let (all, ends) = frames();
        let without = [&all[..ends[1]], &all[ends[2]..]].concat();
        let (good, found) = read(&without);
        assert!(good == 1 && names(found, 2));
        let twice = [&all[..ends[2]], &all[ends[1]..]].concat();
        let (good, found) = read(&twice);
        assert!(good == 2 && names(found, 3));
    }
}
