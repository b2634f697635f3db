//! The payload of a PATH_CONTROL frame.

use alloc::vec::Vec;

use betanet_wire::NodeId;
use betanet_wire::prim::{Fields, Short, put_u16, put_u32, put_u64, put_varstr};

/// The version of the header.
pub const VERSION: u8 = 2;
/// Most segments of one path.
pub const SEGMENTS_MAX: usize = 8;
/// Bytes of the header.
const HEADER: u16 = 8;
/// Bytes of a signature.
const SIG: usize = 64;
/// Encrypted path metadata, which nothing defines (E-13).
const FLAG_ENCRYPTED: u8 = 0x01;
/// Congestion feedback follows.
const FLAG_CF: u8 = 0x02;

/// The numbers of the types.
mod ty {
    pub(super) const SINGLE: u8 = 0x01;
    pub(super) const MULTI: u8 = 0x03;
    pub(super) const PROBE: u8 = 0x10;
    pub(super) const PROBE_ACK: u8 = 0x11;
    pub(super) const CF: u8 = 0x12;
    pub(super) const ERROR: u8 = 0x13;
}

/// Reason why bytes are not a PATH_CONTROL payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The payload ends early.
    #[error("the path header ends early")]
    Short,
    /// Bytes follow the payload, or a length in its header is wrong.
    #[error("a length in the path header is not what is there")]
    Length,
    /// The version is not 2.
    #[error("path header version {0}, where 2 is spoken")]
    Version(u8),
    /// The type is unknown.
    #[error("path header type {0:#04x} is unknown")]
    Type(u8),
    /// Flag bit 0 is set: UNSUPPORTED_FEATURE.
    #[error("encrypted path metadata is not defined")]
    Encrypted,
    /// An unknown flag, or a feedback flag that does not fit the type.
    #[error("path header flags {0:#04x} do not belong to the type")]
    Flags(u8),
    /// The type does not permit this number of segments.
    #[error("{0} segments, where the type has others or at most 8 are allowed")]
    Segments(u8),
    /// A signature has neither 0 nor 64 bytes.
    #[error("a signature of {0} bytes, where 0 or 64 are allowed")]
    Signature(usize),
    /// An unknown congestion level or error code, or a loss above 100 %.
    #[error("value {0} is out of its range")]
    Value(u8),
}

impl From<Short> for ControlError {
    fn from(Short: Short) -> Self {
        Self::Short
    }
}

/// One hop of a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segment {
    /// The node that the segment leads to.
    pub next: NodeId,
    /// Expiry, in seconds since the epoch.
    pub expiry: u32,
    /// Time of the signature, in milliseconds since the epoch; 0 once blanked.
    pub timestamp: u64,
    /// Signature of the node that sends to `next`; `None` before that node signs, and once blanked.
    pub sig: Option<[u8; SIG]>,
}

/// Congestion level of a hop.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Ecn {
    /// No congestion.
    #[default]
    None,
    /// Moderate congestion.
    Moderate,
    /// Severe congestion: the hop's weight is halved for a minute.
    Severe,
}

/// Congestion feedback (E-14).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cf {
    /// Congestion level.
    pub ecn: Ecn,
    /// Lost packets in percent, 0 to 100.
    pub loss: u8,
    /// Round-trip time in milliseconds.
    pub rtt_ms: u16,
    /// Waiting packets.
    pub queue: u16,
}

/// Reason for the end of a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The hop has no route to the next one.
    NoRoute,
    /// The next hop does not answer.
    PeerDown,
    /// The path has expired.
    TtlExpired,
    /// The hop's policy refuses the path.
    PolicyDeny,
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::NoRoute => "NO_ROUTE: the next node is not known there",
            Self::PeerDown => "PEER_DOWN: the next node does not answer",
            Self::TtlExpired => "TTL_EXPIRED: the path has expired",
            Self::PolicyDeny => "POLICY_DENY: paths are not carried on there",
        })
    }
}

impl Failure {
    /// The code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::NoRoute => 1,
            Self::PeerDown => 2,
            Self::TtlExpired => 3,
            Self::PolicyDeny => 4,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::NoRoute,
            2 => Self::PeerDown,
            3 => Self::TtlExpired,
            4 => Self::PolicyDeny,
            _ => return None,
        })
    }
}

/// ID of a path on one link.
pub type PathId = [u8; 8];

/// Content of a PATH_CONTROL frame.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Control {
    /// An ordered path (SINGLE).
    Single {
        /// The hops, in order.
        segments: Vec<Segment>,
        /// The sender's congestion feedback.
        cf: Option<Cf>,
    },
    /// A live hop and its fallbacks (MULTI).
    Multi {
        /// The live hop first.
        segments: Vec<Segment>,
        /// The sender's congestion feedback.
        cf: Option<Cf>,
    },
    /// Asks whether the peer is alive; holds a token.
    Probe([u8; 8]),
    /// Answer to a PROBE.
    ProbeAck {
        /// Token of the PROBE.
        token: [u8; 8],
        /// Congestion feedback of the answering hop.
        cf: Cf,
    },
    /// Congestion feedback alone.
    Congestion(Cf),
    /// A path ended; signed by the reporting hop.
    Error {
        /// Reason.
        failure: Failure,
        /// ID of the path on this link.
        path: PathId,
        /// Key of the reporting hop.
        key: [u8; 32],
        /// Signature of the reporting hop.
        sig: [u8; SIG],
    },
}

impl Control {
    /// Number of the type.
    #[must_use]
    pub const fn ty(&self) -> u8 {
        match self {
            Self::Single { .. } => ty::SINGLE,
            Self::Multi { .. } => ty::MULTI,
            Self::Probe(_) => ty::PROBE,
            Self::ProbeAck { .. } => ty::PROBE_ACK,
            Self::Congestion(_) => ty::CF,
            Self::Error { .. } => ty::ERROR,
        }
    }

    /// The flags; a segment's signature covers them.
    #[must_use]
    pub const fn flags(&self) -> u8 {
        match self {
            Self::Single { cf: Some(_), .. }
            | Self::Multi { cf: Some(_), .. }
            | Self::ProbeAck { .. }
            | Self::Congestion(_) => FLAG_CF,
            _ => 0,
        }
    }

    /// Encodes the payload.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = alloc::vec![VERSION, self.ty()];
        put_u16(&mut out, HEADER);
        put_u16(&mut out, 0);
        out.push(self.flags());
        match self {
            Self::Single { segments, cf } | Self::Multi { segments, cf } => {
                out.push(u8::try_from(segments.len()).unwrap_or(u8::MAX));
                for s in segments {
                    out.extend_from_slice(&s.next.0);
                    put_u32(&mut out, s.expiry);
                    put_u64(&mut out, s.timestamp);
                    put_varstr(&mut out, s.sig.as_ref().map_or(&[], |s| s));
                }
                if let Some(cf) = cf {
                    put_cf(&mut out, *cf);
                }
            }
            Self::Probe(token) => {
                out.push(0);
                out.extend_from_slice(token);
            }
            Self::ProbeAck { token, cf } => {
                out.push(0);
                out.extend_from_slice(token);
                put_cf(&mut out, *cf);
            }
            Self::Congestion(cf) => {
                out.push(0);
                put_cf(&mut out, *cf);
            }
            Self::Error {
                failure,
                path,
                key,
                sig,
            } => {
                out.push(0);
                out.push(failure.code());
                out.extend_from_slice(path);
                out.extend_from_slice(key);
                put_varstr(&mut out, sig);
            }
        }
        let len = u16::try_from(out.len()).unwrap_or(u16::MAX);
        out[4..6].copy_from_slice(&len.to_be_bytes());
        out
    }

    /// Decodes a payload. Every byte and every value must have a meaning.
    ///
    /// # Errors
    ///
    /// [`ControlError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ControlError> {
        let mut f = Fields::new(bytes);
        let version = f.u8()?;
        if version != VERSION {
            return Err(ControlError::Version(version));
        }
        let kind = f.u8()?;
        let header = f.u16()?;
        let len = f.u16()?;
        if header != HEADER || usize::from(len) != bytes.len() {
            return Err(ControlError::Length);
        }
        let flags = f.u8()?;
        if flags & FLAG_ENCRYPTED != 0 {
            return Err(ControlError::Encrypted);
        }
        let count = f.u8()?;
        let has_cf = flags == FLAG_CF;
        let (least, most, cf_fits) = match kind {
            ty::SINGLE => (1, SEGMENTS_MAX, true),
            ty::MULTI => (2, SEGMENTS_MAX, true),
            ty::PROBE | ty::ERROR => (0, 0, !has_cf),
            ty::PROBE_ACK | ty::CF => (0, 0, has_cf),
            _ => return Err(ControlError::Type(kind)),
        };
        if flags & !FLAG_CF != 0 || !cf_fits {
            return Err(ControlError::Flags(flags));
        }
        if !(least..=most).contains(&usize::from(count)) {
            return Err(ControlError::Segments(count));
        }
        let control = match kind {
            ty::PROBE => Self::Probe(f.array()?),
            ty::PROBE_ACK => Self::ProbeAck {
                token: f.array()?,
                cf: read_cf(&mut f)?,
            },
            ty::CF => Self::Congestion(read_cf(&mut f)?),
            ty::ERROR => {
                let code = f.u8()?;
                Self::Error {
                    failure: Failure::from_code(code).ok_or(ControlError::Value(code))?,
                    path: f.array()?,
                    key: f.array()?,
                    sig: read_sig(&mut f)?.ok_or(ControlError::Signature(0))?,
                }
            }
            _ => {
                let mut segments = Vec::with_capacity(usize::from(count));
                for _ in 0..count {
                    segments.push(Segment {
                        next: NodeId(f.array()?),
                        expiry: f.u32()?,
                        timestamp: f.u64()?,
                        sig: read_sig(&mut f)?,
                    });
                }
                let cf = if has_cf { Some(read_cf(&mut f)?) } else { None };
                if kind == ty::SINGLE {
                    Self::Single { segments, cf }
                } else {
                    Self::Multi { segments, cf }
                }
            }
        };
        if f.is_empty() {
            Ok(control)
        } else {
            Err(ControlError::Length)
        }
    }
}

fn read_sig(f: &mut Fields<'_>) -> Result<Option<[u8; SIG]>, ControlError> {
    let sig = f.varstr()?;
    if sig.is_empty() {
        return Ok(None);
    }
    sig.try_into()
        .map(Some)
        .map_err(|_| ControlError::Signature(sig.len()))
}

fn put_cf(out: &mut Vec<u8>, cf: Cf) {
    out.push(match cf.ecn {
        Ecn::None => 0,
        Ecn::Moderate => 1,
        Ecn::Severe => 2,
    });
    out.push(cf.loss);
    put_u16(out, cf.rtt_ms);
    put_u16(out, cf.queue);
}

fn read_cf(f: &mut Fields<'_>) -> Result<Cf, ControlError> {
    let ecn = match f.u8()? {
        0 => Ecn::None,
        1 => Ecn::Moderate,
        2 => Ecn::Severe,
        other => return Err(ControlError::Value(other)),
    };
    let loss = f.u8()?;
    if loss > 100 {
        return Err(ControlError::Value(loss));
    }
    Ok(Cf {
        ecn,
        loss,
        rtt_ms: f.u16()?,
        queue: f.u16()?,
    })
}
