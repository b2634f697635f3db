//! The equation of Ed25519 signatures (RFC 8032, section 5.1.7) for eight at once.
//!
//! ```
//! use betanet_x25519_batch::ed25519::{self, LANES, Terms};
//!
//! let mut base = [0x66; 32];
//! base[0] = 0x58;
//! let mut two = [0; 32];
//! two[0] = 2;
//! // 2 B - 2 B is the identity, whose encoding is 1.
//! let terms = Terms { s: two, k: two, a: base };
//! if let Some(expected) = ed25519::expected(&[terms; LANES]) {
//!     assert_eq!(expected[0].map(|r| (r[0], r[31])), Some((1, 0)));
//! }
//! ```

pub use crate::terms::{LANES, Terms};

/// Whether this machine has AVX-512 IFMA, without which [`expected`] gives nothing.
#[must_use]
pub fn is_available() -> bool {
    crate::Backend::Avx512Ifma.is_available()
}

/// The encodings of `S B - k A`, which a valid signature has as its R; an inner `None` where A is the encoding of no point. Eight cost
/// about as much as one elsewhere. `None` where the machine lacks the instructions.
#[must_use]
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(unused_variables, reason = "other machines have no such instructions")
)]
pub fn expected(all: &[Terms; LANES]) -> Option<[Option<[u8; 32]>; LANES]> {
    #[cfg(target_arch = "x86_64")]
    if is_available() {
        return Some(crate::ifma::expected(all));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_agrees_where_it_has_the_instructions() {
        if is_available() {
            crate::terms::tests::agrees(|terms| expected(terms).unwrap());
        } else {
            let none = Terms {
                s: [0; 32],
                k: [0; 32],
                a: [1; 32],
            };
            assert_eq!(expected(&[none; LANES]), None);
        }
    }
}
