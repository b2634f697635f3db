//! Messages: `u32 length || DET-CBOR` (profile chapter 4).

use alloc::vec::Vec;

use crate::cbor::{self, Decode, Encode};

/// Longest message except BAR heads; bytes after the length.
pub const MAX: usize = 1 << 20;

/// Longest `CapMsg` or `SelMsg`; bytes after the length.
pub const CAPS_MAX: usize = 8192;

/// A message longer than its bound.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a message of {len} bytes is over the bound of {max}")]
pub struct TooLong {
    /// Length from the length field.
    pub len: u32,
    /// Longest allowed length.
    pub max: usize,
}

/// Encodes one message.
pub fn to_vec<T: Encode + ?Sized>(value: &T) -> Vec<u8> {
    let mut w = cbor::Writer::with_capacity(4 + value.size_hint());
    w.raw(&[0; 4]);
    value.encode(&mut w);
    let mut out = w.into_vec();
    let len = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}

/// A message's CBOR, and the bytes after it.
pub type Split<'a> = (&'a [u8], &'a [u8]);

/// Splits one message off the front of a buffer: its CBOR bytes and the rest. `None` while it is incomplete.
///
/// # Errors
///
/// [`TooLong`] as soon as the length field exceeds `max`, before the message arrives.
pub fn split(buf: &[u8], max: usize) -> Result<Option<Split<'_>>, TooLong> {
    let Some((head, rest)) = buf.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes(*head);
    let n = usize::try_from(len).unwrap_or(usize::MAX);
    if n > max {
        return Err(TooLong { len, max });
    }
    Ok(rest.split_at_checked(n))
}

/// Decodes one message's CBOR.
///
/// # Errors
///
/// As [`cbor::from_slice`].
pub fn from_cbor<'a, T: Decode<'a>>(cbor: &'a [u8]) -> Result<T, cbor::Error> {
    cbor::from_slice(cbor)
}
