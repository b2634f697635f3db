use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use betanet_wire::{NodeId, caps, cbor};

use crate::cipher::{Ciphers, Ring, Suite};

/// Use of ML-KEM-768 by a session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Pq {
    /// Neither offers nor accepts ML-KEM-768.
    Off,
    /// Uses ML-KEM-768 if the peer supports it.
    Offer,
    /// As a client, ends with AUTH_FAILED if the server does not use ML-KEM-768.
    #[default]
    Require,
}

impl Pq {
    /// Whether ML-KEM-768 is offered at all.
    #[must_use]
    pub const fn offered(self) -> bool {
        !matches!(self, Self::Off)
    }
}

/// Use of AES-256-GCM for the frames of an open session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Aes {
    /// Neither offers nor uses AES.
    Off,
    /// Offers AES where the processor has instructions for it, and uses it if the peer offers it too.
    #[default]
    Offer,
}

/// The transport that carries the session.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Outer {
    /// TLS or QUIC: the carrier exports keying material.
    #[default]
    Tls,
    /// A FORWARD stream through these nodes: the exporter is a hash, and frame headers are masked (E-31).
    Forward(Vec<NodeId>),
}

/// Configuration of a session; the defaults are the profile's.
#[derive(Clone, Debug)]
pub struct Config {
    /// Use of ML-KEM-768.
    pub pq: Pq,
    /// Use of AES-256-GCM.
    pub aes: Aes,
    /// Implementation of the AEADs. `None` for [`Ring`].
    pub ciphers: Option<&'static dyn Ciphers>,
    /// The encoded `CapMsg` to offer. Its `pq` must agree with the field above, and its `aes` with [`Config::offers_aes`].
    pub caps: Vec<u8>,
    /// The client's TemplateID; zeros without a template.
    pub template: [u8; 32],
    /// The transport that carries the session.
    pub outer: Outer,
    /// Stream types that the peer may open.
    pub accepts: Vec<u8>,
    /// Number of sealed bytes after which a direction replaces its key.
    pub rekey_bytes: u64,
    /// Age at which a direction replaces its key.
    pub rekey_after: Duration,
    /// Silence after which a PING probes the peer.
    pub keepalive: Duration,
    /// Silence after which a PING probes the peer while a request waits for its answer.
    pub patience: Duration,
    /// Maximum receive window of one stream, bytes.
    pub stream_window_max: u64,
    /// Maximum receive window of the connection, bytes.
    pub connection_window_max: u64,
    /// Size of the send buffer of one stream, bytes.
    pub send_buffer: usize,
    /// Maximum number of data bytes in one STREAM frame.
    pub frame_data: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pq: Pq::default(),
            aes: Aes::default(),
            ciphers: None,
            // `Ring` does not offer AES, so that these capabilities are the same on every processor.
            caps: offered_caps(true, Extra::default()),
            template: [0; 32],
            outer: Outer::Tls,
            accepts: vec![crate::kind::BAR],
            rekey_bytes: 64 << 20,
            rekey_after: Duration::from_secs(15 * 60),
            keepalive: Duration::from_secs(30),
            patience: Duration::from_secs(2),
            stream_window_max: 8 << 20,
            connection_window_max: 16 << 20,
            send_buffer: 256 << 10,
            // An HTTP/2 frame header, our header, STREAM fields, data and tag together fill one TLS record.
            frame_data: 16_384 - 9 - SEALING,
        }
    }
}

/// The feature with which a side offers AES-256-GCM.
pub(crate) const AES: &str = "aes";

/// Bytes that sealing adds to the data of a STREAM frame.
const SEALING: usize = 10 + 11 + 16;

impl Config {
    /// The implementation of the AEADs.
    #[must_use]
    pub fn ciphers(&self) -> &'static dyn Ciphers {
        self.ciphers.unwrap_or(&Ring)
    }

    /// Sets the implementation of the AEADs, and adds the feature `aes` to the capabilities if it suits the processor.
    #[must_use]
    pub fn with_ciphers(mut self, ciphers: &'static dyn Ciphers) -> Self {
        self.ciphers = Some(ciphers);
        if self.offers_aes() {
            let offer = cbor::from_slice::<caps::CapMsg<'_>>(&self.caps).map(|mut offer| {
                offer.features.insert(AES, true);
                cbor::to_vec(&offer)
            });
            self.caps = offer.unwrap_or(self.caps);
        }
        self
    }

    /// Whether the capabilities of this configuration name the feature `aes`.
    #[must_use]
    pub fn offers_aes(&self) -> bool {
        self.aes == Aes::Offer && self.ciphers().suits(Suite::Aes256Gcm)
    }

    /// Adapts the configuration to a session over a FORWARD stream through `nodes`, the last of which is the responder.
    #[must_use]
    pub fn over(mut self, nodes: Vec<NodeId>) -> Self {
        self.outer = Outer::Forward(nodes);
        self.template = [0; 32];
        // A frame of this session fills one frame of the session that carries it.
        self.frame_data -= SEALING;
        self
    }
}

/// Optional features of a node beside sessions and requests.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Extra {
    /// The node uses AES-256-GCM for frames with peers that offer it too.
    pub aes: bool,
    /// The node accepts libp2p substreams.
    pub libp2p: bool,
    /// The node accepts mix packets.
    pub mix: bool,
    /// The node keeps a ledger of names, and gossips it.
    pub naming: bool,
    /// Versions of L2 to offer.
    pub l2: L2,
}

/// Versions of L2 to offer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum L2 {
    /// Only 1.2.
    #[default]
    Own,
    /// 1.2, and sessions that are joined with a leg of 1.1 (profile chapter 9).
    Either,
    /// Only joined sessions: a translating node offers this on behalf of a peer of version 1.1.
    Translated,
}

/// Encodes the capabilities that this implementation offers.
#[must_use]
pub fn offered_caps(pq: bool, extra: Extra) -> Vec<u8> {
    offered_caps_with(pq, extra, core::iter::empty())
}

/// Encodes the capabilities of [`offered_caps`], and further features by name.
#[must_use]
pub fn offered_caps_with<'a>(
    pq: bool,
    extra: Extra,
    features: impl Iterator<Item = &'a str>,
) -> Vec<u8> {
    let mut features: BTreeMap<&str, bool> = features.map(|name| (name, true)).collect();
    features.extend([("padding", true), ("pq", pq)]);
    if extra.aes {
        features.insert(AES, true);
    }
    if extra.libp2p {
        features.insert("libp2p", true);
    }
    if extra.mix {
        features.insert("mix", true);
    }
    cbor::to_vec(&caps::CapMsg {
        l2: match extra.l2 {
            L2::Own => vec![caps::HTX],
            L2::Either => vec![caps::HTX_TRANSLATED, caps::HTX],
            L2::Translated => vec![caps::HTX_TRANSLATED],
        },
        l3: vec![caps::MESH],
        l4: if extra.mix {
            vec![caps::MIX]
        } else {
            Vec::new()
        },
        l5: if extra.naming {
            vec![caps::NAMING]
        } else {
            Vec::new()
        },
        l6: None,
        l7: Some(vec![caps::BAR]),
        fog: None,
        features,
    })
}
