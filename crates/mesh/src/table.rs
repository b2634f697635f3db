//! The records that a node knows.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use betanet_machine::{Now, Time};
use betanet_wire::NodeId;

use crate::addr::{Host, is_public};
use crate::record::GRACE_MS;
use crate::untested::Untested;
use crate::view::Share;
use crate::{Addr, Policy, Prefix, Record, Roles, Teller};

/// How long a record that failed its test is not listened to.
const AVOID_FOR: Duration = Duration::from_secs(600);
/// Such records that are remembered, at most.
const AVOID_MAX: usize = 4096;
/// Pairs of contradicting records that are kept.
const EVIDENCE_MAX: usize = 256;
/// Records issued last that are told before all others.
const FRESH_MAX: usize = 64;

/// That this node reached a peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tested {
    /// When.
    pub at: Time,
    /// Where.
    pub ip: IpAddr,
}

/// One record, and what is known of it.
#[derive(Clone, Debug)]
pub struct Entry {
    record: Record,
    tested: Option<Tested>,
    /// While it waits for its test.
    teller: Option<Teller>,
    /// Which of its addresses is tried next.
    tried: u8,
}

impl Entry {
    /// The record.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// When and where its peer was reached.
    #[must_use]
    pub const fn tested(&self) -> Option<Tested> {
        self.tested
    }
}

/// Two records of one peer with one `seq`, both signed: it says different things to different nodes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evidence {
    /// The one that was known.
    pub first: Record,
    /// The one that contradicts it.
    pub second: Record,
}

/// What became of a record that was offered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Offer {
    /// Its peer was not known.
    New,
    /// It replaces an older one; whether its peer has to be tested again.
    Newer(bool),
    /// It is known.
    Known,
    /// It contradicts the one that was known: the peer is excluded.
    Equivocal,
    /// It is not taken.
    Refused(Refusal),
}

/// Why a record is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// This node's own.
    Own,
    /// Its peer is on the ban list.
    Banned,
    /// Its peer contradicted itself, and has not issued a later one.
    Excluded,
    /// A later one is known.
    Old,
    /// Expired, or of the future.
    Time,
    /// Its peer could not be reached lately.
    Avoided,
    /// It has no address that this node dials.
    NoAddress,
    /// Too far away for this node's view.
    Far,
    /// The teller has told enough, or there is no room.
    NoRoom,
}

/// All that a node knows of others.
#[derive(Clone, Debug)]
pub struct Table {
    own: NodeId,
    own_record: Option<Record>,
    seeds: BTreeSet<NodeId>,
    per_prefix: usize,
    tested_for: Duration,
    private: bool,
    relays_max: usize,
    view_max: usize,
    entries: BTreeMap<NodeId, Entry>,
    untested: Untested,
    prefixes: BTreeMap<Prefix, usize>,
    tested: usize,
    relays_afar: usize,
    share: Share,
    /// The records that were issued last, by `seq`, and the change that brought each.
    fresh: BTreeMap<(u64, NodeId), u64>,
    last_change: u64,
    evidence: BTreeMap<NodeId, Evidence>,
    banned: BTreeSet<NodeId>,
    avoided: BTreeMap<NodeId, Time>,
    /// What is taken from afar, as somebody there is looked for.
    open: BTreeMap<NodeId, (NodeId, NodeId)>,
}

impl Table {
    pub(crate) fn new(own: NodeId, seeds: BTreeSet<NodeId>, policy: &Policy) -> Self {
        Self {
            own,
            own_record: None,
            seeds,
            per_prefix: policy.per_prefix,
            tested_for: policy.tested_for,
            private: policy.private,
            relays_max: policy.relays_max,
            view_max: policy.view_max,
            entries: BTreeMap::new(),
            untested: Untested::new(policy.untested_max, policy.untested_per_teller),
            prefixes: BTreeMap::new(),
            tested: 0,
            relays_afar: 0,
            share: Share::all(own),
            fresh: BTreeMap::new(),
            last_change: 0,
            evidence: BTreeMap::new(),
            banned: BTreeSet::new(),
            avoided: BTreeMap::new(),
            open: BTreeMap::new(),
        }
    }

    /// Takes records of this range from now on, or no more.
    pub(crate) fn open_range(&mut self, node: NodeId, range: Option<(NodeId, NodeId)>) {
        match range {
            Some(range) => self.open.insert(node, range),
            None => self.open.remove(&node),
        };
    }

    pub(crate) fn is_open(&self, node: NodeId) -> bool {
        self.open
            .values()
            .any(|(lo, hi)| (lo..=hi).contains(&&node))
    }

    /// What is known of a peer.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Entry> {
        self.entries.get(&node)
    }

    /// All that is known, by NodeID.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// How many records are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many of them are tested.
    #[must_use]
    pub const fn tested(&self) -> usize {
        self.tested
    }

    /// How many wait for their test.
    #[must_use]
    pub const fn untested(&self) -> usize {
        self.untested.len()
    }

    /// Whether so many wait for their test that more of this teller's are of little use.
    pub(crate) fn is_crowded(&self, teller: &Teller) -> bool {
        self.untested.is_crowded(teller.from)
    }

    /// Which part of all NodeIDs this node keeps records of.
    #[must_use]
    pub const fn share(&self) -> &Share {
        &self.share
    }

    /// What peers contradicted themselves with.
    #[must_use]
    pub fn evidence(&self, node: NodeId) -> Option<&Evidence> {
        self.evidence.get(&node)
    }

    /// Who contradicted itself.
    pub fn excluded(&self) -> impl Iterator<Item = NodeId> {
        self.evidence.keys().copied()
    }

    /// The ban list.
    pub fn banned(&self) -> impl Iterator<Item = NodeId> {
        self.banned.iter().copied()
    }

    /// This node's record.
    #[must_use]
    pub const fn own(&self) -> Option<&Record> {
        self.own_record.as_ref()
    }

    pub(crate) const fn change(&self) -> u64 {
        self.last_change
    }

    /// The records that were issued last and came after the change `since`, the latest issued first.
    pub(crate) fn fresh(&self, since: u64) -> impl Iterator<Item = NodeId> {
        let news = self
            .fresh
            .iter()
            .rev()
            .filter(move |(_, change)| **change > since);
        news.map(|((_, node), _)| *node)
    }

    fn note_change(&mut self, node: NodeId, seq: u64) {
        self.last_change += 1;
        self.fresh.insert((seq, node), self.last_change);
        if self.fresh.len() > FRESH_MAX {
            self.fresh.pop_first();
        }
    }

    pub(crate) fn set_own(&mut self, record: Record) {
        self.note_change(self.own, record.seq());
        self.own_record = Some(record);
    }

    /// The record that may be passed on: one's own, or one that is tested.
    pub(crate) fn passable(&self, node: NodeId) -> Option<&Record> {
        if node == self.own {
            return self.own_record.as_ref();
        }
        self.entries
            .get(&node)
            .filter(|e| e.tested.is_some())
            .map(|e| &e.record)
    }

    /// The `seq` that is known of a peer; one more than that of two records that contradict each other, so that others ask for
    /// them.
    pub(crate) fn seq(&self, node: NodeId) -> Option<u64> {
        if node == self.own {
            return self.own_record.as_ref().map(Record::seq);
        }
        let known = self.entries.get(&node).map(|e| e.record.seq());
        known.or_else(|| self.evidence.get(&node).map(|e| e.first.seq() + 1))
    }

    /// What is given to who asks for a peer's record: the one that may be passed on, or two that contradict each other.
    pub(crate) fn give(&self, node: NodeId) -> impl Iterator<Item = &Record> {
        let evidence = self.evidence.get(&node).into_iter();
        self.passable(node)
            .into_iter()
            .chain(evidence.flat_map(|e| [&e.first, &e.second]))
    }

    /// Whether a record of this peer would be taken, as far as its NodeID tells.
    pub(crate) fn would_take(&self, now: Time, node: NodeId) -> bool {
        node != self.own
            && self.share.holds(node)
            && !self.banned.contains(&node)
            && !self.evidence.contains_key(&node)
            && self.avoided.get(&node).is_none_or(|until| *until <= now)
    }

    /// Peers from `lo` to `hi`, both included, with their `seq`; this node among them.
    pub(crate) fn range(&self, lo: NodeId, hi: NodeId) -> impl Iterator<Item = (NodeId, u64)> {
        let own = self
            .own_record
            .as_ref()
            .filter(|_| (lo..=hi).contains(&self.own));
        let mut own = own.map(|r| (self.own, r.seq()));
        let mut others = (lo <= hi)
            .then(|| self.entries.range(lo..=hi))
            .into_iter()
            .flatten()
            .map(|(n, e)| (*n, e.record.seq()))
            .peekable();
        core::iter::from_fn(move || match (&own, others.peek()) {
            (Some(o), Some(other)) if other.0 < o.0 => others.next(),
            (Some(_), _) => own.take(),
            (None, _) => others.next(),
        })
    }

    /// The addresses of a record that this node may dial.
    pub(crate) fn dialable(&self, record: &Record) -> Vec<Addr> {
        let may = |a: &Addr| match a.host {
            Host::Ip(ip) => self.private || is_public(ip),
            Host::Dns(_) => true,
        };
        record.addrs().into_iter().filter(may).collect()
    }

    /// Whether this node may dial an address that a name led to.
    pub(crate) fn may_dial(&self, ip: IpAddr) -> bool {
        self.private || is_public(ip)
    }

    /// Whether an entry is still one to be kept, after a lookup that brought it is over.
    fn belongs(&self, node: NodeId, entry: &Entry) -> bool {
        self.share.holds(node)
            || self.seeds.contains(&node)
            || self.is_open(node)
            || entry.record.roles().relays()
    }

    fn keeps(&self, node: NodeId, roles: Roles) -> bool {
        self.share.holds(node)
            || self.seeds.contains(&node)
            || self.is_open(node)
            || (roles.relays() && self.relays_afar < self.relays_max)
    }

    /// Takes a record up, if it is one to be taken.
    pub(crate) fn offer(&mut self, now: Now, record: Record, teller: Teller) -> Offer {
        let node = record.node();
        if node == self.own {
            return Offer::Refused(Refusal::Own);
        }
        if self.banned.contains(&node) {
            return Offer::Refused(Refusal::Banned);
        }
        if record.check_time(now.unix_ms).is_err() {
            return Offer::Refused(Refusal::Time);
        }
        if self
            .evidence
            .get(&node)
            .is_some_and(|e| record.seq() <= e.first.seq())
        {
            return Offer::Refused(Refusal::Excluded);
        }
        if let Some(entry) = self.entries.get(&node) {
            return match record.seq().cmp(&entry.record.seq()) {
                core::cmp::Ordering::Less => Offer::Refused(Refusal::Old),
                core::cmp::Ordering::Equal if record.signed() == entry.record.signed() => {
                    Offer::Known
                }
                core::cmp::Ordering::Equal => self.exclude(now, record),
                core::cmp::Ordering::Greater => self.replace(record, teller),
            };
        }
        if self
            .avoided
            .get(&node)
            .is_some_and(|until| *until > now.mono)
        {
            return Offer::Refused(Refusal::Avoided);
        }
        if !self.keeps(node, record.roles()) {
            return Offer::Refused(Refusal::Far);
        }
        if self.dialable(&record).is_empty() {
            return Offer::Refused(Refusal::NoAddress);
        }
        if !self.wait(node, &teller) {
            return Offer::Refused(Refusal::NoRoom);
        }
        self.evidence.remove(&node);
        self.insert(Entry {
            record,
            tested: None,
            teller: Some(teller),
            tried: 0,
        });
        Offer::New
    }

    fn insert(&mut self, entry: Entry) {
        let node = entry.record.node();
        if !self.share.holds(node) {
            self.relays_afar += 1;
        }
        self.entries.insert(node, entry);
    }

    /// Puts a peer into the queue of those to be tested; `false` when there is no room.
    fn wait(&mut self, node: NodeId, teller: &Teller) -> bool {
        if !self.untested.may_tell(teller) {
            return false;
        }
        match self.untested.make_room(self.own, teller) {
            Err(()) => return false,
            Ok(Some(out)) => {
                self.remove(out);
            }
            Ok(None) => {}
        }
        self.untested.push(node, teller);
        true
    }

    fn exclude(&mut self, now: Now, second: Record) -> Offer {
        let node = second.node();
        let Some(entry) = self.remove(node) else {
            return Offer::Refused(Refusal::Old);
        };
        if self.evidence.len() >= EVIDENCE_MAX {
            let oldest = self.evidence.iter().min_by_key(|(_, e)| e.first.seq());
            if let Some(node) = oldest.map(|(n, _)| *n) {
                self.evidence.remove(&node);
            }
        }
        let first = entry.record;
        self.evidence.insert(node, Evidence { first, second });
        // Told before all else.
        self.note_change(node, now.unix_ms);
        Offer::Equivocal
    }

    fn replace(&mut self, record: Record, teller: Teller) -> Offer {
        let node = record.node();
        let addrs = self.dialable(&record);
        let Some(entry) = self.entries.get(&node) else {
            return Offer::Refused(Refusal::Old);
        };
        // What was reached stands for the new record while that still names it.
        let stands = entry.tested.is_some_and(|t| {
            addrs.iter().any(|a| a.host == Host::Ip(t.ip)) || addrs == self.dialable(&entry.record)
        });
        let waits = entry.teller.is_some();
        if addrs.is_empty() {
            self.remove(node);
            return Offer::Refused(Refusal::NoAddress);
        }
        let again = entry.tested.is_some() && !stands;
        if again && !self.wait(node, &teller) {
            return Offer::Refused(Refusal::NoRoom);
        }
        if again {
            self.untest(node);
        }
        if let Some(entry) = self.entries.get_mut(&node) {
            entry.tried = 0;
            let seq = record.seq();
            entry.record = record;
            if again {
                entry.teller = Some(teller);
            }
            if stands {
                self.note_change(node, seq);
            }
        }
        Offer::Newer(again || waits)
    }

    fn untest(&mut self, node: NodeId) {
        let limited = !self.seeds.contains(&node);
        if let Some(tested) = self.entries.get_mut(&node).and_then(|e| e.tested.take()) {
            self.tested -= 1;
            let near = Prefix::near(tested.ip);
            if limited && let Some(n) = self.prefixes.get_mut(&near) {
                *n -= 1;
                if *n == 0 {
                    self.prefixes.remove(&near);
                }
            }
        }
    }

    /// Forgets a peer.
    pub(crate) fn remove(&mut self, node: NodeId) -> Option<Entry> {
        self.untest(node);
        let entry = self.entries.remove(&node)?;
        if let Some(teller) = &entry.teller {
            self.untested.remove(node, teller);
        }
        if !self.share.holds(node) {
            self.relays_afar -= 1;
        }
        Some(entry)
    }

    /// Forgets a peer, and does not listen to who tells of it for a while.
    pub(crate) fn avoid(&mut self, now: Time, node: NodeId) {
        self.remove(node);
        if self.avoided.len() >= AVOID_MAX {
            self.avoided.retain(|_, until| *until > now);
        }
        if self.avoided.len() < AVOID_MAX {
            self.avoided.insert(node, now + AVOID_FOR);
        }
    }

    /// Puts a peer on the ban list.
    pub(crate) fn ban(&mut self, node: NodeId) {
        self.remove(node);
        self.banned.insert(node);
    }

    /// Takes a peer off the ban list.
    pub(crate) fn unban(&mut self, node: NodeId) {
        self.banned.remove(&node);
    }

    /// Whether a peer is on the ban list.
    #[must_use]
    pub fn is_banned(&self, node: NodeId) -> bool {
        self.banned.contains(&node)
    }

    /// The next peer to be tested, and where: one whose prefix `cool` lets through. Names are resolved first.
    pub(crate) fn next_test(
        &mut self,
        mut cool: impl FnMut(Prefix) -> bool,
    ) -> Option<(NodeId, Addr)> {
        let entries = &self.entries;
        let private = self.private;
        let address = |node: NodeId| {
            let entry = entries.get(&node)?;
            let mut addrs = entry.record.addrs();
            addrs.retain(|a| match a.host {
                Host::Ip(ip) => private || is_public(ip),
                Host::Dns(_) => true,
            });
            addrs.into_iter().nth(usize::from(entry.tried))
        };
        let node = self
            .untested
            .next(self.own, |node| match address(node).map(|a| a.host) {
                Some(Host::Ip(ip)) => cool(Prefix::near(ip)),
                Some(Host::Dns(_)) => true,
                None => false,
            })?;
        Some((node, address(node)?))
    }

    /// A peer was reached: whether it may stay, as its prefix is not full.
    pub(crate) fn reached(&mut self, now: Time, node: NodeId, ip: IpAddr) -> bool {
        let near = Prefix::near(ip);
        let limited = !self.seeds.contains(&node);
        let Some(entry) = self.entries.get_mut(&node) else {
            return false;
        };
        if let Some(tested) = &mut entry.tested
            && Prefix::near(tested.ip) == near
        {
            *tested = Tested { at: now, ip };
            return true;
        }
        let full = self.prefixes.get(&near).copied().unwrap_or(0) >= self.per_prefix;
        if limited && full {
            self.avoid(now, node);
            return false;
        }
        self.untest(node);
        if let Some(entry) = self.entries.get_mut(&node) {
            entry.tested = Some(Tested { at: now, ip });
            entry.tried = 0;
            let seq = entry.record.seq();
            if let Some(teller) = entry.teller.take() {
                self.untested.remove(node, &teller);
            }
            // Who was told of before can be given now.
            self.note_change(node, seq);
        }
        self.tested += 1;
        if limited {
            *self.prefixes.entry(near).or_default() += 1;
        }
        true
    }

    /// A peer was not reached at the address that was tried: the next one has its turn, or the peer is avoided.
    pub(crate) fn not_reached(&mut self, now: Time, node: NodeId) -> bool {
        let Some(entry) = self.entries.get(&node) else {
            return false;
        };
        let addrs = self.dialable(&entry.record).len();
        let tried = usize::from(entry.tried) + 1;
        if entry.tested.is_some() {
            return true;
        }
        if tried < addrs {
            if let Some(entry) = self.entries.get_mut(&node) {
                entry.tried += 1;
            }
            return true;
        }
        self.avoid(now, node);
        false
    }

    /// Drops what is over, and puts tests that are too old back into the queue. Returns who was forgotten.
    pub(crate) fn sweep(&mut self, now: Now) -> Vec<NodeId> {
        let over = |e: &Entry| e.record.exp().saturating_add(GRACE_MS) <= now.unix_ms;
        let old = |e: &Entry| e.tested.is_some_and(|t| t.at + self.tested_for <= now.mono);
        let mut gone: Vec<NodeId> = Vec::new();
        let mut stale: Vec<NodeId> = Vec::new();
        for (node, entry) in &self.entries {
            if over(entry) || !self.belongs(*node, entry) {
                gone.push(*node);
            } else if old(entry) {
                stale.push(*node);
            }
        }
        for node in &gone {
            self.remove(*node);
        }
        for node in stale {
            // This node is its own witness that the peer was there.
            let teller = Teller {
                node: self.own,
                from: Prefix::wide(IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED)),
                seed: true,
            };
            if self.wait(node, &teller) {
                self.untest(node);
                if let Some(entry) = self.entries.get_mut(&node) {
                    entry.teller = Some(teller);
                }
            } else {
                self.remove(node);
                gone.push(node);
            }
        }
        self.avoided.retain(|_, until| *until > now.mono);
        gone
    }

    /// Tested peers of the share: who claims to be there, and was not reached, narrows no share.
    fn tested_near(&self) -> usize {
        let (lo, hi) = self.share.bounds();
        let near = self.entries.range(lo..=hi);
        near.filter(|(_, e)| e.tested.is_some()).count()
    }

    /// Narrows the share while more is known than is kept, or widens it; `stays` is kept whatever its distance. Returns who
    /// was forgotten.
    pub(crate) fn fit(&mut self, stays: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
        let mut gone = Vec::new();
        while self.tested_near() > self.view_max && self.share.narrow() {
            let mut relays = 0;
            let mut far = Vec::new();
            for (node, entry) in &self.entries {
                if self.share.holds(*node) {
                    continue;
                }
                let relay = entry.tested.is_some() && entry.record.roles().relays();
                let kept = stays(*node) || self.seeds.contains(node);
                if kept || (relay && relays < self.relays_max) {
                    relays += 1;
                } else {
                    far.push(*node);
                }
            }
            // Those that stay are counted as afar before the others are taken out, which counts them down.
            self.relays_afar = relays + far.len();
            for node in far {
                self.remove(node);
                gone.push(node);
            }
        }
        if self.tested_near() < self.view_max / 4 && self.share.widen() {
            self.relays_afar = self
                .entries
                .keys()
                .filter(|n| !self.share.holds(**n))
                .count();
        }
        gone
    }
}
