use alloc::vec;

use betanet_keys::Identity;
use betanet_machine::testkit::Checked;

use super::*;
use crate::build::{TTL, build};

const UNIX_MS: u64 = 1_755_000_000_000;

type Tested = Checked<Relay<u32, u32, u32>>;
type Out = Transmit<u32, u32, u32>;

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

fn id(n: u8) -> NodeId {
    identity(n).public().node_id()
}

const fn payer(n: u8) -> ChargeTo {
    ChargeTo::V4([192, 0, 2, n])
}

fn at(ms: u64) -> Now {
    Now::new(Time::from_micros(ms * 1000), UNIX_MS + ms)
}

/// Node 9, from which paths go on to node 8.
fn relay() -> Tested {
    let onward = [id(8)].into();
    let carries = false;
    Checked::new(Relay::new(id(9), Rules { onward, carries }, HEADERS_MAX))
}

/// A header of node `by` over node 9 and `then`; answers what it is answered, and the path's name.
fn header(relay: &mut Tested, ms: u64, (by, charge): (u8, u8), then: &[u8]) -> (PathId, Vec<Out>) {
    let nodes: Vec<NodeId> = [&[9], then].concat().iter().map(|n| id(*n)).collect();
    // Each a little later, or they would be the same header.
    let unix_ms = UNIX_MS + ms;
    let built = build(&identity(by), &nodes, unix_ms, TTL, None).unwrap();
    let control = control(built.control, by, charge);
    relay.handle_input(at(ms), control).unwrap();
    let Some(Transmit::Check(work)) = relay.poll_transmit() else {
        return (built.path, vec![]);
    };
    let judged = Input::Judged(work.run(&identity(9)));
    relay.handle_input(at(ms), judged).unwrap();
    (built.path, drain(relay))
}

fn control(control: Control, by: u8, charge: u8) -> Input<u32, u32, u32> {
    Input::Control {
        from: *identity(by).public(),
        charge: payer(charge),
        session: by.into(),
        ours: false,
        control,
    }
}

fn stream(by: u8, charge: u8, path: PathId, stream: u32) -> Input<u32, u32, u32> {
    Input::Stream {
        from: id(by),
        charge: payer(charge),
        path,
        stream,
    }
}

fn drain(relay: &mut Tested) -> Vec<Out> {
    core::iter::from_fn(|| relay.poll_transmit()).collect()
}

fn events(relay: &mut Tested) -> Vec<Event<u32>> {
    core::iter::from_fn(|| relay.poll_event()).collect()
}

/// The dial that these begin.
fn dial(out: &[Out]) -> DialId {
    let [Transmit::Dial { dial, next, .. }] = out else {
        panic!("{out:?}");
    };
    assert_eq!(*next, id(8));
    *dial
}

/// The failure that these answer with.
fn answered(out: Vec<Out>) -> Option<Failure> {
    let answer = out.into_iter().next()?;
    let Transmit::Answer { to: 1, message } = answer else {
        return None;
    };
    match message.sign(&identity(9)) {
        Control::Error { failure, .. } => Some(failure),
        _ => None,
    }
}

#[test]
fn a_stream_waits_for_the_dial_and_goes_on_under_the_next_links_name() {
    let mut relay = relay();
    let (path, out) = header(&mut relay, 0, (1, 1), &[8, 7]);
    let Transmit::Dial { dial, control, .. } = &out[0] else {
        panic!("{out:?}");
    };
    let at_next = Hop::new(8)
        .receive(
            at(0),
            &identity(8),
            (identity(9).public(), payer(9)),
            control.clone(),
        )
        .unwrap();
    let Accepted::Forward { path: name, .. } = at_next else {
        panic!("{at_next:?}");
    };
    relay.handle_input(at(5), stream(1, 1, path, 70)).unwrap();
    assert!(drain(&mut relay).is_empty());
    let dial = *dial;
    let reached = Input::Reached { dial, ahead: 800 };
    relay.handle_input(at(9), reached).unwrap();
    relay.handle_input(at(9), stream(1, 1, path, 71)).unwrap();
    let mut places = Vec::new();
    for (out, stream) in drain(&mut relay).into_iter().zip([70, 71]) {
        match out {
            Transmit::Open {
                stream: of,
                ahead: 800,
                onward,
                place,
            } => {
                assert_eq!((of, onward), (stream, name));
                places.push(place);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(relay.get().streams_to(id(8)), 2);
    // The session with the next hop goes: the previous hop hears of it once, and the path takes no more.
    for place in places {
        let down = true;
        relay
            .handle_input(at(50), Input::Over { place, down })
            .unwrap();
    }
    let mut out = drain(&mut relay);
    let Some(Transmit::Fail {
        told: Some((1, error)),
        streams,
    }) = out.pop()
    else {
        panic!("{out:?}");
    };
    assert!(out.is_empty() && streams.is_empty());
    let signed = error.sign(&identity(9));
    assert!(
        matches!(signed, Control::Error { failure: Failure::PeerDown, path: p, .. } if p == path)
    );
    assert_eq!((relay.get().streams_to(id(8)), relay.get().len()), (0, 0));
    relay.handle_input(at(60), stream(1, 1, path, 72)).unwrap();
    assert!(matches!(
        drain(&mut relay)[..],
        [Transmit::Reject { stream: 72, .. }]
    ));
}

#[test]
fn a_dial_that_takes_too_long_fails_and_what_comes_of_it_later_counts_no_more() {
    let mut relay = relay();
    let (path, out) = header(&mut relay, 0, (1, 1), &[8, 7]);
    let dial = dial(&out);
    relay.handle_input(at(5), stream(1, 1, path, 70)).unwrap();
    events(&mut relay);
    assert_eq!(relay.poll_timeout().unwrap().at, at(0).mono + NEXT_HOP);
    relay.handle_timeout(at(9_999));
    assert!(drain(&mut relay).is_empty());
    relay.handle_timeout(at(10_000));
    let out = drain(&mut relay);
    assert!(
        matches!(&out[..], [Transmit::Fail { told: Some((1, _)), streams }] if streams[..] == [70])
    );
    assert_eq!(relay.get().dials(), 0);
    for late in [
        Input::Reached { dial, ahead: 800 },
        Input::Unreached {
            dial,
            why: Failure::NoRoute,
        },
    ] {
        relay.handle_input(at(10_001), late).unwrap();
        assert!(drain(&mut relay).is_empty());
    }
}

#[test]
fn a_path_goes_only_where_the_rules_say() {
    let mut relay = relay();
    let (_, out) = header(&mut relay, 0, (1, 1), &[5, 7]);
    assert_eq!(answered(out), Some(Failure::NoRoute));
    relay.get_mut().rules.carries = true;
    let (_, out) = header(&mut relay, 1, (1, 1), &[5, 7]);
    assert_eq!(answered(out), Some(Failure::NoRoute), "not joined yet");
    relay.get_mut().join();
    let (_, out) = header(&mut relay, 2, (1, 1), &[5, 7]);
    assert!(matches!(&out[..], [Transmit::Dial { next, .. }] if *next == id(5)));
    let rules = Rules::default();
    let mut none = Checked::new(Relay::new(id(9), rules, HEADERS_MAX));
    let (_, out) = header(&mut none, 0, (1, 1), &[8, 7]);
    assert_eq!(answered(out), Some(Failure::PolicyDeny));
    assert!(none.get().is_empty());
    // To itself always.
    let (path, out) = header(&mut none, 3, (1, 1), &[]);
    assert!(out.is_empty());
    none.handle_input(at(4), stream(1, 1, path, 70)).unwrap();
    let told = events(&mut none);
    assert!(
        matches!(&told[..], [Event::Refused(Refused::Path(_)), Event::Ends, Event::Session { stream: 70, nodes, .. }] if nodes[..] == [id(9)])
    );
}

#[test]
fn nobodys_paths_come_over_a_session_of_ones_own() {
    let mut relay = relay();
    let built = build(&identity(1), &[id(9)], UNIX_MS, TTL, None).unwrap();
    let Input::Control {
        from,
        charge,
        session,
        control,
        ..
    } = control(built.control, 1, 1)
    else {
        return;
    };
    let ours = true;
    let input = Input::Control {
        from,
        charge,
        session,
        ours,
        control,
    };
    relay.handle_input(at(0), input).unwrap();
    let code = Code::POLICY_REJECTED;
    assert!(matches!(drain(&mut relay)[..], [Transmit::Refuse { to: 1, code: c }] if c == code));
}

#[test]
fn one_who_pays_has_a_share_of_the_dials_and_of_the_streams() {
    let mut relay = relay();
    let mut paths = Vec::new();
    for ms in 0..20 {
        let (path, out) = header(&mut relay, ms, (1, 1), &[8, 7]);
        match answered(out) {
            None => paths.push(path),
            Some(why) => assert_eq!((why, ms >= 16), (Failure::PolicyDeny, true)),
        }
    }
    assert_eq!((paths.len(), relay.get().dials()), (DIALS.1, DIALS.1));
    let (_, out) = header(&mut relay, 20, (2, 2), &[8, 7]);
    let dial = dial(&out);
    // A dial that is over gives its place back.
    relay
        .handle_input(
            at(21),
            Input::Unreached {
                dial,
                why: Failure::NoRoute,
            },
        )
        .unwrap();
    drain(&mut relay);
    assert_eq!(relay.get().dials(), DIALS.1);
    let dials: Vec<DialId> = relay.get().dials.keys().copied().collect();
    for dial in dials {
        relay
            .handle_input(at(22), Input::Reached { dial, ahead: 800 })
            .unwrap();
    }
    events(&mut relay);
    let mut places = Vec::new();
    for n in 0..100 {
        relay
            .handle_input(at(23), stream(1, 1, paths[0], n))
            .unwrap();
        match relay.poll_transmit() {
            Some(Transmit::Open { place, .. }) => places.push(place),
            other => assert!(
                n >= 64 && matches!(other, Some(Transmit::Reject { .. })),
                "{n}"
            ),
        }
        events(&mut relay);
    }
    assert_eq!(places.len(), STREAMS.1);
    relay
        .handle_input(at(24), stream(1, 2, paths[0], 500))
        .unwrap();
    assert!(
        matches!(relay.poll_transmit(), Some(Transmit::Open { .. })),
        "who pays elsewhere"
    );
    let place = places.pop().unwrap();
    relay
        .handle_input(at(25), Input::Over { place, down: false })
        .unwrap();
    relay
        .handle_input(at(25), stream(1, 1, paths[0], 501))
        .unwrap();
    assert!(matches!(relay.poll_transmit(), Some(Transmit::Open { .. })));
}

#[test]
fn lookups_for_others_are_few_and_shared() {
    let mut relay = relay();
    let relay = relay.get_mut();
    let taken = (0..30).filter(|n| relay.look_up(payer(n / 3))).count();
    assert_eq!(taken, LOOKUPS.0);
    relay.looked_up(payer(0));
    assert!(relay.look_up(payer(99)) && !relay.look_up(payer(98)));
}

#[test]
fn an_error_goes_back_under_the_previous_links_name_and_a_path_is_forgotten_in_time() {
    let mut relay = relay();
    let (path, out) = header(&mut relay, 0, (1, 1), &[8, 7]);
    let dial = dial(&out);
    relay
        .handle_input(at(1), Input::Reached { dial, ahead: 800 })
        .unwrap();
    let (_, onward) = relay
        .get()
        .hop
        .carried(at(1), id(1), path)
        .unwrap()
        .onward
        .unwrap();
    let error = Control::Error {
        failure: Failure::NoRoute,
        path: onward,
        key: [3; 32],
        sig: [4; 64],
    };
    // Not from somebody else.
    relay
        .handle_input(at(2), control(error.clone(), 7, 7))
        .unwrap();
    assert!(drain(&mut relay).is_empty());
    relay.handle_input(at(2), control(error, 8, 8)).unwrap();
    let out = drain(&mut relay);
    let [
        Transmit::Fail {
            told: Some((1, Message::Ready(passed))),
            ..
        },
    ] = &out[..]
    else {
        panic!("{out:?}");
    };
    assert!(matches!(passed, Control::Error { path: p, key, .. } if *p == path && *key == [3; 32]));
    header(&mut relay, 3, (1, 1), &[]);
    assert_eq!(relay.get().len(), 1);
    events(&mut relay);
    let ends = relay.poll_timeout().unwrap().at;
    assert!(ends <= at(3).mono + LOOK);
    let mut ms = 4;
    while let Some(wake) = relay.poll_timeout() {
        ms = wake.at.as_micros() / 1000;
        relay.handle_timeout(at(ms));
    }
    assert!(relay.get().is_empty());
    assert!(
        ms > TTL.as_secs() * 1000 && ms < TTL.as_secs() * 1000 + 2_000,
        "{ms}"
    );
}

#[test]
fn what_is_not_fetched_is_no_more_than_the_queues_hold_and_places_come_back_all_the_same() {
    let mut relay = relay();
    let (path, out) = header(&mut relay, 0, (1, 1), &[8, 7]);
    let dial = dial(&out);
    relay
        .handle_input(at(1), Input::Reached { dial, ahead: 800 })
        .unwrap();
    relay.handle_input(at(1), stream(1, 1, path, 0)).unwrap();
    let Some(Transmit::Open { place, .. }) = relay.poll_transmit() else {
        panic!("it goes on");
    };
    let probe = || control(Control::Probe([1; 8]), 1, 1);
    let taken = (0..1_000).filter(|_| relay.handle_input(at(2), probe()).is_ok());
    assert!(taken.count() <= TRANSMITS_MAX);
    assert_eq!(relay.handle_input(at(2), probe()), Err(RelayError::Full));
    relay
        .handle_input(at(2), Input::Over { place, down: true })
        .unwrap();
    assert_eq!(relay.get().streams_to(id(8)), 0);
    assert!(matches!(
        drain(&mut relay).last(),
        Some(Transmit::Fail { .. })
    ));
    relay.handle_input(at(3), probe()).unwrap();
}
