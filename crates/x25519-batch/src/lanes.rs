/// Field arithmetic of signatures' equations in eight lanes, with limbs of 51 bits, over instructions of the names that
/// `core::arch::x86_64` gives them: they and `__m512i` are in scope where this stands. Without a feature it runs over a model of
/// them, on any machine.
#[cfg_attr(
    not(any(test, target_arch = "x86_64")),
    allow(unused_macros, reason = "other machines have no such instructions")
)]
macro_rules! eight_lanes {
    ($(#[$feature:meta])*) => {
        type Fe = [__m512i; 5];

        // Limbs are below 2^51 + 2^14 after every operation.

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

        $(#[$feature])*
        #[inline]
        fn twice(a: __m512i) -> __m512i {
            _mm512_add_epi64(a, a)
        }

        /// What each limb has above its 51 bits goes to the next; limbs are below 2^61 before.
        $(#[$feature])*
        #[inline]
        fn carry(t: Fe) -> Fe {
            let mask = all(MASK);
            let (mut low, mut over) = (t, t);
            for i in 0..5 {
                low[i] = _mm512_and_si512(t[i], mask);
                over[i] = _mm512_srli_epi64::<51>(t[i]);
            }
            let mut out = low;
            out[0] = _mm512_madd52lo_epu64(low[0], over[4], all(19));
            for i in 1..5 {
                out[i] = plus(low[i], over[i - 1]);
            }
            out
        }

        /// Limbs of 10 that are below 2^56, taken modulo p.
        $(#[$feature])*
        #[inline]
        fn fold(z: [__m512i; 10]) -> Fe {
            let mut out = zero();
            for i in 0..5 {
                // 19 = 16 + 2 + 1.
                let high = z[i + 5];
                let three = plus(high, twice(high));
                out[i] = plus(z[i], plus(_mm512_slli_epi64::<4>(high), three));
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
            // Two times p, of which each limb is above any of b.
            let (low, high) = (all(2 * MASK - 36), all(2 * MASK));
            let mut difference = *a;
            for i in 0..5 {
                let p = if i == 0 { low } else { high };
                difference[i] = plus(a[i], _mm512_sub_epi64(p, b[i]));
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
            let mut low = [_mm512_setzero_si512(); 10];
            let mut high = low;
            row::<0>(&mut low, &mut high, a, b);
            row::<1>(&mut low, &mut high, a, b);
            row::<2>(&mut low, &mut high, a, b);
            row::<3>(&mut low, &mut high, a, b);
            row::<4>(&mut low, &mut high, a, b);
            let mut z = low;
            for k in 0..10 {
                z[k] = plus(low[k], twice(high[k]));
            }
            fold(z)
        }

        /// The high halves of limb `I` with those above it.
        $(#[$feature])*
        #[inline]
        fn row_high<const I: usize>(z: &mut [__m512i; 10], a: &Fe) {
            for j in I + 1..5 {
                z[I + j + 1] = _mm512_madd52hi_epu64(z[I + j + 1], a[I], a[j]);
            }
        }

        /// The low halves of the same, and the high half of limb `I` with itself.
        $(#[$feature])*
        #[inline]
        fn row_low<const I: usize>(z: &mut [__m512i; 10], a: &Fe) {
            z[2 * I + 1] = _mm512_madd52hi_epu64(z[2 * I + 1], a[I], a[I]);
            for j in I + 1..5 {
                z[I + j] = _mm512_madd52lo_epu64(z[I + j], a[I], a[j]);
            }
        }

        $(#[$feature])*
        #[inline]
        fn twice_each(z: &mut [__m512i; 10]) {
            for limb in z {
                *limb = twice(*limb);
            }
        }

        $(#[$feature])*
        #[inline]
        fn square(a: &Fe) -> Fe {
            // Products of two different limbs count twice; what is above 52 bits of any product, twice as well.
            let mut z = [_mm512_setzero_si512(); 10];
            row_high::<0>(&mut z, a);
            row_high::<1>(&mut z, a);
            row_high::<2>(&mut z, a);
            row_high::<3>(&mut z, a);
            twice_each(&mut z);
            row_low::<0>(&mut z, a);
            row_low::<1>(&mut z, a);
            row_low::<2>(&mut z, a);
            row_low::<3>(&mut z, a);
            row_low::<4>(&mut z, a);
            twice_each(&mut z);
            for i in 0..5 {
                z[2 * i] = _mm512_madd52lo_epu64(z[2 * i], a[i], a[i]);
            }
            fold(z)
        }

        inversion!($(#[$feature])*);
        edwards!($(#[$feature])*);

        /// Words of all lanes, in registers.
        $(#[$feature])*
        #[inline]
        fn gather<const N: usize>(words: &[[u64; N]; 8]) -> [__m512i; N] {
            let mut out = [_mm512_setzero_si512(); N];
            for (i, register) in out.iter_mut().enumerate() {
                let lane = |n: usize| words[n][i].cast_signed();
                *register = _mm512_setr_epi64(
                    lane(0),
                    lane(1),
                    lane(2),
                    lane(3),
                    lane(4),
                    lane(5),
                    lane(6),
                    lane(7),
                );
            }
            out
        }
    };
}
