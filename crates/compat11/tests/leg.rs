//! Two legs against each other, and one leg against a peer that breaks the rules.

use std::collections::BTreeMap;
use std::time::Duration;

use betanet_compat11::frame::{self, Head, TAG};
use betanet_compat11::{
    By, Command, Error, Event, Input, Leg, Opener, Reading, Sealer, Transmit, path,
};
use betanet_machine::testkit::Checked;
use betanet_machine::{Machine as _, Now, Time};
use betanet_wire::NodeId;
use bytes::Bytes;
use proptest::prelude::*;
use zeroize::Zeroizing;

const KEYS: [u8; 64] = {
    let mut keys = [1; 64];
    keys[40] = 9;
    keys
};

fn at(mono: Time) -> Now {
    Now {
        mono,
        unix_ms: 1_700_000_000_000,
    }
}

struct End {
    leg: Checked<Leg>,
    got: BTreeMap<u64, Vec<u8>>,
    opened: Vec<u64>,
    closed: Option<By>,
    asked: Option<Vec<NodeId>>,
    last: Option<Transmit>,
}

impl End {
    fn new(client: bool) -> Self {
        Self {
            leg: Checked::new(Leg::new(at(Time::ZERO), client, &KEYS, Reading::PROFILE)),
            got: BTreeMap::new(),
            opened: Vec::new(),
            closed: None,
            asked: None,
            last: None,
        }
    }

    /// Takes the output; received data is consumed.
    fn drain(&mut self, now: Now) -> Vec<u8> {
        let mut out = Vec::new();
        loop {
            let mut moved = false;
            while let Some(transmit) = self.leg.poll_transmit() {
                moved = true;
                match transmit {
                    Transmit::Bytes(bytes) => out.extend_from_slice(&bytes),
                    last => self.last = Some(last),
                }
            }
            while let Some(event) = self.leg.poll_event() {
                moved = true;
                match event {
                    Event::Path { nodes } => {
                        let before = self.asked.replace(nodes);
                        assert_eq!(before, None, "once at most");
                    }
                    Event::Opened { stream } => self.opened.push(stream),
                    Event::Data { stream, data } => {
                        self.got.entry(stream).or_default().extend_from_slice(&data);
                        let bytes = data.len() as u64;
                        self.leg.call(now, |leg| leg.consume(now, stream, bytes));
                    }
                    Event::Writable { .. } => {}
                    Event::Closed { by } => self.closed = Some(by),
                }
            }
            if self.leg.poll_timeout().is_some_and(|w| w.at <= now.mono) {
                self.leg.handle_timeout(now);
                moved = true;
            }
            if !moved {
                return out;
            }
        }
    }

    fn input(&mut self, now: Now, bytes: &[u8], part: usize) {
        for part in bytes.chunks(part.max(1)) {
            while !self.leg.get().is_closed() && !self.leg.get().has_room(part.len()) {
                self.drain(now);
            }
            let _ = self
                .leg
                .handle_input(now, Input::Bytes(Bytes::copy_from_slice(part)));
        }
    }
}

fn exchange(now: Now, a: &mut End, b: &mut End, part: usize) {
    loop {
        let up = a.drain(now);
        b.input(now, &up, part);
        let down = b.drain(now);
        a.input(now, &down, part);
        if up.is_empty() && down.is_empty() {
            return;
        }
    }
}

/// Writes all bytes as far as credit allows, and exchanges the frames that this takes.
fn write(now: Now, a: &mut End, b: &mut End, stream: u64, bytes: &[u8], part: usize) {
    for data in bytes.chunks(9000) {
        let data = Bytes::copy_from_slice(data);
        loop {
            let command = Command::Write {
                stream,
                data: data.clone(),
            };
            match a.leg.handle_command(now, command) {
                Ok(_) => break,
                Err(e) => {
                    assert!(matches!(e, Error::Blocked(_) | Error::Full), "{e}");
                    exchange(now, a, b, part);
                }
            }
        }
    }
    exchange(now, a, b, part);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn bytes_arrive_both_ways_however_they_are_cut(
        up in prop::collection::vec(any::<u8>(), 0..300_000),
        down in prop::collection::vec(any::<u8>(), 0..100_000),
        part in 1_usize..70_000,
    ) {
        let now = at(Time::ZERO);
        let (mut a, mut b) = (End::new(true), End::new(false));
        let id = a.leg.handle_command(now, Command::Open).unwrap().unwrap();
        write(now, &mut a, &mut b, id, &up, part);
        prop_assert_eq!(b.got.remove(&id).unwrap_or_default(), up.clone());
        let back = b.leg.handle_command(now, Command::Open).unwrap().unwrap();
        write(now, &mut b, &mut a, back, &down, part);
        prop_assert_eq!(a.got.remove(&back).unwrap_or_default(), down);
        if !up.is_empty() {
            prop_assert_eq!(&b.opened, &[id]);
        }
        a.leg.call(now, |leg| leg.close(now));
        exchange(now, &mut a, &mut b, part);
        prop_assert_eq!((a.closed, b.closed), (Some(By::Local), Some(By::Peer)));
        prop_assert_eq!((a.last, b.last), (Some(Transmit::End), Some(Transmit::End)));
    }

    #[test]
    fn noise_ends_a_leg_and_never_more(noise in prop::collection::vec(any::<u8>(), 0..2000), part in 1_usize..100) {
        let now = at(Time::ZERO);
        let mut leg = End::new(false);
        leg.input(now, &noise, part);
        leg.drain(now);
        prop_assert!(leg.got.is_empty() && leg.opened.is_empty());
    }
}

/// Seals frames as the other side would.
fn peer() -> (Sealer, End) {
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(&KEYS[..32]);
    (Sealer::new(key, Reading::PROFILE), End::new(false))
}

/// An unsigned path header of this type over these nodes.
fn header(kind: u8, nodes: &[[u8; 20]]) -> Vec<u8> {
    let len = u8::try_from(8 + 26 * nodes.len()).unwrap_or(u8::MAX);
    let mut bytes = vec![2, kind, 0, 8, 0, len, 0, (len - 8) / 26];
    for node in nodes {
        bytes.extend_from_slice(node);
        bytes.extend_from_slice(&[0; 6]);
    }
    bytes
}

proptest! {
    #[test]
    fn a_path_header_names_its_nodes_however_it_is_cut(
        nodes in prop::collection::btree_set(any::<[u8; 20]>(), 1..9),
        multi in any::<bool>(),
        part in 1_usize..300,
        more in any::<bool>(),
    ) {
        let now = at(Time::ZERO);
        let nodes: Vec<_> = nodes.into_iter().collect();
        let multi = multi && nodes.len() > 1;
        let mut bytes = header(if multi { 3 } else { 1 }, &nodes);
        if more {
            bytes.push(0);
        }
        let (mut sealer, mut leg) = peer();
        for part in bytes.chunks(part) {
            leg.input(now, &sealer.seal(Head::Stream(1), part), 9);
        }
        leg.input(now, &sealer.seal(Head::Stream(3), b"data"), 9);
        leg.drain(now);
        let live = if multi { 1 } else { nodes.len() };
        let want: Vec<_> = nodes[..live].iter().map(|n| NodeId(*n)).collect();
        if more {
            prop_assert_eq!(leg.closed, Some(By::Fault("no path header")));
        } else {
            prop_assert_eq!(leg.asked, Some(want));
            prop_assert_eq!(&leg.opened, &[3]);
        }
    }

    #[test]
    fn noise_is_no_path_header(noise in prop::collection::vec(any::<u8>(), 0..800)) {
        if let Ok(Some(read)) = path::read(&noise) {
            prop_assert!(read.len <= noise.len());
        }
    }
}

#[test]
fn what_a_server_says_about_paths_is_not_read() {
    let now = at(Time::ZERO);
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(&KEYS[32..]);
    let (mut sealer, mut leg) = (Sealer::new(key, Reading::PROFILE), End::new(true));
    leg.input(now, &sealer.seal(Head::Stream(1), &[7; 9000]), 9);
    leg.input(now, &sealer.seal(Head::Stream(2), b"data"), 9);
    leg.drain(now);
    assert_eq!((leg.opened, leg.asked, leg.closed), (vec![2], None, None));
}

#[test]
fn a_ping_comes_back_once() {
    let now = at(Time::ZERO);
    let (mut sealer, mut leg) = peer();
    leg.input(now, &sealer.seal(Head::Ping, b"there?"), 9);
    let answer = leg.drain(now);
    assert_eq!(answer.len(), 4 + 6 + TAG);
    leg.input(now, &sealer.seal(Head::Ping, b"there?"), 9);
    assert!(leg.drain(now).is_empty(), "an answer to the answer");
    for n in 0..100_u32 {
        leg.input(now, &sealer.seal(Head::Ping, &n.to_be_bytes()), 9);
    }
    assert!(
        leg.drain(now).len() <= 8 * (4 + 4 + TAG),
        "no more than it remembers"
    );
    let later = at(Time::ZERO + Duration::from_secs(6));
    leg.input(later, &sealer.seal(Head::Ping, b"there?"), 9);
    assert!(!leg.drain(later).is_empty());
}

#[test]
fn a_peer_that_breaks_the_rules_ends_its_leg() {
    type Breach = fn(&mut Sealer) -> Vec<u8>;
    let cases: [(&str, Breach); 7] = [
        ("more than the window", |s| {
            let frame = vec![0; 40_000];
            [
                s.seal(Head::Stream(3), &frame),
                s.seal(Head::Stream(3), &frame),
            ]
            .concat()
        }),
        ("too many streams", |s| {
            (0..200)
                .flat_map(|n| s.seal(Head::Stream(n), b"x"))
                .collect()
        }),
        ("a WINDOW_UPDATE that is not four bytes", |s| {
            s.seal(Head::WindowUpdate(3), b"123")
        }),
        ("no path header", |s| {
            s.seal(Head::Stream(1), b"GET / HTTP/1.1")
        }),
        ("no path header", |s| {
            let header = header(1, &[[1; 20], [2; 20]]);
            [
                s.seal(Head::Stream(1), &header),
                s.seal(Head::Stream(1), &header),
            ]
            .concat()
        }),
        ("no frame", |_| vec![0, 0, 1, 9, 0, 0]),
        ("a frame that does not open", |s| {
            let mut frame = s.seal(Head::Ping, b"x");
            *frame.last_mut().unwrap() ^= 1;
            frame
        }),
    ];
    for (why, bytes) in cases {
        let now = at(Time::ZERO);
        let (mut sealer, mut leg) = peer();
        let bytes = bytes(&mut sealer);
        // Nothing is consumed in between.
        let _ = leg.leg.handle_input(now, Input::Bytes(bytes.into()));
        leg.drain(now);
        assert_eq!(leg.closed, Some(By::Fault(why)));
        assert!(leg.leg.get().is_closed());
    }
}

#[test]
fn keys_turn_after_so_many_frames_or_so_long_and_are_followed() {
    let now = at(Time::ZERO);
    let (mut a, mut b) = (End::new(true), End::new(false));
    let id = a.leg.handle_command(now, Command::Open).unwrap().unwrap();
    for _ in 0..70_000_u32 {
        let command = Command::Write {
            stream: id,
            data: Bytes::from_static(b"x"),
        };
        a.leg.handle_command(now, command).unwrap();
        exchange(now, &mut a, &mut b, 70_000);
    }
    assert_eq!(b.got[&id].len(), 70_000);
    let later = at(Time::ZERO + Duration::from_secs(15 * 60));
    let turned = a.drain(later);
    let framed = frame::read(&turned).unwrap().unwrap();
    assert_eq!(framed.head, Head::KeyUpdate);
    b.input(later, &turned, 100);
    write(later, &mut a, &mut b, id, b"after", 5);
    assert!(b.got[&id].ends_with(b"xafter"));
}

#[test]
fn a_close_without_an_answer_ends_after_two_seconds() {
    let now = at(Time::ZERO);
    let mut leg = End::new(true);
    leg.leg.call(now, |leg| leg.close(now));
    leg.drain(now);
    assert_eq!(leg.last, None);
    let wake = leg.leg.poll_timeout().unwrap();
    assert_eq!(wake.at, Time::ZERO + Duration::from_secs(2));
    leg.drain(at(wake.at));
    assert_eq!(leg.last, Some(Transmit::End));
}

#[test]
fn a_key_of_one_direction_opens_nothing_of_the_other() {
    let (mut sealer, _) = peer();
    let frame = sealer.seal(Head::Ping, b"x");
    let framed = frame::read(&frame).unwrap().unwrap();
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(&KEYS[32..]);
    let mut opener = Opener::new(key, Reading::PROFILE);
    assert!(opener.open(&framed, &mut frame.clone()).is_none());
}
