//! Records of the ledger, read and checked by themselves.

use alloc::boxed::Box;
use alloc::vec::Vec;

use betanet_keys::{Envelope, PreparedKey};
use betanet_log::Signers;
use betanet_wire::cbor;
use bytes::Bytes;

use crate::{Finalized, Reject, RotateMaintainers};

/// Longest record, in bytes.
pub const RECORD_MAX: usize = 1_000_000;
/// Records from which a [`Verifier`] computes tables of its signers' keys.
const PREPARE_FROM: usize = 1024;

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

/// A record whose signatures were verified, as far as that does not depend on the records before it.
#[derive(Clone, Debug)]
pub struct Verified {
    bytes: Bytes,
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

/// Verifies many records under one set of signers. It is worth keeping: see [`Verifier::new`].
#[derive(Debug)]
pub struct Verifier {
    signers: Signers,
    prepared: Vec<PreparedKey>,
}

impl Verifier {
    /// A verifier for about `records` records. For 1 024 and more, it computes tables by which a signer's signature takes two
    /// thirds of the time. The tables take 30 KiB a signer.
    #[must_use]
    pub fn new(signers: &Signers, records: usize) -> Self {
        let keys = match records >= PREPARE_FROM {
            true => signers.keys(),
            false => &[],
        };
        let prepared = keys.iter().copied().map(PreparedKey::new).collect();
        Self {
            signers: signers.clone(),
            prepared,
        }
    }

    /// The set of signers.
    #[must_use]
    pub const fn signers(&self) -> &Signers {
        &self.signers
    }

    /// As [`Verified::new`].
    #[must_use]
    pub fn verify(&self, bytes: Bytes) -> Verified {
        let entry = Entry::from_bytes(&bytes);
        let (mut by_nodes, mut signed) = (false, None);
        if let Ok(Entry::Alias(finalized)) = &entry {
            by_nodes = finalized.is_signed_by_its_nodes();
            // Without its nodes' signatures it counts for nothing, whoever else signed.
            if by_nodes {
                let positions = match self.prepared.is_empty() {
                    true => finalized.signers(&self.signers),
                    false => finalized.signers_by_tables(&self.prepared),
                };
                signed = Some((*self.signers.hash(), positions));
            }
        }
        Verified {
            bytes,
            entry,
            by_nodes,
            signed,
        }
    }
}
