use alloc::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

/// Maximum number of bytes of one stream buffered behind a gap.
pub(crate) const GAP_BYTES: usize = 64 << 10;
/// Maximum number of parts of one stream behind gaps, counted after adjacent parts are joined.
pub(crate) const GAP_PARTS: usize = 64;
/// Memory overhead of a part in bytes: its map entry and the rounding of its buffer.
pub(crate) const PART_COST: usize = 128;

/// The stream's bytes contradict each other, or lie behind too large a gap; MALFORMED_FRAME.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Conflict {
    /// Different bytes for an offset that is already buffered.
    Bytes,
    /// Data past FIN, or a second FIN at another offset.
    Fin,
    /// More than 64 KiB behind a gap.
    Gap,
    /// More than 64 parts behind gaps.
    Parts,
}

/// Reassembles the bytes of one stream.
#[derive(Debug, Default, Hash)]
pub(crate) struct Assembler {
    next: u64,
    fin: Option<u64>,
    /// Bytes that are in order and not yet taken.
    ready: BytesMut,
    /// In-order bytes that form one piece, which is then not copied.
    whole: Option<Bytes>,
    /// Bytes behind gaps: disjoint parts, all above `next`, in buffers of their own.
    parts: BTreeMap<u64, BytesMut>,
    waiting: usize,
}

impl Assembler {
    /// Offset of the next byte to be delivered.
    pub(crate) const fn offset(&self) -> u64 {
        self.next
    }

    /// Whether all bytes up to FIN were delivered.
    pub(crate) fn finished(&self) -> bool {
        self.fin == Some(self.next)
    }

    /// Whether the stream's final offset is known.
    pub(crate) const fn ends(&self) -> bool {
        self.fin.is_some()
    }

    /// Bytes behind a gap.
    #[cfg(test)]
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Memory cost of all parts behind gaps, in bytes.
    pub(crate) fn cost(&self) -> usize {
        self.waiting + self.parts.len() * PART_COST
    }

    fn bound_by_fin(&mut self, end: u64, fin: bool) -> Result<(), Conflict> {
        let highest = self
            .parts
            .last_key_value()
            .map_or(self.end(), |(at, b)| at + b.len() as u64);
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

    /// End offset of the in-order bytes.
    fn end(&self) -> u64 {
        let whole = self.whole.as_ref().map_or(0, Bytes::len);
        self.next + (whole + self.ready.len()) as u64
    }

    /// Inserts bytes at an offset. The caller has checked that `offset + data.len()` does not overflow.
    pub(crate) fn insert(
        &mut self,
        mut offset: u64,
        mut data: Bytes,
        fin: bool,
    ) -> Result<(), Conflict> {
        let end = offset + data.len() as u64;
        self.bound_by_fin(end, fin)?;
        let in_order = self.end();
        if offset < in_order {
            self.compare_ready(offset, &data)?;
            let seen = usize::try_from(in_order - offset).unwrap_or(usize::MAX);
            if seen >= data.len() {
                return Ok(());
            }
            data = data.slice(seen..);
            offset = in_order;
        }
        self.compare(offset, &data)?;
        // Fill the holes; bytes that are already buffered are skipped.
        while !data.is_empty() {
            let before = self.parts.range(..=offset).next_back();
            let known = before.map_or(0, |(at, part)| at + part.len() as u64);
            let known = known.max(self.end()).saturating_sub(offset);
            if known > 0 {
                let n = usize::try_from(known).unwrap_or(usize::MAX).min(data.len());
                data = data.slice(n..);
                offset += n as u64;
                continue;
            }
            let hole = self
                .parts
                .range(offset..)
                .next()
                .map_or(u64::MAX, |(at, _)| at - offset);
            let n = usize::try_from(hole).unwrap_or(usize::MAX).min(data.len());
            let part = data.split_to(n);
            if offset == self.end() {
                self.append(part);
                // Buffered parts may now follow directly.
                self.close_gap();
            } else {
                self.keep(offset, &part)?;
            }
            offset += n as u64;
        }
        Ok(())
    }

    /// Compares bytes with those that are in order and not yet taken.
    fn compare_ready(&self, offset: u64, data: &[u8]) -> Result<(), Conflict> {
        let whole = self.whole.as_deref().unwrap_or_default();
        let behind = self.next + whole.len() as u64;
        for (at, part) in [(self.next, whole), (behind, &self.ready[..])] {
            let from = offset.max(at);
            let to = (offset + data.len() as u64).min(at + part.len() as u64);
            if from < to {
                let within = |base: u64| {
                    let place = |n: u64| usize::try_from(n - base).unwrap_or(usize::MAX);
                    place(from)..place(to)
                };
                if part[within(at)] != data[within(offset)] {
                    return Err(Conflict::Bytes);
                }
            }
        }
        Ok(())
    }

    /// Compares bytes with those buffered at their offsets.
    fn compare(&self, offset: u64, data: &[u8]) -> Result<(), Conflict> {
        let end = offset + data.len() as u64;
        for (at, part) in self.parts.range(..end).rev() {
            let from = offset.max(*at);
            let to = end.min(at + part.len() as u64);
            if to <= from {
                break;
            }
            let within = |base: u64| {
                let place = |n: u64| usize::try_from(n - base).unwrap_or(usize::MAX);
                place(from)..place(to)
            };
            if part[within(*at)] != data[within(offset)] {
                return Err(Conflict::Bytes);
            }
        }
        Ok(())
    }

    fn append(&mut self, bytes: Bytes) {
        if self.whole.is_none() && self.ready.is_empty() {
            self.whole = Some(bytes);
        } else {
            self.ready.extend_from_slice(&bytes);
        }
    }

    fn close_gap(&mut self) {
        while let Some(entry) = self.parts.first_entry() {
            let end =
                self.next + (self.whole.as_ref().map_or(0, Bytes::len) + self.ready.len()) as u64;
            if *entry.key() != end {
                return;
            }
            let part = entry.remove();
            self.waiting -= part.len();
            self.ready.extend_from_slice(&part);
        }
    }

    /// Buffers new bytes behind a gap.
    fn keep(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Conflict> {
        if self.waiting + bytes.len() > GAP_BYTES {
            return Err(Conflict::Gap);
        }
        // Most bytes follow the last part: it grows in place.
        if let Some((at, part)) = self.parts.range_mut(..offset).next_back()
            && *at + part.len() as u64 == offset
        {
            part.extend_from_slice(bytes);
            self.waiting += bytes.len();
            return Ok(());
        }
        if self.parts.len() >= GAP_PARTS {
            // Rarely reached, since joining frees many slots: joining for each piece would copy all parts each time.
            self.join();
            let end = offset + bytes.len() as u64;
            match self.parts.remove(&end) {
                Some(next) if self.parts.len() + 1 >= GAP_PARTS => {
                    let mut both = BytesMut::with_capacity(bytes.len() + next.len());
                    both.extend_from_slice(bytes);
                    both.extend_from_slice(&next);
                    self.parts.insert(offset, both);
                    self.waiting += bytes.len();
                    return Ok(());
                }
                Some(next) => {
                    self.parts.insert(end, next);
                }
                None if self.parts.len() >= GAP_PARTS => return Err(Conflict::Parts),
                None => {}
            }
        }
        self.parts.insert(offset, BytesMut::from(bytes));
        self.waiting += bytes.len();
        Ok(())
    }

    /// Joins adjacent parts.
    fn join(&mut self) {
        let mut joined: BTreeMap<u64, BytesMut> = BTreeMap::new();
        for (at, part) in core::mem::take(&mut self.parts) {
            match joined.last_entry() {
                Some(mut last) if *last.key() + last.get().len() as u64 == at => {
                    last.get_mut().extend_from_slice(&part);
                }
                _ => {
                    joined.insert(at, part);
                }
            }
        }
        self.parts = joined;
    }

    /// Takes all in-order bytes as one piece: a filled gap is one event, however the bytes were split.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let more = core::mem::take(&mut self.ready);
        let all = match self.whole.take() {
            Some(whole) if more.is_empty() => whole,
            None if more.is_empty() => return None,
            None => more.freeze(),
            Some(whole) => {
                let mut all = BytesMut::with_capacity(whole.len() + more.len());
                all.extend_from_slice(&whole);
                all.extend_from_slice(&more);
                all.freeze()
            }
        };
        self.next += all.len() as u64;
        Some(all)
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

    /// Naive model that stores the state of each byte.
    #[derive(Default)]
    struct Naive {
        bytes: BTreeMap<u64, u8>,
        next: u64,
        fin: Option<u64>,
    }

    impl Naive {
        /// Number of bytes and of parts behind the gap.
        fn behind(&self) -> (usize, usize) {
            let mut end = self.next;
            while self.bytes.contains_key(&end) {
                end += 1;
            }
            let behind: Vec<u64> = self.bytes.range(end..).map(|(at, _)| *at).collect();
            let begins = |at: &&u64| !self.bytes.contains_key(&(**at - 1));
            (behind.len(), behind.iter().filter(begins).count())
        }

        fn insert(&mut self, offset: u64, data: &[u8], fin: bool) -> Result<(), Conflict> {
            let end = offset + data.len() as u64;
            let highest = self.bytes.last_key_value().map_or(0, |(at, _)| at + 1);
            let highest = highest.max(self.next);
            match self.fin {
                Some(f) if end > f || (fin && end != f) => return Err(Conflict::Fin),
                None if fin && end < highest => return Err(Conflict::Fin),
                None if fin => self.fin = Some(end),
                _ => {}
            }
            for (at, byte) in (offset..).zip(data) {
                if at < self.next {
                    continue;
                }
                match self.bytes.get(&at) {
                    Some(had) if had != byte => return Err(Conflict::Bytes),
                    _ => {}
                }
            }
            let fresh = (offset..).zip(data).filter(|(at, _)| *at >= self.next);
            let kept = self.bytes.clone();
            self.bytes.extend(fresh.map(|(at, byte)| (at, *byte)));
            let (bytes, parts) = self.behind();
            if bytes > GAP_BYTES || parts > GAP_PARTS {
                self.bytes = kept;
                return Err(if bytes > GAP_BYTES {
                    Conflict::Gap
                } else {
                    Conflict::Parts
                });
            }
            Ok(())
        }

        fn drain(&mut self) -> Vec<u8> {
            let mut out = Vec::new();
            while let Some(byte) = self.bytes.remove(&self.next) {
                out.push(byte);
                self.next += 1;
            }
            out
        }
    }

    proptest! {
        /// Compares with a model that stores single bytes: equal answers and bytes for any input, including wrong bytes and ends.
        #[test]
        fn it_does_what_a_naive_one_does(
            pieces in prop::collection::vec((0u64..400, 0usize..24, 0u8..20, 0u8..30, any::<bool>()), 0..200),
        ) {
            let mut real = Assembler::default();
            let mut naive = Naive::default();
            for (at, n, wrong, fin, drains) in pieces {
                let mut bytes: Vec<u8> = (at..at + n as u64).map(|i| i.to_le_bytes()[0] ^ 0x5a).collect();
                if wrong == 0 && n > 0 {
                    bytes[n / 2] ^= 1;
                }
                let want = naive.insert(at, &bytes, fin == 0);
                let got = real.insert(at, bytes.into(), fin == 0);
                // Of two possible errors either may be found first.
                prop_assert_eq!(got.is_err(), want.is_err());
                if want.is_err() {
                    // The session ends.
                    return Ok(());
                }
                if drains {
                    prop_assert_eq!(drain(&mut real), naive.drain());
                    prop_assert_eq!(real.finished(), naive.fin == Some(naive.next));
                }
                let (bytes, parts) = naive.behind();
                prop_assert_eq!(real.waiting(), bytes);
                prop_assert!(real.parts.len() >= parts && real.parts.len() <= GAP_PARTS);
                prop_assert_eq!(real.offset(), naive.next);
            }
            prop_assert_eq!(drain(&mut real), naive.drain());
        }
    }

    /// Every second byte, from below or from above, and then those between: the memory stays within the bound.
    #[test]
    fn single_bytes_with_gaps_between_them_are_64_at_most() {
        for backwards in [false, true] {
            let at = |n: u64| if backwards { 2 * (1000 - n) } else { 2 + 2 * n };
            let mut a = Assembler::default();
            let one = || Bytes::from_static(b"x");
            for n in 0..GAP_PARTS as u64 {
                a.insert(at(n), one(), false).unwrap();
            }
            assert_eq!(a.cost(), GAP_PARTS * (1 + PART_COST));
            assert_eq!(a.insert(at(70), one(), false), Err(Conflict::Parts));
        }
        // Adjacent parts are joined, whichever arrived first.
        for backwards in [false, true] {
            let mut a = Assembler::default();
            for n in 0..GAP_BYTES as u64 {
                let at = if backwards {
                    GAP_BYTES as u64 - n
                } else {
                    1 + n
                };
                a.insert(at, Bytes::from_static(b"x"), false).unwrap();
                assert!(a.cost() <= GAP_BYTES + GAP_PARTS * PART_COST);
            }
            a.insert(0, Bytes::from_static(b"x"), false).unwrap();
            assert_eq!(drain(&mut a).len(), GAP_BYTES + 1);
            assert_eq!(a.cost(), 0);
        }
    }

    #[test]
    fn a_piece_in_order_is_handed_on_as_it_is() {
        let piece = Bytes::from(std::vec![7; 4096]);
        let mut a = Assembler::default();
        a.insert(0, piece.clone(), false).unwrap();
        assert_eq!(a.pop().unwrap().as_ptr(), piece.as_ptr());
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
