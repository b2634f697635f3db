//! Requests and answers of mints and of the redemption service.

mod answer;
mod issue;
mod redeem;
mod restore;
mod swap;

use alloc::vec::Vec;

use betanet_wire::Code;
use betanet_wire::cbor::{self, Decode, Encode, Reader, Writer};

use crate::{DENOMINATION_MAX, Denomination, Invalid, VoucherError};

pub use answer::{ANSWER_LABEL, Answer, AnswerError, SignedAnswer, Swapped};
pub use issue::{BlindedPoints, IssueAnswer, IssueRequest, PAY_MAX, swap_pays};
pub use redeem::{Op, RedeemRequest};
pub use restore::{RestoreAnswer, RestoreRequest};
pub use swap::SwapRequest;

/// Most vouchers, or blinded points, in one request.
pub const VOUCHERS_MAX: usize = 1_024;
/// Longest request or answer: 1 024 vouchers, 1 024 blinded points, a payment, and what joins them.
pub const MESSAGE_MAX: usize = 1 << 18;

/// Reason why bytes are not a message. All of them are MALFORMED_FRAME on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Longer than [`MESSAGE_MAX`].
    #[error("longer than 256 KiB")]
    Length,
    /// Not the DET-CBOR of the message.
    #[error("not the message: {0}")]
    Malformed(#[from] cbor::Error),
    /// Not 1 to 1 024 vouchers or points.
    #[error("not 1 to 1024 vouchers or points")]
    Count,
    /// An operation that is not `check` or `redeem`.
    #[error("the operation is unknown")]
    Op,
    /// A payment proof longer than [`PAY_MAX`].
    #[error("the payment proof is longer than 8 KiB")]
    Payment,
}

impl MessageError {
    /// The wire code.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::MALFORMED_FRAME
    }
}

impl VoucherError {
    /// The wire code.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::VOUCHER_INVALID
    }
}

impl Invalid {
    /// The wire code.
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::VOUCHER_INVALID
    }
}

fn read<'a, T: Decode<'a>>(bytes: &'a [u8]) -> Result<T, MessageError> {
    match bytes.len() > MESSAGE_MAX {
        true => Err(MessageError::Length),
        false => Ok(cbor::from_slice(bytes)?),
    }
}

const fn counted(n: usize) -> Result<(), MessageError> {
    match n {
        1..=VOUCHERS_MAX => Ok(()),
        _ => Err(MessageError::Count),
    }
}

/// A blinded point with the denomination that it is for, `[e, bstr[48]]`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Blinded {
    /// The denomination.
    pub denomination: Denomination,
    /// The compressed point, not checked yet.
    pub point: [u8; 48],
}

impl Encode for Blinded {
    fn encode(&self, w: &mut Writer) {
        w.array(2);
        w.unsigned(self.denomination.exponent().into());
        w.bytes(&self.point);
    }
    fn size_hint(&self) -> usize {
        54
    }
}

impl<'a> Decode<'a> for Blinded {
    fn decode(r: &mut Reader<'a>) -> Result<Self, cbor::Error> {
        if r.array()? != 2 {
            return Err(cbor::Error::Range("an exponent and a point"));
        }
        let e = r.unsigned()?;
        let out = Self {
            denomination: exponent(e)?,
            point: Decode::decode(r)?,
        };
        r.leave();
        Ok(out)
    }
}

pub(crate) fn exponent(e: u64) -> Result<Denomination, cbor::Error> {
    let e = u8::try_from(e).ok().filter(|e| *e <= DENOMINATION_MAX);
    e.and_then(Denomination::new)
        .ok_or(cbor::Error::Range("an exponent up to 40"))
}

/// Hash of the DET-CBOR of blinded points, in order: what a payment or a swap names.
#[must_use]
pub fn blinded_hash(blinded: &[Blinded]) -> [u8; 32] {
    betanet_keys::hash(&[&cbor::to_vec(&blinded.to_vec())])
}

/// The sum of the values; `None` if it exceeds 64 bits.
#[must_use]
pub fn blinded_value(blinded: &[Blinded]) -> Option<u64> {
    let mut values = blinded.iter().map(|b| b.denomination.value());
    values.try_fold(0_u64, u64::checked_add)
}

fn raw(vouchers: &[crate::Voucher]) -> Vec<&[u8; crate::VOUCHER]> {
    vouchers.iter().map(crate::Voucher::as_bytes).collect()
}

#[cfg(test)]
mod tests;
