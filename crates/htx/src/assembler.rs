use alloc::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

/// Bytes that may wait behind a gap.
pub(crate) const GAP_BYTES: usize = 64 << 10;

/// The stream's bytes contradict each other, or wait behind too wide a gap; MALFORMED_FRAME.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Conflict {
    /// Other bytes at an offset that is buffered.
    Bytes,
    /// Data past FIN, or a second FIN elsewhere.
    Fin,
    /// More than 64 KiB behind a gap.
    Gap,
}

/// Puts one stream's bytes in order.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    next: u64,
    fin: Option<u64>,
    /// Disjoint, all at or above `next`.
    parts: BTreeMap<u64, Bytes>,
    waiting: usize,
}

impl Assembler {
    /// Where the next byte to be delivered stands.
    pub(crate) const fn offset(&self) -> u64 {
        self.next
    }

    /// Whether all bytes up to FIN were delivered.
    pub(crate) fn finished(&self) -> bool {
        self.fin == Some(self.next)
    }

    /// Bytes behind a gap.
    #[cfg(test)]
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    fn bound_by_fin(&mut self, end: u64, fin: bool) -> Result<(), Conflict> {
        let highest = self
            .parts
            .last_key_value()
            .map_or(self.next, |(at, b)| at + b.len() as u64);
        match self.fin {
            Some(f) if end > f || (fin && end != f) => Err(Conflict::Fin),
            None if fin && end < highest => Err(Conflict::Fin),
            None if fin => {
                self.fin = Some(end);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes bytes at an offset. The caller has checked that `offset + data.len()` does not overflow.
    pub(crate) fn insert(
        &mut self,
        mut offset: u64,
        mut data: Bytes,
        fin: bool,
    ) -> Result<(), Conflict> {
        let end = offset + data.len() as u64;
        self.bound_by_fin(end, fin)?;
        if offset < self.next {
            let seen = usize::try_from(self.next - offset).unwrap_or(usize::MAX);
            if seen >= data.len() {
                return Ok(());
            }
            data = data.slice(seen..);
            offset = self.next;
        }
        // Walk over what is buffered in the range, comparing the overlap and keeping the holes.
        while !data.is_empty() {
            let before = self.parts.range(..=offset).next_back();
            if let Some((at, part)) = before {
                let into = usize::try_from(offset - at).unwrap_or(usize::MAX);
                if into < part.len() {
                    let n = data.len().min(part.len() - into);
                    if part[into..into + n] != data[..n] {
                        return Err(Conflict::Bytes);
                    }
                    data = data.slice(n..);
                    offset += n as u64;
                    continue;
                }
            }
            let hole = self
                .parts
                .range(offset..)
                .next()
                .map_or(u64::MAX, |(at, _)| at - offset);
            let n = usize::try_from(hole).unwrap_or(usize::MAX).min(data.len());
            let part = data.split_to(n);
            if offset > self.next && self.waiting + n > GAP_BYTES {
                return Err(Conflict::Gap);
            }
            self.waiting += n;
            self.parts.insert(offset, part);
            offset += n as u64;
        }
        Ok(())
    }

    fn pop_part(&mut self) -> Option<Bytes> {
        let entry = self.parts.first_entry()?;
        if *entry.key() != self.next {
            return None;
        }
        let part = entry.remove();
        self.next += part.len() as u64;
        self.waiting -= part.len();
        Some(part)
    }

    /// All bytes that are in order now, as one piece: a filled gap is one event, however it was cut.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let first = self.pop_part()?;
        let Some(second) = self.pop_part() else {
            return Some(first);
        };
        let mut joined = BytesMut::from(&first[..]);
        joined.extend_from_slice(&second);
        while let Some(part) = self.pop_part() {
            joined.extend_from_slice(&part);
        }
        Some(joined.freeze())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn drain(a: &mut Assembler) -> Vec<u8> {
        core::iter::from_fn(|| a.pop()).flatten().collect()
    }

    proptest! {
        /// Whatever the order, overlap and repetition, the bytes come out once and in order.
        #[test]
        fn any_cutting_gives_the_bytes_once(
            len in 1usize..600,
            cuts in prop::collection::vec((0usize..600, 1usize..200), 0..40),
        ) {
            let whole: Vec<u8> = (0..=250).cycle().step_by(7).take(len).collect();
            let mut a = Assembler::default();
            let mut out = Vec::new();
            for (at, n) in cuts {
                let at = at.min(len);
                let end = (at + n).min(len);
                let piece = Bytes::copy_from_slice(&whole[at..end]);
                a.insert(at as u64, piece, end == len).unwrap();
                out.extend(drain(&mut a));
                prop_assert!(whole.starts_with(&out));
            }
            a.insert(0, Bytes::copy_from_slice(&whole), true).unwrap();
            out.extend(drain(&mut a));
            prop_assert_eq!(out, whole);
            prop_assert!(a.finished());
            prop_assert_eq!(a.waiting(), 0);
        }
    }

    #[test]
    fn contradictions_are_found() {
        let b = |s: &'static str| Bytes::from_static(s.as_bytes());
        let mut a = Assembler::default();
        a.insert(4, b("efgh"), false).unwrap();
        assert_eq!(a.insert(2, b("cdXf"), false), Err(Conflict::Bytes));
        let mut a = Assembler::default();
        a.insert(0, b("ab"), true).unwrap();
        assert_eq!(a.insert(2, b("c"), false), Err(Conflict::Fin));
        assert_eq!(a.insert(0, b("a"), true), Err(Conflict::Fin));
        assert_eq!(a.insert(0, b("ab"), true), Ok(()), "the same again");
        let mut a = Assembler::default();
        a.insert(5, b("x"), false).unwrap();
        assert_eq!(
            a.insert(0, b("ab"), true),
            Err(Conflict::Fin),
            "FIN before buffered bytes"
        );
    }

    #[test]
    fn a_gap_holds_64_kib_and_not_a_byte_more() {
        let mut a = Assembler::default();
        a.insert(1, Bytes::from(std::vec![0; GAP_BYTES]), false)
            .unwrap();
        let more = a.insert(1 + GAP_BYTES as u64, Bytes::from_static(b"x"), false);
        assert_eq!(more, Err(Conflict::Gap));
        let mut a = Assembler::default();
        a.insert(1, Bytes::from(std::vec![0; GAP_BYTES]), false)
            .unwrap();
        a.insert(0, Bytes::from_static(b"x"), false).unwrap();
        assert_eq!(drain(&mut a).len(), GAP_BYTES + 1);
    }
}
