//! Shapes of traffic: what page loads look like to an observer, and when one end of a tunnel sends how much to look like one.
//!
//! A [`Trace`] is the records of one page load behind its handshake: their directions, sizes and gaps. A [`Shape`] is many of them.
//! Both ends of a tunnel that have the same shape draw the same trace from a key that they share, and each of them follows its own
//! direction of it with a [`Follower`]: it sends in the bursts that the trace has, filled up with PADDING where there is less to say,
//! held back where there is more.

use alloc::vec::Vec;
use core::time::Duration;

use betanet_keys::hash;
use betanet_wire::{cbor, message, text};

mod follow;
mod lag;
mod learn;
mod noise;

pub use follow::Follower;
pub use lag::{Lag, learn_lag};
pub use learn::{learn, learn_pauses};
pub use noise::Noise;

/// What files have as `v`.
const FORMAT: u16 = 5;
/// Records of one trace, at most.
pub const STEPS_MAX: usize = 4096;
/// Traces of one shape, at most.
pub const TRACES_MAX: usize = 1024;
/// What TLS adds to a record's plaintext: its type, and the tag.
pub const RECORD: usize = 17;
/// An HTTP/2 frame: what it holds at most, and its header.
pub const FRAME: usize = 16_384;
/// See [`FRAME`].
pub const FRAME_HEADER: usize = 9;
/// Longest record: 2^14 bytes of plaintext.
const RECORD_MAX: u16 = 16_384 + 17;
/// How much of so much plaintext is a session's bytes: what is around them is headers of frames, each of which is as long as it may be.
/// Both ends count by it how much of each other's part has come.
#[must_use]
pub const fn payload(plaintext: usize) -> usize {
    let frames = plaintext.div_ceil(FRAME + FRAME_HEADER);
    plaintext.saturating_sub(frames * FRAME_HEADER)
}

/// Low bits of a gap: how many units it has. The high ones, from 0 to 3, say of which.
const COUNT: u16 = 0x3fff;
/// Bit 15 of a size on disk: the record goes up, from client to server.
const UP: u16 = 0x8000;

/// A time between two records, as a shape keeps it: to a quarter of a microsecond below 4 ms, to 4 microseconds below 65 ms, to 64 below a
/// second, to 1024 below 16 s.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Gap(u16);

/// Nanoseconds of a unit.
const fn unit(scale: u16) -> u64 {
    250 << (4 * scale)
}

impl Gap {
    /// The nearest one.
    #[must_use]
    pub fn new(time: Duration) -> Self {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let scaled = (0..4).find_map(|scale| {
            let units = nanos.saturating_add(unit(scale) / 2) / unit(scale);
            let units = u16::try_from(units).ok().filter(|n| *n <= COUNT)?;
            Some(Self(units | (scale * (COUNT + 1))))
        });
        scaled.unwrap_or(Self(u16::MAX))
    }
}

impl From<Gap> for Duration {
    fn from(Gap(kept): Gap) -> Self {
        Self::from_nanos(u64::from(kept & COUNT) * unit(kept / (COUNT + 1)))
    }
}

/// One record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Step {
    /// Since the record before.
    pub gap: Gap,
    /// Whether it goes from client to server.
    pub up: bool,
    /// The length that its header tells.
    pub size: u16,
}

/// The records of one page load, behind the handshake.
pub type Trace = Vec<Step>;

/// What page loads of one site look like.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shape {
    traces: Vec<Trace>,
    pauses: Vec<[Gap; 4]>,
}

/// How long one client took for what no burst shows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pauses {
    /// To answer the server's handshake.
    pub answer: Duration,
    /// From that answer to HTTP/2's preface.
    pub preface: Duration,
    /// From the preface to the first request.
    pub request: Duration,
    /// To acknowledge the server's SETTINGS.
    pub acknowledge: Duration,
}

message! {
    struct Map<'a> {
        req "v" version: u16,
        opt "pauses" pauses: &'a [u8],
        req "traces" traces: Vec<&'a [u8]>,
    }
}

/// Why bytes are no shape.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// Not DET-CBOR, or not this map.
    #[error("it does not decode: {0}")]
    Cbor(#[from] cbor::Error),
    /// Another format.
    #[error("its format is not {FORMAT}: learn it anew")]
    Version,
    /// No trace, or more than [`TRACES_MAX`].
    #[error("it has no trace, or more than {TRACES_MAX}")]
    Traces,
    /// A trace of none or of more than [`STEPS_MAX`] records, or one that is cut in a record.
    #[error("a trace without records, with more than {STEPS_MAX}, or cut in the middle of one")]
    Steps,
    /// More pauses than [`TRACES_MAX`], or one that is cut.
    #[error("pauses that are no list of at most {TRACES_MAX}")]
    Pauses,
    /// A record longer than TLS has any, or without a byte of plaintext.
    #[error("a record of {0} bytes")]
    Size(u16),
}

/// A record as an observer sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record {
    /// Microseconds since the connection's first.
    pub at: u64,
    /// Whether it goes from client to server.
    pub up: bool,
    /// Its content type: 23 is application data.
    pub kind: u8,
    /// The length that its header tells.
    pub size: u16,
}

impl Shape {
    /// From traces.
    ///
    /// # Errors
    ///
    /// [`ShapeError`].
    pub fn new(traces: Vec<Trace>) -> Result<Self, ShapeError> {
        if traces.is_empty() || traces.len() > TRACES_MAX {
            return Err(ShapeError::Traces);
        }
        for trace in &traces {
            if trace.is_empty() || trace.len() > STEPS_MAX {
                return Err(ShapeError::Steps);
            }
            let range = 18..=RECORD_MAX;
            if let Some(bad) = trace.iter().find(|s| !range.contains(&s.size)) {
                return Err(ShapeError::Size(bad.size));
            }
        }
        let pauses = Vec::new();
        Ok(Self { traces, pauses })
    }

    /// With how long clients took for what no burst shows.
    #[must_use]
    pub fn with_pauses(mut self, pauses: &[Pauses]) -> Self {
        let all = |p: &Pauses| [p.answer, p.preface, p.request, p.acknowledge].map(Gap::new);
        self.pauses = pauses.iter().take(TRACES_MAX).map(all).collect();
        self
    }

    /// How long clients took for what no burst shows, where that was learnt.
    pub fn pauses(&self) -> impl Iterator<Item = Pauses> {
        self.pauses.iter().map(|[a, b, c, d]| Pauses {
            answer: (*a).into(),
            preface: (*b).into(),
            request: (*c).into(),
            acknowledge: (*d).into(),
        })
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    ///
    /// [`ShapeError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ShapeError> {
        let map: Map<'_> = cbor::from_slice(bytes)?;
        if map.version != FORMAT {
            return Err(ShapeError::Version);
        }
        let mut traces = Vec::new();
        for bytes in map.traces {
            let (steps, rest) = bytes.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(ShapeError::Steps);
            }
            let step = |b: &[u8; 4]| {
                let size = u16::from_be_bytes([b[2], b[3]]);
                Step {
                    gap: Gap(u16::from_be_bytes([b[0], b[1]])),
                    up: size & UP != 0,
                    size: size & !UP,
                }
            };
            traces.push(steps.iter().map(step).collect());
        }
        let (pauses, rest) = map.pauses.unwrap_or_default().as_chunks::<8>();
        if !rest.is_empty() || pauses.len() > TRACES_MAX {
            return Err(ShapeError::Pauses);
        }
        let mut shape = Self::new(traces)?;
        let all = |bytes: &[u8; 8]| {
            let pause = |n: usize| Gap(u16::from_be_bytes([bytes[n], bytes[n + 1]]));
            [pause(0), pause(2), pause(4), pause(6)]
        };
        shape.pauses = pauses.iter().map(all).collect();
        Ok(shape)
    }

    /// The file's bytes: DET-CBOR of `{"v": 5, "pauses": bstr, "traces": [bstr]}`, four bytes a record, and eight a client's pauses, if there are any.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = |trace: &Trace| -> Vec<u8> {
            let steps = trace.iter().flat_map(|s| {
                let [a, b] = s.gap.0.to_be_bytes();
                let [c, d] = (s.size | if s.up { UP } else { 0 }).to_be_bytes();
                [a, b, c, d]
            });
            steps.collect()
        };
        let traces: Vec<Vec<u8>> = self.traces.iter().map(bytes).collect();
        let pauses: Vec<u8> = self
            .pauses
            .iter()
            .flatten()
            .flat_map(|p| p.0.to_be_bytes())
            .collect();
        cbor::to_vec(&Map {
            version: FORMAT,
            pauses: Some(&pauses[..]).filter(|p| !p.is_empty()),
            traces: traces.iter().map(Vec::as_slice).collect(),
        })
    }

    /// Its traces.
    #[must_use]
    pub fn traces(&self) -> &[Trace] {
        &self.traces
    }

    /// What tells it from others.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        hash(&[&self.to_bytes()])
    }

    /// A label's last characters that say to whoever has this shape, and to nobody else, that the client of this connection
    /// follows it, from that trace on.
    #[must_use]
    pub fn mark(&self, ekm0: &[u8; 32], trace: u16) -> alloc::string::String {
        let [tag @ .., a, b] = self.tag(ekm0);
        let [c, d] = trace.to_be_bytes();
        text::base64url(&[&tag[..], &[a ^ c, b ^ d]].concat())
    }

    fn tag(&self, ekm0: &[u8; 32]) -> [u8; 6] {
        let hash = hash(&[b"BN-SHAPE", ekm0, &self.id()]);
        core::array::from_fn(|n| hash[n])
    }

    /// The trace that the client of this connection follows, if its label says that it does.
    #[must_use]
    pub fn marked(&self, ekm0: &[u8; 32], label: &str) -> Option<u16> {
        let mark = label.get(label.len().checked_sub(8)?..)?;
        let mark: [u8; 6] = text::unbase64url(mark)?.try_into().ok()?;
        let [tag @ .., a, b] = self.tag(ekm0);
        let [told @ .., c, d] = mark;
        let trace = u16::from_be_bytes([a ^ c, b ^ d]);
        (tag == told && usize::from(trace) < self.traces.len()).then_some(trace)
    }

    /// The trace that both ends draw `n`th, behind the one that the client told, from a key that they share.
    #[must_use]
    pub fn drawn(&self, key: &[u8; 32], n: u32) -> &[Step] {
        let drawn = hash(&[b"BN-TRACE", key, &n.to_be_bytes()]);
        let number = drawn[..8]
            .iter()
            .fold(0, |n: u64, b| n << 8 | u64::from(*b));
        let index = usize::try_from(number % self.traces.len() as u64).unwrap_or(0);
        &self.traces[index]
    }
}

#[cfg(test)]
mod tests;
