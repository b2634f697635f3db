/// The Edwards form of the curve (RFC 8032, section 5.1) over the field operations of the module that this stands in.
///
/// The formulas are those of Hisil, Wong, Carter and Dawson (2008), for extended coordinates and a = -1. They hold for all points.
macro_rules! edwards {
    ($(#[$feature:meta])*) => {
        /// X, Y, Z and T with x = X/Z, y = Y/Z and xy = T/Z.
        #[derive(Clone, Copy)]
        struct Point {
            x: Fe,
            y: Fe,
            z: Fe,
            t: Fe,
        }

        /// Y - X, Y + X, 2Z and 2dT of a point that is added.
        #[derive(Clone, Copy)]
        struct Addend {
            minus: Fe,
            plus: Fe,
            z2: Fe,
            t2d: Fe,
        }

        $(#[$feature])*
        #[inline]
        fn constant(limbs: &[u64; 5]) -> Fe {
            let mut out = zero();
            for i in 0..5 {
                out[i] = all(limbs[i]);
            }
            out
        }

        $(#[$feature])*
        #[inline]
        fn choose(mask: u8, no: &Fe, yes: &Fe) -> Fe {
            let mut out = *no;
            for i in 0..5 {
                out[i] = _mm512_mask_blend_epi64(mask, no[i], yes[i]);
            }
            out
        }

        $(#[$feature])*
        #[inline]
        fn addend(p: &Point) -> Addend {
            Addend {
                minus: sub(&p.y, &p.x),
                plus: add(&p.y, &p.x),
                z2: add(&p.z, &p.z),
                t2d: mul(&p.t, &constant(&terms::D2)),
            }
        }

        /// From E, F, G and H.
        $(#[$feature])*
        #[inline]
        fn completed(e: &Fe, f: &Fe, g: &Fe, h: &Fe) -> Point {
            Point {
                x: mul(e, f),
                y: mul(g, h),
                z: mul(f, g),
                t: mul(e, h),
            }
        }

        /// Twice a point, whose T is not looked at.
        $(#[$feature])*
        fn double(p: &Point, wants_t: bool) -> Point {
            // E, F, G and H of the paper with the other sign, which leaves the products as they are.
            let (a, b) = (square(&p.x), square(&p.y));
            let zz = square(&p.z);
            let h = add(&a, &b);
            let e = sub(&h, &square(&add(&p.x, &p.y)));
            let g = sub(&a, &b);
            let f = add(&add(&zz, &zz), &g);
            Point {
                x: mul(&e, &f),
                y: mul(&g, &h),
                z: mul(&f, &g),
                t: if wants_t { mul(&e, &h) } else { zero() },
            }
        }

        /// The sum of two points; `d` is 2 Z1 Z2.
        $(#[$feature])*
        fn sum(p: &Point, minus: &Fe, plus: &Fe, t2d: &Fe, d: &Fe) -> Point {
            let a = mul(&sub(&p.y, &p.x), minus);
            let b = mul(&add(&p.y, &p.x), plus);
            let c = mul(&p.t, t2d);
            completed(&sub(&b, &a), &sub(d, &c), &add(d, &c), &add(&b, &a))
        }

        /// Adds what each lane's digit wants of eight multiples of its point.
        $(#[$feature])*
        fn add_multiple(p: &Point, multiples: &[Addend; 8], digit: __m512i) -> Point {
            let two = add(&one(), &one());
            let mut at = Addend { minus: one(), plus: one(), z2: two, t2d: zero() };
            for (n, multiple) in multiples.iter().enumerate() {
                let mask = _mm512_test_epi64_mask(digit, all(1 << (n + 1)));
                at.minus = choose(mask, &at.minus, &multiple.minus);
                at.plus = choose(mask, &at.plus, &multiple.plus);
                at.z2 = choose(mask, &at.z2, &multiple.z2);
                at.t2d = choose(mask, &at.t2d, &multiple.t2d);
            }
            let negative = _mm512_test_epi64_mask(digit, all(terms::NEGATIVE));
            let minus = choose(negative, &at.minus, &at.plus);
            let plus = choose(negative, &at.plus, &at.minus);
            let t2d = choose(negative, &at.t2d, &sub(&zero(), &at.t2d));
            sum(p, &minus, &plus, &t2d, &mul(&p.z, &at.z2))
        }

        /// The same of the base point.
        $(#[$feature])*
        fn add_base(p: &Point, digit: __m512i) -> Point {
            let (mut minus, mut plus, mut t2d) = (one(), one(), zero());
            for (n, [m, q, t]) in terms::BASE_MULTIPLES.iter().enumerate() {
                let mask = _mm512_test_epi64_mask(digit, all(1 << (n + 1)));
                minus = choose(mask, &minus, &constant(m));
                plus = choose(mask, &plus, &constant(q));
                t2d = choose(mask, &t2d, &constant(t));
            }
            let negative = _mm512_test_epi64_mask(digit, all(terms::NEGATIVE));
            let m = choose(negative, &minus, &plus);
            let q = choose(negative, &plus, &minus);
            let t = choose(negative, &t2d, &sub(&zero(), &t2d));
            sum(p, &m, &q, &t, &add(&p.z, &p.z))
        }

        /// The sum of the digits' multiples, by 16 to the power of their places. T is not computed.
        $(#[$feature])*
        fn digits_sum(
            of_point: &[__m512i; 64],
            of_base: &[__m512i; 64],
            x: &Fe,
            y: &Fe,
        ) -> Point {
            let first = Point { x: *x, y: *y, z: one(), t: mul(x, y) };
            let mut multiples = [addend(&first); 8];
            let mut next = first;
            for multiple in &mut multiples[1..] {
                let it = addend(&first);
                next = sum(&next, &it.minus, &it.plus, &it.t2d, &mul(&next.z, &it.z2));
                *multiple = addend(&next);
            }
            let mut p = Point { x: zero(), y: one(), z: one(), t: zero() };
            for i in (0..64).rev() {
                for times in 0..if i < 63 { 4 } else { 0 } {
                    p = double(&p, times == 3);
                }
                p = add_multiple(&p, &multiples, of_point[i]);
                p = add_base(&p, of_base[i]);
            }
            p
        }

        /// u and v of x^2 = u/v, and a candidate of x.
        $(#[$feature])*
        fn root(y: &Fe) -> [Fe; 3] {
            let yy = square(y);
            let u = sub(&yy, &one());
            let v = add(&mul(&yy, &constant(&terms::D)), &one());
            let v3 = mul(&square(&v), &v);
            let uv7 = mul(&mul(&square(&v3), &v), &u);
            let (z250_0, _) = chain(&uv7);
            let power = mul(&square_times(&z250_0, 2), &uv7);
            [u, v, mul(&mul(&u, &v3), &power)]
        }

        /// The canonical encodings of a field element's eight lanes.
        $(#[$feature])*
        fn encodings(element: &Fe) -> [[u8; 32]; 8] {
            let lanes = unload(element);
            core::array::from_fn(|n| bytes::encode(lanes.map(|limb| limb[n])))
        }

        /// As [`crate::ed25519::expected`].
        $(#[$feature])*
        fn expected_here(each: &[Terms; 8]) -> [Option<[u8; 32]>; 8] {
            let y = gather(&each.map(|t| bytes::limbs(&t.a)));
            let [u, v, x] = root(&y);
            let vxx = encodings(&mul(&v, &square(&x)));
            let (plus_u, minus_u) = (encodings(&u), encodings(&sub(&zero(), &u)));
            let roots: [Root; 8] =
                core::array::from_fn(|n| Root::of(&vxx[n], &plus_u[n], &minus_u[n]));
            let other = terms::mask(|n| roots[n] == Root::TimesRootOfMinusOne);
            let x = choose(other, &x, &mul(&x, &constant(&terms::ROOT)));
            // -A is wanted, so x has the sign that A has not.
            let xs = encodings(&x);
            let same = terms::mask(|n| xs[n][0] & 1 == each[n].a[31] >> 7);
            let x = choose(same, &x, &sub(&zero(), &x));
            let of_point = gather(&each.map(|t| terms::digits(&t.k)));
            let of_base = gather(&each.map(|t| terms::digits(&t.s)));
            let p = digits_sum(&of_point, &of_base, &x, &y);
            let inverse = invert(&p.z);
            let (xs, ys) = (encodings(&mul(&p.x, &inverse)), encodings(&mul(&p.y, &inverse)));
            core::array::from_fn(|n| {
                let mut encoding = ys[n];
                encoding[31] |= (xs[n][0] & 1) << 7;
                (roots[n] != Root::None).then_some(encoding)
            })
        }
    };
}
