//! Four pairs with AVX2: lane i of each register belongs to pair i.
//!
//! `vpmuludq` multiplies the low 32 bits of two lanes: limbs have 26 and 25 bits by turns.

use core::arch::x86_64::{
    __m256i, _mm_cvtsi64_si128, _mm256_add_epi64, _mm256_and_si256, _mm256_mul_epu32,
    _mm256_set1_epi64x, _mm256_setr_epi64x, _mm256_setzero_si256, _mm256_slli_epi64,
    _mm256_srl_epi64, _mm256_srli_epi64, _mm256_storeu_si256, _mm256_sub_epi64, _mm256_xor_si256,
};

use crate::bytes::{self, Decoding};
use crate::ladder::{LAST, swaps};

type Fe = [__m256i; 10];
type Bits = [__m256i; 4];

// Limbs are below 2^26 + 2^13 and 2^25 + 2^13 after a product; a sum or a difference of two such is not carried.

#[target_feature(enable = "avx2")]
#[inline]
fn all(word: u64) -> __m256i {
    _mm256_set1_epi64x(word.cast_signed())
}

#[target_feature(enable = "avx2")]
#[inline]
fn zero() -> Fe {
    [_mm256_setzero_si256(); 10]
}

#[target_feature(enable = "avx2")]
#[inline]
fn one() -> Fe {
    let mut one = zero();
    one[0] = all(1);
    one
}

#[target_feature(enable = "avx2")]
#[inline]
fn plus(a: __m256i, b: __m256i) -> __m256i {
    _mm256_add_epi64(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn times(a: __m256i, b: __m256i) -> __m256i {
    _mm256_mul_epu32(a, b)
}

/// Moves what limb `FROM` has above its bits to the next.
#[target_feature(enable = "avx2")]
#[inline]
fn carry_one<const FROM: usize>(t: &mut Fe) {
    let (over, mask) = if FROM.is_multiple_of(2) {
        (_mm256_srli_epi64::<26>(t[FROM]), (1 << 26) - 1)
    } else {
        (_mm256_srli_epi64::<25>(t[FROM]), (1 << 25) - 1)
    };
    t[FROM] = _mm256_and_si256(t[FROM], all(mask));
    if FROM == 9 {
        // 19 = 16 + 2 + 1; this may have more than 32 bits.
        let three = plus(over, plus(over, over));
        t[0] = plus(t[0], plus(_mm256_slli_epi64::<4>(over), three));
    } else {
        t[FROM + 1] = plus(t[FROM + 1], over);
    }
}

/// Two chains at once, from limbs 0 and 4.
#[target_feature(enable = "avx2")]
#[inline]
fn carry(mut t: Fe) -> Fe {
    carry_one::<0>(&mut t);
    carry_one::<4>(&mut t);
    carry_one::<1>(&mut t);
    carry_one::<5>(&mut t);
    carry_one::<2>(&mut t);
    carry_one::<6>(&mut t);
    carry_one::<3>(&mut t);
    carry_one::<7>(&mut t);
    carry_one::<4>(&mut t);
    carry_one::<8>(&mut t);
    carry_one::<9>(&mut t);
    carry_one::<0>(&mut t);
    t
}

#[target_feature(enable = "avx2")]
#[inline]
fn add(a: &Fe, b: &Fe) -> Fe {
    let mut sum = *a;
    for i in 0..10 {
        sum[i] = plus(a[i], b[i]);
    }
    sum
}

#[target_feature(enable = "avx2")]
#[inline]
fn sub(a: &Fe, b: &Fe) -> Fe {
    // Two times p, of which each limb is above any of b.
    let mut difference = *a;
    for i in 0..10 {
        let p = match i {
            0 => (1 << 27) - 38,
            _ if i % 2 == 0 => (1 << 27) - 2,
            _ => (1 << 26) - 2,
        };
        difference[i] = plus(a[i], _mm256_sub_epi64(all(p), b[i]));
    }
    difference
}

/// The sum of products.
#[target_feature(enable = "avx2")]
#[inline]
fn dot<const N: usize>(pairs: [(__m256i, __m256i); N]) -> __m256i {
    let mut sum = times(pairs[0].0, pairs[0].1);
    for pair in &pairs[1..] {
        sum = plus(sum, times(pair.0, pair.1));
    }
    sum
}

/// Limb `K` of a product: `right` has b from 9 down to 0, then from 9 down to 1 what of it counts 19 times.
#[target_feature(enable = "avx2")]
#[inline]
fn limb<const K: usize>(a: &Fe, right: &[__m256i; 19]) -> __m256i {
    let mut sum = times(a[0], right[9 - K]);
    for i in 1..10 {
        sum = plus(sum, times(a[i], right[9 - K + i]));
    }
    sum
}

#[target_feature(enable = "avx2")]
#[inline]
fn mul(a: &Fe, b: &Fe) -> Fe {
    let nineteen = all(19);
    let mut right = [b[0]; 19];
    for i in 1..10 {
        right[9 - i] = b[i];
        right[19 - i] = times(b[i], nineteen);
    }
    // Where two odd limbs meet, their product counts twice.
    let mut even = *a;
    for i in [1, 3, 5, 7, 9] {
        even[i] = plus(a[i], a[i]);
    }
    carry([
        limb::<0>(&even, &right),
        limb::<1>(a, &right),
        limb::<2>(&even, &right),
        limb::<3>(a, &right),
        limb::<4>(&even, &right),
        limb::<5>(a, &right),
        limb::<6>(&even, &right),
        limb::<7>(a, &right),
        limb::<8>(&even, &right),
        limb::<9>(a, &right),
    ])
}

#[target_feature(enable = "avx2")]
#[inline]
fn square(a: &Fe) -> Fe {
    let [a0, a1, a2, a3, a4, a5, a6, a7, a8, a9] = *a;
    let (nineteen, thirty_eight) = (all(19), all(38));
    let (b0, b1, b2, b3) = (plus(a0, a0), plus(a1, a1), plus(a2, a2), plus(a3, a3));
    let (b4, b5, b6, b7) = (plus(a4, a4), plus(a5, a5), plus(a6, a6), plus(a7, a7));
    let (c6, c8) = (times(a6, nineteen), times(a8, nineteen));
    let (d5, d7, d9) = (
        times(a5, thirty_eight),
        times(a7, thirty_eight),
        times(a9, thirty_eight),
    );
    carry([
        dot([(a0, a0), (b1, d9), (b2, c8), (b3, d7), (b4, c6), (a5, d5)]),
        dot([(b0, a1), (a2, d9), (b3, c8), (a4, d7), (b5, c6)]),
        dot([(b0, a2), (b1, a1), (b3, d9), (b4, c8), (b5, d7), (a6, c6)]),
        dot([(b0, a3), (b1, a2), (a4, d9), (b5, c8), (a6, d7)]),
        dot([(b0, a4), (b1, b3), (a2, a2), (b5, d9), (b6, c8), (a7, d7)]),
        dot([(b0, a5), (b1, a4), (b2, a3), (a6, d9), (b7, c8)]),
        dot([(b0, a6), (b1, b5), (b2, a4), (b3, a3), (b7, d9), (a8, c8)]),
        dot([(b0, a7), (b1, a6), (b2, a5), (b3, a4), (a8, d9)]),
        dot([(b0, a8), (b1, b7), (b2, a6), (b3, b5), (a4, a4), (a9, d9)]),
        dot([(b0, a9), (b1, a8), (b2, a7), (b3, a6), (b4, a5)]),
    ])
}

/// `a + 121665 e`.
#[target_feature(enable = "avx2")]
#[inline]
fn add_scaled(a: &Fe, e: &Fe) -> Fe {
    let factor = all(121_665);
    let mut out = *a;
    for i in 0..10 {
        out[i] = plus(a[i], times(e[i], factor));
    }
    carry(out)
}

#[target_feature(enable = "avx2")]
#[inline]
fn swap_if(bits: &Bits, bit: usize, a: &mut Fe, b: &mut Fe) {
    let shift = _mm_cvtsi64_si128(i64::try_from(bit % 64).unwrap_or(0));
    let bit = _mm256_and_si256(_mm256_srl_epi64(bits[bit / 64], shift), all(1));
    let mask = _mm256_sub_epi64(_mm256_setzero_si256(), bit);
    for i in 0..10 {
        let differ = _mm256_and_si256(mask, _mm256_xor_si256(a[i], b[i]));
        a[i] = _mm256_xor_si256(a[i], differ);
        b[i] = _mm256_xor_si256(b[i], differ);
    }
}

ladder!(#[target_feature(enable = "avx2")]);
inversion!(#[target_feature(enable = "avx2")]);

/// Words of all lanes, in registers.
#[target_feature(enable = "avx2")]
#[inline]
fn gather<const N: usize>(words: &[[u64; N]; 4]) -> [__m256i; N] {
    let mut out = [_mm256_setzero_si256(); N];
    for (i, register) in out.iter_mut().enumerate() {
        let lane = |n: usize| words[n][i].cast_signed();
        *register = _mm256_setr_epi64x(lane(0), lane(1), lane(2), lane(3));
    }
    out
}

/// Limbs of 51 bits in halves of 26 and 25.
fn halves(point: &[u8; 32]) -> [u64; 10] {
    let limbs = bytes::limbs(point);
    core::array::from_fn(|i| {
        let limb = limbs[i / 2];
        if i % 2 == 0 {
            limb & ((1 << 26) - 1)
        } else {
            limb >> 26
        }
    })
}

#[target_feature(enable = "avx2")]
#[inline]
fn x25519_here(decoding: Decoding, scalars: &[[u8; 32]; 4], points: &mut [[u8; 32]; 4]) {
    let mut words = scalars.map(|s| swaps(decoding.bits(&s)));
    let bits = gather(&words);
    let product = ladder(&bits, &gather(&points.map(|p| halves(&p))));
    let mut lanes = [[0_u64; 4]; 10];
    for (limb, register) in lanes.iter_mut().zip(product) {
        #[expect(unsafe_code, reason = "an intrinsic that writes through a pointer")]
        // SAFETY: the array has the register's 32 bytes; the store needs no alignment.
        unsafe {
            _mm256_storeu_si256(limb.as_mut_ptr().cast(), register);
        }
    }
    for (n, point) in points.iter_mut().enumerate() {
        let whole = |i: usize| lanes[2 * i][n] + (lanes[2 * i + 1][n] << 26);
        *point = bytes::encode(core::array::from_fn(whole));
    }
    zeroize::Zeroize::zeroize(&mut words);
}

/// Four products, into the points' place. Only where the processor has AVX2.
pub(crate) fn x25519(decoding: Decoding, scalars: &[[u8; 32]; 4], points: &mut [[u8; 32]; 4]) {
    debug_assert!(crate::Backend::Avx2.is_available());
    #[expect(unsafe_code, reason = "a call across target features")]
    // SAFETY: `multiply_with` calls this for a backend only that it found to be available.
    unsafe {
        x25519_here(decoding, scalars, points);
    }
}
