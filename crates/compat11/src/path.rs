//! Path headers of version 1.1, in which a client names the nodes of its leg's path. The format is chapter 3's header with no
//! Timestamp in its segments:
//! `Version u8 = 2 | Type u8 | Header Len u16 = 8 | Payload Len u16 | Flags u8 = 0 | SegCnt u8 | segments`, a segment being
//! `NextNode 20 | Expiry u32 | Sig varstr`.
//!
//! Only the nodes are used. The meaning of Expiry is not settled (E-16), and a Sig without a time could be replayed. The
//! translating node writes its own time, Expiry and signature.

use alloc::vec::Vec;

use betanet_wire::NodeId;
use betanet_wire::prim::{Fields, Short};

/// Maximum number of segments in one header.
pub const SEGMENTS_MAX: usize = 8;

const VERSION: u8 = 2;
const HEADER: usize = 8;
const SINGLE: u8 = 0x01;
const MULTI: u8 = 0x03;
/// Length of a signature, if present.
const SIG: usize = 64;
/// Maximum length of a header.
const LEN_MAX: usize = HEADER + SEGMENTS_MAX * (20 + 4 + 2 + SIG);

/// Why bytes do not begin a path header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// The version is not 2.
    #[error("path header version {0}, where 2 is spoken")]
    Version(u8),
    /// The type is neither SINGLE nor MULTI.
    #[error("path header type {0:#04x}, where 0x01 and 0x03 are known")]
    Type(u8),
    /// A length does not match the content, or exceeds any header.
    #[error("a length in the path header is not what is there")]
    Length,
    /// A flag is set; none is defined.
    #[error("path header flags {0:#04x}, where none are known")]
    Flags(u8),
    /// The type does not allow this number of segments.
    #[error("{0} segments, where 1 (of MULTI 2) to 8 are allowed")]
    Segments(u8),
    /// A signature is neither 0 nor 64 bytes long.
    #[error("a signature of {0} bytes, where 0 or 64 are allowed")]
    Signature(usize),
    /// There is more than one header.
    #[error("more than a path header")]
    More,
    /// The path contains this node twice.
    #[error("a path may meet {0} once only")]
    Loop(NodeId),
}

impl From<Short> for PathError {
    fn from(Short: Short) -> Self {
        Self::Length
    }
}

/// A parsed path header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PathHeader {
    /// The nodes of the path, first to last. For MULTI only the live path: the others are its sender's fallbacks.
    pub nodes: Vec<NodeId>,
    /// Length of the header, bytes.
    pub len: usize,
}

/// Parses the path header that begins here; `None` while it is incomplete.
///
/// # Errors
///
/// The header is invalid; reported before the rest of an overlong header is awaited.
pub fn read(bytes: &[u8]) -> Result<Option<PathHeader>, PathError> {
    let Some(head) = bytes.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let [version, kind, .., flags, count] = *head;
    let declared = |at: usize| usize::from(u16::from_be_bytes([head[at], head[at + 1]]));
    let len = declared(4);
    if version != VERSION {
        return Err(PathError::Version(version));
    }
    let least = match kind {
        SINGLE => 1,
        MULTI => 2,
        _ => return Err(PathError::Type(kind)),
    };
    if declared(2) != HEADER || !(HEADER..=LEN_MAX).contains(&len) {
        return Err(PathError::Length);
    }
    if flags != 0 {
        return Err(PathError::Flags(flags));
    }
    if !(least..=SEGMENTS_MAX).contains(&usize::from(count)) {
        return Err(PathError::Segments(count));
    }
    let Some(whole) = bytes.get(..len) else {
        return Ok(None);
    };
    let mut fields = Fields::new(&whole[HEADER..]);
    let mut nodes = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let node = NodeId(fields.array()?);
        let _expiry = fields.u32()?;
        let sig = fields.varstr()?.len();
        if sig != 0 && sig != SIG {
            return Err(PathError::Signature(sig));
        }
        if nodes.contains(&node) {
            return Err(PathError::Loop(node));
        }
        nodes.push(node);
    }
    if !fields.is_empty() {
        return Err(PathError::Length);
    }
    if kind == MULTI {
        nodes.truncate(1);
    }
    Ok(Some(PathHeader { nodes, len }))
}

/// State of a leg's path header, the only content of its stream.
#[derive(Debug, Hash)]
pub(crate) enum Asked {
    Part(Vec<u8>),
    Whole,
    /// The peer is a server and asks for no path.
    Never,
}

impl Asked {
    pub(crate) const fn new(client: bool) -> Self {
        if client {
            Self::Never
        } else {
            Self::Part(Vec::new())
        }
    }

    /// Adds bytes of the stream; returns the nodes once the header is complete.
    pub(crate) fn more(&mut self, more: &[u8]) -> Result<Option<Vec<NodeId>>, PathError> {
        match self {
            Self::Part(bytes) => {
                bytes.extend_from_slice(more);
                let Some(header) = read(bytes)? else {
                    return Ok(None);
                };
                if header.len != bytes.len() {
                    return Err(PathError::More);
                }
                *self = Self::Whole;
                Ok(Some(header.nodes))
            }
            Self::Whole if !more.is_empty() => Err(PathError::More),
            Self::Whole | Self::Never => Ok(None),
        }
    }
}
