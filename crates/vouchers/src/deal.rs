use alloc::vec::Vec;
use core::fmt;

use betanet_bls::{G2Affine, G2Projective, Scalar};
use betanet_machine::Rng;
use zeroize::Zeroizing;

use crate::Denomination;
use crate::polynomial::{Polynomial, committed_at};

/// The public side of a shared key: its value and that of each share, by index from 1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SharedKey {
    /// The key that vouchers verify under.
    pub public: G2Affine,
    /// The shares' keys; the first is that of index 1.
    pub shares: Vec<G2Affine>,
}

impl SharedKey {
    /// The key of a share, by its index from 1.
    #[must_use]
    pub fn share(&self, index: u8) -> Option<&G2Affine> {
        self.shares.get(usize::from(index).checked_sub(1)?)
    }
}

/// One mint's share of a denomination's secret key; wiped on drop, never printed.
#[derive(Clone)]
pub struct KeyShare {
    index: u8,
    denomination: Denomination,
    pub(crate) secret: Scalar,
}

impl KeyShare {
    /// Length of the stored form.
    pub const BYTES: usize = 34;

    pub(crate) const fn new(index: u8, denomination: Denomination, secret: Scalar) -> Self {
        Self {
            index,
            denomination,
            secret,
        }
    }

    /// Restores a stored share; `None` if it is none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (head, secret) = bytes.split_first_chunk::<2>()?;
        let secret = Scalar::from_bytes(secret.first_chunk()?).ok()?;
        let denomination = Denomination::new(head[1])?;
        let good = head[0] > 0 && !bool::from(secret.is_zero());
        good.then(|| Self::new(head[0], denomination, secret))
    }

    /// The form to store: index, exponent, secret.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::BYTES]> {
        let mut out = Zeroizing::new([0; Self::BYTES]);
        out[0] = self.index;
        out[1] = self.denomination.exponent();
        out[2..].copy_from_slice(self.secret.to_bytes().as_slice());
        out
    }

    /// The index, from 1.
    #[must_use]
    pub const fn index(&self) -> u8 {
        self.index
    }

    /// The denomination that it signs.
    #[must_use]
    pub const fn denomination(&self) -> Denomination {
        self.denomination
    }

    /// Its public key; `None` for a share of zero, which no honest dealing gives.
    #[must_use]
    pub fn public(&self) -> Option<G2Affine> {
        G2Projective::generator_times(&self.secret).to_affine()
    }

    /// Whether it lies on the polynomial that the commitments (Feldman's) commit to.
    #[must_use]
    pub fn is_on(&self, commitments: &[G2Affine]) -> bool {
        let expected = committed_at(commitments, 0, self.index);
        G2Projective::generator_times(&self.secret) == expected
    }
}

impl fmt::Debug for KeyShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "KeyShare({}, 2^{}, …)",
            self.index,
            self.denomination.exponent()
        )
    }
}

/// Deals a fresh key: the public side, all shares, and the commitments by which each holder checks its share. The dealer knows
/// the key and should forget it; [`crate::dkg`] needs no dealer. `None` unless 1 ≤ `t` ≤ `n`.
#[must_use]
pub fn deal(
    denomination: Denomination,
    t: u8,
    n: u8,
    rng: &mut Rng,
) -> Option<(SharedKey, Vec<KeyShare>, Vec<G2Affine>)> {
    if t == 0 || t > n {
        return None;
    }
    let polynomial = Polynomial::draw(t, rng);
    let commitments = polynomial.commitments(0)?;
    let share = |i| KeyShare::new(i, denomination, polynomial.at(i));
    let shares: Vec<KeyShare> = (1..=n).map(share).collect();
    let key = SharedKey {
        public: *commitments.first()?,
        shares: shares.iter().map(KeyShare::public).collect::<Option<_>>()?,
    };
    Some((key, shares, commitments))
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use betanet_machine::Seed;

    use super::*;

    #[test]
    fn a_wrong_share_is_noticed_by_its_holder() {
        let e = Denomination::new(3).unwrap();
        let mut rng = Rng::new(&Seed::from_number(1));
        let (key, shares, commitments) = deal(e, 3, 5, &mut rng).unwrap();
        for share in &shares {
            assert!(share.is_on(&commitments));
            assert_eq!(key.share(share.index()), share.public().as_ref());
            let stored = KeyShare::from_bytes(&share.to_bytes()).unwrap();
            assert_eq!(stored.secret, share.secret);
            assert_eq!(
                format!("{share:?}"),
                format!("KeyShare({}, 2^3, …)", share.index())
            );
        }
        let swapped = KeyShare::new(1, e, shares[1].secret.clone());
        assert!(!swapped.is_on(&commitments));
        assert!(deal(e, 0, 5, &mut rng).is_none() && deal(e, 6, 5, &mut rng).is_none());
        assert!(KeyShare::from_bytes(&[0; 34]).is_none());
        assert!(KeyShare::from_bytes(&[0xff; 34]).is_none());
    }
}
