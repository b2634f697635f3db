//! The laws of paths: what reads writes back, no loop is ever carried, nothing signed can be exchanged.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use betanet_keys::{Identity, PublicKey};
use betanet_machine::{Now, Rng, Seed, Time};
use betanet_path::{
    AHEAD_S, Accepted, BuildError, Cf, Control, ControlError, Ecn, Failure, Hop, PathError, Peers,
    Role, Roles, Segment, TTL, build, segment_stands,
};
use betanet_wire::{ChargeTo, Code, NodeId};
use proptest::prelude::*;

const UNIX_MS: u64 = 1_755_000_000_000;
const CHARGE: ChargeTo = ChargeTo::V4([192, 0, 2, 1]);

fn id(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

fn node(n: u8) -> NodeId {
    id(n).public().node_id()
}

fn now() -> Now {
    Now::new(Time::ZERO, UNIX_MS)
}

fn later(secs: u64) -> Now {
    Now::new(Time::from_micros(secs * 1_000_000), UNIX_MS + secs * 1000)
}

/// What goes over each link of a path from node 0 over nodes 1 to `hops`.
fn walk(hops: u8) -> Vec<Control> {
    let nodes: Vec<NodeId> = (1..=hops).map(node).collect();
    let mut sent = vec![build(&id(0), &nodes, UNIX_MS, TTL, None).unwrap().control];
    for n in 1..=hops {
        let read = Control::from_bytes(&sent[sent.len() - 1].to_bytes()).unwrap();
        match Hop::new(64).receive(now(), &id(n), (id(n - 1).public(), CHARGE), read) {
            Ok(Accepted::Forward { next, control, .. }) if n < hops => {
                assert_eq!(next, node(n + 1));
                sent.push(control);
            }
            Ok(Accepted::Exit { .. }) if n == hops => {}
            other => panic!("hop {n} of {hops}: {other:?}"),
        }
    }
    sent
}

fn segments(control: &Control) -> &[Segment] {
    match control {
        Control::Single { segments, .. } | Control::Multi { segments, .. } => segments,
        other => panic!("{other:?}"),
    }
}

fn with_segments(control: &Control, change: impl FnOnce(&mut Vec<Segment>)) -> Control {
    let mut control = control.clone();
    if let Control::Single { segments, .. } | Control::Multi { segments, .. } = &mut control {
        change(segments);
    }
    control
}

fn refused(at: u8, from: u8, control: Control) -> PathError {
    Hop::new(64)
        .receive(now(), &id(at), (id(from).public(), CHARGE), control)
        .unwrap_err()
}

#[test]
fn paths_of_every_length_lead_to_their_end_and_carry_no_earlier_signature() {
    for hops in 1..=8 {
        let sent = walk(hops);
        assert_eq!(sent.len(), usize::from(hops));
        for (i, control) in sent.iter().enumerate() {
            for (j, s) in segments(control).iter().enumerate() {
                assert_eq!(s.sig.is_some(), i == j);
                assert_eq!(s.timestamp, if i == j { UNIX_MS } else { 0 });
            }
        }
    }
}

#[test]
fn an_entry_cannot_exchange_what_follows_it() {
    let control = build(&id(0), &[node(1), node(2), node(3)], UNIX_MS, TTL, None)
        .unwrap()
        .control;
    for changed in [
        with_segments(&control, |s| s[2].next = node(9)),
        with_segments(&control, |s| s[1].expiry += 1),
        with_segments(&control, |s| s.swap(1, 2)),
        with_segments(&control, |s| s.truncate(2)),
        with_segments(&control, |s| s[0].timestamp += 1),
        with_segments(&control, |s| s[0].expiry += 1),
        with_segments(&control, |s| s[0].sig = None),
    ] {
        assert_eq!(refused(1, 0, changed), PathError::Signature);
    }
}

#[test]
fn each_wrong_header_has_its_error() {
    let control = build(&id(0), &[node(1), node(2)], UNIX_MS, TTL, None)
        .unwrap()
        .control;
    assert_eq!(refused(9, 0, control.clone()), PathError::NotMine);
    assert_eq!(refused(2, 9, control.clone()), PathError::WrongSender);
    assert_eq!(refused(1, 9, control.clone()), PathError::Signature);
    assert_eq!(refused(1, 2, control.clone()), PathError::Loop);
    let twice = with_segments(&control, |s| s.push(s[0]));
    assert_eq!(refused(1, 0, twice), PathError::Loop);
    for (secs, error) in [(121, PathError::Timestamp), (301, PathError::Timestamp)] {
        let got = Hop::new(64).receive(
            later(secs),
            &id(1),
            (id(0).public(), CHARGE),
            control.clone(),
        );
        assert_eq!(got.unwrap_err(), error);
    }
    let ahead = with_segments(&control, |s| s[1].expiry += 3_600);
    assert_eq!(refused(1, 0, ahead), PathError::Expiry);
    let past = with_segments(&control, |s| s[0].expiry -= 301);
    assert_eq!(refused(1, 0, past), PathError::Expiry);
    assert_eq!(refused(1, 0, Control::Probe([0; 8])), PathError::NotMine);
    for error in [PathError::Replay, PathError::Full, PathError::Loop] {
        assert_ne!(error.code(), Code::OK);
    }
}

#[test]
fn a_header_counts_once_and_a_carried_path_ends_with_its_expiry() {
    let mut hop = Hop::new(64 * 8);
    let built = build(&id(0), &[node(1), node(2)], UNIX_MS, TTL, None).unwrap();
    let receive = |hop: &mut Hop, at| {
        hop.receive(at, &id(1), (id(0).public(), CHARGE), built.control.clone())
    };
    let accepted = receive(&mut hop, now()).unwrap();
    assert_eq!(receive(&mut hop, later(60)), Err(PathError::Replay));
    let Accepted::Forward {
        path, next, onward, ..
    } = accepted
    else {
        panic!("{accepted:?}");
    };
    assert_eq!((path, next), (built.path, node(2)));
    let carried = hop.carried(later(180), node(0), path).unwrap();
    assert_eq!(carried.onward, Some((node(2), onward)));
    assert_eq!(carried.route, built.route);
    assert_eq!(hop.carried(later(181), node(0), path), None);
    assert_eq!(hop.carried(now(), node(5), path), None);
    assert_eq!(hop.back(node(2), onward), Some((node(0), path)));
    assert_eq!(hop.expire(later(180)), []);
    assert_eq!(hop.expire(later(181)), [(node(0), path)]);
    assert_eq!(hop.back(node(2), onward), None);
    assert!(hop.is_empty());
}

#[test]
fn paths_that_begin_in_one_millisecond_are_paths_of_their_own() {
    let (mut core, mut exit) = (Hop::new(64 * 64), Hop::new(64 * 64));
    let mut names = BTreeSet::new();
    for client in 10..30 {
        let built = build(&id(client), &[node(1), node(2)], UNIX_MS, TTL, None).unwrap();
        let from = id(client);
        let accepted = core.receive(now(), &id(1), (from.public(), CHARGE), built.control);
        let Ok(Accepted::Forward {
            onward, control, ..
        }) = accepted
        else {
            panic!("{accepted:?}");
        };
        assert!(names.insert(onward));
        let accepted = exit.receive(now(), &id(2), (id(1).public(), CHARGE), control);
        assert_eq!(accepted, Ok(Accepted::Exit { path: onward }));
    }
}

#[test]
fn one_peer_carries_no_more_than_its_share() {
    let mut hop = Hop::new(64 * 2);
    let mut taken = 0;
    for i in 0..10 {
        let built = build(&id(0), &[node(1)], UNIX_MS + i, TTL, None).unwrap();
        match hop.receive(now(), &id(1), (id(0).public(), CHARGE), built.control) {
            Ok(_) => taken += 1,
            Err(e) => assert_eq!(e, PathError::Full),
        }
    }
    assert_eq!((taken, hop.len(), hop.remembered()), (2, 2, 2));
}

#[test]
fn free_identities_of_one_address_carry_two_shares_and_no_longer_than_a_builder_may_ask() {
    let mut hop = Hop::new(64 * 2);
    let mut attempt = |n: u8, at: Now, charge| {
        let nodes = [node(100), node(101)];
        let built = build(&id(n), &nodes, at.unix_ms, TTL, None).unwrap();
        // No builder asks for an hour, but a header may.
        let hour = at.unix_ms / 1000 + AHEAD_S;
        let expiry = u32::try_from(hour).unwrap();
        let control = with_segments(&built.control, |s| {
            s.iter_mut().for_each(|s| s.expiry = expiry);
        });
        let control = signed(control, &id(n));
        let got = hop.receive(at, &id(100), (id(n).public(), charge), control);
        (got.map(|_| ()), hop.len())
    };
    let taken = (0..64)
        .filter(|n| attempt(*n, now(), CHARGE).0.is_ok())
        .count();
    assert_eq!(taken, 4);
    assert_eq!(attempt(64, now(), CHARGE).0, Err(PathError::Full));
    let other = ChargeTo::V4([192, 0, 2, 2]);
    assert_eq!(attempt(65, now(), other), (Ok(()), 5));
    // 600 s by a clock that is 120 s off.
    let before = attempt(66, later(720), CHARGE);
    assert_eq!(before, (Err(PathError::Full), 5));
    assert_eq!(attempt(67, later(721), CHARGE), (Ok(()), 1));
}

/// Signed anew by its first sender.
fn signed(control: Control, by: &Identity) -> Control {
    let digest_of = |c: &Control| {
        let s = segments(c);
        let later: Vec<u8> = s[1..]
            .iter()
            .flat_map(|s| [&s.next.0[..], &s.expiry.to_be_bytes()].concat())
            .collect();
        [
            &[2, 1, 0][..],
            &s[0].next.0,
            &s[0].expiry.to_be_bytes(),
            &by.public().node_id().0,
            &s[0].timestamp.to_be_bytes(),
            &betanet_keys::hash(&[&later]),
        ]
        .concat()
    };
    let sig = by.sign("BN-L1-seg", &[&digest_of(&control)]);
    with_segments(&control, |s| s[0].sig = Some(sig))
}

#[test]
fn a_fallback_is_its_senders_affair() {
    let single = build(&id(0), &[node(1), node(2)], UNIX_MS, TTL, None).unwrap();
    let mut list = segments(&single.control).to_vec();
    list[0].sig = None;
    let control = Control::Multi {
        segments: list,
        cf: None,
    };
    // Signed by the rules for its own type, which cover no later segment.
    let text = [
        &[2, 3, 0][..],
        &node(1).0,
        &segments(&control)[0].expiry.to_be_bytes(),
        &node(0).0,
        &UNIX_MS.to_be_bytes(),
    ]
    .concat();
    let control = with_segments(&control, |s| {
        s[0].sig = Some(id(0).sign("BN-L1-seg", &[&text]));
    });
    assert!(segment_stands(&control, 0, id(0).public()));
    let got = Hop::new(64).receive(now(), &id(1), (id(0).public(), CHARGE), control.clone());
    assert!(matches!(got, Ok(Accepted::Exit { .. })));
    assert_eq!(refused(2, 1, control), PathError::NotMine);
}

#[test]
fn an_error_names_a_hop_of_the_path_or_nobody() {
    let built = build(&id(0), &[node(1), node(2), node(3)], UNIX_MS, TTL, None).unwrap();
    let failed = |control: &Control| match control {
        Control::Error {
            failure, key, sig, ..
        } => built.route.failed_hop(*failure, key, sig),
        other => panic!("{other:?}"),
    };
    let error = built.route.error(Failure::PeerDown, [7; 8], &id(2));
    assert_eq!(failed(&error), Some(node(2)));
    let read = Control::from_bytes(&error.to_bytes()).unwrap();
    assert_eq!(read, error);
    let stranger = built.route.error(Failure::PeerDown, [7; 8], &id(9));
    assert_eq!(failed(&stranger), None);
    let Control::Error { path, key, sig, .. } = error else {
        panic!("{error:?}");
    };
    let failure = Failure::NoRoute;
    assert_eq!(
        failed(&Control::Error {
            failure,
            path,
            key,
            sig
        }),
        None
    );
}

#[test]
fn no_builder_makes_a_loop_or_a_path_of_another_length() {
    let make = |nodes: &[NodeId]| build(&id(0), nodes, UNIX_MS, TTL, None);
    assert_eq!(make(&[]), Err(BuildError::Length(0)));
    let nine: Vec<NodeId> = (1..=9).map(node).collect();
    assert_eq!(make(&nine), Err(BuildError::Length(9)));
    assert_eq!(make(&[node(1), node(1)]), Err(BuildError::Loop(node(1))));
    assert_eq!(make(&[node(0)]), Err(BuildError::Loop(node(0))));
    for secs in [119, 601] {
        let got = build(&id(0), &[node(1)], UNIX_MS, Duration::from_secs(secs), None);
        assert_eq!(got, Err(BuildError::Ttl));
    }
}

fn everybody(peers: &mut Peers, nodes: &[NodeId], at: Time) {
    let roles = Roles {
        entry: true,
        core: true,
        exit: true,
    };
    for &n in nodes {
        assert!(peers.set(n, roles));
        peers.answered(at, n, Duration::from_millis(50));
    }
}

#[test]
fn a_severe_hop_is_drawn_first_half_as_often_as_its_equals() {
    let mut peers = Peers::new();
    let nodes: Vec<NodeId> = (0..10).map(|n| NodeId([n; 20])).collect();
    everybody(&mut peers, &nodes, Time::ZERO);
    let severe = Cf {
        ecn: Ecn::Severe,
        ..Cf::default()
    };
    peers.congestion(Time::ZERO, nodes[3], severe);
    let mut rng = Rng::new(&Seed::from_number(1));
    let mut first = [0_u32; 10];
    for _ in 0..100_000 {
        let drawn = peers.draw(Time::ZERO, Role::Core, &[], &mut rng);
        assert_eq!(drawn.len(), 3);
        first[usize::from(drawn[0].0[0])] += 1;
    }
    let others = f64::from(100_000 - first[3]) / 9.0;
    let ratio = f64::from(first[3]) / others;
    assert!((ratio - 0.5).abs() <= 0.02, "{ratio}: {first:?}");
    // A minute later it is one of ten again.
    let at = Time::from_micros(60_000_000);
    everybody(&mut peers, &nodes, at);
    let mut again = 0;
    for _ in 0..100_000 {
        again += u32::from(peers.draw(at, Role::Core, &[], &mut rng)[0] == nodes[3]);
    }
    assert!((f64::from(again) / 10_000.0 - 1.0).abs() < 0.05, "{again}");
}

#[test]
fn the_nearest_of_those_drawn_is_chosen_and_paths_share_no_node() {
    let mut peers = Peers::new();
    let nodes: Vec<NodeId> = (0..7).map(|n| NodeId([n; 20])).collect();
    everybody(&mut peers, &nodes, Time::ZERO);
    let mut rng = Rng::new(&Seed::from_number(2));
    let exit = nodes[6];
    for _ in 0..1_000 {
        let first = peers.path(Time::ZERO, exit, 3, &[], &mut rng).unwrap();
        let second = peers
            .path(Time::ZERO, exit, 3, &first[..2], &mut rng)
            .unwrap();
        let both = [&first[..2], &second[..2]].concat();
        let distinct: BTreeSet<_> = both.iter().chain([&exit]).collect();
        assert_eq!(distinct.len(), 5);
    }
    let ways = peers.ways(Time::ZERO, exit, 3, &[], &mut rng);
    let relays: BTreeSet<_> = ways.iter().flat_map(|w| &w[..2]).collect();
    assert_eq!((ways.len(), relays.len()), (3, 6), "of six relays");
    assert!(ways.iter().all(|w| w[2] == exit));
    assert_eq!(peers.ways(Time::ZERO, exit, 1, &[], &mut rng), [[exit]]);
    let two = &nodes[..2];
    peers.answered(Time::ZERO, two[1], Duration::from_millis(10));
    for _ in 0..100 {
        let chosen = peers.choose(Time::ZERO, Role::Entry, &nodes[2..], &mut rng);
        assert_eq!(chosen, Some(two[1]));
    }
}

#[test]
fn who_fails_is_out_longer_each_time_and_who_is_silent_is_no_candidate() {
    let mut peers = Peers::new();
    let one = NodeId([1; 20]);
    let at = |secs: u64| Time::from_micros(secs * 1_000_000);
    let mut rng = Rng::new(&Seed::from_number(3));
    everybody(&mut peers, &[one], at(0));
    let is = |peers: &Peers, secs| peers.is_candidate(at(secs), one, Role::Exit);
    assert!(is(&peers, 59) && !is(&peers, 60));
    for secs in 1..=20 {
        peers.answered(at(secs), one, Duration::from_millis(50));
    }
    // Two of 23 are under 10 %, three of 24 above.
    peers.timed_out(at(21), one, &mut rng);
    peers.timed_out(at(21), one, &mut rng);
    assert!(is(&peers, 22));
    peers.timed_out(at(22), one, &mut rng);
    assert!(!is(&peers, 23));
    // Out for 150 s to 450 s the first time, though the failures are forgotten in between.
    everybody(&mut peers, &[one], at(22 + 149));
    assert!(!is(&peers, 22 + 149));
    everybody(&mut peers, &[one], at(22 + 451));
    assert!(is(&peers, 22 + 451));
}

fn any_segment() -> impl Strategy<Value = Segment> {
    (
        any::<[u8; 20]>(),
        any::<u32>(),
        any::<u64>(),
        any::<Option<[u8; 32]>>(),
    )
        .prop_map(|(next, expiry, timestamp, sig)| Segment {
            next: NodeId(next),
            expiry,
            timestamp,
            sig: sig.map(|half| [half, half].concat().try_into().unwrap()),
        })
}

fn any_cf() -> impl Strategy<Value = Cf> {
    let ecn = prop_oneof![Just(Ecn::None), Just(Ecn::Moderate), Just(Ecn::Severe)];
    (ecn, 0..=100_u8, any::<u16>(), any::<u16>()).prop_map(|(ecn, loss, rtt_ms, queue)| Cf {
        ecn,
        loss,
        rtt_ms,
        queue,
    })
}

fn any_control() -> impl Strategy<Value = Control> {
    let segments = |least| proptest::collection::vec(any_segment(), least..=8);
    prop_oneof![
        (segments(1), proptest::option::of(any_cf()))
            .prop_map(|(segments, cf)| Control::Single { segments, cf }),
        (segments(2), proptest::option::of(any_cf()))
            .prop_map(|(segments, cf)| Control::Multi { segments, cf }),
        any::<[u8; 8]>().prop_map(Control::Probe),
        (any::<[u8; 8]>(), any_cf()).prop_map(|(token, cf)| Control::ProbeAck { token, cf }),
        any_cf().prop_map(Control::Congestion),
        (any::<[u8; 8]>(), any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(path, key, half)| {
            Control::Error {
                failure: Failure::TtlExpired,
                path,
                key,
                sig: [half, half].concat().try_into().unwrap(),
            }
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_reads_back_and_nothing_shorter_or_longer_does(control in any_control()) {
        let bytes = control.to_bytes();
        prop_assert_eq!(Control::from_bytes(&bytes), Ok(control));
        for n in 0..bytes.len() {
            prop_assert!(Control::from_bytes(&bytes[..n]).is_err());
        }
        let longer = [&bytes[..], &[0]].concat();
        prop_assert_eq!(Control::from_bytes(&longer), Err(ControlError::Length));
    }

    #[test]
    fn what_reads_writes_back(bytes in proptest::collection::vec(any::<u8>(), 0..200), valid in any_control(), at in any::<prop::sample::Index>()) {
        // Valid bytes with one changed reach deeper than random ones.
        let mut changed = valid.to_bytes();
        let i = at.index(changed.len());
        changed[i] ^= bytes.first().copied().unwrap_or(1);
        for input in [bytes, changed] {
            if let Ok(control) = Control::from_bytes(&input) {
                prop_assert_eq!(control.to_bytes(), input);
            }
        }
    }

    #[test]
    fn no_hop_carries_a_loop(list in proptest::collection::vec(0..6_u8, 1..=8), at in 0..6_u8, from in 0..6_u8) {
        // Whoever signs whatever: a header that meets a node twice, or its sender again, is never taken.
        let expiry = u32::try_from(UNIX_MS / 1000 + 180).unwrap();
        let segments: Vec<Segment> = list
            .iter()
            .map(|&n| Segment { next: node(n), expiry, timestamp: UNIX_MS, sig: Some([1; 64]) })
            .collect();
        let mut seen = BTreeSet::new();
        let repeats = !list.iter().all(|n| seen.insert(n));
        let control = Control::Single { segments, cf: None };
        let got = Hop::new(64).receive(now(), &id(at), (id(from).public(), CHARGE), control);
        prop_assert!(got.is_err());
        if repeats {
            prop_assert_eq!(got, Err(PathError::Loop));
        }
    }

    #[test]
    fn a_flipped_bit_is_refused_where_it_is_signed(hops in 1..=8_u8, bit in any::<prop::sample::Index>()) {
        let nodes: Vec<NodeId> = (1..=hops).map(node).collect();
        let control = build(&id(0), &nodes, UNIX_MS, TTL, None).unwrap().control;
        let mut bytes = control.to_bytes();
        let i = bit.index(bytes.len() * 8);
        bytes[i / 8] ^= 1 << (i % 8);
        let from: &PublicKey = &id(0).public().to_owned();
        if let Ok(read) = Control::from_bytes(&bytes)
            && let Ok(Accepted::Forward { control: sent, .. }) =
                Hop::new(64).receive(now(), &id(1), (from, CHARGE), read)
        {
            // The later segments' own timestamps and signatures are their owners' to set.
            let wanted = Hop::new(64).receive(now(), &id(1), (from, CHARGE), control).unwrap();
            let Accepted::Forward { control: wanted, .. } = wanted else { unreachable!() };
            prop_assert_eq!(segments(&sent)[1], segments(&wanted)[1]);
        }
    }
}
