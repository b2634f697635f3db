//! Requests over the mix: a client, a gateway and relays, each with its own keys, while relays lose packets. All parts take
//! part: directory, lottery, building, unwrapping, replay memory, queues, links, reply blocks, windows, loops. The relays'
//! decisions come from the code that `runtime` runs: a packet's treatment, its delay, its link.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test stops where it is surprised"
)]

#[path = "mix/relays.rs"]
mod relays;
#[path = "mix/replays.rs"]
mod replays;

use std::collections::BTreeMap;
use std::time::Duration;

use betanet_bar::{Access, Headers, MemoryStore, Method, Request, Service};
use betanet_machine::testkit::Checked;
use betanet_machine::{Fingerprint, Machine, Now, Rng, Seed, Time};
use betanet_mix::{
    Client, ClientError, ClientInput, ClientTransmit, Cover, Departure, Directory, EpochKeys, Lost,
    MixKeys, Packet, Recipient, RecipientConfig, RelayKey, Setup, epoch_start, public_key,
};
use betanet_sim::{MixNetwork, MixServer};
use betanet_stack::{MixCommand, MixEvent, MixRequester};
use betanet_wire::NodeId;
use relays::Place;
use zeroize::Zeroizing;

const EPOCH: u32 = 159_000;
const LINK: Duration = Duration::from_millis(20);
const RELAYS: usize = 30;
const GATEWAY: usize = RELAYS;
const CLIENT: usize = RELAYS + 1;
const GUARD: usize = 7;

fn node(n: usize) -> NodeId {
    NodeId([n as u8; 20])
}

/// Keys of the relays, and a directory of them.
fn directory(rng: &mut Rng, poisson: bool) -> (Vec<Place>, Directory, Vec<MixKeys>) {
    let MixNetwork {
        keys,
        records,
        directory,
        beacon_key,
    } = MixNetwork::new(rng, EPOCH, RELAYS as u8, poisson).unwrap();
    assert_eq!(directory.check(&beacon_key), Ok(()));
    let read = Directory::from_record(&directory.to_record());
    assert_eq!(read.as_ref(), Ok(&directory));
    let places = keys.into_iter().enumerate();
    let places = places.map(|(n, keys)| Place::new(keys, n)).collect();
    (places, directory, records)
}

struct World {
    now: Time,
    rng: Rng,
    places: Vec<Place>,
    asker: Checked<MixRequester>,
    server: Checked<MixServer<Service<MemoryStore>>>,
    gateway: Recipient,
    wire: BTreeMap<(Time, u64), (usize, Box<Packet>)>,
    order: u64,
    lost_percent: u64,
    /// Packets of others that a relay forwards, per thousand; all of them without an attack.
    through: (usize, u64),
    lost: u64,
    carried: u64,
    most_held: usize,
    trace: Fingerprint,
    heard: Vec<MixEvent>,
    body: Vec<u8>,
    /// Whether the guard sends the client everything twice.
    twice: bool,
    /// Whether links deliver each packet twice to relays and the gateway.
    repeats: bool,
    /// Numbers of packets that were delivered twice, and of those that were refused as replays.
    repeated: (u64, u64),
    /// Counts of each byte value at each link's end after the first four bytes, and the number of packets.
    seen: BTreeMap<usize, (Vec<u64>, u64)>,
}

/// Parameters of a world.
#[derive(Clone, Copy)]
struct Weather {
    seed: u64,
    lost_percent: u64,
    relays: usize,
    poisson: bool,
    cover: Cover,
}

const CALM: Weather = Weather {
    seed: 1,
    lost_percent: 0,
    relays: 3,
    poisson: false,
    cover: Cover {
        loops: None,
        packets: None,
    },
};

fn setup(directory: &Directory, records: &[MixKeys], weather: Weather) -> Setup {
    let topology = directory.topology(directory, |n| records.get(usize::from(n.0[0])).cloned());
    Setup {
        own: node(CLIENT),
        session_key: Zeroizing::new([1; 32]),
        guard: node(GUARD),
        relays: weather.relays,
        topology,
        cover: weather.cover,
    }
}

fn now_at(mono: Time) -> Now {
    Now::new(mono, epoch_start(EPOCH) + mono.as_micros() / 1000)
}

impl World {
    fn new(weather: Weather) -> Self {
        let mut rng = Rng::new(&Seed::from_number(weather.seed));
        let (mut places, directory, records) = directory(&mut rng, weather.poisson);
        let private = rng.array();
        let mut keys = EpochKeys::new();
        assert!(keys.add(EPOCH as u8, private, [0; 64]));
        places.push(Place::new(keys, GATEWAY));
        let setup = setup(&directory, &records, weather);
        let client = Client::new(now_at(Time::ZERO), setup, &rng.seed()).unwrap();
        let service = Service::new(MemoryStore::new(1 << 24), Access::Anyone);
        Self {
            now: Time::ZERO,
            places,
            asker: Checked::new(MixRequester::new(client)),
            server: Checked::new(MixServer::new(RecipientConfig::default(), service)),
            gateway: Recipient {
                node: node(GATEWAY),
                key: RelayKey::check(public_key(&private)).unwrap(),
            },
            wire: BTreeMap::new(),
            order: 0,
            lost_percent: weather.lost_percent,
            through: (0, 1000),
            lost: 0,
            carried: 0,
            most_held: 0,
            trace: Fingerprint::default(),
            heard: Vec::new(),
            body: Vec::new(),
            twice: false,
            repeats: false,
            repeated: (0, 0),
            seen: BTreeMap::new(),
            rng,
        }
    }

    fn send(&mut self, from: usize, to: usize, packet: Box<Packet>) {
        self.order += 1;
        // Links are reliable; relays lose packets, and one may drop them on purpose.
        let dropped = from < RELAYS && self.rng.below(100) < self.lost_percent;
        let held = from == self.through.0 && self.rng.below(1000) >= self.through.1;
        if dropped || held {
            self.lost += 1;
            return;
        }
        if self.repeats && to != CLIENT {
            self.repeated.0 += 1;
            self.wire
                .insert((self.now + LINK, self.order), (to, packet.clone()));
            self.order += 1;
        }
        let at = (self.now + LINK, self.order);
        self.wire.insert(at, (to, packet));
    }

    fn settle(&mut self) {
        let now = now_at(self.now);
        loop {
            let mut moved = false;
            while let Some(transmit) = self.asker.poll_transmit() {
                moved = true;
                match transmit {
                    ClientTransmit::Build(work) => {
                        let done = ClientInput::Built(work.run());
                        self.asker.handle_input(now, done).unwrap();
                    }
                    ClientTransmit::Packet(packet) => self.send(CLIENT, GUARD, packet),
                }
            }
            while let Some(event) = self.asker.poll_event() {
                moved = true;
                if let MixEvent::Body { stream, data } = &event {
                    self.body.extend_from_slice(data);
                    let (stream, bytes) = (*stream, data.len() as u64);
                    self.asker.call(now, |m| m.consume(now, stream, bytes));
                } else {
                    self.heard.push(event);
                }
            }
            while let Some(reply) = self.server.poll_transmit() {
                moved = true;
                let departure = Departure {
                    next: reply.first,
                    packet: reply.packet,
                    due: self.now,
                    via: reply.via,
                };
                self.onward(GATEWAY, vec![departure]);
            }
            while self.server.poll_event().is_some() {
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    /// Runs one step; `false` if there is no further event.
    fn step(&mut self, until: Time) -> bool {
        let arrives = self.wire.keys().next().map(|(at, _)| *at);
        let leaves = self.places.iter().filter_map(|p| p.waiting.wake()).min();
        let asker = self.asker.poll_timeout().map(|w| w.at);
        let server = self.server.poll_timeout().map(|w| w.at);
        let all = [arrives, leaves, asker, server];
        let Some(at) = all.into_iter().flatten().min().filter(|at| *at <= until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(at);
        let now = now_at(self.now);
        if asker.is_some_and(|at| at <= self.now) {
            self.asker.handle_timeout(now);
        }
        if server.is_some_and(|at| at <= self.now) {
            self.server.handle_timeout(now);
        }
        for n in 0..RELAYS {
            let waiting = &mut self.places[n].waiting;
            let due = std::iter::from_fn(|| waiting.pop(self.now)).collect();
            self.onward(n, due);
        }
        while let Some(entry) = self.wire.first_entry()
            && entry.key().0 <= self.now
        {
            let (to, packet) = entry.remove();
            self.arrive(to, packet);
        }
        self.settle();
        self.most_held = self.most_held.max(self.server.get().exchanges());
        true
    }

    fn run(&mut self, seconds: u64) {
        let until = self.now + Duration::from_secs(seconds);
        while self.step(until) {}
    }

    /// Runs until an exchange has ended.
    fn until_end(&mut self) {
        let until = self.now + Duration::from_secs(600);
        let over = |e: &MixEvent| matches!(e, MixEvent::End { .. } | MixEvent::Failed { .. });
        let before = self.heard.iter().filter(|e| over(e)).count();
        while self.heard.iter().filter(|e| over(e)).count() == before {
            assert!(self.step(until), "it ends within ten minutes");
        }
    }

    fn ask(&mut self, method: Method, body: &[u8]) -> u32 {
        let now = now_at(self.now);
        let request = Request::new(method, "/file", Headers::default());
        let more = method.has_body();
        let to = self.gateway;
        let ask = MixCommand::Ask { to, request, more };
        let stream = self.asker.handle_command(now, ask).unwrap().unwrap();
        let (mut rest, mut more) = (body, more);
        while !rest.is_empty() || more {
            let (chunk, after) = rest.split_at(rest.len().min(16 << 10));
            let send = MixCommand::Send {
                stream,
                data: bytes::Bytes::copy_from_slice(chunk),
                fin: after.is_empty(),
            };
            match self.asker.handle_command(now_at(self.now), send) {
                Ok(_) => (rest, more) = (after, !after.is_empty()),
                Err(_) => assert!(self.step(self.now + Duration::from_secs(60))),
            }
        }
        self.settle();
        stream
    }

    fn status(&self) -> Option<u16> {
        self.heard.iter().rev().find_map(|e| match e {
            MixEvent::Head { response, .. } => Some(response.status),
            _ => None,
        })
    }

    fn looped(&self) -> usize {
        let back = |e: &&MixEvent| matches!(e, MixEvent::Looped(_));
        self.heard.iter().filter(back).count()
    }

    fn loops_lost(&self) -> usize {
        self.heard
            .iter()
            .filter(|e| **e == MixEvent::LoopLost)
            .count()
    }
}

/// Puts and fetches a file of `len` bytes over the mix; returns the duration, the packets carried and lost, and the trace.
fn exchange(weather: Weather, len: usize) -> (Time, u64, u64, u64) {
    let mut world = World::new(weather);
    let file: Vec<u8> = (0..len).map(|n| (n >> 3) as u8 ^ n as u8).collect();
    world.ask(Method::Put, &file);
    world.until_end();
    assert_eq!(world.status(), Some(201), "{:?}", world.heard);
    world.ask(Method::Get, &[]);
    world.until_end();
    assert_eq!(world.status(), Some(200));
    assert!(world.body == file, "{} of {len} bytes", world.body.len());
    let took = world.now;
    // Both ends forget the exchange.
    world.run(45);
    assert_eq!(world.server.get().exchanges(), 0);
    assert!(world.most_held <= 2);
    (took, world.carried, world.lost, world.trace.finish())
}

#[test]
fn files_are_whole_while_relays_lose_packets() {
    let (took, carried, lost, _) = exchange(CALM, 150_000);
    assert_eq!(lost, 0);
    assert!(took < Time::ZERO + Duration::from_secs(10), "{took}");
    for (seed, lost_percent) in [(2, 1), (3, 1), (4, 5)] {
        let weather = Weather {
            seed,
            lost_percent,
            ..CALM
        };
        let (_, again, lost, _) = exchange(weather, 150_000);
        assert!(
            lost > 0 && again < 3 * carried,
            "{lost} lost, {again} carried"
        );
    }
}

#[test]
fn paths_of_one_to_seven_relays_lead_there_and_back() {
    for relays in 1..=7 {
        for poisson in [false, true] {
            let weather = Weather {
                seed: 10 + relays as u64,
                relays,
                poisson,
                ..CALM
            };
            exchange(weather, 3000);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_packets() {
    let weather = Weather {
        seed: 6,
        lost_percent: 1,
        ..CALM
    };
    let once = exchange(weather, 20_000);
    assert_eq!(once, exchange(weather, 20_000));
    assert_eq!(once.3, GOLDEN, "the golden trace");
}

const GOLDEN: u64 = 2_569_068_096_945_922_169;

#[test]
fn a_path_is_never_shorter_than_asked() {
    let mut rng = Rng::new(&Seed::from_number(1));
    let (_, mut directory, records) = directory(&mut rng, false);
    let new = |setup: Setup| {
        let client = Client::new(now_at(Time::ZERO), setup, &Seed::from_number(2));
        client.map(|_| ()).unwrap_err()
    };
    for relays in [0, 8] {
        let wrong = setup(&directory, &records, Weather { relays, ..CALM });
        assert_eq!(new(wrong), ClientError::Hops(relays));
    }
    let mut unknown = setup(&directory, &records, CALM);
    unknown.guard = node(200);
    assert_eq!(new(unknown), ClientError::NoGuard);
    let all = directory.relays.clone();
    directory.relays = all[GUARD - 1..=GUARD].to_vec();
    let few = setup(&directory, &records, CALM);
    let too_few = ClientError::TooFew { relays: 3, have: 2 };
    assert_eq!(new(few), too_few);
    // All relays belong to one organisation.
    directory.relays = all;
    for relay in &mut directory.relays {
        relay.org.clear();
    }
    let one_org = setup(&directory, &records, CALM);
    assert!(matches!(new(one_org), ClientError::NoRoute(r) if r.position == 1));
}

#[test]
fn a_path_over_every_relay_is_found_though_one_draw_may_miss_the_last() {
    let mut rng = Rng::new(&Seed::from_number(1));
    let (_, mut directory, records) = directory(&mut rng, false);
    directory.layers = 1;
    // The guard is among them.
    let from = GUARD.min(RELAYS - 7);
    directory.relays = directory.relays[from..from + 7].to_vec();
    let rare = directory.relays.iter().position(|r| r.node != node(GUARD));
    for (n, relay) in directory.relays.iter_mut().enumerate() {
        relay.layer = 0;
        // One is drawn in 1 of 20 times: as the last one left, one draw of a path misses it in 1 of 27.
        relay.weight = if Some(n) == rare { 3_158 } else { 10_000 };
    }
    let weather = Weather { relays: 7, ..CALM };
    for seed in 0..1_000 {
        let setup = setup(&directory, &records, weather);
        let client = Client::new(now_at(Time::ZERO), setup, &Seed::from_number(seed));
        assert!(client.is_ok(), "{seed}: {:?}", client.err());
    }
}

#[test]
fn an_exchange_with_a_silent_gateway_fails() {
    let mut world = World::new(CALM);
    world.gateway.node = node(GUARD);
    // For a node that cannot open it: the last relay sends it there, where it is refused.
    world.lost_percent = 100;
    let stream = world.ask(Method::Get, &[]);
    world.until_end();
    let failed = MixEvent::Failed {
        stream,
        why: Lost::Silent,
        delivered: 0,
    };
    assert!(world.heard.contains(&failed));
    assert!(world.now < Time::ZERO + Duration::from_secs(70));
}

#[test]
fn loops_show_what_gets_lost_and_by_whom_it_is_held_back() {
    let cover = Cover {
        loops: Some(Duration::from_millis(500)),
        packets: Some(Duration::from_millis(250)),
    };
    let calm = Weather { cover, ..CALM };
    let mut world = World::new(calm);
    world.run(300);
    let back = world.looped();
    assert!((450..750).contains(&back), "{back} loops in 300 s");
    assert_eq!(world.loops_lost(), 0);
    for event in &world.heard {
        let MixEvent::Looped(looped) = event else {
            continue;
        };
        let nodes: Vec<u8> = looped.hops.iter().map(|h| h.node.0[0]).collect();
        assert_eq!((nodes[0], nodes[3]), (GUARD as u8, GUARD as u8));
        assert!(looped.hops.iter().all(|h| h.tag != [0; 16]));
        // Four relays of 30 to 150 ms, five links of 20 ms.
        assert!((220..=710).contains(&looped.took.as_millis()));
    }
    let stats = *world.asker.get().stats();
    assert!((900..1500).contains(&stats.drops), "{stats:?}");
    assert_eq!(stats.strays, 0);
    // An n-1 attack: the guard drops everybody's packets except one in twenty.
    let mut attacked = World::new(calm);
    attacked.through = (GUARD, 50);
    attacked.run(300);
    let (lost, back) = (attacked.loops_lost(), attacked.looped());
    assert!(lost > 20 * back.max(1), "{lost} lost, {back} back");
}

#[test]
fn a_covered_exchange_sends_at_the_same_rate_as_silence() {
    let cover = Cover {
        loops: None,
        packets: Some(Duration::from_millis(20)),
    };
    let covered = Weather { cover, ..CALM };
    let mut silent = World::new(covered);
    silent.run(60);
    let mut busy = World::new(covered);
    busy.ask(Method::Put, &[7; 100_000]);
    busy.until_end();
    assert_eq!(busy.status(), Some(201));
    let spent = (busy.now - Time::ZERO).as_secs();
    busy.run(60 - spent.min(60));
    let (a, b) = (silent.asker.get().stats(), busy.asker.get().stats());
    assert!(a.sent.abs_diff(b.sent) < 300, "{} and {}", a.sent, b.sent);
    assert_eq!(a.sent, a.drops);
    assert!(b.sent - b.drops >= 64, "real ones replace drops");
}

#[test]
fn a_reply_block_is_used_once() {
    let mut world = World::new(CALM);
    world.twice = true;
    world.ask(Method::Put, &[3; 50_000]);
    world.until_end();
    world.ask(Method::Get, &[]);
    world.until_end();
    assert_eq!(world.body, [3; 50_000]);
    let stats = world.asker.get().stats();
    assert_eq!(
        stats.strays * 2,
        stats.received,
        "each came twice, and was taken once"
    );
}

/// Chi-square of byte values against a uniform distribution, with 255 degrees of freedom.
fn chi_square(counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    let even = total as f64 / 256.0;
    counts
        .iter()
        .map(|n| (*n as f64 - even).powi(2) / even)
        .sum()
}

#[test]
fn loops_drops_requests_and_replies_look_alike_on_every_link() {
    let only = |cover: Cover, busy: bool| {
        let mut world = World::new(Weather { cover, ..CALM });
        if busy {
            world.ask(Method::Put, &[0; 200_000]);
            world.until_end();
            world.ask(Method::Get, &[]);
        }
        world.run(60);
        world.seen
    };
    let every = Some(Duration::from_millis(40));
    let (loops, packets) = (every, None);
    let loops = only(Cover { loops, packets }, false);
    let drops = only(
        Cover {
            loops: None,
            packets: every,
        },
        false,
    );
    let real = only(Cover::default(), true);
    for (what, seen) in [("loops", loops), ("drops", drops), ("real", real)] {
        for (to, (counts, packets)) in seen.iter().filter(|(_, (_, n))| *n >= 20) {
            // All packets have one length. Alpha's last byte is below 128: one byte of 2 432, which the bound allows for. 255 ±
            // 23 is one standard deviation.
            let chi = chi_square(counts);
            let skew = *packets as f64 * 0.11;
            assert!(
                chi < 255.0 + 5.0 * 22.6 + skew,
                "{what} at {to}: {chi} of {packets}"
            );
        }
    }
}

#[test]
fn another_epochs_relays_are_taken_up() {
    let mut world = World::new(CALM);
    let mut rng = Rng::new(&Seed::from_number(CALM.seed));
    // The world's relays, with the keys that they list for the next epoch.
    let (_, now, records) = directory(&mut rng, false);
    let mut next = now.clone();
    next.epoch += 1;
    let topology = |d: &Directory| d.topology(&now, |n| records.get(usize::from(n.0[0])).cloned());
    assert!(
        topology(&next).relays().is_empty(),
        "keys of the epoch before"
    );
    let command = MixCommand::Topology(topology(&next));
    let refused = world.asker.handle_command(now_at(world.now), command);
    assert!(refused.is_err(), "without relays it is not taken up");
    for (relay, record) in next.relays.iter_mut().zip(&records) {
        relay.key = record.of(EPOCH + 1).unwrap();
    }
    let private = [9; 32];
    let keys = &mut world.places[GATEWAY].keys;
    assert!(keys.add((EPOCH + 1) as u8, private, [0; 64]));
    world.ask(Method::Put, b"x");
    world.until_end();
    assert_eq!(world.status(), Some(201));
    let command = MixCommand::Topology(topology(&next));
    let taken = world.asker.handle_command(now_at(world.now), command);
    taken.unwrap();
    world.gateway.key = RelayKey::check(public_key(&private)).unwrap();
    world.ask(Method::Get, &[]);
    world.until_end();
    assert_eq!((world.status(), &world.body[..]), (Some(200), &b"x"[..]));
    // A relay with a VRF key that no earlier directory had does not count; nor does one whose own record has another key.
    let mut fresh = now.clone();
    fresh.relays.remove(3);
    let counts = |d: &Directory, earlier: &Directory| {
        let topology = d.topology(earlier, |n| {
            let record = records.get(usize::from(n.0[0])).cloned();
            record.filter(|_| n != node(5))
        });
        topology.relays().len()
    };
    assert_eq!(counts(&now, &fresh), RELAYS - 2);
}
