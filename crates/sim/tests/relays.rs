//! One address floods a relay with paths whose next hops hang, and with streams: it is limited to its share, at no one else's
//! cost.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use std::collections::{BTreeMap, VecDeque};

use betanet_keys::Identity;
use betanet_machine::testkit::Checked;
use betanet_machine::{Fingerprint, Machine as _, Now, Rng, Seed, Time};
use betanet_path::relay::{
    DIALS, DialId, Event, HEADERS_MAX, Input, NEXT_HOP, Place, Refused, Relay, Rules, STREAMS,
    Transmit,
};
use betanet_path::{Failure, PathError, PathId, TTL, build};
use betanet_wire::{ChargeTo, NodeId};

const UNIX_MS: u64 = 1_755_000_000_000;
/// Trace digest, equal in debug and release.
const GOLDEN: u64 = 9_057_319_824_568_199_670;
const FLOOD: ChargeTo = ChargeTo::V4([192, 0, 2, 66]);
/// First number of the flood's streams.
const OF_FLOOD: u64 = 1 << 32;

fn id(of: &Identity) -> NodeId {
    of.public().node_id()
}

struct World {
    relay: Checked<Relay<NodeId, (), u64>>,
    identity: Identity,
    /// Next hops of paths: one that is up, and one that hangs.
    up: NodeId,
    hangs: NodeId,
    ms: u64,
    trace: Fingerprint,
    /// Hanging dials, with their start times.
    hanging: VecDeque<(DialId, u64)>,
    /// Places of forwarded streams, by the charged party.
    places: BTreeMap<ChargeTo, Vec<Place>>,
    told_down: u64,
    refused: BTreeMap<&'static str, u64>,
}

impl World {
    fn new(rng: &mut Rng) -> Self {
        let identity = Identity::from_seed(&rng.array());
        let (up, hangs) = (NodeId(rng.array()), NodeId(rng.array()));
        let rules = Rules {
            onward: [up, hangs].into(),
            carries: false,
        };
        Self {
            relay: Checked::new(Relay::new(id(&identity), rules, HEADERS_MAX)),
            identity,
            up,
            hangs,
            ms: 0,
            trace: Fingerprint::default(),
            hanging: VecDeque::new(),
            places: BTreeMap::new(),
            told_down: 0,
            refused: BTreeMap::new(),
        }
    }

    fn now(&self) -> Now {
        Now::new(Time::from_micros(self.ms * 1000), UNIX_MS + self.ms)
    }

    fn tell(&mut self, input: Input<NodeId, (), u64>) {
        self.relay.handle_input(self.now(), input).unwrap();
        self.settle();
    }

    fn settle(&mut self) {
        while let Some(transmit) = self.relay.poll_transmit() {
            match transmit {
                Transmit::Check(work) => {
                    self.tell(Input::Judged(work.run(&self.identity.clone())));
                }
                Transmit::Dial {
                    dial, next, until, ..
                } => {
                    assert_eq!(until, self.now().mono + NEXT_HOP);
                    if next == self.hangs {
                        self.hanging.push_back((dial, self.ms));
                    } else {
                        assert_eq!(next, self.up);
                        self.tell(Input::Reached { dial, ahead: () });
                    }
                }
                Transmit::Open { stream, place, .. } => {
                    let of = if stream >= OF_FLOOD {
                        FLOOD
                    } else {
                        elsewhere(stream)
                    };
                    self.trace = self.trace.word(stream);
                    self.places.entry(of).or_default().push(place);
                }
                Transmit::Fail { told, .. } => self.told_down += u64::from(told.is_some()),
                Transmit::Answer { .. } | Transmit::Refuse { .. } | Transmit::Reject { .. } => {}
                Transmit::Acknowledge { .. } => panic!("nobody asked"),
            }
        }
        while let Some(event) = self.relay.poll_event() {
            let what = match event {
                Event::Refused(Refused::Header(PathError::Full)) => "headers",
                Event::Refused(Refused::Path(Failure::PolicyDeny)) => "dials",
                Event::Refused(Refused::Stream) => "streams",
                Event::GoesOn => "goes on",
                other => panic!("{other:?}"),
            };
            *self.refused.entry(what).or_default() += 1;
        }
    }

    /// Builds a path over the relay to `then`; returns its ID if the relay accepted it.
    fn path(&mut self, by: &Identity, charge: ChargeTo, then: NodeId) -> Option<PathId> {
        let nodes = [id(&self.identity), then];
        let built = build(by, &nodes, UNIX_MS + self.ms, TTL, None).unwrap();
        let before = self.relay.get().len();
        self.tell(Input::Control {
            from: *by.public(),
            charge,
            session: id(by),
            ours: false,
            control: built.control,
        });
        let taken = self.relay.get().len() > before;
        self.trace = self.trace.word(u64::from(taken));
        taken.then_some(built.path)
    }

    /// Opens a stream; returns whether it was forwarded at once.
    fn stream(&mut self, by: &Identity, charge: ChargeTo, path: PathId, stream: u64) -> bool {
        let before = self.places.get(&charge).map_or(0, Vec::len);
        self.tell(Input::Stream {
            from: id(by),
            charge,
            path,
            stream,
        });
        self.places.get(&charge).map_or(0, Vec::len) > before
    }

    fn pass(&mut self, ms: u64) {
        self.ms += ms;
        let now = self.now();
        if self.relay.poll_timeout().is_some_and(|w| w.at <= now.mono) {
            self.relay.handle_timeout(now);
            self.settle();
        }
        let over = now.mono;
        let began = |ms: u64| Time::from_micros(ms * 1000) + NEXT_HOP;
        while self
            .hanging
            .front()
            .is_some_and(|(_, ms)| began(*ms) <= over)
        {
            self.hanging.pop_front();
        }
    }
}

/// Address to charge for a stream with this number.
fn elsewhere(stream: u64) -> ChargeTo {
    ChargeTo::V4([198, 51, 100, stream.to_le_bytes()[0] % 8])
}

fn flood(seed: u64) -> u64 {
    let mut rng = Rng::new(&Seed::from_number(seed));
    let mut world = World::new(&mut rng);
    let mut identities = |n: usize| -> Vec<Identity> {
        core::iter::repeat_with(|| Identity::from_seed(&rng.array()))
            .take(n)
            .collect()
    };
    let (free, honest) = (identities(40), identities(8));
    let mut flooded: Vec<(usize, PathId)> = Vec::new();
    for round in 0..400_u64 {
        // Its paths lead to the hanging and to the working hop; its streams are on the latter.
        for n in 0..3 {
            let by = usize::try_from((round * 3 + n) % 40).unwrap();
            world.path(&free[by], FLOOD, world.hangs);
            world.pass(1);
        }
        assert!(world.relay.get().dials() <= DIALS.1, "one address");
        assert_eq!(world.hanging.len(), world.relay.get().dials());
        let by = usize::try_from(round % 40).unwrap();
        if let Some(path) = world.path(&free[by], FLOOD, world.up) {
            flooded.push((by, path));
        }
        for (by, path) in flooded.iter().rev().take(4).copied() {
            world.stream(&free[by], FLOOD, path, OF_FLOOD + round);
        }
        let of_flood = world.places.get(&FLOOD).map_or(0, Vec::len);
        assert!(of_flood <= STREAMS.1, "{of_flood} streams of one address");
        // Another address builds a path, opens a stream on it, and soon finishes.
        let who = usize::try_from(round % 8).unwrap();
        let charge = elsewhere(round);
        let path = world.path(&honest[who], charge, world.up).unwrap();
        assert!(world.stream(&honest[who], charge, path, round), "{round}");
        let place = world.places.get_mut(&charge).unwrap().pop().unwrap();
        world.tell(Input::Over { place, down: false });
        world.pass(100);
    }
    let refused = |what| world.refused.get(what).copied().unwrap_or(0);
    assert!(
        refused("dials") > 400 && refused("streams") > 400,
        "{:?}",
        world.refused
    );
    assert!(world.told_down > 0 && refused("headers") == 0);
    let held = world.places.values().map(Vec::len).sum::<usize>();
    assert_eq!(world.relay.get().streams_to(world.up), held);
    // No state remains.
    for place in std::mem::take(&mut world.places).into_values().flatten() {
        world.tell(Input::Over { place, down: false });
    }
    for _ in 0..10 {
        world.pass(60_000);
    }
    let relay = world.relay.get();
    assert_eq!(
        (relay.dials(), relay.streams_to(world.up), relay.len()),
        (0, 0, 0)
    );
    world.trace.finish()
}

#[test]
fn one_address_has_its_share_of_dials_and_streams_and_others_lose_nothing() {
    for (seed, golden) in [(1, Some(GOLDEN)), (2, None)] {
        let trace = flood(seed);
        assert!(golden.is_none_or(|g| g == trace), "{trace}");
    }
}
