//! The file that goes from an owner to signers: a record, its signatures so far, and the alias's earlier records with their proofs.

use betanet_naming::{Alias, Finalized, Genesis, Ledger, Proof, ProofError, Reject};
use betanet_wire::{cbor, message};
use bytes::Bytes;

use crate::client::Trust;

/// Longest file, in bytes.
pub const CLAIM_MAX: usize = 4 << 20;
/// Most earlier records.
const BEFORE_MAX: usize = 6;

message! {
    struct Form<'a> {
        req "v" version: u64,
        req "new" new: &'a [u8],
        req "hist" history: Vec<&'a [u8]>,
        req "rots" rotations: Vec<&'a [u8]>,
    }
}

/// Reason why a file is no claim.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// It does not decode.
    #[error("the file is no claim: {0}")]
    Form(#[from] cbor::Error),
    /// A claim of another version.
    #[error("a claim of version {0}, where 1 is known")]
    Version(u64),
    /// The record does not decode.
    #[error("the claim's record: {0}")]
    Record(#[from] Reject),
    /// A proof does not decode or shows nothing.
    #[error("a proof of the claim: {0}")]
    Proof(#[from] ProofError),
    /// Its signers do not follow from the first ones.
    #[error("the claim's signers do not follow from those of the network file")]
    Signers,
    /// Too many earlier records, or such of another alias.
    #[error("the claim has earlier records of another alias, or more than six")]
    History,
}

/// A record on its way to finality.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claim {
    /// The record, with the signatures so far.
    pub record: Finalized,
    /// Proofs of the alias's earlier records, newest first. Signers learn from them what comes next.
    pub history: Vec<Proof>,
    /// Records that put other signers in force, in order.
    pub rotations: Vec<Bytes>,
}

impl Claim {
    /// Reads a claim. Nothing is verified.
    ///
    /// # Errors
    ///
    /// [`ClaimError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ClaimError> {
        let form: Form<'_> = cbor::from_slice(bytes)?;
        if form.version != 1 {
            return Err(ClaimError::Version(form.version));
        }
        if form.history.len() > BEFORE_MAX {
            return Err(ClaimError::History);
        }
        let proofs = form.history.into_iter().map(Proof::from_bytes);
        Ok(Self {
            record: Finalized::from_bytes(form.new)?,
            history: proofs.collect::<Result<_, _>>()?,
            rotations: form
                .rotations
                .into_iter()
                .map(Bytes::copy_from_slice)
                .collect(),
        })
    }

    /// Encodes the claim.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let history: Vec<Vec<u8>> = self.history.iter().map(Proof::to_bytes).collect();
        cbor::to_vec(&Form {
            version: 1,
            new: &self.record.to_bytes(),
            history: history.iter().map(Vec::as_slice).collect(),
            rotations: self.rotations.iter().map(AsRef::as_ref).collect(),
        })
    }

    /// The alias.
    #[must_use]
    pub const fn alias(&self) -> &Alias {
        &self.record.record().alias
    }

    /// A ledger with the earlier records of this alias alone, for a signer without a network. The proofs are verified.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Proof`], [`ClaimError::Signers`], [`ClaimError::History`] or [`ClaimError::Record`].
    pub fn ledger(&self, genesis: &Genesis) -> Result<Ledger, ClaimError> {
        let mut trust = Trust::new(genesis);
        let followed = trust.follow(self.rotations.iter().map(AsRef::as_ref));
        followed.map_err(|_| ClaimError::Signers)?;
        let mut records = Vec::new();
        for proof in self.history.iter().rev() {
            let verified = trust.verify(proof, Some(self.alias()));
            let finalized = verified.map_err(|error| match error {
                crate::ClientError::Proof(error) => ClaimError::Proof(error),
                _ => ClaimError::History,
            })?;
            records.push(*finalized);
        }
        Ok(Ledger::of_alias(genesis, trust.sets(), &records)?)
    }
}
