//! BLS12-381 as checked types, over the C library `blst`.
//!
//! **Promises.** Every [`G1Affine`] and [`G2Affine`] is on the curve, in the subgroup of prime order, and not the identity. A
//! [`Scalar`] is wiped on drop, prints as `…`, and multiplies and compares in constant time. Functions whose time depends on
//! their scalars say so. No function panics, whatever its input.
//!
//! **Below:** `blst`. **Above:** `vouchers`. **Source:** RFC 9380 for hashing, draft-irtf-cfrg-pairing-friendly-curves-11 for
//! the curve, its appendix C for the compressed encodings.
//!
//! ```
//! use betanet_bls::{G1Affine, G2Affine, G2Projective, Scalar, hash_to_g1, pairings_cancel};
//!
//! // A signature is the secret times the hash; the pairing verifies it.
//! let secret = Scalar::from_wide(&[7; 64]);
//! let public = G2Projective::generator_times(&secret).to_affine().ok_or("identity")?;
//! let hash = hash_to_g1(b"message", b"DOMAIN").ok_or("identity")?;
//! let signature = hash.times(&secret).to_affine().ok_or("identity")?;
//! assert!(pairings_cancel(&[(hash, public), (signature, G2Affine::minus_generator())]));
//! assert_eq!(G1Affine::from_bytes(&signature.to_bytes())?, signature);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]

extern crate alloc;

#[allow(
    unsafe_code,
    reason = "the one module that calls the C library; each call says why it is sound"
)]
mod ffi;
mod group;
mod scalar;

pub use group::{G1Affine, G1Projective, G2Affine, G2Projective, hash_to_g1, pairings_cancel};
pub use scalar::Scalar;

/// Reason why bytes are not a point or a scalar.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not the compressed encoding of a point on the curve.
    #[error("not the encoding of a point on the curve")]
    NotOnCurve,
    /// A point outside the subgroup of prime order.
    #[error("the point is outside the subgroup of prime order")]
    WrongSubgroup,
    /// The identity.
    #[error("the point is the identity")]
    Identity,
    /// A number that is not below the order of the groups.
    #[error("the number is not below the order of the groups")]
    NotReduced,
}
