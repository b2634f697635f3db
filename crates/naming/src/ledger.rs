//! The ledger of names: records in order, the state that they give, and the heads that make them final.

mod heads;
mod offline;
mod replay;
mod snapshot;
mod state;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::hash::{Hash as StdHash, Hasher};
use core::ops::Bound;

use betanet_keys::{Common, PublicKey};
use betanet_log::{Hash, Head, Log, Memory, SignedHead, Signers, Split, Witness};
use betanet_machine::Fingerprint;
use betanet_wire::{NodeId, cbor};
use bytes::Bytes;

use crate::entry::{Entry, Verified};
use crate::registry::{ADVANCE, Advance};
use crate::rotation::SIGNERS_MIN;
use crate::{Alias, Finalized, Proof, Reject};

pub use heads::Accepted;
pub use snapshot::SnapshotError;
pub use state::{EVIDENCE_MAX, Held, Rivals, Standing};

use heads::Transition;
use state::{History, State, Undo};

/// Difference between a record's or head's time and a signer's clock: 10 minutes.
pub const CLOCK_MS: u64 = 10 * 60 * 1000;
/// Most records that wait for a head.
pub const WAITING_MAX: usize = 4096;
/// Most bytes of records that wait for a head. They become final together, and a journal takes at most 16 MiB at once.
pub const WAITING_BYTES: usize = 12 << 20;
/// Rotations that contradict others, and are kept.
pub const ROTATIONS_MAX: usize = 16;

/// The keys that a network begins with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Genesis {
    /// The first signers, three or more.
    pub signers: Signers,
    /// The first maintainers of registries; empty where the network has none.
    pub maintainers: Vec<PublicKey>,
}

/// The effect of a record that counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Effect {
    /// An alias is bound, which was free or had expired.
    Bound,
    /// An alias has a new record of its node.
    Renewed,
    /// An alias moved to another node.
    Moved,
    /// An alias was retired.
    Retired,
    /// Other signers are in force.
    Rotated,
    /// Other maintainers are in force.
    Maintainers,
    /// A registry record stands.
    Registered,
    /// The record contradicts an earlier one, which stands. Both are evidence.
    Evidence,
}

/// Condition of an alias.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Status {
    /// No record.
    Unknown,
    /// The alias belongs to a node.
    Bound,
    /// The latest record is older than 365 days: anybody may bind the alias.
    Expired,
    /// The node gave the alias up.
    Retired,
    /// Signers made two records of the latest `seq` final. The one of the lower index stands.
    Conflicted,
}

/// The answer about an alias.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Resolution {
    /// Condition of the alias.
    pub status: Status,
    /// The latest record that is final.
    pub latest: Option<Held>,
}

impl Resolution {
    /// The node that the alias leads to.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        let held = self.latest.filter(|held| !held.retired)?;
        matches!(self.status, Status::Bound | Status::Conflicted).then_some(held.node)
    }
}

/// A rotation that contradicts another.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct RivalRotation {
    /// Index of the rotation that is in force; `None` if neither is.
    pub in_force: Option<u64>,
    /// The rotations' bytes. The one in force is in the ledger, and not here.
    pub rotations: Vec<Bytes>,
}

/// A record that no head covers yet.
#[derive(Clone, Debug)]
struct Waiting {
    bytes: Bytes,
    undo: Undo,
}

/// The ledger, without the records' bytes: the caller keeps those by index.
///
/// Records act in order, and the same records give the same state everywhere. A record is final once a head covers it that enough
/// signers signed. Answers about names come from final records only.
#[derive(Clone, Debug)]
pub struct Ledger {
    genesis: Hash,
    log: Log<Memory>,
    state: State,
    /// Number of final records.
    fixed: u64,
    waiting: Vec<Waiting>,
    /// Bytes of the records that wait.
    waiting_bytes: usize,
    /// Final histories of aliases that waiting records changed.
    shadow: BTreeMap<Alias, Option<History>>,
    /// The head that the waiting records came with, where they are not this node's own.
    follows: Option<Hash>,
    witness: Witness,
    /// By number of the set that signed the second of the two heads.
    transitions: BTreeMap<u64, Transition>,
    /// Rotations of this `seq` are not taken until a head covers one.
    conflict: Option<u64>,
    rotations: Vec<RivalRotation>,
}

impl Ledger {
    /// An empty ledger.
    ///
    /// # Errors
    ///
    /// [`Reject::Signers`] for fewer than three signers.
    pub fn new(genesis: &Genesis) -> Result<Self, Reject> {
        if genesis.signers.keys().len() < SIGNERS_MIN {
            return Err(Reject::Signers);
        }
        let maintainers = (!genesis.maintainers.is_empty()).then(|| genesis.maintainers.clone());
        Ok(Self {
            genesis: *genesis.signers.hash(),
            log: Log::new(Memory::default()),
            state: State::new(genesis.signers.clone(), maintainers),
            fixed: 0,
            waiting: Vec::new(),
            waiting_bytes: 0,
            shadow: BTreeMap::new(),
            follows: None,
            witness: Witness::default(),
            transitions: BTreeMap::new(),
            conflict: None,
            rotations: Vec::new(),
        })
    }

    /// Takes a record that somebody submits, and appends it if it counts. It is final once a head covers it. Returns its index and
    /// effect. `unix_ms` is this node's clock.
    ///
    /// # Errors
    ///
    /// [`Reject`], whose [`Reject::code`] answers the submitter. The ledger is unchanged, except for
    /// [`Reject::RotationConflict`]: the rotation becomes evidence, and a rival that is not final yet is taken back with what
    /// follows it.
    pub fn apply(&mut self, unix_ms: u64, record: Bytes) -> Result<(u64, Effect), Reject> {
        let signers = self.signers().cloned().ok_or(Reject::Signers)?;
        self.apply_verified(unix_ms, &Verified::new(record, &signers))
    }

    /// As [`Ledger::apply`], of a record whose signatures were verified elsewhere.
    ///
    /// # Errors
    ///
    /// As [`Ledger::apply`].
    pub fn apply_verified(
        &mut self,
        unix_ms: u64,
        record: &Verified,
    ) -> Result<(u64, Effect), Reject> {
        if self.split().is_some() {
            return Err(Reject::Split);
        }
        if !self.has_room(1, record.bytes().len()) {
            return Err(Reject::Full);
        }
        if time_of(record.entry()?).is_some_and(|ts| ts.abs_diff(unix_ms) > CLOCK_MS) {
            return Err(Reject::Clock);
        }
        if let Entry::Rotation(rotation) = record.entry()? {
            if self.conflict == Some(rotation.seq()) {
                return Err(Reject::RotationConflict);
            }
            let index = self.log.size();
            if let Err(Reject::RotationConflict) = self.state.decide(index, record, &self.log) {
                self.contradicted(rotation.seq(), record.bytes().clone());
                return Err(Reject::RotationConflict);
            }
        }
        // Somebody else's records that wait are not this node's to continue.
        if self.follows.is_some() {
            self.take_back(self.fixed);
        }
        let index = self.log.size();
        let change = self.state.decide(index, record, &self.log)?;
        self.log
            .append_leaf(record.leaf())
            .map_err(|_| Reject::Full)?;
        let (effect, undo) = self.state.commit(index, change);
        self.wait(record.bytes().clone(), undo);
        Ok((index, effect))
    }

    /// Whether so many more records, of so many bytes, may wait.
    fn has_room(&self, records: usize, bytes: usize) -> bool {
        self.waiting.len() + records <= WAITING_MAX && self.waiting_bytes + bytes <= WAITING_BYTES
    }

    /// Appends a record of a log that signers vouch for: one that does not count stands in the log and changes nothing.
    fn follow(&mut self, record: &Verified) -> Result<Effect, Reject> {
        let index = self.log.size();
        let decided = self.state.decide(index, record, &self.log);
        self.log
            .append_leaf(record.leaf())
            .map_err(|_| Reject::Full)?;
        let (effect, undo) = match decided {
            Ok(change) => {
                let (effect, undo) = self.state.commit(index, change);
                (Ok(effect), undo)
            }
            Err(reason) => (Err(reason), self.state.nothing(index, false)),
        };
        self.wait(record.bytes().clone(), undo);
        effect
    }

    fn wait(&mut self, bytes: Bytes, undo: Undo) {
        if let Some((alias, before)) = &undo.name
            && !self.shadow.contains_key(alias)
        {
            self.shadow.insert(alias.clone(), before.clone());
        }
        self.waiting_bytes += bytes.len();
        self.waiting.push(Waiting { bytes, undo });
    }

    /// Takes back waiting records, so that `size` records are left.
    fn take_back(&mut self, size: u64) {
        let size = size.max(self.fixed);
        while self.fixed + self.waiting.len() as u64 > size {
            let Some(waiting) = self.waiting.pop() else {
                break;
            };
            self.waiting_bytes -= waiting.bytes.len();
            self.state.revert(waiting.undo);
        }
        // The memory holds every hash up to its size.
        let _ = self.log.truncate(size);
        if self.waiting.is_empty() {
            self.follows = None;
        }
        self.cast_shadow();
    }

    /// Makes the first `size` records final.
    fn fix(&mut self, size: u64) {
        let n = usize::try_from(size.saturating_sub(self.fixed)).unwrap_or(usize::MAX);
        let n = n.min(self.waiting.len());
        let done = self.waiting.drain(..n);
        self.waiting_bytes -= done.map(|w| w.bytes.len()).sum::<usize>();
        self.fixed += n as u64;
        if self.waiting.is_empty() {
            self.follows = None;
        }
        self.cast_shadow();
        let covered = |seq| {
            let mut turns = self.state.turns.iter();
            turns.any(|t| t.seq >= seq && t.from <= self.fixed)
        };
        if self.conflict.is_some_and(covered) {
            self.conflict = None;
        }
    }

    fn cast_shadow(&mut self) {
        self.shadow.clear();
        for waiting in &self.waiting {
            if let Some((alias, before)) = &waiting.undo.name
                && !self.shadow.contains_key(alias)
            {
                self.shadow.insert(alias.clone(), before.clone());
            }
        }
    }

    /// Keeps a valid rotation that contradicts another of the same `seq`. If that one is not final, it is taken back.
    fn contradicted(&mut self, seq: u64, rotation: Bytes) {
        let Some(turn) = self.state.turns.iter().find(|t| t.seq == seq) else {
            return;
        };
        let index = turn.from.saturating_sub(1);
        let mut rival = RivalRotation {
            in_force: Some(index),
            rotations: Vec::from([rotation]),
        };
        if index >= self.fixed {
            let at = usize::try_from(index - self.fixed).unwrap_or(usize::MAX);
            rival.in_force = None;
            rival
                .rotations
                .extend(self.waiting.get(at).map(|w| w.bytes.clone()));
            self.take_back(index);
            self.conflict = Some(seq);
        }
        if self.rotations.len() < ROTATIONS_MAX && !self.rotations.contains(&rival) {
            self.rotations.push(rival);
        }
    }

    /// Checks whether a record would count next, if enough signers signed it.
    ///
    /// # Errors
    ///
    /// [`Reject`].
    pub fn check(&self, candidate: &Finalized) -> Result<(), Reject> {
        self.state.check(self.log.size(), candidate)
    }

    /// Number of records, final or not.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.log.size()
    }

    /// Number of final records.
    #[must_use]
    pub const fn final_size(&self) -> u64 {
        self.fixed
    }

    /// The hashes of the records.
    #[must_use]
    pub const fn log(&self) -> &Log<Memory> {
        &self.log
    }

    /// Bytes of the records that no head covers yet, from [`Ledger::final_size`] on.
    pub fn waiting(&self) -> impl Iterator<Item = &Bytes> {
        self.waiting.iter().map(|w| &w.bytes)
    }

    /// Takes back every record that no head covers.
    pub fn drop_waiting(&mut self) {
        self.take_back(self.fixed);
    }

    /// The signers in force after all records.
    #[must_use]
    pub fn signers(&self) -> Option<&Signers> {
        self.state.current().map(|(_, turn)| &turn.signers)
    }

    /// The signers of heads of `size` records.
    #[must_use]
    pub fn signers_at(&self, size: u64) -> Option<&Signers> {
        self.state.signers_at(size)
    }

    /// A set of signers that was ever in force, by its hash.
    #[must_use]
    pub fn signers_named(&self, set: &Hash) -> Option<&Signers> {
        self.state.signers_named(set)
    }

    /// The maintainers in force; empty where the network has none.
    #[must_use]
    pub fn maintainers(&self) -> &[PublicKey] {
        self.state.maintainers.as_deref().unwrap_or_default()
    }

    /// Indices of the final records that put other maintainers in force, in order.
    pub fn lists(&self) -> impl Iterator<Item = u64> {
        let all = self.state.lists.iter().copied();
        all.filter(|at| *at < self.fixed)
    }

    /// Number of rotations so far.
    #[must_use]
    pub fn rotations(&self) -> u64 {
        self.state.turns.last().map_or(0, |turn| turn.seq)
    }

    /// Signers that count for nothing until the next rotation.
    pub fn discounted(&self) -> impl Iterator<Item = &[u8; 32]> {
        self.state.discounted.iter()
    }

    /// The signer whose turn it is to propose the next records.
    #[must_use]
    pub fn proposer(&self) -> Option<&PublicKey> {
        let keys = self.signers()?.keys();
        let at = self.log.size().checked_rem(keys.len() as u64)?;
        keys.get(usize::try_from(at).ok()?)
    }

    /// The head of all records, for signers to sign; `None` while two rotations contradict each other, or after a split.
    #[must_use]
    pub fn next_head(&self, unix_ms: u64) -> Option<Head> {
        if self.split().is_some() || self.conflict.is_some() {
            return None;
        }
        Some(Head {
            ts: unix_ms,
            set: *self.signers()?.hash(),
            root: self.log.root(),
            size: self.log.size(),
            state: None,
        })
    }

    /// The newest head.
    #[must_use]
    pub const fn head(&self) -> Option<&SignedHead> {
        self.witness.newest()
    }

    /// Evidence of two views of the ledger. With it, the ledger accepts nothing any more.
    #[must_use]
    pub fn split(&self) -> Option<&Split> {
        self.witness.split()
    }

    /// Pairs of records that contradict each other.
    #[must_use]
    pub fn rivals(&self) -> &[Rivals] {
        &self.state.rivals
    }

    /// Rotations that contradict others.
    #[must_use]
    pub fn rival_rotations(&self) -> &[RivalRotation] {
        &self.rotations
    }

    fn final_history(&self, alias: &Alias) -> Option<&History> {
        match self.shadow.get(alias) {
            Some(before) => before.as_ref(),
            None => self.state.names.get(alias),
        }
    }

    /// The condition of an alias at a time, by final records.
    #[must_use]
    pub fn resolve(&self, alias: &Alias, unix_ms: u64) -> Resolution {
        let history = self.final_history(alias);
        let latest = history.and_then(|h| h.held.first()).copied();
        let rival = history.and_then(|h| h.rival);
        let status = match latest {
            None => Status::Unknown,
            Some(held) if unix_ms >= held.expires() => Status::Expired,
            Some(held) if held.retired => Status::Retired,
            Some(held) if rival.is_some_and(|(seq, _)| seq == held.seq) => Status::Conflicted,
            Some(_) => Status::Bound,
        };
        Resolution { status, latest }
    }

    /// The final records of an alias that are kept, newest first: the latest and at most five earlier ones.
    #[must_use]
    pub fn history(&self, alias: &Alias) -> &[Held] {
        let history = self.final_history(alias);
        history.map_or(&[], |history| &history.held)
    }

    /// The last `seq` of an alias, waiting records included; 0 if it has none.
    #[must_use]
    pub fn last_seq(&self, alias: &Alias) -> u64 {
        let latest = self.state.names.get(alias).and_then(|h| h.held.first());
        latest.map_or(0, |held| held.seq)
    }

    /// The registry record that stands for a type and key, and is final.
    #[must_use]
    pub fn standing(&self, ty: &str, key: &[u8]) -> Option<Standing> {
        let subject = (ty.into(), key.to_vec());
        // As it was before the first waiting record that changed it.
        let before = |w: &Waiting| {
            let (changed, before) = w.undo.subject.as_ref()?;
            (*changed == subject).then_some(*before)
        };
        let before = self.waiting.iter().find_map(before);
        before.unwrap_or_else(|| self.state.registry.get(&subject).copied())
    }

    /// The registry records of a type that stand and are final, by their keys in order.
    pub fn registry(&self, ty: &str) -> impl Iterator<Item = (&[u8], Standing)> {
        let of_type = self.state.registry.range((ty.into(), Vec::new())..);
        let of_type = of_type.map(|((of, key), _)| (of, key.as_slice()));
        let of_type = of_type.take_while(move |(of, _)| ***of == *ty);
        of_type.filter_map(move |(_, key)| Some((key, self.standing(ty, key)?)))
    }

    /// Number of aliases that ever had a record.
    #[must_use]
    pub fn names(&self) -> usize {
        self.state.names.len()
    }

    /// Aliases with a final record, in order, from the one after this.
    pub fn aliases<'a>(
        &'a self,
        after: Option<&Alias>,
    ) -> impl Iterator<Item = &'a Alias> + use<'a> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let all = self.state.names.range::<Alias, _>((from, Bound::Unbounded));
        // One whose only records wait is not final.
        let has = |alias: &&Alias| self.shadow.get(*alias).is_none_or(Option::is_some);
        all.map(|(alias, _)| alias).filter(has)
    }

    /// Indices of the final records that put other signers in force, in order.
    pub fn turns(&self) -> impl Iterator<Item = u64> {
        let later = self.state.turns.iter().skip(1);
        later
            .map(|t| t.from.saturating_sub(1))
            .filter(|at| *at < self.fixed)
    }

    /// Proves the latest final record of an alias by its inclusion under the newest head. `record` gives the bytes of a record.
    ///
    /// `None` if the alias has no record that the newest head covers, or its bytes are not to be had.
    #[must_use]
    pub fn prove(&self, alias: &Alias, record: impl FnOnce(u64) -> Option<Bytes>) -> Option<Proof> {
        let held = *self.final_history(alias)?.held.first()?;
        self.prove_at(held.index, record)
    }

    /// Proves the inclusion of the record at an index under the newest head.
    #[must_use]
    pub fn prove_at(&self, index: u64, record: impl FnOnce(u64) -> Option<Bytes>) -> Option<Proof> {
        let head = self.head()?;
        let path = self.log.inclusion(index, head.head().size).ok()?;
        Some(Proof::new(head.clone(), index, path, record(index)?))
    }

    fn hash_into(&self, state: &mut impl Hasher) {
        self.log.edge().hash(state);
        self.fixed.hash(state);
        self.follows.hash(state);
        self.witness.hash(state);
        self.conflict.hash(state);
        self.rotations.hash(state);
        self.rivals().len().hash(state);
        self.state.settled.hash(state);
        (self.names(), self.state.turns.len(), self.waiting.len()).hash(state);
        self.state.discounted.hash(state);
    }

    /// A cheap digest: of the log's right edge, the heads, and the evidence. The state is a function of the records.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut fingerprint = Fingerprint::default();
        self.hash_into(&mut fingerprint);
        fingerprint.finish()
    }
}

impl StdHash for Ledger {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash_into(state);
    }
}

/// The time that a record claims, of those that a node compares with its clock.
fn time_of(entry: &Entry) -> Option<u64> {
    match entry {
        Entry::Alias(finalized) => Some(finalized.record().ts),
        Entry::Rotation(_) => None,
        Entry::Registry(envelope) => {
            let common: Common<'_> = cbor::from_slice(envelope.record()).ok()?;
            let advance: Advance<'_> = cbor::from_slice(envelope.record()).ok()?;
            (common.ty == ADVANCE).then_some(advance.ts)
        }
    }
}
