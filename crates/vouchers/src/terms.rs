//! Whole keysets from a dealer.

use alloc::vec::Vec;

use betanet_keys::PublicKey;
use betanet_machine::Rng;

use crate::{Denomination, KeyShare, Keyset, KeysetDraft, KeysetError, MIN_LIFE, SharedKey, deal};

/// What a keyset is to be, but for its keys.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Unit of the values, 1 to 32 visible ASCII characters.
    pub unit: &'a str,
    /// Key of the one service that keeps the spent set.
    pub spender: PublicKey,
    /// Begin of its active life, in ms.
    pub not_before: u64,
    /// End of its active life, in ms.
    pub exp: u64,
    /// Shares that sign together.
    pub t: u8,
    /// All shares, one for each mint.
    pub n: u8,
}

impl<'a> Terms<'a> {
    /// Terms of one mint that shares its keys with nobody, for the shortest life under which wallets issue: [`MIN_LIFE`].
    #[must_use]
    pub const fn single(unit: &'a str, spender: PublicKey, not_before: u64) -> Self {
        let (exp, t, n) = (not_before.saturating_add(MIN_LIFE), 1, 1);
        Self {
            unit,
            spender,
            not_before,
            exp,
            t,
            n,
        }
    }
}

/// Deals a keyset of these denominations, named by their exponents. Gives the keyset, and the shares of each mint, that of index 1
/// first. The dealer knows the whole keys while this runs: use [`crate::dkg`] where nobody may.
///
/// # Errors
///
/// An exponent above 40, one that repeats, or none; no threshold; or terms that [`Keyset::check`] refuses.
pub fn deal_keyset(
    terms: &Terms<'_>,
    exponents: &[u8],
    rng: &mut Rng,
) -> Result<(Keyset, Vec<Vec<KeyShare>>), KeysetError> {
    let (t, n) = (terms.t, terms.n);
    let mut mints: Vec<Vec<KeyShare>> = (0..n).map(|_| Vec::new()).collect();
    let mut keys: Vec<(Denomination, SharedKey)> = Vec::with_capacity(exponents.len());
    for exponent in exponents {
        let e = Denomination::new(*exponent).ok_or(KeysetError::Denominations)?;
        if keys.iter().any(|(known, _)| *known == e) {
            return Err(KeysetError::Denominations);
        }
        let (t16, n16) = (t.into(), n.into());
        let none = KeysetError::Threshold { t: t16, n: n16 };
        let (key, dealt, _) = deal(e, t, n, rng).ok_or(none)?;
        for (mint, share) in mints.iter_mut().zip(dealt) {
            mint.push(share);
        }
        keys.push((e, key));
    }
    let draft = KeysetDraft {
        unit: terms.unit,
        not_before: terms.not_before,
        exp: terms.exp,
        t,
        spender: terms.spender,
        keys: &keys,
    };
    Ok((Keyset::check(&draft.to_bytes(), rng)?, mints))
}

#[cfg(test)]
mod tests {
    use betanet_keys::Identity;
    use betanet_machine::Seed;

    use super::*;

    #[test]
    fn a_keyset_is_dealt_by_its_terms_or_the_wrong_one_is_named() {
        let spender = *Identity::from_seed(&[9; 32]).public();
        let mut rng = Rng::new(&Seed::from_number(2));
        let mut dealt =
            |terms: Terms<'_>, exponents: &[u8]| deal_keyset(&terms, exponents, &mut rng);
        let single = Terms::single("FOG", spender, 7);
        let (keyset, mints) = dealt(single, &[3, 0]).unwrap();
        assert_eq!((keyset.threshold(), keyset.shares()), (1, 1));
        assert_eq!((keyset.not_before(), keyset.exp()), (7, 7 + MIN_LIFE));
        let exponents: Vec<u8> = keyset.denominations().map(Denomination::exponent).collect();
        assert_eq!(
            (exponents, mints.len(), mints[0].len()),
            ([0, 3].into(), 1, 2)
        );
        let shared = Terms {
            t: 2,
            n: 3,
            ..single
        };
        let (keyset, mints) = dealt(shared, &[1]).unwrap();
        for (share, index) in mints.iter().flatten().zip(1..) {
            assert_eq!(share.index(), index);
            let key = keyset.key(share.denomination()).unwrap();
            assert_eq!(key.share(index), share.public().as_ref());
        }
        let none = |t, n| KeysetError::Threshold { t, n };
        for (terms, exponents, why) in [
            (single, &[][..], KeysetError::Denominations),
            (single, &[1, 1], KeysetError::Denominations),
            (single, &[41], KeysetError::Denominations),
            (Terms { t: 2, ..single }, &[1], none(2, 1)),
            (Terms { t: 0, ..single }, &[1], none(0, 1)),
            (Terms { unit: "", ..single }, &[1], KeysetError::Unit),
            (Terms { exp: 7, ..single }, &[1], KeysetError::Times),
        ] {
            assert_eq!(dealt(terms, exponents).unwrap_err(), why);
        }
    }
}
