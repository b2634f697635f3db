//! Signed registries: records that count once enough maintainers have signed them (profile chapter 1).

use alloc::vec::Vec;

use betanet_wire::{cbor, message};

use crate::{Identity, PublicKey, hash};

/// Label of a maintainer's signature.
const LABEL: &str = "BN-REG";
/// Fewest signatures, however short the list.
const LEAST: usize = 5;
/// Signatures of one envelope that are looked at.
const SIGS_MAX: usize = 1024;

/// How many of `maintainers` have to sign: two thirds, and five at least.
#[must_use]
pub const fn threshold(maintainers: usize) -> usize {
    let two_thirds = (2 * maintainers).div_ceil(3);
    if two_thirds < LEAST {
        LEAST
    } else {
        two_thirds
    }
}

/// A list of maintainers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Maintainers {
    /// Ascending.
    keys: Vec<PublicKey>,
}

impl Maintainers {
    /// Of these keys, each counted once.
    #[must_use]
    pub fn new(keys: &[PublicKey]) -> Self {
        let mut keys = keys.to_vec();
        keys.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        keys.dedup();
        Self { keys }
    }

    /// What a record names the list by.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let keys: Vec<[u8; 32]> = self.keys.iter().map(|k| *k.as_bytes()).collect();
        hash(&[&cbor::to_vec(&keys)])
    }

    /// How many have to sign.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        threshold(self.keys.len())
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Signed {
    signer: [u8; 32],
    sig: [u8; 64],
}

impl cbor::Encode for Signed {
    fn encode(&self, w: &mut cbor::Writer) {
        w.array(2);
        self.signer.encode(w);
        self.sig.encode(w);
    }

    fn size_hint(&self) -> usize {
        101
    }
}

impl<'a> cbor::Decode<'a> for Signed {
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

message! {
    struct Form<'a> {
        req "rec" rec: &'a [u8],
        req "sigs" sigs: Vec<Signed>,
    }
}

message! {
    /// What every record of a registry holds beside its type's own keys.
    pub struct Common<'a> {
        /// What it is about.
        req "key" key: &'a [u8],
        /// The highest stands.
        req "seq" seq: u64,
        /// [`Maintainers::hash`] of the list that it is signed under.
        req "list" list: &'a [u8; 32],
        /// Its type.
        req "type" ty: &'a str,
    }
}

/// Why an envelope does not count.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The envelope or its record does not decode.
    #[error("the registry record does not decode: {0}")]
    Form(#[from] cbor::Error),
    /// More than 1 024 signatures.
    #[error("{0} signatures, where 1024 are looked at")]
    TooMany(usize),
    /// It is signed under another list of maintainers.
    #[error("signed under another list of maintainers")]
    List,
    /// Too few listed maintainers signed it.
    #[error("signed by {signed} of the maintainers, where {needed} are needed")]
    TooFew {
        /// Distinct ones whose signature stands.
        signed: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Two envelopes that are to be joined hold other records.
    #[error("the two envelopes hold different records")]
    OtherRecord,
}

/// A record and its signatures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Envelope {
    rec: Vec<u8>,
    sigs: Vec<Signed>,
}

impl Envelope {
    /// Around a record, a DET-CBOR map with the [`Common`] keys, without signatures.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Form`].
    pub fn new(rec: Vec<u8>) -> Result<Self, RegistryError> {
        let _: Common<'_> = cbor::from_slice(&rec)?;
        Ok(Self {
            rec,
            sigs: Vec::new(),
        })
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Form`] or [`RegistryError::TooMany`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RegistryError> {
        let form: Form<'_> = cbor::from_slice(bytes)?;
        if form.sigs.len() > SIGS_MAX {
            return Err(RegistryError::TooMany(form.sigs.len()));
        }
        let mut this = Self::new(form.rec.to_vec())?;
        this.sigs = form.sigs;
        Ok(this)
    }

    /// For the wire.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(&Form {
            rec: &self.rec,
            sigs: self.sigs.clone(),
        })
    }

    /// The record's bytes.
    #[must_use]
    pub fn record(&self) -> &[u8] {
        &self.rec
    }

    /// How many signatures it has, good or not.
    #[must_use]
    pub const fn signatures(&self) -> usize {
        self.sigs.len()
    }

    /// Adds a signature, or replaces this signer's.
    pub fn sign(&mut self, signer: &Identity) {
        let sig = signer.sign(LABEL, &[&self.rec]);
        let signer = *signer.public().as_bytes();
        self.put(Signed { signer, sig });
    }

    fn put(&mut self, signed: Signed) {
        self.sigs.retain(|s| s.signer != signed.signer);
        if self.sigs.len() < SIGS_MAX {
            self.sigs.push(signed);
        }
    }

    /// Takes the signatures of another envelope of the same record over.
    ///
    /// # Errors
    ///
    /// [`RegistryError::OtherRecord`].
    pub fn join(&mut self, other: &Self) -> Result<(), RegistryError> {
        if other.rec != self.rec {
            return Err(RegistryError::OtherRecord);
        }
        for signed in &other.sigs {
            self.put(*signed);
        }
        Ok(())
    }

    /// Checks that enough of these maintainers signed it, under this list. Signatures that are unlisted or wrong are passed over, and of
    /// each signer the first is looked at: a maintainer costs one verification, however many signatures came.
    ///
    /// # Errors
    ///
    /// [`RegistryError::List`] or [`RegistryError::TooFew`].
    pub fn check(&self, maintainers: &Maintainers) -> Result<(), RegistryError> {
        let common: Common<'_> = cbor::from_slice(&self.rec)?;
        if *common.list != maintainers.hash() {
            return Err(RegistryError::List);
        }
        let has = |key: &&PublicKey| {
            let own = self.sigs.iter().find(|s| s.signer == *key.as_bytes());
            own.is_some_and(|s| key.verify(LABEL, &[&self.rec], &s.sig).is_ok())
        };
        let signed = maintainers.keys.iter().filter(has).count();
        let needed = maintainers.threshold();
        if signed < needed {
            return Err(RegistryError::TooFew { signed, needed });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn record(list: [u8; 32]) -> Vec<u8> {
        cbor::to_vec(&Common {
            key: &[1],
            seq: 1,
            list: &list,
            ty: "Test",
        })
    }

    #[test]
    fn two_thirds_and_five_at_least() {
        let all: Vec<usize> = [0, 1, 5, 6, 7, 8, 9, 10, 12, 100].map(threshold).into();
        assert_eq!(all, vec![5, 5, 5, 5, 5, 6, 6, 7, 8, 67]);
    }

    #[test]
    fn it_counts_with_enough_distinct_listed_signers() {
        let ids: Vec<Identity> = (1..=8_u8).map(|n| Identity::from_seed(&[n; 32])).collect();
        let keys: Vec<PublicKey> = ids[..7].iter().map(|i| *i.public()).collect();
        let list = Maintainers::new(&keys);
        let mut envelope = Envelope::new(record(list.hash())).unwrap();
        for n in [0, 1, 2, 2, 7, 3] {
            envelope.sign(&ids[n]);
        }
        let few = RegistryError::TooFew {
            signed: 4,
            needed: 5,
        };
        assert_eq!(envelope.check(&list), Err(few));
        let mut other = Envelope::new(record(list.hash())).unwrap();
        other.sign(&ids[6]);
        envelope.join(&other).unwrap();
        assert_eq!(envelope.check(&list), Ok(()));
        let again = Envelope::from_bytes(&envelope.to_bytes()).unwrap();
        assert_eq!(again, envelope);
        assert_eq!(
            envelope.check(&Maintainers::new(&keys[..6])),
            Err(RegistryError::List)
        );
        let stranger = Envelope::new(record([0; 32])).unwrap();
        assert_eq!(envelope.join(&stranger), Err(RegistryError::OtherRecord));
        // Of each signer the first signature is looked at.
        let mut copy = envelope.sigs[1];
        copy.sig[0] ^= 1;
        let mut twice = envelope.clone();
        twice.sigs.push(copy);
        let twice = Envelope::from_bytes(&twice.to_bytes()).unwrap();
        assert_eq!(twice.check(&list), Ok(()));
        let mut before = envelope.clone();
        before.sigs.insert(0, copy);
        let before = Envelope::from_bytes(&before.to_bytes()).unwrap();
        assert_eq!(before.check(&list), Err(few));
        // A signature that was changed counts for nobody.
        envelope.sigs[0].sig[3] ^= 1;
        assert_eq!(envelope.check(&list), Err(few));
    }

    #[test]
    fn what_has_no_common_keys_is_no_record() {
        assert!(Envelope::new(vec![0xa0]).is_err());
        assert!(Envelope::from_bytes(&[0xa0]).is_err());
    }
}
