use core::fmt;
use core::ops::{Add, Mul, Neg, Sub};

use blst::{blst_fr, blst_scalar};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{Error, ffi};

/// A number modulo the order of the groups; wiped on drop. Every operation takes the same time for all numbers.
#[derive(Clone)]
pub struct Scalar(pub(crate) blst_fr);

impl Scalar {
    /// Zero.
    #[must_use]
    pub fn zero() -> Self {
        Self(blst_fr::default())
    }

    /// One.
    #[must_use]
    pub fn one() -> Self {
        Self::from(1)
    }

    /// Reads 32 big-endian bytes.
    ///
    /// # Errors
    ///
    /// [`Error::NotReduced`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Error> {
        ffi::fr_from_be(bytes).map(Self).ok_or(Error::NotReduced)
    }

    /// The 512-bit big-endian number modulo the order: of 64 random bytes, a uniform scalar.
    #[must_use]
    pub fn from_wide(bytes: &[u8; 64]) -> Self {
        Self(ffi::fr_from_wide(bytes))
    }

    /// Draws a scalar that is not zero from a source of random bytes.
    #[must_use]
    pub fn draw(mut fill: impl FnMut(&mut [u8])) -> Self {
        loop {
            let mut wide = Zeroizing::new([0; 64]);
            fill(wide.as_mut_slice());
            // A source that gives zeros only is broken: one bit ends the loop even then.
            wide[63] |= 1;
            let scalar = Self::from_wide(&wide);
            if !bool::from(scalar.is_zero()) {
                return scalar;
            }
        }
    }

    /// 32 big-endian bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        let mut out = Zeroizing::new([0; 32]);
        let mut scalar = self.plain();
        for (o, b) in out.iter_mut().zip(scalar.b.iter().rev()) {
            *o = *b;
        }
        scalar.b.zeroize();
        out
    }

    /// Whether it is zero.
    #[must_use]
    pub fn is_zero(&self) -> Choice {
        self.ct_eq(&Self::zero())
    }

    /// One over it; zero for zero.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self(ffi::fr_inverse(&self.0))
    }

    /// The little-endian form, which the caller wipes.
    pub(crate) fn plain(&self) -> blst_scalar {
        ffi::fr_to_scalar(&self.0)
    }
}

impl From<u64> for Scalar {
    fn from(n: u64) -> Self {
        Self(ffi::fr_from_u64(n))
    }
}

impl Default for Scalar {
    fn default() -> Self {
        Self::zero()
    }
}

impl Add for &Scalar {
    type Output = Scalar;
    fn add(self, other: Self) -> Scalar {
        Scalar(ffi::fr_add(&self.0, &other.0))
    }
}

impl Sub for &Scalar {
    type Output = Scalar;
    fn sub(self, other: Self) -> Scalar {
        Scalar(ffi::fr_sub(&self.0, &other.0))
    }
}

impl Mul for &Scalar {
    type Output = Scalar;
    fn mul(self, other: Self) -> Scalar {
        Scalar(ffi::fr_mul(&self.0, &other.0))
    }
}

impl Neg for &Scalar {
    type Output = Scalar;
    fn neg(self) -> Scalar {
        &Scalar::zero() - self
    }
}

impl ConstantTimeEq for Scalar {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.l.ct_eq(&other.0.l)
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Scalar {}

impl Zeroize for Scalar {
    fn zeroize(&mut self) {
        self.0.l.zeroize();
    }
}

impl Drop for Scalar {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for Scalar {}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scalar(…)")
    }
}
