//! The checks that need arithmetic.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use betanet_bls::{G2Affine, G2Projective, Scalar};
use betanet_machine::Rng;

use super::KeysetError;
use super::record::{Lists, Points};
use crate::polynomial::dual_weights;
use crate::{Denomination, SharedKey};

type Keys = BTreeMap<Denomination, SharedKey>;

/// Decodes all points: n shares of each key.
pub(super) fn points(keys: &Points, shares: &Lists, n: u8) -> Result<Keys, KeysetError> {
    if keys.0.len() != shares.0.len() {
        return Err(KeysetError::Denominations);
    }
    let mut out = Keys::new();
    for ((e, public), (same, shares)) in keys.0.iter().zip(&shares.0) {
        if e != same || shares.len() != usize::from(n) {
            return Err(KeysetError::Shares(e.exponent()));
        }
        let point = |bytes| {
            let e = e.exponent();
            G2Affine::from_bytes(bytes).map_err(|why| KeysetError::Point { e, why })
        };
        let key = SharedKey {
            public: point(public)?,
            shares: shares.iter().map(point).collect::<Result<_, _>>()?,
        };
        out.insert(*e, key);
    }
    Ok(out)
}

/// Checks that each key and its shares are the values of one polynomial at 0, 1, …, n, of degree t − 1 exactly.
///
/// Values of a polynomial of degree t − 1 are the code words whose products with those of the dual code vanish; a random word of
/// the dual code tells others with all but negligible probability (Cascudo and David, SCRAPE, 2017). A lower degree would let fewer
/// than t mints sign: its sign is that the coefficient of degree t − 1 vanishes.
pub(super) fn polynomials(keys: &Keys, t: u8, n: u8, rng: &mut Rng) -> Result<(), KeysetError> {
    let (all, first) = (dual_weights(n), dual_weights(t - 1));
    for (e, key) in keys {
        let points: Vec<G2Affine> = [key.public].iter().chain(&key.shares).copied().collect();
        let random: Vec<Scalar> = (t..=n).map(|_| Scalar::draw(|b| rng.fill(b))).collect();
        let word = all.iter().zip(0_u64..).map(|(weight, x)| {
            let (x, mut value) = (Scalar::from(x), Scalar::zero());
            for term in &random {
                value = &(&value * &x) + term;
            }
            &value * weight
        });
        let word: Vec<Scalar> = word.collect();
        let lies = G2Projective::sum_of_products(&points, &word).is_identity();
        let leading = G2Projective::sum_of_products(&points, &first);
        if !lies || leading.is_identity() {
            return Err(KeysetError::Polynomial(e.exponent()));
        }
    }
    Ok(())
}

/// Checks that no two denominations share a point: a mint's signature for one would count for the other, because mints do not see
/// what they sign. Within one denomination, with t = 1, all points are equal.
pub(super) fn no_key_twice(keys: &Keys) -> Result<(), KeysetError> {
    let mut seen: BTreeSet<[u8; 96]> = BTreeSet::new();
    for (e, key) in keys {
        let own: BTreeSet<[u8; 96]> = [key.public]
            .iter()
            .chain(&key.shares)
            .map(G2Affine::to_bytes)
            .collect();
        if !seen.is_disjoint(&own) {
            return Err(KeysetError::KeyTwice(e.exponent()));
        }
        seen.extend(own);
    }
    Ok(())
}
