//! Exhaustion attacks: half-open handshakes, free identities that fill a memory, parts behind gaps, long capabilities. Each
//! runs against the machines of a real node, beside honest peers, in seeded weather.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

#[path = "attacks/raw.rs"]
mod raw;

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use betanet_bar::{Access, Expect, Headers, MemoryStore, Service, Store as _};
use betanet_htx::{By, Config, Extra, offered_caps};
use betanet_keys::Identity;
use betanet_machine::testkit::Checked;
use betanet_machine::{Fingerprint, Machine as _, Now, Rng, Seed, Time};
use betanet_mesh::{Admission, Policy};
use betanet_path::relay::{
    Event as RelayEvent, HEADERS_MAX, Input as RelayInput, Refused, Rules,
    Transmit as RelayTransmit,
};
use betanet_path::{PathError, Relay, TTL, build};
use betanet_sim::{Happening, Id, LinkId, Node, Progress, Side, Transfer, Weather, World, content};
use betanet_stack::{Command, Event};
use betanet_wire::caps::CapMsg;
use betanet_wire::{ChargeTo, Code, cbor};

use raw::Raw;

const FILE: usize = 60_000;
const UNIX_MS: u64 = 1_767_225_600_000;

type Store = Service<MemoryStore>;

fn store() -> Store {
    let mut store = MemoryStore::new(1 << 20);
    let mut writer = store.create().unwrap();
    store.write(&mut writer, &content(0, FILE)).unwrap();
    store
        .commit(writer, "/file", &Headers::default(), &Expect::Absent)
        .unwrap();
    Service::new(store, Access::Nobody)
}

fn node(id: Id, config: Config) -> Node<Store> {
    let mut seed = [7; 32];
    seed[..4].copy_from_slice(&id.to_be_bytes());
    Node {
        identity: Identity::from_seed(&seed),
        config,
        handler: store(),
        skew_ms: 0,
    }
}

fn at(ms: u64) -> Time {
    Time::ZERO + Duration::from_millis(ms)
}

/// Downloads of honest peers, by their links.
#[derive(Default)]
struct Honest {
    running: BTreeMap<LinkId, Transfer>,
    done: usize,
    closed: Vec<(LinkId, Side, Code, By)>,
}

impl Honest {
    fn dial(&mut self, world: &mut World<Store>, from: Id, to: Id) -> LinkId {
        let link = world.dial(from, to).unwrap();
        let transfer = Transfer::new("/file", content(0, FILE));
        self.running.insert(link, transfer);
        link
    }

    fn event(&mut self, world: &mut World<Store>, link: LinkId, side: Side, event: Event) {
        if let Event::Closed { code, by, .. } = &event {
            self.closed.push((link, side, *code, *by));
        }
        let Some(transfer) = self.running.get_mut(&link).filter(|_| side == Side::Client) else {
            return;
        };
        match event {
            Event::Established => {
                if world.connection(link, side).is_none() {
                    return;
                }
                let request = transfer.request();
                let ask = Command::Ask {
                    request,
                    more: false,
                };
                let asked = world.command(link, side, ask).unwrap().unwrap();
                transfer.began(asked.unwrap());
            }
            Event::Head { response, .. } => transfer.head(&response).unwrap(),
            Event::Body { stream, data } => {
                transfer.body(&data).unwrap();
                let bytes = data.len() as u64;
                world.consume(link, side, stream, bytes);
            }
            Event::End { .. } => {
                assert_eq!(transfer.end().unwrap(), Progress::Done);
                self.running.remove(&link);
                self.done += 1;
                world.close(link, side, Code::OK, "");
            }
            _ => {}
        }
    }
}

/// Number of handshakes that attackers begin per second, their duration, and the number of honest downloads meanwhile.
const BEGUN_A_SECOND: u64 = 20;
const FLOOD_S: u64 = 40;
const DOWNLOADS: u64 = 30;
/// Trace digest, equal in debug and release.
const FLOOD_GOLDEN: u64 = 11_367_530_939_757_343_297;

/// Handshakes that stop after message 1: the maximum number of concurrent ones, and the trace.
fn half_open_flood(seed: u64) -> (usize, u64) {
    const LOOK: u64 = 1 << 32;
    const DIAL: u64 = 2 << 32;
    const HONEST: u64 = 3 << 32;
    let seed = Seed::from_number(seed);
    let mut dice = Rng::new(&seed.split("script"));
    let mut world: World<Store> = World::new(&seed, Weather::FOUL);
    for id in 0..20 {
        world.add(id, node(id, Config::default()));
    }
    let mut honest = Honest::default();
    for n in 0..FLOOD_S * BEGUN_A_SECOND {
        let attacker = 10 + dice.below(10);
        world.set_timer(at(n * 1000 / BEGUN_A_SECOND), DIAL + attacker);
    }
    for _ in 0..DOWNLOADS {
        let (when, who) = (dice.below(FLOOD_S * 1000), 1 + dice.below(9));
        world.set_timer(at(when), HONEST + who);
    }
    world.set_timer(at(5), LOOK);
    let (mut asked, mut half_open) = (BTreeSet::new(), BTreeSet::new());
    let mut most = 0;
    let end = at((FLOOD_S + 60) * 1000);
    while let Some(happening) = world.next(end) {
        let token = match happening {
            Happening::Event { link, side, event } => {
                honest.event(&mut world, link, side, event);
                continue;
            }
            Happening::Timer(token) => token,
        };
        let who = Id::try_from(token & 0xffff_ffff).unwrap();
        match token >> 32 << 32 {
            DIAL => drop(asked.insert(world.dial(who, 0).unwrap())),
            HONEST => drop(honest.dial(&mut world, who, 0)),
            _ => {
                let stands = |link: &LinkId| world.connection(*link, Side::Server).is_some();
                // The attacker leaves before message 2 arrives.
                let begun: Vec<LinkId> = asked.iter().copied().filter(stands).collect();
                half_open.retain(stands);
                for link in begun {
                    asked.remove(&link);
                    half_open.insert(link);
                    world.silence(link);
                }
                most = most.max(half_open.len());
                world.set_timer(world.now() + Duration::from_millis(5), LOOK);
            }
        }
    }
    assert!(half_open.is_empty() && asked.is_empty());
    assert_eq!(honest.done as u64, DOWNLOADS);
    assert!(honest.running.is_empty());
    // All others ended by the node's own timeout.
    let timed_out = |c: &&(LinkId, Side, Code, By)| (c.1, c.2) == (Side::Server, Code::AUTH_FAILED);
    let ended = honest.closed.iter().filter(timed_out).count() as u64;
    assert_eq!(ended, FLOOD_S * BEGUN_A_SECOND);
    (most, world.trace())
}

#[test]
fn half_open_handshakes_end_after_ten_seconds_however_many_are_begun() {
    let a_second = usize::try_from(BEGUN_A_SECOND).unwrap();
    for (seed, golden) in [(1, Some(FLOOD_GOLDEN)), (2, None), (3, None)] {
        let (most, trace) = half_open_flood(seed);
        // Ten seconds' worth; a message may be late by a loss or two.
        assert!((9 * a_second..=11 * a_second).contains(&most), "{most}");
        assert!(golden.is_none_or(|g| g == trace), "{trace}");
    }
}

const PATHS_GOLDEN: u64 = 4_183_294_960_832_500_452;

/// Identities are free, but an address is not: its paths are limited to a share, however many identities build them.
fn path_memory_flood(seed: u64) -> u64 {
    let mut dice = Rng::new(&Seed::from_number(seed));
    let mut trace = Fingerprint::default();
    let identities = |dice: &mut Rng, n: usize| -> Vec<Identity> {
        core::iter::repeat_with(|| Identity::from_seed(&dice.array()))
            .take(n)
            .collect()
    };
    let relay = Identity::from_seed(&dice.array());
    let next = Identity::from_seed(&dice.array()).public().node_id();
    let (greedy, peers) = (identities(&mut dice, 300), identities(&mut dice, 20));
    let flood = ChargeTo::V4([192, 0, 2, 66]);
    let rules = Rules {
        onward: [next].into(),
        carries: false,
    };
    let mut hop = Checked::new(Relay::new(relay.public().node_id(), rules, HEADERS_MAX));
    let (mut taken, mut full, mut most) = (0, 0, 0);
    let mut path = |hop: &mut Checked<Relay<u64, (), ()>>, ms: u64, by: &Identity, charge| {
        let now = Now::new(at(ms), UNIX_MS + ms);
        let nodes = [relay.public().node_id(), next];
        let built = build(by, &nodes, now.unix_ms, TTL, None).unwrap();
        let begins = RelayInput::Control {
            from: *by.public(),
            charge,
            session: ms,
            ours: false,
            control: built.control,
        };
        hop.handle_input(now, begins).unwrap();
        while let Some(transmit) = hop.poll_transmit() {
            let then = match transmit {
                RelayTransmit::Check(work) => RelayInput::Judged(work.run(&relay)),
                RelayTransmit::Dial { dial, .. } => RelayInput::Reached { dial, ahead: () },
                RelayTransmit::Refuse { .. } => continue,
                other => panic!("{other:?}"),
            };
            hop.handle_input(now, then).unwrap();
        }
        let got = match hop.poll_event() {
            Some(RelayEvent::GoesOn) => Ok(()),
            Some(RelayEvent::Refused(Refused::Header(why))) => Err(why),
            other => panic!("{other:?}"),
        };
        trace = trace.word(u64::from(got.is_ok()));
        got
    };
    for round in 0..100_u64 {
        let ms = 2_000 * round;
        // Thirty new paths of one address under any identity, and one from another address.
        for n in 0..30 {
            let by = usize::try_from(dice.below(greedy.len() as u64)).unwrap();
            match path(&mut hop, ms + n, &greedy[by], flood) {
                Ok(()) => taken += 1,
                Err(PathError::Full) => full += 1,
                Err(other) => panic!("{other:?}"),
            }
        }
        most = most.max(taken);
        let who = usize::try_from(dice.below(peers.len() as u64)).unwrap();
        let charge = ChargeTo::V4([198, 51, 100, u8::try_from(who).unwrap()]);
        let got = path(&mut hop, ms + 40, &peers[who], charge);
        assert_eq!(got, Ok(()));
    }
    // A 32nd of the memory, though a new path lives for three minutes only and all of them began within four.
    assert_eq!(taken, HEADERS_MAX / 32);
    assert_eq!(taken + full, 3_000);
    assert_eq!(hop.get().remembered(), taken + 100);
    // Remembered paths are forgotten in time, and the address has its share again.
    let later = path(&mut hop, 900_000, &greedy[0], flood);
    assert!(later.is_ok(), "{later:?}");
    assert_eq!((hop.get().remembered(), hop.get().len()), (1, 1));
    trace.finish()
}

#[test]
fn free_identities_of_one_address_fill_a_share_of_the_path_memory() {
    for (seed, golden) in [(1, Some(PATHS_GOLDEN)), (2, None)] {
        let trace = path_memory_flood(seed);
        assert!(golden.is_none_or(|g| g == trace), "{trace}");
    }
}

/// Bytes behind gaps of all sessions that one address may have, including each part's overhead.
fn gaps_of_an_address(seed: u64) -> (usize, usize) {
    const PART: usize = 128;
    let mut dice = Rng::new(&Seed::from_number(seed));
    let identity = Identity::from_seed(&dice.array());
    let mut admission = Admission::new(&Policy::default());
    let ip = "192.0.2.66".parse().unwrap();
    let now = |ms: u64| Now::new(at(ms), UNIX_MS + ms);
    let mut sessions = Vec::new();
    while admission.enter(ip) {
        let raw = Raw::open(now(0), &identity, store(), &mut dice);
        // Held bytes, and the offset of each stream's next part.
        sessions.push((raw, 0_usize, BTreeMap::<u32, u64>::new()));
    }
    assert!(admission.enter("192.0.2.67".parse().unwrap()));
    let mut most = 0;
    let mut ended = 0;
    for ms in 1..40_000 {
        let which = usize::try_from(dice.below(sessions.len() as u64)).unwrap();
        let (raw, held, streams) = &mut sessions[which];
        if raw.ended.is_some() {
            continue;
        }
        // A part of up to 400 bytes behind a gap of a byte, on one of a hundred streams, which are opened in order.
        let open = u64::try_from(streams.len()).unwrap();
        let id = 3 + 2 * u32::try_from(dice.below(100).min(open)).unwrap();
        let len = 1 + usize::try_from(dice.below(400)).unwrap();
        let next = streams.entry(id).or_insert_with(|| {
            raw.stream(now(ms), id, 0, &[1], false);
            2
        });
        raw.stream(now(ms), id, *next, &vec![7; len], false);
        *next += len as u64 + 1;
        raw.drain(now(ms));
        match raw.ended {
            None => {
                *held += len + PART;
                assert!(*held <= 1 << 20, "{held} of a session");
            }
            Some(code) => {
                assert_eq!(code, Code::MALFORMED_FRAME);
                // No part of it is held any more.
                *held = 0;
                ended += 1;
            }
        }
        most = most.max(sessions.iter().map(|s| s.1).sum());
    }
    assert_eq!(sessions.len(), 8);
    (most, ended)
}

#[test]
fn parts_behind_gaps_of_all_sessions_of_an_address_are_bounded_and_end_them() {
    for seed in 1..=3 {
        let (most, ended) = gaps_of_an_address(seed);
        assert!((1 << 20..=8 << 20).contains(&most), "{most}");
        assert_eq!(ended, 8);
    }
}

/// Capabilities with an encoded length of exactly `len` bytes.
fn caps_of(len: usize) -> Vec<u8> {
    let own = offered_caps(true, Extra::default());
    let with = |name: &str| {
        let mut caps: CapMsg<'_> = cbor::from_slice(&own).unwrap();
        caps.features.insert(name, true);
        cbor::to_vec(&caps)
    };
    // The header of a name has three bytes from length 256 on.
    let name = "x".repeat(len - (with(&"x".repeat(300)).len() - 300));
    let caps = with(&name);
    assert_eq!(caps.len(), len);
    caps
}

#[test]
fn capabilities_at_their_bound_are_read_and_above_it_end_the_session() {
    for seed in 1..=5 {
        let mut world: World<Store> = World::new(&Seed::from_number(seed), Weather::FOUL);
        let caps = |caps: Vec<u8>| Config {
            caps,
            ..Config::default()
        };
        world.add(0, node(0, Config::default()));
        // Either side may decide or dial: each parses the other's.
        let peers = 1..=6;
        for id in peers.clone() {
            world.add(id, node(id, caps(caps_of(8_192))));
            world.add(10 + id, node(10 + id, caps(caps_of(8_193))));
        }
        let mut honest = Honest::default();
        let mut good = BTreeSet::new();
        let mut bad = BTreeMap::new();
        for id in peers {
            good.insert(honest.dial(&mut world, id, 0));
            good.insert(honest.dial(&mut world, 0, id));
            bad.insert(honest.dial(&mut world, 10 + id, 0), Side::Server);
            bad.insert(honest.dial(&mut world, 0, 10 + id), Side::Client);
        }
        while let Some(happening) = world.next(at(60_000)) {
            if let Happening::Event { link, side, event } = happening {
                // A peer with too long capabilities may see the session open until the rejection arrives.
                let opens = matches!(event, Event::Established);
                assert!(!opens || bad.get(&link) != Some(&side), "{link} opens");
                honest.event(&mut world, link, side, event);
            }
        }
        assert_eq!(honest.done, good.len());
        for (link, reader) in bad {
            let by = honest.closed.iter().find(|c| (c.0, c.1) == (link, reader));
            let (_, _, code, by) = by.unwrap();
            assert_eq!((*code, *by), (Code::MALFORMED_FRAME, By::Local));
        }
    }
}
