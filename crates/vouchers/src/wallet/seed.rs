//! The secrets of vouchers, derived.

use betanet_bls::Scalar;
use betanet_keys::schedule::{expand, extract};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::Phrase;
use crate::{Blinding, Denomination, KeysetId};

/// `HKDF-Extract(salt "BN-WALLET1", seed of BIP-39)`; wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Seed([u8; 32]);

impl Seed {
    pub(super) fn new(phrase: &Phrase, passphrase: &str) -> Self {
        let seed = phrase.seed(passphrase).unwrap_or(Zeroizing::new([0; 64]));
        Self(*extract(b"BN-WALLET1", &[seed.as_slice()]))
    }

    pub(super) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// `HKDF-Expand(seed, label || keysetID || e u8 || counter u32)`: 32 bytes of secret under the label `BN-WSECRET1`, 64 bytes of
    /// a number, modulo the order, under `BN-WFACTOR1`.
    pub(super) fn blinding(
        &self,
        keyset: &KeysetId,
        e: Denomination,
        counter: u32,
    ) -> Option<Blinding> {
        let (exponent, counter) = ([e.exponent()], counter.to_be_bytes());
        let info: [&[u8]; 3] = [&keyset.0, &exponent, &counter];
        let [a, b, c] = info;
        let secret: Zeroizing<[u8; 32]> = expand(&self.0, &[b"BN-WSECRET1", a, b, c]);
        let factor: Zeroizing<[u8; 64]> = expand(&self.0, &[b"BN-WFACTOR1", a, b, c]);
        Blinding::new(e, &secret, Scalar::from_wide(&factor))
    }
}
