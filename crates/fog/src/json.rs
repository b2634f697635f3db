//! Bodies as JSON: bytes are hex, numbers from 2^53 on are decimal text. Both directions follow the body's [`Shape`].
//!
//! Unlike DET-CBOR, JSON with an unknown key is refused: nothing signs it, so it can only be a mistake.

mod read;
mod write;

use alloc::string::String;
use alloc::vec::Vec;

use crate::item::read as decode;
use crate::shape::refuse;
use crate::{BODY_MAX, Item, Refusal, RefusalCode, Shape, to_vec};

/// First number that is written as text.
const TEXT_FROM: u64 = 1 << 53;

/// Reason why JSON is not the expected body.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// Longer than 2 MiB, twice the bound of a body.
    #[error("the JSON is over 2 MiB")]
    TooLarge,
    /// Not JSON.
    #[error("no JSON at byte {0}")]
    Syntax(usize),
    /// An object has a key that the body does not have.
    #[error("an unknown key at byte {0}")]
    UnknownKey(usize),
    /// An object has a key twice.
    #[error("a key for the second time at byte {0}")]
    DuplicateKey(usize),
    /// A key is missing, or its value has the wrong type.
    #[error("malformed value of {key:?} at byte {at}")]
    Shape {
        /// The innermost key; empty for the body itself.
        key: &'static str,
        /// Where the value begins, or the object ends in which it is missing.
        at: usize,
    },
    /// A value is out of its bounds.
    #[error("{0}")]
    Refused(Refusal),
}

impl JsonError {
    /// The refusal that answers such a body.
    #[must_use]
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::TooLarge => RefusalCode::TooLarge.bare(),
            Self::Shape { key, .. } => RefusalCode::Malformed.of(key),
            Self::Refused(refusal) => refusal,
            Self::Syntax(_) | Self::UnknownKey(_) | Self::DuplicateKey(_) => {
                RefusalCode::Malformed.bare()
            }
        }
    }
}

/// Longest JSON text that is read.
pub const JSON_MAX: usize = 2 * BODY_MAX;

/// Turns JSON into the DET-CBOR of a shape.
///
/// # Errors
///
/// The text is not JSON, or not of the shape.
pub fn to_cbor(json: &str, shape: &Shape) -> Result<Vec<u8>, JsonError> {
    if json.len() > JSON_MAX {
        return Err(JsonError::TooLarge);
    }
    let cbor = read::Parser::new(json).whole(shape)?;
    // Lengths of bytes and ranges of numbers are the shape's own matter.
    shape.check(&cbor).map_err(JsonError::Refused)?;
    Ok(cbor)
}

/// Turns DET-CBOR of a shape into JSON. Unknown keys are left out.
///
/// # Errors
///
/// `malformed`.
pub fn from_cbor(cbor: &[u8], shape: &Shape) -> Result<String, Refusal> {
    shape.check(cbor)?;
    let mut out = String::with_capacity(2 * cbor.len());
    let mut r = betanet_wire::cbor::Reader::new(cbor);
    write::value(&mut r, shape, &mut out).map_err(|e| refuse(e, ""))?;
    Ok(out)
}

/// Reads a body.
///
/// # Errors
///
/// The text is not JSON, not of the shape, or a value is out of bounds.
pub fn from_str<T: Item>(json: &str) -> Result<T, JsonError> {
    let cbor = to_cbor(json, &T::SHAPE)?;
    if cbor.len() > BODY_MAX {
        return Err(JsonError::TooLarge);
    }
    decode(&cbor).map_err(JsonError::Refused)
}

/// Writes a body.
///
/// # Errors
///
/// `malformed` for a number that no body holds.
pub fn to_string<T: Item>(body: &T) -> Result<String, Refusal> {
    from_cbor(&to_vec(body), &T::SHAPE)
}
