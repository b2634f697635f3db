//! Parses a QUIC client's first packets as an observer does: anybody can derive their keys (RFC 9001 §5.2).

mod seal;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::Numbers;
use super::hello::{HELLO_MAX, Hello, HelloError, ext};
use betanet_wire::text;
use seal::{Cursor, header};
pub use seal::{InitialKeys, Opened};

/// Maximum number of datagrams of one client that are parsed; a browser's hello takes two or three.
pub const DATAGRAMS_MAX: usize = 16;
/// Why datagrams do not begin a QUIC client's connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InitialError {
    /// The first datagram does not begin with an Initial packet of version 1.
    #[error("no Initial packet of QUIC version 1")]
    NoInitial,
    /// A length exceeds its container.
    #[error("a length within it does not fit: {0}")]
    Length(&'static str),
    /// The packet does not decrypt with the keys of its connection ID.
    #[error("an Initial packet that does not open")]
    Sealed,
    /// The packet holds a frame that a client's first packets do not.
    #[error("a frame of type {0} in an Initial packet")]
    Frame(u64),
    /// The hello is not complete after [`DATAGRAMS_MAX`] datagrams.
    #[error("no whole ClientHello within {DATAGRAMS_MAX} datagrams")]
    Long,
    /// The CRYPTO bytes are not a ClientHello.
    #[error("{0}")]
    Hello(#[from] HelloError),
    /// The transport parameters are malformed.
    #[error("its transport parameters do not read")]
    Parameters,
}

/// The start of a QUIC client's connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Initial {
    /// The client's ClientHello.
    pub hello: Hello,
    /// Transport parameters in the order sent, including reserved ones.
    pub parameters: Vec<(u64, Vec<u8>)>,
    /// Lengths of the connection IDs that the client chose: the server's, and its own.
    pub connection_ids: (usize, usize),
    /// Length of each datagram of the hello.
    pub datagrams: Vec<usize>,
    /// The first packet number as sent, one to four bytes.
    pub number: Vec<u8>,
}

/// Collects a client's first datagrams.
#[derive(Default)]
pub struct Initials {
    keys: Option<InitialKeys>,
    connection_ids: (usize, usize),
    crypto: BTreeMap<usize, Vec<u8>>,
    datagrams: Vec<usize>,
    number: Option<Vec<u8>>,
}

impl Initials {
    /// Whether no datagram was taken yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Takes the client's next datagram; returns the start of the connection once it is complete.
    ///
    /// # Errors
    ///
    /// The datagrams are not those of a QUIC client.
    pub fn take(&mut self, datagram: &[u8]) -> Result<Option<Initial>, InitialError> {
        if self.datagrams.len() >= DATAGRAMS_MAX {
            return Err(InitialError::Long);
        }
        self.datagrams.push(datagram.len());
        let mut bytes = datagram;
        // Packets coalesced after Initial packets use later keys.
        while let Some(found) = header(bytes) {
            if self.keys.is_none() {
                self.keys = InitialKeys::new(found.dcid);
                self.connection_ids = (found.dcid.len(), found.scid.len());
            }
            let keys = self.keys.as_ref().ok_or(InitialError::Sealed)?;
            let opened = keys.open_packet(&found)?;
            self.number.get_or_insert(opened.number);
            self.frames(&opened.frames)?;
            bytes = found.rest;
        }
        if self.keys.is_none() {
            return Err(InitialError::NoInitial);
        }
        self.whole()
    }

    fn frames(&mut self, bytes: &[u8]) -> Result<(), InitialError> {
        let short = || InitialError::Length("a frame");
        let mut c = Cursor(bytes);
        while !c.0.is_empty() {
            match c.varint().ok_or_else(short)? {
                // PADDING, PING.
                0 | 1 => {}
                // ACK: largest, delay, ranges.
                2 => {
                    let mut numbers = [0; 4];
                    for n in &mut numbers {
                        *n = c.varint().ok_or_else(short)?;
                    }
                    for _ in 0..numbers[2] {
                        c.varint().ok_or_else(short)?;
                        c.varint().ok_or_else(short)?;
                    }
                }
                6 => {
                    let offset = c.length().ok_or_else(short)?;
                    let data = c.vector().ok_or_else(short)?;
                    if offset.saturating_add(data.len()) > HELLO_MAX {
                        return Err(HelloError::Long.into());
                    }
                    let known = self.crypto.entry(offset).or_default();
                    if known.len() < data.len() {
                        *known = data.to_vec();
                    }
                }
                other => return Err(InitialError::Frame(other)),
            }
        }
        Ok(())
    }

    /// The collected data, if complete.
    fn whole(&self) -> Result<Option<Initial>, InitialError> {
        let mut message: Vec<u8> = Vec::new();
        for (offset, data) in &self.crypto {
            let Some(known) = message.len().checked_sub(*offset) else {
                return Ok(None);
            };
            message.extend_from_slice(data.get(known..).unwrap_or_default());
        }
        let hello = match Hello::from_message(&message) {
            Err(HelloError::Short) => return Ok(None),
            other => other?,
        };
        let parameters = hello.extension(ext::QUIC_PARAMETERS).unwrap_or_default();
        let parameters = parameters_of(parameters).ok_or(InitialError::Parameters)?;
        Ok(Some(Initial {
            hello,
            parameters,
            connection_ids: self.connection_ids,
            datagrams: self.datagrams.clone(),
            number: self.number.clone().unwrap_or_default(),
        }))
    }
}

fn parameters_of(bytes: &[u8]) -> Option<Vec<(u64, Vec<u8>)>> {
    let mut c = Cursor(bytes);
    let mut all = Vec::new();
    while !c.0.is_empty() {
        all.push((c.varint()?, c.vector()?.to_vec()));
    }
    Some(all)
}

/// Whether a transport parameter is reserved; clients send these so that servers ignore unknown ones (RFC 9000 §18.1).
#[must_use]
pub const fn is_reserved(id: u64) -> bool {
    id % 31 == 27
}

/// Parameters whose value is an integer: RFC 9000 §18.2, RFC 9221, draft-ietf-quic-ack-frequency, and Google's round-trip time.
const fn is_integer(id: u64) -> bool {
    matches!(id, 0x01 | 0x03..=0x0b | 0x0e | 0x20 | 0x3127 | 0xff04_de1b)
}

impl Initial {
    /// Transport parameters with integer values, and the IDs of the others, without reserved ones; both ascending.
    #[must_use]
    pub fn numbers(&self) -> (Numbers, Vec<u64>) {
        let (mut numbers, mut others) = (Numbers::default(), Vec::new());
        for (id, value) in self.parameters.iter().filter(|(id, _)| !is_reserved(*id)) {
            match Cursor(value).varint() {
                Some(n) if is_integer(*id) => {
                    numbers.0.insert(*id, n);
                }
                _ => others.push(*id),
            }
        }
        others.sort_unstable();
        (numbers, others)
    }

    /// Fields that an observer can compare beside the hello's own: names and values, without values that are fresh each time.
    #[must_use]
    pub fn fields(&self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        let mut field = |name: &str, value: String| fields.push((name.to_string(), value));
        let mut parameters: Vec<_> = self.parameters.iter().collect();
        parameters.sort();
        for (id, value) in parameters.iter().filter(|(id, _)| !is_reserved(*id)) {
            let name = format!("quic parameter {id:#x}");
            match (*id, Cursor(value).varint()) {
                (id, Some(n)) if is_integer(id) => field(&name, n.to_string()),
                // The client's own connection ID: only its length is comparable.
                (0x0f, _) => field(&name, format!("{} bytes", value.len())),
                (VERSION_INFORMATION, _) => field(&name, versions(value)),
                _ => field(&name, text::hex(value)),
            }
        }
        let reserved = self.parameters.iter().filter(|(id, _)| is_reserved(*id));
        field("quic reserved parameters", reserved.count().to_string());
        let (server, own) = self.connection_ids;
        field("quic connection IDs", format!("{server} and {own} bytes"));
        field("quic first packet number", text::hex(&self.number));
        fields
    }
}

/// Transport parameter `version_information` (RFC 9368).
const VERSION_INFORMATION: u64 = 0x11;

/// Versions as listed. Reserved ones (RFC 9000 §15) are marked as such, because their position is random.
fn versions(value: &[u8]) -> String {
    let (all, _) = value.as_chunks::<4>();
    let reserved = |v: &[u8; 4]| v.iter().all(|b| b & 0x0f == 0x0a);
    let mut names: Vec<String> = all
        .iter()
        .skip(1)
        .map(|v| {
            if reserved(v) {
                "reserved".to_string()
            } else {
                text::hex(v)
            }
        })
        .collect();
    names.sort();
    format!(
        "{} of {}",
        all.first().map(|v| text::hex(v)).unwrap_or_default(),
        names.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9001 §A.2: the client's Initial packet, protected.
    const SAMPLE: &str = include_str!("initial/rfc9001-a2.hex");

    #[test]
    fn the_rfcs_own_packet_opens() {
        let packet = text::unhex(SAMPLE.trim()).unwrap();
        assert_eq!(packet.len(), 1200);
        let initial = Initials::default().take(&packet).unwrap().unwrap();
        assert_eq!(initial.connection_ids, (8, 0));
        assert_eq!(initial.hello.ciphers, [0x1301, 0x1302]);
        assert_eq!(initial.hello.alpn(), ["alpn"]);
        assert_eq!(initial.datagrams, [1200]);
        assert_eq!(initial.number, [0, 0, 0, 2]);
        let (numbers, others) = initial.numbers();
        assert_eq!((numbers.0[&0x01], numbers.0[&0x05]), (30_000, 65_535));
        assert_eq!(others, [0x0f]);
    }

    #[test]
    fn what_was_opened_is_sealed_to_the_same_bytes() {
        let packet = text::unhex(SAMPLE.trim()).unwrap();
        let keys = InitialKeys::new(&text::unhex("8394c8f03e515708").unwrap()).unwrap();
        let opened = keys.open(&packet).unwrap().unwrap();
        assert_eq!(opened.number, [0, 0, 0, 2]);
        let again = keys.seal(&opened.head, &opened.number, &opened.frames);
        assert_eq!(again.unwrap(), packet);
        assert!(keys.seal(&opened.head, &[0], &[0; 3]).is_ok());
        assert!(keys.seal(&opened.head, &[0], &[0; 0x4000]).is_err());
        assert_eq!(keys.open(b"no packet"), Ok(None));
    }

    #[test]
    fn what_is_cut_or_changed_is_said() {
        let packet = text::unhex(SAMPLE.trim()).unwrap();
        for n in 0..packet.len() {
            let got = Initials::default().take(&packet[..n]);
            assert_eq!(got, Err(InitialError::NoInitial), "{n}");
        }
        for at in [20, 600, 1199] {
            let mut changed = packet.clone();
            changed[at] ^= 1;
            let got = Initials::default().take(&changed);
            assert!(got.is_err(), "{at} {got:?}");
        }
        let mut many = Initials::default();
        many.crypto.insert(5, Vec::new());
        many.keys = InitialKeys::new(&[0; 8]);
        for _ in 0..DATAGRAMS_MAX {
            assert_eq!(many.take(&[0x40]), Ok(None));
        }
        assert_eq!(many.take(&[0x40]), Err(InitialError::Long));
    }
}
