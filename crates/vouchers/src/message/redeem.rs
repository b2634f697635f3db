use alloc::vec::Vec;

use betanet_keys::hash;
use betanet_wire::{NodeId, cbor, message};
use zeroize::Zeroizing;

use super::{MessageError, counted, raw, read};
use crate::{VOUCHER, Voucher, VoucherError};

/// What the service is asked to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Op {
    /// To say which vouchers could be redeemed now.
    Check,
    /// To redeem all of them, or none.
    Redeem,
}

impl Op {
    const fn text(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Redeem => "redeem",
        }
    }
}

message! {
    struct Wire<'a> {
        req "v" vouchers: Vec<&'a [u8; VOUCHER]>,
        req "id" id: [u8; 16],
        req "op" op: &'a str,
        req "to" to: NodeId,
    }
}

/// `POST /vouchers/redeem`: vouchers to check, or to redeem to a node's balance.
#[derive(Clone, Debug)]
pub struct RedeemRequest {
    /// The operation.
    pub op: Op,
    /// The node whose balance grows.
    pub to: NodeId,
    /// The number by which a repetition is recognised.
    pub id: [u8; 16],
    /// The vouchers; one that is mistyped has its own error.
    pub vouchers: Vec<Result<Voucher, VoucherError>>,
    /// Hash of the request as it came.
    pub(crate) hash: [u8; 32],
}

impl RedeemRequest {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// Not the message, or not 1 to 1 024 vouchers.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        let wire: Wire<'_> = read(bytes)?;
        counted(wire.vouchers.len())?;
        let op = match wire.op {
            "check" => Op::Check,
            "redeem" => Op::Redeem,
            _ => return Err(MessageError::Op),
        };
        let vouchers = wire.vouchers.iter().map(|v| Voucher::from_bytes(*v));
        Ok(Self {
            op,
            to: wire.to,
            id: wire.id,
            vouchers: vouchers.collect(),
            hash: hash(&[bytes]),
        })
    }

    /// Encodes a request; the bytes are money.
    #[must_use]
    pub fn encode(op: Op, to: NodeId, id: [u8; 16], vouchers: &[Voucher]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(cbor::to_vec(&Wire {
            vouchers: raw(vouchers),
            id,
            op: op.text(),
            to,
        }))
    }

    /// Hash of the request as it came, which the answer names.
    #[must_use]
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}
