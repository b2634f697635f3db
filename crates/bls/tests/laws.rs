//! The laws of the field, the groups and the pairing, and what the decoders refuse.
#![allow(clippy::unwrap_used, reason = "a test stops where it is surprised")]

use betanet_bls::{
    Error, G1Affine, G1Projective, G2Affine, G2Projective, Scalar, hash_to_g1, pairings_cancel,
};
use proptest::prelude::*;

fn wide() -> impl Strategy<Value = Scalar> {
    (any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(a, b)| {
        let mut wide = [0; 64];
        wide[..32].copy_from_slice(&a);
        wide[32..].copy_from_slice(&b);
        Scalar::from_wide(&wide)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn scalars_are_a_field_and_have_one_encoding(a in wide(), b in wide(), c in wide()) {
        prop_assert_eq!(&(&a + &b) * &c, &(&a * &c) + &(&b * &c));
        prop_assert_eq!(&(&a - &b) + &b, a.clone());
        prop_assert_eq!(&a + &-&a, Scalar::zero());
        if !bool::from(a.is_zero()) {
            prop_assert_eq!(&a * &a.inverse(), Scalar::one());
        }
        prop_assert_eq!(Scalar::from_bytes(&a.to_bytes()).unwrap(), a);
    }

    #[test]
    fn products_and_their_sums_agree(a in wide(), b in wide(), m in any::<[u8; 8]>(), n in any::<[u8; 8]>(), w: u128) {
        let (p, q) = (hash_to_g1(&m, b"T").unwrap(), hash_to_g1(&n, b"U").unwrap());
        let sum = p.times(&a) + q.times(&b);
        prop_assert_eq!(G1Projective::sum_of_products(&[p, q], &[a.clone(), b.clone()]), sum);
        prop_assert_eq!(p.times(&a) + p.times(&b), p.times(&(&a + &b)));
        let mut bytes = [0; 32];
        bytes[16..].copy_from_slice(&w.to_be_bytes());
        let weight = Scalar::from_bytes(&bytes).unwrap();
        prop_assert_eq!(G1Projective::sum_weighted(&[p], &[w]), p.times(&weight));
        let g = G2Projective::generator_times(&a) + G2Projective::generator_times(&b);
        prop_assert_eq!(G2Projective::generator_times(&(&a + &b)), g);
    }

    #[test]
    fn the_pairing_is_bilinear(a in wide(), m in any::<[u8; 8]>()) {
        prop_assume!(!bool::from(a.is_zero()));
        let p = hash_to_g1(&m, b"T").unwrap();
        let q = G2Projective::generator_times(&a).to_affine().unwrap();
        let s = p.times(&a).to_affine().unwrap();
        prop_assert!(pairings_cancel(&[(p, q), (s, G2Affine::minus_generator())]));
        let other = (p.times(&a) + p.into()).to_affine().unwrap();
        prop_assert!(!pairings_cancel(&[(p, q), (other, G2Affine::minus_generator())]));
    }

    #[test]
    fn any_bytes_are_one_point_or_refused(mut bytes in any::<[u8; 32]>().prop_map(|b| {
        let mut out = [0; 48];
        out[..32].copy_from_slice(&b);
        out
    })) {
        bytes[0] |= 0x80;
        if let Ok(point) = G1Affine::from_bytes(&bytes) {
            prop_assert_eq!(point.to_bytes(), bytes);
        }
    }
}

#[test]
fn edges_of_the_encodings_are_refused() {
    let mut identity = [0; 48];
    identity[0] = 0xc0;
    assert_eq!(G1Affine::from_bytes(&identity), Err(Error::Identity));
    let mut identity = [0; 96];
    identity[0] = 0xc0;
    assert_eq!(G2Affine::from_bytes(&identity), Err(Error::Identity));
    // Not compressed; the identity with a bit set; x = p.
    assert_eq!(G1Affine::from_bytes(&[0; 48]), Err(Error::NotOnCurve));
    let mut odd = [0; 48];
    (odd[0], odd[47]) = (0xc0, 1);
    assert_eq!(G1Affine::from_bytes(&odd), Err(Error::NotOnCurve));
    assert_eq!(G1Affine::from_bytes(&[0xff; 48]), Err(Error::NotOnCurve));
    // Small x: some are on no curve, some outside the subgroup. Of both there are many.
    let mut seen = [0; 2];
    for x in 1..=255_u8 {
        let mut bytes = [0; 48];
        (bytes[0], bytes[47]) = (0x80, x);
        match G1Affine::from_bytes(&bytes) {
            Err(Error::NotOnCurve) => seen[0] += 1,
            Err(Error::WrongSubgroup) => seen[1] += 1,
            other => panic!("x = {x}: {other:?}"),
        }
    }
    assert!(seen.iter().all(|n| *n > 60), "{seen:?}");
    // The order of the groups itself.
    let r = [
        0x73, 0xed, 0xa7, 0x53, 0x29, 0x9d, 0x7d, 0x48, 0x33, 0x39, 0xd8, 0x08, 0x09, 0xa1, 0xd8,
        0x05, 0x53, 0xbd, 0xa4, 0x02, 0xff, 0xfe, 0x5b, 0xfe, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1,
    ];
    assert_eq!(Scalar::from_bytes(&r), Err(Error::NotReduced));
    let mut below = r;
    below[31] = 0;
    assert_eq!(Scalar::from_bytes(&below).unwrap(), -&Scalar::one());
}

#[test]
fn nothing_and_the_identity_are_harmless() {
    assert!(pairings_cancel(&[]));
    assert!(G1Projective::sum_of_products(&[], &[]).is_identity());
    assert!(G1Projective::identity().to_affine().is_none());
    let p = G1Affine::generator();
    assert!(p.times(&Scalar::zero()).is_identity());
    assert!((p.times(&Scalar::one()) - p.into()).is_identity());
    assert_eq!(Scalar::zero().inverse(), Scalar::zero());
    assert!(!bool::from(Scalar::draw(|b| b.fill(0)).is_zero()));
    assert_eq!(format!("{:?}", Scalar::one()), "Scalar(…)");
}

/// RFC 9380, appendix J.9.1: the first answer of the suite.
#[test]
fn hashing_gives_the_answer_of_the_rfc() {
    let point = hash_to_g1(b"", b"QUUX-V01-CS02-with-BLS12381G1_XMD:SHA-256_SSWU_RO_").unwrap();
    let x = "052926add2207b76ca4fa57a8734416c8dc95e24501772c814278700eed6d1e4e8cf62d9c09db0fac349612b759e79a1";
    let mut bytes = point.to_bytes();
    bytes[0] &= 0x1f;
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, x);
}
