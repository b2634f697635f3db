use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_wire::NodeId;
use betanet_wire::cbor::{self, Kind, Reader, Writer};

use crate::shape::{NUMBER_END, Shape, compare, refuse};
use crate::{List, Map, Refusal, RefusalCode, TaskId, Text, Word};

/// A value of the chapter with one encoding.
pub trait Item: Sized {
    /// Its types.
    const SHAPE: Shape;

    /// Appends the encoding.
    fn encode(&self, w: &mut Writer);

    /// Reads an item that [`Shape::check`] has passed, and checks bounds of single values.
    ///
    /// # Errors
    ///
    /// `bad_value` with the innermost key. `malformed` where the bytes do not have the shape.
    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal>;
}

/// Longest body of a request or an answer.
pub const BODY_MAX: usize = 1 << 20;

/// Encodes one item.
#[must_use]
pub fn to_vec<T: Item>(item: &T) -> Vec<u8> {
    let mut w = Writer::with_capacity(512);
    item.encode(&mut w);
    w.into_vec()
}

/// Decodes exactly one item: size, CBOR, types, bounds.
///
/// # Errors
///
/// `too_large` over 1 MiB, `malformed`, or `bad_value`.
pub fn from_slice<T: Item>(bytes: &[u8]) -> Result<T, Refusal> {
    if bytes.len() > BODY_MAX {
        return Err(RefusalCode::TooLarge.bare());
    }
    T::SHAPE.check(bytes)?;
    read(bytes)
}

/// Decodes bytes whose shape was checked.
pub(crate) fn read<T: Item>(bytes: &[u8]) -> Result<T, Refusal> {
    let mut r = Reader::new(bytes);
    let item = T::decode(&mut r)?;
    r.end().map_err(|e| refuse(e, ""))?;
    Ok(item)
}

/// An item as the message that streams carry it in: a length, then the encoding.
#[must_use]
pub fn to_message<T: Item>(item: &T) -> Vec<u8> {
    struct Whole<'a, T>(&'a T);
    impl<T: Item> cbor::Encode for Whole<'_, T> {
        fn encode(&self, w: &mut Writer) {
            self.0.encode(w);
        }
        fn size_hint(&self) -> usize {
            512
        }
    }
    betanet_wire::msg::to_vec(&Whole(item))
}

fn bare(e: cbor::Error) -> Refusal {
    refuse(e, "")
}

/// Names the key of a refusal that does not name one yet.
fn in_field(refusal: Refusal, key: &'static str) -> Refusal {
    match refusal.key {
        "" => refusal.code.of(key),
        _ => refusal,
    }
}

/// The value under a key of the map that the reader is in; keys before it are passed over.
pub(crate) fn field<T: Item>(
    r: &mut Reader<'_>,
    left: &mut usize,
    key: &'static str,
) -> Result<T, Refusal> {
    while let Some(rest) = left.checked_sub(1) {
        *left = rest;
        let raw = r.skip().map_err(bare)?;
        if compare(raw, key).is_eq() {
            return T::decode(r).map_err(|e| in_field(e, key));
        }
        r.skip().map_err(bare)?;
    }
    Err(RefusalCode::Malformed.of(key))
}

pub(crate) fn enter_map(r: &mut Reader<'_>) -> Result<usize, Refusal> {
    r.map().map_err(bare)
}

pub(crate) fn leave_map(r: &mut Reader<'_>, left: usize) -> Result<(), Refusal> {
    for _ in 0..2 * left {
        r.skip().map_err(bare)?;
    }
    r.leave();
    Ok(())
}

pub(crate) fn enter_tuple(r: &mut Reader<'_>, n: usize) -> Result<(), Refusal> {
    if r.array().map_err(bare)? == n {
        Ok(())
    } else {
        Err(RefusalCode::Malformed.bare())
    }
}

/// Implements [`Item`] for a struct that is a map on the wire.
macro_rules! item {
    ($name:ident { $($key:literal $field:ident : $ty:ty,)* }) => {
        impl $crate::Item for $name {
            const SHAPE: $crate::Shape = {
                assert!(betanet_wire::cbor::ascending(&[$($key),*]), "keys must ascend by encoding");
                $crate::Shape::Record(&[$(($key, &<$ty as $crate::Item>::SHAPE)),*])
            };
            fn encode(&self, w: &mut betanet_wire::cbor::Writer) {
                w.map([$($key),*].len());
                $(w.text($key); self.$field.encode(w);)*
            }
            fn decode(r: &mut betanet_wire::cbor::Reader<'_>) -> Result<Self, $crate::Refusal> {
                let mut left = $crate::item::enter_map(r)?;
                $(let $field = $crate::item::field(r, &mut left, $key)?;)*
                $crate::item::leave_map(r, left)?;
                Ok(Self { $($field),* })
            }
        }
    };
}
pub(crate) use item;

/// Declares a struct that is a map on the wire.
macro_rules! record {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* $key:literal $field:ident : $ty:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $ty,)*
        }
        $crate::item::item!($name { $($key $field: $ty,)* });
    };
}
pub(crate) use record;

/// Implements [`Item`] for a struct that is an array on the wire.
macro_rules! tuple {
    ($name:ident { $($field:ident : $ty:ty,)* }) => {
        impl $crate::Item for $name {
            const SHAPE: $crate::Shape = $crate::Shape::Tuple(&[$(<$ty as $crate::Item>::SHAPE),*]);
            fn encode(&self, w: &mut betanet_wire::cbor::Writer) {
                w.array([$(stringify!($field)),*].len());
                $(self.$field.encode(w);)*
            }
            fn decode(r: &mut betanet_wire::cbor::Reader<'_>) -> Result<Self, $crate::Refusal> {
                $crate::item::enter_tuple(r, [$(stringify!($field)),*].len())?;
                $(let $field = <$ty as $crate::Item>::decode(r)?;)*
                r.leave();
                Ok(Self { $($field),* })
            }
        }
    };
}
pub(crate) use tuple;

/// Implements [`Item`] for enums of words.
macro_rules! word_items {
    ($($name:ty)*) => {$(
        impl $crate::Item for $name {
            const SHAPE: $crate::Shape = $crate::Shape::Choice(Self::WORDS);
            fn encode(&self, w: &mut betanet_wire::cbor::Writer) {
                w.text(self.as_str());
            }
            fn decode(r: &mut betanet_wire::cbor::Reader<'_>) -> Result<Self, $crate::Refusal> {
                let word = $crate::item::word(r)?;
                Self::from_word(word).ok_or($crate::RefusalCode::BadValue.bare())
            }
        }
    )*};
}
pub(crate) use word_items;

/// Reads the text of a word.
pub(crate) fn word<'a>(r: &mut Reader<'a>) -> Result<&'a str, Refusal> {
    r.text().map_err(bare)
}

impl Item for u64 {
    const SHAPE: Shape = Shape::Unsigned;
    fn encode(&self, w: &mut Writer) {
        w.unsigned(*self);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        let n = r.unsigned().map_err(bare)?;
        if n < NUMBER_END {
            Ok(n)
        } else {
            Err(RefusalCode::Malformed.bare())
        }
    }
}

impl Item for i64 {
    const SHAPE: Shape = Shape::Integer;
    fn encode(&self, w: &mut Writer) {
        match u64::try_from(*self) {
            Ok(n) => w.unsigned(n),
            Err(_) => w.negative(self.unsigned_abs() - 1),
        }
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        let far = |n: u64| Self::try_from(n).map_err(|_| RefusalCode::Malformed.bare());
        match r.kind().map_err(bare)? {
            Kind::Negative => Ok(-1 - far(r.negative().map_err(bare)?)?),
            _ => far(r.unsigned().map_err(bare)?),
        }
    }
}

impl Item for bool {
    const SHAPE: Shape = Shape::Bool;
    fn encode(&self, w: &mut Writer) {
        w.boolean(*self);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        r.boolean().map_err(bare)
    }
}

impl Item for Word {
    const SHAPE: Shape = Shape::Word;
    fn encode(&self, w: &mut Writer) {
        w.text(self);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        let text = r.text().map_err(bare)?;
        text.parse().map_err(|_| RefusalCode::Malformed.bare())
    }
}

impl Item for Text {
    const SHAPE: Shape = Shape::Text;
    fn encode(&self, w: &mut Writer) {
        w.text(self);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        let text = r.text().map_err(bare)?;
        text.parse().map_err(|_| RefusalCode::Malformed.bare())
    }
}

impl Item for Vec<u8> {
    const SHAPE: Shape = Shape::Bytes(None);
    fn encode(&self, w: &mut Writer) {
        w.bytes(self);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        r.bytes().map(<[u8]>::to_vec).map_err(bare)
    }
}

impl<const N: usize> Item for [u8; N] {
    const SHAPE: Shape = Shape::Bytes(Some(N));
    fn encode(&self, w: &mut Writer) {
        w.bytes(self);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        let bytes = r.bytes().map_err(bare)?;
        bytes.try_into().map_err(|_| RefusalCode::Malformed.bare())
    }
}

impl Item for NodeId {
    const SHAPE: Shape = <[u8; 20]>::SHAPE;
    fn encode(&self, w: &mut Writer) {
        w.bytes(&self.0);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        Item::decode(r).map(Self)
    }
}

impl Item for TaskId {
    const SHAPE: Shape = <[u8; 32]>::SHAPE;
    fn encode(&self, w: &mut Writer) {
        w.bytes(&self.0);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        Item::decode(r).map(Self)
    }
}

/// Bytes that may be missing: then they are empty. Another length has the right type and a bad value.
macro_rules! optional_bytes {
    ($([$($n:ident)?] $t:ty, $len:expr;)*) => {$(
        impl$(<const $n: usize>)? Item for Option<$t> {
            const SHAPE: Shape = Shape::Optional($len);
            fn encode(&self, w: &mut Writer) {
                match self {
                    Some(value) => value.encode(w),
                    None => w.bytes(&[]),
                }
            }
            fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
                if r.clone().bytes().map_err(bare)?.is_empty() {
                    r.bytes().map_err(bare)?;
                    return Ok(None);
                }
                let value = <$t as Item>::decode(r);
                value.map(Some).map_err(|_| RefusalCode::BadValue.bare())
            }
        }
    )*};
}
optional_bytes! {
    [N] [u8; N], N;
    [] NodeId, 20;
    [] TaskId, 32;
}

impl<T: Item, const N: usize> Item for List<T, N> {
    const SHAPE: Shape = Shape::List(&T::SHAPE, N);
    fn encode(&self, w: &mut Writer) {
        w.array(self.len());
        for item in self {
            item.encode(w);
        }
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        let n = r.array().map_err(bare)?;
        if n > N {
            return Err(RefusalCode::Malformed.bare());
        }
        let mut items = Vec::with_capacity(n.min(64));
        for _ in 0..n {
            items.push(T::decode(r)?);
        }
        r.leave();
        Self::try_from(items).map_err(|_| RefusalCode::Malformed.bare())
    }
}

impl<K: Item + Ord + AsRef<str>, V: Item> Item for Map<K, V> {
    const SHAPE: Shape = Shape::Map(&K::SHAPE, &V::SHAPE);
    fn encode(&self, w: &mut Writer) {
        let mut entries: Vec<(&K, &V)> = self.iter().collect();
        // The encoded order of text keys: shorter first, then by bytes, which is how the map already has them.
        entries.sort_by_key(|(k, _)| k.as_ref().len());
        w.map(entries.len());
        for (k, v) in entries {
            k.encode(w);
            v.encode(w);
        }
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, Refusal> {
        let n = r.map().map_err(bare)?;
        if n > Self::MAX {
            return Err(RefusalCode::Malformed.bare());
        }
        let mut entries = BTreeMap::new();
        for _ in 0..n {
            let key = K::decode(r)?;
            entries.insert(key, V::decode(r)?);
        }
        r.leave();
        Self::try_from(entries).map_err(|_| RefusalCode::Malformed.bare())
    }
}
