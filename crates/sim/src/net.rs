//! Thousands of control planes in one world: the mesh at scale.
//!
//! Every node runs the real `stack::Node`. The world simulates the sessions: a dial takes three round trips and proves the key,
//! and an exchange's bytes arrive in order after latency, jitter, loss and the sender's uplink. The cryptography of handshakes
//! is left out (`ring` and `paths` run it). Signatures are really checked, once per envelope if the cache is on.

mod agenda;
mod attack;
mod scenario;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use betanet_machine::testkit::Checked;
use betanet_machine::{Machine, Now, Rng, Seed, Time};
use betanet_mesh::{
    Admission, DialId, Done, ExchangeId, Input, PEERS_EXCHANGES, Policy, Record, Transmit, Work,
};
use betanet_stack::{Node, NodeCommand, NodeEvent, NodeInput};
use betanet_wire::{ChargeTo, Code, NodeId};
use bytes::Bytes;

use agenda::Agenda;
pub use attack::{Attack, AttackKind};
pub use scenario::{Minute, Outcome, Partition, Scenario, Spread, run};

/// The calendar at the world's start: 2026-01-01.
const EPOCH_MS: u64 = 1_767_225_600_000;
/// Round trips from a dial to an open session: TCP, TLS, and the inner handshake in the POST.
const HANDSHAKE_TRIPS: u32 = 3;
/// Timeout of an unanswered dial.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout of a session with a dead peer: PING after 30 s, two unanswered for 5 s each.
const SILENCE: Duration = Duration::from_secs(40);

/// Properties of the network between the nodes.
#[derive(Clone, Debug)]
pub struct Links {
    /// One-way delay in milliseconds from region to region.
    pub latency_ms: Vec<Vec<u32>>,
    /// Maximum random addition, in percent of the delay.
    pub jitter_percent: u32,
    /// Lost messages per thousand; each is retransmitted after a second.
    pub loss_permille: u32,
    /// Uplink of one node, bytes per second.
    pub bandwidth: u64,
}

/// A control plane that a world can drive: bare, or wrapped in the contract checker.
pub trait Host:
    Machine<
        Input = NodeInput,
        Command = NodeCommand,
        Transmit = Transmit,
        Event = NodeEvent,
        Error = betanet_mesh::Error,
    >
{
    /// Wraps a node.
    fn host(node: Node, start: Time) -> Self;
    /// The node, for inspection.
    fn node(&self) -> &Node;
}

impl Host for Node {
    fn host(node: Node, _: Time) -> Self {
        node
    }
    fn node(&self) -> &Node {
        self
    }
}

impl Host for Checked<Node> {
    fn host(node: Node, start: Time) -> Self {
        Self::since(node, start)
    }
    fn node(&self) -> &Node {
        self.get()
    }
}

/// Index of a node in the world.
type Id = usize;

struct Place<H> {
    host: Option<H>,
    node: NodeId,
    key: [u8; 32],
    ip: IpAddr,
    region: usize,
    skew_ms: i64,
    /// Half of a partition to which the place belongs.
    side: bool,
    uplink: u64,
    free_at: Time,
    joined: Time,
    wake: Option<Time>,
    links: BTreeMap<DialId, Id>,
    exchanges: BTreeMap<ExchangeId, usize>,
    admission: Admission,
    /// Real delay in percent of the delay between the regions.
    pace_percent: u32,
}

/// Both ends of a running exchange.
struct Pair {
    ends: [(Id, ExchangeId); 2],
    arrives: [Time; 2],
    done: [bool; 2],
}

enum Task {
    Wake(Id),
    Reach(Id, DialId, Id, [u8; 32]),
    Fail(Id, DialId),
    Open(usize, u8, IpAddr, NodeId, Bytes, bool),
    Data(usize, usize, Bytes, bool),
    End(usize, usize),
    Lost(Id, DialId, Id),
    Script(scenario::Step),
}

/// Cached results of signature checks, by their exact input.
#[derive(Default)]
struct Checks {
    on: bool,
    /// By a digest of the envelope, which is compared itself.
    known: BTreeMap<u64, Vec<(Bytes, Option<Record>)>>,
    /// Number of signatures that were really checked.
    checked: u64,
}

impl Checks {
    fn answer(&mut self, work: &Work) -> Done {
        work.run_with(|envelope| {
            if !self.on {
                self.checked += 1;
                return Record::from_envelope(envelope).ok();
            }
            let known = self.known.entry(mix_bytes(0, envelope)).or_default();
            if let Some((_, record)) = known.iter().find(|(raw, _)| raw == envelope) {
                return record.clone();
            }
            self.checked += 1;
            let record = Record::from_envelope(envelope).ok();
            let raw = record.as_ref().map_or(envelope, Record::envelope).clone();
            known.push((raw, record.clone()));
            record
        })
    }
}

struct Net<H> {
    now: Time,
    links: Links,
    policy: Policy,
    places: Vec<Place<H>>,
    by_ip: BTreeMap<IpAddr, Id>,
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    agenda: Agenda,
    next_peer_exchange: u64,
    parted: bool,
    dice: Rng,
    trace: u64,
    checks: Checks,
    attack: attack::State,
    handshakes: u64,
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(29)
}

fn mix_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    for byte in rest {
        hash = mix(hash, u64::from(*byte));
    }
    mix(hash, bytes.len() as u64)
}

impl<H: Host> Net<H> {
    fn new(seed: &Seed, links: Links, policy: Policy, cache: bool) -> Self {
        Self {
            now: Time::ZERO,
            links,
            policy,
            places: Vec::new(),
            by_ip: BTreeMap::new(),
            pairs: Vec::new(),
            free: Vec::new(),
            agenda: Agenda::default(),
            next_peer_exchange: PEERS_EXCHANGES,
            parted: false,
            dice: Rng::new(&seed.split("net")),
            trace: 0,
            checks: Checks {
                on: cache,
                ..Checks::default()
            },
            attack: attack::State::default(),
            handshakes: 0,
        }
    }

    fn clock(&self, id: Id) -> Now {
        let unix = EPOCH_MS + self.now.as_micros() / 1000;
        Now::new(
            self.now,
            unix.saturating_add_signed(self.places[id].skew_ms),
        )
    }

    fn push(&mut self, at: Time, task: Task) {
        self.agenda.push(at, task);
    }

    fn delay(&mut self, from: Id, to: Id) -> Duration {
        let (a, b) = (&self.places[from], &self.places[to]);
        let ms = self.links.latency_ms[a.region][b.region];
        let pace = a.pace_percent.min(b.pace_percent);
        let micros = u64::from(ms) * 1000 * u64::from(pace) / 100;
        let jitter = self
            .dice
            .below(micros * u64::from(self.links.jitter_percent) / 100 + 1);
        let mut wait = Duration::from_micros(micros + jitter);
        while self.dice.below(1000) < u64::from(self.links.loss_permille) {
            wait += Duration::from_secs(1);
        }
        wait
    }

    fn apart(&self, a: Id, b: Id) -> bool {
        self.parted && self.places[a].side != self.places[b].side
    }

    fn input(&mut self, id: Id, input: Input) {
        let now = self.clock(id);
        let Some(host) = &mut self.places[id].host else {
            return;
        };
        // The mesh refuses no input.
        let _ = host.handle_input(now, NodeInput::Mesh(input));
        self.collect(id);
    }

    fn command(&mut self, id: Id, command: NodeCommand) -> bool {
        let now = self.clock(id);
        let Some(host) = &mut self.places[id].host else {
            return false;
        };
        let taken = host.handle_command(now, command).is_ok();
        self.collect(id);
        taken
    }

    /// Carries out a node's outputs; its checks are answered at once.
    fn collect(&mut self, id: Id) {
        loop {
            let Some(host) = &mut self.places[id].host else {
                return;
            };
            let Some(transmit) = host.poll_transmit() else {
                break;
            };
            if let Transmit::Check(work) = &transmit {
                let done = self.checks.answer(work);
                let now = self.clock(id);
                if let Some(host) = &mut self.places[id].host {
                    let _ = host.handle_input(now, NodeInput::Mesh(Input::Checked(done)));
                }
                continue;
            }
            self.perform(id, transmit);
        }
        while let Some(event) = self.places[id].host.as_mut().and_then(Machine::poll_event) {
            self.note(id, &event);
        }
        let now = self.now;
        let place = &mut self.places[id];
        let Some(wake) = place.host.as_ref().and_then(Machine::poll_timeout) else {
            return;
        };
        let at = wake.at.max(now);
        if place.wake.is_none_or(|w| at < w) {
            place.wake = Some(at);
            self.push(at, Task::Wake(id));
        }
    }

    fn note(&mut self, id: Id, event: &NodeEvent) {
        if let NodeEvent::Mesh(betanet_mesh::Event::Found(record)) = event {
            self.attack.found.push((id, record.node()));
        }
    }

    fn mark(&mut self, id: Id, what: u64, data: &[u8]) {
        let hash = mix(mix(mix(self.trace, self.now.as_micros()), id as u64), what);
        self.trace = mix_bytes(hash, data);
    }

    fn perform(&mut self, id: Id, transmit: Transmit) {
        match transmit {
            Transmit::Dial {
                dial, key, addr, ..
            } => {
                self.mark(id, 1, &key);
                let betanet_mesh::Host::Ip(ip) = addr.host else {
                    return self.push(self.now, Task::Fail(id, dial));
                };
                match self.by_ip.get(&ip).copied() {
                    Some(to) if !self.apart(id, to) && self.places[to].host.is_some() => {
                        let trip = self.delay(id, to) + self.delay(to, id);
                        let at = self.now + trip * HANDSHAKE_TRIPS;
                        self.push(at, Task::Reach(id, dial, to, key));
                    }
                    Some(to) if self.attack.is_attacker(to) => {
                        let trip = self.delay(id, to) + self.delay(to, id);
                        let at = self.now + trip * HANDSHAKE_TRIPS;
                        self.push(at, Task::Reach(id, dial, to, key));
                    }
                    _ => self.push(self.now + DIAL_TIMEOUT, Task::Fail(id, dial)),
                }
            }
            Transmit::Open {
                exchange,
                link,
                kind,
                data,
                fin,
            } => {
                self.mark(id, 2, &data);
                let Some(to) = self.places[id].links.get(&link).copied() else {
                    return;
                };
                let (from, node) = (self.places[id].ip, self.places[id].node);
                self.begin(id, to, exchange, (from, node), (kind, data, fin));
            }
            Transmit::Send {
                exchange,
                data,
                fin,
            } => {
                self.mark(id, 3, &data);
                self.send(id, exchange, data, fin);
            }
            Transmit::Abort { exchange, code } => {
                self.mark(id, 4, &code.0.to_be_bytes());
                self.abort(id, exchange);
            }
            Transmit::Hang { link } => {
                self.mark(id, 5, &link.to_be_bytes());
                self.places[id].links.remove(&link);
            }
            Transmit::Resolve { dial, .. } => self.push(self.now, Task::Fail(id, dial)),
            Transmit::Check(_) => {}
        }
    }

    /// Begins an exchange between two places; `as_who` is the identity that the other end sees.
    fn begin(
        &mut self,
        id: Id,
        to: Id,
        exchange: ExchangeId,
        as_who: (IpAddr, NodeId),
        (kind, data, fin): (u8, Bytes, bool),
    ) {
        self.next_peer_exchange += 1;
        let theirs = self.next_peer_exchange;
        let pair = Pair {
            ends: [(id, exchange), (to, theirs)],
            arrives: [self.now; 2],
            done: [fin, false],
        };
        let at = match self.free.pop() {
            Some(i) => {
                self.pairs[i] = Some(pair);
                i
            }
            None => {
                self.pairs.push(Some(pair));
                self.pairs.len() - 1
            }
        };
        self.places[id].exchanges.insert(exchange, at);
        self.places[to].exchanges.insert(theirs, at);
        let arrives = self.arrival(at, 0, data.len());
        self.push(arrives, Task::Open(at, kind, as_who.0, as_who.1, data, fin));
    }

    /// Arrival time of bytes that this side of an exchange sends now.
    fn arrival(&mut self, pair: usize, side: usize, len: usize) -> Time {
        let Some(p) = &self.pairs[pair] else {
            return self.now;
        };
        let ((from, _), (to, _), before) = (p.ends[side], p.ends[1 - side], p.arrives[side]);
        let delay = self.delay(from, to);
        let place = &mut self.places[from];
        let micros = len as u64 * 1_000_000 / place.uplink.max(1);
        place.free_at = place.free_at.max(self.now) + Duration::from_micros(micros);
        let arrives = (place.free_at + delay).max(before);
        if let Some(p) = &mut self.pairs[pair] {
            p.arrives[side] = arrives;
        }
        arrives
    }

    fn side_of(&self, id: Id, exchange: ExchangeId) -> Option<(usize, usize)> {
        let pair = *self.places[id].exchanges.get(&exchange)?;
        let p = self.pairs[pair].as_ref()?;
        let side = p.ends.iter().position(|e| *e == (id, exchange))?;
        Some((pair, side))
    }

    fn send(&mut self, id: Id, exchange: ExchangeId, data: Bytes, fin: bool) {
        let Some((pair, side)) = self.side_of(id, exchange) else {
            return;
        };
        let arrives = self.arrival(pair, side, data.len());
        self.push(arrives, Task::Data(pair, side, data, fin));
    }

    fn abort(&mut self, id: Id, exchange: ExchangeId) {
        if let Some((pair, side)) = self.side_of(id, exchange) {
            let arrives = self.arrival(pair, side, 16);
            self.push(arrives, Task::End(pair, side));
        }
    }

    fn forget(&mut self, pair: usize) {
        if let Some(p) = self.pairs[pair].take() {
            for (id, exchange) in p.ends {
                self.places[id].exchanges.remove(&exchange);
            }
            self.free.push(pair);
        }
    }

    /// Runs to `end`, or until the script has a step.
    fn next(&mut self, end: Time) -> Option<scenario::Step> {
        while let Some((at, task)) = self.agenda.pop(end) {
            self.now = at;
            match task {
                Task::Script(step) => return Some(step),
                Task::Wake(id) => {
                    if self.places[id].wake == Some(at) {
                        self.places[id].wake = None;
                        let now = self.clock(id);
                        if let Some(host) = &mut self.places[id].host {
                            host.handle_timeout(now);
                        }
                        self.collect(id);
                    }
                }
                Task::Reach(id, dial, to, key) => self.reach(id, dial, to, key),
                Task::Fail(id, dial) => self.input(id, Input::Failed { dial }),
                Task::Open(pair, kind, ip, peer, data, fin) => {
                    self.arrive_open(pair, kind, (ip, peer), data, fin);
                }
                Task::Data(pair, side, data, fin) => self.arrive(pair, side, data, fin),
                Task::End(pair, side) => {
                    if let Some(p) = &self.pairs[pair] {
                        let (to, exchange) = p.ends[1 - side];
                        self.forget(pair);
                        self.input(to, Input::Ended { exchange });
                    }
                }
                Task::Lost(id, link, to) => {
                    if self.places[id].links.get(&link) == Some(&to) {
                        self.places[id].links.remove(&link);
                        self.input(id, Input::Lost { link });
                    }
                }
            }
        }
        self.now = end;
        None
    }

    fn reach(&mut self, id: Id, dial: DialId, to: Id, key: [u8; 32]) {
        let there = self.attack.answers(to, &key)
            || (self.places[to].host.is_some() && self.places[to].key == key);
        if !there || self.apart(id, to) || self.places[id].host.is_none() {
            return self.input(id, Input::Failed { dial });
        }
        self.handshakes += 1;
        self.places[id].links.insert(dial, to);
        let ip = self.places[to].ip;
        self.input(id, Input::Reached { dial, ip });
    }

    fn vanishes(&self, pair: usize, side: usize) -> bool {
        let Some(p) = &self.pairs[pair] else {
            return true;
        };
        let (from, to) = (p.ends[side].0, p.ends[1 - side].0);
        let there = |id: Id| self.places[id].host.is_some() || self.attack.is_attacker(id);
        self.apart(from, to) || !there(from) || !there(to)
    }

    fn arrive_open(
        &mut self,
        pair: usize,
        kind: u8,
        who: (IpAddr, NodeId),
        data: Bytes,
        fin: bool,
    ) {
        if self.vanishes(pair, 0) {
            return self.forget(pair);
        }
        let Some(p) = &self.pairs[pair] else { return };
        let (to, exchange) = p.ends[1];
        if self.attack.is_attacker(to) {
            return self.attacker_asked(pair, to, exchange, &data);
        }
        let (from, peer) = who;
        let now = self.now;
        if !self.places[to]
            .admission
            .open(now, peer, ChargeTo::address(who.0))
        {
            self.attack.not_admitted += 1;
            self.mark(to, 6, &Code::POLICY_REJECTED.0.to_be_bytes());
            return self.abort(to, exchange);
        }
        let from = Some(from);
        self.input(
            to,
            Input::Opened {
                exchange,
                kind,
                peer,
                from,
            },
        );
        self.input(
            to,
            Input::Data {
                exchange,
                data,
                fin,
            },
        );
    }

    fn arrive(&mut self, pair: usize, side: usize, data: Bytes, fin: bool) {
        if self.vanishes(pair, side) {
            return self.forget(pair);
        }
        let Some(p) = &mut self.pairs[pair] else {
            return;
        };
        p.done[side] |= fin;
        let (to, exchange) = p.ends[1 - side];
        let over = p.done == [true; 2];
        if self.attack.is_attacker(to) {
            self.attacker_answered(to, exchange, &data);
        } else {
            self.input(
                to,
                Input::Data {
                    exchange,
                    data,
                    fin,
                },
            );
        }
        if over {
            self.forget(pair);
        }
    }

    /// Removes a node; its session peers notice after a timeout.
    fn crash(&mut self, id: Id) {
        self.places[id].host = None;
        self.places[id].links.clear();
        let peers: Vec<(Id, DialId)> = self
            .places
            .iter()
            .enumerate()
            .flat_map(|(i, p)| {
                p.links
                    .iter()
                    .filter(|(_, to)| **to == id)
                    .map(move |(l, _)| (i, *l))
            })
            .collect();
        for (peer, link) in peers {
            self.push(self.now + SILENCE, Task::Lost(peer, link, id));
        }
    }

    /// Splits the world into two halves, or joins them.
    fn part(&mut self, parted: bool) {
        self.parted = parted;
        if !parted {
            return;
        }
        let across: Vec<(Id, DialId, Id)> = self
            .places
            .iter()
            .enumerate()
            .flat_map(|(i, p)| p.links.iter().map(move |(l, to)| (i, *l, *to)))
            .filter(|(a, _, b)| self.apart(*a, *b))
            .collect();
        for (id, link, to) in across {
            self.push(self.now + SILENCE, Task::Lost(id, link, to));
        }
    }
}
