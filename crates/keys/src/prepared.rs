use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use betanet_x25519_batch::ed25519::{self, LANES, Terms};
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
/// key, and as much time as some ten verifications, so they are for the few signers of many records. A processor that computes
/// eight equations at once, with AVX-512 IFMA, is faster without tables, and has none.
pub struct PreparedKeys {
    keys: Vec<PublicKey>,
    tables: Option<Tables>,
}

/// Multiples of the base point, and of each key with the other sign.
struct Tables {
    base: Comb,
    keys: Vec<Comb>,
}

impl PreparedKeys {
    /// Computes the tables.
    #[must_use]
    pub fn new(keys: &[PublicKey]) -> Self {
        Self::with(keys, !ed25519::is_available())
    }

    fn with(keys: &[PublicKey], tables: bool) -> Self {
        Self {
            keys: keys.to_vec(),
            tables: tables.then(|| Tables {
                base: Comb::new(ED25519_BASEPOINT_POINT),
                keys: keys.iter().map(|key| Comb::new(-key.point())).collect(),
            }),
        }
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter()
    }

    /// The equation of a signature by the key at a position; `None` if there is no such key, or no signature can be so.
    #[must_use]
    pub fn equation(&self, at: usize, digest: &[u8; 32], sig: &[u8; 64]) -> Option<Equation> {
        let key = self.keys.get(at)?;
        let Some(tables) = &self.tables else {
            return Equation::later(key, digest, sig);
        };
        let multiples = tables.keys.get(at)?;
        let (s, k) = scalars(key, digest, sig)?;
        let mut point = EdwardsPoint::default();
        tables.base.add(&s, &mut point);
        multiples.add(&k, &mut point);
        Equation::new(Side::Point(point), sig)
    }
}

impl fmt::Debug for PreparedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}

/// A signature's `sB - kA`, before it is compared with its R.
///
/// Each signature is judged by itself, by the rule of [`PublicKey::verify`]: no sum of several is ever compared. With AVX-512 IFMA,
/// eight are computed at once; elsewhere, only the inversions by which points are encoded are done together.
#[derive(Clone, Copy)]
pub struct Equation {
    side: Side,
    r: [u8; 32],
}

/// The side of an equation that is computed.
#[derive(Clone, Copy)]
enum Side {
    Point(EdwardsPoint),
    /// It is computed with others.
    Later {
        key: PublicKey,
        s: Scalar,
        k: Scalar,
    },
}

impl Equation {
    /// Equations that are computed at once, where the machine can.
    pub const LANES: usize = LANES;

    /// Equations from which eight at once take less time than one after the other.
    pub const WORTH: usize = 4;

    /// Whether this machine computes eight at once: then a table of a key is of use for a few signatures alone.
    #[must_use]
    pub fn has_lanes() -> bool {
        ed25519::is_available()
    }

    fn new(side: Side, sig: &[u8; 64]) -> Option<Self> {
        let r = *sig.first_chunk()?;
        // The identity is the only R of small order that the equation can give: the key is in the prime-order subgroup.
        (r != IDENTITY).then_some(Self { side, r })
    }

    fn later(key: &PublicKey, digest: &[u8; 32], sig: &[u8; 64]) -> Option<Self> {
        let (s, k) = scalars(key, digest, sig)?;
        Self::new(Side::Later { key: *key, s, k }, sig)
    }

    /// The equation of a signature by a key; `None` if no signature can be so.
    #[must_use]
    pub fn of(key: &PublicKey, digest: &[u8; 32], sig: &[u8; 64]) -> Option<Self> {
        Self::later(key, digest, sig)
    }

    /// Whether each holds: its R is the canonical encoding of its point.
    #[must_use]
    pub fn hold(all: &[Self]) -> Vec<bool> {
        Self::hold_with(all, ed25519::expected)
    }

    /// As [`Equation::hold`]; `lanes` computes eight at once, where the machine can.
    fn hold_with(
        all: &[Self],
        lanes: impl Fn(&[Terms; LANES]) -> Option<[Option<[u8; 32]>; LANES]>,
    ) -> Vec<bool> {
        let mut held = vec![false; all.len()];
        let later = |(at, e): (usize, &Self)| match e.side {
            Side::Later { key, s, k } => Some((at, terms(&key, &s, &k))),
            Side::Point(_) => None,
        };
        let (of, computed): (Vec<usize>, Vec<Terms>) =
            all.iter().enumerate().filter_map(later).unzip();
        // Those of which the points are computed one by one.
        let mut alone: Vec<usize> = (0..all.len())
            .filter(|at| of.binary_search(at).is_err())
            .collect();
        for (of, some) in of.chunks(LANES).zip(computed.chunks(LANES)) {
            let Some(filled) = fill(some).filter(|_| some.len() >= Self::WORTH) else {
                alone.extend(of);
                continue;
            };
            let Some(expected) = lanes(&filled) else {
                alone.extend(of);
                continue;
            };
            for (at, r) in of.iter().zip(expected) {
                if let (Some(held), Some(e)) = (held.get_mut(*at), all.get(*at)) {
                    *held = r == Some(e.r);
                }
            }
        }
        let points: Vec<EdwardsPoint> = alone
            .iter()
            .filter_map(|at| all.get(*at))
            .map(Self::point)
            .collect();
        let encoded = EdwardsPoint::compress_batch_alloc(&points);
        for (at, r) in alone.iter().zip(encoded) {
            if let (Some(held), Some(e)) = (held.get_mut(*at), all.get(*at)) {
                *held = *r.as_bytes() == e.r;
            }
        }
        held
    }

    fn point(&self) -> EdwardsPoint {
        match &self.side {
            Side::Point(point) => *point,
            Side::Later { key, s, k } => {
                EdwardsPoint::vartime_double_scalar_mul_basepoint(k, &-key.point(), s)
            }
        }
    }
}

fn terms(key: &PublicKey, s: &Scalar, k: &Scalar) -> Terms {
    Terms {
        s: s.to_bytes(),
        k: k.to_bytes(),
        a: *key.as_bytes(),
    }
}

/// All lanes: those without terms of their own repeat the first.
fn fill(some: &[Terms]) -> Option<[Terms; LANES]> {
    let first = some.first()?;
    Some(core::array::from_fn(|n| *some.get(n).unwrap_or(first)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;

    /// The key's place, a digest and a signature.
    type Signed = (usize, [u8; 32], [u8; 64]);

    /// Signatures of which some are altered, in S, R or the message, by keys in turn.
    fn mixed(n: usize) -> (Vec<Identity>, Vec<Signed>) {
        let keys: Vec<Identity> = (1..=3).map(|n| Identity::from_seed(&[n; 32])).collect();
        let all = (0..n).map(|at| {
            let of = at % keys.len();
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&(at as u64).to_be_bytes());
            let mut sig = keys[of].sign_message(&digest);
            match at % 5 {
                1 => sig[at % 32] ^= 1 << (at % 8),
                2 => sig[32 + at % 16] ^= 1,
                3 => digest[31] ^= 1,
                _ => {}
            }
            (of, digest, sig)
        });
        let all = all.collect();
        (keys, all)
    }

    #[test]
    fn equations_hold_alike_by_each_way_of_computing_them() {
        for n in [0, 1, 3, 4, 7, 8, 9, 11, 12, 64, 67] {
            let (keys, all) = mixed(n);
            let public: Vec<PublicKey> = keys.iter().map(|k| *k.public()).collect();
            let expected: Vec<bool> = all
                .iter()
                .map(|(of, digest, sig)| public[*of].verify_digest(digest, sig).is_ok())
                .collect();
            let none = |_: &[Terms; LANES]| None;
            for tables in [true, false] {
                let prepared = PreparedKeys::with(&public, tables);
                // Those of prepared keys and of others, mixed.
                let equations: Vec<Option<Equation>> = all
                    .iter()
                    .enumerate()
                    .map(|(at, (of, digest, sig))| match at % 7 {
                        6 => Equation::of(&public[*of], digest, sig),
                        _ => prepared.equation(*of, digest, sig),
                    })
                    .collect();
                let given: Vec<Equation> = equations.iter().flatten().copied().collect();
                for held in [Equation::hold(&given), Equation::hold_with(&given, none)] {
                    let mut held = held.into_iter();
                    let verdicts: Vec<bool> = equations
                        .iter()
                        .map(|e| e.is_some() && held.next().unwrap())
                        .collect();
                    assert_eq!(verdicts, expected, "{n} {tables}");
                }
            }
        }
    }

    #[test]
    fn four_and_more_are_computed_in_lanes_and_the_rest_alone() {
        let (keys, all) = mixed(20);
        let equations: Vec<Equation> = all
            .iter()
            .filter_map(|(of, digest, sig)| Equation::of(keys[*of].public(), digest, sig))
            .collect();
        for (n, wanted) in [(3, 0), (4, 1), (8, 1), (11, 1), (12, 2), (16, 2)] {
            let calls = core::cell::Cell::new(0);
            let count = |terms: &[Terms; LANES]| {
                calls.set(calls.get() + 1);
                ed25519::expected(terms)
            };
            assert_eq!(Equation::hold_with(&equations[..n], count).len(), n);
            assert_eq!(calls.get(), wanted, "{n}");
        }
    }
}
