//! Terms of the equation of Ed25519 signatures, and the curve's constants.

/// A signature's S, its hash k modulo the group's order, and the encoding of its key A. All are public: the time does not depend on
/// them, but nothing is wiped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Terms {
    /// S, below the group's order.
    pub s: [u8; 32],
    /// k, below the group's order.
    pub k: [u8; 32],
    /// The encoding of A.
    pub a: [u8; 32],
}

/// Terms that are computed at once.
pub const LANES: usize = 8;

/// d of the curve.
pub(crate) const D: [u64; 5] = [
    0x34dca135978a3,
    0x1a8283b156ebd,
    0x5e7a26001c029,
    0x739c663a03cbb,
    0x52036cee2b6ff,
];
/// 2d.
pub(crate) const D2: [u64; 5] = [
    0x69b9426b2f159,
    0x35050762add7a,
    0x3cf44c0038052,
    0x6738cc7407977,
    0x2406d9dc56dff,
];
/// A root of -1.
pub(crate) const ROOT: [u64; 5] = [
    0x61b274a0ea0b0,
    0xd5a5fc8f189d,
    0x7ef5e9cbd0c60,
    0x78595a6804c9e,
    0x2b8324804fc1d,
];

/// y - x, y + x and 2dxy of 1 to 8 times the base point.
#[rustfmt::skip]
pub(crate) const BASE_MULTIPLES: [[[u64; 5]; 3]; 8] = [
    [[0x3905d740913e, 0xba2817d673a2, 0x23e2827f4e67c, 0x133d2e0c21a34, 0x44fd2f9298f81], [0x493c6f58c3b85, 0xdf7181c325f7, 0xf50b0b3e4cb7, 0x5329385a44c32, 0x7cf9d3a33d4b], [0x11205877aaa68, 0x479955893d579, 0x50d66309b67a0, 0x2d42d0dbee5ee, 0x6f117b689f0c6]],
    [[0x1a56042b4d5a8, 0x189cc159ed153, 0x5b8deaa3cae04, 0x2aaf04f11b5d8, 0x6bb595a669c92], [0x4e7fc933c71d7, 0x2cf41feb6b244, 0x7581c0a7d1a76, 0x7172d534d32f0, 0x590c063fa87d2], [0x2a8b3a59b7a5f, 0x3abb359ef087f, 0x4f5a8c4db05af, 0x5b9a807d04205, 0x701af5b13ea50]],
    [[0x11fe8a4fcd265, 0x7bcb8374faacc, 0x52f5af4ef4d4f, 0x5314098f98d10, 0x2ab91587555bd], [0x5b0a84cee9730, 0x61d10c97155e4, 0x4059cc8096a10, 0x47a608da8014f, 0x7a164e1b9a80f], [0x6933f0dd0d889, 0x44386bb4c4295, 0x3cb6d3162508c, 0x26368b872a2c6, 0x5a2826af12b9b]],
    [[0x6050a056818bf, 0x62acc1f5532bf, 0x28141ccc9fa25, 0x24d61f471e683, 0x27933f4c7445a], [0x351b98efc099f, 0x68fbfa4a7050e, 0x42a49959d971b, 0x393e51a469efd, 0x680e910321e58], [0x3fbe9c476ff09, 0xaf6b982e4b42, 0xad1251ba78e5, 0x715aeedee7c88, 0x7f9d0cbf63553]],
    [[0x182c3a447d6ba, 0x22964e536eff2, 0x192821f540053, 0x2f9f19e788e5c, 0x154a7e73eb1b5], [0x2bc4408a5bb33, 0x78ebdda05442, 0x2ffb112354123, 0x375ee8df5862d, 0x2945ccf146e20], [0x3dbf1812a8285, 0xfa17ba3f9797, 0x6f69cb49c3820, 0x34d5a0db3858d, 0x43aabe696b3bb]],
    [[0x6b67b7d8ca4, 0x84fa44e72933, 0x1154ee55d6f8a, 0x4425d842e7390, 0x38b64c41ae417], [0x4eeeb77157131, 0x1201915f10741, 0x1669cda6c9c56, 0x45ec032db346d, 0x51e57bb6a2cc3], [0x4326702ea4b71, 0x6834376030b5, 0xef0512f9c380, 0xf1a9f2512584, 0x10b8e91a9f0d6]],
    [[0x72c9aaa3221b1, 0x267774474f74d, 0x64b0e9b28085, 0x3f04ef53b27c9, 0x1d6edd5d2e531], [0x25cd0944ea3bf, 0x75673b81a4d63, 0x150b925d1c0d4, 0x13f38d9294114, 0x461bea69283c9], [0x36dc801b8b3a2, 0xe0a7d4935e30, 0x1deb7cecc0d7d, 0x53a94e20dd2c, 0x7a9fbb1c6a0f9]],
    [[0x75dedf39234d9, 0x1c36ab1f3c54, 0xf08fee58f5da, 0xe19613a0d637, 0x3a9024a1320e0], [0x7596604dd3e8f, 0x6fc510e058b36, 0x3670c8db2cc0d, 0x297d899ce332f, 0x915e76061bce], [0x1f5d9c9a2911a, 0x7117994fafcf8, 0x2d8a8cae28dc5, 0x74ab1b2090c87, 0x26907c5c2ecc4]],
];

/// Where a digit is below zero.
pub(crate) const NEGATIVE: u64 = 1 << 16;

/// Digits of -8 to 8 to the base of 16, the lowest first. Of each, the bit at its absolute value is set, and [`NEGATIVE`] below zero.
pub(crate) fn digits(scalar: &[u8; 32]) -> [u64; 64] {
    let mut carry = 0;
    core::array::from_fn(|i| {
        let digit = (scalar[i / 2] >> (i % 2 * 4) & 15) + carry;
        carry = u8::from(digit > 8);
        match carry {
            0 => 1 << digit,
            _ => 1 << (16 - digit) | NEGATIVE,
        }
    })
}

/// The lanes of which something holds.
pub(crate) fn mask(holds: impl Fn(usize) -> bool) -> u8 {
    (0..LANES).map(|n| u8::from(holds(n)) << n).sum()
}

/// Whether a candidate of x is the root, a root of the other sign's square, or none: by `v x^2`, u and -u.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Root {
    Is,
    TimesRootOfMinusOne,
    None,
}

impl Root {
    pub(crate) fn of(vxx: &[u8; 32], u: &[u8; 32], minus_u: &[u8; 32]) -> Self {
        match () {
            () if vxx == u => Self::Is,
            () if vxx == minus_u => Self::TimesRootOfMinusOne,
            () => Self::None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
    use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
    use curve25519_dalek::scalar::Scalar;

    use super::*;

    fn scalar(state: &mut u64) -> Scalar {
        let bytes = core::array::from_fn(|_| {
            *state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        });
        Scalar::from_bytes_mod_order(bytes)
    }

    /// What another implementation says.
    fn plain(terms: &Terms) -> Option<[u8; 32]> {
        let a = CompressedEdwardsY(terms.a).decompress()?;
        let [s, k] = [terms.s, terms.k].map(Scalar::from_bytes_mod_order);
        let point = EdwardsPoint::mul_base(&s) - k * a;
        Some(point.compress().to_bytes())
    }

    /// Checks an implementation: random terms, scalars and points at the ends, points of small order, and encodings of no point.
    pub(crate) fn agrees(expected: impl Fn(&[Terms; LANES]) -> [Option<[u8; 32]>; LANES]) {
        let mut state = 11;
        let ends = [
            Scalar::ZERO,
            Scalar::ONE,
            -Scalar::ONE,
            Scalar::from(8_u8),
            Scalar::from(9_u8),
            Scalar::from(0x8888_8888_8888_8888_u64),
        ];
        let (mut none, mut some) = (0, 0);
        for round in 0..40 {
            let terms: [Terms; LANES] = core::array::from_fn(|n| {
                let s = scalar(&mut state);
                let k = scalar(&mut state);
                let point = scalar(&mut state) * ED25519_BASEPOINT_POINT;
                let end = |at: usize| ends[at % ends.len()];
                let (s, k, a) = match n {
                    0 => (end(round), k, point.compress().to_bytes()),
                    1 => (s, end(round), point.compress().to_bytes()),
                    2 => (
                        end(round),
                        end(round / 6),
                        ED25519_BASEPOINT_POINT.compress().to_bytes(),
                    ),
                    3 => (s, k, EIGHT_TORSION[round % 8].compress().to_bytes()),
                    4 => (
                        s,
                        k,
                        (point + EIGHT_TORSION[round % 8]).compress().to_bytes(),
                    ),
                    // Half of all numbers are no y.
                    5 => (s, k, scalar(&mut state).to_bytes()),
                    // S B = k A: the sum is the identity.
                    6 => (
                        k * s,
                        k,
                        (s * ED25519_BASEPOINT_POINT).compress().to_bytes(),
                    ),
                    _ => (s, k, point.compress().to_bytes()),
                };
                Terms {
                    s: s.to_bytes(),
                    k: k.to_bytes(),
                    a,
                }
            });
            for (n, (one, got)) in terms.iter().zip(expected(&terms)).enumerate() {
                assert_eq!(got, plain(one), "round {round}, lane {n}");
                match got {
                    Some(_) => some += 1,
                    None => none += 1,
                }
            }
        }
        assert!(none > 5 && some > 200, "{none} {some}");
    }

    #[test]
    fn the_digits_of_a_scalar_sum_up_to_it() {
        let mut state = 5;
        for _ in 0..100 {
            let scalar = scalar(&mut state);
            let mut sum = Scalar::ZERO;
            for digit in digits(scalar.as_bytes()).iter().rev() {
                let value = Scalar::from((digit & (NEGATIVE - 1)).trailing_zeros());
                sum =
                    sum * Scalar::from(16_u8) + if digit & NEGATIVE == 0 { value } else { -value };
            }
            assert_eq!(sum, scalar);
        }
    }

    #[test]
    fn the_multiples_of_the_base_point_are_those() {
        let encode = crate::bytes::encode;
        let difference = |a: [u64; 5], b: [u64; 5]| {
            let p2: [u64; 5] = core::array::from_fn(|i| {
                if i == 0 {
                    (1 << 52) - 38
                } else {
                    (1 << 52) - 2
                }
            });
            core::array::from_fn(|i| a[i] + p2[i] - b[i])
        };
        for (n, [minus, plus, t2d]) in BASE_MULTIPLES.iter().enumerate() {
            let point = Scalar::from(n as u64 + 1) * ED25519_BASEPOINT_POINT;
            let encoding = point.compress().to_bytes();
            let sum: [u64; 5] = core::array::from_fn(|i| minus[i] + plus[i]);
            // (y - x) + (y + x) = 2y.
            let y = crate::bytes::limbs(&encoding);
            assert_eq!(encode(sum), encode(y.map(|l| 2 * l)), "{n}");
            // (y + x) - (y - x) = 2x, and 2dxy times 2 is 2x times 2y times d.
            let x2 = encode(difference(*plus, *minus));
            let y2 = encode(sum);
            let product = crate::portable::through_limbs;
            let xy4 = product(crate::bytes::encode(crate::bytes::limbs(&x2)), y2);
            let expected = product(xy4, encode(D));
            assert_eq!(encode(t2d.map(|l| 2 * l)), expected, "{n}");
        }
    }
}
