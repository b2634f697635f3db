use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::reader::in_order;
use super::{Error, Reader, Writer};
use crate::{NodeId, PeerId};

/// A type with one DET-CBOR encoding.
pub trait Encode {
    /// Appends the encoding.
    fn encode(&self, w: &mut Writer);

    /// Approximate length of the encoding, for one allocation.
    fn size_hint(&self) -> usize {
        9
    }
}

/// A type that decodes from DET-CBOR, borrowing where it can.
pub trait Decode<'a>: Sized {
    /// Reads one item.
    ///
    /// # Errors
    ///
    /// The item is not DET-CBOR or not a `Self`.
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error>;
}

/// The exact bytes of an item, kept unchanged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Raw<'a>(pub &'a [u8]);

impl Encode for Raw<'_> {
    fn encode(&self, w: &mut Writer) {
        w.raw(self.0);
    }
    fn size_hint(&self) -> usize {
        self.0.len()
    }
}

impl<'a> Decode<'a> for Raw<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        r.skip().map(Self)
    }
}

impl<T: Encode + ?Sized> Encode for &T {
    fn encode(&self, w: &mut Writer) {
        (**self).encode(w);
    }
    fn size_hint(&self) -> usize {
        (**self).size_hint()
    }
}

// No `u8`: a `Vec<u8>` is bytes, never an array of numbers.
macro_rules! numbers {
    ($($t:ty, $name:literal);*) => {$(
        impl Encode for $t {
            #[inline]
            fn encode(&self, w: &mut Writer) {
                w.unsigned(u64::from(*self));
            }
        }
        impl<'a> Decode<'a> for $t {
            #[inline]
            fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
                r.unsigned()?.try_into().map_err(|_| Error::Range($name))
            }
        }
    )*};
}
numbers!(u16, "a u16"; u32, "a u32"; u64, "a u64");

impl Encode for bool {
    fn encode(&self, w: &mut Writer) {
        w.boolean(*self);
    }
}

impl<'a> Decode<'a> for bool {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        r.boolean()
    }
}

impl Encode for str {
    #[inline]
    fn encode(&self, w: &mut Writer) {
        w.text(self);
    }
    fn size_hint(&self) -> usize {
        self.len() + 9
    }
}

impl<'a> Decode<'a> for &'a str {
    #[inline]
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        r.text()
    }
}

impl Encode for String {
    fn encode(&self, w: &mut Writer) {
        w.text(self);
    }
    fn size_hint(&self) -> usize {
        self.len() + 9
    }
}

impl<'a> Decode<'a> for String {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        r.text().map(str::to_owned)
    }
}

impl Encode for [u8] {
    #[inline]
    fn encode(&self, w: &mut Writer) {
        w.bytes(self);
    }
    fn size_hint(&self) -> usize {
        self.len() + 9
    }
}

impl<'a> Decode<'a> for &'a [u8] {
    #[inline]
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        r.bytes()
    }
}

impl Encode for Vec<u8> {
    fn encode(&self, w: &mut Writer) {
        w.bytes(self);
    }
    fn size_hint(&self) -> usize {
        self.len() + 9
    }
}

impl<'a> Decode<'a> for Vec<u8> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        r.bytes().map(<[u8]>::to_vec)
    }
}

impl<const N: usize> Encode for [u8; N] {
    #[inline]
    fn encode(&self, w: &mut Writer) {
        w.bytes(self);
    }
    fn size_hint(&self) -> usize {
        N + 5
    }
}

impl<'a, const N: usize> Decode<'a> for [u8; N] {
    #[inline]
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        r.bytes()?
            .try_into()
            .map_err(|_| Error::Range("bytes of a fixed length"))
    }
}

impl<'a, const N: usize> Decode<'a> for &'a [u8; N] {
    #[inline]
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        r.bytes()?
            .try_into()
            .map_err(|_| Error::Range("bytes of a fixed length"))
    }
}

impl Encode for NodeId {
    fn encode(&self, w: &mut Writer) {
        w.bytes(&self.0);
    }
}

impl<'a> Decode<'a> for NodeId {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        Decode::decode(r).map(Self)
    }
}

impl Encode for PeerId {
    fn encode(&self, w: &mut Writer) {
        w.bytes(&self.0);
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, w: &mut Writer) {
        w.array(self.len());
        for item in self {
            item.encode(w);
        }
    }
    fn size_hint(&self) -> usize {
        9 + self.iter().map(Encode::size_hint).sum::<usize>()
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Vec<T> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let n = r.array()?;
        // An item may be far larger in memory than on the wire: grow as they really come.
        let mut out = Self::with_capacity(n.min(64));
        for _ in 0..n {
            out.push(T::decode(r)?);
        }
        r.leave();
        Ok(out)
    }
}

impl<K: AsRef<str>, T: Encode> Encode for BTreeMap<K, T> {
    fn encode(&self, w: &mut Writer) {
        let mut entries: Vec<(&str, &T)> = self.iter().map(|(k, v)| (k.as_ref(), v)).collect();
        // The encoded order of text keys: shorter first, then by bytes.
        entries.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
        w.map(entries.len());
        for (k, v) in entries {
            w.text(k);
            v.encode(w);
        }
    }
    fn size_hint(&self) -> usize {
        let entry = |(k, v): (&K, &T)| k.as_ref().len() + 9 + v.size_hint();
        9 + self.iter().map(entry).sum::<usize>()
    }
}

impl<'a, K, T> Decode<'a> for BTreeMap<K, T>
where
    K: Decode<'a> + AsRef<str> + Ord,
    T: Decode<'a>,
{
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        let n = r.map()?;
        let mut out = Self::new();
        let mut last: Option<&[u8]> = None;
        for _ in 0..n {
            let start = r.position();
            let key = K::decode(r)?;
            let raw = r.since(start);
            in_order(last, raw)?;
            last = Some(raw);
            out.insert(key, T::decode(r)?);
        }
        r.leave();
        Ok(out)
    }
}
