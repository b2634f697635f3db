//! Lookups: finding a peer outside the table by asking the peers nearest to it.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::{Now, Time};
use betanet_wire::NodeId;

use super::dialling::Purpose;
use super::{DialId, Error, Event, Mesh, Stage, kind};
use crate::message::{self, Have};
use crate::view::{common_bits, distance};

/// Lookups at once.
const LOOKUPS_MAX: usize = 16;
/// Time limit of a lookup.
const PATIENCE: Duration = Duration::from_secs(20);
/// Interval between two steps of a lookup.
const AGAIN: Duration = Duration::from_millis(250);
/// Most peers asked in one lookup.
const ASKED_MAX: usize = 12;
/// Most peers asked at once.
const AT_ONCE: usize = 3;
/// Answers hold about 2^this records around the target.
const CROWD: u32 = 4;

#[derive(Clone, Debug, Hash)]
pub(super) struct Lookup {
    until: Time,
    next: Time,
    asked: BTreeSet<NodeId>,
    /// Running requests.
    running: usize,
}

impl Lookup {
    pub(super) fn due(&self) -> Time {
        self.next.min(self.until)
    }
}

impl Mesh {
    pub(super) fn begin_lookup(&mut self, now: Now, node: NodeId) -> Result<(), Error> {
        if self.lookups.len() >= LOOKUPS_MAX && !self.lookups.contains_key(&node) {
            return Err(Error::Lookups);
        }
        let tested = self.table.iter().filter(|e| e.tested().is_some());
        let nearest = tested.map(|e| common_bits(e.record().node(), node)).max();
        let range = self.around(node, nearest.unwrap_or(0));
        self.table.open_range(node, Some(range));
        let lookup = Lookup {
            until: now.mono + PATIENCE,
            next: now.mono,
            asked: BTreeSet::new(),
            running: 0,
        };
        self.lookups.entry(node).or_insert(lookup);
        Ok(())
    }

    /// Range to ask a peer about that shares `common` bits with the target: nodes that share more. If peers keep as many records
    /// as this node does, it holds only a few.
    fn around(&self, node: NodeId, common: u32) -> (NodeId, NodeId) {
        let few = self.table.share().bits() + self.crowd_bits(CROWD);
        crate::around(node, few.min(common + 1))
    }

    /// Handles the end of the signature checks for a lookup.
    pub(super) fn checked_for(&mut self, now: Now, lookup: Option<NodeId>) {
        if let Some(l) = lookup.and_then(|n| self.lookups.get_mut(&n)) {
            l.running = l.running.saturating_sub(1);
            l.next = now.mono;
        }
    }

    pub(super) fn look_up(&mut self, now: Now) {
        let due: Vec<NodeId> = self
            .lookups
            .iter()
            .filter(|(_, l)| l.due() <= now.mono)
            .map(|(n, _)| *n)
            .collect();
        for node in due {
            self.look_on(now, node);
        }
    }

    fn look_on(&mut self, now: Now, node: NodeId) {
        let entry = self.table.get(node);
        if let Some(record) = entry
            .filter(|e| e.tested().is_some())
            .map(|e| e.record().clone())
        {
            return self.end_lookup(now, node, Event::Found(record));
        }
        let known = entry.is_some();
        let Some(lookup) = self.lookups.get_mut(&node) else {
            return;
        };
        if lookup.until <= now.mono {
            return self.end_lookup(now, node, Event::NotFound(node));
        }
        lookup.next = now.mono + AGAIN;
        let (asked, running) = (lookup.asked.clone(), lookup.running);
        if known {
            // It is known by hearsay: the peer itself is the next to be asked whether it is there.
            if !self.dials.values().any(|d| d.node == node) && !asked.contains(&node) {
                self.note_asked(node, node, false);
                self.dial_tested(now, node, Purpose::Test);
            }
            return;
        }
        let mut nearest: Vec<([u8; 20], NodeId)> = self
            .table
            .iter()
            .filter(|e| e.tested().is_some() || self.table.is_open(e.record().node()))
            .filter(|e| !asked.contains(&e.record().node()))
            .map(|e| (distance(node, e.record().node()), e.record().node()))
            .collect();
        nearest.sort_unstable();
        let room = AT_ONCE
            .saturating_sub(running)
            .min(ASKED_MAX.saturating_sub(asked.len()));
        let nobody = nearest.is_empty() || asked.len() >= ASKED_MAX;
        let dialled = self.dials.values().any(|d| d.purpose == Purpose::Lookup);
        if nobody && running == 0 && !asked.is_empty() && !dialled {
            return self.end_lookup(now, node, Event::NotFound(node));
        }
        for (_, peer) in nearest.into_iter().take(room) {
            self.ask_about(now, peer, node);
        }
    }

    fn note_asked(&mut self, node: NodeId, peer: NodeId, runs: bool) {
        if let Some(l) = self.lookups.get_mut(&node) {
            l.asked.insert(peer);
            l.running += usize::from(runs);
        }
    }

    /// Replaces a peer that cannot be asked.
    pub(super) fn not_asked(&mut self, peer: NodeId) {
        for lookup in self.lookups.values_mut() {
            lookup.asked.insert(peer);
        }
    }

    /// Asks a peer about the nodes around another, once there is a link.
    fn ask_about(&mut self, now: Now, peer: NodeId, node: NodeId) {
        let link = self.links.iter().find(|(_, l)| l.node == peer);
        match link.map(|(id, l)| (*id, l.exchange.is_some())) {
            Some((link, false)) => {
                self.note_asked(node, peer, true);
                self.ask_range(now, link, node);
            }
            // When the exchange that runs is over.
            Some((_, true)) => {}
            None if self.dials.values().any(|d| d.node == peer) => {}
            None => {
                if !self.dial_tested(now, peer, Purpose::Lookup) {
                    self.note_asked(node, peer, false);
                }
            }
        }
    }

    fn ask_range(&mut self, now: Now, link: DialId, node: NodeId) {
        let peer = self.links.get(&link).map(|l| l.node);
        let common = peer.map_or(0, |p| common_bits(p, node));
        let (lo, hi) = self.around(node, common);
        let bound = |node| Have { node, seq: 0 };
        let mut have = Vec::from([bound(lo)]);
        let known = self.table.range(lo, hi).take(message::GOSSIP_MAX - 2);
        have.extend(known.map(|(node, seq)| Have { node, seq }));
        have.push(bound(hi));
        self.open(
            now,
            link,
            kind::GOSSIP,
            Stage::Answer(Some(node)),
            message::ask(have),
            false,
        );
    }

    fn end_lookup(&mut self, now: Now, node: NodeId, event: Event) {
        self.lookups.remove(&node);
        self.table.open_range(node, None);
        self.tell(now, event);
    }
}
