use alloc::vec::Vec;

use betanet_keys::{Identity, KeyError, PublicKey, hash};
use betanet_wire::cbor::{self, Decode, Encode, Reader, Writer};
use betanet_wire::{Code, message};

use super::{MessageError, VOUCHERS_MAX, read};
use crate::KeysetId;

/// Label of the service's signature.
pub const ANSWER_LABEL: &str = "BN-VRS1";

message! {
    struct Wire {
        opt "at" at: u64,
        opt "bh" bh: [u8; 32],
        req "id" id: [u8; 16],
        req "bal" bal: u64,
        req "req" req: [u8; 32],
        req "res" res: Codes,
        req "total" total: u64,
        opt "keyset" keyset: [u8; 32],
    }
}

message! {
    struct Envelope<'a> {
        req "sig" sig: [u8; 64],
        req "body" body: &'a [u8],
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Codes(Vec<Code>);

impl Encode for Codes {
    fn encode(&self, w: &mut Writer) {
        w.array(self.0.len());
        for code in &self.0 {
            w.unsigned(code.0.into());
        }
    }
    fn size_hint(&self) -> usize {
        9 + 3 * self.0.len()
    }
}

impl<'a> Decode<'a> for Codes {
    fn decode(r: &mut Reader<'a>) -> Result<Self, cbor::Error> {
        let n = r.array()?;
        if n > VOUCHERS_MAX {
            return Err(cbor::Error::Range("1024 codes"));
        }
        let mut out = Vec::with_capacity(n);
        for _ in 0..n {
            out.push(Code(u16::decode(r)?));
        }
        r.leave();
        Ok(Self(out))
    }
}

/// What a committed swap lets mints do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Swapped {
    /// Keyset of the spent vouchers, under which the points are to be signed.
    pub keyset: KeysetId,
    /// Hash of the points ([`super::blinded_hash`]).
    pub blinded: [u8; 32],
    /// Time of the commit, in ms.
    pub at: u64,
}

/// The redemption service's answer, before it is signed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The request's number.
    pub id: [u8; 16],
    /// Hash of the request.
    pub request: [u8; 32],
    /// One code for each voucher, in order. Only if all are OK has anything happened.
    pub codes: Vec<Code>,
    /// Value that was redeemed or swapped; of a check, the value of the vouchers that could be redeemed.
    pub total: u64,
    /// Balance of the payee after it, for the payee only; else 0. For a redemption on a ledger, what the payee has available there, as
    /// the first answer said it.
    pub balance: u64,
    /// What was swapped.
    pub swapped: Option<Swapped>,
}

impl Answer {
    /// Whether every voucher was good.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.codes.iter().all(|c| *c == Code::OK)
    }

    fn body(&self) -> Vec<u8> {
        cbor::to_vec(&Wire {
            at: self.swapped.map(|s| s.at),
            bh: self.swapped.map(|s| s.blinded),
            id: self.id,
            bal: self.balance,
            req: self.request,
            res: Codes(self.codes.clone()),
            total: self.total,
            keyset: self.swapped.map(|s| s.keyset.0),
        })
    }

    /// Hash of the body that is signed: a ledger takes each answer once, by this hash.
    #[must_use]
    pub fn body_hash(&self) -> [u8; 32] {
        hash(&[&self.body()])
    }

    /// Signs it with the spender's key: the bytes to send. The same answer gives the same bytes.
    #[must_use]
    pub fn sign(&self, spender: &Identity) -> SignedAnswer {
        let body = self.body();
        let sig = spender.sign(ANSWER_LABEL, &[&body]);
        SignedAnswer(cbor::to_vec(&Envelope { sig, body: &body }))
    }

    /// Reads an answer and verifies its signature. The caller compares [`Answer::request`] with its own request's hash.
    ///
    /// # Errors
    ///
    /// Not the message, or not signed by the spender.
    pub fn verify(bytes: &[u8], spender: &PublicKey) -> Result<Self, AnswerError> {
        let envelope: Envelope<'_> = read(bytes)?;
        spender
            .verify(ANSWER_LABEL, &[envelope.body], &envelope.sig)
            .map_err(AnswerError::Signature)?;
        let wire: Wire = read(envelope.body)?;
        let swapped = match (wire.keyset, wire.bh, wire.at) {
            (Some(keyset), Some(blinded), Some(at)) => Some(Swapped {
                keyset: KeysetId(keyset),
                blinded,
                at,
            }),
            _ => None,
        };
        Ok(Self {
            id: wire.id,
            request: wire.req,
            codes: wire.res.0,
            total: wire.total,
            balance: wire.bal,
            swapped,
        })
    }
}

/// A signed answer, to send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedAnswer(pub Vec<u8>);

/// Reason why bytes are not the service's answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// Not an answer.
    #[error(transparent)]
    Malformed(#[from] MessageError),
    /// Not signed by the spender.
    #[error("the answer: {0}")]
    Signature(KeyError),
    /// The answer to something else.
    #[error("the answer to another request")]
    OtherRequest,
    /// Nothing happened: the first code says why.
    #[error("refused: {0}")]
    Refused(Code),
}
