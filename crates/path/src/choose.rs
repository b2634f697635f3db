//! Choice of the peers of a path.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::{Rng, Time};
use betanet_wire::NodeId;

use crate::control::{Cf, Ecn, SEGMENTS_MAX};
use crate::rtt::Rtt;

/// Time for which a healthy peer remains a candidate.
const HEALTHY: Duration = Duration::from_secs(60);
/// Time for which failures count.
const WINDOW: Duration = Duration::from_secs(300);
/// Highest share of failures of a candidate, in percent.
const FAILURES_PERCENT: usize = 10;
/// Outcomes kept of one peer.
const OUTCOMES_MAX: usize = 256;
/// Time for which a SEVERE report halves a peer's weight.
const SEVERE_FOR: Duration = Duration::from_secs(60);
/// Peers drawn for a position; the nearest is used.
const DRAWN: usize = 3;
/// Consecutive timeouts that exclude a peer.
const TIMEOUTS: u8 = 3;
/// First exclusion time of a peer.
const OUT: Duration = Duration::from_secs(300);
/// Most doublings of the exclusion time.
const OUT_DOUBLINGS: u32 = 8;
/// Most known peers.
const PEERS_MAX: usize = 65_536;

/// Most paths to one exit.
pub const WAYS_MAX: usize = 3;

/// Position of a peer on a path.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// The first relay.
    Entry,
    /// A relay after the first.
    Core,
    /// The last node.
    Exit,
}

/// The roles that a peer advertises.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Roles {
    /// Accepts paths from any client.
    pub entry: bool,
    /// Passes paths on.
    pub core: bool,
    /// Ends paths.
    pub exit: bool,
}

impl Roles {
    const fn has(self, role: Role) -> bool {
        match role {
            Role::Entry => self.entry,
            Role::Core => self.core,
            Role::Exit => self.exit,
        }
    }
}

/// What was measured of a peer.
#[derive(Clone, Debug, Default, Hash)]
struct Peer {
    healthy: Option<Time>,
    outcomes: VecDeque<(Time, bool)>,
    timeouts: u8,
    outs: u32,
    out_until: Option<Time>,
    severe_until: Option<Time>,
    rtt: Rtt,
}

impl Peer {
    fn forget(&mut self, now: Time) {
        while self
            .outcomes
            .front()
            .is_some_and(|(at, _)| *at + WINDOW <= now)
        {
            self.outcomes.pop_front();
        }
    }

    fn record(&mut self, now: Time, good: bool) {
        self.forget(now);
        if self.outcomes.len() == OUTCOMES_MAX {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back((now, good));
    }

    fn is_candidate(&self, now: Time) -> bool {
        let recent = |(at, _): &&(Time, bool)| *at + WINDOW > now;
        let all = self.outcomes.iter().filter(recent).count();
        let bad = self.outcomes.iter().filter(recent).filter(|o| !o.1).count();
        self.healthy.is_some_and(|at| at + HEALTHY > now)
            && self.out_until.is_none_or(|until| until <= now)
            && bad * 100 <= all * FAILURES_PERCENT
    }

    fn is_severe(&self, now: Time) -> bool {
        self.severe_until.is_some_and(|until| until > now)
    }
}

/// The peers that paths may use, with their measurements.
#[derive(Clone, Debug, Default, Hash)]
pub struct Peers {
    known: BTreeMap<NodeId, Roles>,
    /// Of known peers. Most are never on a path, and have no room taken here.
    measured: BTreeMap<NodeId, Peer>,
}

impl Peers {
    /// Creates an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a peer, or changes its roles; `false` when the set is full.
    pub fn set(&mut self, node: NodeId, roles: Roles) -> bool {
        if self.known.len() >= PEERS_MAX && !self.known.contains_key(&node) {
            return false;
        }
        self.known.insert(node, roles);
        true
    }

    /// Removes a peer.
    pub fn remove(&mut self, node: NodeId) {
        self.known.remove(&node);
        self.measured.remove(&node);
    }

    fn peer(&mut self, node: NodeId) -> Option<&mut Peer> {
        let known = self.known.contains_key(&node);
        known.then(|| self.measured.entry(node).or_default())
    }

    /// Records an answer of a peer after `rtt`.
    pub fn answered(&mut self, now: Time, node: NodeId, rtt: Duration) {
        if let Some(peer) = self.peer(node) {
            peer.rtt.sample(rtt);
            peer.healthy = Some(now);
            peer.timeouts = 0;
            peer.outs = 0;
            peer.record(now, true);
        }
    }

    /// Records a timeout. Three consecutive timeouts exclude the peer, longer each time.
    pub fn timed_out(&mut self, now: Time, node: NodeId, rng: &mut Rng) {
        let Some(peer) = self.peer(node) else {
            return;
        };
        peer.record(now, false);
        peer.timeouts += 1;
        if peer.timeouts >= TIMEOUTS {
            peer.timeouts = 0;
            let out = OUT * 2_u32.pow(peer.outs.min(OUT_DOUBLINGS));
            peer.outs += 1;
            // U[0.5, 1.5], in thousandths.
            let jitter = u32::try_from(500 + rng.below(1001)).unwrap_or(1000);
            peer.out_until = Some(now + out * jitter / 1000);
        }
    }

    /// Records that a peer is down, which counts as three timeouts.
    pub fn down(&mut self, now: Time, node: NodeId, rng: &mut Rng) {
        for _ in 0..TIMEOUTS {
            self.timed_out(now, node, rng);
        }
    }

    /// Records a peer's congestion report.
    pub fn congestion(&mut self, now: Time, node: NodeId, cf: Cf) {
        if cf.ecn == Ecn::Severe
            && let Some(peer) = self.peer(node)
        {
            peer.severe_until = Some(now + SEVERE_FOR);
        }
    }

    /// A peer's smoothed round-trip time.
    #[must_use]
    pub fn rtt(&self, node: NodeId) -> Option<Rtt> {
        let measured = self.measured.get(&node);
        let known = self.known.contains_key(&node);
        known.then(|| measured.map(|p| p.rtt).unwrap_or_default())
    }

    /// Whether a path may use a peer in this role now.
    #[must_use]
    pub fn is_candidate(&self, now: Time, node: NodeId, role: Role) -> bool {
        let peer = self.measured.get(&node);
        self.has(node, role) && peer.is_some_and(|p| p.is_candidate(now))
    }

    fn has(&self, node: NodeId, role: Role) -> bool {
        self.known.get(&node).is_some_and(|roles| roles.has(role))
    }

    /// Draws up to three candidates for a position, without replacement. A peer with a SEVERE report has half the weight.
    #[must_use]
    pub fn draw(&self, now: Time, role: Role, not: &[NodeId], rng: &mut Rng) -> Vec<NodeId> {
        let mut urn: Vec<(NodeId, u64)> = self
            .measured
            .iter()
            .filter(|(node, p)| {
                self.has(**node, role) && p.is_candidate(now) && !not.contains(node)
            })
            .map(|(node, p)| (*node, if p.is_severe(now) { 1 } else { 2 }))
            .collect();
        let mut drawn = Vec::with_capacity(DRAWN);
        while drawn.len() < DRAWN && !urn.is_empty() {
            let mut ticket = rng.below(urn.iter().map(|(_, weight)| weight).sum());
            let at = urn.iter().position(|(_, weight)| {
                let here = ticket < *weight;
                ticket = ticket.wrapping_sub(*weight);
                here
            });
            drawn.push(urn.swap_remove(at.unwrap_or(0)).0);
        }
        drawn
    }

    /// Draws candidates for a position and returns the nearest; equal ones at random.
    #[must_use]
    pub fn choose(&self, now: Time, role: Role, not: &[NodeId], rng: &mut Rng) -> Option<NodeId> {
        let drawn = self.draw(now, role, not, rng);
        let rtt = |node: &NodeId| self.measured.get(node).map(|p| p.rtt.smoothed());
        let least = drawn.iter().map(rtt).min()?;
        let nearest: Vec<NodeId> = drawn.into_iter().filter(|n| rtt(n) == least).collect();
        let i = rng.below(u64::try_from(nearest.len()).ok()?);
        nearest.get(usize::try_from(i).ok()?).copied()
    }

    /// Chooses the nodes of a path to `exit`: an entry, cores, and the exit. None is in `not`, which holds the builder and the
    /// nodes of other paths to that exit. `None` if too few peers are healthy, or for less than one node or more than eight.
    #[must_use]
    pub fn path(
        &self,
        now: Time,
        exit: NodeId,
        nodes: usize,
        not: &[NodeId],
        rng: &mut Rng,
    ) -> Option<Vec<NodeId>> {
        if !(1..=SEGMENTS_MAX).contains(&nodes) || not.contains(&exit) {
            return None;
        }
        let mut not = not.to_vec();
        not.push(exit);
        let mut path = Vec::with_capacity(nodes);
        for i in 1..nodes {
            let role = if i == 1 { Role::Entry } else { Role::Core };
            let node = self.choose(now, role, &not, rng)?;
            not.push(node);
            path.push(node);
        }
        path.push(exit);
        Some(path)
    }

    /// Chooses up to [`WAYS_MAX`] paths to `exit` that share no relay. Fewer if too few peers are healthy; one if it is the exit
    /// alone.
    #[must_use]
    pub fn ways(
        &self,
        now: Time,
        exit: NodeId,
        nodes: usize,
        not: &[NodeId],
        rng: &mut Rng,
    ) -> Vec<Vec<NodeId>> {
        let mut not = not.to_vec();
        let mut ways = Vec::new();
        let most = if nodes == 1 { 1 } else { WAYS_MAX };
        while ways.len() < most
            && let Some(way) = self.path(now, exit, nodes, &not, rng)
        {
            not.extend(way.iter().filter(|n| **n != exit));
            ways.push(way);
        }
        ways
    }
}
