use alloc::vec;
use proptest::prelude::*;

use betanet_machine::Time;

use super::*;

mod follow;
mod lag;

/// A record `ms` milliseconds after the previous one.
fn step(ms: u16, up: bool, size: u16) -> Step {
    let gap = Gap::new(Duration::from_millis(ms.into()));
    Step { gap, up, size }
}

/// A record `micros` microseconds after the previous one.
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
