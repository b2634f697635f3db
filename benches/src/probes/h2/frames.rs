//! HTTP/2 frames and header blocks as bytes, right or wrong.

/// A frame's type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(in super::super) enum Type {
    Data = 0,
    Headers = 1,
    Priority = 2,
    RstStream = 3,
    Settings = 4,
    PushPromise = 5,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
    Continuation = 9,
    Other = 0x77,
}

impl Type {
    pub(super) const fn of(number: u8) -> Self {
        match number {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::RstStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Other,
        }
    }
}

pub(in super::super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(in super::super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const PRIORITY: u8 = 0x20;

/// The connection preface, before its SETTINGS.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame's header, which may promise another length than follows.
pub(super) fn head(len: usize, kind: Type, flags: u8, stream: u32) -> Vec<u8> {
    let mut out = u32::try_from(len).unwrap().to_be_bytes()[1..].to_vec();
    out.extend([kind as u8, flags]);
    out.extend(stream.to_be_bytes());
    out
}

pub(in super::super) fn frame(kind: Type, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = head(payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
    out
}

/// Header fields as literals that no table knows, without Huffman's code.
pub(in super::super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            string(&mut out, text.as_bytes());
        }
    }
    out
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    let len = text.len();
    if len < 127 {
        out.push(u8::try_from(len).unwrap());
    } else {
        out.push(127);
        let mut rest = len - 127;
        while rest >= 128 {
            out.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        out.push(u8::try_from(rest).unwrap());
    }
    out.extend_from_slice(text);
}

/// The preface and a client's SETTINGS with large windows, as browsers have.
pub(in super::super) fn start() -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    out.extend(frame(Type::Settings, 0, 0, &settings(&[(4, 6_291_456)])));
    out.extend(frame(
        Type::WindowUpdate,
        0,
        0,
        &15_663_105_u32.to_be_bytes(),
    ));
    out
}

pub(super) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let pair = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    values.iter().flat_map(pair).collect()
}

/// A request's fields.
pub(in super::super) fn request<'a>(
    method: &'a str,
    path: &'a str,
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        (":method", method),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
    ];
    fields.extend_from_slice(more);
    fields
}

/// HEADERS of these fields.
pub(in super::super) fn headers(stream: u32, fields: &[(&str, &str)], end: bool) -> Vec<u8> {
    let flags = END_HEADERS | if end { END_STREAM } else { 0 };
    frame(Type::Headers, flags, stream, &block(fields))
}
