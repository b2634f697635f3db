//! Records of the ledger, read and checked by themselves.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use betanet_keys::{Envelope, Equation, PreparedKeys, PublicKey};
use betanet_log::{Hash, Signers, leaf_hash};
use betanet_wire::cbor;
use bytes::Bytes;

use crate::{Finalized, Reject, RotateMaintainers};

/// Longest record, in bytes.
pub const RECORD_MAX: usize = 1_000_000;
/// Records from which a [`Verifier`] computes tables of its signers' keys.
const PREPARE_FROM: usize = 1024;
/// Records whose points are encoded together.
const TOGETHER: usize = 64;
/// Most keys of owners that a [`Verifier`] remembers.
const OWNERS_MAX: usize = 16_384;

/// A record of the ledger.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Entry {
    /// An alias record that signers made final.
    Alias(Box<Finalized>),
    /// A rotation of the signers.
    Rotation(Box<RotateMaintainers>),
    /// A record of a signed registry.
    Registry(Envelope),
}

impl Entry {
    /// Reads a record. No signature is verified.
    ///
    /// Its keys tell the kinds apart: `key` stands in an alias record, `type` in a rotation, and neither in an envelope.
    ///
    /// # Errors
    ///
    /// [`Reject::TooLong`], [`Reject::Form`], [`Reject::TooMany`] or [`Reject::Registry`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Reject> {
        if bytes.len() > RECORD_MAX {
            return Err(Reject::TooLong(bytes.len()));
        }
        if has_key(bytes, "key")? {
            let finalized = Finalized::from_bytes(bytes)?;
            return Ok(Self::Alias(Box::new(finalized)));
        }
        if has_key(bytes, "type")? {
            let rotation = RotateMaintainers::from_bytes(bytes)?;
            return Ok(Self::Rotation(Box::new(rotation)));
        }
        Ok(Self::Registry(Envelope::from_bytes(bytes)?))
    }
}

/// Whether the bytes are one map that has this key.
fn has_key(bytes: &[u8], key: &str) -> Result<bool, cbor::Error> {
    let mut r = cbor::Reader::new(bytes);
    let mut found = false;
    for _ in 0..r.map()? {
        if r.kind()? == cbor::Kind::Text {
            found |= r.text()? == key;
        } else {
            r.skip()?;
        }
        r.skip()?;
    }
    r.leave();
    r.end()?;
    Ok(found)
}

/// A record whose signatures were verified, as far as that does not depend on the records before it. Only a verification makes one.
#[derive(Clone, Debug)]
pub struct Verified {
    bytes: Bytes,
    leaf: Hash,
    entry: Result<Entry, Reject>,
    /// Whether an alias record is signed by its nodes.
    by_nodes: bool,
    /// Hash of the set that the positions belong to, and the positions of signers with a valid signature.
    signed: Option<([u8; 32], Vec<usize>)>,
}

impl Verified {
    /// Reads a record and verifies an alias record's signatures: those of its nodes, and those of this set.
    #[must_use]
    pub fn new(bytes: Bytes, signers: &Signers) -> Self {
        Verifier::new(signers, 1).verify(bytes)
    }

    /// The record's bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The record's hash in the log.
    pub(crate) const fn leaf(&self) -> Hash {
        self.leaf
    }

    /// The record, or the reason why it is none.
    ///
    /// # Errors
    ///
    /// As [`Entry::from_bytes`].
    pub fn entry(&self) -> Result<&Entry, Reject> {
        self.entry.as_ref().map_err(|reason| *reason)
    }

    pub(crate) const fn is_signed_by_its_nodes(&self) -> bool {
        self.by_nodes
    }

    /// Positions of the signers of this set with a valid signature on an alias record.
    pub(crate) fn signers(&self, of: &Signers, finalized: &Finalized) -> Vec<usize> {
        match &self.signed {
            Some((set, positions)) if set == of.hash() => positions.clone(),
            _ => finalized.signers(of),
        }
    }
}

/// Verifies many records under one set of signers. It is worth keeping: see [`Verifier::new`]. A clone shares the tables.
#[derive(Clone, Debug)]
pub struct Verifier {
    signers: Signers,
    tables: Option<Arc<PreparedKeys>>,
    owners: Owners,
}

impl Verifier {
    /// A verifier for about `records` records. For 1 024 and more, it computes tables by which a signer's signature takes half of
    /// the time. The tables take 220 KiB a signer. It also remembers checked keys of owners, at most 16 384.
    #[must_use]
    pub fn new(signers: &Signers, records: usize) -> Self {
        let tables = (records >= PREPARE_FROM).then(|| PreparedKeys::new(signers.keys()));
        Self {
            signers: signers.clone(),
            tables: tables.map(Arc::new),
            owners: Owners::default(),
        }
    }

    /// The set of signers.
    #[must_use]
    pub const fn signers(&self) -> &Signers {
        &self.signers
    }

    /// As [`Verified::new`].
    #[must_use]
    pub fn verify(&mut self, bytes: Bytes) -> Verified {
        self.few(core::slice::from_ref(&bytes))
            .pop()
            .unwrap_or_else(|| Verified::read(bytes))
    }

    /// As [`Verified::new`] for each record. Each signature is verified by itself; only encodings of points are computed together.
    #[must_use]
    pub fn verify_all(&mut self, records: &[Bytes]) -> Vec<Verified> {
        let mut all = Vec::with_capacity(records.len());
        for few in records.chunks(TOGETHER) {
            all.extend(self.few(few));
        }
        all
    }

    fn few(&mut self, records: &[Bytes]) -> Vec<Verified> {
        let mut all: Vec<Verified> = records.iter().cloned().map(Verified::read).collect();
        // Which record each equation belongs to.
        let (mut of, mut equations) = (Vec::new(), Vec::new());
        for (at, verified) in all.iter_mut().enumerate() {
            if let Ok(Entry::Alias(finalized)) = &verified.entry
                && let Some(nodes) = finalized.nodes(|key| self.owners.checked(key))
            {
                // Until one of them fails.
                verified.by_nodes = true;
                of.extend(nodes.iter().map(|_| at));
                equations.extend(nodes);
            }
        }
        for (at, holds) in of.into_iter().zip(Equation::hold(&equations)) {
            if let Some(verified) = all.get_mut(at) {
                verified.by_nodes &= holds;
            }
        }
        // Without its nodes' signatures a record counts for nothing, whoever else signed.
        let (mut of, mut equations) = (Vec::new(), Vec::new());
        for (at, verified) in all.iter_mut().enumerate().filter(|(_, v)| v.by_nodes) {
            let Ok(Entry::Alias(finalized)) = &verified.entry else {
                continue;
            };
            verified.signed = Some((*self.signers.hash(), Vec::new()));
            let signed = finalized.signed(&self.signers, self.tables.as_deref());
            for (position, equation) in signed {
                of.push((at, position));
                equations.push(equation);
            }
        }
        for ((at, position), holds) in of.into_iter().zip(Equation::hold(&equations)) {
            let signed = all.get_mut(at).and_then(|v| v.signed.as_mut());
            if let Some((_, positions)) = signed
                && holds
                && positions.last() != Some(&position)
            {
                positions.push(position);
            }
        }
        all
    }
}

impl Verified {
    /// Reads a record, of which nothing is verified yet.
    fn read(bytes: Bytes) -> Self {
        Self {
            leaf: leaf_hash(&bytes),
            entry: Entry::from_bytes(&bytes),
            by_nodes: false,
            signed: None,
            bytes,
        }
    }
}

/// Keys of owners that were found valid. An owner of many names is not checked again and again.
#[derive(Clone, Debug, Default)]
struct Owners {
    young: BTreeMap<[u8; 32], PublicKey>,
    old: BTreeMap<[u8; 32], PublicKey>,
}

impl Owners {
    fn checked(&mut self, bytes: &[u8; 32]) -> Option<PublicKey> {
        if let Some(key) = self.young.get(bytes) {
            return Some(*key);
        }
        let known = self.old.get(bytes).copied();
        let key = known.or_else(|| PublicKey::from_bytes(bytes).ok())?;
        if self.young.len() >= OWNERS_MAX / 2 {
            self.old = core::mem::take(&mut self.young);
        }
        self.young.insert(*bytes, key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{Network, T0, identity, owner};
    use crate::{Alias, AliasRecord};

    /// Records that are valid, and such that fail in each way, in one list.
    fn mixed(network: &Network) -> Vec<Bytes> {
        let alias = |n: u16| Alias::from_wire(&alloc::format!("n{n}")).unwrap();
        let mut all = Vec::new();
        for n in 0..200_u16 {
            let (me, other) = (owner(n % 7), owner(n % 7 + 1));
            let mut record = AliasRecord::bind(alias(n), &me, 1, T0);
            match n % 8 {
                1 => record.sig[usize::from(n) % 64] ^= 1,
                2 => record = record.moved_by(&other),
                3 => {
                    record = record.moved_by(&other);
                    record.prev.as_mut().unwrap().sig[5] ^= 1;
                }
                _ => {}
            }
            let key = if n % 8 == 4 { other } else { me };
            let mut finalized = Finalized::new(record, key.public());
            for at in [n % 3, (n + 1) % 3] {
                let mut signature = finalized.signature(&network.signers[usize::from(at)]);
                if n % 8 == 5 {
                    signature.sig[usize::from(n) % 64] ^= 2;
                }
                if n % 8 == 6 {
                    signature.signer = *identity(900).public().as_bytes();
                }
                finalized.add(signature);
            }
            all.push(Bytes::from(finalized.to_bytes()));
        }
        all.push(Bytes::from_static(b"none"));
        all.push(network.rotation(&[4, 5, 6], 1, &[0, 1]));
        all
    }

    #[test]
    fn together_with_tables_or_one_by_one_a_record_is_judged_as_by_itself() {
        let network = Network::new(3, 0);
        let signers = network.genesis().signers;
        let records = mixed(&network);
        for prepared in [1, PREPARE_FROM] {
            let mut verifier = Verifier::new(&signers, prepared);
            let together = verifier.verify_all(&records);
            assert_eq!(together.len(), records.len());
            for (bytes, v) in records.iter().zip(together) {
                assert_eq!((v.bytes(), v.leaf()), (bytes, leaf_hash(bytes)));
                let alone = verifier.verify(bytes.clone());
                assert_eq!((v.by_nodes, &v.signed), (alone.by_nodes, &alone.signed));
                let Ok(Entry::Alias(finalized)) = &v.entry else {
                    assert!(!v.by_nodes && v.signed.is_none());
                    continue;
                };
                assert_eq!(v.by_nodes, finalized.is_signed_by_its_nodes());
                let expected = (*signers.hash(), finalized.signers(&signers));
                assert_eq!(v.signed, v.by_nodes.then_some(expected));
            }
        }
    }

    #[test]
    fn a_verifier_remembers_16384_owners() {
        let mut owners = Owners::default();
        let key = |n: u64| {
            let mut seed = [3; 32];
            seed[..8].copy_from_slice(&n.to_be_bytes());
            *betanet_keys::Identity::from_seed(&seed).public()
        };
        for n in 0..OWNERS_MAX as u64 + 2 {
            let key = key(n);
            assert_eq!(owners.checked(key.as_bytes()), Some(key));
            let most = owners.young.len().max(owners.old.len());
            assert!(most <= OWNERS_MAX / 2, "{n}");
        }
        // The first ones are forgotten, and the others are not.
        let known = |key: &PublicKey| {
            owners.young.contains_key(key.as_bytes()) || owners.old.contains_key(key.as_bytes())
        };
        assert!(!known(&key(0)) && known(&key(OWNERS_MAX as u64 / 2)));
        // An invalid key is not remembered.
        assert!(owners.checked(&[0xff; 32]).is_none() && owners.checked(&[0; 32]).is_none());
    }
}
