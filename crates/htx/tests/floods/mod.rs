//! Frames that are allowed but make no progress: sent endlessly they end the session, at honest rates they do not.

use core::time::Duration;

use betanet_htx::frame::{self, Head, ty};
use betanet_htx::{By, Command, Config, Event, Input, Session, Transmit};
use betanet_machine::testkit::Checked;
use betanet_machine::{Machine as _, Now, Time};
use betanet_wire::Code;
use bytes::Bytes;

use crate::raw::{EKM0, NOW, Raw, client_identity, secrets, server_identity};
use crate::{closed, stream};

const ENDED: Option<(Code, By)> = Some((Code::POLICY_REJECTED, By::Local));

/// A repeated frame; the number is the count of earlier repetitions.
type Kind = (&'static str, fn(&mut Raw, u32));

const KINDS: [Kind; 12] = [
    ("PING", |r, _| r.send(Head::connection(ty::PING), &[7; 8])),
    ("an answer to no PING", |r, _| {
        let head = Head {
            mark: frame::REPLY,
            ..Head::connection(ty::PING)
        };
        r.send(head, &[7; 8]);
    }),
    ("WINDOW_UPDATE of the connection", |r, _| {
        let head = Head::connection(ty::WINDOW_UPDATE);
        r.send(head, &frame::window_update(0, 1));
    }),
    ("WINDOW_UPDATE of a stream", |r, n| {
        if n == 0 {
            r.send_stream(3, 0, b"\x01", false);
        }
        let head = Head::of(ty::WINDOW_UPDATE, 3);
        r.send(head, &frame::window_update(1, 0));
    }),
    ("PADDING", |r, _| {
        r.send(Head::connection(ty::PADDING), &[0; 9]);
    }),
    ("an unknown type", |r, n| {
        let ty = 0x40 + u8::try_from(n % 0x40).unwrap();
        r.send(Head::connection(ty), b"");
    }),
    ("STREAM without bytes", |r, n| {
        let at = u64::from(n > 0);
        let data: &[u8] = if n == 0 { b"\x01" } else { b"" };
        r.send_stream(3, at, data, false);
    }),
    ("STREAM with the same bytes", |r, _| {
        r.send_stream(3, 0, b"\x01hello", false);
    }),
    ("STREAM with the same end", |r, _| {
        r.send_stream(3, 0, b"\x01hello", true);
    }),
    ("streams opened and closed", |r, n| {
        r.send_stream(3 + 2 * n, 0, b"\x01", false);
        r.send(Head::of(ty::CLOSE, 3 + 2 * n), &frame::close(Code::OK, ""));
    }),
    ("streams of an unknown type", |r, n| {
        r.send_stream(3 + 2 * n, 0, b"\x99", false);
    }),
    ("CLOSE of a stream that ended", |r, n| {
        if n == 0 {
            r.send_stream(3, 0, b"\x01", false);
        }
        r.send(Head::of(ty::CLOSE, 3), &frame::close(Code::OK, ""));
    }),
];

/// How many such frames are accepted before the session ends, at `a_ms` per millisecond.
fn taken(kind: Kind, a_ms: u32, most: u32) -> Option<u32> {
    let mut raw = Raw::open();
    for n in 0..most {
        if n % a_ms == 0 {
            raw.pass(1);
        }
        kind.1(&mut raw, n);
        let ended = closed(&raw.events());
        raw.drain();
        if ended.is_some() {
            assert_eq!(ended, ENDED, "{}", kind.0);
            return Some(n);
        }
    }
    None
}

#[test]
fn frames_without_progress_end_the_session_whatever_they_are() {
    for kind in KINDS {
        let n = taken(kind, 1000, 40_000);
        assert!(n.is_some_and(|n| n > 8_000), "{}: {n:?}", kind.0);
    }
}

#[test]
fn the_same_frames_a_thousand_times_a_second_end_nothing() {
    for kind in KINDS {
        assert_eq!(taken(kind, 1, 30_000), None, "{}", kind.0);
    }
}

#[test]
fn keys_that_turn_without_end_end_the_session() {
    let mut raw = Raw::open();
    let mut turns = 0;
    let ended = loop {
        let turned = raw.sealer.turn();
        raw.feed(&turned);
        turns += 1;
        for _ in 0..5 {
            raw.send(Head::connection(ty::PING), &[1; 8]);
        }
        if let Some(ended) = closed(&raw.events()) {
            break Some(ended);
        }
        raw.drain();
    };
    assert_eq!(ended, ENDED);
    assert!((1000..4000).contains(&turns), "{turns}");
}

#[test]
fn what_carries_bytes_pays_for_what_does_not() {
    // Large PADDING costs bandwidth as data does.
    let mut raw = Raw::open();
    for _ in 0..40_000 {
        raw.send(Head::connection(ty::PADDING), &[0; 512]);
    }
    assert_eq!(raw.events(), []);
    // Many small requests at one instant, each with some bytes, as a busy page makes them.
    let mut raw = Raw::open();
    for n in 0..40_000 {
        raw.send_stream(3 + 2 * n, 0, &[1; 70], true);
        let now = raw.now;
        raw.server.call(now, |s| s.consume(now, 3 + 2 * n, 69));
        raw.server
            .handle_command(
                raw.now,
                Command::Write {
                    stream: 3 + 2 * n,
                    data: Bytes::new(),
                    fin: true,
                },
            )
            .unwrap();
        assert_eq!(closed(&raw.events()), None, "{n}");
        raw.drain();
    }
}

#[test]
fn what_was_on_its_way_to_a_stream_that_is_reset_ends_nothing() {
    let mut raw = Raw::open();
    let mut n = 0;
    // 262 000 bytes each, none of which is awaited.
    for id in (3..203).step_by(2) {
        raw.send_stream(id, 0, b"\x01", false);
        let now = raw.now;
        raw.server.call(now, |s| s.reset(now, id, Code::OK));
        for at in 0..1000u64 {
            raw.send_stream(id, 1 + 256 * at, &[0; 256], false);
            n += 1;
        }
        raw.drain();
        assert_eq!(closed(&raw.events()), None, "{n} frames");
    }
    assert_eq!(n, 100_000);
}

#[test]
fn bytes_behind_gaps_are_bounded_in_a_stream_and_in_the_session() {
    let malformed = Some((Code::MALFORMED_FRAME, By::Local));
    let mut raw = Raw::open();
    raw.send_stream(3, 0, b"\x01", false);
    for n in 0..64 {
        raw.send_stream(3, 2 + 2 * n, b"x", false);
    }
    raw.drain();
    raw.send_stream(3, 2 + 2 * 64, b"x", false);
    assert_eq!(closed(&raw.events()), malformed);
    // Each stream stays within its bound; together they exceed theirs.
    let mut raw = Raw::open();
    let mut held = 0;
    let ended = (0..256u32).find_map(|n| {
        raw.send_stream(3 + 2 * n, 0, b"\x01", false);
        for at in 0..64 {
            raw.send_stream(3 + 2 * n, 2 + 2 * at, b"x", false);
        }
        held += 64 * 129;
        closed(&raw.events())
    });
    assert_eq!(ended, malformed);
    assert!(held <= (1 << 20) + 64 * 129, "{held}");
}

/// A session, open on both sides; only the client is inspected.
fn client_that_waits() -> (Checked<Session>, Now) {
    let mut pair = Pair::that_asks();
    while pair.client.poll_transmit().is_some() {}
    (pair.client, NOW)
}

struct Pair {
    client: Checked<Session>,
    server: Checked<Session>,
}

impl Pair {
    /// A pair whose client waits for the answer to a request.
    fn that_asks() -> Self {
        let mut pair = Self::open();
        pair.client
            .handle_command(NOW, Command::Open { kind: 1 })
            .unwrap();
        let ask = Command::Write {
            stream: 3,
            data: Bytes::from_static(b"request"),
            fin: true,
        };
        pair.client.handle_command(NOW, ask).unwrap();
        pair
    }

    fn open() -> Self {
        let config = Config::default;
        let (own, peer) = (client_identity(), server_identity());
        let session = Session::connect(NOW, config(), &own, peer.public(), &EKM0, secrets(1));
        let mut client = Checked::new(session.unwrap());
        let Some(Transmit::Bytes(m1)) = client.poll_transmit() else {
            panic!()
        };
        let session = Session::accept(NOW, config(), &peer, &EKM0, &m1[2..], secrets(2));
        let mut this = Self {
            client,
            server: Checked::new(session.unwrap()),
        };
        while this.carry() {}
        let events: Vec<_> = std::iter::from_fn(|| this.client.poll_event()).collect();
        assert_eq!(events, [Event::Established]);
        while this.server.poll_event().is_some() {}
        this
    }

    fn carry(&mut self) -> bool {
        let mut moved = false;
        let Self { client, server } = self;
        for turn in [true, false] {
            let (from, to) = if turn {
                (&mut *client, &mut *server)
            } else {
                (&mut *server, &mut *client)
            };
            while let Some(transmit) = from.poll_transmit() {
                moved = true;
                match transmit {
                    Transmit::Bytes(bytes) => to.handle_input(NOW, Input::Bytes(bytes)).unwrap(),
                    Transmit::NeedExport(_) => {
                        let ekm1 = Input::Exported(zeroize::Zeroizing::new([9; 32]));
                        from.handle_input(NOW, ekm1).unwrap();
                    }
                    _ => {}
                }
            }
        }
        moved
    }
}

/// Runs a session's timers to its end; returns the duration and the number of outputs.
fn until_cut(session: &mut Checked<Session>, alive_every: Option<Duration>) -> (Duration, usize) {
    let (mut said, mut now) = (0, NOW);
    let mut alive = NOW.mono;
    loop {
        while session.poll_transmit().is_some() {
            said += 1;
        }
        while let Some(event) = session.poll_event() {
            if let Event::Closed { by, .. } = event {
                assert_eq!(by, By::Cut);
                return (now.mono - Time::ZERO, said);
            }
        }
        let due = session.poll_timeout().unwrap().at.max(now.mono);
        match alive_every {
            Some(every) if alive + every < due => {
                alive = alive + every;
                now.mono = alive;
                session.handle_input(now, Input::Alive).unwrap();
            }
            _ => {
                now.mono = due;
                session.handle_timeout(now);
            }
        }
    }
}

#[test]
fn a_peer_that_falls_silent_while_an_answer_is_waited_for_is_found_within_ten_seconds() {
    let (mut client, _) = client_that_waits();
    let (took, _) = until_cut(&mut client, None);
    assert_eq!(took, Duration::from_millis(9_500));
    assert!(client.get().silent_since().is_none());
    // With no pending request, the longer timeout applies.
    let mut idle = Pair::open().client;
    assert_eq!(until_cut(&mut idle, None).0, Duration::from_secs(40));
}

#[test]
fn who_measures_each_second_finds_a_silent_peer_as_soon() {
    let mut client = Pair::open().client;
    for s in 1..=12 {
        let now = Now::new(Time::ZERO + Duration::from_secs(s), 0);
        let _ = client.handle_command(now, Command::Ping);
        while client.poll_timeout().is_some_and(|w| w.at <= now.mono) {
            while client.poll_transmit().is_some() {}
            while let Some(event) = client.poll_event() {
                if matches!(event, Event::Closed { .. }) {
                    assert!((9..=11).contains(&s), "{s}");
                    return;
                }
            }
            client.handle_timeout(now);
        }
    }
    panic!("it is not found");
}

#[test]
fn two_who_measure_at_once_are_both_answered() {
    let Pair {
        mut client,
        mut server,
    } = Pair::open();
    for s in 1..=3 {
        let now = Now::new(Time::ZERO + Duration::from_secs(s), 0);
        client.handle_command(now, Command::Ping).unwrap();
        client.handle_command(now, Command::Ping).unwrap();
        let mut pings = 0;
        while let Some(Transmit::Bytes(bytes)) = client.poll_transmit() {
            server.handle_input(now, Input::Bytes(bytes)).unwrap();
        }
        while let Some(Transmit::Bytes(bytes)) = server.poll_transmit() {
            client.handle_input(now, Input::Bytes(bytes)).unwrap();
        }
        while let Some(event) = client.poll_event() {
            pings += usize::from(matches!(event, Event::Pong { .. }));
        }
        assert_eq!(pings, 1, "one PING, whose answer is both askers'");
    }
}

#[test]
fn a_carrier_that_moves_puts_the_end_off_and_not_for_ever() {
    let (mut client, _) = client_that_waits();
    let (took, _) = until_cut(&mut client, Some(Duration::from_secs(1)));
    assert!(
        (Duration::from_secs(30)..Duration::from_secs(40)).contains(&took),
        "{took:?}"
    );
}

#[test]
fn a_peer_that_answers_pings_is_waited_for() {
    let mut pair = Pair::that_asks();
    let mut pings = 0;
    for s in 0..600 {
        let now = Now::new(Time::ZERO + Duration::from_secs(s), 0);
        for session in [&mut pair.client, &mut pair.server] {
            if session.poll_timeout().is_some_and(|w| w.at <= now.mono) {
                session.handle_timeout(now);
            }
        }
        for _ in 0..3 {
            let Pair { client, server } = &mut pair;
            while let Some(Transmit::Bytes(bytes)) = client.poll_transmit() {
                server.handle_input(now, Input::Bytes(bytes)).unwrap();
            }
            while let Some(Transmit::Bytes(bytes)) = server.poll_transmit() {
                client.handle_input(now, Input::Bytes(bytes)).unwrap();
            }
            while server.poll_event().is_some() {}
            while let Some(event) = client.poll_event() {
                match event {
                    Event::Pong { .. } => pings += 1,
                    other => assert!(!matches!(other, Event::Closed { .. }), "{other:?}"),
                }
            }
        }
    }
    assert!((200..=300).contains(&pings), "{pings}");
    let (head, payload) = stream(3, 0, b"", false);
    assert_eq!((head.stream, payload.len()), (3, 11));
}
