use alloc::vec::Vec;

use betanet_keys::Identity;
use betanet_machine::Seed;

use super::*;
use crate::{Keysets, deal};

fn rng(n: u64) -> Rng {
    Rng::new(&Seed::from_number(n))
}

fn keys(t: u8, n: u8, exponents: &[u8], rng: &mut Rng) -> Vec<(Denomination, SharedKey)> {
    let one = |e: &u8| {
        let e = Denomination::new(*e).unwrap();
        (e, deal(e, t, n, rng).unwrap().0)
    };
    exponents.iter().map(one).collect()
}

fn draft<'a>(t: u8, keys: &'a [(Denomination, SharedKey)]) -> KeysetDraft<'a> {
    KeysetDraft {
        unit: "FOG",
        not_before: 1_000,
        exp: 1_000 + MIN_LIFE,
        t,
        spender: *Identity::from_seed(&[9; 32]).public(),
        keys,
    }
}

#[test]
fn good_ones_of_every_threshold_are_read_as_they_were_written() {
    let mut rng = rng(1);
    for (t, n) in [(1, 1), (1, 3), (2, 3), (3, 3), (3, 5), (9, 13)] {
        let keys = keys(t, n, &[0, 7, 40], &mut rng);
        let bytes = draft(t, &keys).to_bytes();
        let keyset = Keyset::check(&bytes, &mut rng).unwrap();
        assert_eq!((keyset.threshold(), keyset.shares()), (t, n));
        for (e, key) in &keys {
            assert_eq!(keyset.key(*e), Some(key));
        }
        assert_eq!(keyset.id(), KeysetId(hash(&[b"BN-KEYSET1", &bytes])));
        assert_eq!(keyset.as_bytes(), bytes);
        assert!(keyset.key(Denomination::new(1).unwrap()).is_none());
    }
}

#[test]
fn the_largest_keyset_fits_its_bound() {
    let mut rng = rng(2);
    let (_, one) = keys(1, 1, &[0], &mut rng).remove(0);
    let wide = SharedKey {
        public: one.public,
        shares: [one.public; 255].to_vec(),
    };
    let all: Vec<_> = (0..=40)
        .map(|e| (Denomination::new(e).unwrap(), wide.clone()))
        .collect();
    let bytes = draft(255, &all).to_bytes();
    assert!(bytes.len() < KEYSET_MAX, "{}", bytes.len());
    assert_eq!(
        Keyset::check(&[0; KEYSET_MAX + 1], &mut rng).err(),
        Some(KeysetError::Length)
    );
}

#[test]
fn shares_off_the_polynomial_and_of_a_lower_degree_are_refused() {
    let mut rng = rng(3);
    let good = keys(3, 5, &[4], &mut rng);
    for at in 0..5 {
        let mut bad = good.clone();
        bad[0].1.shares[at] = good[0].1.shares[(at + 1) % 5];
        let bytes = draft(3, &bad).to_bytes();
        assert_eq!(
            Keyset::check(&bytes, &mut rng).err(),
            Some(KeysetError::Polynomial(4))
        );
    }
    let mut other = good.clone();
    other[0].1.public = keys(3, 5, &[4], &mut rng)[0].1.public;
    let bytes = draft(3, &other).to_bytes();
    assert_eq!(
        Keyset::check(&bytes, &mut rng).err(),
        Some(KeysetError::Polynomial(4))
    );
    // Two suffice where three are said to be needed, and the other way round.
    for said in [2, 4] {
        let bytes = draft(said, &good).to_bytes();
        assert_eq!(
            Keyset::check(&bytes, &mut rng).err(),
            Some(KeysetError::Polynomial(4))
        );
    }
}

#[test]
fn a_key_that_occurs_twice_is_refused_in_one_keyset_and_in_two() {
    let mut rng = rng(4);
    let mut twice = keys(2, 3, &[1, 2], &mut rng);
    twice[1].1 = twice[0].1.clone();
    let bytes = draft(2, &twice).to_bytes();
    assert_eq!(
        Keyset::check(&bytes, &mut rng).err(),
        Some(KeysetError::KeyTwice(2))
    );
    // As one's key and another's share, with t = 1.
    let first = keys(2, 3, &[1], &mut rng);
    let point = first[0].1.shares[0];
    let mixed = [(
        Denomination::new(2).unwrap(),
        SharedKey {
            public: point,
            shares: [point; 3].to_vec(),
        },
    )];
    let mut known = Keysets::default();
    known
        .add(Keyset::check(&draft(2, &first).to_bytes(), &mut rng).unwrap())
        .unwrap();
    let second = Keyset::check(&draft(1, &mixed).to_bytes(), &mut rng).unwrap();
    assert_eq!(known.add(second), Err(KeysetError::KeyTwice(2)));
    // Itself again is no other keyset.
    let again = Keyset::check(&draft(2, &first).to_bytes(), &mut rng).unwrap();
    assert_eq!(known.add(again), Ok(()));
}

/// Encodes a record after a change.
fn changed(change: impl FnOnce(&mut Record<'_>)) -> Option<KeysetError> {
    let mut rng = rng(5);
    let keys = keys(2, 3, &[0, 5], &mut rng);
    let bytes = draft(2, &keys).to_bytes();
    let mut record: Record<'_> = cbor::from_slice(&bytes).unwrap();
    change(&mut record);
    Keyset::check(&cbor::to_vec(&record), &mut rng).err()
}

#[test]
fn every_bound_is_checked() {
    assert_eq!(changed(|_| ()), None);
    assert_eq!(
        changed(|r| r.suite = "BLS12381-G2"),
        Some(KeysetError::Suite)
    );
    assert_eq!(changed(|r| r.v = 2), Some(KeysetError::Version(2)));
    for unit in ["", "F G", "fög", "a-unit-that-is-longer-than-thirty2"] {
        assert_eq!(
            changed(|r| r.unit = unit),
            Some(KeysetError::Unit),
            "{unit}"
        );
    }
    for (t, n) in [(0, 3), (4, 3), (2, 256), (256, 256)] {
        let why = changed(|r| (r.t, r.n) = (t, n));
        assert_eq!(why, Some(KeysetError::Threshold { t, n }));
    }
    assert_eq!(changed(|r| r.exp = r.not_before), Some(KeysetError::Times));
    assert_eq!(
        changed(|r| (r.keys.0, r.shares.0) = (Vec::new(), Vec::new())),
        Some(KeysetError::Denominations)
    );
    assert_eq!(
        changed(|r| drop(r.shares.0.pop())),
        Some(KeysetError::Denominations)
    );
    assert_eq!(
        changed(|r| r.shares.0[1].1.truncate(2)),
        Some(KeysetError::Shares(5))
    );
    assert_eq!(
        changed(|r| r.shares.0[1].0 = Denomination::new(6).unwrap()),
        Some(KeysetError::Shares(5))
    );
    assert_eq!(
        changed(|r| r.spend = [0xff; 32]),
        Some(KeysetError::Spender(KeyError::NotCanonical))
    );
    let e = 5;
    let mut identity = [0; 96];
    identity[0] = 0xc0;
    let why = betanet_bls::Error::Identity;
    assert_eq!(
        changed(|r| r.keys.0[1].1 = identity),
        Some(KeysetError::Point { e, why })
    );
    let why = betanet_bls::Error::NotOnCurve;
    assert_eq!(
        changed(|r| r.shares.0[1].1[2] = [0; 96]),
        Some(KeysetError::Point { e, why })
    );
    assert!(matches!(
        changed(|r| r.keys.0.swap(0, 1)),
        Some(KeysetError::Malformed(cbor::Error::KeyOrder))
    ));
    assert!(matches!(
        changed(|r| r.keys.0[1].0 = r.keys.0[0].0),
        Some(KeysetError::Malformed(cbor::Error::DuplicateKey))
    ));
}

#[test]
fn its_life_has_four_parts_and_wallets_issue_in_one() {
    let mut rng = rng(6);
    let keys = keys(2, 3, &[0], &mut rng);
    let draft = draft(2, &keys);
    let keyset = Keyset::check(&draft.to_bytes(), &mut rng).unwrap();
    let exp = draft.exp;
    for (now, phase) in [
        (999, Phase::Announced),
        (1_000, Phase::Active),
        (exp - 1, Phase::Active),
        (exp, Phase::Retiring),
        (exp + GRACE - 1, Phase::Retiring),
        (exp + GRACE, Phase::Expired),
    ] {
        assert_eq!(keyset.phase(now), phase, "{now}");
    }
    let now = 1_000 + MIN_AGE;
    assert_eq!(keyset.fit_for_issue(now, 1_000), Ok(()));
    assert_eq!(keyset.fit_for_issue(now, 1_001), Err(Unfit::TooNew));
    assert_eq!(keyset.fit_for_issue(exp, 1_000), Err(Unfit::NotActive));
    let short = KeysetDraft {
        exp: exp - 1,
        ..draft
    };
    let short = Keyset::check(&short.to_bytes(), &mut rng).unwrap();
    assert_eq!(short.fit_for_issue(now, 1_000), Err(Unfit::TooShort));
    assert!(keyset.tolerates(0) && !keyset.tolerates(1), "2 of 3");
}

#[test]
fn known_keysets_are_bounded() {
    let mut rng = rng(7);
    let mut known = Keysets::default();
    let mut add = |known: &mut Keysets| {
        let keys = keys(1, 1, &[0], &mut rng);
        known.add(Keyset::check(&draft(1, &keys).to_bytes(), &mut rng).unwrap())
    };
    for _ in 0..crate::KEYSETS_MAX {
        assert_eq!(add(&mut known), Ok(()));
    }
    assert_eq!(add(&mut known), Err(KeysetError::Full));
    let first = known.iter().next().unwrap().clone();
    assert_eq!(known.add(first.clone()), Ok(()), "one that is known");
    known.remove(&first.id());
    assert_eq!(add(&mut known), Ok(()));
}
