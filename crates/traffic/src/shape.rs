//! Shapes of traffic: recorded page loads, and the schedule by which each end of a tunnel imitates one.
//!
//! A [`Trace`] holds the records of one page load after its handshake: their directions, sizes and gaps. A [`Shape`] is a set
//! of traces. Both ends of a tunnel with the same shape draw the same trace from a shared key. Each end follows its own
//! direction of the trace with a [`Follower`]: it sends the trace's bursts, padded with PADDING where data is short and held
//! back where there is more.

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

/// Value of `v` in files.
const FORMAT: u16 = 5;
/// Maximum number of records in one trace.
pub const STEPS_MAX: usize = 4096;
/// Maximum number of traces in one shape.
pub const TRACES_MAX: usize = 1024;
/// Overhead of a TLS record: its content type and the tag.
pub const RECORD: usize = 17;
/// Maximum payload of an HTTP/2 frame.
pub const FRAME: usize = 16_384;
/// Length of an HTTP/2 frame header.
pub const FRAME_HEADER: usize = 9;
/// Maximum length of a record: 2^14 bytes of plaintext.
const RECORD_MAX: u16 = 16_384 + 17;
/// Number of session bytes in `plaintext` bytes of plaintext; the rest is headers of frames of maximum length. Both ends use it
/// to count how much of the other's part has arrived.
#[must_use]
pub const fn payload(plaintext: usize) -> usize {
    let frames = plaintext.div_ceil(FRAME + FRAME_HEADER);
    plaintext.saturating_sub(frames * FRAME_HEADER)
}

/// Low bits of a gap: the number of units. The high bits, from 0 to 3, select the unit.
const COUNT: u16 = 0x3fff;
/// Bit 15 of a size on disk: the record goes up, from client to server.
const UP: u16 = 0x8000;

/// A time between two records, as a shape stores it. The resolution is 0.25 µs below 4 ms, 4 µs below 65 ms, 64 µs below 1 s,
/// and 1024 µs below 16 s.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Gap(u16);

/// Length of a unit in nanoseconds.
const fn unit(scale: u16) -> u64 {
    250 << (4 * scale)
}

impl Gap {
    /// Rounds to the nearest gap.
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

/// One record of a trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Step {
    /// Time since the previous record.
    pub gap: Gap,
    /// Whether the record goes from client to server.
    pub up: bool,
    /// The length in the record's header.
    pub size: u16,
}

/// The records of one page load, after the handshake.
pub type Trace = Vec<Step>;

/// Recorded page loads of one site.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Shape {
    traces: Vec<Trace>,
    pauses: Vec<[Gap; 4]>,
}

/// Delays of one client that no burst shows.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Pauses {
    /// Delay before the client answers the server's handshake.
    pub answer: Duration,
    /// From that answer to the HTTP/2 preface.
    pub preface: Duration,
    /// From the preface to the first request.
    pub request: Duration,
    /// Delay before the client acknowledges the server's SETTINGS.
    pub acknowledge: Duration,
}

message! {
    struct Map<'a> {
        req "v" version: u16,
        opt "pauses" pauses: &'a [u8],
        req "traces" traces: Vec<&'a [u8]>,
    }
}

/// Why bytes are not a shape.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// The bytes are not DET-CBOR, or not the expected map.
    #[error("it does not decode: {0}")]
    Cbor(#[from] cbor::Error),
    /// The format version is unknown.
    #[error("its format is not {FORMAT}: learn it anew")]
    Version,
    /// There is no trace, or more than [`TRACES_MAX`].
    #[error("it has no trace, or more than {TRACES_MAX}")]
    Traces,
    /// A trace has no records, more than [`STEPS_MAX`], or a truncated one.
    #[error("a trace without records, with more than {STEPS_MAX}, or cut in the middle of one")]
    Steps,
    /// There are more pauses than [`TRACES_MAX`], or one is truncated.
    #[error("pauses that are no list of at most {TRACES_MAX}")]
    Pauses,
    /// A record is longer than TLS allows, or has no plaintext.
    #[error("a record of {0} bytes")]
    Size(u16),
}

/// A record as an observer sees it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Record {
    /// Microseconds since the connection's first record.
    pub at: u64,
    /// Whether the record goes from client to server.
    pub up: bool,
    /// The content type; 23 is application data.
    pub kind: u8,
    /// The length in the record's header.
    pub size: u16,
}

impl Shape {
    /// Makes a shape from traces.
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

    /// Adds clients' delays that no burst shows.
    #[must_use]
    pub fn with_pauses(mut self, pauses: &[Pauses]) -> Self {
        let all = |p: &Pauses| [p.answer, p.preface, p.request, p.acknowledge].map(Gap::new);
        self.pauses = pauses.iter().take(TRACES_MAX).map(all).collect();
        self
    }

    /// Clients' delays that no burst shows; empty if none were learnt.
    pub fn pauses(&self) -> impl Iterator<Item = Pauses> {
        self.pauses.iter().map(|[a, b, c, d]| Pauses {
            answer: (*a).into(),
            preface: (*b).into(),
            request: (*c).into(),
            acknowledge: (*d).into(),
        })
    }

    /// Decodes a file.
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

    /// Encodes a file: DET-CBOR of `{"v": 5, "pauses": bstr, "traces": [bstr]}`. A record takes four bytes, and a client's
    /// pauses eight, if there are any.
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

    /// The traces of the shape.
    #[must_use]
    pub fn traces(&self) -> &[Trace] {
        &self.traces
    }

    /// ID of the shape.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        hash(&[&self.to_bytes()])
    }

    /// Last characters of a label. They tell a holder of this shape, and nobody else, that this connection's client follows it
    /// from trace `trace` on.
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

    /// The trace that the client of this connection follows, if its label carries a valid mark.
    #[must_use]
    pub fn marked(&self, ekm0: &[u8; 32], label: &str) -> Option<u16> {
        let mark = label.get(label.len().checked_sub(8)?..)?;
        let mark: [u8; 6] = text::unbase64url(mark)?.try_into().ok()?;
        let [tag @ .., a, b] = self.tag(ekm0);
        let [told @ .., c, d] = mark;
        let trace = u16::from_be_bytes([a ^ c, b ^ d]);
        (tag == told && usize::from(trace) < self.traces.len()).then_some(trace)
    }

    /// The `n`th trace after the one that the client announced; both ends draw it from a shared key.
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
