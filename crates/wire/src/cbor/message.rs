use super::reader::in_order;
use super::{Decode, Error, Reader};

/// The encoded form of a text key of up to 23 bytes, at compile time.
#[must_use]
#[allow(
    clippy::cast_possible_truncation,
    reason = "the assertion bounds it, at compile time"
)]
pub const fn text_key<const N: usize>(key: &str) -> [u8; N] {
    let bytes = key.as_bytes();
    assert!(bytes.len() < 24 && bytes.len() + 1 == N);
    let mut out = [0; N];
    out[0] = 0x60 | bytes.len() as u8;
    let mut i = 0;
    while i < bytes.len() {
        out[i + 1] = bytes[i];
        i += 1;
    }
    out
}

/// Whether keys stand in the order of their encodings.
#[must_use]
pub const fn ascending(keys: &[&str]) -> bool {
    let mut k = 1;
    while k < keys.len() {
        let (a, b) = (keys[k - 1].as_bytes(), keys[k].as_bytes());
        if a.len() > b.len() {
            return false;
        }
        if a.len() == b.len() {
            let mut i = 0;
            while i < a.len() && a[i] == b[i] {
                i += 1;
            }
            if i == a.len() || a[i] > b[i] {
                return false;
            }
        }
        k += 1;
    }
    true
}

/// Reads the entries of a typed map whose known keys are asked for in ascending order.
#[derive(Debug)]
pub struct MapReader<'a> {
    left: usize,
    last: Option<&'a [u8]>,
    /// The last key read was not one that was asked for, so its order proves nothing about the next.
    stray: bool,
}

impl<'a> MapReader<'a> {
    /// Enters the map.
    ///
    /// # Errors
    ///
    /// As [`Reader::map`].
    #[inline]
    pub fn enter(r: &mut Reader<'a>) -> Result<Self, Error> {
        Ok(Self {
            left: r.map()?,
            last: None,
            stray: false,
        })
    }

    /// The value under `key`, whose encoding is `encoded`; unknown keys before it are checked and passed over.
    ///
    /// # Errors
    ///
    /// Keys out of order, an entry that is not DET-CBOR, a value that is not a `T` (the error names the key).
    #[inline]
    pub fn get<T: Decode<'a>>(
        &mut self,
        r: &mut Reader<'a>,
        key: &'static str,
        encoded: &'static [u8],
    ) -> Result<Option<T>, Error> {
        loop {
            if self.left == 0 {
                return Ok(None);
            }
            let start = r.position();
            if r.eat(encoded) {
                let raw = r.since(start);
                if self.stray {
                    in_order(self.last, raw)?;
                }
                self.took(raw, false);
                return T::decode(r).map(Some).map_err(|e| e.in_field(key));
            }
            let raw = r.skip()?;
            in_order(self.last, raw)?;
            if raw > encoded {
                r.rewind(start);
                return Ok(None);
            }
            r.skip()?;
            self.took(raw, true);
        }
    }

    /// The value under a key that must be there.
    ///
    /// # Errors
    ///
    /// As [`MapReader::get`], and [`Error::Missing`].
    #[inline]
    pub fn need<T: Decode<'a>>(
        &mut self,
        r: &mut Reader<'a>,
        key: &'static str,
        encoded: &'static [u8],
    ) -> Result<T, Error> {
        self.get(r, key, encoded)?.ok_or(Error::Missing(key))
    }

    #[inline]
    const fn took(&mut self, raw: &'a [u8], stray: bool) {
        self.left -= 1;
        self.last = Some(raw);
        self.stray = stray;
    }

    /// Checks and passes over what is left, and leaves the map.
    ///
    /// # Errors
    ///
    /// Keys out of order, or an entry that is not DET-CBOR.
    #[inline]
    pub fn finish(mut self, r: &mut Reader<'a>) -> Result<(), Error> {
        while self.left > 0 {
            let raw = r.skip()?;
            in_order(self.last, raw)?;
            r.skip()?;
            self.took(raw, true);
        }
        r.leave();
        Ok(())
    }
}

/// Declares a message: a map with text keys, and its codec.
///
/// Each field is `req "key" name: Type` or `opt "key" name: Type` (then an `Option<Type>`). Keys stand in the
/// order of their encodings, shorter first, which is checked at compile time. Unknown keys are accepted and
/// ignored: where a message is signed or hashed as a whole, its bytes are what is kept.
#[macro_export]
macro_rules! message {
    ($(#[$meta:meta])* $vis:vis struct $name:ident<$lt:lifetime> {
        $($(#[$fmeta:meta])* $kind:ident $key:literal $field:ident : $ty:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Eq, PartialEq)]
        $vis struct $name<$lt> {
            $($(#[$fmeta])* pub $field: $crate::__field_type!($kind $ty),)*
        }
        impl $crate::cbor::Encode for $name<'_> {
            $crate::__encode_fields!($($kind $key $field,)*);
        }
        impl<$lt> $crate::cbor::Decode<$lt> for $name<$lt> {
            $crate::__decode_fields!($lt $($kind $key $field,)*);
        }
    };
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$fmeta:meta])* $kind:ident $key:literal $field:ident : $ty:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Eq, PartialEq)]
        $vis struct $name {
            $($(#[$fmeta])* pub $field: $crate::__field_type!($kind $ty),)*
        }
        impl $crate::cbor::Encode for $name {
            $crate::__encode_fields!($($kind $key $field,)*);
        }
        impl<'de> $crate::cbor::Decode<'de> for $name {
            $crate::__decode_fields!('de $($kind $key $field,)*);
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __field_type {
    (req $ty:ty) => { $ty };
    (opt $ty:ty) => { Option<$ty> };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __encode_fields {
    ($($kind:ident $key:literal $field:ident,)*) => {
        #[inline]
        fn encode(&self, w: &mut $crate::cbor::Writer) {
            const { assert!($crate::cbor::ascending(&[$($key),*]), "message keys must ascend by encoding") };
            w.map(0 $(+ $crate::__count!($kind self.$field))*);
            $($crate::__encode_field!($kind w, $key, self.$field);)*
        }
        #[inline]
        fn size_hint(&self) -> usize {
            3 $(+ $key.len() + 1 + $crate::__size!($kind self.$field))*
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __count {
    (req $e:expr) => { 1 };
    (opt $e:expr) => { usize::from($e.is_some()) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __size {
    (req $e:expr) => { $crate::cbor::Encode::size_hint(&$e) };
    (opt $e:expr) => { $e.as_ref().map_or(0, $crate::cbor::Encode::size_hint) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __encode_field {
    (req $w:ident, $key:literal, $e:expr) => {{
        const KEY: [u8; $key.len() + 1] = $crate::cbor::text_key($key);
        $w.raw(&KEY);
        $crate::cbor::Encode::encode(&$e, $w);
    }};
    (opt $w:ident, $key:literal, $e:expr) => {
        if let Some(value) = &$e {
            $w.text($key);
            $crate::cbor::Encode::encode(value, $w);
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __decode_fields {
    ($lt:lifetime $($kind:ident $key:literal $field:ident,)*) => {
        #[inline]
        fn decode(r: &mut $crate::cbor::Reader<$lt>) -> Result<Self, $crate::cbor::Error> {
            let mut map = $crate::cbor::MapReader::enter(r)?;
            $(let $field = {
                const KEY: [u8; $key.len() + 1] = $crate::cbor::text_key($key);
                $crate::__decode_field!($kind map, r, $key, &KEY)
            };)*
            map.finish(r)?;
            Ok(Self { $($field),* })
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __decode_field {
    (req $map:ident, $r:ident, $key:literal, $enc:expr) => {
        $map.need($r, $key, $enc)?
    };
    (opt $map:ident, $r:ident, $key:literal, $enc:expr) => {
        $map.get($r, $key, $enc)?
    };
}
