use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
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
        let (s, k) = scalars(&self.key, digest, sig)?;
        let point = EdwardsPoint::mul_base(&s) - &*self.multiples * &k;
        Some(point.compress())
    }
}

impl fmt::Debug for PreparedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreparedKey({})", self.key)
    }
}

/// Bits of a digit of a scalar, and digits of a scalar below the group order.
const DIGIT: usize = 6;
const DIGITS: usize = 43;
/// Multiples of one power: 1 to 32 times. Digits are -31 to 32.
const MULTIPLES: usize = 1 << (DIGIT - 1);

/// Multiples of a point, by which a product takes 43 additions and no doubling. It takes 220 KiB. Its time depends on the scalar,
/// so it is for public values.
struct Comb(Vec<[EdwardsPoint; MULTIPLES]>);

impl Comb {
    fn new(point: EdwardsPoint) -> Self {
        let mut power = point;
        let row = |_| {
            let mut multiple = EdwardsPoint::default();
            let row = core::array::from_fn(|_| {
                multiple += power;
                multiple
            });
            power = multiple + multiple;
            row
        };
        Self((0..DIGITS).map(row).collect())
    }

    /// Adds this many times the point.
    fn add(&self, times: &Scalar, sum: &mut EdwardsPoint) {
        let bytes = times.as_bytes();
        let mut carry = 0;
        for (at, row) in self.0.iter().enumerate() {
            let (byte, bit) = (at * DIGIT / 8, at * DIGIT % 8);
            let low = u16::from(bytes.get(byte).copied().unwrap_or(0));
            let high = u16::from(bytes.get(byte + 1).copied().unwrap_or(0));
            let digit = usize::from((high << 8 | low) >> bit) % (2 * MULTIPLES) + carry;
            carry = usize::from(digit > MULTIPLES);
            let (negative, digit) = match carry {
                0 => (false, digit),
                _ => (true, 2 * MULTIPLES - digit),
            };
            // There is no multiple for the digit 0.
            if let Some(multiple) = digit.checked_sub(1).and_then(|at| row.get(at)) {
                if negative {
                    *sum -= multiple;
                } else {
                    *sum += multiple;
                }
            }
        }
    }
}

/// Several public keys, each with a table of its multiples: a signature verifies in half of the time. The tables take 220 KiB a
/// key, and as much time as some ten verifications, so they are for the few signers of many records.
pub struct PreparedKeys {
    base: Comb,
    keys: Vec<(PublicKey, Comb)>,
}

impl PreparedKeys {
    /// Computes the tables.
    #[must_use]
    pub fn new(keys: &[PublicKey]) -> Self {
        let prepared = |key: &PublicKey| (*key, Comb::new(-key.point()));
        Self {
            base: Comb::new(ED25519_BASEPOINT_POINT),
            keys: keys.iter().map(prepared).collect(),
        }
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter().map(|(key, _)| key)
    }

    /// The equation of a signature by the key at a position; `None` if there is no such key, or no signature can be so.
    #[must_use]
    pub fn equation(&self, at: usize, digest: &[u8; 32], sig: &[u8; 64]) -> Option<Equation> {
        let (key, multiples) = self.keys.get(at)?;
        let (s, k) = scalars(key, digest, sig)?;
        let mut point = EdwardsPoint::default();
        self.base.add(&s, &mut point);
        multiples.add(&k, &mut point);
        Equation::new(point, sig)
    }
}

impl fmt::Debug for PreparedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}

/// A signature's `sB - kA`, before it is compared with its R.
///
/// Each signature is judged by itself, by the rule of [`PublicKey::verify`]: no sum of several is ever compared. Only the inversions
/// by which points are encoded are done together.
#[derive(Clone, Copy)]
pub struct Equation {
    point: EdwardsPoint,
    r: [u8; 32],
}

impl Equation {
    fn new(point: EdwardsPoint, sig: &[u8; 64]) -> Option<Self> {
        let r = *sig.first_chunk()?;
        // The identity is the only R of small order that the equation can give: the key is in the prime-order subgroup.
        (r != IDENTITY).then_some(Self { point, r })
    }

    /// The equation of a signature by a key; `None` if no signature can be so.
    #[must_use]
    pub fn of(key: &PublicKey, digest: &[u8; 32], sig: &[u8; 64]) -> Option<Self> {
        let (s, k) = scalars(key, digest, sig)?;
        let minus = -key.point();
        let point = EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &minus, &s);
        Self::new(point, sig)
    }

    /// Whether each holds: its R is the canonical encoding of its point.
    #[must_use]
    pub fn hold(all: &[Self]) -> Vec<bool> {
        let points: Vec<EdwardsPoint> = all.iter().map(|e| e.point).collect();
        let encoded = EdwardsPoint::compress_batch_alloc(&points);
        let pairs = all.iter().zip(encoded);
        pairs.map(|(e, r)| *r.as_bytes() == e.r).collect()
    }
}

impl fmt::Debug for Equation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Equation(…)")
    }
}

/// S and the hash of a signature; `None` if its S is not below the group order.
fn scalars(key: &PublicKey, digest: &[u8; 32], sig: &[u8; 64]) -> Option<(Scalar, Scalar)> {
    let (r, s) = sig.split_first_chunk::<32>()?;
    let s: Option<Scalar> = Scalar::from_canonical_bytes(*s.first_chunk()?).into();
    let mut h = sha2::Sha512::new();
    h.update(r);
    h.update(key.as_bytes());
    h.update(digest);
    Some((s?, Scalar::from_bytes_mod_order_wide(&h.finalize().into())))
}
