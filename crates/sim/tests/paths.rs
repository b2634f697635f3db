//! Paths over a hundred nodes with wrong clocks, links that copy and change messages, and hops that fail. Each node is the
//! relay that `runtime` runs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test stops where it is surprised"
)]

#[path = "paths/refusals.rs"]
mod refusals;

use std::collections::BTreeMap;
use std::time::Duration;

use betanet_keys::Identity;
use betanet_machine::testkit::Checked;
use betanet_machine::{Fingerprint, Machine as _, Now, Rng, Seed, Time};
use betanet_path::relay::{DialId, Event, Input, Refused, Relay, Rules, Transmit};
use betanet_path::{Built, Control, Failure, PathError, PathId, TTL, build};
use betanet_wire::{ChargeTo, NodeId};

const NODES: u64 = 100;
const PATHS: u64 = 4_000;
const UNIX_MS: u64 = 1_755_000_000_000;
/// Maximum clock error in milliseconds: two of them differ by more than a hop tolerates.
const SKEW_MS: u64 = 80_000;
/// One link's delay.
const LINK: Duration = Duration::from_millis(50);
/// Trace digest, equal in debug and release.
const GOLDEN: u64 = 11_646_665_053_602_143_743;

struct Node {
    identity: Identity,
    /// The relay; its sessions are keyed by the peer node, and its streams by numbers.
    relay: Checked<Relay<usize, usize, u64>>,
    /// Clock offset, added to the true time minus the largest error.
    ahead_ms: u64,
}

/// The outcome of a header at a relay.
enum Accepted {
    /// The path ends there.
    Exit,
    /// The path continues: a dial, the next node, and the header to send.
    Onward(DialId, NodeId, Control),
}

/// Effect of a link on a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Link {
    Honest,
    Copies,
    Flips,
    ExchangesTheLast,
}

struct World {
    nodes: Vec<Node>,
    by_id: BTreeMap<NodeId, usize>,
    rng: Rng,
    at: Time,
    trace: Fingerprint,
    counts: BTreeMap<&'static str, u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(&Seed::from_number(seed));
        let nodes: Vec<Node> = (0..NODES)
            .map(|_| Node {
                identity: Identity::from_seed(&rng.array()),
                relay: Checked::new(Relay::new(NodeId([0; 20]), Rules::default(), 0)),
                ahead_ms: rng.below(2 * SKEW_MS),
            })
            .collect();
        let ids = nodes.iter().map(|n| n.identity.public().node_id());
        let by_id: BTreeMap<NodeId, usize> = ids.zip(0..).collect();
        let mut nodes = nodes;
        for node in &mut nodes {
            let rules = Rules {
                onward: by_id.keys().copied().collect(),
                carries: false,
            };
            let own = node.identity.public().node_id();
            node.relay = Checked::new(Relay::new(own, rules, 64 * 256));
        }
        Self {
            nodes,
            by_id,
            rng,
            at: Time::ZERO,
            trace: Fingerprint::default(),
            counts: BTreeMap::new(),
        }
    }

    fn now(&self, node: usize) -> Now {
        let true_ms = UNIX_MS + self.at.as_micros() / 1000;
        Now::new(self.at, true_ms + self.nodes[node].ahead_ms - SKEW_MS)
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn pick(&mut self) -> usize {
        usize::try_from(self.rng.below(NODES)).unwrap()
    }

    fn id(&self, node: usize) -> NodeId {
        self.nodes[node].identity.public().node_id()
    }

    fn tell(&mut self, node: usize, input: Input<usize, usize, u64>) {
        let now = self.now(node);
        self.nodes[node].relay.handle_input(now, input).unwrap();
    }

    fn message(&mut self, from: usize, to: usize, control: Control) {
        let from_key = *self.nodes[from].identity.public();
        let input = Input::Control {
            from: from_key,
            charge: ChargeTo::Node(from_key.node_id()),
            session: from,
            ours: false,
            control,
        };
        self.tell(to, input);
    }

    fn receive(
        &mut self,
        from: usize,
        to: usize,
        bytes: &[u8],
    ) -> Option<Result<Accepted, PathError>> {
        let control = Control::from_bytes(bytes).ok()?;
        if !matches!(control, Control::Single { .. } | Control::Multi { .. }) {
            // A link turned it into another message.
            return Some(Err(PathError::NotMine));
        }
        self.message(from, to, control);
        let mut accepted = Accepted::Exit;
        while let Some(transmit) = self.nodes[to].relay.poll_transmit() {
            match transmit {
                Transmit::Check(work) => {
                    let judged = work.run(&self.nodes[to].identity);
                    self.tell(to, Input::Judged(judged));
                }
                Transmit::Dial {
                    dial,
                    next,
                    control,
                    ..
                } => accepted = Accepted::Onward(dial, next, control),
                Transmit::Refuse { to, .. } => assert_eq!(to, from),
                other => panic!("{other:?}"),
            }
        }
        let mut got = None;
        while let Some(event) = self.nodes[to].relay.poll_event() {
            match event {
                Event::Refused(Refused::Header(why)) => got = Some(Err(why)),
                Event::GoesOn => assert!(matches!(accepted, Accepted::Onward(..))),
                Event::Ends => assert!(matches!(accepted, Accepted::Exit)),
                other => panic!("{other:?}"),
            }
        }
        Some(got.unwrap_or(Ok(accepted)))
    }

    /// A stream follows an open path to its end.
    fn stream(&mut self, client: usize, nodes: &[usize], built: &Built) -> Vec<NodeId> {
        let (mut from, mut path) = (client, built.path);
        for (i, &at) in nodes.iter().enumerate() {
            let from_id = self.id(from);
            let input = Input::Stream {
                from: from_id,
                charge: ChargeTo::Node(from_id),
                path,
                stream: 7,
            };
            self.tell(at, input);
            match self.nodes[at].relay.poll_transmit() {
                Some(Transmit::Open {
                    stream: 7,
                    ahead,
                    onward,
                    place,
                }) => {
                    assert_eq!(Some(&ahead), nodes.get(i + 1), "the next of the path");
                    self.tell(at, Input::Over { place, down: false });
                    (from, path) = (at, onward);
                }
                None => match self.nodes[at].relay.poll_event() {
                    Some(Event::Session {
                        stream: 7, nodes, ..
                    }) => return nodes,
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            }
        }
        panic!("a path without an end")
    }

    fn link(&mut self) -> Link {
        match self.rng.below(20) {
            0 => Link::Copies,
            1 => Link::Flips,
            2 => Link::ExchangesTheLast,
            _ => Link::Honest,
        }
    }

    /// Builds one path up to its end, or to the node that refuses it.
    fn path(&mut self) {
        self.at = self.at + Duration::from_secs(1);
        let client = self.pick();
        let mut nodes = Vec::new();
        for _ in 0..=self.rng.below(8) {
            let next = self.pick();
            if next != client && !nodes.contains(&next) {
                nodes.push(next);
            }
        }
        let ids: Vec<NodeId> = nodes.iter().map(|&n| self.id(n)).collect();
        let unix_ms = self.now(client).unix_ms;
        let Ok(built) = build(&self.nodes[client].identity, &ids, unix_ms, TTL, None) else {
            assert!(nodes.is_empty());
            return;
        };
        let dead = self.rng.below(10) == 0;
        let (mut from, mut control, mut dialled) = (client, built.control.clone(), None);
        let mut garbled = false;
        for (i, &to) in nodes.iter().enumerate() {
            let last = i + 1 == nodes.len();
            if let Some(dial) = dialled {
                if dead && last {
                    return self.fails(client, &nodes[..i], dial, &built, garbled);
                }
                self.tell(from, Input::Reached { dial, ahead: to });
            }
            let link = self.link();
            let skewed = self.nodes[from].ahead_ms.abs_diff(self.nodes[to].ahead_ms);
            self.at = self.at + LINK;
            let bytes = self.changed(&control, link, last);
            let got = self.receive(from, to, &bytes);
            self.trace = self
                .trace
                .word(to as u64)
                .word(u64::from(matches!(got, Some(Ok(_)))));
            match (link, &got) {
                (Link::Flips, None) => return self.count("unreadable"),
                (_, None) => panic!("{link:?}: {bytes:?}"),
                // A link's change hits signed data, or data that is not read.
                (Link::Flips | Link::ExchangesTheLast, Some(Err(_)))
                    if bytes != control.to_bytes() =>
                {
                    return self.count("changed");
                }
                (Link::ExchangesTheLast, Some(Ok(_))) => assert_eq!(bytes, control.to_bytes()),
                (_, Some(Err(PathError::Timestamp))) => {
                    // The link's delay shifts the difference by as much.
                    assert!(skewed + 1_000 > 120_000, "{skewed}");
                    return self.count("clocks");
                }
                (_, Some(Err(e))) => panic!("{link:?}: {e}"),
                (_, Some(Ok(_))) => assert!(skewed < 121_000),
            }
            garbled |= link == Link::Flips;
            if link == Link::Copies {
                let again = self.receive(from, to, &bytes);
                assert!(matches!(again, Some(Err(PathError::Replay))));
                self.count("copies refused");
            }
            match got.unwrap().unwrap() {
                Accepted::Exit => {
                    assert!(last);
                    let led = self.stream(client, &nodes, &built);
                    assert!(garbled || led == ids);
                    return self.count("arrived");
                }
                Accepted::Onward(dial, next, onward) => {
                    assert_eq!(self.by_id[&next], nodes[i + 1]);
                    (from, control, dialled) = (to, onward, Some(dial));
                }
            }
        }
    }

    fn changed(&mut self, control: &Control, link: Link, last: bool) -> Vec<u8> {
        let mut bytes = control.to_bytes();
        match link {
            Link::Honest | Link::Copies => {}
            Link::Flips => {
                let bit = usize::try_from(self.rng.below(bytes.len() as u64 * 8)).unwrap();
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            Link::ExchangesTheLast if last => {}
            Link::ExchangesTheLast => {
                let other = self.pick();
                let Control::Single { mut segments, cf } = control.clone() else {
                    panic!("{control:?}");
                };
                segments.last_mut().unwrap().next = self.nodes[other].identity.public().node_id();
                bytes = Control::Single { segments, cf }.to_bytes();
            }
        }
        bytes
    }

    /// The node that receives a relay's error for a failed path, the error, and its path ID.
    fn told(&mut self, by: usize) -> (usize, Control, PathId) {
        let Some(Transmit::Fail {
            told: Some((to, message)),
            ..
        }) = self.nodes[by].relay.poll_transmit()
        else {
            panic!("{by} tells nobody");
        };
        let error = message.sign(&self.nodes[by].identity);
        let Control::Error { path, .. } = error else {
            panic!("{error:?}");
        };
        (to, error, path)
    }

    /// The last node is dead: the node before it reports that, and each hop passes the error back under its own ID of the path.
    fn fails(&mut self, client: usize, hops: &[usize], dial: DialId, built: &Built, garbled: bool) {
        let (&teller, _) = hops.split_last().unwrap();
        let why = Failure::PeerDown;
        self.tell(teller, Input::Unreached { dial, why });
        let (mut by, mut told) = (teller, self.told(teller));
        while told.0 != client {
            let (to, error, _) = told;
            self.message(by, to, error);
            (by, told) = (to, self.told(to));
            self.at = self.at + LINK;
        }
        let (_, error, name) = told;
        assert_eq!(by, hops[0]);
        let Control::Error {
            failure, key, sig, ..
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!(name, built.path);
        let named = built.route.failed_hop(failure, &key, &sig);
        if garbled && named.is_none() {
            // No signature covers the segments behind a hop: changing one spoils the errors from beyond.
            return self.count("failures garbled");
        }
        assert_eq!(named.map(|n| self.by_id[&n]), Some(teller));
        self.trace = self.trace.word(teller as u64);
        self.count("failures named");
    }
}

#[test]
fn a_hundred_nodes_carry_what_is_right_and_name_what_fails() {
    let mut world = World::new(3);
    for _ in 0..PATHS {
        world.path();
    }
    println!("{:?}", world.counts);
    for what in [
        "arrived",
        "changed",
        "unreadable",
        "clocks",
        "copies refused",
        "failures named",
    ] {
        assert!(
            world.counts.get(what).is_some_and(|n| *n >= 20),
            "{what}: {:?}",
            world.counts
        );
    }
    // No expired entry remains.
    world.at = world.at + Duration::from_secs(3_600);
    for n in 0..world.nodes.len() {
        let now = world.now(n);
        let relay = &mut world.nodes[n].relay;
        relay.handle_timeout(now);
        assert!(relay.get().is_empty());
        assert_eq!((relay.get().dials(), relay.poll_timeout()), (0, None));
    }
    assert_eq!(world.trace.finish(), GOLDEN);
}
