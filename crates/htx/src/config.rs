use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use betanet_wire::{NodeId, caps, cbor};

/// What a session does about ML-KEM-768.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Pq {
    /// Neither offers nor accepts it.
    Off,
    /// Uses it where the peer does too.
    Offer,
    /// As a client, ends with AUTH_FAILED where the server does not use it.
    #[default]
    Require,
}

impl Pq {
    /// Whether it is offered at all.
    #[must_use]
    pub const fn offered(self) -> bool {
        !matches!(self, Self::Off)
    }
}

/// What carries the session.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Outer {
    /// TLS or QUIC: the carrier exports keying material.
    #[default]
    Tls,
    /// A FORWARD stream over these nodes: the exporter is a hash, and frame headers are masked (E-31).
    Forward(Vec<NodeId>),
}

/// How a session behaves; the defaults are the profile's.
#[derive(Clone, Debug)]
pub struct Config {
    /// ML-KEM-768.
    pub pq: Pq,
    /// The encoded `CapMsg` that is offered. Its `pq` must agree with the field above.
    pub caps: Vec<u8>,
    /// The client's TemplateID; zero without a template.
    pub template: [u8; 32],
    /// What carries the session.
    pub outer: Outer,
    /// Types of stream that the peer may open.
    pub accepts: Vec<u8>,
    /// Sealed bytes after which a direction turns its key.
    pub rekey_bytes: u64,
    /// Age at which a direction turns its key.
    pub rekey_after: Duration,
    /// Silence after which a PING asks whether the peer is there.
    pub keepalive: Duration,
    /// The same while the answer to a request is waited for.
    pub patience: Duration,
    /// The receive window of one stream at most, bytes.
    pub stream_window_max: u64,
    /// The receive window of the connection at most, bytes.
    pub connection_window_max: u64,
    /// Bytes that one stream buffers for sending.
    pub send_buffer: usize,
    /// Data bytes in one STREAM frame at most.
    pub frame_data: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pq: Pq::default(),
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

/// What sealing adds to the data of a STREAM frame.
const SEALING: usize = 10 + 11 + 16;

impl Config {
    /// The same for a session over a FORWARD stream through `nodes`, the last of which is the responder.
    #[must_use]
    pub fn over(mut self, nodes: Vec<NodeId>) -> Self {
        self.outer = Outer::Forward(nodes);
        self.template = [0; 32];
        // A frame of this session fills one of the session that carries it.
        self.frame_data -= SEALING;
        self
    }
}

/// What a node does beside sessions and requests.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Extra {
    /// It takes libp2p substreams.
    pub libp2p: bool,
    /// It takes packets of the mix.
    pub mix: bool,
    /// Which versions of L2.
    pub l2: L2,
}

/// Versions of L2 that are offered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum L2 {
    /// 1.2 alone.
    #[default]
    Own,
    /// 1.2, and sessions that are joined with a leg of 1.1 (profile chapter 9).
    Either,
    /// Those alone: what a translating node asks for on behalf of a peer of 1.1.
    Translated,
}

/// The capabilities of what is built here, encoded.
#[must_use]
pub fn offered_caps(pq: bool, extra: Extra) -> Vec<u8> {
    let mut features = BTreeMap::from([("padding", true), ("pq", pq)]);
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
        l5: Vec::new(),
        l6: None,
        l7: Some(vec![caps::BAR]),
        fog: None,
        features,
    })
}
