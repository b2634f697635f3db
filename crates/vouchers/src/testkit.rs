//! A keyset with all its shares, for tests, measurements and fuzz targets.

pub mod fuzz;
pub mod link;

use alloc::vec::Vec;

use betanet_bls::{G1Affine, Scalar};
use betanet_keys::Identity;
use betanet_machine::{Rng, Seed};

use crate::{
    Blinding, Denomination, KeyShare, Keyset, KeysetId, Keysets, Partials, Terms, Voucher,
    deal_keyset, finish, sign_blinded,
};

/// Begin of the active life of a world's first keyset.
pub const BEGIN: u64 = 1_790_000_000_000;

/// One keyset, and what all its mints know.
#[derive(Debug)]
pub struct World {
    /// The keysets that readers know.
    pub keysets: Keysets,
    /// The keyset.
    pub id: KeysetId,
    /// The shares of each mint, by its index less one.
    pub shares: Vec<Vec<KeyShare>>,
    /// The spender's key pair.
    pub spender: Identity,
    /// Randomness.
    pub rng: Rng,
}

impl World {
    /// A keyset of t of n with these exponents, active from [`BEGIN`] for 30 days.
    #[must_use]
    pub fn new(seed: u64, t: u8, n: u8, exponents: &[u8]) -> Self {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let spender = Identity::from_seed(&rng.array());
        let (shares, keyset) = keyset(t, n, exponents, BEGIN, &spender, &mut rng);
        let mut keysets = Keysets::default();
        let id = keyset.id();
        keysets.add(keyset).unwrap();
        Self {
            keysets,
            id,
            shares,
            spender,
            rng,
        }
    }

    /// The keyset.
    #[must_use]
    pub fn keyset(&self) -> &Keyset {
        self.keysets.get(&self.id).unwrap()
    }

    /// Draws the secrets of one voucher.
    pub fn blinding(&mut self, exponent: u8) -> Blinding {
        let secret: [u8; 32] = self.rng.array();
        let factor = Scalar::draw(|b| self.rng.fill(b));
        Blinding::new(Denomination::new(exponent).unwrap(), &secret, factor).unwrap()
    }

    /// What a mint answers, by its index.
    #[must_use]
    pub fn answer(&self, index: u8, points: &[(u8, G1Affine)]) -> Partials {
        let of = &self.shares[usize::from(index) - 1];
        let sign = |(e, point): &(u8, G1Affine)| {
            let share = of.iter().find(|s| s.denomination().exponent() == *e);
            sign_blinded(share.unwrap(), point).unwrap()
        };
        Partials {
            share: index,
            signatures: points.iter().map(sign).collect(),
        }
    }

    /// Issues vouchers from the first byte to the last.
    pub fn issue(&mut self, exponents: &[u8]) -> Vec<Voucher> {
        let blindings: Vec<Blinding> = exponents.iter().map(|e| self.blinding(*e)).collect();
        let keyset = self.keyset();
        let point = |b: &Blinding| (b.denomination().exponent(), b.blinded(keyset).unwrap());
        let points: Vec<(u8, G1Affine)> = blindings.iter().map(point).collect();
        let answers: Vec<Partials> = (1..=keyset.threshold())
            .map(|i| self.answer(i, &points))
            .collect();
        let keyset = self.keysets.get(&self.id).unwrap();
        finish(keyset, &blindings, &answers, &mut self.rng).unwrap()
    }

    /// The shares of a mint by exponent.
    #[must_use]
    pub fn of_mint(&self, index: u8) -> &[KeyShare] {
        &self.shares[usize::from(index) - 1]
    }
}

/// Deals a keyset: the shares of each mint, and the keyset.
#[must_use]
pub fn keyset(
    t: u8,
    n: u8,
    exponents: &[u8],
    begin: u64,
    spender: &Identity,
    rng: &mut Rng,
) -> (Vec<Vec<KeyShare>>, Keyset) {
    let terms = Terms {
        t,
        n,
        ..Terms::single("FOG", *spender.public(), begin)
    };
    let (keyset, shares) = deal_keyset(&terms, exponents, rng).unwrap();
    (shares, keyset)
}
