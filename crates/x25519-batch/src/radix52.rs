/// Field arithmetic of the ladder in eight lanes, over instructions of the names that `core::arch::x86_64` gives them: they,
/// `__m512i` and `gather` are in scope where this stands. Without a feature it runs over a model of them, on any machine.
///
/// `vpmadd52` multiplies 52 bits and adds the low or the high 52 bits of the product. With limbs of 52 bits both halves belong to
/// limbs as they are. In return a limb must be below 2^52 before each product, so carries run from the lowest limb to the highest.
#[cfg_attr(
    not(any(test, target_arch = "x86_64")),
    allow(unused_macros, reason = "other machines have no such instructions")
)]
macro_rules! eight_lanes_52 {
    ($(#[$feature:meta])*) => {
        type Fe = [__m512i; 5];
        type Bits = [__m512i; 4];

        // Limbs are below 2^52 after every operation, the highest below 2^47 + 2^9.

        /// 2^260 modulo p.
        const OVER: u64 = 608;

        $(#[$feature])*
        #[inline]
        fn all(word: u64) -> __m512i {
            _mm512_set1_epi64(word.cast_signed())
        }

        $(#[$feature])*
        #[inline]
        fn zero() -> Fe {
            [_mm512_setzero_si512(); 5]
        }

        $(#[$feature])*
        #[inline]
        fn one() -> Fe {
            let mut one = zero();
            one[0] = all(1);
            one
        }

        $(#[$feature])*
        #[inline]
        fn plus(a: __m512i, b: __m512i) -> __m512i {
            _mm512_add_epi64(a, b)
        }

        /// Limbs are below 2^60 before.
        $(#[$feature])*
        #[inline]
        fn carry(t: Fe) -> Fe {
            let mask = all(MASK_52);
            let [a, b, c, d, e] = t;
            // What is above 255 bits, times 19, goes to the lowest limb.
            let a = _mm512_madd52lo_epu64(a, _mm512_srli_epi64::<47>(e), all(19));
            let b = plus(b, _mm512_srli_epi64::<52>(a));
            let c = plus(c, _mm512_srli_epi64::<52>(b));
            let d = plus(d, _mm512_srli_epi64::<52>(c));
            let e = _mm512_and_si512(e, all(MASK_52 >> 5));
            let e = plus(e, _mm512_srli_epi64::<52>(d));
            let low = |limb| _mm512_and_si512(limb, mask);
            [low(a), low(b), low(c), low(d), e]
        }

        /// Limbs of 10 that are below 2^56, the highest below 2^43, taken modulo p.
        $(#[$feature])*
        #[inline]
        fn fold(z: [__m512i; 10]) -> Fe {
            let over = all(OVER);
            let mut out = zero();
            for i in 0..5 {
                out[i] = _mm512_madd52lo_epu64(z[i], z[i + 5], over);
            }
            for i in 0..4 {
                // The products above were of the low 52 bits of a limb.
                let above = _mm512_srli_epi64::<52>(z[i + 5]);
                out[i + 1] = _mm512_madd52hi_epu64(out[i + 1], z[i + 5], over);
                out[i + 1] = _mm512_madd52lo_epu64(out[i + 1], above, over);
            }
            carry(out)
        }

        $(#[$feature])*
        #[inline]
        fn add(a: &Fe, b: &Fe) -> Fe {
            let mut sum = *a;
            for i in 0..5 {
                sum[i] = plus(a[i], b[i]);
            }
            carry(sum)
        }

        $(#[$feature])*
        #[inline]
        fn sub(a: &Fe, b: &Fe) -> Fe {
            // Four times p, of which each limb is above any of b.
            let p4 = [
                all(2 * MASK_52 - 74),
                all(2 * MASK_52),
                all(2 * MASK_52),
                all(2 * MASK_52),
                all((1 << 49) - 2),
            ];
            let mut difference = *a;
            for i in 0..5 {
                difference[i] = plus(a[i], _mm512_sub_epi64(p4[i], b[i]));
            }
            carry(difference)
        }

        /// The low and the high halves of what limb `I` of `a` contributes.
        $(#[$feature])*
        #[inline]
        fn row<const I: usize>(low: &mut [__m512i; 10], high: &mut [__m512i; 10], a: &Fe, b: &Fe) {
            for j in 0..5 {
                low[I + j] = _mm512_madd52lo_epu64(low[I + j], a[I], b[j]);
                high[I + j + 1] = _mm512_madd52hi_epu64(high[I + j + 1], a[I], b[j]);
            }
        }

        $(#[$feature])*
        #[inline]
        fn mul(a: &Fe, b: &Fe) -> Fe {
            // Two sums, so that fewer additions wait for each other.
            let mut low = [_mm512_setzero_si512(); 10];
            let mut high = low;
            row::<0>(&mut low, &mut high, a, b);
            row::<1>(&mut low, &mut high, a, b);
            row::<2>(&mut low, &mut high, a, b);
            row::<3>(&mut low, &mut high, a, b);
            row::<4>(&mut low, &mut high, a, b);
            for k in 0..10 {
                low[k] = plus(low[k], high[k]);
            }
            fold(low)
        }

        /// What limb `I` contributes with those above it.
        $(#[$feature])*
        #[inline]
        fn row_above<const I: usize>(low: &mut [__m512i; 10], high: &mut [__m512i; 10], a: &Fe) {
            for j in I + 1..5 {
                low[I + j] = _mm512_madd52lo_epu64(low[I + j], a[I], a[j]);
                high[I + j + 1] = _mm512_madd52hi_epu64(high[I + j + 1], a[I], a[j]);
            }
        }

        $(#[$feature])*
        #[inline]
        fn square(a: &Fe) -> Fe {
            let mut low = [_mm512_setzero_si512(); 10];
            let mut high = low;
            row_above::<0>(&mut low, &mut high, a);
            row_above::<1>(&mut low, &mut high, a);
            row_above::<2>(&mut low, &mut high, a);
            row_above::<3>(&mut low, &mut high, a);
            // Products of two different limbs count twice.
            let mut z = low;
            for k in 0..10 {
                let once = plus(low[k], high[k]);
                z[k] = plus(once, once);
            }
            for i in 0..5 {
                z[2 * i] = _mm512_madd52lo_epu64(z[2 * i], a[i], a[i]);
                z[2 * i + 1] = _mm512_madd52hi_epu64(z[2 * i + 1], a[i], a[i]);
            }
            fold(z)
        }

        /// `a + 121665 e`.
        $(#[$feature])*
        #[inline]
        fn add_scaled(a: &Fe, e: &Fe) -> Fe {
            let factor = all(121_665);
            let mut out = *a;
            for i in 0..5 {
                out[i] = _mm512_madd52lo_epu64(a[i], e[i], factor);
            }
            for i in 0..4 {
                out[i + 1] = _mm512_madd52hi_epu64(out[i + 1], e[i], factor);
            }
            let above = _mm512_madd52hi_epu64(_mm512_setzero_si512(), e[4], factor);
            out[0] = _mm512_madd52lo_epu64(out[0], above, all(OVER));
            carry(out)
        }

        $(#[$feature])*
        #[inline]
        fn swap_if(bits: &Bits, bit: usize, a: &mut Fe, b: &mut Fe) {
            let swapped = _mm512_test_epi64_mask(bits[bit / 64], all(1 << (bit % 64)));
            for i in 0..5 {
                let (old_a, old_b) = (a[i], b[i]);
                a[i] = _mm512_mask_blend_epi64(swapped, old_a, old_b);
                b[i] = _mm512_mask_blend_epi64(swapped, old_b, old_a);
            }
        }

        ladder!($(#[$feature])*);
        inversion!($(#[$feature])*);

        /// Eight products' limbs, each by lane.
        $(#[$feature])*
        #[inline]
        pub(super) fn products(words: &[[u64; 4]; 8], points: &[[u8; 32]; 8]) -> Fe {
            ladder(&gather(words), &gather(&points.map(|p| bytes::limbs_52(&p))))
        }
    };
}
