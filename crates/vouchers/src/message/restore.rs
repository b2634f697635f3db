use alloc::vec::Vec;

use betanet_bls::G1Affine;
use betanet_wire::{cbor, message};

use super::{Blinded, MessageError, counted, read};
use crate::KeysetId;

message! {
    struct Wire {
        req "b" blinded: Vec<Blinded>,
        req "keyset" keyset: [u8; 32],
    }
}

message! {
    struct AnswerWire<'a> {
        req "s" signatures: Vec<&'a [u8]>,
        req "share" share: u16,
    }
}

/// `POST /vouchers/restore` to one mint: which of these points has it signed before?
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RestoreRequest {
    /// The keyset.
    pub keyset: KeysetId,
    /// The points.
    pub blinded: Vec<Blinded>,
}

impl RestoreRequest {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// Not the message, or not 1 to 1 024 points.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        let wire: Wire = read(bytes)?;
        counted(wire.blinded.len())?;
        Ok(Self {
            keyset: KeysetId(wire.keyset),
            blinded: wire.blinded,
        })
    }

    /// Encodes the request.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(&Wire {
            blinded: self.blinded.clone(),
            keyset: self.keyset.0,
        })
    }
}

/// A mint's answer: its signature again for each point that it has signed, nothing for others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RestoreAnswer {
    /// Index of the share.
    pub share: u8,
    /// One entry a point, in order; empty on the wire where it was not signed.
    pub signatures: Vec<Option<G1Affine>>,
}

impl RestoreAnswer {
    /// Reads an answer, and decodes its points.
    ///
    /// # Errors
    ///
    /// Not the message, or a bad point.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        let wire: AnswerWire<'_> = read(bytes)?;
        counted(wire.signatures.len())?;
        let point = |s: &&[u8]| match *s {
            [] => Ok(None),
            bytes => {
                let bytes = bytes.try_into().ok();
                let point = bytes.and_then(|b| G1Affine::from_bytes(b).ok());
                point.map(Some).ok_or(cbor::Error::Range("a point of G1"))
            }
        };
        let signatures: Result<Vec<Option<G1Affine>>, _> =
            wire.signatures.iter().map(point).collect();
        Ok(Self {
            share: u8::try_from(wire.share).map_err(|_| cbor::Error::Range("a u8"))?,
            signatures: signatures?,
        })
    }

    /// Encodes the answer.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let points: Vec<Option<[u8; 48]>> = self
            .signatures
            .iter()
            .map(|s| s.map(|s| s.to_bytes()))
            .collect();
        let signatures = points
            .iter()
            .map(|p| p.as_ref().map_or(&[][..], |p| &p[..]));
        cbor::to_vec(&AnswerWire {
            signatures: signatures.collect(),
            share: self.share.into(),
        })
    }
}
