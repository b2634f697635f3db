//! OpenSSL's refusals before it answers, with their alerts. rustls refuses the same input with other alerts, or later.

use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;

use super::hello::{Client, GROUPS};

/// A fatal alert in the clear; a code of `None` closes without a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    version: u16,
    code: Option<u8>,
}

const UNEXPECTED_MESSAGE: u8 = 10;
const HANDSHAKE_FAILURE: u8 = 40;
const ILLEGAL_PARAMETER: u8 = 47;
const DECODE_ERROR: u8 = 50;
const PROTOCOL_VERSION: u8 = 70;
const RECORD_OVERFLOW: u8 = 22;
const INTERNAL_ERROR: u8 = 80;
const INAPPROPRIATE_FALLBACK: u8 = 86;
const MISSING_EXTENSION: u8 = 109;
const NO_APPLICATION_PROTOCOL: u8 = 120;

const TLS12: u16 = 0x0303;
const FALLBACK_SCSV: u16 = 0x5600;
/// Record length from which OpenSSL does not read a record.
const RECORD_MAX: usize = 16_384 + 256 + 64;
/// Length from which OpenSSL does not read a ClientHello.
const HELLO_MAX: usize = 131_396;

/// ALPN protocols of nginx, in its order.
pub(super) const PROTOCOLS: [&[u8]; 4] = [b"h2", b"http/1.1", b"http/1.0", b"http/0.9"];

impl Refusal {
    /// Number of bytes that [`Refusal::of_bytes`] inspects.
    pub(super) const LOOKS: usize = 9;

    pub(super) const fn with(code: u8) -> Self {
        Self {
            version: TLS12,
            code: Some(code),
        }
    }

    const fn silent() -> Self {
        Self {
            version: TLS12,
            code: None,
        }
    }

    /// The alert's record; empty if none is sent.
    pub(crate) fn record(self) -> Vec<u8> {
        let [major, minor] = self.version.to_be_bytes();
        let alert = |code| vec![21, major, minor, 0, 2, 2, code];
        self.code.map_or_else(Vec::new, alert)
    }

    /// Refusal of a connection's first bytes, before a hello is complete.
    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        match *bytes {
            // A hello of SSL 2, or an unknown protocol.
            [first, _, kind, ..] if first & 0x80 != 0 => Some(match kind {
                1 => Self::with(PROTOCOL_VERSION),
                _ => Self::silent(),
            }),
            [22, major, _, ..] if major != 3 => Some(Self::silent()),
            [22, _, _, high, low, ref rest @ ..] => {
                let len = usize::from(u16::from_be_bytes([high, low]));
                match rest {
                    _ if len == 0 => Some(Self::silent()),
                    _ if len > RECORD_MAX => Some(Self::with(RECORD_OVERFLOW)),
                    [kind, ..] if *kind != 1 => Some(Self::with(UNEXPECTED_MESSAGE)),
                    [1, a, b, c, ..] if len >= 4 => {
                        let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
                        (len > HELLO_MAX).then(|| Self::with(ILLEGAL_PARAMETER))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Refusal of a hello by a listener with this certificate.
    pub(super) fn of_hello(client: &Client, key: &CertifiedKey) -> Option<Self> {
        let best = client.best();
        if (0x0300..TLS12).contains(&best) {
            // Debian's OpenSSL has no security level for the old versions, and detects that late.
            let code = if best == 0x0300 {
                HANDSHAKE_FAILURE
            } else {
                INTERNAL_ERROR
            };
            return Some(Self {
                version: best,
                code: Some(code),
            });
        }
        let code = if best == TLS12 && client.signatures.is_none() {
            // Without the extension, signatures would use SHA-1 (RFC 5246 §7.4.1.4.1).
            HANDSHAKE_FAILURE
        } else if client.ciphers.is_empty() || client.twice {
            ILLEGAL_PARAMETER
        } else if !client.compression.contains(&0) {
            DECODE_ERROR
        } else if best == TLS12 && client.ciphers.contains(&FALLBACK_SCSV) {
            INAPPROPRIATE_FALLBACK
        } else if client.tls13 && client.lacks() {
            MISSING_EXTENSION
        } else if client.tls13 && client.strays() {
            ILLEGAL_PARAMETER
        } else if !signs(client, key) {
            HANDSHAKE_FAILURE
        } else if !client.alpn.is_empty()
            && !client.alpn.iter().any(|p| PROTOCOLS.contains(&&p[..]))
        {
            NO_APPLICATION_PROTOCOL
        } else {
            return None;
        };
        Some(Self::with(code))
    }
}

impl Client {
    /// The version that the client's hello leads to, if supported.
    fn best(&self) -> u16 {
        match &self.versions {
            Some(list) => {
                let known = list.iter().filter(|v| (0x0300..=0x0304).contains(*v));
                known.max().copied().unwrap_or(0)
            }
            None => self.version.min(TLS12),
        }
    }

    /// Whether an extension that TLS 1.3 needs is missing.
    const fn lacks(&self) -> bool {
        self.groups.is_empty() || !self.shared || self.signatures.is_none()
    }

    /// Whether a share of a group that the client does not list precedes a usable one.
    pub(super) fn strays(&self) -> bool {
        let named = self.group_set();
        let strange = |group: &u16| !named.contains(group);
        let decides = self.shares.iter();
        let mut decides = decides.filter(|g| strange(g) || GROUPS.contains(g));
        decides.next().is_some_and(strange)
    }
}

/// Whether the certificate suits the client's signature algorithms.
fn signs(client: &Client, key: &CertifiedKey) -> bool {
    let Some(signatures) = &client.signatures else {
        return true;
    };
    let schemes: Vec<SignatureScheme> = signatures.iter().map(|s| (*s).into()).collect();
    if key.key.choose_scheme(&schemes).is_none() {
        return false;
    }
    // In TLS 1.2 the certificate's curve must be among the groups, if any are listed.
    let curves = [
        (SignatureScheme::ECDSA_NISTP256_SHA256, 0x0017),
        (SignatureScheme::ECDSA_NISTP384_SHA384, 0x0018),
        (SignatureScheme::ECDSA_NISTP521_SHA512, 0x0019),
    ];
    let curve = curves
        .into_iter()
        .find(|(scheme, _)| key.key.choose_scheme(&[*scheme]).is_some());
    client.tls13
        || client.groups.is_empty()
        || curve.is_none_or(|(_, group)| client.groups.contains(&group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_hello_is_refused_as_openssl_does() {
        let of = Refusal::of_bytes;
        assert_eq!(of(&[0xfe; 64]), Some(Refusal::silent()));
        assert_eq!(
            of(&[0x80, 0x2e, 1, 0, 2]),
            Some(Refusal::with(PROTOCOL_VERSION))
        );
        assert_eq!(of(&[22, 5, 0, 0, 9]), Some(Refusal::silent()));
        assert_eq!(of(&[22, 3, 1, 0, 0]), Some(Refusal::silent()));
        assert_eq!(
            of(&[22, 3, 1, 0xff, 0xff]),
            Some(Refusal::with(RECORD_OVERFLOW))
        );
        let long = [22, 3, 1, 0, 6, 1, 16, 0, 0];
        assert_eq!(of(&long), Some(Refusal::with(ILLEGAL_PARAMETER)));
        assert_eq!(of(&[22, 3, 1, 2, 0, 1, 0, 1, 252]), None);
        assert_eq!(of(&[22, 3]), None);
        assert!(Refusal::silent().record().is_empty());
        assert_eq!(Refusal::with(40).record(), [21, 3, 3, 0, 2, 2, 40]);
    }
}
