//! The first frames of an HTTP/2 client (RFC 9113).

use alloc::string::String;
use alloc::vec::Vec;

use super::Numbers;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Maximum length of a first flight that is parsed.
pub const FLIGHT_MAX: usize = 32 << 10;

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 0x1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Why bytes are not a client's first frames.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FlightError {
    /// The HTTP/2 preface is missing.
    #[error("it does not begin with HTTP/2's preface")]
    Preface,
    /// The first frame is not SETTINGS.
    #[error("the first frame is not SETTINGS")]
    NoSettings,
    /// There is no request within [`FLIGHT_MAX`] bytes.
    #[error("no request among the first {FLIGHT_MAX} bytes")]
    Long,
    /// A frame's content does not fit its type.
    #[error("a frame of type {0} that cannot be read")]
    Frame(u8),
}

/// The bytes that a client sends up to its first request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Flight {
    /// SETTINGS values by number.
    pub settings: Numbers,
    /// SETTINGS numbers in the order sent.
    pub order: Vec<u16>,
    /// Increment of the connection's window; 0 for none.
    pub window: u32,
    /// Frame types up to the first HEADERS.
    pub frames: Vec<u8>,
    /// Stream ID of the first request.
    pub stream: u32,
    /// Priority block of the first request: exclusive flag, dependency, weight minus one.
    pub priority: Option<(bool, u32, u8)>,
    /// First letters of its pseudo-header fields, in order: Chromium sends `masp`.
    pub pseudo: String,
}

impl Flight {
    /// Parses the bytes that a client sent; `None` while they are incomplete.
    ///
    /// # Errors
    ///
    /// The bytes are not those of an HTTP/2 client.
    pub fn from_stream(bytes: &[u8]) -> Result<Option<Self>, FlightError> {
        let n = bytes.len().min(PREFACE.len());
        if bytes[..n] != PREFACE[..n] {
            return Err(FlightError::Preface);
        }
        let mut rest = &bytes[n..];
        let mut this = Self::default();
        loop {
            let Some((header, behind)) = rest.split_first_chunk::<9>() else {
                return more(bytes);
            };
            let len = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            let (kind, flags) = (header[3], header[4]);
            let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
            let Some((body, behind)) = behind.split_at_checked(len) else {
                return more(bytes);
            };
            if this.frames.is_empty() && kind != SETTINGS {
                return Err(FlightError::NoSettings);
            }
            this.frames.push(kind);
            match kind {
                SETTINGS if flags & ACK == 0 => this.settings(body)?,
                WINDOW_UPDATE if stream == 0 => {
                    let by: &[u8; 4] = body.try_into().map_err(|_| FlightError::Frame(kind))?;
                    this.window = u32::from_be_bytes(*by);
                }
                HEADERS => {
                    this.stream = stream;
                    this.request(flags, body).ok_or(FlightError::Frame(kind))?;
                    return Ok(Some(this));
                }
                _ => {}
            }
            rest = behind;
        }
    }

    fn settings(&mut self, body: &[u8]) -> Result<(), FlightError> {
        let (settings, rest) = body.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(FlightError::Frame(SETTINGS));
        }
        for [a, b, value @ ..] in settings {
            let number = u16::from_be_bytes([*a, *b]);
            let value = u32::from_be_bytes(*value);
            self.order.push(number);
            self.settings.0.insert(number.into(), value.into());
        }
        Ok(())
    }

    fn request(&mut self, flags: u8, mut body: &[u8]) -> Option<()> {
        if flags & PADDED != 0 {
            let (pad, rest) = body.split_first()?;
            let end = rest.len().checked_sub(usize::from(*pad))?;
            body = &rest[..end];
        }
        if flags & PRIORITY != 0 {
            let (block, rest) = body.split_first_chunk::<5>()?;
            let on = u32::from_be_bytes([block[0], block[1], block[2], block[3]]);
            self.priority = Some((on >> 31 == 1, on & 0x7fff_ffff, block[4]));
            body = rest;
        }
        // Pseudo-header fields come first, and their names are in HPACK's static table (RFC 7541, Appendix A).
        while let Some((field, rest)) = field(body) {
            let letter = match field {
                1 => 'a',
                2 | 3 => 'm',
                4 | 5 => 'p',
                6 | 7 => 's',
                _ => break,
            };
            self.pseudo.push(letter);
            body = rest;
        }
        Some(())
    }
}

/// Asks for more bytes, up to [`FLIGHT_MAX`].
const fn more(bytes: &[u8]) -> Result<Option<Flight>, FlightError> {
    if bytes.len() >= FLIGHT_MAX {
        Err(FlightError::Long)
    } else {
        Ok(None)
    }
}

/// The index of a field's name, and the rest after the field (RFC 7541, section 6); `None` for a field with a literal name.
fn field(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let first = *bytes.first()?;
    let (bits, literal) = match first {
        0x80.. => (7, false),
        0x40.. => (6, true),
        0x20.. => return None,
        _ => (4, true),
    };
    let (index, mut rest) = integer(bytes, bits)?;
    if literal {
        if index == 0 {
            return None;
        }
        let (len, behind) = integer(rest, 7)?;
        rest = behind.get(len as usize..)?;
    }
    Some((index, rest))
}

/// Parses an integer with a prefix of `bits` bits (RFC 7541, section 5.1).
fn integer(bytes: &[u8], bits: u32) -> Option<(u32, &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let mask = (1_u32 << bits) - 1;
    let mut value = u32::from(*first) & mask;
    if value < mask {
        return Some((value, rest));
    }
    for shift in [0, 7, 14] {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        value += u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, rest));
        }
    }
    None
}
