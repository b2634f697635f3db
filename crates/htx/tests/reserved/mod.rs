//! Returning credit, aborting and closing are never refused: the queues keep room for them.

use betanet_htx::{Command, Error, Event, Transmit};
use betanet_machine::Machine as _;
use betanet_wire::Code;
use bytes::Bytes;

use crate::raw::Raw;

/// A session whose output queues are full, with four half-read streams of the peer.
fn full() -> Raw {
    let mut raw = Raw::open();
    for id in [3, 5, 7, 9] {
        raw.send_stream(id, 0, b"\x01", false);
        for at in 0..35 {
            raw.send_stream(id, 1 + 4000 * at, &[0; 4000], false);
        }
    }
    raw.drain();
    let say = || Command::PathControl(Bytes::from_static(b"x"));
    while raw.server.handle_command(raw.now, say()).is_ok() {}
    raw
}

fn frames_out(raw: &Raw) -> u64 {
    raw.server.get().stats().frames_out
}

#[test]
fn credit_that_is_given_back_to_a_full_session_is_not_lost() {
    let mut raw = full();
    let (now, before) = (raw.now, frames_out(&raw));
    for id in [3, 5, 7, 9] {
        raw.server.call(now, |s| s.consume(now, id, 140_000));
    }
    // Each stream lacks half its credit, which is granted at once.
    assert!(frames_out(&raw) >= before + 4);
    raw.drain();
    for id in [3, 5, 7, 9] {
        for at in 35..75 {
            raw.send_stream(id, 1 + 4000 * at, &[0; 4000], false);
            raw.server.call(now, |s| s.consume(now, id, 4000));
            let closed = |e: &Event| matches!(e, Event::Closed { .. });
            assert!(!raw.events().iter().any(closed), "stream {id} at {at}");
            raw.drain();
        }
    }
}

#[test]
fn a_stream_is_given_up_by_a_full_session_and_the_peer_hears_of_it() {
    let mut raw = full();
    let (now, before) = (raw.now, frames_out(&raw));
    assert_eq!(raw.server.get().open_streams(), 4);
    raw.server.call(now, |s| s.reset(now, 5, Code::OK));
    assert_eq!(raw.server.get().open_streams(), 3);
    assert!(frames_out(&raw) > before);
    let closed = raw.closed_streams;
    raw.drain();
    assert_eq!(raw.closed_streams, closed + 1);
}

#[test]
fn a_full_session_refuses_to_open_and_opens_nothing() {
    let mut raw = full();
    let open = || Command::Open { kind: 1 };
    for _ in 0..3 {
        let refused = raw.server.handle_command(raw.now, open());
        assert_eq!(refused, Err(Error::Full));
    }
    assert_eq!(raw.server.get().open_streams(), 4);
    raw.drain();
    let opened = raw.server.handle_command(raw.now, open());
    assert_eq!(opened, Ok(Some(2)));
    let opened = raw.server.handle_command(raw.now, open());
    assert_eq!(opened, Ok(Some(4)));
}

#[test]
fn a_full_session_closes_and_says_so() {
    let mut raw = full();
    let (now, before) = (raw.now, frames_out(&raw));
    raw.server.call(now, |s| s.close(now, Code::OK, ""));
    assert_eq!(frames_out(&raw), before + 1);
    let events = raw.events();
    let last = events.last();
    assert!(matches!(last, Some(Event::Closed { code: Code::OK, .. })));
    let mut sent = 0;
    while let Some(transmit) = raw.server.poll_transmit() {
        sent += usize::from(matches!(transmit, Transmit::Bytes(_)));
    }
    assert!(sent > 1000, "{sent}");
}
