use alloc::vec::Vec;

use betanet_bls::G1Affine;
use betanet_keys::hash;
use betanet_wire::{cbor, message};

use super::{
    Answer, AnswerError, Blinded, MessageError, blinded_hash, blinded_value, counted, read,
};
use crate::{Denomination, Keyset, KeysetId, Partials};

/// Longest proof of payment.
pub const PAY_MAX: usize = 8_192;

message! {
    struct Wire<'a> {
        req "b" blinded: Vec<Blinded>,
        req "id" id: [u8; 16],
        req "pay" pay: &'a [u8],
        req "keyset" keyset: [u8; 32],
    }
}

message! {
    struct AnswerWire {
        req "s" signatures: Vec<[u8; 48]>,
        req "id" id: [u8; 16],
        req "share" share: u16,
    }
}

/// `POST /vouchers/issue` to one mint: points to sign, and a proof that they are paid for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IssueRequest {
    /// The number by which a repetition is recognised.
    pub id: [u8; 16],
    /// The keyset.
    pub keyset: KeysetId,
    /// The points.
    pub blinded: Vec<Blinded>,
    /// The proof of payment, which the caller reads.
    pub pay: Vec<u8>,
    pub(crate) hash: [u8; 32],
}

impl IssueRequest {
    /// Reads a request. Its points are not looked at: see [`IssueRequest::points`].
    ///
    /// # Errors
    ///
    /// Not the message, not 1 to 1 024 points, or too long a proof.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        let wire: Wire<'_> = read(bytes)?;
        counted(wire.blinded.len())?;
        if wire.pay.len() > PAY_MAX {
            return Err(MessageError::Payment);
        }
        Ok(Self {
            id: wire.id,
            keyset: KeysetId(wire.keyset),
            blinded: wire.blinded,
            pay: wire.pay.to_vec(),
            hash: hash(&[bytes]),
        })
    }

    /// Hash of the request as it came.
    #[must_use]
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// By which a repetition is known: the number and the proof of payment. Somebody else who pays under the same number takes nothing
    /// from whoever drew it.
    pub(crate) fn number(&self) -> [u8; 16] {
        let (mut number, full) = ([0; 16], hash(&[b"BN-VISSUE1", &self.id, &self.pay]));
        number.copy_from_slice(&full[..16]);
        number
    }

    /// Encodes a request.
    #[must_use]
    pub fn encode(id: [u8; 16], keyset: &KeysetId, blinded: &[Blinded], pay: &[u8]) -> Vec<u8> {
        cbor::to_vec(&Wire {
            blinded: blinded.to_vec(),
            id,
            pay,
            keyset: keyset.0,
        })
    }

    /// Decodes the points: each on the curve, in the subgroup, not the identity. About 70 µs each.
    ///
    /// # Errors
    ///
    /// What is wrong with the first bad point.
    pub fn points(&self) -> Result<BlindedPoints, betanet_bls::Error> {
        BlindedPoints::of(self.hash, &self.blinded)
    }
}

/// The checked points of one request.
#[derive(Clone, Debug)]
pub struct BlindedPoints {
    pub(crate) request: [u8; 32],
    pub(crate) points: Vec<(Denomination, G1Affine)>,
}

impl BlindedPoints {
    pub(super) fn of(request: [u8; 32], blinded: &[Blinded]) -> Result<Self, betanet_bls::Error> {
        let point = |b: &Blinded| Ok((b.denomination, G1Affine::from_bytes(&b.point)?));
        let points = blinded.iter().map(point).collect::<Result<_, _>>()?;
        Ok(Self { request, points })
    }
}

/// A mint's answer: a signature for each point, in order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct IssueAnswer {
    /// The request's number.
    pub id: [u8; 16],
    /// The signatures, and the index of the share that made them.
    pub partials: Partials,
}

impl IssueAnswer {
    /// Reads an answer, and decodes its points.
    ///
    /// # Errors
    ///
    /// Not the message. A bad point counts as [`cbor::Error::Range`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        let wire: AnswerWire = read(bytes)?;
        counted(wire.signatures.len())?;
        let point =
            |s: &[u8; 48]| G1Affine::from_bytes(s).map_err(|_| cbor::Error::Range("a point of G1"));
        let signatures: Result<Vec<G1Affine>, _> = wire.signatures.iter().map(point).collect();
        Ok(Self {
            id: wire.id,
            partials: Partials {
                share: u8::try_from(wire.share).map_err(|_| cbor::Error::Range("a u8"))?,
                signatures: signatures?,
            },
        })
    }

    /// Encodes an answer.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let signatures = self.partials.signatures.iter().map(G1Affine::to_bytes);
        cbor::to_vec(&AnswerWire {
            signatures: signatures.collect(),
            id: self.id,
            share: self.partials.share.into(),
        })
    }
}

/// Reads a swap's answer as the proof of payment of an issue: the value that it pays for, and when it was committed. The signature,
/// the number, the keyset, every point and the sum must fit.
///
/// # Errors
///
/// It does not pay for this request.
pub fn swap_pays(request: &IssueRequest, keyset: &Keyset) -> Result<(u64, u64), AnswerError> {
    let answer = Answer::verify(&request.pay, keyset.spender())?;
    let Some(swapped) = answer.swapped.filter(|_| answer.is_ok()) else {
        let code = answer.codes.iter().find(|c| **c != betanet_wire::Code::OK);
        return Err(code.map_or(AnswerError::OtherRequest, |c| AnswerError::Refused(*c)));
    };
    let same = answer.id == request.id
        && swapped.keyset == request.keyset
        && swapped.keyset == keyset.id()
        && swapped.blinded == blinded_hash(&request.blinded)
        && blinded_value(&request.blinded) == Some(answer.total);
    match same {
        true => Ok((answer.total, swapped.at)),
        false => Err(AnswerError::OtherRequest),
    }
}
