//! A hop dies during a transfer: a new session over other nodes resumes it within a second.
//!
//! Two paths of three nodes lead from a client to one exit, over links with 50 ms of round trip, all of them real sessions.
//! Relays are `path::Relay`, as in `runtime`; their FORWARD streams are spliced here, and the session with the exit runs inside
//! them. The client watches its entry with `path::Watch`, each relay its next hop.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test stops where it is surprised"
)]

#[path = "failover/relays.rs"]
mod relays;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use betanet_bar::{Access, Expect, Headers, MemoryStore, Service, Store as _};
use betanet_htx::handshake::MESSAGE_1;
use betanet_htx::{Config, Input, Secrets, Session, StreamId, Transmit, kind};
use betanet_keys::Identity;
use betanet_machine::testkit::Checked;
use betanet_machine::{Machine as _, Now, Rng, Seed, Time};
use betanet_path::relay::{self, First, Place};
use betanet_path::{Control, Doubt, Failure, PathId, Route, TTL, Watch, build};
use betanet_sim::{
    Answering, Happening, Id, LinkId, Node, Progress, Side, Transfer, Weather, World, content,
};
use betanet_stack::{Command, Connection, Event};
use betanet_wire::{ChargeTo, NodeId};
use bytes::{Bytes, BytesMut};
use relays::{Carrier, carrier};

const UNIX_MS: u64 = 1_767_225_600_000;
const FILE: usize = 6_000_000;
const CLIENT: Id = 0;
const EXIT: Id = 5;
/// Entry and core relay of each path.
const WAYS: [[Id; 2]; 2] = [[1, 2], [3, 4]];
const TICK: Duration = Duration::from_millis(10);

type Inner = Checked<Answering<Service<MemoryStore>>>;
/// One end of a raw stream.
type End = (LinkId, Side, StreamId);

fn identity(id: Id) -> Identity {
    Identity::from_seed(&[u8::try_from(id).unwrap() + 1; 32])
}

fn service(id: Id) -> Service<MemoryStore> {
    let mut store = MemoryStore::new(1 << 24);
    if id == EXIT {
        let mut writer = store.create().unwrap();
        store.write(&mut writer, &content(9, FILE)).unwrap();
        store
            .commit(writer, "/file", &Headers::default(), &Expect::Absent)
            .unwrap();
    }
    Service::new(store, Access::Nobody)
}

/// A session inside a FORWARD stream.
struct Tunnel {
    inner: Option<Inner>,
    /// Collects message 1 until it is complete.
    first: Option<First>,
    nodes: Vec<NodeId>,
    /// Bytes for which the stream has no room.
    waiting: VecDeque<Bytes>,
}

struct Fabric {
    world: World<Service<MemoryStore>>,
    links: BTreeMap<(Id, Id), LinkId>,
    relays: BTreeMap<Id, Checked<Carrier>>,
    watches: BTreeMap<LinkId, (Watch, u64)>,
    /// At relays: pairs of stream ends that are connected.
    splices: BTreeMap<End, End>,
    /// Places of the streams that relays opened.
    places: BTreeMap<End, Place>,
    /// Streams whose path ID has not arrived yet.
    fresh: BTreeMap<End, First>,
    /// Bytes for which spliced streams have no room.
    held: BTreeMap<End, BytesMut>,
    tunnels: BTreeMap<End, Tunnel>,
    own: BTreeMap<PathId, Route>,
    /// Failures that reached the client: path and error, and the node that signed each.
    failed: Vec<(Failure, NodeId)>,
    lost_entry: bool,
    rng: Rng,
    dead: Option<Id>,
}

impl Fabric {
    fn new(seed: u64) -> Self {
        let seed = Seed::from_number(seed);
        let weather = Weather {
            latency: Duration::from_millis(25),
            bandwidth: 2_500_000,
            ..Weather::FAIR
        };
        let mut world = World::new(&seed, weather);
        for id in 0..=EXIT {
            let config = Config {
                accepts: vec![kind::BAR, kind::FORWARD],
                ..Config::default()
            };
            world.add(
                id,
                Node {
                    identity: identity(id),
                    config,
                    handler: service(id),
                    skew_ms: 0,
                },
            );
        }
        let mut links = BTreeMap::new();
        for [entry, core] in WAYS {
            for (from, to) in [(CLIENT, entry), (entry, core), (core, EXIT)] {
                links.insert((from, to), world.dial(from, to).unwrap());
            }
        }
        Self {
            world,
            links,
            relays: (1..=EXIT).map(|id| (id, carrier(id))).collect(),
            watches: BTreeMap::new(),
            splices: BTreeMap::new(),
            places: BTreeMap::new(),
            fresh: BTreeMap::new(),
            held: BTreeMap::new(),
            tunnels: BTreeMap::new(),
            own: BTreeMap::new(),
            failed: Vec::new(),
            lost_entry: false,
            rng: Rng::new(&seed.split("inner")),
            dead: None,
        }
    }

    fn now(&self) -> Now {
        let now = self.world.now();
        Now::new(now, UNIX_MS + now.as_micros() / 1000)
    }

    fn ends(&self, link: LinkId) -> (Id, Id) {
        *self.links.iter().find(|(_, l)| **l == link).unwrap().0
    }

    fn node_at(&self, link: LinkId, side: Side) -> Id {
        let (client, server) = self.ends(link);
        if side == Side::Client { client } else { server }
    }

    /// Opens a stream on the link between two nodes, and watches the other end.
    fn open(&mut self, from: Id, to: Id, first: Bytes) -> End {
        let link = self.links[&(from, to)];
        let now = self.world.now();
        self.watches
            .entry(link)
            .or_insert_with(|| (Watch::new(now), 0))
            .0
            .sent(now, first.len() as u64);
        let open = Command::Open {
            kind: kind::FORWARD,
            first,
        };
        let opened = self.world.command(link, Side::Client, open);
        let stream = opened.unwrap().unwrap().unwrap();
        (link, Side::Client, stream)
    }

    /// Opens a path, the stream on it and a session inside, all in one flight.
    fn begin(&mut self, way: [Id; 2]) -> End {
        let nodes: Vec<NodeId> = way
            .iter()
            .chain([&EXIT])
            .map(|id| identity(*id).public().node_id())
            .collect();
        let now = self.now();
        let built = build(&identity(CLIENT), &nodes, now.unix_ms, TTL, None).unwrap();
        let link = self.links[&(CLIENT, way[0])];
        let control = Command::PathControl(built.control.to_bytes().into());
        self.world
            .command(link, Side::Client, control)
            .unwrap()
            .unwrap();
        self.own.insert(built.path, built.route);
        let end = self.open(CLIENT, way[0], Bytes::copy_from_slice(&built.path));
        let config = Config::default().over(nodes.clone());
        let secrets = Secrets::draw(&mut self.rng);
        let exit = *identity(EXIT).public();
        let session =
            Session::connect(now, config, &identity(CLIENT), &exit, &[0; 32], secrets).unwrap();
        let inner = Checked::since(
            Answering::new(Connection::new(session), service(CLIENT)),
            now.mono,
        );
        let tunnel = Tunnel {
            inner: Some(inner),
            first: None,
            nodes,
            waiting: VecDeque::new(),
        };
        self.tunnels.insert(end, tunnel);
        self.drain(end);
        end
    }

    fn send(&mut self, end: End, data: Bytes) {
        let (link, side, stream) = end;
        if let Some((watch, _)) = self.watches.get_mut(&link).filter(|_| side == Side::Client) {
            watch.sent(self.world.now(), data.len() as u64);
        }
        let send = Command::Send {
            stream,
            data: data.clone(),
            fin: false,
        };
        let refused = self
            .world
            .command(link, side, send)
            .is_some_and(|r| r.is_err());
        if refused && let Some(tunnel) = self.tunnels.get_mut(&end) {
            tunnel.waiting.push_back(data);
        } else if refused {
            self.held.entry(end).or_default().extend_from_slice(&data);
        }
    }

    /// Passes the output of an inner session to its stream.
    fn drain(&mut self, end: End) {
        while let Some(tunnel) = self.tunnels.get_mut(&end).filter(|t| t.waiting.is_empty()) {
            let Some(Transmit::Bytes(bytes)) = tunnel.inner.as_mut().and_then(|i| {
                let next = i.poll_transmit();
                if let Some(Transmit::NeedExport(_)) = next {
                    panic!("there is no TLS inside")
                }
                next
            }) else {
                return;
            };
            self.send(end, bytes);
        }
    }

    fn consume(&mut self, end: End, bytes: usize) {
        let (link, side, stream) = end;
        self.world.consume(link, side, stream, bytes as u64);
    }

    /// Handles bytes from a stream's end.
    fn body(&mut self, end: End, data: &Bytes) {
        self.consume(end, data.len());
        if let Some((watch, _)) = self
            .watches
            .get_mut(&end.0)
            .filter(|_| end.1 == Side::Client)
        {
            watch.fed();
        }
        if let Some(other) = self.splices.get(&end).copied() {
            return self.send(other, data.clone());
        }
        if self.tunnels.contains_key(&end) {
            return self.inward(end, data);
        }
        let Some(mut first) = self.fresh.remove(&end) else {
            return;
        };
        first.push(data);
        let Some(path) = first.path() else {
            self.fresh.insert(end, first);
            return;
        };
        let (link, side, _) = end;
        let from = identity(self.ends(link).0).public().node_id();
        let begun = relay::Input::Stream {
            from,
            charge: ChargeTo::Node(from),
            path,
            stream: (end, first),
        };
        self.told(self.node_at(link, side), begun);
    }

    /// Passes bytes to the session inside a stream.
    fn inward(&mut self, end: End, data: &Bytes) {
        let now = self.now();
        let secrets = Secrets::draw(&mut self.rng);
        let tunnel = self.tunnels.get_mut(&end).unwrap();
        let mut data = data.clone();
        if let Some(first) = &mut tunnel.first {
            first.push(&data);
            let Some(message) = first.message(&MESSAGE_1).unwrap() else {
                return;
            };
            let config = Config::default().over(tunnel.nodes.clone());
            let session =
                Session::accept(now, config, &identity(EXIT), &[0; 32], &message, secrets).unwrap();
            tunnel.inner = Some(Checked::since(
                Answering::new(Connection::new(session), service(EXIT)),
                now.mono,
            ));
            data = tunnel.first.take().unwrap().into_rest().into();
        }
        if let Some(inner) = &mut tunnel.inner {
            let _ = inner.handle_input(now, Input::Bytes(data));
        }
        self.drain(end);
    }

    fn control(&mut self, link: LinkId, side: Side, payload: &[u8]) {
        let (me, from) = (self.node_at(link, side), self.ends(link));
        let ours = me == from.0;
        let other = if ours { from.1 } else { from.0 };
        let control = Control::from_bytes(payload).unwrap();
        if me != CLIENT {
            let from = *identity(other).public();
            let message = relay::Input::Control {
                from,
                charge: ChargeTo::Node(from.node_id()),
                session: (link, side),
                ours,
                control,
            };
            return self.told(me, message);
        }
        if let Control::Error {
            failure,
            path,
            key,
            sig,
        } = control
        {
            let by = self.own[&path].failed_hop(failure, &key, &sig).unwrap();
            self.failed.push((failure, by));
        }
    }

    /// Probes a silent hop, and declares it failed without an answer.
    fn look(&mut self) {
        let now = self.now();
        let mut doubts = Vec::new();
        for (link, (watch, heard)) in &mut self.watches {
            let Some(connection) = self.world.connection(*link, Side::Client) else {
                continue;
            };
            let frames = connection.session().stats().frames_in;
            if frames != *heard {
                *heard = frames;
                watch.heard(now.mono);
            }
            let rtt = connection.session().rtt().unwrap_or_default();
            doubts.extend(watch.check(now.mono, rtt).map(|d| (*link, d)));
        }
        for (link, doubt) in doubts {
            match doubt {
                Doubt::Probe(token) => {
                    let probe = Command::PathControl(Control::Probe(token).to_bytes().into());
                    let _ = self.world.command(link, Side::Client, probe);
                }
                Doubt::Down => {
                    self.watches.remove(&link);
                    self.down(link);
                }
            }
        }
    }

    /// Reports to the node behind, under this node's signature, that the next hop on this link is down.
    fn down(&mut self, link: LinkId) {
        let me = self.ends(link).0;
        if me == CLIENT {
            self.lost_entry = true;
            return;
        }
        let onward: Vec<End> = self.places.keys().copied().collect();
        for end in onward.into_iter().filter(|end| end.0 == link) {
            if let Some(place) = self.places.remove(&end) {
                self.told(me, relay::Input::Over { place, down: true });
            }
        }
    }

    /// Runs everything until `end`; returns the events of inner sessions.
    fn run(&mut self, end: Time) -> Vec<(End, Event)> {
        let mut told = Vec::new();
        while self.world.now() < end {
            let tick = self.world.now() + TICK;
            while let Some(happening) = self.world.next(tick.min(end)) {
                let Happening::Event { link, side, event } = happening else {
                    continue;
                };
                if self.dead == Some(self.node_at(link, side)) {
                    continue;
                }
                match event {
                    Event::Opened { stream, .. } => {
                        let first = First::new(self.now());
                        self.fresh.insert((link, side, stream), first);
                    }
                    Event::Body { stream, data } => self.body((link, side, stream), &data),
                    Event::PathControl(payload) => self.control(link, side, &payload),
                    Event::Writable { stream } => self.writable((link, side, stream)),
                    _ => {}
                }
            }
            self.look();
            let now = self.now();
            for me in 1..=EXIT {
                let relay = self.relays.get_mut(&me).unwrap();
                if relay.poll_timeout().is_some_and(|w| w.at <= now.mono) {
                    relay.handle_timeout(now);
                    self.carries(me);
                }
            }
            let ends: Vec<End> = self.tunnels.keys().copied().collect();
            for end in ends {
                if let Some(inner) = self.tunnels.get_mut(&end).and_then(|t| t.inner.as_mut()) {
                    if inner.poll_timeout().is_some_and(|w| w.at <= now.mono) {
                        inner.handle_timeout(now);
                    }
                    while let Some(event) = inner.poll_event() {
                        told.push((end, event));
                    }
                }
                self.drain(end);
            }
        }
        told
    }

    fn writable(&mut self, end: End) {
        if let Some(tunnel) = self.tunnels.get_mut(&end) {
            for data in std::mem::take(&mut tunnel.waiting) {
                self.send(end, data);
            }
            self.drain(end);
        } else if let Some(held) = self.held.remove(&end) {
            self.send(end, held.freeze());
        }
    }

    fn ask(&mut self, end: End, transfer: &mut Transfer) {
        let now = self.now();
        let inner = self.tunnels.get_mut(&end).unwrap().inner.as_mut().unwrap();
        let ask = Command::Ask {
            request: transfer.request(),
            more: false,
        };
        let asked = inner.handle_command(now, ask).unwrap();
        transfer.began(asked.unwrap());
        self.drain(end);
    }

    fn read(&mut self, end: End, stream: StreamId, data: &Bytes, transfer: &mut Transfer) {
        transfer.body(data).unwrap();
        let now = self.now();
        let inner = self.tunnels.get_mut(&end).unwrap().inner.as_mut().unwrap();
        inner.call(now, |m| m.consume(now, stream, data.len() as u64));
        self.drain(end);
    }

    /// From now on this node sends nothing, without notice to others.
    fn die(&mut self, id: Id) {
        self.dead = Some(id);
        let touched: Vec<LinkId> = self
            .links
            .iter()
            .filter(|((a, b), _)| *a == id || *b == id)
            .map(|(_, l)| *l)
            .collect();
        for link in touched {
            self.world.silence(link);
        }
    }
}

/// Delay from `victim`'s death to the first byte over the other path, and the node that reported it.
fn kill(victim: Id, seed: u64) -> (Duration, Option<NodeId>) {
    let mut f = Fabric::new(seed);
    f.run(Time::ZERO + Duration::from_secs(1));
    let mut transfer = Transfer::new("/file", content(9, FILE));
    let mut end = f.begin(WAYS[0]);
    let (mut bytes, mut died, mut first) = (0, None, None);
    let mut over_other = false;
    for _ in 0..3000 {
        let until = f.world.now() + TICK;
        for (at, event) in f.run(until) {
            if at != end {
                continue;
            }
            match event {
                Event::Established => f.ask(end, &mut transfer),
                Event::Head { response, .. } => transfer.head(&response).unwrap(),
                Event::Body { stream, data } => {
                    bytes += data.len();
                    if over_other {
                        first.get_or_insert(f.world.now());
                    }
                    f.read(end, stream, &data, &mut transfer);
                }
                Event::End { .. } => {
                    assert_eq!(transfer.end().unwrap(), Progress::Done);
                    let took = first.unwrap() - died.unwrap();
                    assert!(transfer.cuts() == 1);
                    return (took, f.failed.first().map(|f| f.1));
                }
                _ => {}
            }
        }
        if died.is_none() && bytes > FILE / 4 {
            f.die(victim);
            died = Some(f.world.now());
        }
        if !over_other && (f.lost_entry || !f.failed.is_empty()) {
            over_other = true;
            transfer.cut(bytes as u64).unwrap();
            end = f.begin(WAYS[1]);
        }
    }
    panic!("not complete: {bytes} bytes, {:?}", f.failed);
}

#[test]
fn a_new_session_over_other_nodes_delivers_within_a_second_of_a_hops_death() {
    for seed in 1..=3 {
        let (took, named) = kill(WAYS[0][0], seed);
        println!("entry: {} ms", took.as_millis());
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(named, None);
        let (took, named) = kill(WAYS[0][1], seed);
        println!("core: {} ms", took.as_millis());
        assert!(took < Duration::from_secs(1), "{took:?}");
        // The entry signs the report that its next hop is down.
        assert_eq!(named, Some(identity(WAYS[0][0]).public().node_id()));
    }
}
