use alloc::vec::Vec;

use betanet_keys::{PublicKey, hash};
use betanet_wire::cbor;

use crate::{Error, Hash};

/// Most keys of a set of signers.
pub const SIGNERS_MAX: usize = 64;
/// Fewest signatures, however small the set.
const LEAST: usize = 2;

/// Required signatures of a set of `signers`: more than half, and at least two.
#[must_use]
pub const fn threshold(signers: usize) -> usize {
    let majority = signers / 2 + 1;
    if majority < LEAST { LEAST } else { majority }
}

/// A set of signers.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Signers {
    /// In ascending order.
    keys: Vec<PublicKey>,
    hash: Hash,
}

impl Signers {
    /// The set of these keys.
    ///
    /// # Errors
    ///
    /// [`Error::Signers`] without a key or with one twice; [`Error::TooMany`].
    pub fn new(keys: &[PublicKey]) -> Result<Self, Error> {
        if keys.len() > SIGNERS_MAX {
            return Err(Error::TooMany(keys.len(), SIGNERS_MAX));
        }
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        if keys.is_empty() || keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::Signers);
        }
        let joined: Vec<&[u8]> = keys.iter().map(|k| &k.as_bytes()[..]).collect();
        let hash = hash(&joined);
        Ok(Self { keys, hash })
    }

    /// The set of these encoded keys. It costs a subgroup check for each key.
    ///
    /// # Errors
    ///
    /// [`Error::TooMany`], before any key is checked; [`Error::Signers`].
    pub fn from_bytes(keys: &[[u8; 32]]) -> Result<Self, Error> {
        if keys.len() > SIGNERS_MAX {
            return Err(Error::TooMany(keys.len(), SIGNERS_MAX));
        }
        let keys: Result<Vec<PublicKey>, _> = keys.iter().map(PublicKey::from_bytes).collect();
        Self::new(&keys.map_err(|_| Error::Signers)?)
    }

    /// The keys, ascending.
    #[must_use]
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// `H(keys joined, ascending)`, by which a head names the set.
    #[must_use]
    pub const fn hash(&self) -> &Hash {
        &self.hash
    }

    /// Number of required signatures.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        threshold(self.keys.len())
    }

    /// Position of a key in ascending order.
    #[must_use]
    pub fn position(&self, key: &[u8; 32]) -> Option<usize> {
        self.keys.binary_search_by(|k| k.as_bytes().cmp(key)).ok()
    }
}

/// A signer's key and signature. It encodes as `[bstr[32], bstr[64]]`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Signature {
    /// Key of the signer.
    pub signer: [u8; 32],
    /// The signature.
    pub sig: [u8; 64],
}

impl cbor::Encode for Signature {
    fn encode(&self, w: &mut cbor::Writer) {
        w.array(2);
        self.signer.encode(w);
        self.sig.encode(w);
    }

    fn size_hint(&self) -> usize {
        101
    }
}

impl<'a> cbor::Decode<'a> for Signature {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        if r.array()? != 2 {
            return Err(cbor::Error::Range("a signer and a signature"));
        }
        let signer = <[u8; 32]>::decode(r)?;
        let sig = <[u8; 64]>::decode(r)?;
        r.leave();
        Ok(Self { signer, sig })
    }
}
