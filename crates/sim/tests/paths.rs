//! Paths over a hundred nodes with wrong clocks, links that copy and change, and hops that fail.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test stops where it is surprised"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use betanet_keys::Identity;
use betanet_machine::{Fingerprint, Now, Rng, Seed, Time};
use betanet_path::{Accepted, Control, Failure, Hop, PathError, TTL, build};
use betanet_wire::{ChargeTo, NodeId};

const NODES: u64 = 100;
const PATHS: u64 = 4_000;
const UNIX_MS: u64 = 1_755_000_000_000;
/// What a clock is wrong by at most, in milliseconds: two of them by more than a hop bears with.
const SKEW_MS: u64 = 80_000;
/// One link's delay.
const LINK: Duration = Duration::from_millis(50);
/// The same in debug and in release.
const GOLDEN: u64 = 11_646_665_053_602_143_743;

struct Node {
    identity: Identity,
    hop: Hop,
    /// Added to the true time less the largest error.
    ahead_ms: u64,
}

/// What a link does to a header.
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
                hop: Hop::new(64 * 256),
                ahead_ms: rng.below(2 * SKEW_MS),
            })
            .collect();
        let ids = nodes.iter().map(|n| n.identity.public().node_id());
        let by_id = ids.zip(0..).collect();
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

    fn receive(
        &mut self,
        from: usize,
        to: usize,
        bytes: &[u8],
    ) -> Option<Result<Accepted, PathError>> {
        let control = Control::from_bytes(bytes).ok()?;
        let (now, key) = (self.now(to), *self.nodes[from].identity.public());
        let charge = ChargeTo::Node(key.node_id());
        let node = &mut self.nodes[to];
        Some(
            node.hop
                .receive(now, &node.identity, (&key, charge), control),
        )
    }

    fn link(&mut self) -> Link {
        match self.rng.below(20) {
            0 => Link::Copies,
            1 => Link::Flips,
            2 => Link::ExchangesTheLast,
            _ => Link::Honest,
        }
    }

    /// One path from its builder to its end, or to where it is refused.
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
        let id = |w: &Self, n: usize| w.nodes[n].identity.public().node_id();
        let ids: Vec<NodeId> = nodes.iter().map(|&n| id(self, n)).collect();
        let unix_ms = self.now(client).unix_ms;
        let Ok(built) = build(&self.nodes[client].identity, &ids, unix_ms, TTL, None) else {
            assert!(nodes.is_empty());
            return;
        };
        let dead = self.rng.below(10) == 0;
        let (mut from, mut control, mut path) = (client, built.control.clone(), built.path);
        let mut garbled = false;
        for (i, &to) in nodes.iter().enumerate() {
            let last = i + 1 == nodes.len();
            if dead && last && i > 0 {
                return self.fails(client, &nodes[..i], path, &built, garbled);
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
                // What a link changes is signed, or is not looked at.
                (Link::Flips | Link::ExchangesTheLast, Some(Err(_)))
                    if bytes != control.to_bytes() =>
                {
                    return self.count("changed");
                }
                (Link::ExchangesTheLast, Some(Ok(_))) => assert_eq!(bytes, control.to_bytes()),
                (_, Some(Err(PathError::Timestamp))) => {
                    // The link's delay moves the difference by as much.
                    assert!(skewed + 1_000 > 120_000, "{skewed}");
                    return self.count("clocks");
                }
                (_, Some(Err(e))) => panic!("{link:?}: {e}"),
                (_, Some(Ok(_))) => assert!(skewed < 121_000),
            }
            garbled |= link == Link::Flips;
            if link == Link::Copies {
                let again = self.receive(from, to, &bytes);
                assert_eq!(again, Some(Err(PathError::Replay)));
                self.count("copies refused");
            }
            match got.unwrap().unwrap() {
                Accepted::Exit { .. } => {
                    assert!(last);
                    return self.count("arrived");
                }
                Accepted::Forward {
                    next,
                    control: onward,
                    onward: name,
                    ..
                } => {
                    assert_eq!(self.by_id[&next], nodes[i + 1]);
                    (from, control, path) = (to, onward, name);
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

    /// The last node is dead: the one before says so, and each hop passes it back under its own name of the path.
    fn fails(
        &mut self,
        client: usize,
        hops: &[usize],
        path: [u8; 8],
        built: &betanet_path::Built,
        garbled: bool,
    ) {
        let (&teller, _) = hops.split_last().unwrap();
        let next = built.route.nodes[hops.len()];
        let (mut prev, mut name) = self.nodes[teller].hop.back(next, path).unwrap();
        let carried = self.nodes[teller]
            .hop
            .carried(self.now(teller), prev, name)
            .unwrap();
        let error = carried
            .route
            .error(Failure::PeerDown, name, &self.nodes[teller].identity);
        let Control::Error {
            failure, key, sig, ..
        } = error
        else {
            panic!("{error:?}");
        };
        let mut by = teller;
        while self.by_id[&prev] != client {
            let own = self.nodes[by].identity.public().node_id();
            by = self.by_id[&prev];
            (prev, name) = self.nodes[by].hop.back(own, name).unwrap();
            self.at = self.at + LINK;
        }
        assert_eq!(name, built.path);
        let named = built.route.failed_hop(failure, &key, &sig);
        if garbled && named.is_none() {
            // No signature covers the segments that are behind a hop: who changes one spoils the errors from beyond.
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
    // Nothing stays that has expired.
    world.at = world.at + Duration::from_secs(3_600);
    for n in 0..world.nodes.len() {
        let now = world.now(n);
        world.nodes[n].hop.expire(now);
        assert!(world.nodes[n].hop.is_empty());
    }
    assert_eq!(world.trace.finish(), GOLDEN);
}
