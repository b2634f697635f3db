use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use betanet_wire::cbor::{self, Decode, Encode, Kind, Reader, Writer};

use crate::Refusal;

/// A header's value: text, or bytes as in `bn-voucher`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum HeaderValue {
    /// Text, as in most headers.
    Text(String),
    /// Bytes, as in `bn-voucher` and `authorization`.
    Bytes(Vec<u8>),
}

impl From<&str> for HeaderValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for HeaderValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Encode for HeaderValue {
    fn encode(&self, w: &mut Writer) {
        match self {
            Self::Text(t) => w.text(t),
            Self::Bytes(b) => w.bytes(b),
        }
    }
    fn size_hint(&self) -> usize {
        match self {
            Self::Text(t) => t.len() + 9,
            Self::Bytes(b) => b.len() + 9,
        }
    }
}

impl<'a> Decode<'a> for HeaderValue {
    fn decode(r: &mut Reader<'a>) -> Result<Self, cbor::Error> {
        match r.kind()? {
            Kind::Bytes => r.bytes().map(|b| Self::Bytes(b.to_vec())),
            _ => r.text().map(|t| Self::Text(t.to_owned())),
        }
    }
}

/// A head's headers, by key. Unknown headers are kept.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Headers(BTreeMap<String, HeaderValue>);

impl Headers {
    /// Adds a header, or replaces the value of its key.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<HeaderValue>) -> Self {
        self.set(key, value);
        self
    }

    /// Sets a header.
    pub fn set(&mut self, key: &str, value: impl Into<HeaderValue>) {
        self.0.insert(key.to_owned(), value.into());
    }

    /// Removes a header.
    pub fn remove(&mut self, key: &str) -> Option<HeaderValue> {
        self.0.remove(key)
    }

    /// The value of a header.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&HeaderValue> {
        self.0.get(key)
    }

    /// The value of a header, if it is text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.0.get(key) {
            Some(HeaderValue::Text(t)) => Some(t),
            _ => None,
        }
    }

    /// All headers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &HeaderValue)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// The length of the whole body from `content-length`.
    ///
    /// # Errors
    ///
    /// [`Refusal::ContentLength`].
    pub fn content_length(&self) -> Result<Option<u64>, Refusal> {
        match self.0.get("content-length") {
            None => Ok(None),
            Some(HeaderValue::Text(t))
                if !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()) =>
            {
                t.parse().map(Some).map_err(|_| Refusal::ContentLength)
            }
            Some(_) => Err(Refusal::ContentLength),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let plain = |b: u8| b.is_ascii_graphic() && !b.is_ascii_uppercase();
        if self.0.keys().any(|k| k.is_empty() || !k.bytes().all(plain)) {
            return Err(Refusal::HeaderKey);
        }
        self.content_length().map(|_| ())
    }
}

impl Encode for Headers {
    fn encode(&self, w: &mut Writer) {
        self.0.encode(w);
    }
    fn size_hint(&self) -> usize {
        self.0.size_hint()
    }
}

impl<'a> Decode<'a> for Headers {
    fn decode(r: &mut Reader<'a>) -> Result<Self, cbor::Error> {
        Decode::decode(r).map(Self)
    }
}
