//! A relay checks the expiry of headers and of paths that it carries, and the nodes to which paths go on.

use std::time::Duration;

use betanet_machine::Machine as _;
use betanet_machine::testkit::Checked;
use betanet_path::relay::{Input, Relay, Rules, Transmit};
use betanet_path::{AHEAD_S, Control, Failure, PathError, SKEW_S, TTL_RANGE, build};
use betanet_wire::{ChargeTo, Code};

use super::{Accepted, SKEW_MS, World};

const CLIENT: usize = 0;
const FIRST: usize = 1;
const SECOND: usize = 2;
const LAST: usize = 3;

/// A world in which all clocks are right.
fn world() -> World {
    let mut world = World::new(5);
    for node in &mut world.nodes {
        node.ahead_ms = SKEW_MS;
    }
    world
}

impl World {
    /// A header for the first relay, of a path over three nodes with the shortest lifetime.
    fn header(&self) -> (Control, [u8; 8]) {
        let ids = [FIRST, SECOND, LAST].map(|n| self.id(n));
        let unix_ms = self.now(CLIENT).unix_ms;
        let me = &self.nodes[CLIENT].identity;
        let built = build(me, &ids, unix_ms, *TTL_RANGE.start(), None).unwrap();
        (built.control, built.path)
    }

    /// A relay receives a header with a valid signature, and refuses its path; returns the failure that it reports.
    fn refused(&mut self, from: usize, at: usize, header: Control) -> Failure {
        self.message(from, at, header);
        let Some(Transmit::Check(work)) = self.nodes[at].relay.poll_transmit() else {
            panic!("the signature is checked");
        };
        let judged = work.run(&self.nodes[at].identity);
        self.tell(at, Input::Judged(judged));
        let Some(Transmit::Answer { to, message }) = self.nodes[at].relay.poll_transmit() else {
            panic!("the relay answers");
        };
        assert_eq!(to, from);
        let relay = &mut self.nodes[at].relay;
        assert!(relay.poll_transmit().is_none() && relay.get().is_empty());
        match message.sign(&self.nodes[at].identity) {
            Control::Error { failure, .. } => failure,
            other => panic!("{other:?}"),
        }
    }

    /// Opens a stream at a relay; returns the relay's answer.
    fn opens(&mut self, from: usize, at: usize, path: [u8; 8]) -> Transmit<usize, usize, u64> {
        let from = self.id(from);
        let charge = ChargeTo::Node(from);
        let stream = Input::Stream {
            from,
            charge,
            path,
            stream: 7,
        };
        self.tell(at, stream);
        self.nodes[at].relay.poll_transmit().unwrap()
    }
}

#[test]
fn a_header_that_expired_or_expires_too_late_is_refused_for_that() {
    let mut world = world();
    let now = world.now(FIRST).unix_ms / 1000;
    let (header, _) = world.header();
    for (expiry, refused) in [
        (now - SKEW_S - 1, true),
        (now - SKEW_S, false),
        (now + AHEAD_S, false),
        (now + AHEAD_S + 1, true),
    ] {
        // Each relay checks the segments of all hops from its own on.
        for at in 0..3 {
            let Control::Single { mut segments, cf } = header.clone() else {
                panic!("{header:?}");
            };
            segments[at].expiry = u32::try_from(expiry).unwrap();
            let bytes = Control::Single { segments, cf }.to_bytes();
            let got = world.receive(CLIENT, FIRST, &bytes).unwrap();
            // The signature is checked afterwards, and does not cover the change.
            let why = if refused {
                PathError::Expiry
            } else {
                PathError::Signature
            };
            assert_eq!(got.err(), Some(why), "{expiry} at {at}");
        }
    }
    assert!(world.nodes[FIRST].relay.get().is_empty());
}

#[test]
fn a_header_that_expires_on_its_way_goes_no_further_and_its_builder_hears_why() {
    let mut world = world();
    let (header, _) = world.header();
    world.at = world.at + Duration::from_secs(100);
    let got = world.receive(CLIENT, FIRST, &header.to_bytes());
    let Some(Ok(Accepted::Onward(_, _, onward))) = got else {
        panic!("it is in time for the first relay");
    };
    // The link holds it for no longer than clocks may differ, but until after its expiry.
    world.at = world.at + Duration::from_secs(60);
    let failure = world.refused(FIRST, SECOND, onward);
    assert_eq!(failure, Failure::TtlExpired);
}

#[test]
fn a_path_goes_on_to_no_node_that_the_rules_do_not_name() {
    let mut world = world();
    let (header, _) = world.header();
    for (onward, failure) in [(None, Failure::PolicyDeny), (Some(LAST), Failure::NoRoute)] {
        let rules = Rules {
            onward: onward.map(|n| world.id(n)).into_iter().collect(),
            carries: false,
        };
        let relay = Relay::new(world.id(FIRST), rules, 256);
        world.nodes[FIRST].relay = Checked::new(relay);
        assert_eq!(world.refused(CLIENT, FIRST, header.clone()), failure);
    }
}

#[test]
fn a_path_takes_streams_until_its_expiry_and_none_after() {
    let mut world = world();
    let (header, path) = world.header();
    let got = world.receive(CLIENT, FIRST, &header.to_bytes());
    let Some(Ok(Accepted::Onward(dial, ..))) = got else {
        panic!("it is in time");
    };
    let ahead = SECOND;
    world.tell(FIRST, Input::Reached { dial, ahead });
    world.at = world.at + *TTL_RANGE.start();
    let Transmit::Open { place, .. } = world.opens(CLIENT, FIRST, path) else {
        panic!("the path takes streams in its last second");
    };
    world.tell(FIRST, Input::Over { place, down: false });
    // Nothing but the stream tells the relay that time has passed.
    world.at = world.at + Duration::from_secs(1);
    let after = world.opens(CLIENT, FIRST, path);
    assert!(
        matches!(
            after,
            Transmit::Reject {
                stream: 7,
                code: Code::POLICY_REJECTED
            }
        ),
        "{after:?}"
    );
}
