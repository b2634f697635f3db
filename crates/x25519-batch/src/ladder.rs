/// The Montgomery ladder (RFC 7748, section 5) over the field operations of the module that this stands in: `Fe`, `Bits`, `zero`,
/// `one`, `add`, `sub`, `mul`, `square`, `add_scaled`, `swap_if`, and `invert`.
macro_rules! ladder {
    ($(#[$feature:meta])*) => {
        /// The product's u-coordinate; the points are reduced.
        $(#[$feature])*
        fn ladder(scalar: &Bits, u: &Fe) -> Fe {
            let (mut x2, mut z2) = (one(), zero());
            let (mut x3, mut z3) = (*u, one());
            for bit in (0..255).rev() {
                // Swapped when this bit differs from the one before.
                swap_if(scalar, bit, &mut x2, &mut x3);
                swap_if(scalar, bit, &mut z2, &mut z3);
                let (a, b) = (add(&x2, &z2), sub(&x2, &z2));
                let (c, d) = (add(&x3, &z3), sub(&x3, &z3));
                let (da, cb) = (mul(&d, &a), mul(&c, &b));
                let (aa, bb) = (square(&a), square(&b));
                x3 = square(&add(&da, &cb));
                z3 = mul(u, &square(&sub(&da, &cb)));
                x2 = mul(&aa, &bb);
                let e = sub(&aa, &bb);
                z2 = mul(&e, &add_scaled(&aa, &e));
            }
            swap_if(scalar, LAST, &mut x2, &mut x3);
            swap_if(scalar, LAST, &mut z2, &mut z3);
            mul(&x2, &invert(&z2))
        }
    };
}

/// Powers over the field operations of the module that this stands in: `Fe`, `mul`, `square`.
macro_rules! inversion {
    ($(#[$feature:meta])*) => {
        $(#[$feature])*
        fn square_times(x: &Fe, times: usize) -> Fe {
            let mut x = square(x);
            for _ in 1..times {
                x = square(&x);
            }
            x
        }

        /// To the powers of 2^250 - 1 and 11.
        $(#[$feature])*
        fn chain(z: &Fe) -> (Fe, Fe) {
            let z2 = square(z);
            let z9 = mul(z, &square_times(&z2, 2));
            let z11 = mul(&z2, &z9);
            let z5_0 = mul(&z9, &square(&z11));
            let z10_0 = mul(&square_times(&z5_0, 5), &z5_0);
            let z20_0 = mul(&square_times(&z10_0, 10), &z10_0);
            let z40_0 = mul(&square_times(&z20_0, 20), &z20_0);
            let z50_0 = mul(&square_times(&z40_0, 10), &z10_0);
            let z100_0 = mul(&square_times(&z50_0, 50), &z50_0);
            let z200_0 = mul(&square_times(&z100_0, 100), &z100_0);
            (mul(&square_times(&z200_0, 50), &z50_0), z11)
        }

        /// To the power of p - 2; zero stays zero.
        $(#[$feature])*
        fn invert(z: &Fe) -> Fe {
            let (z250_0, z11) = chain(z);
            mul(&square_times(&z250_0, 5), &z11)
        }
    };
}

/// Where [`swaps`] has whether the ladder swaps once more at its end.
pub(crate) const LAST: usize = 255;

/// Which bits of a scalar differ from the one above them: when the ladder swaps.
pub(crate) fn swaps(words: [u64; 4]) -> [u64; 4] {
    let above = |i: usize| words.get(i + 1).copied().unwrap_or(0) << 63;
    let mut out: [u64; 4] = core::array::from_fn(|i| words[i] ^ (words[i] >> 1 | above(i)));
    // Bit 255 is free: scalars have 255 bits. The last swap undoes that of the lowest bit.
    out[3] |= words[0] << 63;
    out
}
