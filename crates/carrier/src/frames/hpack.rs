//! Header sections of answers in nginx's encoding: each field in full each time, although marked as indexed.

use http::header::{self, HeaderName};
use http::response::Parts;

/// Fields that come first, in this order, and their indices in HPACK's static table (RFC 7541, appendix A).
const FIRST: [(HeaderName, u8); 7] = [
    (header::SERVER, 54),
    (header::DATE, 33),
    (header::CONTENT_TYPE, 31),
    (header::CONTENT_LENGTH, 28),
    (header::LAST_MODIFIED, 44),
    (header::LOCATION, 46),
    (header::VARY, 59),
];
/// Status codes in the static table, from index 8.
const STATUS: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
/// Index of `:status`.
const STATUS_NAME: u8 = 8;
const INDEXED: u8 = 0x80;
const LITERAL_INDEXED: u8 = 0x40;
/// Table size update to 0: sent first once the client has set its table size.
pub(super) const TABLE_SIZE_0: u8 = 0x20;
const HUFFMAN: u8 = 0x80;

/// Encodes the header section of an answer.
pub(super) fn section(head: &Parts) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let status = head.status.as_u16();
    match (STATUS_NAME..).zip(STATUS).find(|(_, s)| *s == status) {
        Some((place, _)) => out.push(INDEXED | place),
        None => {
            out.push(LITERAL_INDEXED | STATUS_NAME);
            raw(&mut out, head.status.as_str().as_bytes());
        }
    }
    for (name, place) in &FIRST {
        for value in head.headers.get_all(name) {
            out.push(LITERAL_INDEXED | place);
            if name == header::CONTENT_LENGTH {
                raw(&mut out, value.as_bytes());
            } else {
                text(&mut out, value.as_bytes());
            }
        }
    }
    for (name, value) in &head.headers {
        if FIRST.iter().all(|(first, _)| first != name) {
            out.push(0);
            text(&mut out, name.as_str().as_bytes());
            text(&mut out, value.as_bytes());
        }
    }
    out
}

fn length(out: &mut Vec<u8>, mark: u8, len: usize) {
    let Some(mut rest) = len.checked_sub(127) else {
        out.push(mark | u8::try_from(len).unwrap_or(0));
        return;
    };
    out.push(mark | 127);
    while let Some(more) = (rest >= 128).then_some(rest >> 7) {
        out.push(0x80 | rest.to_le_bytes()[0]);
        rest = more;
    }
    out.push(rest.to_le_bytes()[0]);
}

fn raw(out: &mut Vec<u8>, bytes: &[u8]) {
    length(out, 0, bytes.len());
    out.extend_from_slice(bytes);
}

/// Encodes a string with Huffman's code if that is shorter.
fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    match huffman(bytes) {
        Some(coded) if coded.len() < bytes.len() => {
            length(out, HUFFMAN, coded.len());
            out.extend_from_slice(&coded);
        }
        _ => raw(out, bytes),
    }
}

/// `None` if there are characters other than printable ASCII, which no answer of a site has.
fn huffman(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len());
    let (mut held, mut bits) = (0_u64, 0_u32);
    for byte in bytes {
        let (len, code) = *CODES.get(usize::from(byte.checked_sub(b' ')?))?;
        held = held << len | u64::from(code);
        bits += u32::from(len);
        while bits >= 8 {
            bits -= 8;
            out.push((held >> bits).to_le_bytes()[0]);
        }
    }
    if bits > 0 {
        out.push((held << (8 - bits)).to_le_bytes()[0] | 0xff >> bits);
    }
    Some(out)
}

/// Huffman codes of printable characters, from the space: bits and their number (RFC 7541, appendix B).
#[rustfmt::skip]
const CODES: [(u8, u32); 95] = [
    (6, 0x14), (10, 0x3f8), (10, 0x3f9), (12, 0xffa), (13, 0x1ff9), (6, 0x15), (8, 0xf8), (11, 0x7fa), (10, 0x3fa),
    (10, 0x3fb), (8, 0xf9), (11, 0x7fb), (8, 0xfa), (6, 0x16), (6, 0x17), (6, 0x18), (5, 0x0), (5, 0x1), (5, 0x2), (6,
    0x19), (6, 0x1a), (6, 0x1b), (6, 0x1c), (6, 0x1d), (6, 0x1e), (6, 0x1f), (7, 0x5c), (8, 0xfb), (15, 0x7ffc), (6,
    0x20), (12, 0xffb), (10, 0x3fc), (13, 0x1ffa), (6, 0x21), (7, 0x5d), (7, 0x5e), (7, 0x5f), (7, 0x60), (7, 0x61),
    (7, 0x62), (7, 0x63), (7, 0x64), (7, 0x65), (7, 0x66), (7, 0x67), (7, 0x68), (7, 0x69), (7, 0x6a), (7, 0x6b), (7,
    0x6c), (7, 0x6d), (7, 0x6e), (7, 0x6f), (7, 0x70), (7, 0x71), (7, 0x72), (8, 0xfc), (7, 0x73), (8, 0xfd), (13,
    0x1ffb), (19, 0x7fff0), (13, 0x1ffc), (14, 0x3ffc), (6, 0x22), (15, 0x7ffd), (5, 0x3), (6, 0x23), (5, 0x4), (6,
    0x24), (5, 0x5), (6, 0x25), (6, 0x26), (6, 0x27), (5, 0x6), (7, 0x74), (7, 0x75), (6, 0x28), (6, 0x29), (6, 0x2a),
    (5, 0x7), (6, 0x2b), (7, 0x76), (6, 0x2c), (5, 0x8), (5, 0x9), (6, 0x2d), (7, 0x77), (7, 0x78), (7, 0x79), (7,
    0x7a), (7, 0x7b), (15, 0x7ffe), (11, 0x7fc), (14, 0x3ffd), (13, 0x1ffd),
];

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Response, StatusCode};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The output equals that of nginx 1.22.1.
    #[test]
    fn it_is_what_nginx_sends() {
        type Fields = &'static [(&'static str, &'static str)];
        let all: [(u16, Fields, &str); 2] = [
            (
                200,
                &[
                    ("accept-ranges", "bytes"),
                    ("server", "nginx/1.22.1"),
                    ("content-length", "19"),
                    ("content-type", "text/html"),
                ],
                "887689aa6355e580ae212e1f5f87497ca589d34d1f5c02313900\
                 8919085ad2b583aa62a3848fd24a8f",
            ),
            (
                405,
                &[
                    ("server", "nginx/1.22.1"),
                    ("date", "Sat, 28 Nov 2026 18:16:56 GMT"),
                    ("content-type", "text/html"),
                    ("content-length", "157"),
                ],
                "48033430357689aa6355e580ae212e1f",
            ),
        ];
        for (status, fields, want) in all {
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            for (name, value) in fields {
                response.headers_mut().append(*name, value.parse().unwrap());
            }
            let (head, ()) = response.into_parts();
            let got = hex(&section(&head));
            assert!(got.starts_with(want), "{got}");
        }
    }

    #[test]
    fn long_values_have_long_lengths() {
        let mut out = Vec::new();
        length(&mut out, 0, 126);
        length(&mut out, HUFFMAN, 127);
        length(&mut out, 0, 127 + 300);
        assert_eq!(out, [126, 255, 0, 127, 0xac, 2]);
    }
}
