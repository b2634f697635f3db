//! A record with everything that shows it is final, for a reader who knows only the signers.

use alloc::vec::Vec;

use betanet_log::{Proof as Path, SignedHead, Signers, leaf_hash, verify_inclusion};
use betanet_wire::{cbor, message};
use bytes::Bytes;

use crate::fault::{DOMAIN, HeadFault};
use crate::{Entry, Reject};

/// Longest proof that is read, in bytes: that of the longest record, and 64 KiB.
pub const PROOF_BYTES_MAX: usize = crate::RECORD_MAX + (64 << 10);

message! {
    struct Form<'a> {
        req "head" head: &'a [u8],
        req "path" path: Path,
        req "index" index: u64,
        req "record" record: &'a [u8],
    }
}

/// Reason why a proof shows nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The proof or its record does not decode.
    #[error("the proof does not decode: {0}")]
    Form(#[from] cbor::Error),
    /// The head, or its signatures.
    #[error(transparent)]
    Head(#[from] HeadFault),
    /// The record does not stand in the head's log.
    #[error("the record is not in the head's log")]
    Inclusion,
    /// The record itself does not count.
    #[error(transparent)]
    Record(#[from] Reject),
}

/// A record, its index, its inclusion proof, and the signed head.
///
/// It shows that the record was in the ledger at the head's time. A later record of the same alias may exist. It encodes as
/// `{"head": bstr, "path": [bstr[32]…], "index": u64, "record": bstr}`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    head: SignedHead,
    index: u64,
    path: Path,
    record: Bytes,
}

impl Proof {
    pub(crate) const fn new(head: SignedHead, index: u64, path: Path, record: Bytes) -> Self {
        Self {
            head,
            index,
            path,
            record,
        }
    }

    /// Reads a proof. Nothing is verified.
    ///
    /// # Errors
    ///
    /// [`ProofError::Form`], or [`ProofError::Head`] for a head that does not decode.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(Reject::TooLong(bytes.len()).into());
        }
        let form: Form<'_> = cbor::from_slice(bytes)?;
        let head = SignedHead::from_bytes(form.head).map_err(HeadFault::from)?;
        let record = Bytes::copy_from_slice(form.record);
        Ok(Self::new(head, form.index, form.path, record))
    }

    /// Encodes the proof.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(&Form {
            head: &self.head.to_bytes(),
            path: self.path.clone(),
            index: self.index,
            record: &self.record,
        })
    }

    /// The signed head.
    #[must_use]
    pub const fn head(&self) -> &SignedHead {
        &self.head
    }

    /// Index of the record.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// Bytes of the record.
    #[must_use]
    pub const fn record(&self) -> &Bytes {
        &self.record
    }

    /// Verifies the proof with nothing but sets of signers: the current one, and those before it that the reader knows. Returns the
    /// record.
    ///
    /// An alias record needs its nodes' signatures, and finality under one of the sets. A reader checks its time: it lives 365 days.
    ///
    /// # Errors
    ///
    /// [`ProofError`].
    pub fn verify(&self, sets: &[Signers]) -> Result<Entry, ProofError> {
        let head = self.head.head();
        let set = sets.iter().find(|set| *set.hash() == head.set);
        let set = set.ok_or(HeadFault::UnknownSet)?;
        self.head.check(DOMAIN, set).map_err(HeadFault::from)?;
        let leaf = leaf_hash(&self.record);
        if !verify_inclusion(&leaf, self.index, head.size, &self.path, &head.root) {
            return Err(ProofError::Inclusion);
        }
        let entry = Entry::from_bytes(&self.record)?;
        if let Entry::Alias(finalized) = &entry {
            let mut last = Reject::Signature;
            let check =
                |set: &Signers| finalized.check(set).map_err(|reason| last = reason).is_ok();
            if !sets.iter().any(check) {
                return Err(last.into());
            }
        }
        Ok(entry)
    }
}
