use alloc::boxed::Box;
use core::fmt;

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsBasepointTable, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::BasepointTable as _;
use sha2::Digest as _;

use crate::identity::{IDENTITY, digest};
use crate::{KeyError, PublicKey};

/// A public key with a table of its multiples: it verifies in two thirds of the time. The table takes 30 KiB, and as much time as
/// some thirty verifications, so it is for a signer who signs often.
pub struct PreparedKey {
    key: PublicKey,
    multiples: Box<EdwardsBasepointTable>,
}

impl PreparedKey {
    /// Computes the table.
    #[must_use]
    pub fn new(key: PublicKey) -> Self {
        Self {
            multiples: Box::new(EdwardsBasepointTable::create(&key.point())),
            key,
        }
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Verifies a signature over `H(label || parts…)` by the same rule as [`PublicKey::verify`].
    ///
    /// # Errors
    ///
    /// [`KeyError::BadSignature`].
    pub fn verify(&self, label: &str, parts: &[&[u8]], sig: &[u8; 64]) -> Result<(), KeyError> {
        self.verify_digest(&digest(label, parts), sig)
    }

    /// Verifies a signature over a 32-byte digest: S is below the group order, and R is the canonical encoding of `sB - kA`, which is
    /// not the identity. As the key is in the prime-order subgroup, R is of small order only if it is the identity.
    ///
    /// # Errors
    ///
    /// [`KeyError::BadSignature`].
    pub fn verify_digest(&self, digest: &[u8; 32], sig: &[u8; 64]) -> Result<(), KeyError> {
        let expected = self.expected(digest, sig).ok_or(KeyError::BadSignature)?;
        let expected = expected.as_bytes();
        if sig.starts_with(expected) && *expected != IDENTITY {
            Ok(())
        } else {
            Err(KeyError::BadSignature)
        }
    }

    /// The R that the signature must have; `None` if its S is not below the group order.
    fn expected(&self, digest: &[u8; 32], sig: &[u8; 64]) -> Option<CompressedEdwardsY> {
        let (r, s) = sig.split_first_chunk::<32>()?;
        let s: Option<Scalar> = Scalar::from_canonical_bytes(*s.first_chunk()?).into();
        let mut h = sha2::Sha512::new();
        h.update(r);
        h.update(self.key.as_bytes());
        h.update(digest);
        let k = Scalar::from_bytes_mod_order_wide(&h.finalize().into());
        let point = EdwardsPoint::mul_base(&s?) - &*self.multiples * &k;
        Some(point.compress())
    }
}

impl fmt::Debug for PreparedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreparedKey({})", self.key)
    }
}
