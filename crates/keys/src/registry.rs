//! Signed registries: records that count once enough maintainers have signed them (profile chapter 1).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use betanet_wire::{cbor, message};

use crate::{Identity, PublicKey, hash};

/// Label of a maintainer's signature.
const LABEL: &str = "BN-REG";
/// Fewest signatures, however short the list.
const LEAST: usize = 5;
/// Signatures of one envelope that are read.
const SIGS_MAX: usize = 1024;
/// Maintainers' signatures that are read beyond one from each. Each may cost a verification.
const SPARE_MAX: usize = 64;

/// Required signatures for a list of `maintainers`: two thirds, and at least five.
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
    /// In ascending order.
    keys: Vec<PublicKey>,
}

impl Maintainers {
    /// Builds the list of these keys, each counted once.
    #[must_use]
    pub fn new(keys: &[PublicKey]) -> Self {
        let mut keys = keys.to_vec();
        keys.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        keys.dedup();
        Self { keys }
    }

    /// Hash that records name the list by.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let keys: Vec<[u8; 32]> = self.keys.iter().map(|k| *k.as_bytes()).collect();
        hash(&[&cbor::to_vec(&keys)])
    }

    /// Number of required signatures.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        threshold(self.keys.len())
    }
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
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
    /// Fields common to all records, beside those of their type.
    pub struct Common<'a> {
        /// Subject of the record.
        req "key" key: &'a [u8],
        /// Sequence number; the highest is valid.
        req "seq" seq: u64,
        /// [`Maintainers::hash`] of the list that signs the record.
        req "list" list: &'a [u8; 32],
        /// Type of the record.
        req "type" ty: &'a str,
    }
}

/// Reason why an envelope does not count.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The envelope or its record does not decode.
    #[error("the registry record does not decode: {0}")]
    Form(#[from] cbor::Error),
    /// More than 1 024 signatures, or more than 64 maintainers' signatures beyond one from each.
    #[error("{0} signatures, where {1} are looked at")]
    TooMany(usize, usize),
    /// The record names another list of maintainers.
    #[error("signed under another list of maintainers")]
    List,
    /// Too few listed maintainers signed it.
    #[error("signed by {signed} of the maintainers, where {needed} are needed")]
    TooFew {
        /// Maintainers with a valid signature.
        signed: usize,
        /// Number of required signatures.
        needed: usize,
    },
    /// Two envelopes to be joined hold different records.
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
    /// Wraps an unsigned record, a DET-CBOR map with the [`Common`] keys.
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

    /// Reads an envelope.
    ///
    /// # Errors
    ///
    /// [`RegistryError::Form`] or [`RegistryError::TooMany`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RegistryError> {
        let form: Form<'_> = cbor::from_slice(bytes)?;
        if form.sigs.len() > SIGS_MAX {
            return Err(RegistryError::TooMany(form.sigs.len(), SIGS_MAX));
        }
        let mut this = Self::new(form.rec.to_vec())?;
        this.sigs = form.sigs;
        Ok(this)
    }

    /// Encodes the envelope.
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

    /// Number of signatures, valid or not.
    #[must_use]
    pub const fn signatures(&self) -> usize {
        self.sigs.len()
    }

    /// Adds a signature, or replaces this signer's signature.
    pub fn sign(&mut self, signer: &Identity) {
        let sig = signer.sign(LABEL, &[&self.rec]);
        let signer = *signer.public().as_bytes();
        self.sigs.retain(|s| s.signer != signer);
        // It counts, which the others may not.
        self.sigs.truncate(SIGS_MAX - 1);
        self.sigs.push(Signed { signer, sig });
    }

    /// Adds the signatures of another envelope of the same record. If both have a signature of one signer, both stay;
    /// [`Envelope::check`] finds the valid one.
    ///
    /// # Errors
    ///
    /// [`RegistryError::OtherRecord`], [`RegistryError::TooMany`].
    pub fn join(&mut self, other: &Self) -> Result<(), RegistryError> {
        if other.rec != self.rec {
            return Err(RegistryError::OtherRecord);
        }
        let known: BTreeSet<Signed> = self.sigs.iter().copied().collect();
        let fresh = other.sigs.iter().filter(|s| !known.contains(s));
        let all: Vec<Signed> = self.sigs.iter().chain(fresh).copied().collect();
        if all.len() > SIGS_MAX {
            return Err(RegistryError::TooMany(all.len(), SIGS_MAX));
        }
        self.sigs = all;
        Ok(())
    }

    /// Drops all signatures but one valid one of each of these maintainers, and returns how many are left. A record under another list
    /// keeps none.
    ///
    /// # Errors
    ///
    /// [`RegistryError::TooMany`], before any is verified.
    pub fn clean(&mut self, maintainers: &Maintainers) -> Result<usize, RegistryError> {
        let common: Common<'_> = cbor::from_slice(&self.rec)?;
        let ours = *common.list == maintainers.hash();
        let theirs = self.theirs(maintainers)?;
        let valid = |key: &PublicKey| {
            let mut own = theirs.iter().filter(|s| s.signer == *key.as_bytes());
            let valid = own.find(|s| key.verify(LABEL, &[&self.rec], &s.sig).is_ok());
            valid.map(|s| **s)
        };
        let keys = maintainers.keys.iter().filter(|_| ours);
        let valid: Vec<Signed> = keys.filter_map(valid).collect();
        self.sigs = valid;
        Ok(self.sigs.len())
    }

    /// Different signatures in these maintainers' names, valid or not.
    fn theirs(&self, maintainers: &Maintainers) -> Result<BTreeSet<&Signed>, RegistryError> {
        let keys: BTreeSet<&[u8; 32]> = maintainers.keys.iter().map(PublicKey::as_bytes).collect();
        let theirs = self.sigs.iter().filter(|s| keys.contains(&s.signer));
        let theirs: BTreeSet<&Signed> = theirs.collect();
        let most = keys.len() + SPARE_MAX;
        if theirs.len() > most {
            return Err(RegistryError::TooMany(theirs.len(), most));
        }
        Ok(theirs)
    }

    /// Checks that enough of these maintainers signed the record under this list. Unlisted or wrong signatures are skipped, in
    /// whatever order they stand. A repeated signature costs one verification.
    ///
    /// # Errors
    ///
    /// [`RegistryError::List`], [`RegistryError::TooFew`], or [`RegistryError::TooMany`], before any is verified.
    pub fn check(&self, maintainers: &Maintainers) -> Result<(), RegistryError> {
        let common: Common<'_> = cbor::from_slice(&self.rec)?;
        if *common.list != maintainers.hash() {
            return Err(RegistryError::List);
        }
        let theirs = self.theirs(maintainers)?;
        let has = |key: &&PublicKey| {
            let mut own = theirs.iter().filter(|s| s.signer == *key.as_bytes());
            own.any(|s| key.verify(LABEL, &[&self.rec], &s.sig).is_ok())
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

    use proptest::prelude::*;

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
        // A copy that was changed takes nothing from its signer, wherever it stands and however it came there.
        let mut bad = Envelope::new(record(list.hash())).unwrap();
        bad.sigs.push(envelope.sigs[1]);
        bad.sigs[0].sig[0] ^= 1;
        let mut behind = envelope.clone();
        behind.join(&bad).unwrap();
        bad.join(&envelope).unwrap();
        for joined in [behind, bad] {
            assert_eq!(joined.signatures(), envelope.signatures() + 1);
            let joined = Envelope::from_bytes(&joined.to_bytes()).unwrap();
            assert_eq!(joined.check(&list), Ok(()));
        }
        // Valid ones of listed maintainers stay, one of each.
        let mut cleaned = envelope.clone();
        let mut changed = envelope.sigs[1];
        changed.sig[0] ^= 1;
        cleaned.sigs.insert(0, changed);
        cleaned.sign(&ids[7]);
        assert_eq!(cleaned.clean(&list), Ok(5));
        assert_eq!((cleaned.signatures(), cleaned.check(&list)), (5, Ok(())));
        assert_eq!(cleaned.clean(&Maintainers::new(&keys[..6])), Ok(0));
        // A signature that was changed counts for nobody.
        envelope.sigs[0].sig[3] ^= 1;
        assert_eq!(envelope.check(&list), Err(few));
    }

    /// Changed copies of a maintainer's signature, no two alike.
    fn changed(of: Signed, copies: usize) -> impl Iterator<Item = Signed> {
        (1..=copies).map(move |n| {
            let mut copy = of;
            copy.sig[0] ^= u8::try_from(n % 256).unwrap();
            copy.sig[1] ^= u8::try_from(n / 256).unwrap();
            copy
        })
    }

    #[test]
    fn an_envelope_costs_64_verifications_more_than_it_has_maintainers() {
        let ids: Vec<Identity> = (1..=7_u8).map(|n| Identity::from_seed(&[n; 32])).collect();
        let keys: Vec<PublicKey> = ids.iter().map(|i| *i.public()).collect();
        let list = Maintainers::new(&keys);
        let mut envelope = Envelope::new(record(list.hash())).unwrap();
        ids.iter().for_each(|id| envelope.sign(id));
        let stranger = Identity::from_seed(&[9; 32]);
        let good = envelope.sigs.clone();
        envelope.sigs.extend(changed(good[3], SPARE_MAX));
        envelope.sigs.rotate_left(7);
        assert_eq!(envelope.check(&list), Ok(()));
        // What costs none is not counted.
        envelope.sigs.extend_from_slice(&good);
        let unlisted = Signed {
            signer: *stranger.public().as_bytes(),
            sig: [1; 64],
        };
        envelope.sigs.extend(changed(unlisted, 500));
        assert_eq!(envelope.check(&list), Ok(()));
        envelope.sigs.extend(changed(good[4], 1));
        let many = RegistryError::TooMany(7 + SPARE_MAX + 1, 7 + SPARE_MAX);
        assert_eq!(envelope.check(&list), Err(many));
        // More are not even read, nor joined; who signs takes a place.
        let mut full = Envelope::new(record(list.hash())).unwrap();
        full.sigs.extend(changed(unlisted, SIGS_MAX));
        assert_eq!(Envelope::from_bytes(&full.to_bytes()).as_ref(), Ok(&full));
        let many = RegistryError::TooMany(SIGS_MAX + 1, SIGS_MAX);
        let mut other = Envelope::new(record(list.hash())).unwrap();
        other.sign(&ids[0]);
        let before = full.clone();
        assert_eq!(full.join(&other), Err(many));
        assert_eq!(full, before);
        full.sign(&ids[0]);
        assert_eq!(full.signatures(), SIGS_MAX);
        assert!(full.sigs.contains(&good[0]));
        full.sigs.push(unlisted);
        assert_eq!(Envelope::from_bytes(&full.to_bytes()), Err(many));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn neither_order_nor_wrong_signatures_change_what_counts(
            maintainers in 5..10_u8,
            signed in prop::collection::vec(any::<bool>(), 10),
            wrong in prop::collection::vec((0..12_u8, 0..64_usize, 1..=255_u8), 0..SPARE_MAX),
            order in any::<u64>(),
        ) {
            let ids: Vec<Identity> = (0..12).map(|n| Identity::from_seed(&[n; 32])).collect();
            let (listed, _) = ids.split_at(maintainers.into());
            let keys: Vec<PublicKey> = listed.iter().map(|i| *i.public()).collect();
            let list = Maintainers::new(&keys);
            let mut envelope = Envelope::new(record(list.hash())).unwrap();
            let signers: Vec<&Identity> = listed.iter().zip(&signed).filter(|(_, s)| **s).map(|(i, _)| i).collect();
            signers.iter().for_each(|id| envelope.sign(id));
            let plain = envelope.check(&list);
            prop_assert_eq!(plain.is_ok(), signers.len() >= list.threshold());
            for (signer, at, change) in wrong {
                let signer = &ids[usize::from(signer)];
                let mut sig = signer.sign(LABEL, &[&envelope.rec]);
                sig[at] ^= change;
                envelope.sigs.push(Signed { signer: *signer.public().as_bytes(), sig });
            }
            let dice = betanet_machine::Seed::from_number(order);
            let mut dice = betanet_machine::Rng::new(&dice);
            for last in (1..envelope.sigs.len()).rev() {
                let at = usize::try_from(dice.below(last as u64 + 1)).unwrap();
                envelope.sigs.swap(last, at);
            }
            let read = Envelope::from_bytes(&envelope.to_bytes()).unwrap();
            prop_assert_eq!(read.check(&list), plain);
        }
    }

    #[test]
    fn what_has_no_common_keys_is_no_record() {
        assert!(Envelope::new(vec![0xa0]).is_err());
        assert!(Envelope::from_bytes(&[0xa0]).is_err());
    }
}
