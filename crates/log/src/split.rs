use alloc::vec::Vec;

use betanet_keys::PublicKey;
use betanet_wire::{cbor, message};

use crate::{Domain, Error, Hash, Proof, SignedHead, Signers, verify_consistency};

/// Evidence that signers showed two views of a log: two signed heads, and a proof that the newer one commits to another root at the
/// older one's size.
///
/// It needs nothing else than the signers' keys to be checked, so one node can give it to another. It encodes as
/// `{"new": bstr, "old": bstr, "root": bstr[32], "proof": [bstr[32]…]}`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Split {
    older: SignedHead,
    newer: SignedHead,
    root: Hash,
    proof: Proof,
}

message! {
    struct Form<'a> {
        req "new" newer: &'a [u8],
        req "old" older: &'a [u8],
        req "root" root: Hash,
        req "proof" proof: Proof,
    }
}

impl Split {
    /// Evidence from two heads. `root` is the root that the newer head's log has at the older head's size, and `proof` the
    /// consistency proof from there. For two heads of one size, `root` is the newer head's and the proof is empty.
    ///
    /// # Errors
    ///
    /// [`Error::NoSplit`].
    pub fn new(
        older: SignedHead,
        newer: SignedHead,
        root: Hash,
        proof: Proof,
    ) -> Result<Self, Error> {
        let (old, new) = (older.head(), newer.head());
        let connects = verify_consistency(old.size, new.size, &root, &new.root, &proof);
        if root == old.root || !connects {
            return Err(Error::NoSplit);
        }
        Ok(Self {
            older,
            newer,
            root,
            proof,
        })
    }

    /// Reads evidence. Its heads' signatures still need [`Split::check`].
    ///
    /// # Errors
    ///
    /// [`Error::Form`], [`Error::TooMany`], [`Error::Root`] or [`Error::NoSplit`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let form: Form<'_> = cbor::from_slice(bytes)?;
        let older = SignedHead::from_bytes(form.older)?;
        let newer = SignedHead::from_bytes(form.newer)?;
        Self::new(older, newer, form.root, form.proof)
    }

    /// Encodes the evidence.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(&Form {
            newer: &self.newer.to_bytes(),
            older: &self.older.to_bytes(),
            root: self.root,
            proof: self.proof.clone(),
        })
    }

    /// Checks that each head is signed by enough signers of its set.
    ///
    /// # Errors
    ///
    /// [`Error::Set`] or [`Error::TooFew`].
    pub fn check(&self, domain: Domain<'_>, old: &Signers, new: &Signers) -> Result<(), Error> {
        self.older.check(domain, old)?;
        self.newer.check(domain, new)
    }

    /// The signers of both sets that validly signed both heads.
    #[must_use]
    pub fn culprits(&self, domain: Domain<'_>, old: &Signers, new: &Signers) -> Vec<PublicKey> {
        let first = self.older.valid(domain, old);
        let second = self.newer.valid(domain, new);
        let both = |key: &&PublicKey| {
            let by_key = |s: &crate::Signature| s.signer == *key.as_bytes();
            first.iter().any(by_key) && second.iter().any(by_key)
        };
        old.keys().iter().filter(both).copied().collect()
    }

    /// The head of fewer records, or the one that was seen first.
    #[must_use]
    pub const fn older(&self) -> &SignedHead {
        &self.older
    }

    /// The other head.
    #[must_use]
    pub const fn newer(&self) -> &SignedHead {
        &self.newer
    }
}
