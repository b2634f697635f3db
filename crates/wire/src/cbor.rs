//! DET-CBOR: the strict subset of RFC 8949 that is the only CBOR on the wire.
//!
//! Unsigned, negative, bytes, text, array, map, `true`, `false`, `null`; shortest heads; map keys strictly
//! ascending by their encoded bytes; nesting to [`MAX_DEPTH`]; one item, nothing after it.

mod error;
mod message;
mod reader;
mod types;
mod value;
mod writer;

pub use error::Error;
pub use message::{MapReader, ascending, text_key};
pub use reader::{Kind, Reader};
pub use types::{Decode, Encode, Raw};
pub use value::Value;
pub use writer::Writer;

use alloc::vec::Vec;

/// Deepest nesting of arrays and maps (E-1).
pub const MAX_DEPTH: u8 = 16;

/// Decodes exactly one item.
///
/// # Errors
///
/// The bytes are not DET-CBOR, not a `T`, or have trailing bytes.
pub fn from_slice<'a, T: Decode<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    let mut r = Reader::new(bytes);
    let value = T::decode(&mut r)?;
    r.end()?;
    Ok(value)
}

/// Encodes one item.
pub fn to_vec<T: Encode + ?Sized>(value: &T) -> Vec<u8> {
    let mut w = Writer::with_capacity(value.size_hint());
    value.encode(&mut w);
    w.into_vec()
}

/// Checks that `bytes` are exactly one DET-CBOR item.
///
/// # Errors
///
/// The bytes are not one DET-CBOR item.
pub fn check(bytes: &[u8]) -> Result<(), Error> {
    let mut r = Reader::new(bytes);
    r.skip()?;
    r.end()
}
