//! Eight pairs with AVX-512 IFMA: lane i of each register belongs to pair i.
//!
//! `vpmadd52` multiplies the low 52 bits of two lanes, and adds the low or the high 52 bits of the product. The ladder has limbs of
//! 52 bits. Signatures have limbs of 51 bits, of which the high half of a product belongs to the next limb, doubled.

use core::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64,
    _mm512_mask_blend_epi64, _mm512_set1_epi64, _mm512_setr_epi64, _mm512_setzero_si512,
    _mm512_slli_epi64, _mm512_srli_epi64, _mm512_storeu_si512, _mm512_sub_epi64,
    _mm512_test_epi64_mask,
};

use crate::bytes::{self, Decoding, MASK};
use crate::ladder::swaps;
use crate::terms::{self, Root, Terms};

eight_lanes!(#[target_feature(enable = "avx512f,avx512ifma")]);

mod montgomery {
    use core::arch::x86_64::{
        __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64,
        _mm512_mask_blend_epi64, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_srli_epi64,
        _mm512_sub_epi64, _mm512_test_epi64_mask,
    };

    use super::gather;
    use crate::bytes::{self, MASK_52};
    use crate::ladder::LAST;

    eight_lanes_52!(#[target_feature(enable = "avx512f,avx512ifma")]);
}

/// Each limb's lanes, in memory.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn unload(element: &Fe) -> [[u64; 8]; 5] {
    let mut lanes = [[0; 8]; 5];
    for (limb, register) in lanes.iter_mut().zip(element) {
        #[expect(unsafe_code, reason = "an intrinsic that writes through a pointer")]
        // SAFETY: the array has the register's 64 bytes; the store needs no alignment.
        unsafe {
            _mm512_storeu_si512(limb.as_mut_ptr().cast(), *register);
        }
    }
    lanes
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn x25519_here(decoding: Decoding, scalars: &[[u8; 32]; 8], points: &mut [[u8; 32]; 8]) {
    let mut words = scalars.map(|s| swaps(decoding.bits(&s)));
    let lanes = unload(&montgomery::products(&words, points));
    for (n, point) in points.iter_mut().enumerate() {
        *point = bytes::encode_52(lanes.map(|limb| limb[n]));
    }
    zeroize::Zeroize::zeroize(&mut words);
}

/// Eight products, into the points' place. Only where the processor has AVX-512 IFMA.
pub(crate) fn x25519(decoding: Decoding, scalars: &[[u8; 32]; 8], points: &mut [[u8; 32]; 8]) {
    debug_assert!(crate::Backend::Avx512Ifma.is_available());
    #[expect(unsafe_code, reason = "a call across target features")]
    // SAFETY: `multiply_with` calls this for a backend only that it found to be available.
    unsafe {
        x25519_here(decoding, scalars, points);
    }
}

/// As [`crate::ed25519::expected`]. Only where the processor has AVX-512 IFMA.
pub(crate) fn expected(terms: &[Terms; 8]) -> [Option<[u8; 32]>; 8] {
    debug_assert!(crate::Backend::Avx512Ifma.is_available());
    #[expect(unsafe_code, reason = "a call across target features")]
    // SAFETY: `ed25519::expected` calls this only where it found the instructions.
    unsafe {
        expected_here(terms)
    }
}

/// The same arithmetic over a model of the instructions, as Intel's manual describes them, for processors that lack them.
#[cfg(test)]
mod model {
    #![allow(non_camel_case_types)]

    use crate::bytes::{self, Decoding, MASK};
    use crate::ladder::swaps;
    use crate::terms::{self, Root, Terms};

    type __m512i = [u64; 8];

    const LOW: u64 = (1 << 52) - 1;

    fn each(a: __m512i, b: __m512i, op: impl Fn(u64, u64) -> u64) -> __m512i {
        core::array::from_fn(|i| op(a[i], b[i]))
    }

    fn product(a: u64, b: u64) -> u128 {
        u128::from(a & LOW) * u128::from(b & LOW)
    }

    fn _mm512_add_epi64(a: __m512i, b: __m512i) -> __m512i {
        each(a, b, u64::wrapping_add)
    }

    fn _mm512_sub_epi64(a: __m512i, b: __m512i) -> __m512i {
        each(a, b, u64::wrapping_sub)
    }

    fn _mm512_and_si512(a: __m512i, b: __m512i) -> __m512i {
        each(a, b, |a, b| a & b)
    }

    fn _mm512_madd52lo_epu64(c: __m512i, a: __m512i, b: __m512i) -> __m512i {
        let low = |a, b| u64::try_from(product(a, b) & u128::from(LOW)).unwrap();
        _mm512_add_epi64(c, each(a, b, low))
    }

    fn _mm512_madd52hi_epu64(c: __m512i, a: __m512i, b: __m512i) -> __m512i {
        let high = |a, b| u64::try_from(product(a, b) >> 52).unwrap();
        _mm512_add_epi64(c, each(a, b, high))
    }

    fn _mm512_slli_epi64<const BITS: u32>(a: __m512i) -> __m512i {
        a.map(|a| a << BITS)
    }

    fn _mm512_srli_epi64<const BITS: u32>(a: __m512i) -> __m512i {
        a.map(|a| a >> BITS)
    }

    fn _mm512_set1_epi64(a: i64) -> __m512i {
        [a.cast_unsigned(); 8]
    }

    #[expect(clippy::too_many_arguments, reason = "the instruction's own")]
    fn _mm512_setr_epi64(
        a: i64,
        b: i64,
        c: i64,
        d: i64,
        e: i64,
        f: i64,
        g: i64,
        h: i64,
    ) -> __m512i {
        [a, b, c, d, e, f, g, h].map(i64::cast_unsigned)
    }

    fn _mm512_setzero_si512() -> __m512i {
        [0; 8]
    }

    fn _mm512_test_epi64_mask(a: __m512i, b: __m512i) -> u8 {
        let bit = |i: usize| u8::from(a[i] & b[i] != 0) << i;
        (0..8).map(bit).sum()
    }

    fn _mm512_mask_blend_epi64(mask: u8, a: __m512i, b: __m512i) -> __m512i {
        core::array::from_fn(|i| if mask >> i & 1 == 1 { b[i] } else { a[i] })
    }

    eight_lanes!();

    mod montgomery {
        use super::{
            __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_madd52hi_epu64,
            _mm512_madd52lo_epu64, _mm512_mask_blend_epi64, _mm512_set1_epi64,
            _mm512_setzero_si512, _mm512_srli_epi64, _mm512_sub_epi64, _mm512_test_epi64_mask,
            gather,
        };
        use crate::bytes::{self, MASK_52};
        use crate::ladder::LAST;

        eight_lanes_52!();

        /// The bounds that the code's comments claim, at their edges.
        #[test]
        fn the_largest_limbs_do_not_overflow() {
            let high = (1 << 47) + (1 << 9) - 1;
            let most = [
                [MASK_52; 8],
                [MASK_52; 8],
                [MASK_52; 8],
                [MASK_52; 8],
                [high; 8],
            ];
            let value = |limbs: &Fe| bytes::encode_52(limbs.map(|l| l[3]));
            let plain = crate::portable::through_limbs(value(&most), value(&most));
            assert_eq!(value(&mul(&most, &most)), plain);
            assert_eq!(value(&square(&most)), plain);
            let none = zero();
            assert_eq!(value(&sub(&most, &most)), [0; 32]);
            let back = sub(&none, &sub(&none, &most));
            assert_eq!(value(&back), value(&most));
            let scaled = add_scaled(&most, &most);
            let mut factor = [0; 32];
            factor[..4].copy_from_slice(&121_666_u32.to_le_bytes());
            let plain = crate::portable::through_limbs(value(&most), factor);
            assert_eq!(value(&scaled), plain);
            let all = [
                mul(&most, &most),
                square(&most),
                sub(&none, &most),
                sub(&most, &none),
                add(&most, &most),
                scaled,
            ];
            for [lower @ .., highest] in all {
                assert!(lower.iter().all(|limb| limb[3] <= MASK_52));
                assert!(highest[3] <= high);
            }
        }
    }

    fn unload(element: &Fe) -> [[u64; 8]; 5] {
        *element
    }

    fn x25519(scalars: &[[u8; 32]; 8], points: &[[u8; 32]; 8]) -> [[u8; 32]; 8] {
        let words = scalars.map(|s| swaps(Decoding::Clamped.bits(&s)));
        let limbs = montgomery::products(&words, points);
        core::array::from_fn(|n| bytes::encode_52(limbs.map(|limb| limb[n])))
    }

    #[test]
    fn eight_lanes_give_what_one_gives() {
        let mut state = 7_u64;
        let mut random = || -> [u8; 32] {
            core::array::from_fn(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                state.to_be_bytes()[0]
            })
        };
        for round in 0..250_u8 {
            let scalars: [[u8; 32]; 8] = core::array::from_fn(|_| random());
            let mut points: [[u8; 32]; 8] = core::array::from_fn(|_| random());
            // Points at the ends of the range, and of small order.
            points[0] = [round; 32];
            points[1] = [0xff; 32];
            points[1][0] = round;
            points[2] = [0; 32];
            points[2][0] = round % 2;
            let got = x25519(&scalars, &points);
            for n in 0..8 {
                let one = crate::portable::x25519(Decoding::Clamped, &scalars[n], &points[n]);
                assert_eq!(got[n], one, "round {round}, lane {n}");
            }
        }
    }

    #[test]
    fn eight_signatures_have_the_r_that_one_has() {
        terms::tests::agrees(expected_here);
    }

    /// The bounds that the code's comments claim, at their edges.
    #[test]
    fn the_largest_limbs_do_not_overflow() {
        let most = [[(1 << 51) + (1 << 14) - 1; 8]; 5];
        let value = |limbs: &Fe| bytes::encode(limbs.map(|l| l[3]));
        let plain = crate::portable::through_limbs(value(&most), value(&most));
        assert_eq!(value(&mul(&most, &most)), plain);
        assert_eq!(value(&square(&most)), plain);
        for limb in mul(&most, &most)
            .iter()
            .chain(&sub(&zero(), &most))
            .chain(&add(&most, &most))
        {
            assert!(limb[3] < (1 << 51) + (1 << 14));
        }
    }
}
