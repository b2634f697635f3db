//! Rotation of the signers (profile chapter 6).

use alloc::vec::Vec;

use betanet_keys::{Identity, PublicKey, hash};
use betanet_log::{SIGNERS_MAX, Signature, Signers};
use betanet_wire::{cbor, message};

use crate::Reject;
use crate::record::SIGNED_MAX;

const LABEL: &str = "BN-L5-ROT";
const TYPE: &str = "rot";
/// Fewest keys of a set of signers.
pub const SIGNERS_MIN: usize = 3;

message! {
    struct Form<'a> {
        req "new" new: Vec<[u8; 32]>,
        req "seq" seq: u64,
        req "sig" sig: Vec<[u8; 64]>,
        req "prev" prev: Vec<[u8; 32]>,
        req "type" ty: &'a str,
    }
}

message! {
    struct Unsigned<'a> {
        req "new" new: Vec<[u8; 32]>,
        req "seq" seq: u64,
        req "prev" prev: Vec<[u8; 32]>,
        req "type" ty: &'a str,
    }
}

/// Replacement of one set of signers by another.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct RotateMaintainers {
    new: Vec<[u8; 32]>,
    prev: Vec<[u8; 32]>,
    seq: u64,
    sigs: Vec<[u8; 64]>,
    /// The map without `sig`.
    text: Vec<u8>,
}

impl RotateMaintainers {
    /// An unsigned rotation. Signatures stand in the order of `prev`.
    #[must_use]
    pub fn new(new: &[PublicKey], prev: &[PublicKey], seq: u64) -> Self {
        let keys =
            |of: &[PublicKey]| -> Vec<[u8; 32]> { of.iter().map(|k| *k.as_bytes()).collect() };
        let (new, prev) = (keys(new), keys(prev));
        let text = cbor::to_vec(&Unsigned {
            new: new.clone(),
            seq,
            prev: prev.clone(),
            ty: TYPE,
        });
        Self {
            new,
            prev,
            seq,
            sigs: Vec::new(),
            text,
        }
    }

    /// Reads a rotation. No signature is verified.
    ///
    /// # Errors
    ///
    /// [`Reject::Form`], [`Reject::Padded`] or [`Reject::TooMany`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Reject> {
        if bytes.len() > SIGNED_MAX {
            return Err(Reject::Padded(bytes.len()));
        }
        let form: Form<'_> = cbor::from_slice(bytes)?;
        if form.ty != TYPE {
            return Err(Reject::Form(cbor::Error::Range("the type \"rot\"")));
        }
        let longest = form.new.len().max(form.prev.len()).max(form.sig.len());
        if longest > SIGNERS_MAX {
            return Err(Reject::TooMany(longest, SIGNERS_MAX));
        }
        Ok(Self {
            new: form.new,
            prev: form.prev,
            seq: form.seq,
            sigs: form.sig,
            text: without_sig(bytes)?,
        })
    }

    /// Encodes the rotation.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::to_vec(&Form {
            new: self.new.clone(),
            seq: self.seq,
            sig: self.sigs.clone(),
            prev: self.prev.clone(),
            ty: TYPE,
        })
    }

    /// Sequence number: one more than that of the rotation before.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// `H("BN-L5-ROT" || the map without "sig")`, which signers sign.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        hash(&[LABEL.as_bytes(), &self.text])
    }

    /// A signature of this rotation.
    #[must_use]
    pub fn signature(&self, signer: &Identity) -> Signature {
        Signature {
            signer: *signer.public().as_bytes(),
            sig: signer.sign(LABEL, &[&self.text]),
        }
    }

    /// Puts these signatures in the order of `prev`, in place of those that it has. Others than those of `prev` are left out.
    pub fn gather(&mut self, signatures: &[Signature]) {
        let of = |key: &[u8; 32]| signatures.iter().find(|s| s.signer == *key).map(|s| s.sig);
        self.sigs = self.prev.iter().filter_map(of).collect();
    }

    /// The new set.
    ///
    /// # Errors
    ///
    /// [`Reject::Signers`].
    pub fn signers(&self) -> Result<Signers, Reject> {
        let new = Signers::from_bytes(&self.new).map_err(|_| Reject::Signers)?;
        match new.keys().len() >= SIGNERS_MIN {
            true => Ok(new),
            false => Err(Reject::Signers),
        }
    }

    /// Whether `prev` is this set, in any order.
    #[must_use]
    pub fn is_from(&self, current: &Signers) -> bool {
        let mut prev = self.prev.clone();
        prev.sort_unstable();
        prev.iter()
            .eq(current.keys().iter().map(PublicKey::as_bytes))
    }

    /// Positions, in the set, of the keys of `prev` that signed. Each signature belongs to a later key of `prev` than the one before
    /// it, so it costs as many verifications as `prev` has keys.
    ///
    /// # Errors
    ///
    /// [`Reject::Signature`] where a signature belongs to none.
    pub fn signed_by(&self, current: &Signers) -> Result<Vec<usize>, Reject> {
        let mut keys = self.prev.iter();
        let hash = self.hash();
        let of = |sig: &[u8; 64]| {
            let position = keys.find_map(|bytes| {
                let at = current.position(bytes)?;
                let key = current.keys().get(at)?;
                key.verify_digest(&hash, sig).is_ok().then_some(at)
            });
            position.ok_or(Reject::Signature)
        };
        self.sigs.iter().map(of).collect()
    }
}

/// The bytes of a map without its entry `sig`; keys that are not known stay.
fn without_sig(bytes: &[u8]) -> Result<Vec<u8>, Reject> {
    let mut value: cbor::Value<'_> = cbor::from_slice(bytes)?;
    if let cbor::Value::Map(entries) = &mut value {
        entries.retain(|(key, _)| *key != cbor::Value::Text("sig"));
    }
    Ok(value.to_vec()?)
}
