use alloc::vec;
use proptest::prelude::*;

use betanet_machine::Time;

use super::*;

/// After so many milliseconds.
fn step(ms: u16, up: bool, size: u16) -> Step {
    let gap = Gap::new(Duration::from_millis(ms.into()));
    Step { gap, up, size }
}

/// After so many microseconds.
fn after(micros: u64, up: bool, size: u16) -> Step {
    let gap = Gap::new(Duration::from_micros(micros));
    Step { gap, up, size }
}

fn record(at: u64, up: bool, kind: u8, size: u16) -> Record {
    Record { at, up, kind, size }
}

#[test]
fn what_is_learnt_is_the_page_behind_the_handshake() {
    let records = [
        record(0, true, 22, 1944),
        record(5_000, false, 22, 1210),
        record(5_000, false, 23, 519),
        record(8_000, true, 23, 53),
        record(8_000, true, 23, 87),
        record(9_000, true, 23, 463),
        record(10_000, false, 23, 179),
        record(10_000, false, 23, 44),
        record(10_000, false, 23, 39),
        record(11_000, true, 23, 26),
        record(13_000, false, 23, 4501),
        record(80_000, true, 23, 115),
        record(81_000, false, 23, 16_401),
        record(81_000, false, 23, 26),
    ];
    let learnt = learn(&records, 3).unwrap();
    assert_eq!(
        learnt,
        [
            step(0, true, 463),
            step(4, false, 4501),
            step(67, true, 115),
            step(1, false, 16_401),
            step(0, false, 26),
        ]
    );
    assert_eq!(learn(&records[..6], 3), None, "a request without an answer");
    assert_eq!(learn(&[], 3), None);
}

#[test]
fn a_follower_sends_in_its_turns_and_waits_for_the_others() {
    let trace = [
        step(0, true, 463),
        step(4, false, 4501),
        after(90, false, 100),
        step(60, true, 115),
    ];
    let at = |ms: u64| Time::from_micros(ms * 1000);
    let mut client = Follower::new(at(0), &trace, true);
    let mut server = Follower::new(at(0), &trace, false);
    assert_eq!(client.due(at(0)), Some(&[463][..]));
    client.sent(at(0), 1);
    assert_eq!((client.due(at(1)), server.due(at(1))), (None, None));
    assert_eq!(
        server.own(),
        Some(&[4501, 100][..]),
        "what it says next is known"
    );
    assert_eq!(server.next(), None, "but not yet when");
    server.received(at(2), 446);
    assert_eq!(server.due(at(2)), None);
    // An answer is so much later than what it answers came.
    assert_eq!((server.next(), server.wake()), (Some(at(6)), Some(at(6))));
    assert_eq!(server.until(at(5)).count(), 0);
    assert_eq!(server.until(at(6)).next(), Some(&[4501, 100][..]));
    assert_eq!(server.due(at(6)), Some(&[4501, 100][..]));
    server.sent(at(6), 1);
    assert_eq!(server.due(at(6)), Some(&[100][..]), "the rest at once");
    server.sent(at(6), 9);
    client.received(at(7), 4484);
    // A client's own clock goes on from when the answer was to be, and over what lies between an answer's records.
    assert_eq!(client.wake(), Some(Time::from_micros(64_090)));
    assert_eq!(client.due(at(64)), None);
    assert_eq!(client.due(Time::from_micros(64_040)), Some(&[115][..]));
    client.sent(at(65), 1);
    assert!(client.is_over() && client.wake().is_none());
    // A client that says nothing holds the server up for a while only.
    assert_eq!(server.due(at(215)), None);
    assert!(!server.is_over());
    assert_eq!(server.due(at(217)), None);
    assert!(server.is_over());
}

#[test]
fn a_servers_long_write_is_one_burst_and_what_it_says_later_is_another() {
    let long = 30;
    let mut trace = vec![step(0, true, 117), step(4, false, 16_401)];
    trace.extend((1..long).map(|_| after(90, false, 16_401)));
    trace.push(after(250, false, 16_401));
    trace.push(step(60, true, 115));
    let mut server = Follower::new(Time::ZERO, &trace, false);
    server.received(Time::ZERO, 100);
    let lengths = |server: &mut Follower, at| server.due(Time::from_micros(at)).map(<[u16]>::len);
    // Two milliseconds are the longest; a quarter of one within is a pause.
    let mut at = 4000;
    for (records, next) in [(23, 4000 + 23 * 90), (7, 4000 + 29 * 90 + 250), (1, 0)] {
        assert_eq!(lengths(&mut server, at), Some(records));
        server.sent(Time::from_micros(at), records);
        assert!(
            next == 0 || server.next() == Some(Time::from_micros(next.max(at))),
            "{at}"
        );
        at = next;
    }
    // A client's requests are writes of their own.
    let trace = [step(0, true, 54), after(90, true, 54)];
    let mut client = Follower::new(Time::ZERO, &trace, true);
    assert_eq!(lengths(&mut client, 0), Some(1));
}

#[test]
fn a_client_goes_on_in_its_time_while_it_reads() {
    let trace = [
        step(0, true, 463),
        step(4, false, 4501),
        step(1, true, 115),
        step(4, false, 4501),
        step(1, true, 115),
    ];
    let at = |ms: u64| Time::from_micros(ms * 1000);
    let mut client = Follower::new(at(0), &trace, true);
    client.sent(at(0), 1);
    client.received(at(4), 2000);
    assert_eq!(client.due(at(5)), None);
    assert_eq!(client.wake(), Some(at(154)));
    client.received(at(5), 300);
    assert_eq!(client.due(at(5)), Some(&[115][..]), "half an answer");
    client.sent(at(5), 1);
    // The rest is not the next answer's.
    client.received(at(6), 2184);
    client.received(at(9), 1700);
    assert_eq!(client.due(at(10)), None);
    assert_eq!(client.wake(), Some(at(159)));
    client.received(at(10), 100);
    assert_eq!(client.due(at(10)), Some(&[115][..]));
}

#[test]
fn a_little_that_is_late_or_early_is_made_up_for_and_much_is_not() {
    let trace = [step(10, true, 117), step(50, true, 217)];
    let at = |ms: u64| Time::from_micros(ms * 1000);
    for (late, next) in [(0, 60), (20, 60), (21, 81), (100, 160)] {
        let mut client = Follower::new(at(0), &trace, true);
        client.sent(at(10 + late), 1);
        assert_eq!(client.wake(), Some(at(next)), "{late}");
    }
    let trace = [
        step(0, true, 117),
        step(100, false, 217),
        step(50, true, 117),
    ];
    for (early, next) in [(0, 150), (20, 150), (21, 129), (100, 50)] {
        let mut client = Follower::new(at(0), &trace, true);
        client.sent(at(0), 1);
        client.received(at(100 - early), 200);
        assert_eq!(client.wake(), Some(at(next)), "{early}");
    }
}

#[test]
fn what_leaves_one_by_one_does_so_however_late_it_is() {
    let trace = [
        step(0, true, 54),
        after(10, true, 54),
        after(300, true, 54),
        after(700, true, 54),
    ];
    let micros = Time::from_micros;
    let mut client = Follower::new(micros(0), &trace, true);
    assert_eq!(client.due(micros(2000)), Some(&[54, 54][..]), "one write");
    client.sent(micros(2000), 2);
    assert_eq!(client.due(micros(2200)), None);
    assert_eq!(client.next(), Some(micros(2310)));
    client.sent(micros(2310), 1);
    // The longer gap makes up for it, as far as it can.
    assert_eq!(client.next(), Some(micros(2810)));
}

proptest! {
    #[test]
    fn a_gap_is_kept_to_the_unit_and_what_it_loses_does_not_add_up(
        micros in 0u64..400_000, gaps in proptest::collection::vec(0u64..50_000, 1..100),
    ) {
        let kept = Duration::from(Gap::new(Duration::from_micros(micros)));
        let off = Duration::from_micros(micros).abs_diff(kept);
        let most = if micros < 327_000 { 5 } else { 500 };
        prop_assert!(off <= Duration::from_micros(most));
        prop_assert_eq!(Gap::new(kept), Gap::new(Duration::from_micros(micros)));
        let mut at = 0;
        let mut records = vec![record(0, true, 23, 53), record(0, true, 23, 87), record(0, true, 23, 463)];
        for (n, gap) in gaps.iter().enumerate() {
            at += gap;
            records.push(record(at, n % 2 == 1, 23, 100));
        }
        let learnt = learn(&records, 0).unwrap();
        let whole: Duration = learnt.iter().map(|s| Duration::from(s.gap)).sum();
        prop_assert!(whole.abs_diff(Duration::from_micros(at)) <= UNIT);
    }
}

#[test]
fn a_gap_is_half_a_minute_at_most() {
    let long = Gap::new(Duration::from_secs(99));
    assert_eq!(Duration::from(long), Duration::from_millis(32_767));
    assert_eq!(
        Duration::from(Gap::new(Duration::from_millis(1500))).as_millis(),
        1500
    );
}

#[test]
fn what_cannot_wait_goes_in_records_of_later_bursts() {
    let trace = [
        step(0, true, 117),
        step(1, false, 1000),
        step(9, true, 217),
        step(9, true, 317),
    ];
    let mut client = Follower::new(Time::ZERO, &trace, true);
    client.stretch(250);
    assert_eq!(client.due(Time::ZERO), Some(&[117, 217][..]));
    client.stretch(1000);
    assert_eq!(client.due(Time::ZERO), Some(&[117, 217, 217, 317, 317][..]));
    client.sent(Time::ZERO, 9);
    client.received(Time::ZERO, 1000);
    // Its later bursts are as they were.
    assert_eq!(client.due(Time::from_micros(9_900)), None);
    assert_eq!(client.due(Time::from_micros(10_000)), Some(&[217][..]));
}

#[test]
fn what_is_not_waited_for_is_passed() {
    let trace = [
        step(9, false, 1000),
        step(9, true, 217),
        step(9, false, 1000),
        step(500, true, 317),
    ];
    let at = Time::from_micros(1);
    let mut client = Follower::new(Time::ZERO, &trace, true);
    client.at_once(at);
    assert_eq!(client.due(at), Some(&[217][..]));
    client.sent(at, 1);
    client.answered(at);
    assert_eq!(client.wake(), Some(Time::from_micros(500_001)));
    let mut server = Follower::new(Time::ZERO, &trace, false);
    server.at_once(at);
    assert_eq!(server.due(at), Some(&[1000][..]));
}

#[test]
fn both_ends_draw_the_same_traces_and_only_they_see_the_mark() {
    let traces = (18..118).map(|n| vec![step(0, true, n), step(1, false, n)]);
    let shape = Shape::new(traces.collect()).unwrap();
    let again = Shape::from_bytes(&shape.to_bytes()).unwrap();
    let (key, other) = ([1; 32], [2; 32]);
    assert!((0..50).all(|n| shape.drawn(&key, n) == again.drawn(&key, n)));
    assert!((0..50).any(|n| shape.drawn(&key, n) != shape.drawn(&other, n)));
    assert_eq!(shape.mark(&key), again.mark(&key));
    assert_ne!(shape.mark(&key), shape.mark(&other));
    assert_eq!(shape.mark(&key).len(), 8);
}

#[test]
fn what_is_no_shape_is_said() {
    let map = |version, traces: Vec<&[u8]>| {
        cbor::to_vec(&Map {
            version,
            pauses: None,
            traces,
        })
    };
    let cases: [(Vec<u8>, ShapeError); 6] = [
        (
            map(FORMAT - 1, vec![&[0, 0, 0x80, 100]]),
            ShapeError::Version,
        ),
        (map(FORMAT, vec![]), ShapeError::Traces),
        (map(FORMAT, vec![&[]]), ShapeError::Steps),
        (map(FORMAT, vec![&[0, 0, 0x80]]), ShapeError::Steps),
        (map(FORMAT, vec![&[0, 0, 0x80, 17]]), ShapeError::Size(17)),
        (
            map(FORMAT, vec![&[0, 0, 0x7f, 0xff]]),
            ShapeError::Size(0x7fff),
        ),
    ];
    for (bytes, error) in cases {
        assert_eq!(Shape::from_bytes(&bytes), Err(error));
    }
    assert!(matches!(Shape::from_bytes(b"no"), Err(ShapeError::Cbor(_))));
}

proptest! {
    #[test]
    fn shapes_come_back_as_they_were(
        traces in proptest::collection::vec(
            proptest::collection::vec((0_u16.., any::<bool>(), 18..=RECORD_MAX), 1..40), 1..5),
    ) {
        let traces = traces.into_iter();
        let traces = traces.map(|t| t.into_iter().map(|(gap, up, size)| Step { gap: Gap(gap), up, size }).collect());
        let shape = Shape::new(traces.collect()).unwrap();
        prop_assert_eq!(Shape::from_bytes(&shape.to_bytes()).unwrap(), shape);
    }

    #[test]
    fn a_trace_is_followed_to_its_end_whatever_the_other_side_does(
        trace in proptest::collection::vec((0_u16..500, any::<bool>(), 18..=RECORD_MAX), 1..40),
        up in any::<bool>(),
    ) {
        let trace: Trace = trace.into_iter().map(|(g, u, s)| step(g, u, s)).collect();
        let mut follower = Follower::new(Time::ZERO, &trace, up);
        let mut sent = Vec::new();
        while let Some(at) = follower.wake() {
            if let Some(records) = follower.due(at) {
                sent.extend_from_slice(records);
                follower.sent(at, usize::MAX);
            }
        }
        let own: Vec<u16> = trace.iter().filter(|s| s.up == up).map(|s| s.size).collect();
        prop_assert_eq!(sent, own);
    }
}

#[test]
fn pauses_are_learnt_and_kept() {
    let at = |at, up, kind, size| Record { at, up, kind, size };
    let records = [
        at(0, true, 22, 1900),
        at(300, false, 22, 1210),
        at(400, false, 23, 518),
        at(12_345, true, 20, 1),
        at(12_346, true, 23, 53),
        at(12_386, true, 23, 87),
        at(12_506, true, 23, 1728),
        at(13_000, false, 23, 179),
        at(13_100, false, 23, 44),
        at(15_555, true, 23, 26),
    ];
    let learnt = learn_pauses(&records).unwrap();
    assert_eq!(learnt.answer, Duration::from_micros(11_945));
    assert_eq!(learnt.preface, Duration::from_micros(40));
    assert_eq!(learnt.request, Duration::from_micros(120));
    assert_eq!(learnt.acknowledge, Duration::from_micros(2555));
    let none = learn_pauses(&records[..9]).unwrap().acknowledge;
    assert_eq!(none, Duration::ZERO);
    let joined = [&records[..6], &records[7..]].concat();
    let joined = learn_pauses(&joined).unwrap();
    assert_eq!(
        (joined.preface, joined.request),
        (learnt.preface, Duration::ZERO)
    );
    for short in 0..8 {
        assert_eq!(learn_pauses(&records[..short]), None);
    }
    let step = Step {
        gap: Gap::default(),
        up: true,
        size: 100,
    };
    let long = Pauses {
        answer: Duration::from_secs(9),
        ..learnt
    };
    let plain = Shape::new(vec![vec![step]]).unwrap();
    let shape = plain.clone().with_pauses(&[learnt, long]);
    assert_ne!(plain.id(), shape.id());
    let read = Shape::from_bytes(&shape.to_bytes()).unwrap();
    let answers: Vec<Duration> = read.pauses().map(|p| p.answer).collect();
    let micros = Duration::from_micros;
    assert_eq!(answers, [micros(11_940), micros(655_350)]);
    assert!(read.pauses().all(|p| p.preface == micros(40)
        && p.request == micros(120)
        && p.acknowledge == micros(2550)));
    let odd = cbor::to_vec(&Map {
        version: FORMAT,
        pauses: Some(&[1, 2, 3]),
        traces: vec![&[0, 0, 0, 100]],
    });
    assert_eq!(Shape::from_bytes(&odd), Err(ShapeError::Pauses));
}

#[test]
fn what_tunnels_take_longer_is_taken_off() {
    let load = |answer: u64, up: u64, down: u64| {
        let mut at = 0;
        let gaps = [
            (0, true, 22, 1900),
            (300, false, 23, 1210),
            (answer, true, 23, 53),
            (40, true, 23, 87),
            (0, true, 23, 1728),
            (100, false, 23, 179),
            (500, true, 23, 26),
            (9 * down, false, 23, 1000),
            (up, true, 23, 100),
            (down, false, 23, 1000),
            (up, true, 23, 100),
            (down, false, 23, 1000),
        ];
        let records = gaps.map(|(gap, up, kind, size)| {
            at += gap;
            record(at, up, kind, size)
        });
        records.to_vec()
    };
    let loads: Vec<_> = (0..5).map(|n| load(4000 + n, 5000, 300)).collect();
    let tunnels: Vec<_> = (0..5).map(|n| load(6500 + n, 5000, 700)).collect();
    let asked = |loads: &[Vec<Record>]| {
        let traces = loads.iter().map(|l| learn(l, 1).unwrap()).collect();
        let pauses: Vec<_> = loads.iter().map(|l| learn_pauses(l).unwrap()).collect();
        Shape::new(traces).unwrap().with_pauses(&pauses)
    };
    let lag = learn_lag(&asked(&loads), &tunnels, 1).unwrap();
    let micros = Duration::from_micros;
    assert_eq!(lag.pauses.answer, micros(6502 - 4000));
    assert_eq!(
        (
            lag.pauses.preface,
            lag.pauses.request,
            lag.pauses.acknowledge
        ),
        Default::default()
    );
    assert_eq!(lag.answers, micros(400), "but for the first");
    assert_eq!(
        learn_lag(&asked(&tunnels), &loads, 1),
        Some(Lag::default()),
        "who is faster is left as it is"
    );
    // What was taken off is not forgotten when it is learnt anew.
    let mut less = (
        learn(&loads[0], 1).unwrap(),
        learn_pauses(&loads[0]).unwrap(),
    );
    lag.take_off(&mut less.0, &mut less.1);
    let less = Shape::new(vec![less.0]).unwrap().with_pauses(&[less.1]);
    let again = learn_lag(&less, &loads, 1).unwrap();
    assert_eq!(again.pauses.answer, micros(4002 - 1490));
    assert_eq!(again.answers, micros(300), "as much as there was");
    let mute = vec![loads[0][..3].to_vec()];
    assert_eq!(learn_lag(&asked(&loads), &mute, 1), None);
    assert_eq!(learn_lag(&asked(&loads), &[], 1), None);
    let mut trace = vec![
        step(1, true, 100),
        step(2, false, 100),
        step(3, false, 100),
        step(4, true, 100),
    ];
    let mut pauses = learn_pauses(&loads[0]).unwrap();
    lag.take_off(&mut trace, &mut pauses);
    let gaps: Vec<_> = trace.iter().map(|s| Duration::from(s.gap)).collect();
    assert_eq!(gaps, [1000, 1600, 3000, 4400].map(micros));
    assert_eq!(pauses.answer, micros(1498));
}
