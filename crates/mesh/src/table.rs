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

/// Time for which a record that failed its test is ignored.
const AVOID_FOR: Duration = Duration::from_secs(600);
/// Most such records in memory.
const AVOID_MAX: usize = 4096;
/// Most pairs of contradicting records in memory.
const EVIDENCE_MAX: usize = 256;
/// Newest records that are reported first.
const FRESH_MAX: usize = 64;

/// Result of a successful test of a peer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Tested {
    /// Time of the test.
    pub at: Time,
    /// IP address of the peer.
    pub ip: IpAddr,
}

/// State of a record.
#[derive(Clone, Copy, Debug, Hash)]
enum State {
    /// It waits for its test; this peer reported it.
    Waits(Teller),
    /// Its peer was reached.
    Tested(Tested),
}

/// One record and its state.
#[derive(Clone, Debug, Hash)]
pub struct Entry {
    record: Record,
    state: State,
    /// Index of the address to try next.
    tried: u8,
}

impl Entry {
    /// The record.
    #[must_use]
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// Time and address of the last successful test.
    #[must_use]
    pub const fn tested(&self) -> Option<Tested> {
        match self.state {
            State::Tested(tested) => Some(tested),
            State::Waits(_) => None,
        }
    }
}

/// Two signed records of one peer with the same `seq`: the peer tells different nodes different things.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Evidence {
    /// The record that was known.
    pub first: Record,
    /// The record that contradicts it.
    pub second: Record,
}

/// Result of offering a record to the table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Offer {
    /// The peer is new.
    New,
    /// The record replaces an older one; `true` if the peer needs a new test.
    Newer(bool),
    /// The record is known.
    Known,
    /// The record contradicts the known one; the peer is excluded.
    Equivocal,
    /// The table refuses the record.
    Refused(Refusal),
}

/// Reason for refusing a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The record is this node's own.
    Own,
    /// The peer is on the ban list.
    Banned,
    /// The peer contradicted itself and has not issued a later record.
    Excluded,
    /// A later record is known.
    Old,
    /// The record has expired, or is from the future.
    Time,
    /// The peer could not be reached recently.
    Avoided,
    /// The record has no address that this node dials.
    NoAddress,
    /// The node is too far away for this node's view.
    Far,
    /// The reporter has reached its limit, or the table is full.
    NoRoom,
}

/// The addresses of a record that may be dialled: public ones, or all.
fn dialable(record: &Record, private: bool) -> impl Iterator<Item = &Addr> {
    record.addrs().iter().filter(move |a| match a.host {
        Host::Ip(ip) => private || is_public(ip),
        Host::Dns(_) => true,
    })
}

/// All known records.
#[derive(Clone, Debug, Hash)]
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
    /// Tested peers in the share.
    tested_near: usize,
    relays_afar: usize,
    share: Share,
    /// The newest records by `seq`, with the change that brought each.
    fresh: BTreeMap<(u64, NodeId), u64>,
    last_change: u64,
    evidence: BTreeMap<NodeId, Evidence>,
    banned: BTreeSet<NodeId>,
    avoided: BTreeMap<NodeId, Time>,
    /// Ranges outside the share that are accepted during a lookup.
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
            tested_near: 0,
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

    /// Accepts records of this range for a lookup, or no longer.
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

    /// The entry of a peer.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<&Entry> {
        self.entries.get(&node)
    }

    /// All entries, by NodeID.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the table is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of tested records.
    #[must_use]
    pub const fn tested(&self) -> usize {
        self.tested
    }

    /// Number of records that wait for a test.
    #[must_use]
    pub const fn untested(&self) -> usize {
        self.untested.len()
    }

    /// Whether so many records wait for a test that more from this reporter are of little use.
    pub(crate) fn is_crowded(&self, teller: &Teller) -> bool {
        self.untested.is_crowded(teller.from)
    }

    /// The part of all NodeIDs whose records this node keeps.
    #[must_use]
    pub const fn share(&self) -> &Share {
        &self.share
    }

    /// The contradicting records of a peer.
    #[must_use]
    pub fn evidence(&self, node: NodeId) -> Option<&Evidence> {
        self.evidence.get(&node)
    }

    /// The excluded peers.
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

    /// The newest records that came after the change `since`, latest first.
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

    /// The record that may be passed on: this node's own, or a tested one.
    pub(crate) fn passable(&self, node: NodeId) -> Option<&Record> {
        if node == self.own {
            return self.own_record.as_ref();
        }
        self.entries
            .get(&node)
            .filter(|e| e.tested().is_some())
            .map(|e| &e.record)
    }

    /// The known `seq` of a peer. For a peer with contradicting records it is one higher, so that others ask for both.
    pub(crate) fn seq(&self, node: NodeId) -> Option<u64> {
        if node == self.own {
            return self.own_record.as_ref().map(Record::seq);
        }
        let known = self.entries.get(&node).map(|e| e.record.seq());
        known.or_else(|| self.evidence.get(&node).map(|e| e.first.seq() + 1))
    }

    /// The records for an asker: the one that may be passed on, or two that contradict each other.
    pub(crate) fn give(&self, node: NodeId) -> impl Iterator<Item = &Record> {
        let evidence = self.evidence.get(&node).into_iter();
        self.passable(node)
            .into_iter()
            .chain(evidence.flat_map(|e| [&e.first, &e.second]))
    }

    /// Whether the table would accept a record of this peer, judged by its NodeID.
    pub(crate) fn would_take(&self, now: Time, node: NodeId) -> bool {
        node != self.own
            && self.share.holds(node)
            && !self.banned.contains(&node)
            && !self.evidence.contains_key(&node)
            && self.avoided.get(&node).is_none_or(|until| *until <= now)
    }

    /// Peers from `lo` to `hi`, inclusive, with their `seq`; this node is included.
    pub(crate) fn range(&self, lo: NodeId, hi: NodeId) -> impl Iterator<Item = (NodeId, u64)> {
        self.records(lo, hi).map(|(node, r, _)| (node, r.seq()))
    }

    /// The records of that range, and whether each may be passed on.
    pub(crate) fn records(
        &self,
        lo: NodeId,
        hi: NodeId,
    ) -> impl Iterator<Item = (NodeId, &Record, bool)> {
        let own = self
            .own_record
            .as_ref()
            .filter(|_| (lo..=hi).contains(&self.own));
        let mut own = own.map(|r| (self.own, r, true));
        let mut others = (lo <= hi)
            .then(|| self.entries.range(lo..=hi))
            .into_iter()
            .flatten()
            .map(|(n, e)| (*n, &e.record, e.tested().is_some()))
            .peekable();
        core::iter::from_fn(move || match (&own, others.peek()) {
            (Some(o), Some(other)) if other.0 < o.0 => others.next(),
            (Some(_), _) => own.take(),
            (None, _) => others.next(),
        })
    }

    /// The addresses of a record that this node may dial.
    pub(crate) fn dialable<'a>(
        &self,
        record: &'a Record,
    ) -> impl Iterator<Item = &'a Addr> + use<'a> {
        dialable(record, self.private)
    }

    /// Whether this node may dial an IP address that a name resolved to.
    pub(crate) fn may_dial(&self, ip: IpAddr) -> bool {
        self.private || is_public(ip)
    }

    /// Whether an entry stays after the lookup that brought it.
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

    /// Offers a record to the table.
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
        if self.dialable(&record).next().is_none() {
            return Offer::Refused(Refusal::NoAddress);
        }
        if !self.wait(node, &teller) {
            return Offer::Refused(Refusal::NoRoom);
        }
        self.evidence.remove(&node);
        self.insert(Entry {
            record,
            state: State::Waits(teller),
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

    /// Queues a peer for a test; `false` when there is no room.
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
        let addrs = || self.dialable(&record);
        let Some(entry) = self.entries.get(&node) else {
            return Offer::Refused(Refusal::Old);
        };
        // What was reached stands for the new record while that still names it.
        let stands = entry.tested().is_some_and(|t| {
            addrs().any(|a| a.host == Host::Ip(t.ip)) || addrs().eq(self.dialable(&entry.record))
        });
        let waits = entry.tested().is_none();
        if addrs().next().is_none() {
            self.remove(node);
            return Offer::Refused(Refusal::NoAddress);
        }
        let again = entry.tested().is_some() && !stands;
        if again && !self.wait(node, &teller) {
            return Offer::Refused(Refusal::NoRoom);
        }
        if again {
            self.uncount(node);
        }
        if let Some(entry) = self.entries.get_mut(&node) {
            entry.tried = 0;
            let seq = record.seq();
            entry.record = record;
            if again {
                entry.state = State::Waits(teller);
            }
            if stands {
                self.note_change(node, seq);
            }
        }
        Offer::Newer(again || waits)
    }

    /// Takes a peer out of the counts of tested peers; the caller changes its state.
    fn uncount(&mut self, node: NodeId) {
        let limited = !self.seeds.contains(&node);
        if let Some(tested) = self.entries.get(&node).and_then(Entry::tested) {
            self.tested -= 1;
            self.tested_near -= usize::from(self.share.holds(node));
            let near = Prefix::near(tested.ip);
            if limited && let Some(n) = self.prefixes.get_mut(&near) {
                *n -= 1;
                if *n == 0 {
                    self.prefixes.remove(&near);
                }
            }
        }
    }

    /// Removes a peer.
    pub(crate) fn remove(&mut self, node: NodeId) -> Option<Entry> {
        self.uncount(node);
        let entry = self.entries.remove(&node)?;
        if let State::Waits(teller) = &entry.state {
            self.untested.remove(node, teller);
        }
        if !self.share.holds(node) {
            self.relays_afar -= 1;
        }
        Some(entry)
    }

    /// Removes a peer, and ignores reports about it for a while.
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

    /// The next peer to test and its address, with a prefix that `cool` accepts. Names still need to be resolved.
    pub(crate) fn next_test(
        &mut self,
        mut cool: impl FnMut(Prefix) -> bool,
    ) -> Option<(NodeId, Addr)> {
        let entries = &self.entries;
        let private = self.private;
        let address = |node: NodeId| {
            let entry = entries.get(&node)?;
            dialable(&entry.record, private).nth(usize::from(entry.tried))
        };
        let node = self
            .untested
            .next(self.own, |node| match address(node).map(|a| &a.host) {
                Some(Host::Ip(ip)) => cool(Prefix::near(*ip)),
                Some(Host::Dns(_)) => true,
                None => false,
            })?;
        Some((node, address(node)?.clone()))
    }

    /// Records that a peer was reached; `false` if its prefix is full.
    pub(crate) fn reached(&mut self, now: Time, node: NodeId, ip: IpAddr) -> bool {
        let near = Prefix::near(ip);
        let limited = !self.seeds.contains(&node);
        let Some(entry) = self.entries.get_mut(&node) else {
            return false;
        };
        if let State::Tested(tested) = &mut entry.state
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
        self.uncount(node);
        if let Some(entry) = self.entries.get_mut(&node) {
            let tested = State::Tested(Tested { at: now, ip });
            let before = core::mem::replace(&mut entry.state, tested);
            entry.tried = 0;
            let seq = entry.record.seq();
            if let State::Waits(teller) = before {
                self.untested.remove(node, &teller);
            }
            // Who was told of before can be given now.
            self.note_change(node, seq);
        }
        self.tested += 1;
        self.tested_near += usize::from(self.share.holds(node));
        if limited {
            *self.prefixes.entry(near).or_default() += 1;
        }
        true
    }

    /// Records that a peer was not reached. The next address is tried, or the peer is avoided.
    pub(crate) fn not_reached(&mut self, now: Time, node: NodeId) -> bool {
        let Some(entry) = self.entries.get(&node) else {
            return false;
        };
        let addrs = self.dialable(&entry.record).count();
        let tried = usize::from(entry.tried) + 1;
        if entry.tested().is_some() {
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

    /// Removes expired records, and queues old tests again. Returns the removed peers.
    pub(crate) fn sweep(&mut self, now: Now) -> Vec<NodeId> {
        let over = |e: &Entry| e.record.exp().saturating_add(GRACE_MS) <= now.unix_ms;
        let old = |e: &Entry| {
            e.tested()
                .is_some_and(|t| t.at + self.tested_for <= now.mono)
        };
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
                self.uncount(node);
                if let Some(entry) = self.entries.get_mut(&node) {
                    entry.state = State::Waits(teller);
                }
            } else {
                self.remove(node);
                gone.push(node);
            }
        }
        self.avoided.retain(|_, until| *until > now.mono);
        gone
    }

    /// Counts the tested peers in the share. Untested peers do not narrow it.
    fn count_near(&self) -> usize {
        let (lo, hi) = self.share.bounds();
        let near = self.entries.range(lo..=hi);
        near.filter(|(_, e)| e.tested().is_some()).count()
    }

    /// Narrows or widens the share to the number of records that the node keeps. Peers for which `stays` is true remain. Returns
    /// the removed peers.
    pub(crate) fn fit(&mut self, stays: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
        debug_assert_eq!(
            self.tested_near,
            self.count_near(),
            "tested peers in the share"
        );
        let mut gone = Vec::new();
        while self.tested_near > self.view_max && self.share.narrow() {
            self.tested_near = self.count_near();
            let mut relays = 0;
            let mut far = Vec::new();
            for (node, entry) in &self.entries {
                if self.share.holds(*node) {
                    continue;
                }
                let relay = entry.tested().is_some() && entry.record.roles().relays();
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
        if self.tested_near < self.view_max / 4 && self.share.widen() {
            self.tested_near = self.count_near();
            self.relays_afar = self
                .entries
                .keys()
                .filter(|n| !self.share.holds(**n))
                .count();
        }
        gone
    }
}
