//! Legs to peers of version 1.1: clear and sealed input.

use betanet_compat11::frame::{self, Head};
use betanet_compat11::{
    Choices, Command, Event, Input, Leg, Minor, Reading, Sealer, TicketKey, carried, path,
};
use betanet_machine::testkit::Checked;
use betanet_machine::{Machine as _, Now, Time};
use betanet_wire::NodeId;
use bytes::Bytes;
use core::time::Duration;
use zeroize::Zeroizing;

/// An even first byte selects parsers: tickets, requests that carry them, frame heads, path headers, the stored memory. An odd
/// one selects a peer that seals anything while this side acts freely, one operation of five bytes after the other.
pub fn legs(data: &[u8]) {
    match data.split_first() {
        Some((first, rest)) if first % 2 == 0 => parsers(rest),
        Some((_, rest)) => conversation(rest),
        None => {}
    }
}

fn parsers(data: &[u8]) {
    if let Ok(Some(framed)) = frame::read(data) {
        assert!(
            framed.at <= frame::HEAD_MAX
                && framed.end <= frame::HEAD_MAX + frame::CIPHERTEXT_MAX + frame::TAG
        );
    }
    if let Ok(Some(header)) = path::read(data) {
        assert!(header.len <= data.len() && header.nodes.len() <= path::SEGMENTS_MAX);
        for cut in 0..header.len {
            assert_eq!(path::read(&data[..cut]), Ok(None), "cut short");
        }
    }
    if let Some(choices) = Choices::from_bytes(data, 16) {
        let again = Choices::from_bytes(&choices.to_bytes(), 16);
        assert_eq!(again.map(|c| c.to_bytes()), Some(choices.to_bytes()));
    }
    let key = TicketKey::new(&[9; 32], Reading::PROFILE);
    if let Ok(text) = core::str::from_utf8(data) {
        let reading = Reading::PROFILE;
        let places = [
            carried(&reading, [text].into_iter(), None, None),
            carried(&reading, core::iter::empty(), Some(text), None),
            carried(&reading, core::iter::empty(), None, Some(data)),
        ];
        for ticket in places.into_iter().flatten().chain([text]) {
            // No key made this ticket.
            assert!(key.open(ticket, 1_700_000_000_000).is_none());
        }
    }
    let mut choices = Choices::new(4);
    let mut now = 1_700_000_000_000;
    for op in data.chunks(2) {
        let minor = if op[0] % 2 == 0 {
            Minor::One
        } else {
            Minor::Two
        };
        now += u64::from(op[op.len() - 1]) * 60_000;
        let _ = choices.chose(now, &[op[0] >> 1; 32], minor);
        assert!(choices.len() <= 4);
    }
}

fn conversation(data: &[u8]) {
    let mut mono = Time::ZERO;
    let at = |mono| Now {
        mono,
        unix_ms: 1_700_000_000_000,
    };
    let keys = [3; 64];
    let mut leg = Checked::new(Leg::new(at(mono), false, &keys, Reading::PROFILE));
    let mut peer = Sealer::new(Zeroizing::new([3; 32]), Reading::PROFILE);
    let header = two_hops();
    let (mut told, mut asked) = (false, false);
    for op in data.chunks(5).take(256) {
        let byte = |i: usize| op.get(i).copied().unwrap_or(0);
        let (id, len) = (
            u64::from(byte(1)),
            usize::from(byte(2)) * usize::from(byte(3)),
        );
        let body = alloc::vec![byte(4); len];
        let sealed = |peer: &mut Sealer, head| Some(peer.seal(head, &body));
        let bytes = match byte(0) % 12 {
            0 => sealed(&mut peer, Head::Stream(id)),
            1 => {
                let (from, to) = (usize::from(byte(1)), usize::from(byte(2)));
                let part = header.get(from..to.min(header.len())).unwrap_or_default();
                Some(peer.seal(Head::Stream(Reading::PROFILE.paths), part))
            }
            2 => sealed(&mut peer, Head::Ping),
            3 => sealed(&mut peer, Head::WindowUpdate(id)),
            4 => Some(peer.turn()),
            5 => sealed(&mut peer, Head::Close),
            6 => Some(body),
            7 => {
                let _ = leg.handle_command(at(mono), Command::Open);
                None
            }
            8 => {
                let data = Bytes::from(body);
                let _ = leg.handle_command(at(mono), Command::Write { stream: id, data });
                None
            }
            9 => {
                leg.call(at(mono), |leg| leg.consume(at(mono), id, len as u64));
                None
            }
            10 => {
                leg.call(at(mono), |leg| leg.close(at(mono)));
                None
            }
            _ => {
                mono = mono + Duration::from_secs(u64::from(byte(1)));
                None
            }
        };
        if let Some(bytes) = bytes
            && leg.get().has_room(bytes.len())
        {
            let _ = leg.handle_input(at(mono), Input::Bytes(bytes.into()));
        }
        for _ in 0..8 {
            while leg.poll_transmit().is_some() {}
            while let Some(event) = leg.poll_event() {
                assert!(!told, "nothing follows the end");
                told = matches!(event, Event::Closed { .. });
                if let Event::Path { nodes } = event {
                    assert!(!asked && nodes == [NodeId([1; 20]), NodeId([2; 20])]);
                    asked = true;
                }
            }
            if leg.poll_timeout().is_some_and(|w| w.at <= mono) {
                leg.handle_timeout(at(mono));
            }
        }
    }
}

/// A path header over two nodes.
fn two_hops() -> alloc::vec::Vec<u8> {
    let mut header = alloc::vec![2, 1, 0, 8, 0, 60, 0, 2];
    for node in [1, 2] {
        header.extend_from_slice(&[node; 20]);
        header.extend_from_slice(&[0; 6]);
    }
    header
}
