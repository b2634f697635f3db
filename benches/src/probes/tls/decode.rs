//! What a server's first bytes are: records, the ServerHello, alerts, or text that is no TLS.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::super::answer::{Answer, value};

/// A record: content type, version, payload.
type Record<'a> = (u8, u16, &'a [u8]);

/// Records, and what is behind the last whole one.
pub(super) fn records(mut bytes: &[u8]) -> (Vec<Record<'_>>, &[u8]) {
    let mut out = Vec::new();
    while let Some((header, behind)) = bytes.split_first_chunk::<5>() {
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let version = u16::from_be_bytes([header[1], header[2]]);
        let Some((payload, rest)) = behind.split_at_checked(len) else {
            break;
        };
        out.push((header[0], version, payload));
        bytes = rest;
    }
    (out, bytes)
}

/// Handshake messages: type and body.
pub(super) fn messages(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut out = Vec::new();
    while let Some((header, behind)) = bytes.split_first_chunk::<4>() {
        let len = u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        let Some((body, rest)) = behind.split_at_checked(len) else {
            break;
        };
        out.push((header[0], body));
        bytes = rest;
    }
    out
}

/// Extensions of a block with its length before it.
pub(super) fn extensions(block: &[u8]) -> Vec<(u16, &[u8])> {
    let mut rest = block.get(2..).unwrap_or_default();
    let mut out = Vec::new();
    while let Some((header, behind)) = rest.split_first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let Some((body, next)) = behind.split_at_checked(len) else {
            break;
        };
        out.push((u16::from_be_bytes([header[0], header[1]]), body));
        rest = next;
    }
    out
}

pub(super) fn listed(extensions: &[(u16, &[u8])]) -> String {
    let one = |(number, body): &(u16, &[u8])| format!("{number:04x}({})", body.len());
    extensions.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// JA4S: protocol, version, number of extensions, ALPN; the cipher; a hash of the extensions in their order.
pub(super) fn ja4s(version: u16, cipher: u16, extensions: &[(u16, &[u8])]) -> String {
    let body = |number: u16| {
        extensions
            .iter()
            .find(|(n, _)| *n == number)
            .map(|(_, b)| *b)
    };
    let chosen = body(43).and_then(|b| Some(u16::from_be_bytes(b.try_into().ok()?)));
    let version = match chosen.unwrap_or(version) {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        _ => "00",
    };
    let alpn = body(16).and_then(|b| b.get(3..)).unwrap_or_default();
    let alpn = match (alpn.first(), alpn.last()) {
        (Some(a), Some(z)) => format!("{}{}", char::from(*a), char::from(*z)),
        _ => "00".into(),
    };
    let numbers: Vec<String> = extensions.iter().map(|(n, _)| format!("{n:04x}")).collect();
    let hash = if numbers.is_empty() {
        "000000000000".to_owned()
    } else {
        let digest = Sha256::digest(numbers.join(","));
        digest[..6].iter().fold(String::new(), |mut s, b| {
            let _ = write!(s, "{b:02x}");
            s
        })
    };
    format!(
        "t{version}{:02}{alpn}_{cipher:04x}_{hash}",
        extensions.len().min(99)
    )
}

/// A record's length, where it is not that of a signature, which DER makes longer or shorter by a byte or two.
pub(super) fn length(kind: u8, len: usize) -> String {
    match (kind, len) {
        (23, 91..=97) => "signed".into(),
        _ => len.to_string(),
    }
}

/// The random of a HelloRetryRequest: the SHA-256 of its name (RFC 8446 §4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

fn server_hello(answer: &mut Answer, body: &[u8]) -> Option<()> {
    let version = u16::from_be_bytes(body.get(..2)?.try_into().ok()?);
    let random = body.get(2..34)?;
    let retry = *random == RETRY;
    let downgrade = random.get(24..31)? == b"DOWNGRD";
    let session = usize::from(*body.get(34)?);
    let rest = body.get(35 + session..)?;
    let cipher = u16::from_be_bytes(rest.get(..2)?.try_into().ok()?);
    let list = extensions(rest.get(3..)?);
    let what = if retry { "retry" } else { "hello" };
    answer.note(
        format!("server {what}"),
        format!("{version:04x} session {session} cipher {cipher:04x} compression {} downgrade {downgrade}", rest[2]),
    );
    answer.note(format!("{what} extensions"), listed(&list));
    answer.note(format!("{what} JA4S"), ja4s(version, cipher, &list));
    for (number, body) in &list {
        if *number == 51 {
            let group = body.get(..2).unwrap_or_default();
            answer.note(format!("{what} group"), format!("{group:02x?}"));
        } else if body.len() < 16 {
            answer.note(
                format!("{what} extension {number:04x}"),
                format!("{body:02x?}"),
            );
        }
    }
    Some(())
}

fn key_exchange(answer: &mut Answer, body: &[u8]) {
    let point = usize::from(*body.get(3).unwrap_or(&0));
    let behind = body.get(4 + point..6 + point).unwrap_or_default();
    let curve = body.get(..3).unwrap_or_default();
    answer.note(
        "key exchange",
        format!("curve {curve:02x?} point {point} signature {behind:02x?}"),
    );
}

/// Writes down what a server's bytes are.
pub(super) fn note(answer: &mut Answer, bytes: &[u8], port: u16) {
    if bytes.is_empty() {
        answer.note("records", "(nothing)");
        return;
    }
    if !(20..=24).contains(&bytes[0]) {
        let text = String::from_utf8_lossy(bytes);
        let lines: Vec<String> = text
            .split("\r\n")
            .map(|l| match l.split_once(": ") {
                Some((name, v)) => format!("{name}: {}", value(name, v, port)),
                None => l.to_owned(),
            })
            .collect();
        answer.note("text", lines.join(" | "));
        return;
    }
    let (records, rest) = records(bytes);
    let mut sealed = false;
    let mut clear: Vec<u8> = Vec::new();
    let mut shapes = Vec::new();
    for (kind, version, payload) in &records {
        // What is sealed begins with whatever its nonce does.
        let signed = *kind == 22 && !sealed && payload.first() == Some(&12);
        let len = if signed {
            "signed".into()
        } else {
            length(*kind, payload.len())
        };
        shapes.push(format!("{kind}:{version:04x}:{len}"));
        sealed |= *kind == 20;
        match kind {
            22 if !sealed => clear.extend_from_slice(payload),
            21 if payload.len() == 2 => {
                answer.append("alert", &format!("{} {}", payload[0], payload[1]));
            }
            _ => {}
        }
    }
    answer.note("records", shapes.join(" "));
    let messages = messages(&clear);
    let kinds: Vec<String> = messages
        .iter()
        .map(|(kind, body)| match kind {
            12 => "12:signed".into(),
            _ => format!("{kind}:{}", body.len()),
        })
        .collect();
    answer.note("messages", kinds.join(" "));
    for (kind, body) in messages {
        match kind {
            2 => drop(server_hello(answer, body)),
            12 => key_exchange(answer, body),
            _ => {}
        }
    }
    if !rest.is_empty() {
        answer.note("rest", format!("{} bytes", rest.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ja4s_is_what_its_specification_shows() {
        // The example of the specification: TLS 1.2, four extensions, h2.
        let h2: &[u8] = &[0, 3, 2, b'h', b'2'];
        let list: [(u16, &[u8]); 4] = [(5, &[]), (23, &[]), (0xff01, &[0]), (16, h2)];
        assert_eq!(ja4s(0x0303, 0xc030, &list), {
            let hash = Sha256::digest("0005,0017,ff01,0010");
            let hex: String = hash[..6].iter().map(|b| format!("{b:02x}")).collect();
            format!("t1204h2_c030_{hex}")
        });
        // supported_versions, then key_share.
        let list: [(u16, &[u8]); 2] = [(43, &[3, 4]), (51, &[])];
        assert_eq!(ja4s(0x0303, 0x1302, &list), "t130200_1302_a56c5b993250");
    }
}
