//! Registry records that the ledger acts on: new maintainers, and the emergency advance (profile chapters 1 and 6).

use alloc::vec::Vec;

use betanet_keys::PublicKey;
use betanet_wire::{cbor, message};

use crate::Reject;

/// Type of the record that replaces the maintainers.
pub const MAINTAINERS: &str = "Maintainers";
/// Type of the record by which maintainers act for signers that are gone.
pub const ADVANCE: &str = "AliasAdvance";
/// Age of the last final head from which an advance counts: 14 days.
pub const ADVANCE_AFTER_MS: u64 = 14 * 24 * 3600 * 1000;
/// Most maintainers.
pub const MAINTAINERS_MAX: usize = 256;
/// Longest type of a record and longest key, in bytes.
pub const KEY_MAX: usize = 256;

message! {
    /// The keys of a `Maintainers` record beside the common ones.
    pub struct NewMaintainers {
        /// The new maintainers.
        req "new" new: Vec<[u8; 32]>,
    }
}

message! {
    /// The keys of an `AliasAdvance` record beside the common ones. It has either `new`, or `rec` and `owner`.
    pub struct Advance<'a> {
        /// UNIX milliseconds.
        req "ts" ts: u64,
        /// New signers. The record's key is then the hash of the set that they replace.
        opt "new" new: Vec<[u8; 32]>,
        /// An alias record. The record's key is then the alias.
        opt "rec" rec: &'a [u8],
        /// The last final head, as it is carried.
        req "head" head: &'a [u8],
        /// Public key of the alias record's node.
        opt "owner" owner: [u8; 32],
    }
}

/// The maintainers that a `Maintainers` record names, ascending. Its signatures are not verified.
///
/// # Errors
///
/// [`Reject::Form`], [`Reject::TooMany`] or [`Reject::Signers`].
pub fn new_maintainers(record: &[u8]) -> Result<Vec<PublicKey>, Reject> {
    let form: NewMaintainers = cbor::from_slice(record)?;
    if form.new.len() > MAINTAINERS_MAX {
        return Err(Reject::TooMany(form.new.len(), MAINTAINERS_MAX));
    }
    let keys: Result<Vec<PublicKey>, _> = form.new.iter().map(PublicKey::from_bytes).collect();
    let mut keys = keys.map_err(|_| Reject::Signers)?;
    keys.sort_unstable();
    keys.dedup();
    // With fewer, no record could ever count again.
    match keys.len() >= betanet_keys::threshold(keys.len()) {
        true => Ok(keys),
        false => Err(Reject::Signers),
    }
}
