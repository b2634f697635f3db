//! X25519 (RFC 7748) of many independent pairs at once, and the equations of eight Ed25519 signatures (RFC 8032).
//!
//! **Promises.** The same bytes on every machine and for every batch size; no branch and no index that depends on a scalar or a
//! point; no allocation. Eight pairs at once where the processor has AVX-512 IFMA, four with AVX2, one by one elsewhere; which
//! is found out at run time. Equations of signatures are computed with AVX-512 IFMA only; elsewhere they are left to the caller.
//!
//! **Below:** nothing of this workspace. **Above:** `keys`, `mix`. **Source:** RFC 7748, sections 4.1 and 5; RFC 8032, section 5.1.
//!
//! ```
//! use betanet_x25519_batch::{Pair, multiply};
//!
//! // Two sides meet at the same secret.
//! let (a, b, base) = ([1; 32], [2; 32], betanet_x25519_batch::BASE);
//! let mut public = [Pair::new(a, base), Pair::new(b, base)];
//! multiply(&mut public);
//! let mut shared = [Pair::new(a, public[1].point), Pair::new(b, public[0].point)];
//! multiply(&mut shared);
//! assert_eq!(shared[0].point, shared[1].point);
//! ```
#![no_std]

#[macro_use]
mod edwards;
#[macro_use]
mod ladder;
#[macro_use]
mod lanes;
#[macro_use]
mod radix52;
mod bytes;
mod portable;
mod terms;

pub mod ed25519;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod ifma;

use bytes::Decoding;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The base point's u-coordinate.
pub const BASE: [u8; 32] = {
    let mut nine = [0; 32];
    nine[0] = 9;
    nine
};

/// A scalar, and the point that it is to be multiplied with; wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Pair {
    /// Any 32 bytes: they are clamped.
    pub scalar: [u8; 32],
    /// A u-coordinate, of which the highest bit is not looked at; after [`multiply`] the product's. All zero means that the
    /// point was of small order.
    pub point: [u8; 32],
}

impl Pair {
    /// Before the multiplication.
    #[must_use]
    pub const fn new(scalar: [u8; 32], point: [u8; 32]) -> Self {
        Self { scalar, point }
    }
}

impl core::fmt::Debug for Pair {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Pair(…)")
    }
}

/// How pairs are multiplied.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Backend {
    /// Eight at once in 512-bit registers, 52 bits a limb.
    Avx512Ifma,
    /// Four at once in 256-bit registers, 25 and 26 bits a limb.
    Avx2,
    /// One by one in 64-bit registers, 51 bits a limb.
    Portable,
}

#[cfg(target_arch = "x86_64")]
cpufeatures::new!(found_ifma, "avx512f", "avx512ifma");
#[cfg(target_arch = "x86_64")]
cpufeatures::new!(found_avx2, "avx2");

impl Backend {
    /// All, the fastest first.
    pub const ALL: [Self; 3] = [Self::Avx512Ifma, Self::Avx2, Self::Portable];

    /// Whether this machine has it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Ifma => found_ifma::get(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => found_avx2::get(),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// The fastest that this machine has.
    #[must_use]
    pub fn best() -> Self {
        let mut all = Self::ALL.into_iter();
        all.find(|b| b.is_available()).unwrap_or(Self::Portable)
    }

    /// Pairs that cost about as much together as one.
    #[must_use]
    pub const fn lanes(self) -> usize {
        match self {
            Self::Avx512Ifma => 8,
            Self::Avx2 => 4,
            Self::Portable => 1,
        }
    }
}

/// Multiplies each point by its scalar.
pub fn multiply(pairs: &mut [Pair]) {
    multiply_with(Backend::best(), pairs);
}

/// The same with a backend of choice, or the portable one where this machine lacks that.
pub fn multiply_with(backend: Backend, pairs: &mut [Pair]) {
    run(backend, Decoding::Clamped, pairs);
}

/// Multiplies each point by its scalar as it is, a number of which the highest bit is not looked at: for scalars that were
/// computed modulo the group's order, and points that are known to be of that order. With others it is not safe.
pub fn multiply_unclamped(pairs: &mut [Pair]) {
    run(Backend::best(), Decoding::Plain, pairs);
}

fn run(backend: Backend, decoding: Decoding, pairs: &mut [Pair]) {
    let backend = if backend.is_available() {
        backend
    } else {
        Backend::Portable
    };
    for chunk in pairs.chunks_mut(backend.lanes()) {
        match (backend, &mut *chunk) {
            // Vectors would take longer for it.
            (_, [lone]) => lone.point = portable::x25519(decoding, &lone.scalar, &lone.point),
            #[cfg(target_arch = "x86_64")]
            (Backend::Avx512Ifma, chunk) => lanes(chunk, |s, p| ifma::x25519(decoding, s, p)),
            #[cfg(target_arch = "x86_64")]
            (Backend::Avx2, chunk) => lanes(chunk, |s, p| avx2::x25519(decoding, s, p)),
            (_, chunk) => {
                for pair in chunk {
                    pair.point = portable::x25519(decoding, &pair.scalar, &pair.point);
                }
            }
        }
    }
}

/// Multiplies one point by two scalars.
#[must_use]
pub fn by_two(point: &[u8; 32], scalars: [&[u8; 32]; 2]) -> [[u8; 32]; 2] {
    let mut pairs = scalars.map(|s| Pair::new(*s, *point));
    multiply(&mut pairs);
    [pairs[0].point, pairs[1].point]
}

/// Fills `N` lanes; those without a pair multiply zero.
#[cfg(target_arch = "x86_64")]
fn lanes<const N: usize>(pairs: &mut [Pair], x25519: impl Fn(&[[u8; 32]; N], &mut [[u8; 32]; N])) {
    let mut scalars = [[0; 32]; N];
    let mut points = [[0; 32]; N];
    for ((pair, scalar), point) in pairs.iter().zip(&mut scalars).zip(&mut points) {
        *scalar = pair.scalar;
        *point = pair.point;
    }
    x25519(&scalars, &mut points);
    for (pair, point) in pairs.iter_mut().zip(&points) {
        pair.point = *point;
    }
    scalars.zeroize();
    points.zeroize();
}
