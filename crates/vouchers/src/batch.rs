use alloc::vec;
use alloc::vec::Vec;

use betanet_bls::{G1Affine, G1Projective, G2Affine, pairings_cancel};
use betanet_machine::Rng;

use crate::{Keysets, Voucher};

/// Reason why a well-formed voucher is worth nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// The keyset is unknown here.
    #[error("the keyset is unknown")]
    UnknownKeyset,
    /// The keyset does not have this denomination.
    #[error("the keyset does not have this denomination")]
    NoSuchKey,
    /// The signature is no good point.
    #[error("the signature: {0}")]
    Point(betanet_bls::Error),
    /// The keyset did not sign it.
    #[error("the keyset did not sign it")]
    Forged,
}

/// A claim that `signature` is `base` times the secret of `key`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) base: G1Affine,
    pub(crate) signature: G1Affine,
    pub(crate) key: G2Affine,
}

impl Claim {
    pub(crate) fn holds(&self) -> bool {
        pairings_cancel(&[
            (self.base, self.key),
            (self.signature, G2Affine::minus_generator()),
        ])
    }
}

/// Verifies one voucher.
///
/// # Errors
///
/// It is worth nothing.
pub fn verify(voucher: &Voucher, keysets: &Keysets) -> Result<(), Invalid> {
    match claim(voucher, keysets)?.holds() {
        true => Ok(()),
        false => Err(Invalid::Forged),
    }
}

/// Verifies many at once, by a random combination: one pairing for each key and one more. `rng` must be unknown to whoever made the
/// vouchers, and is drawn from after they are fixed. If the combination fails, halves are tried until the bad ones are found.
#[must_use]
pub fn verify_batch(
    vouchers: &[Voucher],
    keysets: &Keysets,
    rng: &mut Rng,
) -> Vec<Result<(), Invalid>> {
    let mut out = Vec::with_capacity(vouchers.len());
    let (mut claims, mut places) = (Vec::new(), Vec::new());
    for (place, voucher) in vouchers.iter().enumerate() {
        match claim(voucher, keysets) {
            Ok(claim) => {
                claims.push(claim);
                places.push(place);
                out.push(Ok(()));
            }
            Err(why) => out.push(Err(why)),
        }
    }
    for (good, place) in hold(&claims, rng).into_iter().zip(places) {
        if !good {
            out[place] = Err(Invalid::Forged);
        }
    }
    out
}

/// The same, but the search for bad ones ends once so many are found, as each costs pairings: `None` for those that it did not come to.
/// They may be good.
#[must_use]
pub(crate) fn verify_some(
    vouchers: &[Voucher],
    keysets: &Keysets,
    most_bad: usize,
    rng: &mut Rng,
) -> Vec<Option<Result<(), Invalid>>> {
    let mut out = Vec::with_capacity(vouchers.len());
    let (mut claims, mut places) = (Vec::new(), Vec::new());
    for (place, voucher) in vouchers.iter().enumerate() {
        let claimed = claim(voucher, keysets);
        out.push(claimed.map_or_else(|why| Some(Err(why)), |_| None));
        if let Ok(claim) = claimed {
            claims.push(claim);
            places.push(place);
        }
    }
    let mut verdicts = vec![None; claims.len()];
    match all_hold(&claims, rng) {
        true => verdicts.fill(Some(true)),
        false => {
            let mut left = most_bad;
            split(&claims, &mut verdicts, &mut left, rng);
        }
    }
    for (verdict, place) in verdicts.into_iter().zip(places) {
        out[place] = verdict.map(|good| good.then_some(()).ok_or(Invalid::Forged));
    }
    out
}

fn claim(voucher: &Voucher, keysets: &Keysets) -> Result<Claim, Invalid> {
    let keyset = keysets
        .get(&voucher.keyset())
        .ok_or(Invalid::UnknownKeyset)?;
    let key = keyset
        .key(voucher.denomination())
        .ok_or(Invalid::NoSuchKey)?;
    Ok(Claim {
        signature: G1Affine::from_bytes(&voucher.signature()).map_err(Invalid::Point)?,
        base: voucher.point().ok_or(Invalid::Forged)?,
        key: key.public,
    })
}

/// Which claims hold.
pub(crate) fn hold(claims: &[Claim], rng: &mut Rng) -> Vec<bool> {
    if all_hold(claims, rng) {
        return vec![true; claims.len()];
    }
    let (mut out, mut left) = (vec![None; claims.len()], usize::MAX);
    split(claims, &mut out, &mut left, rng);
    out.into_iter().map(|good| good == Some(true)).collect()
}

/// Finds the bad ones among claims of which at least one is bad, `left` of them at most. Claims that it does not come to stay `None`.
fn split(claims: &[Claim], out: &mut [Option<bool>], left: &mut usize, rng: &mut Rng) {
    if *left == 0 {
        return;
    }
    if let [bad] = out {
        *bad = Some(false);
        *left -= 1;
        return;
    }
    let half = claims.len() / 2;
    let (first, second) = claims.split_at(half);
    let (first_out, second_out) = out.split_at_mut(half);
    if all_hold(first, rng) {
        first_out.fill(Some(true));
        // So the bad one is in the second half.
        split(second, second_out, left, rng);
        return;
    }
    split(first, first_out, left, rng);
    if *left == 0 {
        return;
    }
    match all_hold(second, rng) {
        true => second_out.fill(Some(true)),
        false => split(second, second_out, left, rng),
    }
}

/// Whether all hold. Weights are drawn here, after the claims are fixed; none is zero.
pub(crate) fn all_hold(claims: &[Claim], rng: &mut Rng) -> bool {
    if let [] | [_] = claims {
        return claims.iter().all(Claim::holds);
    }
    let weights: Vec<u128> = claims.iter().map(|_| weight(rng)).collect();
    let signatures: Vec<G1Affine> = claims.iter().map(|c| c.signature).collect();
    // Claims under one key are summed before the pairing.
    let mut groups: Vec<(G2Affine, Vec<G1Affine>, Vec<u128>)> = Vec::new();
    for (claim, weight) in claims.iter().zip(&weights) {
        let at = groups.iter().position(|(key, ..)| *key == claim.key);
        let at = at.unwrap_or_else(|| {
            groups.push((claim.key, Vec::new(), Vec::new()));
            groups.len() - 1
        });
        groups[at].1.push(claim.base);
        groups[at].2.push(*weight);
    }
    let mut pairs = Vec::with_capacity(groups.len() + 1);
    for (key, bases, weights) in &groups {
        // A sum that is the identity pairs to one: it is left out.
        if let Some(sum) = G1Projective::sum_weighted(bases, weights).to_affine() {
            pairs.push((sum, *key));
        }
    }
    if let Some(sum) = G1Projective::sum_weighted(&signatures, &weights).to_affine() {
        pairs.push((sum, G2Affine::minus_generator()));
    }
    pairings_cancel(&pairs)
}

fn weight(rng: &mut Rng) -> u128 {
    loop {
        let weight = u128::from_le_bytes(rng.array());
        if weight != 0 {
            return weight;
        }
    }
}
