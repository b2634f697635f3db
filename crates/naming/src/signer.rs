//! A signer of the ledger: it signs no two records for one `seq`, and no two views of the log.
//!
//! It works offline. Its [`Memory`] is what it must not forget: each signature comes as [`Pending`], whose bytes the caller stores
//! first.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_keys::{Identity, PublicKey};
use betanet_log::{Head, Signature, SignedHead, verify_consistency};
use betanet_wire::{NodeId, cbor, message};

use crate::fault::DOMAIN;
use crate::ledger::CLOCK_MS;
use crate::{Alias, Finalized, LIFE_MS, LabelError, Ledger, Reject, RotateMaintainers};

const VERSION: u64 = 1;

/// Reason why a signer does not sign.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The key is not one of the ledger's signers.
    #[error("this key is not one of the signers in force")]
    NotSigner,
    /// The time is more than 10 minutes from the clock, or before that of the last head.
    #[error("the time is too far from the clock, or before that of the last head")]
    Clock,
    /// This signer has signed another record with this `seq`, or another rotation.
    #[error("another was signed with this seq")]
    Twice,
    /// `seq` is not one more than the last.
    #[error("seq {seq}, where {next} is next")]
    Seq {
        /// `seq` of the record.
        seq: u64,
        /// The one that would be signed.
        next: u64,
    },
    /// This signer signed the last record for another node, and the ledger's history does not show what became of it.
    #[error("seq {seq} was signed for another node, and its proof is missing")]
    Unproven {
        /// `seq` of the last record that this signer signed.
        seq: u64,
    },
    /// The alias has a form that signers refuse.
    #[error("the alias: {0}")]
    Label(#[from] LabelError),
    /// The ledger would not accept the record.
    #[error("the record: {0}")]
    Record(#[from] Reject),
    /// The head is not that of the ledger's records, or does not extend the last head that was signed.
    #[error("the head does not extend the last one that was signed")]
    Head,
    /// Two rotations contradict each other, or the ledger is split.
    #[error("the ledger has contradictions that people have to resolve")]
    Contradiction,
    /// The memory does not decode.
    #[error("the memory does not decode: {0}")]
    Memory(#[from] cbor::Error),
    /// A memory of another version.
    #[error("a memory of version {0}, where 1 is known")]
    Version(u64),
    /// The memory belongs to another signer's key.
    #[error("the memory is that of another key")]
    OtherKey,
}

/// Signatures that a signer must not contradict: the last `seq` and record of each alias, the last rotation, the last head.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Memory {
    /// The signer whose memory this is; `None` where it was never bound to a key.
    key: Option<[u8; 32]>,
    names: BTreeMap<Alias, Signed>,
    rotation: Option<Signed>,
    head: Option<Head>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Signed {
    seq: u64,
    digest: [u8; 32],
    /// Node and time of an alias record. Memories of earlier versions have none.
    of: Option<(NodeId, u64)>,
}

impl Signed {
    fn is_same(&self, other: &Self) -> bool {
        (self.seq, self.digest) == (other.seq, other.digest)
    }

    /// Checks a record against this one, which may have become final without a proof here: the claimant chooses which proofs a signer
    /// without a network sees.
    fn check(&self, next: &Finalized) -> Result<(), Refusal> {
        let unproven = Refusal::Unproven { seq: self.seq };
        let (node, ts) = self.of.ok_or(unproven)?;
        let expired = next.record().ts >= ts.saturating_add(LIFE_MS);
        let by_node = next.owner() == node || next.giver() == Some(node);
        (expired || by_node).then_some(()).ok_or(unproven)
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Named(Alias, Signed);

message! {
    struct Form<'a> {
        req "v" version: u64,
        opt "key" key: [u8; 32],
        opt "rot" rotation: Signed,
        opt "head" head: &'a [u8],
        req "names" names: Vec<Named>,
    }
}

impl Memory {
    /// Encodes the memory, or the change of one signature.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = self.head.as_ref().map(cbor::to_vec);
        let named = |(alias, signed): (&Alias, &Signed)| Named(alias.clone(), *signed);
        cbor::to_vec(&Form {
            version: VERSION,
            key: self.key,
            rotation: self.rotation,
            head: head.as_deref(),
            names: self.names.iter().map(named).collect(),
        })
    }

    /// Reads a memory.
    ///
    /// # Errors
    ///
    /// [`Refusal::Memory`] or [`Refusal::Version`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut this = Self::default();
        this.learn(bytes)?;
        Ok(this)
    }

    /// Binds the memory to a signer's key. A memory in a file can be mistaken for another signer's, which would forget all of this one's
    /// signatures.
    ///
    /// # Errors
    ///
    /// [`Refusal::OtherKey`]; nothing changed.
    pub fn bind(&mut self, key: &PublicKey) -> Result<(), Refusal> {
        match self.key.replace(*key.as_bytes()) {
            Some(other) if other != *key.as_bytes() => {
                self.key = Some(other);
                Err(Refusal::OtherKey)
            }
            _ => Ok(()),
        }
    }

    /// Adds a stored change, or another memory of this signer. The order does not matter.
    ///
    /// # Errors
    ///
    /// [`Refusal::Memory`], [`Refusal::Version`] or [`Refusal::OtherKey`]; nothing changed.
    pub fn learn(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let form: Form<'_> = cbor::from_slice(bytes)?;
        if form.version != VERSION {
            return Err(Refusal::Version(form.version));
        }
        let head: Option<Head> = form.head.map(cbor::from_slice).transpose()?;
        if self.key.is_some() && form.key.is_some() && self.key != form.key {
            return Err(Refusal::OtherKey);
        }
        self.key = self.key.or(form.key);
        for Named(alias, signed) in form.names {
            let known = self.names.entry(alias).or_insert(signed);
            if known.seq < signed.seq {
                *known = signed;
            }
        }
        if self.rotation.map(|r| r.seq) < form.rotation.map(|r| r.seq) {
            self.rotation = form.rotation;
        }
        let order = |head: &Option<Head>| head.as_ref().map(|h| (h.size, h.ts));
        if order(&self.head) < order(&head) {
            self.head = head;
        }
        Ok(())
    }
}

/// A signature that is not released yet.
#[derive(Debug)]
#[must_use = "the signature is released by `stored`, after its change is stored"]
pub struct Pending<T> {
    change: Vec<u8>,
    signature: T,
}

impl<T> Pending<T> {
    /// The change of the signer's [`Memory`], to be stored durably before the signature leaves. [`Memory::learn`] reads it.
    #[must_use]
    pub fn change(&self) -> &[u8] {
        &self.change
    }

    /// Releases the signature. Call it after [`Pending::change`] is stored: a signer that forgets can be made to contradict itself.
    #[must_use]
    pub fn stored(self) -> T {
        self.signature
    }
}

/// A signer's key and memory.
#[derive(Debug)]
pub struct Signer {
    identity: Identity,
    memory: Memory,
}

impl Signer {
    /// A signer with everything that it ever signed.
    #[must_use]
    pub const fn new(identity: Identity, memory: Memory) -> Self {
        Self { identity, memory }
    }

    /// The signer's key.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        self.identity.public()
    }

    /// The signer's memory, to be stored whole from time to time.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Signs an alias record, which the ledger would accept next. The same record may be signed again.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub fn sign_record(
        &mut self,
        unix_ms: u64,
        ledger: &Ledger,
        candidate: &Finalized,
    ) -> Result<Pending<Signature>, Refusal> {
        self.check(ledger)?;
        let record = candidate.record();
        record.alias.check_forms()?;
        if record.ts.abs_diff(unix_ms) > CLOCK_MS {
            return Err(Refusal::Clock);
        }
        let (seq, digest) = (record.seq, candidate.digest());
        let of = Some((candidate.owner(), record.ts));
        let signed = Signed { seq, digest, of };
        let known = self.memory.names.get(&record.alias).copied();
        if !known.is_some_and(|known| known.is_same(&signed)) {
            if known.is_some_and(|known| known.seq == seq) {
                return Err(Refusal::Twice);
            }
            let last = ledger.last_seq(&record.alias);
            if let Some(known) = known.filter(|known| last < known.seq) {
                known.check(candidate)?;
            }
            let last = last.max(known.map_or(0, |known| known.seq));
            let next = last.saturating_add(1);
            if seq != next {
                return Err(Refusal::Seq { seq, next });
            }
        }
        ledger.check(candidate)?;
        let mut change = Memory::default();
        change.names.insert(record.alias.clone(), signed);
        self.memory.names.insert(record.alias.clone(), signed);
        Ok(Pending {
            change: change.to_bytes(),
            signature: candidate.signature(&self.identity),
        })
    }

    /// Signs a rotation from the signers in force. It signs one of each `seq`.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub fn sign_rotation(
        &mut self,
        ledger: &Ledger,
        rotation: &RotateMaintainers,
    ) -> Result<Pending<Signature>, Refusal> {
        self.check(ledger)?;
        let (seq, digest) = (rotation.seq(), rotation.hash());
        let next = ledger.rotations().saturating_add(1);
        if seq != next {
            return Err(Refusal::Seq { seq, next });
        }
        let from = ledger.signers().is_some_and(|now| rotation.is_from(now));
        if !from {
            return Err(Refusal::Record(Reject::RotationOrder));
        }
        rotation.signers()?;
        let of = None;
        let signed = Signed { seq, digest, of };
        let known = self.memory.rotation;
        if known.is_some_and(|known| known.seq >= seq && known != signed) {
            return Err(Refusal::Twice);
        }
        let change = Memory {
            rotation: Some(signed),
            ..Memory::default()
        };
        self.memory.rotation = Some(signed);
        Ok(Pending {
            change: change.to_bytes(),
            signature: rotation.signature(&self.identity),
        })
    }

    /// Signs a head of the ledger's records. It has to extend the last head that this signer signed; the consistency proof is made
    /// from the ledger's log and checked against the memory.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub fn sign_head(
        &mut self,
        unix_ms: u64,
        ledger: &Ledger,
        head: &Head,
    ) -> Result<Pending<Signature>, Refusal> {
        if ledger.split().is_some() || ledger.next_head(unix_ms).is_none() {
            return Err(Refusal::Contradiction);
        }
        let signers = ledger.signers_at(head.size).ok_or(Refusal::NotSigner)?;
        if signers.position(self.public().as_bytes()).is_none() {
            return Err(Refusal::NotSigner);
        }
        let last = self.memory.head;
        if head.ts.abs_diff(unix_ms) > CLOCK_MS || last.is_some_and(|last| head.ts < last.ts) {
            return Err(Refusal::Clock);
        }
        let log = ledger.log();
        let ours = log.root_at(head.size).is_ok_and(|root| root == head.root);
        if !ours || head.set != *signers.hash() || head.state.is_some() {
            return Err(Refusal::Head);
        }
        // A head that lost to another one of its size can never be final: it binds nobody any more.
        let lost = |last: &Head| {
            let other = log.root_at(last.size).is_ok_and(|root| root != last.root);
            last.size <= ledger.final_size() && other
        };
        if let Some(last) = last.filter(|last| !lost(last)) {
            let (from, to) = (last.size, head.size);
            let proof = log.consistency(from, to).map_err(|_| Refusal::Head)?;
            if !verify_consistency(from, to, &last.root, &head.root, &proof) {
                return Err(Refusal::Head);
            }
        }
        let change = Memory {
            head: Some(*head),
            ..Memory::default()
        };
        self.memory.head = Some(*head);
        Ok(Pending {
            change: change.to_bytes(),
            signature: SignedHead::new(*head).signature(DOMAIN, &self.identity),
        })
    }

    fn check(&self, ledger: &Ledger) -> Result<(), Refusal> {
        if ledger.split().is_some() {
            return Err(Refusal::Contradiction);
        }
        let signers = ledger.signers().ok_or(Refusal::NotSigner)?;
        match signers.position(self.public().as_bytes()) {
            Some(_) => Ok(()),
            None => Err(Refusal::NotSigner),
        }
    }
}

impl cbor::Encode for Signed {
    fn encode(&self, w: &mut cbor::Writer) {
        w.array(if self.of.is_some() { 4 } else { 2 });
        w.unsigned(self.seq);
        w.bytes(&self.digest);
        if let Some((node, ts)) = &self.of {
            node.encode(w);
            w.unsigned(*ts);
        }
    }
}

impl<'a> cbor::Decode<'a> for Signed {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        let n = r.array()?;
        if n != 2 && n != 4 {
            return Err(cbor::Error::Range("a seq and a digest, a node and a time"));
        }
        let mut signed = Self {
            seq: r.unsigned()?,
            digest: <[u8; 32]>::decode(r)?,
            of: None,
        };
        if n == 4 {
            signed.of = Some((NodeId::decode(r)?, r.unsigned()?));
        }
        r.leave();
        Ok(signed)
    }
}

impl cbor::Encode for Named {
    fn encode(&self, w: &mut cbor::Writer) {
        w.array(2);
        self.0.encode(w);
        self.1.encode(w);
    }

    fn size_hint(&self) -> usize {
        self.0.as_str().len() + 80
    }
}

impl<'a> cbor::Decode<'a> for Named {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        if r.array()? != 2 {
            return Err(cbor::Error::Range("an alias and its last record"));
        }
        let named = Self(Alias::decode(r)?, Signed::decode(r)?);
        r.leave();
        Ok(named)
    }
}
