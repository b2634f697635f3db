//! The state that the records give, one after another.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use betanet_keys::{Common, Envelope, Maintainers, PublicKey, hash};
use betanet_log::{Hash, Log, Memory, SignedHead, Signers};
use betanet_wire::{NodeId, cbor};

use crate::entry::{Entry, Verified};
use crate::fault::DOMAIN;
use crate::ledger::Effect;
use crate::registry::{ADVANCE, ADVANCE_AFTER_MS, Advance, KEY_MAX, MAINTAINERS, new_maintainers};
use crate::rotation::SIGNERS_MIN;
use crate::{Alias, Finalized, LIFE_MS, Reject, RotateMaintainers};

/// Records that are kept of one alias: the latest and five before it.
pub(crate) const KEPT: usize = 6;
/// Pairs of contradicting records that are remembered.
pub const EVIDENCE_MAX: usize = 1024;

/// A record of an alias, as the ledger holds it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Held {
    /// Index in the ledger.
    pub index: u64,
    /// Sequence number.
    pub seq: u64,
    /// UNIX milliseconds of the record.
    pub ts: u64,
    /// The node; of a record that retires the alias, the node that it was bound to.
    pub node: NodeId,
    /// Whether the record retires the alias.
    pub retired: bool,
    /// [`Finalized::digest`].
    pub digest: Hash,
    /// Bit `i` is set where the signer at position `i` signed.
    pub(crate) signers: u64,
    /// Number of the set of signers that made it final.
    pub(crate) turn: u64,
}

impl Held {
    /// UNIX milliseconds at which the record expires.
    #[must_use]
    pub const fn expires(&self) -> u64 {
        self.ts.saturating_add(LIFE_MS)
    }
}

/// Records of an alias.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct History {
    /// Newest first, at most [`KEPT`].
    pub(crate) held: Vec<Held>,
    /// `seq` and index of the last record that contradicts one of these.
    pub(crate) rival: Option<(u64, u64)>,
}

/// A registry record that stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Standing {
    /// Index in the ledger.
    pub index: u64,
    /// Sequence number.
    pub seq: u64,
    /// SHA-256 of the record's bytes, without signatures.
    pub digest: Hash,
    /// Index of a record with the same `seq` and other bytes, if there is one.
    pub rival: Option<u64>,
}

/// Type and key of a registry record.
pub(crate) type Subject = (String, Vec<u8>);

/// A set of signers, from when it is in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Turn {
    /// The set signs the heads of at least so many records.
    pub(crate) from: u64,
    /// `seq` of the rotation; 0 for the first set.
    pub(crate) seq: u64,
    /// [`RotateMaintainers::hash`]; zeros for the first set and for that of an advance.
    pub(crate) rotation: Hash,
    pub(crate) signers: Signers,
}

/// Two records that contradict each other. The first stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rivals {
    /// Index of the record that stands.
    pub first: u64,
    /// Index of the other.
    pub second: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) names: BTreeMap<Alias, History>,
    pub(crate) registry: BTreeMap<Subject, Standing>,
    /// At least one; the last is in force.
    pub(crate) turns: Vec<Turn>,
    /// Signers who made two records of one `seq` final. They count for nothing until the next rotation.
    pub(crate) discounted: BTreeSet<[u8; 32]>,
    pub(crate) maintainers: Option<Vec<PublicKey>>,
    /// Indices of the records that put other maintainers in force.
    pub(crate) lists: Vec<u64>,
    /// Number of records up to the last that is no emergency advance.
    pub(crate) settled: u64,
    pub(crate) rivals: Vec<Rivals>,
}

/// The consequence of one record, decided before anything changes.
pub(crate) struct Change {
    effect: Effect,
    name: Option<(Alias, Held)>,
    rival: Option<(Alias, Held)>,
    subject: Option<(Subject, Standing)>,
    turn: Option<Turn>,
    maintainers: Option<Vec<PublicKey>>,
    discount: Vec<[u8; 32]>,
    first: Option<u64>,
    advance: bool,
}

impl Change {
    const fn new(effect: Effect) -> Self {
        Self {
            effect,
            name: None,
            rival: None,
            subject: None,
            turn: None,
            maintainers: None,
            discount: Vec::new(),
            first: None,
            advance: false,
        }
    }
}

/// Fields of the state before one record, to take the record back.
#[derive(Clone, Debug)]
pub(crate) struct Undo {
    pub(crate) name: Option<(Alias, Option<History>)>,
    pub(crate) subject: Option<(Subject, Option<Standing>)>,
    turned: bool,
    maintainers: Option<Option<Vec<PublicKey>>>,
    discounted: Option<BTreeSet<[u8; 32]>>,
    settled: u64,
    rivals: usize,
}

impl State {
    pub(crate) fn new(signers: Signers, maintainers: Option<Vec<PublicKey>>) -> Self {
        let first = Turn {
            from: 0,
            seq: 0,
            rotation: [0; 32],
            signers,
        };
        Self {
            names: BTreeMap::new(),
            registry: BTreeMap::new(),
            turns: Vec::from([first]),
            discounted: BTreeSet::new(),
            maintainers,
            lists: Vec::new(),
            settled: 0,
            rivals: Vec::new(),
        }
    }

    /// Number and set of the signers in force.
    pub(crate) fn current(&self) -> Option<(u64, &Turn)> {
        let turn = self.turns.last()?;
        Some((self.turns.len() as u64 - 1, turn))
    }

    /// The set that signs heads of `size` records.
    pub(crate) fn signers_at(&self, size: u64) -> Option<&Signers> {
        let turn = self.turns.iter().rev().find(|t| t.from <= size)?;
        Some(&turn.signers)
    }

    /// A set that was ever in force, by its hash.
    pub(crate) fn signers_named(&self, set: &Hash) -> Option<&Signers> {
        let turn = self.turns.iter().rev().find(|t| t.signers.hash() == set)?;
        Some(&turn.signers)
    }

    /// Decides what a record at `index` changes. `log` holds at least the records before it.
    pub(crate) fn decide(
        &self,
        index: u64,
        verified: &Verified,
        log: &Log<Memory>,
    ) -> Result<Change, Reject> {
        match verified.entry()? {
            Entry::Alias(finalized) => self.decide_alias(index, verified, finalized),
            Entry::Rotation(rotation) => self.decide_rotation(index, rotation),
            Entry::Registry(envelope) => self.decide_registry(index, envelope, log),
        }
    }

    fn decide_alias(&self, index: u64, v: &Verified, f: &Finalized) -> Result<Change, Reject> {
        let record = f.record();
        let latest = self.names.get(&record.alias);
        let same = |h: &History| h.held.iter().find(|h| h.seq == record.seq).copied();
        let before = latest.and_then(|h| h.held.first());
        let first = match before {
            Some(last) if record.seq <= last.seq => {
                let first = latest
                    .and_then(same)
                    .filter(|first| first.digest != f.digest());
                let (seq, last) = (record.seq, last.seq);
                Some(first.ok_or(Reject::SeqReplay { seq, last })?)
            }
            _ => None,
        };
        if !v.is_signed_by_its_nodes() {
            return Err(Reject::Signature);
        }
        let (number, turn) = self.current().ok_or(Reject::Signers)?;
        let signed = v.signers(&turn.signers, f);
        let needed = turn.signers.threshold();
        let key = |at: &usize| turn.signers.keys().get(*at).map(|k| *k.as_bytes());
        if let Some(first) = first {
            let signed_by = signed.len();
            if signed_by < needed {
                let signed = signed_by;
                return Err(Reject::NotFinal { signed, needed });
            }
            let mut change = Change::new(Effect::Evidence);
            if first.turn == number {
                let both = signed.iter().filter(|at| first.signers & bit(**at) != 0);
                change.discount = both.filter_map(key).collect();
            }
            change.first = Some(first.index);
            let held = self.held(index, f, &signed);
            change.rival = Some((record.alias.clone(), held));
            return Ok(change);
        }
        let counts = |at: &&usize| key(at).is_some_and(|k| !self.discounted.contains(&k));
        let count = signed.iter().filter(counts).count();
        if count < needed {
            let signed = count;
            return Err(Reject::NotFinal { signed, needed });
        }
        self.bind(index, f, &signed)
    }

    /// Decides for a record as if it were final.
    pub(crate) fn check(&self, index: u64, f: &Finalized) -> Result<(), Reject> {
        let latest = self.names.get(&f.record().alias);
        let (seq, last) = (f.record().seq, latest.and_then(|h| h.held.first()));
        if let Some(last) = last.map(|last| last.seq).filter(|last| seq <= *last) {
            return Err(Reject::SeqReplay { seq, last });
        }
        if !f.is_signed_by_its_nodes() {
            return Err(Reject::Signature);
        }
        self.bind(index, f, &[]).map(drop)
    }

    pub(super) fn held(&self, index: u64, f: &Finalized, signed: &[usize]) -> Held {
        let record = f.record();
        Held {
            index,
            seq: record.seq,
            ts: record.ts,
            node: f.owner(),
            retired: record.is_retirement(),
            digest: f.digest(),
            signers: signed.iter().fold(0, |mask, at| mask | bit(*at)),
            turn: self.turns.len() as u64 - 1,
        }
    }

    /// The change by a final record, by whom the alias was bound before. Also decides for emergency advances.
    fn bind(&self, index: u64, f: &Finalized, signed: &[usize]) -> Result<Change, Reject> {
        let record = f.record();
        let held = self.held(index, f, signed);
        let before = self.names.get(&record.alias).and_then(|h| h.held.first());
        // An earlier record that the new one outlives by its own time binds nobody any more.
        let live = before.filter(|before| record.ts < before.expires());
        let effect = match live {
            None if record.is_retirement() => return Err(Reject::NotBound),
            None => Effect::Bound,
            Some(before) if record.is_retirement() => match () {
                () if before.retired => return Err(Reject::NotBound),
                () if before.node != held.node => return Err(Reject::Signature),
                () => Effect::Retired,
            },
            Some(before) if before.node == held.node => Effect::Renewed,
            Some(before) if f.giver() == Some(before.node) => Effect::Moved,
            Some(_) => return Err(Reject::Bound),
        };
        let mut change = Change::new(effect);
        change.name = Some((record.alias.clone(), held));
        Ok(change)
    }

    fn decide_rotation(&self, index: u64, r: &RotateMaintainers) -> Result<Change, Reject> {
        let (_, turn) = self.current().ok_or(Reject::Signers)?;
        if r.seq() <= turn.seq {
            return Err(match self.contradicts(r)? {
                true => Reject::RotationConflict,
                false => Reject::RotationOrder,
            });
        }
        if r.seq() != turn.seq + 1 || !r.is_from(&turn.signers) {
            return Err(Reject::RotationOrder);
        }
        self.check_rotation(r, &turn.signers, &self.discounted)?;
        let mut change = Change::new(Effect::Rotated);
        change.turn = Some(Turn {
            from: index + 1,
            seq: r.seq(),
            rotation: r.hash(),
            signers: r.signers()?,
        });
        Ok(change)
    }

    /// Checks the signatures of a rotation from this set.
    pub(crate) fn check_rotation(
        &self,
        r: &RotateMaintainers,
        from: &Signers,
        discounted: &BTreeSet<[u8; 32]>,
    ) -> Result<(), Reject> {
        let counts = |at: &&usize| {
            let key = from.keys().get(**at);
            key.is_some_and(|k| !discounted.contains(k.as_bytes()))
        };
        let signed = r.signed_by(from)?.iter().filter(counts).count();
        let needed = from.threshold();
        match signed >= needed {
            true => Ok(()),
            false => Err(Reject::NotFinal { signed, needed }),
        }
    }

    /// Whether a valid rotation is a rival of one that is in force.
    fn contradicts(&self, r: &RotateMaintainers) -> Result<bool, Reject> {
        let number = self.turns.iter().position(|t| t.seq == r.seq());
        let Some((before, turn)) =
            number.and_then(|n| Some((self.turns.get(n.checked_sub(1)?)?, self.turns.get(n)?)))
        else {
            return Ok(false);
        };
        if turn.rotation == r.hash() || !r.is_from(&before.signers) {
            return Ok(false);
        }
        self.check_rotation(r, &before.signers, &BTreeSet::new())?;
        Ok(true)
    }

    fn decide_registry(
        &self,
        index: u64,
        envelope: &Envelope,
        log: &Log<Memory>,
    ) -> Result<Change, Reject> {
        let common: Common<'_> = cbor::from_slice(envelope.record())?;
        let longest = common.key.len().max(common.ty.len());
        if longest > KEY_MAX {
            return Err(Reject::TooMany(longest, KEY_MAX));
        }
        let subject: Subject = (common.ty.into(), common.key.to_vec());
        let standing = self.registry.get(&subject).copied();
        let digest = hash(&[envelope.record()]);
        let known = |s: &Standing| common.seq < s.seq || s.digest == digest;
        if standing.as_ref().is_some_and(known) {
            return Err(Reject::RegistrySeq);
        }
        let maintainers = self.maintainers.as_deref().ok_or(Reject::NoMaintainers)?;
        envelope.check(&Maintainers::new(maintainers))?;
        if let Some(first) = standing.filter(|s| s.seq == common.seq) {
            let mut change = Change::new(Effect::Evidence);
            change.first = Some(first.index);
            let rival = Some(index);
            change.subject = Some((subject, Standing { rival, ..first }));
            return Ok(change);
        }
        let mut change = match common.ty {
            ADVANCE => self.decide_advance(index, &common, envelope, log)?,
            MAINTAINERS => {
                let mut change = Change::new(Effect::Maintainers);
                change.maintainers = Some(new_maintainers(envelope.record())?);
                change
            }
            _ => Change::new(Effect::Registered),
        };
        let standing = Standing {
            index,
            seq: common.seq,
            digest,
            rival: None,
        };
        change.subject = Some((subject, standing));
        Ok(change)
    }

    fn decide_advance(
        &self,
        index: u64,
        common: &Common<'_>,
        envelope: &Envelope,
        log: &Log<Memory>,
    ) -> Result<Change, Reject> {
        let form: Advance<'_> = cbor::from_slice(envelope.record())?;
        let head = SignedHead::from_bytes(form.head).map_err(|_| Reject::Advance)?;
        let (size, ts) = (head.head().size, head.head().ts);
        // Nothing but advances stands behind the last final head.
        let last = (self.settled..=index).contains(&size);
        let ours = log.root_at(size).is_ok_and(|root| root == head.head().root);
        let signers = self.signers_at(size).ok_or(Reject::Advance)?;
        let old = form.ts >= ts.saturating_add(ADVANCE_AFTER_MS);
        if !last || !ours || !old || head.check(DOMAIN, signers).is_err() {
            return Err(Reject::Advance);
        }
        let mut change = match (&form.new, form.rec, &form.owner) {
            (Some(new), None, None) => {
                let (_, turn) = self.current().ok_or(Reject::Signers)?;
                let signers = Signers::from_bytes(new).map_err(|_| Reject::Signers)?;
                if signers.keys().len() < SIGNERS_MIN || common.key != turn.signers.hash() {
                    return Err(Reject::Signers);
                }
                let mut change = Change::new(Effect::Rotated);
                change.turn = Some(Turn {
                    from: index + 1,
                    seq: turn.seq + 1,
                    rotation: [0; 32],
                    signers,
                });
                change
            }
            (None, Some(rec), Some(owner)) => {
                let owner = PublicKey::from_bytes(owner).map_err(|_| Reject::Signature)?;
                let finalized = Finalized::with_bytes(rec, &owner)?;
                if common.key != finalized.record().alias.as_str().as_bytes() {
                    return Err(Reject::Advance);
                }
                self.check(index, &finalized)?;
                self.bind(index, &finalized, &[])?
            }
            _ => return Err(Reject::Advance),
        };
        change.advance = true;
        Ok(change)
    }

    /// Makes a change, and returns its effect and how to take it back.
    pub(crate) fn commit(&mut self, index: u64, change: Change) -> (Effect, Undo) {
        let mut undo = self.nothing(index, change.advance);
        if let Some((alias, held)) = change.name {
            let history = self.names.get(&alias).cloned();
            let entry = self.names.entry(alias.clone()).or_default();
            // Most aliases have one record: no room is taken for more.
            if entry.held.is_empty() {
                entry.held.reserve_exact(1);
            }
            entry.held.insert(0, held);
            entry.held.truncate(KEPT);
            undo.name = Some((alias, history));
        }
        if let Some((alias, held)) = change.rival {
            let history = self.names.get(&alias).cloned();
            if let Some(entry) = self.names.get_mut(&alias) {
                entry.rival = Some((held.seq, held.index));
            }
            undo.name = Some((alias, history));
        }
        if let Some((subject, standing)) = change.subject {
            let before = self.registry.insert(subject.clone(), standing);
            undo.subject = Some((subject, before));
        }
        if let Some(turn) = change.turn {
            undo.turned = true;
            undo.discounted = Some(core::mem::take(&mut self.discounted));
            self.turns.push(turn);
        }
        if let Some(maintainers) = change.maintainers {
            undo.maintainers = Some(self.maintainers.replace(maintainers));
            self.lists.push(index);
        }
        if !change.discount.is_empty() {
            undo.discounted = Some(self.discounted.clone());
            self.discounted.extend(change.discount);
        }
        if let Some(first) = change.first
            && self.rivals.len() < EVIDENCE_MAX
        {
            let second = index;
            self.rivals.push(Rivals { first, second });
        }
        (change.effect, undo)
    }

    /// Passes over a record that changes nothing.
    pub(crate) fn nothing(&mut self, index: u64, advance: bool) -> Undo {
        let settled = self.settled;
        if !advance {
            self.settled = index + 1;
        }
        Undo {
            name: None,
            subject: None,
            turned: false,
            maintainers: None,
            discounted: None,
            settled,
            rivals: self.rivals.len(),
        }
    }

    /// Takes the newest record back.
    pub(crate) fn revert(&mut self, undo: Undo) {
        if let Some((alias, history)) = undo.name {
            match history {
                Some(history) => drop(self.names.insert(alias, history)),
                None => drop(self.names.remove(&alias)),
            }
        }
        if let Some((subject, standing)) = undo.subject {
            match standing {
                Some(standing) => drop(self.registry.insert(subject, standing)),
                None => drop(self.registry.remove(&subject)),
            }
        }
        if undo.turned {
            self.turns.pop();
        }
        if let Some(maintainers) = undo.maintainers {
            self.maintainers = maintainers;
            self.lists.pop();
        }
        if let Some(discounted) = undo.discounted {
            self.discounted = discounted;
        }
        self.settled = undo.settled;
        self.rivals.truncate(undo.rivals);
    }
}

const fn bit(at: usize) -> u64 {
    if at < 64 { 1 << at } else { 0 }
}
