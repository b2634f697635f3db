use alloc::vec::Vec;
use core::fmt;

use super::{Decode, Encode, Error, Kind, Reader, Writer};

/// Any item, borrowed from the bytes it was read from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value<'a> {
    /// 0 and up.
    Unsigned(u64),
    /// `-1 - n`.
    Negative(u64),
    /// Byte string.
    Bytes(&'a [u8]),
    /// Text.
    Text(&'a str),
    /// Array.
    Array(Vec<Self>),
    /// Map, in the order of its encoding once decoded.
    Map(Vec<(Self, Self)>),
    /// `true` or `false`.
    Bool(bool),
    /// `null`.
    Null,
}

impl<'a> Decode<'a> for Value<'a> {
    fn decode(r: &mut Reader<'a>) -> Result<Self, Error> {
        Ok(match r.kind()? {
            Kind::Unsigned => Self::Unsigned(r.unsigned()?),
            Kind::Negative => Self::Negative(r.negative()?),
            Kind::Bytes => Self::Bytes(r.bytes()?),
            Kind::Text => Self::Text(r.text()?),
            Kind::Bool => Self::Bool(r.boolean()?),
            Kind::Null => {
                r.null()?;
                Self::Null
            }
            Kind::Array => Self::Array(Decode::decode(r)?),
            Kind::Map => {
                let n = r.map()?;
                let mut out = Vec::with_capacity(n.min(64));
                let mut last = None;
                for _ in 0..n {
                    let start = r.position();
                    let key = Self::decode(r)?;
                    let raw = r.since(start);
                    super::reader::in_order(last, raw)?;
                    last = Some(raw);
                    out.push((key, Self::decode(r)?));
                }
                r.leave();
                Self::Map(out)
            }
        })
    }
}

impl Value<'_> {
    /// Encodes it, map entries sorted.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateKey`] and [`Error::TooDeep`], because no decoder would accept such a value.
    pub fn to_vec(&self) -> Result<Vec<u8>, Error> {
        let mut w = Writer::default();
        self.write(&mut w, 0)?;
        Ok(w.into_vec())
    }

    fn write(&self, w: &mut Writer, depth: u8) -> Result<(), Error> {
        let nested = || {
            (depth < super::MAX_DEPTH)
                .then_some(depth + 1)
                .ok_or(Error::TooDeep)
        };
        match self {
            Self::Unsigned(n) => w.unsigned(*n),
            Self::Negative(n) => w.negative(*n),
            Self::Bytes(b) => w.bytes(b),
            Self::Text(t) => w.text(t),
            Self::Bool(b) => w.boolean(*b),
            Self::Null => w.null(),
            Self::Array(items) => {
                let depth = nested()?;
                w.array(items.len());
                for item in items {
                    item.write(w, depth)?;
                }
            }
            Self::Map(entries) => {
                let depth = nested()?;
                let mut sorted = Vec::with_capacity(entries.len());
                for (k, v) in entries {
                    let mut key = Writer::default();
                    k.write(&mut key, depth)?;
                    sorted.push((key.into_vec(), v));
                }
                sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
                if sorted.windows(2).any(|p| p[0].0 == p[1].0) {
                    return Err(Error::DuplicateKey);
                }
                w.map(sorted.len());
                for (k, v) in sorted {
                    w.raw(&k);
                    v.write(w, depth)?;
                }
            }
        }
        Ok(())
    }
}

impl Encode for Value<'_> {
    /// Encodes the value. A value that DET-CBOR cannot express becomes `null`; [`Value::to_vec`] returns an error for it.
    fn encode(&self, w: &mut Writer) {
        match self.to_vec() {
            Ok(bytes) => w.raw(&bytes),
            Err(_) => w.null(),
        }
    }
}

/// The diagnostic notation of RFC 8949 §8.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(n) => write!(f, "{n}"),
            Self::Negative(n) => write!(f, "{}", -1 - i128::from(*n)),
            Self::Bytes(b) => write!(f, "h'{}'", crate::text::hex(b)),
            Self::Text(t) => write!(f, "{t:?}"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Null => f.write_str("null"),
            Self::Array(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Map(entries) => {
                f.write_str("{")?;
                for (i, (k, v)) in entries.iter().enumerate() {
                    write!(f, "{}{k}: {v}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
        }
    }
}
