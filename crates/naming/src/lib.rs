//! L5: names of nodes, the signers who make them final, and the ledger that shows everybody the same names.
//!
//! **Promises.** The same records give the same names on every node. An alias moves only with its owner's signature, or after 365
//! days. A record is final only under a head that more than half of the signers, and at least two, have signed. Whoever shows two
//! nodes two views of the ledger leaves evidence that both keep, give on, and that anybody can check. A peer's wrong proof stops
//! nobody.
//!
//! **Below:** `keys`, `log`, ALIAS_GOSSIP streams of sessions (`htx`); the caller stores records by index. **Above:** `stack`, the
//! command line. **Source:** profile chapters 1, 4 and 6 (`spec-vectors/PROFILE.md`); RFC 9162 §2.1; Unicode Technical Standards
//! 39 and 46.
//!
//! | part | contents |
//! |---|---|
//! | [`Alias`], [`Look`], [`Uri`] | labels, their look, `bar://` |
//! | [`AliasRecord`], [`Finalized`], [`RotateMaintainers`], [`Entry`] | records |
//! | [`Ledger`], [`Proof`] | records in order, their state, and proofs for others |
//! | [`signer`] | the signers' side, which contradicts neither itself nor its clock |
//! | [`gossip`] | the layer: ledgers of nodes come together |
//!
//! ```
//! use betanet_keys::Identity;
//! use betanet_naming::{Alias, AliasRecord, Finalized, Look};
//!
//! let alias: Alias = "Bücher.example".parse()?;
//! assert_eq!(alias.as_str(), "xn--bcher-kva.example");
//! assert!(!Look::of(&alias).is_suspicious());
//!
//! let owner = Identity::from_seed(&[1; 32]);
//! let record = AliasRecord::bind(alias, &owner, 1, 1_800_000_000_000);
//! let candidate = Finalized::new(record, owner.public());
//! assert!(candidate.is_signed_by_its_nodes());
//! # Ok::<(), betanet_naming::LabelError>(())
//! ```
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod entry;
mod fault;
pub mod gossip;
mod label;
mod ledger;
mod look;
pub mod message;
mod proof;
mod record;
mod registry;
mod reject;
mod rotation;
pub mod signer;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
mod uri;

pub use entry::{Entry, RECORD_MAX, Verified, Verifier};
pub use fault::{DOMAIN, HeadFault};
pub use label::{ALIAS_MAX, Alias, LABEL_MAX, LabelError, TEXT_MAX};
pub use ledger::{
    Accepted, CLOCK_MS, EVIDENCE_MAX, Effect, Genesis, Held, Ledger, ROTATIONS_MAX, Resolution,
    RivalRotation, Rivals, SnapshotError, Standing, Status, WAITING_BYTES, WAITING_MAX,
};
pub use look::{Look, look_alike};
pub use proof::{PROOF_BYTES_MAX, Proof, ProofError};
pub use record::{AliasRecord, Finalized, LIFE_MS};
pub use registry::{
    ADVANCE, ADVANCE_AFTER_MS, Advance, KEY_MAX, MAINTAINERS, MAINTAINERS_MAX, NewMaintainers,
    new_maintainers,
};
pub use reject::Reject;
pub use rotation::{RotateMaintainers, SIGNERS_MIN};
pub use uri::{Host, URI_MAX, Uri, UriError};
