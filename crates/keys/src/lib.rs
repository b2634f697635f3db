//! Identities, names, signatures, registries, verifiable random functions, and the key schedule.
//!
//! **Promises.** Every [`PublicKey`] is canonical and in the prime-order subgroup. One verification rule holds everywhere.
//! Secrets are wiped on drop and print as `…`. Tags and tickets compare in constant time.
//!
//! **Below:** `machine`, `wire`. **Above:** every layer. **Source:** profile chapters 1 and 2
//! (`spec-vectors/PROFILE.md`), RFC 8032, RFC 7748, RFC 5869, RFC 9381.
//!
//! ```
//! use betanet_keys::{Identity, Name};
//!
//! let me = Identity::from_seed(&[7; 32]);
//! let name = Name::from(me.public().node_id());
//! assert_eq!(name.to_string().len(), 43);
//! assert_eq!(name.to_string().parse::<Name>()?, name);
//! # Ok::<(), betanet_keys::NameError>(())
//! ```
#![no_std]

extern crate alloc;

mod address;
mod identity;
mod name;
mod peer;
mod prepared;
mod registry;
pub mod schedule;
mod sensitive;
mod vrf;

pub use address::{Address, AddressError, Endpoint, Host};
pub use identity::{Identity, KeyError, PublicKey};
pub use name::{Name, NameError};
pub use peer::{Peer, PeerError};
pub use prepared::{Equation, PreparedKey, PreparedKeys};
pub use registry::{Common, Envelope, Maintainers, RegistryError, threshold};
pub use sensitive::Sensitive;
pub use vrf::{VRF_PROOF, VrfError, VrfPublic, VrfSecret};

/// Compares two byte strings in time that depends on their lengths only.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    use subtle::ConstantTimeEq as _;
    a.ct_eq(b).into()
}

/// SHA-256 of the concatenated parts.
#[must_use]
pub fn hash(parts: &[&[u8]]) -> [u8; 32] {
    use sha2::Digest as _;
    let mut h = sha2::Sha256::new();
    for p in parts {
        h.update(p);
    }
    h.finalize().into()
}
