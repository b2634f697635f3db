//! Parses a TLS ClientHello as an observer does.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use betanet_wire::text;

/// Maximum length of a ClientHello that is parsed: a browser's with a post-quantum share has under 2 KiB.
pub const HELLO_MAX: usize = 16 << 10;

const RECORD_HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Extension numbers (IANA, "TLS ExtensionType Values").
pub(crate) mod ext {
    pub(crate) const SERVER_NAME: u16 = 0;
    pub(crate) const GROUPS: u16 = 10;
    pub(crate) const POINT_FORMATS: u16 = 11;
    pub(crate) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(crate) const ALPN: u16 = 16;
    pub(crate) const PADDING: u16 = 21;
    pub(crate) const CERTIFICATE_COMPRESSION: u16 = 27;
    pub(crate) const VERSIONS: u16 = 43;
    pub(crate) const KEY_SHARE: u16 = 51;
    pub(crate) const QUIC_PARAMETERS: u16 = 57;
    pub(crate) const ENCRYPTED_HELLO: u16 = 0xfe0d;
}

/// Why bytes are not a ClientHello.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HelloError {
    /// The bytes end early.
    #[error("it ends in the middle")]
    Short,
    /// The bytes do not begin with a TLS handshake record.
    #[error("not a handshake record of TLS")]
    NoRecord,
    /// The first message is not a ClientHello.
    #[error("the first message is not a ClientHello")]
    NoHello,
    /// The message exceeds [`HELLO_MAX`].
    #[error("longer than {HELLO_MAX} bytes")]
    Long,
    /// A length exceeds its container, or leaves bytes over.
    #[error("a length within it does not fit: {0}")]
    Length(&'static str),
}

/// The parts of a ClientHello, in the order sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// The version field, which says TLS 1.2 since TLS 1.3.
    pub version: u16,
    /// Length of the legacy session ID.
    pub session_id: usize,
    /// Cipher suites, including GREASE values.
    pub ciphers: Vec<u16>,
    /// Compression methods.
    pub compression: Vec<u8>,
    /// Extension numbers and bodies, including GREASE values.
    pub extensions: Vec<(u16, Vec<u8>)>,
}

/// Whether a value is GREASE, which clients send so that servers learn to ignore unknown values (RFC 8701).
#[must_use]
pub const fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], HelloError> {
        let (now, rest) = self.0.split_at_checked(n).ok_or(HelloError::Length(what))?;
        self.0 = rest;
        Ok(now)
    }

    fn number(&mut self, bytes: usize, what: &'static str) -> Result<usize, HelloError> {
        let bytes = self.take(bytes, what)?;
        Ok(bytes.iter().fold(0, |n, b| n << 8 | usize::from(*b)))
    }

    fn u16(&mut self, what: &'static str) -> Result<u16, HelloError> {
        let bytes = self.take(2, what)?;
        Ok(u16::from(bytes[0]) << 8 | u16::from(bytes[1]))
    }

    /// Reads a vector with a length prefix of `length` bytes.
    fn vector(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], HelloError> {
        let n = self.number(length, what)?;
        self.take(n, what)
    }
}

fn u16s(bytes: &[u8], what: &'static str) -> Result<Vec<u16>, HelloError> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|p| u16::from_be_bytes(*p)).collect())
    } else {
        Err(HelloError::Length(what))
    }
}

impl Hello {
    /// Parses the start of a TCP connection; `None` while it is incomplete.
    ///
    /// # Errors
    ///
    /// The bytes are not a TLS ClientHello.
    pub fn from_stream(mut bytes: &[u8]) -> Result<Option<Self>, HelloError> {
        let mut message: Vec<u8> = Vec::new();
        loop {
            match bytes.first() {
                None => return Ok(None),
                Some(&RECORD_HANDSHAKE) => {}
                Some(_) => return Err(HelloError::NoRecord),
            }
            if bytes.get(1).is_some_and(|major| *major != 3) {
                return Err(HelloError::NoRecord);
            }
            let Some((header, rest)) = bytes.split_first_chunk::<5>() else {
                return Ok(None);
            };
            let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
            if len == 0 {
                return Err(HelloError::NoRecord);
            }
            if message.len() + len > HELLO_MAX {
                return Err(HelloError::Long);
            }
            let Some((record, rest)) = rest.split_at_checked(len) else {
                return Ok(None);
            };
            message.extend_from_slice(record);
            match Self::from_message(&message) {
                Err(HelloError::Short) => bytes = rest,
                other => return other.map(Some),
            }
        }
    }

    /// Parses a handshake message, such as a QUIC client's first CRYPTO bytes.
    ///
    /// # Errors
    ///
    /// The message is not a ClientHello, or [`HelloError::Short`].
    pub fn from_message(bytes: &[u8]) -> Result<Self, HelloError> {
        match bytes.first() {
            None => return Err(HelloError::Short),
            Some(&CLIENT_HELLO) => {}
            Some(_) => return Err(HelloError::NoHello),
        }
        let (header, rest) = bytes.split_first_chunk::<4>().ok_or(HelloError::Short)?;
        let len = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        if len > HELLO_MAX {
            return Err(HelloError::Long);
        }
        let body = rest.get(..len).ok_or(HelloError::Short)?;
        let mut body = Cursor(body);
        let version = body.u16("version")?;
        body.take(32, "random")?;
        let session_id = body.vector(1, "session ID")?.len();
        let ciphers = u16s(body.vector(2, "cipher suites")?, "cipher suites")?;
        let compression = body.vector(1, "compression methods")?.to_vec();
        let mut listed = Cursor(if body.0.is_empty() {
            &[]
        } else {
            body.vector(2, "extensions")?
        });
        if !body.0.is_empty() {
            return Err(HelloError::Length("bytes behind the extensions"));
        }
        let mut extensions = Vec::new();
        while !listed.0.is_empty() {
            let number = listed.u16("extension")?;
            extensions.push((number, listed.vector(2, "extension")?.to_vec()));
        }
        let this = Self {
            version,
            session_id,
            ciphers,
            compression,
            extensions,
        };
        // All lists that an observer reads must parse.
        this.lists()?;
        Ok(this)
    }

    /// Body of an extension.
    #[must_use]
    pub fn extension(&self, number: u16) -> Option<&[u8]> {
        let found = self.extensions.iter().find(|(n, _)| *n == number);
        found.map(|(_, body)| &body[..])
    }

    /// The vector that forms an extension's body.
    fn list(&self, number: u16, length: usize, what: &'static str) -> Result<&[u8], HelloError> {
        let Some(body) = self.extension(number) else {
            return Ok(&[]);
        };
        let mut body = Cursor(body);
        let list = body.vector(length, what)?;
        if body.0.is_empty() {
            Ok(list)
        } else {
            Err(HelloError::Length(what))
        }
    }

    fn lists(&self) -> Result<Lists, HelloError> {
        let mut alpn = Vec::new();
        let mut names = Cursor(self.list(ext::ALPN, 2, "ALPN")?);
        while !names.0.is_empty() {
            let name = names.vector(1, "ALPN")?;
            alpn.push(String::from_utf8_lossy(name).into_owned());
        }
        let mut shares = Vec::new();
        let mut listed = Cursor(self.list(ext::KEY_SHARE, 2, "key shares")?);
        while !listed.0.is_empty() {
            let group = listed.u16("key shares")?;
            shares.push((group, listed.vector(2, "key shares")?.len()));
        }
        Ok(Lists {
            alpn,
            shares,
            groups: u16s(self.list(ext::GROUPS, 2, "groups")?, "groups")?,
            sigalgs: u16s(
                self.list(ext::SIGNATURE_ALGORITHMS, 2, "signature algorithms")?,
                "signature algorithms",
            )?,
            versions: u16s(self.list(ext::VERSIONS, 1, "versions")?, "versions")?,
            compressions: u16s(
                self.list(ext::CERTIFICATE_COMPRESSION, 1, "certificate compression")?,
                "certificate compression",
            )?,
        })
    }

    /// The parsed lists; they were validated when the hello was made.
    pub(crate) fn read(&self) -> Lists {
        self.lists().unwrap_or_default()
    }

    /// ALPN protocols that the client offers, in order.
    #[must_use]
    pub fn alpn(&self) -> Vec<String> {
        self.read().alpn
    }

    /// Whether any list contains GREASE values.
    #[must_use]
    pub fn greases(&self) -> bool {
        let extensions = self.extensions.iter().map(|(n, _)| n);
        self.ciphers.iter().chain(extensions).any(|v| is_grease(*v))
    }

    /// Extension numbers in the order sent, without GREASE.
    #[must_use]
    pub fn extension_numbers(&self) -> Vec<u16> {
        let numbers = self.extensions.iter().map(|(n, _)| *n);
        numbers.filter(|n| !is_grease(*n)).collect()
    }

    /// Fields that an observer can compare, as names and values. Values that are fresh in every hello are left out, GREASE
    /// values are marked as such, and permuted extensions form a set.
    #[must_use]
    pub fn fields(&self, permuted: bool) -> Vec<(String, String)> {
        let lists = self.read();
        let mut fields = Vec::new();
        let mut field = |name: &str, value: String| fields.push((name.to_string(), value));
        field("version", hex(self.version));
        field("session_id", format!("{} bytes", self.session_id));
        field("ciphers", named(&self.ciphers));
        field("compression", text::hex(&self.compression));
        let greased = |at: Option<&(u16, Vec<u8>)>| at.is_some_and(|(n, _)| is_grease(*n));
        field(
            "extensions_ends",
            format!(
                "first is GREASE: {}, last is GREASE: {}",
                greased(self.extensions.first()),
                greased(self.extensions.last())
            ),
        );
        let mut numbers: Vec<u16> = self.extensions.iter().map(|(n, _)| *n).collect();
        if permuted {
            numbers.retain(|n| !is_grease(*n));
            numbers.sort_unstable();
        }
        field("extensions", named(&numbers));
        field("groups", named(&lists.groups));
        field("signature_algorithms", named(&lists.sigalgs));
        field("versions", named(&lists.versions));
        field("alpn", lists.alpn.join(" "));
        let shares = |(group, len): &(u16, usize)| format!("{}:{len}", grease_or_hex(*group));
        let shares: Vec<String> = lists.shares.iter().map(shares).collect();
        field("key_shares", shares.join(" "));
        field("certificate_compression", named(&lists.compressions));
        let read = BTreeSet::from([
            ext::SERVER_NAME,
            ext::GROUPS,
            ext::SIGNATURE_ALGORITHMS,
            ext::VERSIONS,
            ext::ALPN,
            ext::KEY_SHARE,
            ext::CERTIFICATE_COMPRESSION,
            ext::QUIC_PARAMETERS,
        ]);
        let mut others: Vec<&(u16, Vec<u8>)> = self.extensions.iter().collect();
        others.retain(|(n, _)| !read.contains(n) && !is_grease(*n));
        others.sort();
        for (number, body) in others {
            let value = match *number {
                // Outer type, KDF, AEAD; the rest is random and has one of a few lengths.
                ext::ENCRYPTED_HELLO => text::hex(body.get(..5).unwrap_or(body)),
                ext::PADDING => "padding".to_string(),
                _ => text::hex(body),
            };
            field(&format!("extension {number}"), value);
        }
        fields
    }
}

/// The lists within a hello.
#[derive(Default)]
pub(crate) struct Lists {
    pub(crate) alpn: Vec<String>,
    pub(crate) shares: Vec<(u16, usize)>,
    pub(crate) groups: Vec<u16>,
    pub(crate) sigalgs: Vec<u16>,
    pub(crate) versions: Vec<u16>,
    pub(crate) compressions: Vec<u16>,
}

fn hex(value: u16) -> String {
    format!("{value:04x}")
}

fn grease_or_hex(value: u16) -> String {
    if is_grease(value) {
        "GREASE".to_string()
    } else {
        hex(value)
    }
}

fn named(values: &[u16]) -> String {
    let names: Vec<String> = values.iter().map(|v| grease_or_hex(*v)).collect();
    names.join(" ")
}
