//! RFC 7748's answers, points of small order and their like, and another implementation, for every backend that runs here.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test stops where it is surprised"
)]

use betanet_x25519_batch::{
    BASE, Backend, Pair, by_two, multiply, multiply_unclamped, multiply_with,
};
use curve25519_dalek::{MontgomeryPoint, Scalar};
use proptest::prelude::*;

fn unhex(text: &str) -> [u8; 32] {
    core::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
}

fn backends() -> impl Iterator<Item = Backend> {
    Backend::ALL.into_iter().filter(|b| b.is_available())
}

/// The same pair in all lanes, and beside others.
fn everywhere(scalar: [u8; 32], point: [u8; 32], expected: [u8; 32]) {
    for backend in backends() {
        for size in [1, 2, 3, 4, 5, 8, 9, 17] {
            let mut pairs = vec![Pair::new(scalar, point); size];
            if size > 2 {
                pairs[1] = Pair::new([size as u8; 32], BASE);
            }
            multiply_with(backend, &mut pairs);
            for (i, pair) in pairs.iter().enumerate() {
                if size <= 2 || i != 1 {
                    assert_eq!(pair.point, expected, "{backend:?}, {i} of {size}");
                }
            }
        }
    }
}

#[test]
fn rfc_7748_section_5_2() {
    everywhere(
        unhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
        unhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"),
        unhex("c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"),
    );
    everywhere(
        unhex("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d"),
        unhex("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493"),
        unhex("95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"),
    );
}

#[test]
fn rfc_7748_iterated() {
    for backend in backends() {
        let mut pair = [Pair::new(BASE, BASE), Pair::new(BASE, BASE)];
        for round in 1..=1000 {
            let k = pair[0].scalar;
            multiply_with(backend, &mut pair);
            let next = Pair::new(pair[0].point, k);
            assert_eq!(pair[0].point, pair[1].point);
            pair = [next.clone(), next];
            if round == 1 {
                let once = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
                assert_eq!(pair[0].scalar, unhex(once));
            }
        }
        let thousand = "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51";
        assert_eq!(pair[0].scalar, unhex(thousand), "{backend:?}");
    }
}

/// Points of small order, on the twist, above p, with the highest bit set.
#[test]
fn unusual_points() {
    let small = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for text in small {
        for high in [0, 0x80] {
            let mut point = unhex(text);
            point[31] |= high;
            everywhere([0x55; 32], point, [0; 32]);
        }
    }
    for low in 0xed..=0xff {
        let mut point = [0xff; 32];
        point[0] = low;
        let expected = MontgomeryPoint(point).mul_clamped([0x33; 32]).0;
        everywhere([0x33; 32], point, expected);
    }
    for n in 0_u8..=255 {
        let expected = MontgomeryPoint([n; 32]).mul_clamped([!n; 32]).0;
        everywhere([!n; 32], [n; 32], expected);
    }
}

#[test]
fn two_scalars_and_a_point() {
    let [a, b] = by_two(&BASE, [&[1; 32], &[2; 32]]);
    let mut one = [Pair::new([1; 32], BASE), Pair::new([2; 32], BASE)];
    multiply(&mut one);
    assert_eq!((a, b), (one[0].point, one[1].point));
}

#[test]
fn scalars_as_they_are() {
    let point = MontgomeryPoint(BASE);
    let mut scalar = Scalar::ONE;
    let mut pairs = Vec::new();
    let mut expected = Vec::new();
    for _ in 0..100 {
        pairs.push(Pair::new(scalar.to_bytes(), BASE));
        expected.push((point * scalar).0);
        scalar *= Scalar::from(0xdead_beef_u32) + Scalar::ONE;
    }
    pairs.push(Pair::new([0; 32], BASE));
    expected.push([0; 32]);
    for size in [1, 4, 101] {
        for (pairs, expected) in pairs.chunks(size).zip(expected.chunks(size)) {
            let mut got = pairs.to_vec();
            multiply_unclamped(&mut got);
            assert!(got.iter().zip(expected).all(|(g, e)| g.point == *e));
        }
    }
}

/// 10^5 random pairs against curve25519-dalek.
#[test]
fn as_another_implementation_has_it() {
    let mut state = 1_u64;
    let mut random = || -> [u8; 32] {
        core::array::from_fn(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        })
    };
    for _ in 0..100_000 / 80 {
        let pairs: Vec<Pair> = (0..80).map(|_| Pair::new(random(), random())).collect();
        let expected: Vec<[u8; 32]> = pairs
            .iter()
            .map(|p| MontgomeryPoint(p.point).mul_clamped(p.scalar).0)
            .collect();
        for backend in backends() {
            let mut got = pairs.clone();
            multiply_with(backend, &mut got);
            for (i, (pair, expected)) in got.iter().zip(&expected).enumerate() {
                assert_eq!(
                    pair.point, *expected,
                    "{backend:?}, {i}: {:?}",
                    pairs[i].scalar
                );
            }
        }
    }
}

proptest! {
    /// Both orders of two scalars lead to one point.
    #[test]
    fn scalars_commute(a: [u8; 32], b: [u8; 32], point: [u8; 32]) {
        let mut first = [Pair::new(a, point), Pair::new(b, point)];
        multiply(&mut first);
        let mut second = [Pair::new(b, first[0].point), Pair::new(a, first[1].point)];
        multiply(&mut second);
        prop_assert_eq!(second[0].point, second[1].point);
    }
}
