//! Lateness of tunnels relative to their shape, and its compensation.

use super::*;

/// A connection whose client answers after `answer` microseconds and sends a request; `rest` follows.
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

/// Pairs each tunnel with the shape that all of them followed.
fn all_of<'a>(shape: &'a Shape, tunnels: &'a [Vec<Record>]) -> Vec<(&'a Shape, &'a [Record])> {
    tunnels.iter().map(|t| (shape, &t[..])).collect()
}

#[test]
fn what_tunnels_take_longer_is_taken_off() {
    // Requests leave on schedule, however late answers are.
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
    // The opening request is answered without a schedule, and everything after it is as much later.
    for (n, tunnel) in (0..).zip(&mut tunnels) {
        let opens = tunnel.iter().position(|r| r.size == 179).unwrap();
        for r in &mut tunnel[opens..] {
            r.at += 3000 * n;
        }
    }
    // The order of recording does not matter.
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
    // Compensated lag is not lost when it is learnt anew.
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
    // A tunnel without a request, or without one where a load has it, followed none.
    let mute = [loads[0][..3].to_vec(), load(40, 4000, 300)];
    assert_eq!(learn_lag(&all_of(&asked(&loads), &mute), 1), None);
    assert_eq!(learn_lag(&[], 1), None);
}

proptest! {
    /// Applies compensated loads to a machine with noise and compares the resulting times.
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
        // Some requested times are delayed a lot.
        let mut took = |asked: u64| {
            let late = if draw(10) < held_up { 4000 } else { 0 };
            asked + usual + draw(wide) + late
        };
        let micros = Duration::from_micros;
        // Spread as the machine itself spreads them: a target width exists.
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
fn what_is_held_up_now_and_then_is_not_asked_for_sooner() {
    let micros = Duration::from_micros;
    // One in four, by a millisecond.
    let took = |n: u64, asked: u64| asked + 20 + if n.is_multiple_of(4) { 1000 } else { 0 };
    let noise = Noise::new((0..200).map(|n| (micros(300 + n), micros(took(n, 300 + n)))));
    let mut less: Vec<_> = (0..200).map(|n| micros(took(n, 350 + n / 2))).collect();
    noise.undo(less.iter_mut().collect());
    less.sort_unstable();
    let tenths: Vec<_> = (1..10).map(|tenth| less[tenth * 20].as_micros()).collect();
    let far = |(n, asked): (u128, &u128)| asked.abs_diff(350 + n * 10);
    let off = (1..10).zip(&tenths).map(far).max().unwrap();
    assert!(off < 10, "{tenths:?}");
}

#[test]
fn a_load_is_known_by_its_records_where_times_are_misleading() {
    let load = |first: u64, then: u64, size: u16| {
        let asks = [(first, true, 100), (300, false, size)];
        let again = [(then, true, 100), (300, false, size)];
        let rest = [(500, true, 26), (2700, false, 1000)];
        let end = [(5000, true, 100), (300, false, size)];
        connection(4000, &[&rest[..], &asks, &again, &end].concat())
    };
    let loads = [load(9000, 5000, 700), load(2000, 1000, 900)];
    // It followed the first load, but its first request was late, and the others came as soon after it as the second load's.
    let tunnel = load(13_000, 1000, 700);
    let traces = loads.iter().map(|l| learn(l, 1).unwrap()).collect();
    let shape = Shape::new(traces).unwrap();
    let lag = learn_lag(&[(&shape, &tunnel)], 1).unwrap();
    assert_eq!(lag.opened.median(), 4000);
}

#[test]
fn what_is_at_once_is_not_asked_for_sooner_than_that() {
    let micros = Duration::from_micros;
    // A fifth of it is delayed.
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
    // Delayed times are requested less often, because they occur by themselves; simultaneous ones stay simultaneous.
    assert_eq!(less[0], micros(0));
    assert!(less[1..].iter().all(|d| *d >= micros(11)), "{less:?}");
    let late = less.iter().filter(|d| **d > micros(60)).count();
    assert!(late < 3, "{less:?}");
}

#[test]
fn what_comes_of_the_same_is_drawn_from_all_of_it() {
    let nanos = Duration::from_nanos;
    // All times were requested alike.
    let noise = Noise::new((0..400).map(|n| (nanos(7000), nanos(7000 + n * 10))));
    let mut less: Vec<_> = (0..400).map(|n| nanos(7000 + n * 10)).collect();
    noise.undo(less.iter_mut().collect());
    let off = less.iter().map(|d| d.abs_diff(nanos(7000)));
    let off = off.sum::<Duration>() / 400;
    assert!(off < nanos(400), "{off:?}");
}

proptest! {
    /// `usual` and `wide`: a machine's delay of immediate sends, and its spread. `wider`: how much wider loads are.
    #[test]
    fn what_is_at_once_comes_when_it_is_to_and_as_wide(
        seed in any::<u64>(), usual in 1000_u64..6000, wide in 200_u64..4000, wider in 0_u64..4000,
    ) {
        let mut state = seed | 1;
        let mut draw = move |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % n
        };
        // One in ten is delayed, whatever was requested.
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

/// A load, or a tunnel, whose requests follow each other after these gaps in microseconds.
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
    // The third request takes 5 us longer, and the fourth 1.
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
    // A few samples count for all of them.
    assert_eq!(less(2), [17, 9, 9]);
}

#[test]
fn what_is_longer_the_sooner_it_follows_is_asked_for_sooner() {
    let micros = Duration::from_micros;
    // A write takes as long by itself, so shorter requested gaps lengthen.
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
        // Bytes that the client had not read held up the rest.
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
    // The following records are no earlier.
    assert_eq!(less, gaps(&load(1800, 3000, 1100)));
    // Late reads stay late, if only slightly; each tunnel is compared with the shape that it followed.
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
    // Of the two others one took 3 us longer, and one as long; simultaneous requests stay so.
    assert_eq!(gaps[6], Duration::ZERO);
    let rest = [gaps[4], gaps[5]].map(|d| d.as_micros());
    assert!(
        (25..=30).contains(&rest[0]) && (197..=200).contains(&rest[1]),
        "{rest:?}"
    );
}
