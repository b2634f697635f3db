use alloc::vec::Vec;

use betanet_keys::hash;
use betanet_wire::{cbor, message};
use zeroize::Zeroizing;

use super::{Blinded, BlindedPoints, MessageError, counted, raw, read};
use crate::{KeysetId, VOUCHER, Voucher, VoucherError};

message! {
    struct Wire<'a> {
        req "b" blinded: Vec<Blinded>,
        req "v" vouchers: Vec<&'a [u8; VOUCHER]>,
        req "id" id: [u8; 16],
        req "keyset" keyset: [u8; 32],
    }
}

/// `POST /vouchers/swap` to the redemption service: spends vouchers of one keyset, and lets its mints sign blinded points of the same
/// value instead.
#[derive(Clone, Debug)]
pub struct SwapRequest {
    /// The number by which a repetition is recognised.
    pub id: [u8; 16],
    /// The keyset of vouchers and points.
    pub keyset: KeysetId,
    /// The points that the mints shall sign.
    pub blinded: Vec<Blinded>,
    /// The vouchers; one that is mistyped has its own error.
    pub vouchers: Vec<Result<Voucher, VoucherError>>,
    pub(crate) hash: [u8; 32],
}

impl SwapRequest {
    /// Reads a request.
    ///
    /// # Errors
    ///
    /// Not the message, or not 1 to 1 024 vouchers and points.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        let wire: Wire<'_> = read(bytes)?;
        counted(wire.vouchers.len())?;
        counted(wire.blinded.len())?;
        let vouchers = wire.vouchers.iter().map(|v| Voucher::from_bytes(*v));
        Ok(Self {
            id: wire.id,
            keyset: KeysetId(wire.keyset),
            vouchers: vouchers.collect(),
            blinded: wire.blinded,
            hash: hash(&[bytes]),
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

    /// Encodes a request; the bytes are money.
    #[must_use]
    pub fn encode(
        id: [u8; 16],
        keyset: &KeysetId,
        vouchers: &[Voucher],
        blinded: &[Blinded],
    ) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(cbor::to_vec(&Wire {
            blinded: blinded.to_vec(),
            vouchers: raw(vouchers),
            id,
            keyset: keyset.0,
        }))
    }

    /// Hash of the request as it came, which the answer names.
    #[must_use]
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}
