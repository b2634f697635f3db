//! Packet payloads: pieces of a stream, acknowledgements, and tokens of loops.

use alloc::vec::Vec;

use crate::build::{SURB, Surb};
use crate::packet::{PAYLOAD, part};

/// Bytes before the SURBs and the data.
const HEAD: usize = 24;
/// Most data in a payload without SURBs.
pub const DATA_MAX: usize = PAYLOAD - HEAD;
/// Most SURBs in a payload.
pub const SURBS_MAX: usize = DATA_MAX / SURB;

/// Kind of a payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A piece of a request's stream.
    Request,
    /// A piece of an answer's stream, over a SURB.
    Reply,
    /// An acknowledgement.
    Acknowledgement,
    /// A loop: the client's own token.
    Loop,
}

impl Kind {
    const fn to_wire(self) -> u8 {
        match self {
            Self::Request => 1,
            Self::Reply => 2,
            Self::Acknowledgement => 3,
            Self::Loop => 4,
        }
    }

    const fn from_wire(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Request,
            2 => Self::Reply,
            3 => Self::Acknowledgement,
            4 => Self::Loop,
            _ => return None,
        })
    }
}

/// A decoded payload.
#[derive(Debug)]
pub struct Fragment {
    /// Kind.
    pub kind: Kind,
    /// ID of the exchange: random, chosen by the client.
    pub message: [u8; 8],
    /// Index of the piece, from 0.
    pub index: u16,
    /// Number of pieces; 0 while the end is not known.
    pub count: u16,
    /// Reply blocks for the other side, at most [`SURBS_MAX`].
    pub surbs: Vec<Surb>,
    /// The piece.
    pub data: Vec<u8>,
}

/// Reason why a payload is invalid.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FragmentError {
    /// The kind is unknown.
    #[error("kind {0} is none of the four")]
    Kind(u8),
    /// A field or padding that must be zero is not.
    #[error("a reserved field, or what is behind the data, is not zero")]
    NotZero,
    /// SURBs and data exceed a payload.
    #[error("SURBs and data are longer than a payload")]
    Length,
    /// The index is not below the count.
    #[error("piece {index} of {count}")]
    Index {
        /// Index of the piece.
        index: u16,
        /// Number of pieces.
        count: u16,
    },
}

impl Fragment {
    /// Encodes the payload of a packet.
    ///
    /// # Errors
    ///
    /// [`FragmentError::Length`] or [`FragmentError::Index`].
    pub fn to_payload(&self) -> Result<[u8; PAYLOAD], FragmentError> {
        let data_at = HEAD + self.surbs.len() * SURB;
        let end = data_at + self.data.len();
        if end > PAYLOAD {
            return Err(FragmentError::Length);
        }
        check_index(self.index, self.count)?;
        let mut out = [0; PAYLOAD];
        out[0] = self.kind.to_wire();
        out[2..10].copy_from_slice(&self.message);
        out[10..12].copy_from_slice(&self.index.to_be_bytes());
        out[12..14].copy_from_slice(&self.count.to_be_bytes());
        let too_long = |_| FragmentError::Length;
        let len = u16::try_from(self.data.len()).map_err(too_long)?;
        out[14..16].copy_from_slice(&len.to_be_bytes());
        out[16] = u8::try_from(self.surbs.len()).map_err(too_long)?;
        for (place, surb) in out[HEAD..].chunks_exact_mut(SURB).zip(&self.surbs) {
            place.copy_from_slice(surb.as_bytes());
        }
        out[data_at..end].copy_from_slice(&self.data);
        Ok(out)
    }

    /// Decodes a payload; only one encoding is valid.
    ///
    /// # Errors
    ///
    /// [`FragmentError`].
    pub fn from_payload(payload: &[u8; PAYLOAD]) -> Result<Self, FragmentError> {
        let word = |at| u16::from_be_bytes(part(payload, at));
        let kind = Kind::from_wire(payload[0]).ok_or(FragmentError::Kind(payload[0]))?;
        let (index, count) = (word(10), word(12));
        let surbs = usize::from(payload[16]);
        let data_at = HEAD + surbs * SURB;
        let end = data_at + usize::from(word(14));
        if end > PAYLOAD {
            return Err(FragmentError::Length);
        }
        let zeros = payload[17..HEAD].iter().chain(&payload[end..]);
        if payload[1] != 0 || zeros.into_iter().any(|b| *b != 0) {
            return Err(FragmentError::NotZero);
        }
        check_index(index, count)?;
        let (blocks, _) = payload[HEAD..data_at].as_chunks::<SURB>();
        Ok(Self {
            kind,
            message: part(payload, 2),
            index,
            count,
            surbs: blocks.iter().map(|b| Surb::from_bytes(*b)).collect(),
            data: payload[data_at..end].to_vec(),
        })
    }
}

const fn check_index(index: u16, count: u16) -> Result<(), FragmentError> {
    if count != 0 && index >= count {
        return Err(FragmentError::Index { index, count });
    }
    Ok(())
}

/// Acknowledgement: all pieces below `base` arrived, and the bitmap describes the 64 pieces after it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ack {
    /// The first missing piece.
    pub base: u16,
    /// Bit i is set if piece `base + 1 + i` arrived.
    pub bitmap: u64,
}

impl Ack {
    /// Length of the encoding.
    pub const LEN: usize = 10;

    /// Encodes the data of a payload.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..2].copy_from_slice(&self.base.to_be_bytes());
        out[2..].copy_from_slice(&self.bitmap.to_be_bytes());
        out
    }

    /// Decodes the data of a payload; `None` for another length.
    #[must_use]
    pub fn from_bytes(data: &[u8]) -> Option<Self> {
        let data: &[u8; Self::LEN] = data.try_into().ok()?;
        Some(Self {
            base: u16::from_be_bytes(part(data, 0)),
            bitmap: u64::from_be_bytes(part(data, 2)),
        })
    }

    /// Whether a piece arrived.
    #[must_use]
    pub const fn has(&self, index: u16) -> bool {
        if index < self.base {
            return true;
        }
        let ahead = index - self.base;
        ahead > 0 && ahead <= 64 && self.bitmap >> (ahead - 1) & 1 == 1
    }
}
