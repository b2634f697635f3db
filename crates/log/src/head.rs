use alloc::vec::Vec;
use core::hash::{Hash as StdHash, Hasher};

use betanet_keys::{Identity, PublicKey};
use betanet_wire::{cbor, message};

use crate::{Error, Hash, Signature, Signers, empty_root};

/// Most signatures of a head that are read.
pub const SIGS_MAX: usize = 128;

/// Purpose of a head's signatures, so that those of one ledger count in no other: they are over
/// `H(label || context || head)`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Domain<'a> {
    label: &'a str,
    context: &'a [u8],
}

impl<'a> Domain<'a> {
    /// A label that stands for one ledger.
    #[must_use]
    pub const fn new(label: &'a str) -> Self {
        Self::within(label, &[])
    }

    /// A label of several ledgers, and the bytes that name one of them. All contexts of a label have one length.
    #[must_use]
    pub const fn within(label: &'a str, context: &'a [u8]) -> Self {
        Self { label, context }
    }
}

message! {
    /// The state of a log that its signers vouch for.
    #[derive(Copy, Hash)]
    pub struct Head {
        /// UNIX milliseconds.
        req "ts" ts: u64,
        /// [`Signers::hash`] of the set that signs.
        req "set" set: Hash,
        /// Root of the records.
        req "root" root: Hash,
        /// Number of records.
        req "size" size: u64,
        /// Root of the state after them, where the ledger has one.
        opt "state" state: Hash,
    }
}

message! {
    struct Form<'a> {
        req "head" head: &'a [u8],
        req "sigs" sigs: Vec<Signature>,
    }
}

/// A head and its signatures. It encodes as `{"head": bstr, "sigs": [[bstr[32], bstr[64]]…]}`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedHead {
    bytes: Vec<u8>,
    head: Head,
    sigs: Vec<Signature>,
}

impl SignedHead {
    /// An unsigned head.
    #[must_use]
    pub fn new(head: Head) -> Self {
        Self {
            bytes: cbor::to_vec(&head),
            head,
            sigs: Vec::new(),
        }
    }

    /// Reads a head. Its signatures still need [`SignedHead::check`].
    ///
    /// # Errors
    ///
    /// [`Error::Form`], [`Error::TooMany`], or [`Error::Root`] for a head of no records with another root than theirs.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let form: Form<'_> = cbor::from_slice(bytes)?;
        if form.sigs.len() > SIGS_MAX {
            return Err(Error::TooMany(form.sigs.len(), SIGS_MAX));
        }
        let head: Head = cbor::from_slice(form.head)?;
        if head.size == 0 && head.root != empty_root() {
            return Err(Error::Root);
        }
        Ok(Self {
            bytes: form.head.to_vec(),
            head,
            sigs: form.sigs,
        })
    }

    /// Encodes the head and its signatures.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(&Form {
            head: &self.bytes,
            sigs: self.sigs.clone(),
        })
    }

    /// The head.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The head's bytes, which are what is signed.
    #[must_use]
    pub fn signed_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The signatures, valid or not.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.sigs
    }

    /// A signature of this head.
    #[must_use]
    pub fn signature(&self, domain: Domain<'_>, signer: &Identity) -> Signature {
        Signature {
            signer: *signer.public().as_bytes(),
            sig: signer.sign(domain.label, &[domain.context, &self.bytes]),
        }
    }

    /// Adds a signature, or replaces this signer's.
    pub fn add(&mut self, signature: Signature) {
        self.sigs.retain(|s| s.signer != signature.signer);
        self.sigs.truncate(SIGS_MAX - 1);
        self.sigs.push(signature);
    }

    /// Keeps the valid signatures of these signers, one of each.
    pub fn clean(&mut self, domain: Domain<'_>, signers: &Signers) {
        self.sigs = self.valid(domain, signers);
    }

    /// Checks that enough of these signers signed the head. Wrong or unlisted signatures are skipped. It costs at most as many
    /// verifications as there are signatures, [`SIGS_MAX`].
    ///
    /// # Errors
    ///
    /// [`Error::Set`] or [`Error::TooFew`].
    pub fn check(&self, domain: Domain<'_>, signers: &Signers) -> Result<(), Error> {
        if self.head.set != *signers.hash() {
            return Err(Error::Set);
        }
        let signed = self.valid(domain, signers).len();
        let needed = signers.threshold();
        match signed >= needed {
            true => Ok(()),
            false => Err(Error::TooFew { signed, needed }),
        }
    }

    /// The valid signatures of these signers, one of each, ascending.
    #[must_use]
    pub fn valid(&self, domain: Domain<'_>, signers: &Signers) -> Vec<Signature> {
        let valid = |key: &PublicKey| {
            let mut own = self.sigs.iter().filter(|s| s.signer == *key.as_bytes());
            let text: [&[u8]; 2] = [domain.context, &self.bytes];
            own.find(|s| key.verify(domain.label, &text, &s.sig).is_ok())
                .copied()
        };
        signers.keys().iter().filter_map(valid).collect()
    }
}

impl StdHash for SignedHead {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.head.hash(state);
        self.bytes.hash(state);
        self.sigs.hash(state);
    }
}
