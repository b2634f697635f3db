//! Alias records, and the signers' signatures around them (profile chapter 6).

use alloc::vec::Vec;

use betanet_keys::{Equation, Identity, PreparedKeys, PublicKey, hash};
use betanet_log::{Signature, Signers};
use betanet_wire::{NodeId, cbor, message};

use crate::{Alias, Reject};

/// Label of the node's own signature.
pub(crate) const LABEL: &str = "BN-L5";
/// Label of a signer's signature.
pub(crate) const FINAL: &str = "BN-L5-FINAL";
/// Life of a record, from its `ts`: 365 days.
pub const LIFE_MS: u64 = 365 * 24 * 3600 * 1000;
/// Longest alias record with its signatures, and longest rotation, in bytes. Whoever carries one can add to it: unknown keys and
/// signatures of strangers are signed by nobody.
pub(crate) const SIGNED_MAX: usize = 16 << 10;
/// Signatures of one record that are read.
pub(crate) const SIGS_MAX: usize = 128;
/// The node of a record that retires its alias.
const NOBODY: NodeId = NodeId([0; 20]);

message! {
    /// A record that binds an alias to a node, or retires it.
    pub struct AliasRecord {
        /// UNIX milliseconds.
        req "ts" ts: u64,
        /// Sequence number; it rises with each record of the alias.
        req "seq" seq: u64,
        /// Signature by the node's own key.
        req "sig" sig: [u8; 64],
        /// The node; 20 zeros retire the alias.
        req "node" node: NodeId,
        /// Key and signature of the node that the alias was bound to, where it moves.
        opt "prev" prev: Signature,
        /// The alias.
        req "alias" alias: Alias,
    }
}

impl AliasRecord {
    /// A record that binds the alias to this node.
    #[must_use]
    pub fn bind(alias: Alias, owner: &Identity, seq: u64, ts: u64) -> Self {
        Self::signed(alias, owner.public().node_id(), owner, seq, ts)
    }

    /// A record by which this node, to which the alias is bound, retires it.
    #[must_use]
    pub fn retire(alias: Alias, owner: &Identity, seq: u64, ts: u64) -> Self {
        Self::signed(alias, NOBODY, owner, seq, ts)
    }

    fn signed(alias: Alias, node: NodeId, owner: &Identity, seq: u64, ts: u64) -> Self {
        let mut this = Self {
            ts,
            seq,
            sig: [0; 64],
            node,
            prev: None,
            alias,
        };
        this.sig = this.signature(owner).sig;
        this
    }

    /// A node's signature over this record: the owner's own, or that of the node that gives the alias away.
    #[must_use]
    pub fn signature(&self, signer: &Identity) -> Signature {
        let (seq, ts) = (self.seq.to_be_bytes(), self.ts.to_be_bytes());
        let text: [&[u8]; 4] = [self.alias.as_str().as_bytes(), &self.node.0, &seq, &ts];
        Signature {
            signer: *signer.public().as_bytes(),
            sig: signer.sign(LABEL, &text),
        }
    }

    /// The same record with the signature of the node that gives the alias away.
    #[must_use]
    pub fn moved_by(mut self, old: &Identity) -> Self {
        self.prev = Some(self.signature(old));
        self
    }

    /// Whether the record retires its alias.
    #[must_use]
    pub fn is_retirement(&self) -> bool {
        self.node == NOBODY
    }

    /// The digest that nodes sign.
    fn digest(&self) -> [u8; 32] {
        let (seq, ts) = (self.seq.to_be_bytes(), self.ts.to_be_bytes());
        let alias = self.alias.as_str().as_bytes();
        hash(&[LABEL.as_bytes(), alias, &self.node.0, &seq, &ts])
    }
}

message! {
    struct Form<'a> {
        req "key" key: [u8; 32],
        req "rec" rec: &'a [u8],
        req "sigs" sigs: Vec<Signature>,
    }
}

/// An alias record with its owner's key and the signers' signatures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finalized {
    key: [u8; 32],
    bytes: Vec<u8>,
    record: AliasRecord,
    sigs: Vec<Signature>,
}

impl Finalized {
    /// A record that no signer has signed yet, with its owner's key.
    #[must_use]
    pub fn new(record: AliasRecord, key: &PublicKey) -> Self {
        Self {
            key: *key.as_bytes(),
            bytes: cbor::to_vec(&record),
            record,
            sigs: Vec::new(),
        }
    }

    /// As [`Finalized::new`], of a record's exact bytes.
    ///
    /// # Errors
    ///
    /// [`Reject::Form`].
    pub fn with_bytes(record: &[u8], key: &PublicKey) -> Result<Self, Reject> {
        Ok(Self {
            key: *key.as_bytes(),
            bytes: record.to_vec(),
            record: cbor::from_slice(record)?,
            sigs: Vec::new(),
        })
    }

    /// Reads a record. No signature is verified.
    ///
    /// # Errors
    ///
    /// [`Reject::Form`], [`Reject::Padded`] or [`Reject::TooMany`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Reject> {
        if bytes.len() > SIGNED_MAX {
            return Err(Reject::Padded(bytes.len()));
        }
        let form: Form<'_> = cbor::from_slice(bytes)?;
        if form.sigs.len() > SIGS_MAX {
            return Err(Reject::TooMany(form.sigs.len(), SIGS_MAX));
        }
        Ok(Self {
            key: form.key,
            bytes: form.rec.to_vec(),
            record: cbor::from_slice(form.rec)?,
            sigs: form.sigs,
        })
    }

    /// Encodes the record with its key and signatures.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(&Form {
            key: self.key,
            rec: &self.bytes,
            sigs: self.sigs.clone(),
        })
    }

    /// The alias record.
    #[must_use]
    pub const fn record(&self) -> &AliasRecord {
        &self.record
    }

    /// The alias record's bytes, over which signers sign.
    #[must_use]
    pub fn signed_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The node whose key this is. For a record that retires its alias, it is the node that the alias was bound to.
    #[must_use]
    pub fn owner(&self) -> NodeId {
        let mut id = [0; 20];
        id.copy_from_slice(&hash(&[&self.key])[..20]);
        NodeId(id)
    }

    /// The node that gives the alias away, if the record names one.
    #[must_use]
    pub fn giver(&self) -> Option<NodeId> {
        let prev = self.record.prev?;
        let mut id = [0; 20];
        id.copy_from_slice(&hash(&[&prev.signer])[..20]);
        Some(NodeId(id))
    }

    /// The signers' signatures, valid or not.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.sigs
    }

    /// A signer's signature over the record.
    pub(crate) fn signature(&self, signer: &Identity) -> Signature {
        Signature {
            signer: *signer.public().as_bytes(),
            sig: signer.sign(FINAL, &[&self.bytes]),
        }
    }

    /// Adds a signer's signature, or replaces this signer's.
    pub fn add(&mut self, signature: Signature) {
        self.sigs.retain(|s| s.signer != signature.signer);
        self.sigs.truncate(SIGS_MAX - 1);
        self.sigs.push(signature);
    }

    /// Identity of the record, whatever its signatures.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        hash(&[FINAL.as_bytes(), &self.bytes])
    }

    /// Whether the key is the node's, and the signatures of the node and of the node before it verify. The key of a record that
    /// retires its alias has to be compared with the alias's owner.
    #[must_use]
    pub fn is_signed_by_its_nodes(&self) -> bool {
        let nodes = self.nodes(|key| PublicKey::from_bytes(key).ok());
        nodes.is_some_and(|nodes| Equation::hold(&nodes).into_iter().all(|holds| holds))
    }

    /// The equations of the signatures of the node and of the node before it: all have to hold. `None` if a key is not the node's or
    /// invalid, or a signature cannot be valid.
    pub(crate) fn nodes(
        &self,
        mut checked: impl FnMut(&[u8; 32]) -> Option<PublicKey>,
    ) -> Option<Vec<Equation>> {
        let record = &self.record;
        if !record.is_retirement() && self.owner() != record.node {
            return None;
        }
        let digest = record.digest();
        let own = Equation::of(&checked(&self.key)?, &digest, &record.sig)?;
        let mut equations = Vec::from([own]);
        if let Some(prev) = &record.prev {
            equations.push(Equation::of(&checked(&prev.signer)?, &digest, &prev.sig)?);
        }
        Some(equations)
    }

    /// Positions, in the set, of the signers with a valid signature. It costs at most as many verifications as there are
    /// signatures.
    #[must_use]
    pub fn signers(&self, of: &Signers) -> Vec<usize> {
        let digest = self.digest();
        let valid = |(at, key): (usize, &PublicKey)| {
            let mut own = self.sigs.iter().filter(|s| s.signer == *key.as_bytes());
            let stands = own.any(|s| key.verify_digest(&digest, &s.sig).is_ok());
            stands.then_some(at)
        };
        of.keys().iter().enumerate().filter_map(valid).collect()
    }

    /// Positions of this set's signers and the equations of their signatures, in the order of the positions. One that holds stands
    /// for its signer.
    pub(crate) fn signed(
        &self,
        of: &Signers,
        tables: Option<&PreparedKeys>,
    ) -> Vec<(usize, Equation)> {
        let digest = self.digest();
        let mut all = Vec::new();
        for (at, key) in of.keys().iter().enumerate() {
            let own = self.sigs.iter().filter(|s| s.signer == *key.as_bytes());
            let equation = |s: &Signature| match tables {
                Some(tables) => tables.equation(at, &digest, &s.sig),
                None => Equation::of(key, &digest, &s.sig),
            };
            all.extend(own.filter_map(equation).map(|equation| (at, equation)));
        }
        all
    }

    /// Checks the record by itself: its nodes' signatures, and finality under this set. The ledger checks its place among others.
    ///
    /// # Errors
    ///
    /// [`Reject::Signature`] or [`Reject::NotFinal`].
    pub fn check(&self, signers: &Signers) -> Result<(), Reject> {
        if !self.is_signed_by_its_nodes() {
            return Err(Reject::Signature);
        }
        let (signed, needed) = (self.signers(signers).len(), signers.threshold());
        match signed >= needed {
            true => Ok(()),
            false => Err(Reject::NotFinal { signed, needed }),
        }
    }
}
