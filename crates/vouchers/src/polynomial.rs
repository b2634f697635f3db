//! Polynomials over the scalars, their commitments, and interpolation at zero.

use alloc::vec::Vec;

use betanet_bls::{G2Affine, G2Projective, Scalar};
use betanet_machine::Rng;

/// A polynomial whose coefficients are secrets. Scalars wipe themselves.
#[derive(Clone, Debug)]
pub(crate) struct Polynomial(Vec<Scalar>);

impl Polynomial {
    /// Draws one of so many coefficients, at least one, none of them zero.
    pub(crate) fn draw(terms: u8, rng: &mut Rng) -> Self {
        let scalar = |_| Scalar::draw(|b| rng.fill(b));
        Self((0..terms.max(1)).map(scalar).collect())
    }

    /// The same, but zero at zero.
    pub(crate) fn draw_from_zero(terms: u8, rng: &mut Rng) -> Self {
        let mut out = Self::draw(terms, rng);
        out.0[0] = Scalar::zero();
        out
    }

    pub(crate) fn constant(&self) -> &Scalar {
        &self.0[0]
    }

    pub(crate) fn at(&self, x: u8) -> Scalar {
        let x = Scalar::from(u64::from(x));
        let mut value = Scalar::zero();
        for term in self.0.iter().rev() {
            value = &(&value * &x) + term;
        }
        value
    }

    /// The coefficients times the generator of G2 (Feldman), from this one on. `None` if one is zero.
    pub(crate) fn commitments(&self, from: usize) -> Option<Vec<G2Affine>> {
        let terms = self.0.iter().skip(from);
        terms
            .map(|c| G2Projective::generator_times(c).to_affine())
            .collect()
    }
}

/// The committed polynomial's value at `x`, times the generator. The first commitment is that of `x` to the power `from`.
pub(crate) fn committed_at(commitments: &[G2Affine], from: u8, x: u8) -> G2Projective {
    let x = Scalar::from(u64::from(x));
    let mut power = Scalar::one();
    for _ in 0..from {
        power = &power * &x;
    }
    let powers: Vec<Scalar> = commitments
        .iter()
        .map(|_| {
            let this = power.clone();
            power = &power * &x;
            this
        })
        .collect();
    G2Projective::sum_of_products(commitments, &powers)
}

/// Lagrange's coefficients at zero. `None` for an index that is zero or occurs twice.
pub(crate) fn lagrange(indices: &[u8]) -> Option<Vec<Scalar>> {
    let number = |n: &u8| Scalar::from(u64::from(*n));
    let coefficient = |(at, mine): (usize, &u8)| {
        let (mut above, mut below) = (Scalar::one(), Scalar::one());
        for (i, other) in indices.iter().enumerate() {
            if i == at {
                continue;
            }
            if other == mine {
                return None;
            }
            above = &above * &number(other);
            below = &below * &(&number(other) - &number(mine));
        }
        (*mine > 0).then(|| &above * &below.inverse())
    };
    indices.iter().enumerate().map(coefficient).collect()
}

/// One over the product of the distances of each of 0, 1, …, n from the others: the dual code's weights.
pub(crate) fn dual_weights(n: u8) -> Vec<Scalar> {
    let distance = |i: u8, j: u8| {
        let (i, j) = (Scalar::from(u64::from(i)), Scalar::from(u64::from(j)));
        &j - &i
    };
    (0..=n)
        .map(|j| {
            let mut product = Scalar::one();
            for i in (0..=n).filter(|i| *i != j) {
                product = &product * &distance(i, j);
            }
            product.inverse()
        })
        .collect()
}
