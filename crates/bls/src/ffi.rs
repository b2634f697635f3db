//! The calls of the C library. Everything here is private, and takes references only: so all pointers are valid and aligned.

use alloc::vec;
use alloc::vec::Vec;

use blst::{
    BLST_ERROR, blst_fp12, blst_fr, blst_p1, blst_p1_affine, blst_p2, blst_p2_affine, blst_scalar,
};

use crate::Error;

/// Declares what both groups have in the same form.
macro_rules! group {
    (
        $name:ident, $jacobian:ty, $affine:ty, $bytes:literal,
        $uncompress:ident $compress:ident $is_inf:ident $in_group:ident $from_affine:ident $to_affine:ident
        $add:ident $mult:ident $neg:ident $equal:ident $projective_inf:ident $generator:ident
        $scratch:ident $pippenger:ident
    ) => {
        pub(crate) mod $name {
            use super::*;

            /// Decodes a point: on the curve, in the subgroup, not the identity.
            pub(crate) fn decode(bytes: &[u8; $bytes]) -> Result<$affine, Error> {
                let mut out = <$affine>::default();
                // SAFETY: the function reads as many bytes as the array has, and writes one point.
                let code = unsafe { blst::$uncompress(&mut out, bytes.as_ptr()) };
                if code != BLST_ERROR::BLST_SUCCESS {
                    return Err(Error::NotOnCurve);
                }
                // SAFETY: both read one point.
                let (identity, inside) = unsafe { (blst::$is_inf(&out), blst::$in_group(&out)) };
                match (identity, inside) {
                    (true, _) => Err(Error::Identity),
                    (_, false) => Err(Error::WrongSubgroup),
                    _ => Ok(out),
                }
            }

            pub(crate) fn encode(point: &$affine) -> [u8; $bytes] {
                let mut out = [0; $bytes];
                // SAFETY: the function writes as many bytes as the array has.
                unsafe { blst::$compress(out.as_mut_ptr(), point) };
                out
            }

            pub(crate) fn from_affine(point: &$affine) -> $jacobian {
                let mut out = <$jacobian>::default();
                // SAFETY: reads one point, writes one.
                unsafe { blst::$from_affine(&mut out, point) };
                out
            }

            pub(crate) fn to_affine(point: &$jacobian) -> $affine {
                let mut out = <$affine>::default();
                // SAFETY: reads one point, writes one.
                unsafe { blst::$to_affine(&mut out, point) };
                out
            }

            pub(crate) fn add(a: &$jacobian, b: &$jacobian) -> $jacobian {
                let mut out = <$jacobian>::default();
                // SAFETY: reads two points, writes a third.
                unsafe { blst::$add(&mut out, a, b) };
                out
            }

            /// Constant time in the scalar; the point is in the subgroup, as the library's method for it requires.
            pub(crate) fn mult(point: &$jacobian, scalar: &blst_scalar) -> $jacobian {
                let mut out = <$jacobian>::default();
                // SAFETY: 255 bits are within the 32 bytes of a scalar.
                unsafe { blst::$mult(&mut out, point, scalar.b.as_ptr(), 255) };
                out
            }

            pub(crate) fn negate(point: &mut $jacobian) {
                // SAFETY: changes one point in place.
                unsafe { blst::$neg(point, true) };
            }

            pub(crate) fn equal(a: &$jacobian, b: &$jacobian) -> bool {
                // SAFETY: reads two points.
                unsafe { blst::$equal(a, b) }
            }

            pub(crate) fn is_identity(point: &$jacobian) -> bool {
                // SAFETY: reads one point.
                unsafe { blst::$projective_inf(point) }
            }

            pub(crate) fn generator() -> $jacobian {
                // SAFETY: the library returns the address of a constant.
                unsafe { *blst::$generator() }
            }

            /// The sum of products. `scalars` are little-endian, each of `nbits` rounded up to bytes. The time depends on them.
            pub(crate) fn sum_of_products(
                points: &[$affine],
                scalars: &[u8],
                nbits: usize,
            ) -> $jacobian {
                let mut out = <$jacobian>::default();
                if points.is_empty() || scalars.len() < points.len() * nbits.div_ceil(8) {
                    return out;
                }
                let (p, s) = (
                    [points.as_ptr(), core::ptr::null()],
                    [scalars.as_ptr(), core::ptr::null()],
                );
                // SAFETY: a plain function of a number.
                let size = unsafe { blst::$scratch(points.len()) };
                let mut scratch: Vec<u64> = vec![0; size.div_ceil(8)];
                // SAFETY: a null after the first pointer says that what follows is contiguous; both slices are long enough, as was
                // checked above, and the scratch space has the size that the library asked for.
                unsafe {
                    blst::$pippenger(
                        &mut out,
                        p.as_ptr(),
                        points.len(),
                        s.as_ptr(),
                        nbits,
                        scratch.as_mut_ptr(),
                    );
                }
                out
            }
        }
    };
}

group!(
    g1, blst_p1, blst_p1_affine, 48,
    blst_p1_uncompress blst_p1_affine_compress blst_p1_affine_is_inf blst_p1_affine_in_g1 blst_p1_from_affine blst_p1_to_affine
    blst_p1_add_or_double blst_p1_mult blst_p1_cneg blst_p1_is_equal blst_p1_is_inf blst_p1_generator
    blst_p1s_mult_pippenger_scratch_sizeof blst_p1s_mult_pippenger
);
group!(
    g2, blst_p2, blst_p2_affine, 96,
    blst_p2_uncompress blst_p2_affine_compress blst_p2_affine_is_inf blst_p2_affine_in_g2 blst_p2_from_affine blst_p2_to_affine
    blst_p2_add_or_double blst_p2_mult blst_p2_cneg blst_p2_is_equal blst_p2_is_inf blst_p2_generator
    blst_p2s_mult_pippenger_scratch_sizeof blst_p2s_mult_pippenger
);

/// RFC 9380 hash to G1.
pub(crate) fn hash_to_g1(message: &[u8], dst: &[u8]) -> blst_p1 {
    let mut out = blst_p1::default();
    // SAFETY: each pointer comes with its slice's length; the third slice is empty.
    unsafe {
        blst::blst_hash_to_g1(
            &mut out,
            message.as_ptr(),
            message.len(),
            dst.as_ptr(),
            dst.len(),
            core::ptr::null(),
            0,
        );
    }
    out
}

/// Whether the product of the pairings is one. No point is the identity.
pub(crate) fn product_is_one(g1: &[blst_p1_affine], g2: &[blst_p2_affine]) -> bool {
    if g1.is_empty() || g1.len() != g2.len() {
        return g1.len() == g2.len();
    }
    let mut out = blst_fp12::default();
    let (q, p) = (
        [g2.as_ptr(), core::ptr::null()],
        [g1.as_ptr(), core::ptr::null()],
    );
    // SAFETY: a null after the first pointer says that what follows is contiguous; both slices have that many points.
    unsafe { blst::blst_miller_loop_n(&mut out, q.as_ptr(), p.as_ptr(), g1.len()) };
    blst_fp12::finalverify(&out, &blst_fp12::default())
}

/// A function of two scalars, in constant time.
macro_rules! binary {
    ($($name:ident $call:ident),*) => {$(
        pub(crate) fn $name(a: &blst_fr, b: &blst_fr) -> blst_fr {
            let mut out = blst_fr::default();
            // SAFETY: reads two numbers, writes a third.
            unsafe { blst::$call(&mut out, a, b) };
            out
        }
    )*};
}
binary!(fr_add blst_fr_add, fr_sub blst_fr_sub, fr_mul blst_fr_mul);

pub(crate) fn fr_inverse(a: &blst_fr) -> blst_fr {
    let mut out = blst_fr::default();
    // SAFETY: reads one number, writes one.
    unsafe { blst::blst_fr_inverse(&mut out, a) };
    out
}

pub(crate) fn fr_from_u64(n: u64) -> blst_fr {
    let (mut out, limbs) = (blst_fr::default(), [n, 0, 0, 0]);
    // SAFETY: reads four limbs, writes one number.
    unsafe { blst::blst_fr_from_uint64(&mut out, limbs.as_ptr()) };
    out
}

pub(crate) fn fr_to_scalar(a: &blst_fr) -> blst_scalar {
    let mut out = blst_scalar::default();
    // SAFETY: reads one number, writes one.
    unsafe { blst::blst_scalar_from_fr(&mut out, a) };
    out
}

/// `None` for a number that is not below the order.
pub(crate) fn fr_from_be(bytes: &[u8; 32]) -> Option<blst_fr> {
    let (mut scalar, mut out) = (blst_scalar::default(), blst_fr::default());
    // SAFETY: reads 32 bytes and a number, writes numbers.
    let good = unsafe {
        blst::blst_scalar_from_bendian(&mut scalar, bytes.as_ptr());
        let good = blst::blst_scalar_fr_check(&scalar);
        blst::blst_fr_from_scalar(&mut out, &scalar);
        good
    };
    good.then_some(out)
}

/// The big-endian number modulo the order.
pub(crate) fn fr_from_wide(bytes: &[u8; 64]) -> blst_fr {
    let (mut scalar, mut out) = (blst_scalar::default(), blst_fr::default());
    // SAFETY: reads 64 bytes, writes a number below the order; the result only says whether it is zero.
    unsafe {
        blst::blst_scalar_from_be_bytes(&mut scalar, bytes.as_ptr(), bytes.len());
        blst::blst_fr_from_scalar(&mut out, &scalar);
    }
    out
}
