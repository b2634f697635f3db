//! Messages of a run.

use alloc::vec::Vec;
use core::fmt;

use betanet_bls::Scalar;
use betanet_keys::hash;
use betanet_wire::{cbor, message};
use zeroize::Zeroizing;

use crate::message::MessageError;

/// Longest message of a run: 255 commitments, and what joins them.
pub const DKG_MESSAGE_MAX: usize = 1 << 15;

message! {
    struct CommitWire {
        req "from" from: u16,
        req "hash" hash: [u8; 32],
        req "session" session: [u8; 32],
    }
}

message! {
    struct RevealWire {
        req "c" commitments: Vec<[u8; 96]>,
        req "from" from: u16,
        opt "proof" proof: [u8; 48],
        req "session" session: [u8; 32],
    }
}

message! {
    struct ShareWire<'a> {
        req "to" to: u16,
        req "from" from: u16,
        req "share" share: &'a [u8; 32],
        req "session" session: [u8; 32],
    }
}

message! {
    struct ComplaintWire {
        req "by" by: u16,
        req "against" against: u16,
        req "session" session: [u8; 32],
    }
}

fn read<'a, T: cbor::Decode<'a>>(bytes: &'a [u8]) -> Result<T, MessageError> {
    match bytes.len() > DKG_MESSAGE_MAX {
        true => Err(MessageError::Length),
        false => Ok(cbor::from_slice(bytes)?),
    }
}

fn index(n: u16) -> Result<u8, MessageError> {
    Ok(u8::try_from(n).map_err(|_| cbor::Error::Range("a u8"))?)
}

/// Round 1: the hash of what will be revealed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Commit {
    pub(super) session: [u8; 32],
    /// The sender.
    pub from: u8,
    pub(super) hash: [u8; 32],
}

impl Commit {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// Not the message.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        let wire: CommitWire = read(bytes)?;
        let (from, CommitWire { hash, session, .. }) = (index(wire.from)?, wire);
        Ok(Self {
            session,
            from,
            hash,
        })
    }

    /// Encodes the message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (session, from, hash) = (self.session, self.from.into(), self.hash);
        cbor::to_vec(&CommitWire {
            from,
            hash,
            session,
        })
    }
}

/// Round 2: commitments to the polynomial's terms, and the proof of possession of the first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reveal {
    pub(super) session: [u8; 32],
    /// The sender.
    pub from: u8,
    pub(super) commitments: Vec<[u8; 96]>,
    pub(super) proof: Option<[u8; 48]>,
}

impl Reveal {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// Not the message, or more than 255 commitments.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        let wire: RevealWire = read(bytes)?;
        if wire.commitments.len() > 255 {
            return Err(MessageError::Count);
        }
        Ok(Self {
            session: wire.session,
            from: index(wire.from)?,
            commitments: wire.commitments,
            proof: wire.proof,
        })
    }

    /// Encodes the message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(&RevealWire {
            commitments: self.commitments.clone(),
            from: self.from.into(),
            proof: self.proof,
            session: self.session,
        })
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        hash(&[b"BN-DKG-COMMIT1", &self.to_bytes()])
    }
}

/// Round 3, and the answer to a complaint in round 5: a share. Secret in round 3; wiped on drop, never printed.
#[derive(Clone, Eq, PartialEq)]
pub struct DealtShare {
    pub(super) session: [u8; 32],
    /// The dealer.
    pub from: u8,
    /// The participant that it is for.
    pub to: u8,
    pub(super) secret: Scalar,
}

impl DealtShare {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// Not the message, or a number that is not below the order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        let wire: ShareWire<'_> = read(bytes)?;
        let secret = Scalar::from_bytes(wire.share);
        Ok(Self {
            session: wire.session,
            from: index(wire.from)?,
            to: index(wire.to)?,
            secret: secret.map_err(|_| cbor::Error::Range("a scalar"))?,
        })
    }

    /// Encodes the message.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let (session, share) = (self.session, self.secret.to_bytes());
        let (to, from, share) = (self.to.into(), self.from.into(), &*share);
        Zeroizing::new(cbor::to_vec(&ShareWire {
            to,
            from,
            share,
            session,
        }))
    }
}

impl fmt::Debug for DealtShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DealtShare({} to {}, …)", self.from, self.to)
    }
}

/// Round 4: somebody got no right share.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Complaint {
    pub(super) session: [u8; 32],
    /// Who complains.
    pub by: u8,
    /// The dealer.
    pub against: u8,
}

impl Complaint {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// Not the message.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        let wire: ComplaintWire = read(bytes)?;
        Ok(Self {
            session: wire.session,
            by: index(wire.by)?,
            against: index(wire.against)?,
        })
    }

    /// Encodes the message.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let (by, against) = (self.by.into(), self.against.into());
        let session = self.session;
        cbor::to_vec(&ComplaintWire {
            by,
            against,
            session,
        })
    }
}
