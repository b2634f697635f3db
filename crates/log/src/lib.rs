//! An append-only Merkle log, its proofs, and its signed heads. Names, the audit log and the economy's ledger share it.
//!
//! **Promises.** A log of one sequence of records has one root. A proof is a list of at most 65 hashes and is checked without the
//! log. A signed head counts when more than half of its signers, and at least two, have signed it. Two heads that contradict each
//! other become evidence that anybody can check.
//!
//! **Below:** `keys`, `wire`. **Above:** `naming` and other ledgers. **Source:** profile chapter 6 (`spec-vectors/PROFILE.md`);
//! RFC 9162 §2.1 for hashing and proofs.
//!
//! ```
//! use betanet_log::{Log, Memory, leaf_hash, verify_inclusion};
//!
//! let mut log = Log::new(Memory::default());
//! for record in [b"one", b"two", b"six"] {
//!     log.append(record)?;
//! }
//! let proof = log.inclusion(1, 3)?;
//! assert!(verify_inclusion(&leaf_hash(b"two"), 1, 3, &proof, &log.root()));
//! # Ok::<(), betanet_log::Error>(())
//! ```
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod edge;
mod error;
mod hash;
mod head;
mod nodes;
mod proof;
mod signers;
mod split;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
mod tree;
mod witness;

pub use edge::Edge;
pub use error::Error;
pub use hash::{Hash, empty_root, leaf_hash, node_hash};
pub use head::{Domain, Head, SIGS_MAX, SignedHead};
pub use nodes::{Memory, Nodes};
pub use proof::{PROOF_MAX, Proof, verify_consistency, verify_inclusion};
pub use signers::{SIGNERS_MAX, Signature, Signers, threshold};
pub use split::Split;
pub use tree::Log;
pub use witness::{Link, Verdict, Witness};
