//! A peer that breaks every rule, one at a time: each ends with its named code and leaves nothing behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a test stops where it is surprised, and may look at the clock"
)]

mod aes;
mod floods;
mod raw;
mod reserved;

use core::time::Duration;

use betanet_htx::frame::{self, Head, ty};
use betanet_htx::handshake::{self, Initiator, Responder};
use betanet_htx::{
    By, Config, Error, Event, HandshakeError, Input, Pq, Secrets, Session, Transmit,
};
use betanet_keys::Identity;
use betanet_machine::testkit::Checked;
use betanet_machine::{Machine as _, Now, Time};
use betanet_wire::Code;
use bytes::Bytes;
use raw::{EKM0, NOW, Raw, client_identity, server_identity};

fn closed(events: &[Event]) -> Option<(Code, By)> {
    events.iter().find_map(|e| match e {
        Event::Closed { code, by, .. } => Some((*code, *by)),
        _ => None,
    })
}

/// Sends one frame and returns how the session ended.
fn one_frame(head: Head, payload: &[u8]) -> Option<(Code, By)> {
    let mut raw = Raw::open();
    raw.send(head, payload);
    closed(&raw.events())
}

fn stream(id: u32, offset: u64, data: &[u8], fin: bool) -> (Head, Vec<u8>) {
    let mut payload =
        frame::stream_fields(offset, fin, u16::try_from(data.len()).unwrap()).to_vec();
    payload.extend_from_slice(data);
    (Head::of(ty::STREAM, id), payload)
}

const MALFORMED: Option<(Code, By)> = Some((Code::MALFORMED_FRAME, By::Local));
const FLOW: Option<(Code, By)> = Some((Code::FLOW_CONTROL_VIOLATION, By::Local));

#[test]
fn handshake_messages_of_any_other_length_are_refused() {
    let (_, m1) = Initiator::start(
        &client_identity(),
        server_identity().public(),
        &EKM0,
        [0; 32],
        Pq::Require,
        raw::secrets(1),
    )
    .unwrap();
    for len in [0, 1, 47, 49, 1231, 1233, 65_535] {
        let mut bytes = m1.clone();
        bytes.resize(len, 0);
        let got = Responder::accept(
            &server_identity(),
            &EKM0,
            &bytes,
            Pq::Offer,
            raw::secrets(2),
        );
        assert_eq!(got.err(), Some(HandshakeError::Length { message: 1, len }));
    }
    for at in [0, 31, 32, 600, m1.len() - 1] {
        let mut bytes = m1.clone();
        bytes[at] ^= 1;
        let got = Responder::accept(
            &server_identity(),
            &EKM0,
            &bytes,
            Pq::Offer,
            raw::secrets(2),
        );
        assert_eq!(
            got.err(),
            Some(HandshakeError::Sealed { message: 1 }),
            "byte {at}"
        );
    }
    let other = Responder::accept(
        &server_identity(),
        &[9; 32],
        &m1,
        Pq::Offer,
        raw::secrets(2),
    );
    assert_eq!(
        other.err(),
        Some(HandshakeError::Sealed { message: 1 }),
        "another connection"
    );
}

#[test]
fn points_of_small_order_are_refused() {
    let mut m1 = vec![0; 48];
    for point in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        m1[..32].copy_from_slice(&point);
        let got = Responder::accept(&server_identity(), &EKM0, &m1, Pq::Offer, raw::secrets(2));
        assert_eq!(got.err(), Some(HandshakeError::SmallOrder { message: 1 }));
    }
    assert_eq!(handshake::x25519(&[7; 32], &[0; 32]), None);
}

#[test]
fn an_encapsulation_key_out_of_range_is_refused() {
    // The Noise part is honest; the ML-KEM key holds coefficients above the modulus.
    let mut noise = raw::noise_initiator(&client_identity(), [3; 32]);
    let mut m1 = vec![0; 48 + 1184];
    noise.write_message(&[0xff; 1184], &mut m1).unwrap();
    let got = Responder::accept(&server_identity(), &EKM0, &m1, Pq::Offer, raw::secrets(2));
    assert_eq!(got.err(), Some(HandshakeError::Kem));
}

/// Drives a server to message 3, which `make` produces.
fn server_after_message3(make: impl Fn(&mut snow::HandshakeState) -> Vec<u8>) -> Vec<Event> {
    let mut noise = raw::noise_initiator(&client_identity(), [3; 32]);
    let mut m1 = vec![0; 48];
    noise.write_message(&[], &mut m1).unwrap();
    let config = Config {
        pq: Pq::Off,
        caps: betanet_htx::offered_caps(false, betanet_htx::Extra::default()),
        ..Config::default()
    };
    let session = Session::accept(NOW, config, &server_identity(), &EKM0, &m1, raw::secrets(2));
    let mut server = Checked::new(session.unwrap());
    let Some(Transmit::Bytes(m2)) = server.poll_transmit() else {
        panic!()
    };
    noise.read_message(&m2[2..], &mut [0; 64]).unwrap();
    let m3 = make(&mut noise);
    let mut bytes = u16::try_from(m3.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(&m3);
    server
        .handle_input(NOW, Input::Bytes(bytes.into()))
        .unwrap();
    assert_eq!(server.poll_transmit(), Some(Transmit::Reset));
    std::iter::from_fn(|| server.poll_event()).collect()
}

#[test]
fn an_identity_that_is_not_the_noise_key_is_refused() {
    let other = Identity::from_seed(&[77; 32]);
    let zero = [0; 32];
    for key in [other.public().as_bytes(), &zero] {
        let events = server_after_message3(|noise| {
            let mut m3 = vec![0; 128];
            noise
                .write_message(&[*key, [0; 32]].concat(), &mut m3)
                .unwrap();
            m3
        });
        assert_eq!(closed(&events), Some((Code::AUTH_FAILED, By::Local)));
        assert_eq!(events.len(), 1, "nothing but the end is told");
    }
    for len in [0, 127, 129] {
        let events = server_after_message3(|_| vec![0; len]);
        assert_eq!(closed(&events), Some((Code::AUTH_FAILED, By::Local)));
    }
}

#[test]
fn a_client_that_requires_ml_kem_takes_no_less() {
    let config = Config::default();
    let id = client_identity();
    let session = Session::connect(
        NOW,
        config,
        &id,
        server_identity().public(),
        &EKM0,
        raw::secrets(1),
    );
    let mut client = Checked::new(session.unwrap());
    let Some(Transmit::Bytes(m1)) = client.poll_transmit() else {
        panic!()
    };
    let (_, m2) = Responder::accept(
        &server_identity(),
        &EKM0,
        &m1[2..],
        Pq::Off,
        raw::secrets(2),
    )
    .unwrap();
    let mut bytes = u16::try_from(m2.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(&m2);
    client
        .handle_input(NOW, Input::Bytes(bytes.into()))
        .unwrap();
    let events: Vec<_> = std::iter::from_fn(|| client.poll_event()).collect();
    assert_eq!(closed(&events), Some((Code::AUTH_FAILED, By::Local)));
}

#[test]
fn a_pq_feature_that_contradicts_message_2_is_refused() {
    let mut raw = Raw::shake();
    raw.send_caps(&betanet_htx::offered_caps(
        false,
        betanet_htx::Extra::default(),
    ));
    assert_eq!(closed(&raw.events()), Some((Code::AUTH_FAILED, By::Local)));
}

#[test]
fn stripped_or_added_capabilities_end_the_session() {
    // The peer's view of the offered capabilities differs in one feature.
    for believed in [
        raw::caps(&[("padding", false), ("pq", true)]),
        raw::caps(&[("pq", true)]),
    ] {
        for whose in ["client", "server"] {
            let mut raw = Raw::shake();
            raw.send_caps(&betanet_htx::offered_caps(
                true,
                betanet_htx::Extra::default(),
            ));
            raw.finish_negotiation(whose, &believed);
            raw.send(
                Head::connection(ty::WINDOW_UPDATE),
                &frame::window_update(0, 196_609),
            );
            let want = Some((Code::VERSION_NEGOTIATION_FAILED, By::Local));
            assert_eq!(closed(&raw.events()), want, "{whose}");
            assert!(raw.was_reset(), "no CLOSE could be read");
        }
    }
}

#[test]
fn a_selection_that_the_offers_do_not_give_is_refused() {
    let mut raw = Raw::shake();
    let offer = raw::caps_with_l2(&["betanet/htx/1.1.0", "betanet/htx/1.2.0"]);
    raw.send_caps(&offer);
    raw.send_selection("betanet/htx/1.1.0");
    let want = Some((Code::VERSION_NEGOTIATION_FAILED, By::Local));
    assert_eq!(closed(&raw.events()), want);
}

#[test]
fn epoch_0_carries_its_messages_and_nothing_else() {
    for (head, payload) in [
        (Head::connection(ty::PING), vec![0; 8]),
        (Head::of(ty::STREAM, 3), stream(3, 0, b"\x01", false).1),
        (Head::of(ty::STREAM, 1), stream(1, 5, b"x", false).1),
        (Head::of(ty::STREAM, 1), stream(1, 0, b"x", true).1),
        (Head::of(ty::STREAM, 1), stream(1, 0, &[0xff; 4], false).1),
        (
            Head::of(ty::STREAM, 1),
            stream(1, 0, &[0, 0, 0, 1, 0xff], false).1,
        ),
        // A length of 8 193 is rejected before any of it is awaited.
        (
            Head::of(ty::STREAM, 1),
            stream(1, 0, &[0, 0, 0x20, 1], false).1,
        ),
    ] {
        let mut raw = Raw::shake();
        raw.send(head, &payload);
        assert_eq!(closed(&raw.events()), MALFORMED, "{head:?}");
    }
    let mut raw = Raw::shake();
    raw.send(
        Head::connection(ty::CLOSE),
        &frame::close(Code::VERSION_NEGOTIATION_FAILED, "no"),
    );
    assert_eq!(
        closed(&raw.events()),
        Some((Code::VERSION_NEGOTIATION_FAILED, By::Peer))
    );
}

#[test]
fn capabilities_of_8192_bytes_are_read_and_of_one_more_refused() {
    let caps_of = |len: usize| {
        let base = raw::caps(&[("padding", true), ("pq", true)]).len();
        // The feature's name is at most as long as the remaining room, minus its head of three bytes and its value.
        let name = "x".repeat(len - base - 4);
        let caps = raw::caps(&[("padding", true), ("pq", true), (&name, true)]);
        assert_eq!(caps.len(), len);
        caps
    };
    let mut raw = Raw::shake();
    raw.send_caps(&caps_of(8192));
    assert_eq!(closed(&raw.events()), None);
    raw.finish_negotiation("neither", &[]);
    raw.send(
        Head::connection(ty::WINDOW_UPDATE),
        &frame::window_update(0, 196_609),
    );
    assert_eq!(raw.events(), [Event::Established]);
    let mut raw = Raw::shake();
    raw.send_caps(&caps_of(8193));
    assert_eq!(closed(&raw.events()), MALFORMED);
}

#[test]
fn epoch_1_begins_with_its_credit() {
    for credit in [196_608, 196_610] {
        let mut raw = Raw::before_first_frame();
        raw.send(
            Head::connection(ty::WINDOW_UPDATE),
            &frame::window_update(0, credit),
        );
        assert_eq!(closed(&raw.events()), MALFORMED);
    }
}

#[test]
fn lengths_out_of_bounds_end_it_before_anything_is_decrypted() {
    for len in [[0, 0, 22], [0, 0, 0], [0, 0xff, 0xfd], [0xff, 0xff, 0xff]] {
        let mut raw = Raw::open();
        raw.feed(&len);
        assert_eq!(closed(&raw.events()), MALFORMED, "{len:?}");
    }
    // The longest allowed length is awaited.
    let mut raw = Raw::open();
    raw.feed(&[0, 0xff, 0xfc]);
    assert_eq!(closed(&raw.events()), None);
}

#[test]
fn a_flipped_bit_anywhere_ends_it() {
    for at in [3, 4, 8, 9, 10, 20, 33] {
        let mut raw = Raw::open();
        let mut bytes = raw.seal(Head::connection(ty::PING), &[1; 8]).to_vec();
        bytes[at] ^= 0x10;
        raw.feed(&bytes);
        assert_eq!(
            closed(&raw.events()),
            Some((Code::AUTH_FAILED, By::Local)),
            "byte {at}"
        );
        assert!(raw.was_reset());
    }
}

#[test]
fn unknown_types_are_skipped_in_their_range_and_nowhere_else() {
    for t in [0x40, 0x55, 0x7f] {
        assert_eq!(one_frame(Head::connection(t), b"whatever"), None, "{t:#x}");
    }
    for t in [0x05, 0x1f, 0x22, 0x3f, 0x80, 0xff] {
        assert_eq!(
            one_frame(Head::connection(t), b"whatever"),
            MALFORMED,
            "{t:#x}"
        );
    }
}

#[test]
fn fields_marks_and_streams_that_do_not_fit_are_refused() {
    let mark = |ty, mark| Head {
        mark,
        ..Head::connection(ty)
    };
    for (head, payload) in [
        (Head::connection(ty::PING), vec![0; 7]),
        (Head::connection(ty::PING), vec![0; 9]),
        (Head::of(ty::PING, 3), vec![0; 8]),
        (mark(ty::PING, 2), vec![0; 8]),
        (mark(ty::KEY_UPDATE, 1), vec![]),
        (Head::connection(ty::KEY_UPDATE), vec![0]),
        (Head::connection(ty::WINDOW_UPDATE), vec![2, 0, 0, 0, 1]),
        (Head::connection(ty::WINDOW_UPDATE), vec![1, 0, 0, 0, 1]),
        (Head::of(ty::WINDOW_UPDATE, 3), vec![0, 0, 0, 0, 1]),
        (Head::of(ty::WINDOW_UPDATE, 3), vec![1, 0, 0, 0, 1]),
        (Head::connection(ty::STREAM), stream(0, 0, b"x", false).1),
        (
            Head::of(ty::STREAM, 3),
            vec![2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            Head::of(ty::STREAM, 3),
            vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
        ),
        (Head::connection(ty::CLOSE), vec![0]),
        (Head::of(ty::CLOSE, 3), frame::close(Code::OK, "")),
        (Head::of(ty::PADDING, 3), vec![]),
    ] {
        assert_eq!(one_frame(head, &payload), MALFORMED, "{head:?} {payload:?}");
    }
    assert_eq!(
        one_frame(Head::connection(ty::PADDING), &[0; 900]),
        None,
        "agreed on"
    );
}

#[test]
fn stream_ids_rise_by_two_from_three() {
    for id in [1, 2, 4, 5, 7] {
        let (head, payload) = stream(id, 0, b"\x01", false);
        assert_eq!(one_frame(head, &payload), MALFORMED, "stream {id}");
    }
}

#[test]
fn a_byte_past_the_credit_ends_it() {
    let mut raw = Raw::open();
    raw.send_stream(3, 0, b"\x01", false);
    // The first frame raised the stream to 262 144.
    let window = 32_768 + 229_376;
    raw.send_stream(3, window - 1, b"x", false);
    let gap = closed(&raw.events());
    assert_eq!(gap, None, "within the credit, behind a gap");
    raw.send_stream(3, window, b"x", false);
    assert_eq!(closed(&raw.events()), FLOW);

    // The connection: 64 streams that each stay within their own credit have all of it, which is 16 MiB.
    let mut raw = Raw::open();
    for id in (3..131).step_by(2) {
        fill(&mut raw, id, window);
    }
    assert_eq!(closed(&raw.events()), None, "to the last byte");
    raw.send_stream(131, 0, b"\x01", false);
    assert_eq!(closed(&raw.events()), FLOW);
}

/// Opens a stream and sends all of its bytes up to an offset.
fn fill(raw: &mut Raw, id: u32, to: u64) {
    raw.send_stream(id, 0, b"\x01", false);
    let mut at = 1;
    while at < to {
        let n = (to - at).min(16_000);
        raw.send_stream(id, at, &vec![0; usize::try_from(n).unwrap()], false);
        raw.drain();
        at += n;
    }
}

#[test]
fn streams_that_nobody_reads_leave_credit_for_the_next_one() {
    for unread in 1..=20 {
        let mut raw = Raw::open();
        for n in 1..=unread {
            fill(&mut raw, 1 + 2 * n, 262_144);
        }
        let _ = raw.events();
        let next = 3 + 2 * unread;
        raw.send_stream(next, 0, &[&b"\x01"[..], &[0; 15_000]].concat(), false);
        let events = raw.events();
        assert_eq!(closed(&events), None, "{unread}");
        let opened = |e: &Event| matches!(e, Event::Opened { stream, .. } if *stream == next);
        assert!(events.iter().any(opened), "{unread}: {events:?}");
    }
}

#[test]
fn an_offset_past_2_to_the_62_ends_it() {
    for offset in [1 << 62, u64::MAX] {
        let (head, payload) = stream(3, offset, b"x", false);
        assert_eq!(one_frame(head, &payload), FLOW);
    }
    // The largest credit of one frame is far below it.
    let update = frame::window_update(0, u32::MAX);
    assert_eq!(
        one_frame(Head::connection(ty::WINDOW_UPDATE), &update),
        None
    );
}

#[test]
fn contradicting_bytes_end_it() {
    for (second, fin) in [(&b"aXc"[..], false), (b"ab", true)] {
        let mut raw = Raw::open();
        raw.send_stream(3, 0, b"\x01", false);
        raw.send_stream(3, 5, b"abc", false);
        raw.send_stream(3, 5, second, fin);
        assert_eq!(closed(&raw.events()), MALFORMED);
    }
    let mut raw = Raw::open();
    raw.send_stream(3, 0, b"\x01x", true);
    raw.send_stream(3, 2, b"y", false);
    assert_eq!(closed(&raw.events()), MALFORMED, "data past FIN");
}

#[test]
fn sixty_five_thousand_streams_cost_256_and_a_refusal_each() {
    let mut raw = Raw::open();
    for n in 0..65_536u32 {
        raw.pass(1);
        raw.send_stream(3 + 2 * n, 0, b"\x01", false);
        raw.drain();
    }
    assert_eq!(closed(&raw.events()), None);
    let session = raw.server.get();
    assert_eq!(session.open_streams(), 256);
    assert_eq!(session.stats().streams_refused, 65_536 - 256);
    assert_eq!(raw.closed_streams, 65_536 - 256);
}

#[test]
fn a_stream_of_unknown_type_is_closed_and_the_session_lives() {
    let mut raw = Raw::open();
    raw.send_stream(3, 0, b"\x99hello", false);
    assert_eq!(raw.events(), []);
    raw.drain();
    assert_eq!(raw.closed_streams, 1);
    raw.send_stream(5, 0, b"\x01hello", false);
    assert!(matches!(
        raw.events()[..],
        [Event::Opened { stream: 5, kind: 1 }, Event::Data { .. }]
    ));
}

#[test]
fn a_key_that_turns_too_often_ends_it() {
    let mut raw = Raw::open();
    let turned = raw.sealer.turn();
    raw.feed(&turned);
    assert_eq!(closed(&raw.events()), None);
    let again = raw.sealer.turn();
    raw.feed(&again);
    assert_eq!(closed(&raw.events()), MALFORMED);
}

#[test]
fn a_peer_that_never_reads_fills_a_bounded_queue() {
    let mut raw = Raw::open();
    let ping = raw.many(Head::connection(ty::PING), &[1; 8], 4000);
    let mut refused = false;
    for part in ping.chunks(30_000) {
        let part = Bytes::copy_from_slice(part);
        refused |= raw.server.handle_input(NOW, Input::Bytes(part)) == Err(Error::Full);
    }
    assert!(!refused, "4 000 PINGs are 136 000 bytes");
    // Nothing was drained: the answers stop at the queue's bound, and the input waits.
    let mut waiting = 0;
    while raw.server.poll_transmit().is_some() {
        waiting += 1;
    }
    assert!(waiting <= 1024, "{waiting}");
    let big = raw.many(Head::connection(ty::PING), &[1; 8], 8000);
    for part in big.chunks(60_000) {
        let part = Bytes::copy_from_slice(part);
        refused |= raw.server.handle_input(NOW, Input::Bytes(part)) == Err(Error::Full);
    }
    assert!(refused, "more input is refused, not buffered");
}

#[test]
fn a_peer_that_never_writes_is_let_go() {
    let secs = |s| Now::new(Time::ZERO + Duration::from_secs(s), 0);
    // Before message 3.
    let mut raw = Raw::after_message1();
    let wake = raw.poll_timeout().unwrap();
    assert_eq!(
        (wake.at, wake.why),
        (Time::ZERO + Duration::from_secs(10), "htx: handshake")
    );
    raw.handle_timeout(secs(10));
    let events: Vec<_> = std::iter::from_fn(|| raw.poll_event()).collect();
    assert_eq!(closed(&events), Some((Code::AUTH_FAILED, By::Local)));
    // In an open session: 30 s of silence, two PINGs of 5 s.
    let mut raw = Raw::open();
    for s in [30, 35, 40] {
        raw.server.handle_timeout(secs(s));
        while raw.server.poll_transmit().is_some() {}
    }
    assert!(matches!(closed(&raw.events()), Some((_, By::Cut))));
}

#[test]
fn a_byte_a_second_is_a_handshake_that_takes_too_long() {
    let mut server = Raw::after_message1();
    for (s, byte) in (1..=10).zip([0, 128].into_iter().chain([0; 8])) {
        let now = Now::new(Time::ZERO + Duration::from_secs(s), 0);
        server.handle_timeout(now);
        let byte = Bytes::copy_from_slice(&[byte]);
        let taken = server.handle_input(now, Input::Bytes(byte));
        assert_eq!(taken.is_ok(), s < 10);
    }
}

#[test]
fn an_orderly_end_says_close_once_each_way() {
    let mut raw = Raw::open();
    raw.send(Head::connection(ty::CLOSE), &frame::close(Code::OK, "bye"));
    assert_eq!(closed(&raw.events()), Some((Code::OK, By::Peer)));
    let out = raw.drain();
    assert_eq!(
        out.iter()
            .filter(|h| h.ty == ty::CLOSE && h.stream == 0)
            .count(),
        1
    );
    assert!(raw.was_ended());
}

#[test]
fn secrets_print_nothing() {
    let raw = Raw::open();
    let said = format!("{:?}", raw.server.get());
    assert!(!said.contains('['), "{said}");
    let _: fn([u8; 32], [u8; 64]) -> Secrets = Secrets::new;
}
