//! Fingerprints by which observers identify ClientHellos.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use betanet_wire::text;
use md5::Md5;
use sha2::{Digest as _, Sha256};

use super::hello::{Hello, ext, is_grease};

/// Transport that carries a hello.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport {
    /// TLS over TCP.
    Tcp,
    /// QUIC.
    Quic,
}

fn known(values: &[u16]) -> Vec<u16> {
    values.iter().copied().filter(|v| !is_grease(*v)).collect()
}

fn joined(values: &[u16], separator: &str, show: fn(&u16) -> String) -> String {
    values.iter().map(show).collect::<Vec<_>>().join(separator)
}

/// The first twelve hex digits of the SHA-256; zeros for empty text.
fn short(text: &str) -> String {
    if text.is_empty() {
        return "0".repeat(12);
    }
    text::hex(&Sha256::digest(text.as_bytes())[..6])
}

impl Hello {
    /// JA3 (Salesforce, 2017): the MD5 of version, cipher suites, extensions, groups and point formats, in the order sent. A
    /// client that permutes its extensions has a different JA3 each time.
    #[must_use]
    pub fn ja3(&self) -> String {
        let decimal = |values: &[u16]| joined(&known(values), "-", |v| v.to_string());
        let formats = self.extension(ext::POINT_FORMATS).unwrap_or_default();
        let formats: Vec<u16> = formats.iter().skip(1).map(|f| u16::from(*f)).collect();
        let text = format!(
            "{},{},{},{},{}",
            self.version,
            decimal(&self.ciphers),
            decimal(&self.extension_numbers()),
            decimal(&self.read().groups),
            decimal(&formats),
        );
        text::hex(&Md5::digest(text.as_bytes()))
    }

    /// JA4 (FoxIO, "JA4: TLS Client Fingerprinting"), which does not depend on the order of the extensions.
    #[must_use]
    pub fn ja4(&self, transport: Transport) -> String {
        let lists = self.read();
        let version = known(&lists.versions).into_iter().max();
        let version = match version.unwrap_or(self.version) {
            0x0304 => "13",
            0x0303 => "12",
            0x0302 => "11",
            0x0301 => "10",
            0x0300 => "s3",
            _ => "00",
        };
        let mut ciphers = known(&self.ciphers);
        let mut extensions = self.extension_numbers();
        let alpn = match lists.alpn.first().map(|a| a.as_bytes()) {
            None | Some([]) => "00".to_string(),
            Some(name) => {
                let (first, last) = (name[0], name[name.len() - 1]);
                if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
                    format!("{}{}", char::from(first), char::from(last))
                } else {
                    format!("{:x}{:x}", first >> 4, last & 15)
                }
            }
        };
        let a = format!(
            "{}{version}{}{:02}{:02}{alpn}",
            match transport {
                Transport::Tcp => 't',
                Transport::Quic => 'q',
            },
            match self.extension(ext::SERVER_NAME) {
                Some(_) => 'd',
                None => 'i',
            },
            ciphers.len().min(99),
            extensions.len().min(99),
        );
        let digits = |values: &[u16]| joined(values, ",", |v| format!("{v:04x}"));
        ciphers.sort_unstable();
        extensions.retain(|e| ![ext::SERVER_NAME, ext::ALPN].contains(e));
        extensions.sort_unstable();
        let mut rest = digits(&extensions);
        let sigalgs = known(&lists.sigalgs);
        if !sigalgs.is_empty() {
            rest = format!("{rest}_{}", digits(&sigalgs));
        }
        format!("{a}_{}_{}", short(&digits(&ciphers)), short(&rest))
    }
}
