use alloc::vec::Vec;
use core::fmt;
use core::ops::{Add, Neg, Sub};

use blst::{blst_p1, blst_p1_affine, blst_p2, blst_p2_affine};
use zeroize::Zeroize as _;

use crate::{Error, Scalar, ffi};

/// Declares the two forms of a group's points.
macro_rules! group {
    ($module:ident, $Affine:ident, $Projective:ident, $affine:ty, $jacobian:ty, $bytes:literal, $name:literal) => {
        #[doc = concat!("A point of ", $name, ": on the curve, in the subgroup of prime order, not the identity.")]
        #[derive(Clone, Copy)]
        pub struct $Affine(pub(crate) $affine);

        #[doc = concat!("A result of arithmetic in ", $name, ", which may be the identity.")]
        #[derive(Clone, Copy)]
        pub struct $Projective(pub(crate) $jacobian);

        impl $Affine {
            /// Length of the encoding.
            pub const BYTES: usize = $bytes;

            /// Decodes a compressed point.
            ///
            /// # Errors
            ///
            /// Not a point of the curve, outside the subgroup, or the identity.
            pub fn from_bytes(bytes: &[u8; $bytes]) -> Result<Self, Error> {
                ffi::$module::decode(bytes).map(Self)
            }

            /// The compressed encoding; a point has one only.
            #[must_use]
            pub fn to_bytes(&self) -> [u8; $bytes] {
                ffi::$module::encode(&self.0)
            }

            /// The generator.
            #[must_use]
            pub fn generator() -> Self {
                Self(ffi::$module::to_affine(&ffi::$module::generator()))
            }

            /// The negative of the generator.
            #[must_use]
            pub fn minus_generator() -> Self {
                let mut point = ffi::$module::generator();
                ffi::$module::negate(&mut point);
                Self(ffi::$module::to_affine(&point))
            }

            /// This point times a scalar, in constant time.
            #[must_use]
            pub fn times(&self, scalar: &Scalar) -> $Projective {
                $Projective::from(*self).times(scalar)
            }
        }

        impl $Projective {
            /// The identity.
            #[must_use]
            pub fn identity() -> Self {
                Self(<$jacobian>::default())
            }

            /// The generator times a scalar, in constant time.
            #[must_use]
            pub fn generator_times(scalar: &Scalar) -> Self {
                Self(ffi::$module::generator()).times(scalar)
            }

            /// This point times a scalar, in constant time.
            #[must_use]
            pub fn times(&self, scalar: &Scalar) -> Self {
                let mut plain = scalar.plain();
                let out = Self(ffi::$module::mult(&self.0, &plain));
                plain.b.zeroize();
                out
            }

            /// The affine form; `None` for the identity.
            #[must_use]
            pub fn to_affine(&self) -> Option<$Affine> {
                (!self.is_identity()).then(|| $Affine(ffi::$module::to_affine(&self.0)))
            }

            /// Whether it is the identity.
            #[must_use]
            pub fn is_identity(&self) -> bool {
                ffi::$module::is_identity(&self.0)
            }

            /// The sum of points times scalars that are no secrets: the time depends on the scalars. Points and scalars pair up
            /// in order; what has no partner is ignored.
            #[must_use]
            pub fn sum_of_products(points: &[$Affine], scalars: &[Scalar]) -> Self {
                let n = points.len().min(scalars.len());
                let points: Vec<$affine> = points[..n].iter().map(|p| p.0).collect();
                let mut bytes = Vec::with_capacity(32 * n);
                for scalar in &scalars[..n] {
                    bytes.extend_from_slice(&scalar.plain().b);
                }
                Self(ffi::$module::sum_of_products(&points, &bytes, 255))
            }

            /// The sum of points times 128-bit numbers that are no secrets: the time depends on them.
            #[must_use]
            pub fn sum_weighted(points: &[$Affine], weights: &[u128]) -> Self {
                let n = points.len().min(weights.len());
                let points: Vec<$affine> = points[..n].iter().map(|p| p.0).collect();
                let mut bytes = Vec::with_capacity(16 * n);
                for weight in &weights[..n] {
                    bytes.extend_from_slice(&weight.to_le_bytes());
                }
                Self(ffi::$module::sum_of_products(&points, &bytes, 128))
            }
        }

        impl From<$Affine> for $Projective {
            fn from(point: $Affine) -> Self {
                Self(ffi::$module::from_affine(&point.0))
            }
        }

        impl Add for $Projective {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(ffi::$module::add(&self.0, &other.0))
            }
        }

        impl Neg for $Projective {
            type Output = Self;
            fn neg(mut self) -> Self {
                ffi::$module::negate(&mut self.0);
                self
            }
        }

        impl Sub for $Projective {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                self + -other
            }
        }

        impl PartialEq for $Projective {
            fn eq(&self, other: &Self) -> bool {
                ffi::$module::equal(&self.0, &other.0)
            }
        }

        impl Eq for $Projective {}

        impl PartialEq for $Affine {
            fn eq(&self, other: &Self) -> bool {
                self.0 == other.0
            }
        }

        impl Eq for $Affine {}

        impl fmt::Debug for $Affine {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($Affine), "("))?;
                for byte in &self.to_bytes()[..6] {
                    write!(f, "{byte:02x}")?;
                }
                f.write_str("…)")
            }
        }

        impl fmt::Debug for $Projective {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.to_affine() {
                    Some(point) => fmt::Debug::fmt(&point, f),
                    None => f.write_str(concat!(stringify!($Projective), "(identity)")),
                }
            }
        }
    };
}

group!(
    g1,
    G1Affine,
    G1Projective,
    blst_p1_affine,
    blst_p1,
    48,
    "G1"
);
group!(
    g2,
    G2Affine,
    G2Projective,
    blst_p2_affine,
    blst_p2,
    96,
    "G2"
);

/// Hashes a message to G1 by `BLS12381G1_XMD:SHA-256_SSWU_RO_` of RFC 9380, with any domain separation tag. `None` for the
/// identity, to which no known message hashes.
#[must_use]
pub fn hash_to_g1(message: &[u8], dst: &[u8]) -> Option<G1Affine> {
    G1Projective(ffi::hash_to_g1(message, dst)).to_affine()
}

/// Whether the product of the pairings of all pairs is one; true for no pairs.
#[must_use]
pub fn pairings_cancel(pairs: &[(G1Affine, G2Affine)]) -> bool {
    let g1: Vec<blst_p1_affine> = pairs.iter().map(|(p, _)| p.0).collect();
    let g2: Vec<blst_p2_affine> = pairs.iter().map(|(_, q)| q.0).collect();
    ffi::product_is_one(&g1, &g2)
}
