//! What a packet's payload says: a piece of a stream, an acknowledgement, or a loop's token.

use alloc::vec::Vec;

use crate::build::{SURB, Surb};
use crate::packet::{PAYLOAD, part};

/// Bytes before SURBs and data.
const HEAD: usize = 24;
/// Data that a payload without SURBs has room for.
pub const DATA_MAX: usize = PAYLOAD - HEAD;
/// SURBs that a payload has room for.
pub const SURBS_MAX: usize = DATA_MAX / SURB;

/// What a payload is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A piece of a request's stream.
    Request,
    /// A piece of an answer's stream, over a SURB.
    Reply,
    /// What has arrived.
    Acknowledgement,
    /// The client's own token, back again.
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

/// One payload.
#[derive(Debug)]
pub struct Fragment {
    /// What it is.
    pub kind: Kind,
    /// Which exchange it belongs to: random, chosen by the client.
    pub message: [u8; 8],
    /// Which piece it is, from 0.
    pub index: u16,
    /// How many there are; 0 while the end is not known.
    pub count: u16,
    /// Reply blocks for the other side, at most [`SURBS_MAX`].
    pub surbs: Vec<Surb>,
    /// The piece.
    pub data: Vec<u8>,
}

/// Why a payload is no fragment.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FragmentError {
    /// Its kind is none of the four.
    #[error("kind {0} is none of the four")]
    Kind(u8),
    /// A field or the rest that has to be zero is not.
    #[error("a reserved field, or what is behind the data, is not zero")]
    NotZero,
    /// SURBs and data are longer than a payload.
    #[error("SURBs and data are longer than a payload")]
    Length,
    /// The index is not below the count.
    #[error("piece {index} of {count}")]
    Index {
        /// Which piece.
        index: u16,
        /// Of how many.
        count: u16,
    },
}

impl Fragment {
    /// For a packet.
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

    /// From a packet; one way of writing it only.
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

/// What has arrived of a stream: everything below `base`, and what the bits say of the 64 pieces after that.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ack {
    /// The first piece that is missing.
    pub base: u16,
    /// Bit i: piece `base + 1 + i` is there.
    pub bitmap: u64,
}

impl Ack {
    /// Its length.
    pub const LEN: usize = 10;

    /// A payload's data.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..2].copy_from_slice(&self.base.to_be_bytes());
        out[2..].copy_from_slice(&self.bitmap.to_be_bytes());
        out
    }

    /// From a payload's data; `None` when it has another length.
    #[must_use]
    pub fn from_bytes(data: &[u8]) -> Option<Self> {
        let data: &[u8; Self::LEN] = data.try_into().ok()?;
        Some(Self {
            base: u16::from_be_bytes(part(data, 0)),
            bitmap: u64::from_be_bytes(part(data, 2)),
        })
    }

    /// Whether it names a piece.
    #[must_use]
    pub const fn has(&self, index: u16) -> bool {
        if index < self.base {
            return true;
        }
        let ahead = index - self.base;
        ahead > 0 && ahead <= 64 && self.bitmap >> (ahead - 1) & 1 == 1
    }
}
