//! One pair, in limbs of 51 bits.

use crate::bytes::{self, Decoding, MASK};
use crate::ladder::{LAST, swaps};

type Fe = [u64; 5];
type Bits = [u64; 4];

// Limbs are below 2^52 after a product, and below 2^54 before one.

const fn zero() -> Fe {
    [0; 5]
}

const fn one() -> Fe {
    [1, 0, 0, 0, 0]
}

#[inline(always)]
fn add(a: &Fe, b: &Fe) -> Fe {
    core::array::from_fn(|i| a[i] + b[i])
}

/// Four times p, in limbs of 51 bits.
const FOUR_P: Fe = {
    let high = 4 * MASK;
    [high - 72, high, high, high, high]
};

#[inline(always)]
fn sub(a: &Fe, b: &Fe) -> Fe {
    core::array::from_fn(|i| a[i] + FOUR_P[i] - b[i])
}

#[inline(always)]
fn wide(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

#[inline(always)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "masked, or what a shift leaves"
)]
fn carry(mut t: [u128; 5]) -> Fe {
    let mut out = [0; 5];
    for i in 0..4 {
        t[i + 1] += t[i] >> 51;
        out[i] = t[i] as u64 & MASK;
    }
    out[4] = t[4] as u64 & MASK;
    out[0] += 19 * (t[4] >> 51) as u64;
    out[1] += out[0] >> 51;
    out[0] &= MASK;
    out
}

#[inline(always)]
fn mul(a: &Fe, b: &Fe) -> Fe {
    let [a0, a1, a2, a3, a4] = *a;
    let [b0, b1, b2, b3, b4] = *b;
    let (c1, c2, c3, c4) = (19 * b1, 19 * b2, 19 * b3, 19 * b4);
    carry([
        wide(a0, b0) + wide(a4, c1) + wide(a3, c2) + wide(a2, c3) + wide(a1, c4),
        wide(a1, b0) + wide(a0, b1) + wide(a4, c2) + wide(a3, c3) + wide(a2, c4),
        wide(a2, b0) + wide(a1, b1) + wide(a0, b2) + wide(a4, c3) + wide(a3, c4),
        wide(a3, b0) + wide(a2, b1) + wide(a1, b2) + wide(a0, b3) + wide(a4, c4),
        wide(a4, b0) + wide(a3, b1) + wide(a2, b2) + wide(a1, b3) + wide(a0, b4),
    ])
}

#[inline(always)]
fn square(a: &Fe) -> Fe {
    let [a0, a1, a2, a3, a4] = *a;
    let (d0, d1, d2) = (2 * a0, 2 * a1, 2 * a2);
    let (c3, c4) = (19 * a3, 19 * a4);
    carry([
        wide(a0, a0) + wide(d1, c4) + wide(d2, c3),
        wide(d0, a1) + wide(d2, c4) + wide(a3, c3),
        wide(d0, a2) + wide(a1, a1) + wide(2 * a3, c4),
        wide(d0, a3) + wide(d1, a2) + wide(a4, c4),
        wide(d0, a4) + wide(d1, a3) + wide(a2, a2),
    ])
}

/// `a + 121665 e`.
#[inline(always)]
fn add_scaled(a: &Fe, e: &Fe) -> Fe {
    carry(core::array::from_fn(|i| {
        u128::from(a[i]) + wide(e[i], 121_665)
    }))
}

#[inline(always)]
fn swap_if(bits: &Bits, bit: usize, a: &mut Fe, b: &mut Fe) {
    // The barrier keeps the compiler from making a branch of it.
    let mask = core::hint::black_box((bits[bit / 64] >> (bit % 64) & 1).wrapping_neg());
    for (a, b) in a.iter_mut().zip(b) {
        let differ = mask & (*a ^ *b);
        *a ^= differ;
        *b ^= differ;
    }
}

ladder!();
inversion!();

/// One product.
pub(crate) fn x25519(decoding: Decoding, scalar: &[u8; 32], point: &[u8; 32]) -> [u8; 32] {
    let mut bits = swaps(decoding.bits(scalar));
    let out = bytes::encode(ladder(&bits, &bytes::limbs(point)));
    zeroize::Zeroize::zeroize(&mut bits);
    out
}

/// A product of two field elements, by their encodings.
#[cfg(test)]
pub(crate) fn through_limbs(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
    bytes::encode(mul(&bytes::limbs(&a), &bytes::limbs(&b)))
}
