//! One end that follows a trace.

use super::*;

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
    // An answer is timed from the arrival of its request.
    assert_eq!((server.next(), server.wake()), (Some(at(6)), Some(at(6))));
    assert_eq!(server.until(at(5)).count(), 0);
    assert_eq!(server.until(at(6)).next(), Some(&[4501, 100][..]));
    assert_eq!(server.due(at(6)), Some(&[4501, 100][..]));
    server.sent(at(6), 1);
    assert_eq!(server.due(at(6)), Some(&[100][..]), "the rest at once");
    server.sent(at(6), 9);
    client.received(at(7), 4484);
    // A client's clock continues from the scheduled time of the answer, and spans the gaps between an answer's records.
    assert_eq!(client.wake(), Some(Time::from_micros(64_090)));
    assert_eq!(client.due(at(64)), None);
    assert_eq!(client.due(Time::from_micros(64_040)), Some(&[115][..]));
    client.sent(at(65), 1);
    assert!(client.is_over() && client.wake().is_none());
    // A silent client holds the server up only for a while.
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
    // Two milliseconds are the longest, and 32 are more than a browser pauses its reading.
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
    // Each of a client's requests is a separate write.
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
    let ms = Duration::from_millis;
    assert_eq!(reads, [(ms(3), Some(5 * bytes)), (ms(31), None)]);
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
    // Data later than any browser reads, or after less than a window, was not ready.
    assert_eq!(sent, [16, 5, 1, 1]);
    client.received(Time::from_micros(5000), 16 * 16_384);
    assert_eq!((client.first_read(), client.reads().count()), (None, 0));
}

#[test]
fn what_a_server_says_in_several_goes_follows_when_all_before_it_has_come() {
    let long = [step(3, false, 16_401), step(0, false, 16_401)];
    let more = vec![step(0, false, 16_401); 4];
    let stalls = vec![step(8, false, 16_401), step(4, true, 117)];
    let asks = vec![step(0, true, 117), step(5, false, 9000)];
    let trace = [asks, long.to_vec(), more, stalls].concat();
    let mut client = Follower::new(Time::ZERO, &trace, true);
    assert_eq!(client.follows(), None, "it is the client's turn");
    client.sent(Time::ZERO, 1);
    let at = |ms: u64| Time::from_micros(ms * 1000);
    let first = payload(9000 - RECORD);
    client.received(at(5), first - 100);
    assert_eq!(client.follows(), None, "the last of it is still to come");
    client.received(at(5), 100);
    assert_eq!(client.follows(), Some(at(8)));
    assert!(client.first_read().is_some());
    client.received(at(8), 1000);
    assert_eq!(client.follows(), None, "it has begun");
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
    // The rest does not count for the next answer.
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
    // Most of an answer is enough to go on; the rest arrives all the same.
    let whole = 13 * (16_401 - RECORD) - 13 * 9;
    client.received(at(4), 200_000);
    assert_eq!(client.wake(), Some(at(68)));
    client.received(at(5), whole - 200_000);
    client.sent(at(68), 1);
    assert_eq!(client.due(at(68)), None);
    assert_eq!(client.wake(), Some(at(98 + 150)), "the next is waited for");
    client.received(at(98), 375);
    assert_eq!(client.wake(), Some(at(162)));
    // Missing data is not awaited twice.
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
    // Its data is noticed, and the rest has no scheduled time.
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
    // Later answers have scheduled times, and lateness is compensated for.
    client.received(at(28), 170);
    assert_eq!(client.next(), Some(at(33)));
}

#[test]
fn a_request_of_a_few_bytes_is_waited_for_too() {
    // A client that enlarges the window while it reads: a frame of 13 bytes.
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
    // Times shorter than any timer count as due, and the carrier receives the exact time.
    assert_eq!(client.due(micros(2001)), Some(&[54][..]));
    assert_eq!(client.next(), Some(micros(2010)));
    assert_eq!(client.steady(), Some(Duration::from_micros(10)));
    client.sent(micros(2010), 1);
    assert_eq!(client.due(micros(2200)), None);
    assert_eq!(client.next(), Some(micros(2310)));
    client.sent(micros(2310), 1);
    // The longer gap compensates as far as it can.
    assert_eq!(client.next(), Some(micros(2810)));
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
    // Its later bursts are unchanged.
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
