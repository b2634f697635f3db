//! Snapshots: the final state in one piece, so that a restart need not verify every record again.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use betanet_keys::PublicKey;
use betanet_log::{Error as LogError, Log, SIGNERS_MAX, SignedHead, Signers, Split, Witness};
use betanet_wire::{NodeId, cbor, message};
use bytes::Bytes;

use super::heads::Transition;
use super::state::{EVIDENCE_MAX, Held, History, KEPT, Rivals, Standing, State, Turn};
use super::{Genesis, Ledger, ROTATIONS_MAX, RivalRotation};
use crate::Alias;
use crate::registry::MAINTAINERS_MAX;

const VERSION: u64 = 1;

/// Reason why a snapshot is not written or read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Records wait for a head; a snapshot holds final ones only.
    #[error("records wait for a head")]
    Waiting,
    /// The snapshot does not decode.
    #[error("the snapshot does not decode: {0}")]
    Form(#[from] cbor::Error),
    /// A snapshot of another version.
    #[error("a snapshot of version {0}, where 1 is known")]
    Version(u64),
    /// A snapshot of a network that began with other signers.
    #[error("the snapshot is of another network")]
    Network,
    /// The log or a head in it.
    #[error("the snapshot's log or head: {0}")]
    Log(#[from] LogError),
    /// Its head is not of its log, or its state has no signers.
    #[error("the parts of the snapshot do not belong together")]
    Parts,
}

message! {
    struct Form<'a> {
        req "v" version: u64,
        req "log" log: &'a [u8],
        req "heads" heads: Pair<'a>,
        opt "lists" lists: Vec<u64>,
        req "names" names: &'a [u8],
        req "turns" turns: Vec<TurnForm>,
        req "rivals" rivals: Vec<Rivals>,
        req "genesis" genesis: [u8; 32],
        req "settled" settled: u64,
        opt "conflict" conflict: u64,
        req "registry" registry: &'a [u8],
        req "rotations" rotations: Vec<RotationForm>,
        req "discounted" discounted: Vec<[u8; 32]>,
        opt "maintainers" maintainers: Vec<[u8; 32]>,
        req "transitions" transitions: Vec<TransitionForm<'a>>,
    }
}

impl Ledger {
    /// Writes a snapshot: DET-CBOR, version 1, about 200 bytes a name and 32 a record.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Waiting`].
    pub fn snapshot(&self) -> Result<Vec<u8>, SnapshotError> {
        if !self.waiting.is_empty() {
            return Err(SnapshotError::Waiting);
        }
        let head = self.head().map(SignedHead::to_bytes);
        let split = self.split().map(Split::to_bytes);
        let bytes = |head: &Option<SignedHead>| head.as_ref().map(SignedHead::to_bytes);
        let of = |(turn, t): (&u64, &Transition)| (*turn, [bytes(&t.before), bytes(&t.after)]);
        let transitions: Vec<_> = self.transitions.iter().map(of).collect();
        let key = |k: &PublicKey| *k.as_bytes();
        let form = Form {
            version: VERSION,
            log: &self.log.snapshot(self.fixed)?,
            heads: Pair(head.as_deref(), split.as_deref()),
            lists: (!self.state.lists.is_empty()).then(|| self.state.lists.clone()),
            names: &names(&self.state.names),
            turns: self.state.turns.iter().map(TurnForm::of).collect(),
            rivals: self.state.rivals.clone(),
            genesis: self.genesis,
            settled: self.state.settled,
            conflict: self.conflict,
            registry: &registry(&self.state.registry),
            rotations: self.rotations.iter().cloned().map(RotationForm).collect(),
            discounted: self.state.discounted.iter().copied().collect(),
            maintainers: self
                .state
                .maintainers
                .as_ref()
                .map(|m| m.iter().map(key).collect()),
            transitions: transitions
                .iter()
                .map(|(turn, [a, b])| TransitionForm(*turn, Pair(a.as_deref(), b.as_deref())))
                .collect(),
        };
        Ok(cbor::to_vec(&form))
    }

    /// Reads a snapshot of this node's own. It computes the log's upper levels and compares the root; signatures were verified
    /// before it was written.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`].
    pub fn from_snapshot(genesis: &Genesis, bytes: &[u8]) -> Result<Self, SnapshotError> {
        let form: Form<'_> = cbor::from_slice(bytes)?;
        if form.version != VERSION {
            return Err(SnapshotError::Version(form.version));
        }
        if form.genesis != *genesis.signers.hash() {
            return Err(SnapshotError::Network);
        }
        let head = |bytes: Option<&[u8]>| bytes.map(SignedHead::from_bytes).transpose();
        let log = Log::from_snapshot(form.log)?;
        let newest = head(form.heads.0)?;
        let split = form.heads.1.map(Split::from_bytes).transpose()?;
        if let Some(head) = &newest
            && log.root_at(head.head().size)? != head.head().root
        {
            return Err(SnapshotError::Parts);
        }
        let turns: Result<Vec<Turn>, SnapshotError> =
            form.turns.iter().map(TurnForm::turn).collect();
        let turns = turns?;
        if turns.is_empty() || form.rivals.len() > EVIDENCE_MAX {
            return Err(SnapshotError::Parts);
        }
        let maintainers = form.maintainers.as_deref().map(keys).transpose()?;
        let state = State {
            names: read_names(form.names)?,
            registry: read_registry(form.registry)?,
            turns,
            discounted: form.discounted.into_iter().collect::<BTreeSet<_>>(),
            maintainers,
            lists: form.lists.unwrap_or_default(),
            settled: form.settled,
            rivals: form.rivals,
        };
        let mut transitions = BTreeMap::new();
        for TransitionForm(turn, Pair(before, after)) in form.transitions {
            let (before, after) = (head(before)?, head(after)?);
            transitions.insert(turn, Transition { before, after });
        }
        let rotations = form.rotations.into_iter().map(|r| r.0);
        Ok(Self {
            genesis: form.genesis,
            fixed: log.size(),
            log,
            state,
            waiting: Vec::new(),
            waiting_bytes: 0,
            shadow: BTreeMap::new(),
            follows: None,
            witness: Witness::resume(newest, split.map(Box::new)),
            transitions,
            conflict: form.conflict,
            rotations: rotations.take(ROTATIONS_MAX).collect(),
        })
    }
}

/// The first maintainers, of a network file or a snapshot.
fn keys(bytes: &[[u8; 32]]) -> Result<Vec<PublicKey>, SnapshotError> {
    if bytes.len() > MAINTAINERS_MAX {
        return Err(SnapshotError::Parts);
    }
    let keys: Result<Vec<PublicKey>, _> = bytes.iter().map(PublicKey::from_bytes).collect();
    keys.map_err(|_| SnapshotError::Parts)
}

/// `[[alias, rival seq or null, rival index or null, [[index, seq, ts, node, retired, digest, signers, turn]…]]…]`
fn names(names: &BTreeMap<Alias, History>) -> Vec<u8> {
    let mut w = cbor::Writer::with_capacity(names.len().saturating_mul(200));
    w.array(names.len());
    for (alias, history) in names {
        w.array(4);
        w.text(alias.as_str());
        optional(&mut w, history.rival.map(|(seq, _)| seq));
        optional(&mut w, history.rival.map(|(_, index)| index));
        w.array(history.held.len());
        for held in &history.held {
            w.array(8);
            w.unsigned(held.index);
            w.unsigned(held.seq);
            w.unsigned(held.ts);
            w.bytes(&held.node.0);
            w.boolean(held.retired);
            w.bytes(&held.digest);
            w.unsigned(held.signers);
            w.unsigned(held.turn);
        }
    }
    w.into_vec()
}

fn read_names(bytes: &[u8]) -> Result<BTreeMap<Alias, History>, SnapshotError> {
    let mut r = cbor::Reader::new(bytes);
    let n = r.array()?;
    let mut names: Vec<(Alias, History)> = Vec::with_capacity(n.min(bytes.len() / 64));
    for _ in 0..n {
        entries(&mut r, 4)?;
        let alias = <Alias as cbor::Decode<'_>>::decode(&mut r)?;
        let seq = read_optional(&mut r)?;
        let index = read_optional(&mut r)?;
        let kept = r.array()?;
        if kept > KEPT || names.last().is_some_and(|(last, _)| *last >= alias) {
            return Err(SnapshotError::Parts);
        }
        let mut held = Vec::with_capacity(kept);
        for _ in 0..kept {
            entries(&mut r, 8)?;
            held.push(Held {
                index: r.unsigned()?,
                seq: r.unsigned()?,
                ts: r.unsigned()?,
                node: <NodeId as cbor::Decode<'_>>::decode(&mut r)?,
                retired: r.boolean()?,
                digest: <[u8; 32] as cbor::Decode<'_>>::decode(&mut r)?,
                signers: r.unsigned()?,
                turn: r.unsigned()?,
            });
            r.leave();
        }
        r.leave();
        r.leave();
        let rival = seq.zip(index);
        names.push((alias, History { held, rival }));
    }
    r.leave();
    r.end()?;
    Ok(names.into_iter().collect())
}

/// `[[type, key, index, seq, digest, rival or null]…]`
fn registry(registry: &BTreeMap<(String, Vec<u8>), Standing>) -> Vec<u8> {
    let mut w = cbor::Writer::with_capacity(registry.len().saturating_mul(100));
    w.array(registry.len());
    for ((ty, key), standing) in registry {
        w.array(6);
        w.text(ty);
        w.bytes(key);
        w.unsigned(standing.index);
        w.unsigned(standing.seq);
        w.bytes(&standing.digest);
        optional(&mut w, standing.rival);
    }
    w.into_vec()
}

fn read_registry(bytes: &[u8]) -> Result<BTreeMap<(String, Vec<u8>), Standing>, SnapshotError> {
    let mut r = cbor::Reader::new(bytes);
    let mut registry = BTreeMap::new();
    for _ in 0..r.array()? {
        entries(&mut r, 6)?;
        let subject = (r.text()?.into(), r.bytes()?.to_vec());
        let standing = Standing {
            index: r.unsigned()?,
            seq: r.unsigned()?,
            digest: <[u8; 32] as cbor::Decode<'_>>::decode(&mut r)?,
            rival: read_optional(&mut r)?,
        };
        r.leave();
        if registry
            .last_key_value()
            .is_some_and(|(last, _)| *last >= subject)
        {
            return Err(SnapshotError::Parts);
        }
        registry.insert(subject, standing);
    }
    r.leave();
    r.end()?;
    Ok(registry)
}

fn entries(r: &mut cbor::Reader<'_>, n: usize) -> Result<(), cbor::Error> {
    match r.array()? == n {
        true => Ok(()),
        false => Err(cbor::Error::Range("a list of known length")),
    }
}

fn optional(w: &mut cbor::Writer, n: Option<u64>) {
    match n {
        Some(n) => w.unsigned(n),
        None => w.null(),
    }
}

fn read_optional(r: &mut cbor::Reader<'_>) -> Result<Option<u64>, cbor::Error> {
    match r.kind()? {
        cbor::Kind::Null => r.null().map(|()| None),
        _ => r.unsigned().map(Some),
    }
}

impl cbor::Encode for Rivals {
    fn encode(&self, w: &mut cbor::Writer) {
        w.array(2);
        w.unsigned(self.first);
        w.unsigned(self.second);
    }
}

impl<'a> cbor::Decode<'a> for Rivals {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        entries(r, 2)?;
        let rivals = Self {
            first: r.unsigned()?,
            second: r.unsigned()?,
        };
        r.leave();
        Ok(rivals)
    }
}

/// Two byte strings, of which each may be missing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Pair<'a>(Option<&'a [u8]>, Option<&'a [u8]>);

impl cbor::Encode for Pair<'_> {
    fn encode(&self, w: &mut cbor::Writer) {
        w.array(2);
        for bytes in [self.0, self.1] {
            match bytes {
                Some(bytes) => w.bytes(bytes),
                None => w.null(),
            }
        }
    }
}

impl<'a> cbor::Decode<'a> for Pair<'a> {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        entries(r, 2)?;
        let mut one = || match r.kind()? {
            cbor::Kind::Null => r.null().map(|()| None),
            _ => r.bytes().map(Some),
        };
        let pair = Self(one()?, one()?);
        r.leave();
        Ok(pair)
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct TransitionForm<'a>(u64, Pair<'a>);

impl cbor::Encode for TransitionForm<'_> {
    fn encode(&self, w: &mut cbor::Writer) {
        w.array(2);
        w.unsigned(self.0);
        self.1.encode(w);
    }
}

impl<'a> cbor::Decode<'a> for TransitionForm<'a> {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        entries(r, 2)?;
        let form = Self(r.unsigned()?, Pair::decode(r)?);
        r.leave();
        Ok(form)
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct TurnForm {
    from: u64,
    seq: u64,
    rotation: [u8; 32],
    keys: Vec<[u8; 32]>,
}

impl TurnForm {
    fn of(turn: &Turn) -> Self {
        Self {
            from: turn.from,
            seq: turn.seq,
            rotation: turn.rotation,
            keys: turn.signers.keys().iter().map(|k| *k.as_bytes()).collect(),
        }
    }

    fn turn(&self) -> Result<Turn, SnapshotError> {
        Ok(Turn {
            from: self.from,
            seq: self.seq,
            rotation: self.rotation,
            signers: Signers::from_bytes(&self.keys)?,
        })
    }
}

impl cbor::Encode for TurnForm {
    fn encode(&self, w: &mut cbor::Writer) {
        w.array(4);
        w.unsigned(self.from);
        w.unsigned(self.seq);
        self.rotation.encode(w);
        self.keys.encode(w);
    }
}

impl<'a> cbor::Decode<'a> for TurnForm {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        entries(r, 4)?;
        let form = Self {
            from: r.unsigned()?,
            seq: r.unsigned()?,
            rotation: <[u8; 32]>::decode(r)?,
            keys: Vec::decode(r)?,
        };
        r.leave();
        match form.keys.len() <= SIGNERS_MAX {
            true => Ok(form),
            false => Err(cbor::Error::Range("at most 64 signers")),
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct RotationForm(RivalRotation);

impl cbor::Encode for RotationForm {
    fn encode(&self, w: &mut cbor::Writer) {
        w.array(2);
        optional(w, self.0.in_force);
        w.array(self.0.rotations.len());
        for bytes in &self.0.rotations {
            w.bytes(bytes);
        }
    }
}

impl<'a> cbor::Decode<'a> for RotationForm {
    fn decode(r: &mut cbor::Reader<'a>) -> Result<Self, cbor::Error> {
        entries(r, 2)?;
        let in_force = read_optional(r)?;
        let mut rotations = Vec::new();
        for _ in 0..r.array()? {
            rotations.push(Bytes::copy_from_slice(r.bytes()?));
        }
        r.leave();
        r.leave();
        Ok(Self(RivalRotation {
            in_force,
            rotations,
        }))
    }
}
