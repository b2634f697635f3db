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
    trace.push(step(32, false, 16_401));
    trace.push(step(60, true, 115));
    let mut server = Follower::new(Time::ZERO, &trace, false);
    server.received(Time::ZERO, 100);
    let lengths = |server: &mut Follower, at| server.due(Time::from_micros(at)).map(<[u16]>::len);
    // Two milliseconds are the longest, and 32 are more than a browser does not read.
    let mut at = 4000;
    for (records, next) in [(23, 4000 + 23 * 90), (7, 4000 + 29 * 90 + 32_000), (1, 0)] {
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
fn what_waited_for_the_client_to_read_is_one_write_and_read_when_it_was() {
    let window = [step(0, false, 16_401); 5];
    let held_up = |ms| {
        let [_, rest @ ..] = window;
        [&[step(ms, false, 16_401)][..], &rest].concat()
    };
    let trace = [
        vec![step(0, true, 117), step(5, false, 16_401)],
        held_up(0),
        held_up(3),
        held_up(28),
        held_up(32),
        vec![
            step(1, true, 117),
            step(1, false, 5000),
            step(3, false, 5000),
        ],
    ]
    .concat();
    let bytes = 16_406;
    let mut client = Follower::new(Time::ZERO, &trace, true);
    assert_eq!((client.first_read(), client.reads().count()), (None, 0));
    client.sent(Time::ZERO, 1);
    assert_eq!(client.expected(), Some(Time::from_micros(5000)));
    assert_eq!(client.first_read(), Some(6 * bytes - (64 << 10)));
    let reads: Vec<_> = client.reads().collect();
    assert_eq!(reads, [3, 31].map(Duration::from_millis));
    let mut server = Follower::new(Time::ZERO, &trace, false);
    server.received(Time::ZERO, 100);
    let mut sent = Vec::new();
    for ms in [5, 68, 71, 74] {
        let at = Time::from_micros(ms * 1000);
        let due = server.due(at).map_or(0, <[u16]>::len);
        sent.push(due);
        server.sent(at, due);
        if ms == 68 {
            server.received(at, 100);
        }
    }
    // What came later than any browser reads, or behind less than a window, was not ready.
    assert_eq!(sent, [16, 5, 1, 1]);
    client.received(Time::from_micros(5000), 16 * 16_384);
    assert_eq!((client.first_read(), client.reads().count()), (None, 0));
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
    client.received(at(6), 2175);
    client.received(at(9), 2200);
    assert_eq!(client.due(at(10)), None);
    assert_eq!(client.wake(), Some(at(159)));
    client.received(at(10), 100);
    assert_eq!(client.due(at(10)), Some(&[115][..]));
}

#[test]
fn what_is_left_of_a_long_answer_is_not_the_next_one() {
    let mut trace = vec![step(0, true, 463)];
    trace.extend([step(4, false, 16_401); 13]);
    for step in &mut trace[2..] {
        step.gap = Gap::default();
    }
    trace.extend([
        step(64, true, 115),
        step(30, false, 401),
        step(64, true, 115),
    ]);
    let at = |ms: u64| Time::from_micros(ms * 1000);
    let mut client = Follower::new(at(0), &trace, true);
    client.sent(at(0), 1);
    // Most of it is enough to go on, but the rest comes all the same.
    let whole = 13 * (16_401 - RECORD) - 13 * 9;
    client.received(at(4), 200_000);
    assert_eq!(client.wake(), Some(at(68)));
    client.received(at(5), whole - 200_000);
    client.sent(at(68), 1);
    assert_eq!(client.due(at(68)), None);
    assert_eq!(client.wake(), Some(at(98 + 150)), "the next is waited for");
    client.received(at(98), 375);
    assert_eq!(client.wake(), Some(at(162)));
    // What does not come is not waited for twice.
    let mut client = Follower::new(at(0), &trace, true);
    client.sent(at(0), 1);
    client.received(at(4), 200_000);
    client.sent(at(68), 1);
    assert_eq!(client.due(at(248)), None);
    client.received(at(249), 10);
    assert_eq!(client.wake(), Some(at(312)));
}

#[test]
fn what_follows_the_answer_that_opens_a_tunnel_counts_from_when_it_came() {
    let trace = [
        step(9, true, 463),
        step(4, false, 201),
        step(8, true, 115),
        step(4, false, 201),
        step(8, true, 115),
    ];
    let at = |ms: u64| Time::from_micros(ms * 1000);
    let mut client = Follower::new(at(0), &trace, true);
    client.at_once(at(0));
    assert_eq!(client.next(), Some(at(0)));
    client.sent(at(0), 1);
    // What it says is seen, and the rest of it comes, when it can.
    client.received(at(13), 100);
    client.received(at(15), 70);
    assert_eq!(client.next(), Some(at(21)), "8 ms after it came");
    client.sent(at(21), 1);
    let mut hasty = Follower::new(at(0), &trace, true);
    hasty.at_once(at(0));
    hasty.sent(at(0), 1);
    hasty.received(at(13), 100);
    hasty.answered(at(15));
    assert_eq!(hasty.next(), Some(at(21)));
    // Answers after that have their times, and what is late is made up for.
    client.received(at(28), 170);
    assert_eq!(client.next(), Some(at(33)));
}

#[test]
fn a_request_of_a_few_bytes_is_waited_for_too() {
    // A client that makes more room while it reads: a frame of 13 bytes.
    let trace = [
        step(0, true, 463),
        step(4, false, 4501),
        step(1, true, 30),
        step(0, false, 4501),
    ];
    let at = |ms: u64| Time::from_micros(ms * 1000);
    let mut server = Follower::new(at(0), &trace, false);
    server.received(at(0), 437);
    server.sent(at(4), 1);
    assert_eq!(server.due(at(5)), None);
    server.received(at(6), 4);
    assert_eq!(server.due(at(6)), Some(&[4501][..]));
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
        step(64, false, 217),
        step(50, true, 117),
    ];
    for (early, next) in [(0, 114), (20, 114), (21, 93), (64, 50)] {
        let mut client = Follower::new(at(0), &trace, true);
        client.sent(at(0), 1);
        client.received(at(64 - early), 200);
        assert_eq!(client.wake(), Some(at(next)), "{early}");
    }
}

#[test]
fn an_answer_is_late_if_its_end_is() {
    // Six windows' worth, of which the client reads the most 24 ms after it began.
    let mut trace = vec![step(0, true, 117)];
    trace.extend([step(8, false, 16_401), step(0, false, 16_401)]);
    trace.extend([0; 3].map(|_| step(0, false, 16_401)));
    trace.push(step(24, false, 16_401));
    trace.extend([0; 5].map(|_| step(0, false, 16_401)));
    trace.push(step(48, true, 117));
    let at = |ms: u64| Time::from_micros(ms * 1000);
    for (end, next) in [(20, 80), (32, 80), (52, 80), (53, 53 + 48)] {
        let mut client = Follower::new(at(0), &trace, true);
        client.sent(at(0), 1);
        client.received(at(8), 60_000);
        client.received(at(end), 110_000);
        assert_eq!(client.wake(), Some(at(next)), "{end}");
    }
}

#[test]
fn what_leaves_one_by_one_does_so_however_late_it_is() {
    let trace = [
        step(0, true, 54),
        step(0, true, 54),
        after(10, true, 54),
        after(300, true, 54),
        after(700, true, 54),
    ];
    let micros = Time::from_micros;
    let mut client = Follower::new(micros(0), &trace, true);
    assert_eq!(client.due(micros(2000)), Some(&[54, 54][..]), "one write");
    client.sent(micros(2000), 2);
    // What no timer can wait for is due, and the carrier is told when exactly.
    assert_eq!(client.due(micros(2001)), Some(&[54][..]));
    assert_eq!(client.next(), Some(micros(2010)));
    assert_eq!(client.steady(), Some(Duration::from_micros(10)));
    client.sent(micros(2010), 1);
    assert_eq!(client.due(micros(2200)), None);
    assert_eq!(client.next(), Some(micros(2310)));
    client.sent(micros(2310), 1);
    // The longer gap makes up for it, as far as it can.
    assert_eq!(client.next(), Some(micros(2810)));
}

proptest! {
    #[test]
    fn a_gap_is_kept_to_the_unit_and_what_it_loses_does_not_add_up(
        micros in 0u64..16_000_000, gaps in proptest::collection::vec(0u64..50_000, 1..100),
    ) {
        let kept = Duration::from(Gap::new(Duration::from_micros(micros)));
        let off = Duration::from_micros(micros).abs_diff(kept);
        let most = [(4096, 0), (65_534, 2), (1_048_544, 32)];
        let most = most.iter().find(|(below, _)| micros < *below).map_or(512, |(_, most)| *most);
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
        prop_assert!(whole.abs_diff(Duration::from_micros(at)) <= Duration::from_micros(2));
    }
}

#[test]
fn a_gap_is_sixteen_seconds_at_most() {
    for long in [Duration::from_secs(99), Duration::MAX] {
        let kept = Duration::from(Gap::new(long));
        assert_eq!(kept, Duration::from_micros(0x3fff * 1024));
    }
    let kept = |nanos| Duration::from(Gap::new(Duration::from_nanos(nanos))).as_nanos();
    assert_eq!(
        [kept(10_800), kept(20_003_000), kept(1_500_000_000)],
        [10_750, 20_004_000, 1_500_160_000]
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
        step(512, true, 317),
    ];
    let at = Time::from_micros(1);
    let mut client = Follower::new(Time::ZERO, &trace, true);
    client.at_once(at);
    assert_eq!(client.due(at), Some(&[217][..]));
    client.sent(at, 1);
    client.answered(at);
    assert_eq!(client.wake(), Some(Time::from_micros(512_001)));
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
    let shorter = Shape::new(shape.traces()[..50].to_vec()).unwrap();
    for trace in [0, 7, 99] {
        let label = alloc::string::String::from("0123456789abcdef") + &shape.mark(&key, trace);
        assert_eq!(label.len(), 24);
        assert_eq!(again.marked(&key, &label), Some(trace));
        assert_eq!(again.marked(&other, &label), None);
        assert_eq!(shorter.marked(&key, &label), None, "of another shape");
    }
    for beyond in [100, u16::MAX] {
        assert_eq!(shape.marked(&key, &shape.mark(&key, beyond)), None);
    }
    for label in ["", "0123456", "01234567", "0123456é", "=======+"] {
        assert_eq!(shape.marked(&key, label), None);
    }
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
    let mut late = records;
    late.swap(6, 7);
    (late[6].at, late[7].at) = (12_506, 13_000);
    let late = learn_pauses(&late).unwrap().request;
    assert_eq!(late, Duration::from_micros(614), "behind SETTINGS");
    let mut joined = [&records[..6], &records[7..]].concat();
    joined[5].size += 1700;
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
    assert_eq!(answers, [micros(11_944), micros(8_999_936)]);
    assert!(read.pauses().all(|p| p.preface == micros(40)
        && p.request == micros(120)
        && p.acknowledge == micros(2555)));
    let odd = cbor::to_vec(&Map {
        version: FORMAT,
        pauses: Some(&[1, 2, 3]),
        traces: vec![&[0, 0, 0, 100]],
    });
    assert_eq!(Shape::from_bytes(&odd), Err(ShapeError::Pauses));
}

/// A connection whose client answers after so many microseconds, and asks; and what comes then.
fn connection(answer: u64, rest: &[(u64, bool, u16)]) -> Vec<Record> {
    let begins = [
        (300, false, 1210),
        (answer, true, 53),
        (40, true, 87),
        (0, true, 1728),
        (100, false, 179),
    ];
    let mut records = vec![record(0, true, 22, 1900)];
    let mut at = 0;
    for (gap, up, size) in begins.iter().chain(rest) {
        at += gap;
        records.push(record(at, *up, 23, *size));
    }
    records
}

/// Tunnels, and the shape that all of them followed.
fn all_of<'a>(shape: &'a Shape, tunnels: &'a [Vec<Record>]) -> Vec<(&'a Shape, &'a [Record])> {
    tunnels.iter().map(|t| (shape, &t[..])).collect()
}

#[test]
fn what_tunnels_take_longer_is_taken_off() {
    // Requests leave at their times, however late answers are.
    let load = |n: u64, answer: u64, down: u64| {
        let each = 5000 + 3000 * n;
        let rest = [
            (500, true, 26),
            (2700, false, 1000),
            (each - 3000 + down, true, 100),
            (down, false, 1000),
            (each - down, true, 100),
            (down, false, 1000),
        ];
        connection(answer + n, &rest)
    };
    let loads: Vec<_> = (0..5).map(|n| load(n, 4000, 300)).collect();
    let mut tunnels: Vec<_> = (0..5).map(|n| load(n, 6500, 500)).collect();
    // What opens a tunnel is answered when it can be, and all behind that is as much later.
    for (n, tunnel) in (0..).zip(&mut tunnels) {
        let opens = tunnel.iter().position(|r| r.size == 179).unwrap();
        for r in &mut tunnel[opens..] {
            r.at += 3000 * n;
        }
    }
    // In whichever order they were recorded.
    tunnels.rotate_left(2);
    let asked = |loads: &[Vec<Record>]| {
        let traces = loads.iter().map(|l| learn(l, 1).unwrap()).collect();
        let pauses: Vec<_> = loads.iter().map(|l| learn_pauses(l).unwrap()).collect();
        Shape::new(traces).unwrap().with_pauses(&pauses)
    };
    let both = |loads: &[Vec<Record>]| -> Vec<(Trace, Pauses)> {
        let each = |l: &Vec<Record>| (learn(l, 1).unwrap(), learn_pauses(l).unwrap());
        loads.iter().map(each).collect()
    };
    let lag = learn_lag(&all_of(&asked(&loads), &tunnels), 1).unwrap();
    assert_eq!(lag.answer.median(), 2500);
    assert_eq!(
        [&lag.preface, &lag.request, &lag.acknowledge].map(Noise::median),
        [0; 3]
    );
    assert_eq!(lag.answers[1].median(), 200, "but for the first");
    assert_eq!(lag.opened.median(), 200);
    let faster = learn_lag(&all_of(&asked(&tunnels), &loads), 1).unwrap();
    assert_eq!(faster.answers[1].median(), -200, "who is faster waits");
    // What was taken off is not forgotten when it is learnt anew.
    let mut less = both(&loads);
    lag.take_off(&mut less);
    let micros = Duration::from_micros;
    let kept = |d: Duration| Duration::from(Gap::new(d));
    let answers: Vec<_> = less.iter().map(|(_, p)| kept(p.answer)).collect();
    assert_eq!(answers, [1500, 1501, 1502, 1503, 1504].map(micros));
    let gaps = |trace: &Trace| -> Vec<_> { trace.iter().map(|s| Duration::from(s.gap)).collect() };
    let kept = [0, 3300, 2100, 100, 4900, 100];
    assert_eq!(
        gaps(&less[0].0),
        kept.map(micros),
        "requests are no earlier"
    );
    let (traces, pauses): (Vec<_>, Vec<_>) = less.into_iter().unzip();
    let less = Shape::new(traces).unwrap().with_pauses(&pauses);
    let again = learn_lag(&all_of(&less, &loads), 1).unwrap();
    assert_eq!(again.answer.median(), 2500);
    assert_eq!(again.answers[1].median(), 200);
    // What has no request, or none when a load has it, followed none.
    let mute = [loads[0][..3].to_vec(), load(40, 4000, 300)];
    assert_eq!(learn_lag(&all_of(&asked(&loads), &mute), 1), None);
    assert_eq!(learn_lag(&[], 1), None);
}

proptest! {
    /// Loads, what a machine adds to each, its own, and what comes of it.
    #[test]
    fn what_is_taken_off_leaves_times_as_they_are_to_be(
        seed in any::<u64>(),
        held_up in 0_u64..4,
        usual in 0_u64..3000,
        wide in 1_u64..3000,
    ) {
        let mut state = seed | 1;
        let mut draw = move |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % n
        };
        // Some of what is asked for is held up by a lot.
        let mut took = |asked: u64| {
            let late = if draw(10) < held_up { 4000 } else { 0 };
            asked + usual + draw(wide) + late
        };
        let micros = Duration::from_micros;
        // As the machine itself made them: there is something that they are as wide as.
        let asked: Vec<u64> = (0..400).map(|n| 5000 + n * 25).collect();
        let mut wanted: Vec<_> = asked.iter().map(|n| took(*n)).collect();
        wanted.sort_unstable();
        let tried = (0..400).map(|n| 3000 + n * 40);
        let noise = Noise::new(tried.map(|n| (micros(n), micros(took(n)))));
        let mut less: Vec<_> = wanted.iter().copied().map(micros).collect();
        noise.undo(less.iter_mut().collect());
        prop_assert!(less.is_sorted());
        let mut off = |asked: &[u64]| -> u64 {
            let mut comes: Vec<_> = asked.iter().map(|n| took(*n)).collect();
            comes.sort_unstable();
            let tenths = (1..10).map(|tenth| tenth * 40);
            tenths.map(|n| comes[n].abs_diff(wanted[n])).sum()
        };
        let less: Vec<_> = less.iter().map(|d| u64::try_from(d.as_micros()).unwrap()).collect();
        let (with, without) = (off(&less), off(&wanted));
        prop_assert!(with < 9 * 300 + without / 2, "{with} us off at the tenths, and {without} as it was");
    }
}

#[test]
fn what_is_at_once_is_not_asked_for_sooner_than_that() {
    let micros = Duration::from_micros;
    // A fifth of it is held up.
    let noise = Noise::new((0..100).map(|n| {
        let asked = 11 + n % 4;
        (
            micros(asked),
            micros(if n % 5 == 0 { asked + 90 } else { asked + 1 }),
        )
    }));
    assert_eq!(noise.median(), 1);
    let wanted = [0, 12, 12, 12, 13, 13, 13, 14, 100, 100, 100];
    let mut less = wanted.map(micros);
    let late = noise.undo_soon(less.iter_mut().collect(), micros(25));
    noise.undo(late);
    // What is held up is less often asked for, as it comes by itself; and what is together stays so.
    assert_eq!(less[0], micros(0));
    assert!(less[1..].iter().all(|d| *d >= micros(11)), "{less:?}");
    let late = less.iter().filter(|d| **d > micros(60)).count();
    assert!(late < 3, "{less:?}");
}

#[test]
fn what_comes_of_the_same_is_drawn_from_all_of_it() {
    let nanos = Duration::from_nanos;
    // All of it was asked for alike.
    let noise = Noise::new((0..400).map(|n| (nanos(7000), nanos(7000 + n * 10))));
    let mut less: Vec<_> = (0..400).map(|n| nanos(7000 + n * 10)).collect();
    noise.undo(less.iter_mut().collect());
    let off = less.iter().map(|d| d.abs_diff(nanos(7000)));
    let off = off.sum::<Duration>() / 400;
    assert!(off < nanos(400), "{off:?}");
}

proptest! {
    /// How long a machine takes for what is at once, and how wide that is; how much wider loads are.
    #[test]
    fn what_is_at_once_comes_when_it_is_to_and_as_wide(
        seed in any::<u64>(), usual in 1000_u64..6000, wide in 200_u64..4000, wider in 0_u64..4000,
    ) {
        let mut state = seed | 1;
        let mut draw = move |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % n
        };
        // One in ten is held up, whatever was asked for.
        let mut took = |asked: u64| {
            let late = if draw(10) == 0 { 60_000 } else { 0 };
            asked + usual + draw(wide) + late
        };
        let nanos = Duration::from_nanos;
        let mut wanted: Vec<_> = (0..400).map(|n| took(5000 + n * wider / 400)).collect();
        wanted.sort_unstable();
        let tried = (0..400).map(|n| 4000 + n % 40 * 100);
        let noise = Noise::new(tried.map(|n| (nanos(n), nanos(took(n)))));
        let mut less: Vec<_> = wanted.iter().copied().map(nanos).collect();
        let late = noise.undo_soon(less.iter_mut().collect(), nanos(25_000)).len();
        prop_assert!(late < 40, "{late} are asked for late, and as many come so");
        let asked = less.iter().filter(|d| **d < nanos(25_000));
        let mut comes: Vec<_> = asked.map(|d| took(d.as_nanos().try_into().unwrap())).collect();
        comes.sort_unstable();
        let tenth = |all: &[u64], n: usize| all[all.partition_point(|d| *d < 25_000) * n / 10];
        let middle = tenth(&comes, 5).abs_diff(tenth(&wanted, 5));
        prop_assert!(middle < 200 + (wide + wider) / 8, "{middle} ns off in the middle");
        let width = |all: &[u64]| tenth(all, 9) - tenth(all, 1);
        let (is, was) = (width(&comes), width(&wanted));
        prop_assert!(is.abs_diff(was) < 200 + was / 4, "{is} ns wide for {was}");
    }
}

/// A load, or a tunnel, whose requests follow each other after so many microseconds.
fn following(gaps: &[u64]) -> Vec<Record> {
    let begins = [
        (0, true, 53),
        (0, true, 87),
        (0, true, 463),
        (500, false, 1000),
        (900, true, 54),
    ];
    let follow = gaps.iter().zip(55..).map(|(gap, size)| (*gap, true, size));
    let all = begins.into_iter().chain(follow).chain([(400, false, 1000)]);
    let mut at = 0;
    let records = all.map(|(gap, up, size)| {
        at += gap;
        record(at, up, 23, size)
    });
    records.collect()
}

#[test]
fn each_request_of_a_load_has_its_own_lag() {
    let trace = |load: &Vec<Record>| learn(load, 0).unwrap();
    // What is third takes 5 us longer, and what is fourth 1.
    let (page, tunnel) = (following(&[17, 12, 12]), following(&[17, 17, 13]));
    let shape = Shape::new(vec![trace(&page)]).unwrap();
    let less = |tunnels: usize| {
        let lag = learn_lag(&vec![(&shape, &tunnel[..]); tunnels], 0).unwrap();
        let mut loads = [(trace(&page), Pauses::default())];
        lag.take_off(&mut loads);
        let gaps = loads[0].0.iter().map(|s| Duration::from(s.gap));
        let gaps: Vec<_> = gaps.map(|d| d.as_micros()).collect();
        [gaps[3], gaps[4], gaps[5]]
    };
    assert_eq!(less(60), [17, 7, 11]);
    // What a few show is of all of them.
    assert_eq!(less(2), [17, 9, 9]);
}

#[test]
fn what_is_longer_the_sooner_it_follows_is_asked_for_sooner() {
    let micros = Duration::from_micros;
    // To write takes as long by itself: what is to follow sooner is the longer for it.
    let tried = (0..100).map(|n| 2 + n % 20);
    let took = |asked: u64| micros(asked + if asked < 10 { 6 } else { 4 });
    let noise = Noise::new(tried.map(|n| (micros(n), took(n))));
    assert_eq!(noise.median(), 4);
    let mut less = [10, 10, 11, 11, 11, 12, 12, 15].map(micros);
    let late = noise.undo_soon(less.iter_mut().collect(), micros(25));
    noise.undo(late);
    let comes = less.map(|asked| took(u64::try_from(asked.as_micros()).unwrap()));
    assert!(comes[..5].iter().all(|d| *d <= micros(11)), "{less:?}");
}

#[test]
fn what_long_answers_take_longer_is_taken_off_them_alone() {
    let load = |short: u64, long: u64, on: u64| {
        let mut all = vec![
            (0, true, 53),
            (0, true, 87),
            (0, true, 463),
            (900, false, 700),
        ];
        all.extend([
            (900, true, 80),
            (short, false, 700),
            (9000 - short, true, 80),
        ]);
        all.extend([(long, false, 16_401)]);
        all.extend([(0, false, 16_401); 4]);
        // What the client had not read held up the rest.
        all.extend([(on, false, 16_401), (3000, false, 16_401)]);
        all.extend([(12_000 - long - on, true, 80)]);
        let mut at = 0;
        let records = all.into_iter().map(|(gap, up, size)| {
            at += gap;
            record(at, up, 23, size)
        });
        records.collect::<Vec<_>>()
    };
    let gaps = |records: &[Record]| -> Vec<_> {
        let trace = learn(records, 0).unwrap();
        trace.iter().map(|s| Duration::from(s.gap)).collect()
    };
    let shape = |records: &[Record]| Shape::new(vec![learn(records, 0).unwrap()]).unwrap();
    let (page, tunnel) = (load(2000, 4000, 1500), load(2200, 5000, 1900));
    let lag = learn_lag(&[(&shape(&page), &tunnel)], 0).unwrap();
    assert_eq!(lag.answers.each_ref().map(Noise::median), [1000, 200]);
    assert_eq!(lag.reads.median(), 400);
    let mut loads = [(learn(&page, 0).unwrap(), Pauses::default())];
    lag.take_off(&mut loads);
    let less: Vec<_> = loads[0].0.iter().map(|s| Duration::from(s.gap)).collect();
    // What follows is no earlier for it.
    assert_eq!(less, gaps(&load(1800, 3000, 1100)));
    // What is read late stays late, if by little; and those that followed another shape are of it.
    let soon = load(2000, 4000, 300);
    let both = [shape(&page), shape(&soon)];
    let late = load(2200, 5000, 700);
    let lag = learn_lag(&[(&both[0], &tunnel), (&both[1], &late)], 0).unwrap();
    let mut loads = [(learn(&soon, 0).unwrap(), Pauses::default())];
    lag.take_off(&mut loads);
    assert_eq!(
        Duration::from(loads[0].0[10].gap),
        Duration::from_micros(100)
    );
}

#[test]
fn requests_that_follow_at_once_are_held_to_their_own_times() {
    let trace = |load: &Vec<Record>| learn(load, 0).unwrap();
    let load = |second, third| following(&[second, third, 200, 0]);
    let (page, tunnel) = (load(45, 30), load(36, 33));
    let shape = Shape::new(vec![trace(&page)]).unwrap();
    let lag = learn_lag(&[(&shape, &tunnel)], 0).unwrap();
    assert_eq!(lag.requests[0].median(), -9);
    let mut loads = [(trace(&page), Pauses::default())];
    lag.take_off(&mut loads);
    let gaps: Vec<_> = loads[0].0.iter().map(|s| Duration::from(s.gap)).collect();
    assert_eq!(gaps[3], Duration::from_micros(45 + 9));
    // Of two others one took 3 us longer, and one as long; what left together does so.
    assert_eq!(gaps[6], Duration::ZERO);
    let rest = [gaps[4], gaps[5]].map(|d| d.as_micros());
    assert!(
        (25..=30).contains(&rest[0]) && (197..=200).contains(&rest[1]),
        "{rest:?}"
    );
}
