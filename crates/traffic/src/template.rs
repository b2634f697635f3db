//! Observable properties of a client and its front origin: hellos, fingerprints, first HTTP/2 frames, templates
//! (profile chapter 2, "Front origin and template").

mod flight;
pub mod front;
mod hello;
mod initial;
mod ja;

use alloc::borrow::ToOwned as _;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use betanet_keys::hash;
use betanet_wire::cbor::{self, Decode, Encode, Reader, Writer};
use betanet_wire::message;

pub use flight::{FLIGHT_MAX, Flight, FlightError};
pub use hello::{HELLO_MAX, Hello, HelloError, is_grease};
pub use initial::{
    DATAGRAMS_MAX, Initial, InitialError, InitialKeys, Initials, Opened, is_reserved,
};
pub use ja::Transport;

/// Parameter values by parameter number.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Numbers(pub BTreeMap<u64, u64>);

impl Encode for Numbers {
    fn encode(&self, w: &mut Writer) {
        // The encoded order of unsigned integers is their numeric order.
        w.map(self.0.len());
        for (key, value) in &self.0 {
            key.encode(w);
            value.encode(w);
        }
    }

    fn size_hint(&self) -> usize {
        9 + 18 * self.0.len()
    }
}

impl<'a> Decode<'a> for Numbers {
    fn decode(r: &mut Reader<'a>) -> Result<Self, cbor::Error> {
        let n = r.map()?;
        let mut map = BTreeMap::new();
        for _ in 0..n {
            let key = u64::decode(r)?;
            if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(cbor::Error::Range("numbers in ascending order"));
            }
            map.insert(key, u64::decode(r)?);
        }
        r.leave();
        Ok(Self(map))
    }
}

message! {
    struct Map<'a> {
        req "v" version: u16,
        opt "h2" h2: Numbers,
        req "alpn" alpn: Vec<&'a str>,
        opt "quic" quic: Numbers,
        req "ping_ms" ping_ms: u64,
        req "tls_exts" extensions: Vec<u16>,
        opt "h2_window" h2_window: u32,
        opt "origin_h2" origin_h2: Numbers,
        opt "quic_other" quic_other: Vec<u64>,
        req "tls_grease" grease: bool,
        req "tls_groups" groups: Vec<u16>,
        req "origin_alpn" origin_alpn: &'a str,
        req "tls_ciphers" ciphers: Vec<u16>,
        req "tls_permute" permute: bool,
        req "tls_sigalgs" sigalgs: Vec<u16>,
    }
}

/// A template: the properties of a client's traffic, and those of its front origin's answers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Template {
    /// ALPN protocols that the client offers, in order.
    pub alpn: Vec<String>,
    /// Cipher suites in the order sent, without GREASE; the same holds for the next three fields.
    pub ciphers: Vec<u16>,
    /// Extension numbers; ascending if `permute` is set.
    pub extensions: Vec<u16>,
    /// Key exchange groups.
    pub groups: Vec<u16>,
    /// Signature algorithms.
    pub sigalgs: Vec<u16>,
    /// Whether the client sends GREASE values.
    pub grease: bool,
    /// Whether the client permutes its extensions for each hello.
    pub permute: bool,
    /// The client's HTTP/2 SETTINGS.
    pub h2: Option<Numbers>,
    /// The connection's first WINDOW_UPDATE; 0 for none.
    pub h2_window: Option<u32>,
    /// The client's QUIC transport parameters with integer values.
    pub quic: Option<Numbers>,
    /// IDs of the client's other QUIC transport parameters.
    pub quic_other: Option<Vec<u64>>,
    /// The ALPN protocol that the origin selected.
    pub origin_alpn: String,
    /// The SETTINGS that the origin sent.
    pub origin_h2: Option<Numbers>,
    /// Interval of PINGs on an idle connection, in milliseconds; 0 if none was seen.
    pub ping_ms: u64,
}

impl Template {
    /// The client's half of a template for HTTP/2, from hellos and first frames of one client. More hellos make it surer
    /// whether the client permutes. `None` without a hello.
    #[must_use]
    pub fn of_client(hellos: &[Hello], flight: Option<&Flight>) -> Option<Self> {
        let first = hellos.first()?;
        let lists = first.read();
        let known = |values: &[u16]| values.iter().copied().filter(|v| !is_grease(*v)).collect();
        let mut extensions = first.extension_numbers();
        let permute = hellos.iter().any(|h| h.extension_numbers() != extensions);
        if permute {
            extensions.sort_unstable();
        }
        Some(Self {
            alpn: lists.alpn,
            ciphers: known(&first.ciphers),
            extensions,
            groups: known(&lists.groups),
            sigalgs: known(&lists.sigalgs),
            grease: first.greases(),
            permute,
            h2: flight.map(|f| f.settings.clone()),
            h2_window: flight.map(|f| f.window),
            ..Self::default()
        })
    }

    /// The client's half of a template for HTTP/3, from one client's first packets over QUIC.
    #[must_use]
    pub fn of_quic_client(initials: &[Initial]) -> Option<Self> {
        let hellos: Vec<Hello> = initials.iter().map(|i| i.hello.clone()).collect();
        let (numbers, others) = initials.first()?.numbers();
        Some(Self {
            quic: Some(numbers),
            quic_other: Some(others),
            ..Self::of_client(&hellos, None)?
        })
    }

    /// Decodes the map.
    ///
    /// # Errors
    ///
    /// The bytes do not decode, or have another format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, cbor::Error> {
        let map: Map<'_> = cbor::from_slice(bytes)?;
        if map.version != 1 {
            return Err(cbor::Error::Range("format 1"));
        }
        Ok(Self {
            alpn: map.alpn.into_iter().map(str::to_owned).collect(),
            ciphers: map.ciphers,
            extensions: map.extensions,
            groups: map.groups,
            sigalgs: map.sigalgs,
            grease: map.grease,
            permute: map.permute,
            h2: map.h2,
            h2_window: map.h2_window,
            quic: map.quic,
            quic_other: map.quic_other,
            origin_alpn: map.origin_alpn.to_owned(),
            origin_h2: map.origin_h2,
            ping_ms: map.ping_ms,
        })
    }

    /// Encodes the map in DET-CBOR.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(&Map {
            version: 1,
            alpn: self.alpn.iter().map(String::as_str).collect(),
            ciphers: self.ciphers.clone(),
            extensions: self.extensions.clone(),
            groups: self.groups.clone(),
            sigalgs: self.sigalgs.clone(),
            grease: self.grease,
            permute: self.permute,
            h2: self.h2.clone(),
            h2_window: self.h2_window,
            quic: self.quic.clone(),
            quic_other: self.quic_other.clone(),
            origin_alpn: &self.origin_alpn,
            origin_h2: self.origin_h2.clone(),
            ping_ms: self.ping_ms,
        })
    }

    /// The TemplateID: the hash of the map.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        hash(&[&self.to_bytes()])
    }
}

#[cfg(test)]
mod tests;
