//! Dials of this node, and the links that it keeps.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use betanet_machine::{Now, Time};
use betanet_wire::NodeId;

use super::{DialId, Event, Mesh, SEEDS_MAX, SeedPeer, Transmit};
use crate::addr::Host;
use crate::{Addr, Prefix, Record, Teller};

/// Most dials at once.
const DIAL_MAX: usize = 128;
/// Interval between two dials to tested peers.
const LINK_EVERY: Duration = Duration::from_millis(500);
/// Longest wait before the first exchange of a new link.
const FIRST_WITHIN_MS: u64 = 3000;
/// Idle time after which a link of a lookup is closed.
const IDLE: Duration = Duration::from_secs(20);

/// Purpose of a dial.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Purpose {
    /// To test a record.
    Test,
    /// To gossip with a tested peer.
    Link,
    /// To ask a seed, by its place in the list.
    Seed(usize),
    /// To ask a peer near the target of a lookup.
    Lookup,
}

#[derive(Clone, Debug, Hash)]
pub(super) struct Dial {
    pub(super) node: NodeId,
    pub(super) purpose: Purpose,
    /// Address, possibly with a name that is not yet resolved.
    addr: Addr,
}

/// A session that gossip may use.
#[derive(Clone, Debug, Hash)]
pub(super) struct Link {
    pub(super) node: NodeId,
    pub(super) ip: IpAddr,
    pub(super) since: Time,
    /// Time of the next exchange.
    pub(super) next: Time,
    /// The last change reported on the link.
    pub(super) told: u64,
    /// Exchanges that this node began on the link.
    pub(super) asked: u64,
    pub(super) exchange: Option<u64>,
    /// Index of the seed, for a link to a seed.
    pub(super) seed: Option<usize>,
    /// Whether gossip keeps the link; otherwise it ends when idle.
    pub(super) stays: bool,
}

impl Link {
    /// Time of the next exchange; `None` while one runs.
    pub(super) fn due(&self) -> Option<Time> {
        self.exchange.is_none().then_some(self.next)
    }

    pub(super) fn teller(&self) -> Teller {
        Teller {
            node: self.node,
            from: Prefix::wide(self.ip),
            seed: self.seed.is_some(),
        }
    }
}

#[derive(Clone, Debug, Hash)]
struct SeedState {
    peer: SeedPeer,
    node: NodeId,
    next: Time,
    /// Number of doublings of the wait.
    rounds: u32,
    /// Index of the address to try next.
    tried: usize,
    busy: bool,
    /// Whether the setup names it.
    fixed: bool,
    /// Whether it is to be asked. Those that are not keep their place, which requests under way name.
    wanted: bool,
}

/// The seeds, with the time of the next request to each.
#[derive(Clone, Debug, Hash)]
pub(super) struct Seeds {
    all: Vec<SeedState>,
}

impl Seeds {
    pub(super) fn new(seeds: Vec<SeedPeer>, now: Time) -> Self {
        let seeds = seeds.into_iter();
        Self {
            all: seeds.map(|peer| SeedState::new(peer, now, true)).collect(),
        }
    }
}

impl SeedState {
    fn new(peer: SeedPeer, now: Time, fixed: bool) -> Self {
        Self {
            node: peer.key.node_id(),
            peer,
            next: now,
            rounds: 0,
            tried: 0,
            busy: false,
            fixed,
            wanted: true,
        }
    }
}

impl Mesh {
    /// Whether the table is too small to work without seeds.
    fn wants_seeds(&self) -> bool {
        let seeds = self.seeds.all.iter().filter(|s| s.wanted).count();
        self.table.len() < self.policy.links + seeds && seeds > 0
    }

    /// Takes other seeds beside those of the setup. They count in the limit of a prefix, unlike those of the setup.
    pub(super) fn bootstrap(&mut self, now: Now, peers: Vec<SeedPeer>) {
        for state in self.seeds.all.iter_mut().filter(|s| !s.fixed) {
            state.wanted = false;
        }
        for peer in peers {
            let node = peer.key.node_id();
            if node == self.own || peer.addrs.is_empty() {
                continue;
            }
            match self.seeds.all.iter_mut().find(|s| s.node == node) {
                Some(state) if state.fixed => {}
                Some(state) => {
                    state.wanted = true;
                    if state.peer != peer {
                        (state.peer, state.next, state.rounds) = (peer, now.mono, 0);
                    }
                }
                None => {
                    let free = |s: &SeedState| !s.fixed && !s.wanted && !s.busy;
                    let place = self.seeds.all.iter().position(free);
                    let state = SeedState::new(peer, now.mono, false);
                    match place {
                        Some(at) => self.seeds.all[at] = state,
                        None if self.seeds.all.len() < SEEDS_MAX => self.seeds.all.push(state),
                        None => {}
                    }
                }
            }
        }
    }

    fn seeds_busy(&self) -> usize {
        self.seeds.all.iter().filter(|s| s.busy).count()
    }

    pub(super) fn seeds_due(&self) -> Option<Time> {
        if !self.wants_seeds() || self.seeds_busy() >= self.policy.seeds_at_once {
            return None;
        }
        self.seeds
            .all
            .iter()
            .filter(|s| !s.busy && s.wanted)
            .map(|s| s.next)
            .min()
    }

    /// Asks seeds that are due, few at once, in random order.
    pub(super) fn ask_seeds(&mut self, now: Now) {
        while self.seeds_due().is_some_and(|at| at <= now.mono) {
            let due: Vec<usize> = (0..self.seeds.all.len())
                .filter(|i| {
                    let state = &self.seeds.all[*i];
                    !state.busy && state.wanted && state.next <= now.mono
                })
                .collect();
            let Some(&i) = self.pick(&due) else { return };
            self.ask_seed(now, i);
        }
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let i = self.rng.below(u64::try_from(from.len()).ok()?);
        from.get(usize::try_from(i).ok()?)
    }

    fn ask_seed(&mut self, now: Now, i: usize) {
        let state = &mut self.seeds.all[i];
        state.busy = true;
        let node = state.node;
        let standing = self
            .links
            .iter()
            .find(|(_, l)| l.node == node && l.exchange.is_none());
        if let Some(link) = standing.map(|(id, _)| *id) {
            let seed = state.peer.key;
            if let Some(l) = self.links.get_mut(link) {
                l.seed = Some(i);
            }
            return self.ask_list(now, link, seed);
        }
        let (key, pin) = (*state.peer.key.as_bytes(), state.peer.pin);
        let addr = state
            .peer
            .addrs
            .get(state.tried % state.peer.addrs.len().max(1))
            .cloned();
        match addr {
            Some(addr) => self.dial(now, node, key, pin, addr, Purpose::Seed(i)),
            None => self.seed_waits(now, i),
        }
    }

    /// Schedules a seed's next turn after a doubled wait, with full jitter.
    fn seed_waits(&mut self, now: Now, i: usize) {
        let (first, cap) = self.policy.seed_backoff;
        let Some(state) = self.seeds.all.get_mut(i) else {
            return;
        };
        let most = (first * 2_u32.pow(state.rounds.min(16))).min(cap);
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
        state.busy = false;
        state.tried += 1;
        state.rounds += 1;
        state.next = now.mono + Duration::from_micros(self.rng.below(micros + 1));
    }

    /// Handles the check of a seed's list.
    pub(super) fn list_checked(&mut self, now: Now, seed: NodeId, stands: bool) {
        let Some(i) = self.seeds.all.iter().position(|s| s.node == seed && s.busy) else {
            return;
        };
        self.seed_waits(now, i);
        if stands && let Some(state) = self.seeds.all.get_mut(i) {
            // It is there: only too few peers are a reason to ask it again.
            state.rounds = state.rounds.min(3);
        }
    }

    fn dial(
        &mut self,
        now: Now,
        node: NodeId,
        key: [u8; 32],
        pin: Option<[u8; 32]>,
        addr: Addr,
        purpose: Purpose,
    ) {
        let dial = self.id();
        let name = match &addr.host {
            Host::Dns(name) => Some(name.clone()),
            Host::Ip(_) => None,
        };
        let kept = Dial {
            node,
            purpose,
            addr: addr.clone(),
        };
        self.dials.insert(dial, kept);
        self.stats.dials += 1;
        match name {
            Some(name) => self.transmit(now, Transmit::Resolve { dial, name }),
            None => {
                let ip = None;
                self.transmit(
                    now,
                    Transmit::Dial {
                        dial,
                        key,
                        pin,
                        addr,
                        ip,
                    },
                );
            }
        }
    }

    /// A peer's key and pin, from its record or the network file.
    fn key_of(&self, node: NodeId) -> Option<([u8; 32], Option<[u8; 32]>)> {
        if let Some(entry) = self.table.get(node) {
            return Some((entry.record().key(), entry.record().pin()));
        }
        let seed = self.seeds.all.iter().find(|s| s.node == node)?;
        Some((*seed.peer.key.as_bytes(), seed.peer.pin))
    }

    pub(super) fn dial_resolved(&mut self, now: Now, id: DialId, ips: &[IpAddr]) {
        let Some(dial) = self.dials.get(&id) else {
            return;
        };
        let (node, purpose, addr) = (dial.node, dial.purpose, dial.addr.clone());
        let ip = ips.iter().copied().find(|ip| self.table.may_dial(*ip));
        let Some((ip, (key, pin))) = ip.zip(self.key_of(node)) else {
            return self.dial_failed(now, id);
        };
        if purpose == Purpose::Test {
            let near = Prefix::near(ip);
            if self.is_hot(now, near) {
                // It keeps its place in the queue.
                self.dials.remove(&id);
                return;
            }
            self.hot.insert(near, now.mono);
        }
        let ip = Some(ip);
        self.transmit(
            now,
            Transmit::Dial {
                dial: id,
                key,
                pin,
                addr,
                ip,
            },
        );
    }

    fn is_hot(&self, now: Now, near: Prefix) -> bool {
        let every = self.policy.dial_prefix_every;
        self.hot.get(&near).is_some_and(|at| *at + every > now.mono)
    }

    /// Tests the next record: one dial per second in all, one per minute to a /24.
    pub(super) fn test_next(&mut self, now: Now) {
        if now.mono < self.next_test || self.table.untested() == 0 || self.dials.len() >= DIAL_MAX {
            return;
        }
        self.next_test = now.mono + self.policy.dial_every;
        let (hot, every) = (&self.hot, self.policy.dial_prefix_every);
        let busy: BTreeSet<NodeId> = self.dials.values().map(|d| d.node).collect();
        let cool = |p: Prefix| hot.get(&p).is_none_or(|at| *at + every <= now.mono);
        let Some((node, addr)) = self.table.next_test(cool) else {
            return;
        };
        if busy.contains(&node) {
            return;
        }
        // A session that stands for another reason is a test as good as any.
        if let Some(ip) = self.links.values().find(|l| l.node == node).map(|l| l.ip) {
            self.test_passed(now, node, ip);
            return;
        }
        if let Host::Ip(ip) = addr.host {
            self.hot.insert(Prefix::near(ip), now.mono);
        }
        if let Some((key, pin)) = self.key_of(node) {
            self.dial(now, node, key, pin, addr, Purpose::Test);
        }
    }

    /// Whether gossip needs more links.
    pub(super) fn wants_links(&self) -> bool {
        let most = self.policy.links.min(self.table.tested());
        if self.links.staying() >= most {
            return false;
        }
        let dialled = self
            .dials
            .values()
            .filter(|d| d.purpose == Purpose::Link)
            .count();
        self.links.staying() + dialled < most && self.dials.len() < DIAL_MAX
    }

    /// Dials tested peers while there are too few links. If the node keeps a partial view, three of four are near.
    pub(super) fn fill_links(&mut self, now: Now) {
        if now.mono < self.next_link || !self.wants_links() {
            return;
        }
        self.next_link = now.mono + LINK_EVERY;
        let taken: BTreeSet<NodeId> = self
            .links
            .values()
            .map(|l| l.node)
            .chain(self.dials.values().map(|d| d.node))
            .collect();
        let share = *self.table.share();
        let near_links = self
            .links
            .values()
            .filter(|l| l.stays && share.holds(l.node))
            .count();
        let wants_near = near_links < self.policy.links * 3 / 4;
        let free = |node: NodeId| !taken.contains(&node);
        let candidates: Vec<NodeId> = self
            .table
            .iter()
            .filter(|e| e.tested().is_some())
            .map(|e| e.record().node())
            .filter(|n| free(*n))
            .collect();
        let fitting: Vec<NodeId> = candidates
            .iter()
            .copied()
            .filter(|n| share.holds(*n) == wants_near)
            .collect();
        let from = if fitting.is_empty() {
            &candidates
        } else {
            &fitting
        };
        if let Some(&node) = self.pick(from) {
            self.dial_tested(now, node, Purpose::Link);
        }
    }

    /// Dials a tested peer at its known address.
    pub(super) fn dial_tested(&mut self, now: Now, node: NodeId, purpose: Purpose) -> bool {
        let Some(entry) = self.table.get(node) else {
            return false;
        };
        let reached = entry.tested().map(|t| t.ip);
        // Only what this node dials at all: a record may name private addresses beside public ones.
        let addrs = || self.table.dialable(entry.record());
        let at = addrs().find(|a| reached.is_some_and(|ip| a.host == Host::Ip(ip)));
        let Some(addr) = at.or_else(|| addrs().next()).cloned() else {
            return false;
        };
        let (key, pin) = (entry.record().key(), entry.record().pin());
        self.dial(now, node, key, pin, addr, purpose);
        true
    }

    /// Records that a peer was reached at the address of its record.
    fn test_passed(&mut self, now: Now, node: NodeId, ip: IpAddr) -> bool {
        let known = self.table.get(node).filter(|e| e.tested().is_none());
        let known = known.map(|e| e.record().clone());
        let stays = self.table.reached(now.mono, node, ip);
        if let Some(record) = known.filter(|_| stays) {
            self.tell(now, Event::Tested { record, ip });
        }
        stays
    }

    pub(super) fn dial_reached(&mut self, now: Now, id: DialId, ip: IpAddr) {
        let hang = Transmit::Hang { link: id };
        let Some(dial) = self.dials.remove(&id) else {
            return self.transmit(now, hang);
        };
        self.stats.reached += 1;
        let node = dial.node;
        let known = self.table.get(node).is_some();
        let tested = known && self.test_passed(now, node, ip);
        let stays = tested && self.makes_place(now, dial.purpose);
        let seed = match dial.purpose {
            Purpose::Seed(i) => Some(i),
            _ => None,
        };
        let wanted = stays || seed.is_some() || (tested && dial.purpose == Purpose::Lookup);
        let doubled = self.links.values().any(|l| l.node == node);
        if !wanted || doubled || self.table.is_banned(node) {
            if let Some(i) = seed {
                self.seed_waits(now, i);
            }
            return self.transmit(now, hang);
        }
        let first = Duration::from_millis(self.rng.below(FIRST_WITHIN_MS));
        let link = Link {
            node,
            ip,
            since: now.mono,
            next: now.mono + first,
            told: 0,
            asked: 0,
            exchange: None,
            seed,
            stays,
        };
        self.links.insert(id, link);
        if let Some(state) = seed.and_then(|i| self.seeds.all.get(i)) {
            let key = state.peer.key;
            self.ask_list(now, id, key);
        }
    }

    /// Whether a newly reached peer becomes a link. It does while there are few links. Later it does so as often as keeps the
    /// links an even sample of all tested peers, independent of their order.
    fn makes_place(&mut self, now: Now, purpose: Purpose) -> bool {
        if self.links.staying() < self.policy.links {
            return true;
        }
        let tested = u64::try_from(self.table.tested()).unwrap_or(u64::MAX);
        let lucky = self.rng.below(tested) < self.policy.links as u64;
        if purpose != Purpose::Test || !lucky {
            return false;
        }
        let resting: Vec<DialId> = self
            .links
            .iter()
            .filter(|(_, l)| l.stays && l.exchange.is_none())
            .map(|(id, _)| *id)
            .collect();
        let Some(&link) = self.pick(&resting) else {
            return false;
        };
        self.links.remove(link);
        self.transmit(now, Transmit::Hang { link });
        true
    }

    pub(super) fn dial_failed(&mut self, now: Now, id: DialId) {
        let Some(dial) = self.dials.remove(&id) else {
            return;
        };
        match dial.purpose {
            Purpose::Seed(i) => self.seed_waits(now, i),
            Purpose::Test => {
                if !self.table.not_reached(now.mono, dial.node) {
                    self.tell(now, Event::Gone(dial.node));
                }
            }
            // A tested peer that is away for once keeps its place; it is tested again in a day.
            Purpose::Link => {}
            Purpose::Lookup => self.not_asked(dial.node),
        }
    }

    pub(super) fn link_lost(&mut self, now: Now, id: DialId) {
        if let Some(link) = self.links.remove(id)
            && let Some(exchange) = link.exchange
        {
            self.end_exchange(now, exchange);
        }
    }

    /// Closes the links with a peer.
    pub(super) fn unlink(&mut self, now: Now, node: NodeId) {
        let all: Vec<DialId> = self
            .links
            .iter()
            .filter(|(_, l)| l.node == node)
            .map(|(id, _)| *id)
            .collect();
        for link in all {
            self.link_lost(now, link);
            self.transmit(now, Transmit::Hang { link });
        }
    }

    /// Handles the end of an exchange: closes the link if nothing needs it.
    pub(super) fn link_rests(&mut self, now: Now, id: DialId) {
        let few = self.links.staying() < self.policy.links;
        let Some(link) = self.links.get(&id) else {
            return;
        };
        if link.stays || link.exchange.is_some() {
            return;
        }
        // A seed is told of this node once, too, and stays while there is nobody better.
        let told = link.asked > 0;
        let idle = link.since + IDLE <= now.mono;
        if (link.seed.is_some() && (few || !told)) || (link.seed.is_none() && !idle) {
            return;
        }
        self.links.remove(id);
        self.transmit(now, Transmit::Hang { link: id });
    }

    /// Replaces links that have reached their age limit.
    pub(super) fn replace_links(&mut self, now: Now) {
        let life = self.policy.link_life;
        let oldest = self
            .links
            .iter()
            .filter(|(_, l)| l.stays && l.exchange.is_none() && l.since + life <= now.mono)
            .min_by_key(|(_, l)| l.since)
            .map(|(id, _)| *id);
        let others = self.table.tested() > self.policy.links + self.policy.anchors;
        if let Some(link) = oldest.filter(|_| others) {
            self.links.remove(link);
            self.transmit(now, Transmit::Hang { link });
        }
        let resting: Vec<DialId> = self
            .links
            .iter()
            .filter(|(_, l)| !l.stays)
            .map(|(id, _)| *id)
            .collect();
        for link in resting {
            self.link_rests(now, link);
        }
    }

    /// Saves the longest-linked peers, which are dialled first after a restart.
    pub(super) fn keep_anchors(&mut self, now: Now) {
        let mut longest: Vec<(Time, NodeId)> = self
            .links
            .values()
            .filter(|l| l.stays)
            .map(|l| (l.since, l.node))
            .collect();
        longest.sort_unstable();
        longest.truncate(self.policy.anchors);
        let records = longest.iter().filter_map(|(_, n)| self.table.passable(*n));
        let anchors: Vec<_> = records.map(|r| r.envelope().clone()).collect();
        if !anchors.is_empty() && anchors != self.anchors {
            self.anchors.clone_from(&anchors);
            self.saved.anchors = anchors;
            let saved = self.saved.clone();
            self.tell(now, Event::Save(saved));
        }
    }

    /// Queues the anchors of an earlier run for tests before all others.
    pub(super) fn take_anchors(&mut self, now: Now) {
        let kept = core::mem::take(&mut self.anchors);
        for envelope in kept.iter().take(self.policy.anchors) {
            if let Ok(record) = Record::from_envelope(envelope) {
                let teller = Teller {
                    node: self.own,
                    from: Prefix::wide(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
                    seed: true,
                };
                self.table.offer(now, record, teller);
            }
        }
        self.anchors = kept;
    }
}
