//! The fuzz targets' functions: each takes arbitrary bytes and panics if an invariant is broken.
//!
//! The targets under `fuzz/` are one line each; an ordinary test on stable runs the committed corpora through the same functions.

mod coordinator;
mod exchanges;
mod fog;
mod hello;
mod legs;
mod mix;
mod observed;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_bar::{Error as BarError, Head, Incoming, Part, Request, Response};
use betanet_htx::frame::{self, Frame, HEADER, Head as FrameHead, TAG};
use betanet_htx::ticket::Ticket;
use betanet_htx::{Command, Config, Event, Input, Secrets, Session, StreamId, Transmit, kind};
use betanet_keys::{Identity, Name, Peer, PublicKey};
use betanet_machine::testkit::Checked;
use betanet_machine::{Machine as _, Now, Time};
use betanet_mesh::{self as mesh, Draft, Record, Setup, message};
use betanet_path::{Control, Hop};
use betanet_wire::caps::{CapMsg, SelMsg};
use betanet_wire::{ChargeTo, cbor, msg};
use bytes::Bytes;
use core::time::Duration;
use zeroize::Zeroizing;

pub use betanet_scheduler::testkit::fuzz as scheduler;
pub use coordinator::coordinator;
pub use exchanges::{directory, exchanges};
pub use fog::{fog_bodies, fog_records, fog_texts};
pub use hello::hello;
pub use legs::legs;
pub use mix::mix;
pub use observed::{front, initial, shape};

/// DET-CBOR: accepted input re-encodes to its own bytes, and both readers agree.
#[allow(
    clippy::panic,
    reason = "a fuzz target says what it found by panicking"
)]
pub fn det_cbor(data: &[u8]) {
    let value = cbor::from_slice::<cbor::Value<'_>>(data);
    assert_eq!(value.is_ok(), cbor::check(data).is_ok());
    if let Ok(value) = value {
        assert_eq!(value.to_vec().as_deref(), Ok(data));
    }
    let _ = cbor::from_slice::<CapMsg<'_>>(data);
    let _ = cbor::from_slice::<SelMsg<'_>>(data);
    let _ = msg::split(data, msg::MAX);
}

/// Frame lengths, headers and payloads.
pub fn frames(data: &[u8]) {
    if let Ok(Some(n)) = frame::total_length(data) {
        assert!((frame::MIN_LEN + 3..=frame::MAX_FRAME).contains(&n));
    }
    let Some((head, payload)) = data.split_first_chunk::<HEADER>() else {
        return;
    };
    let parsed = FrameHead::from_bytes(head);
    assert_eq!(parsed.to_bytes(payload.len() + TAG)[3..], head[3..]);
    if let Ok(Frame::Stream { offset, fin, data }) = Frame::read(parsed, payload) {
        let len = u16::try_from(data.len()).unwrap_or(u16::MAX);
        let again = [&frame::stream_fields(offset, fin, len), data].concat();
        assert_eq!(again, payload);
    }
}

/// Peer records and mesh messages: decoding and encoding agree, and a node keeps its contract for any message.
#[allow(
    clippy::panic,
    reason = "a fuzz target says what it found by panicking"
)]
pub fn mesh(data: &[u8]) {
    if let Ok(record) = Record::from_envelope(data) {
        assert_eq!(record.envelope().as_ref(), data);
        assert!(mesh::peek(data).is_ok());
    }
    if let Ok(have) = message::read_ask(data) {
        assert_eq!(&message::ask(have)[4..], data);
    }
    let _ = (
        message::read_discover(data),
        message::read_answer(data),
        message::read_last(data),
    );
    if let Ok(addr) = core::str::from_utf8(data)
        .unwrap_or("")
        .parse::<mesh::Addr>()
    {
        assert_eq!(alloc::format!("{addr}").as_bytes(), data);
    }
    let me = Identity::from_seed(&[1; 32]);
    let setup = Setup {
        draft: Some(Draft {
            roles: mesh::Roles::from_iter([mesh::Role::Seed]),
            ..Draft::default()
        }),
        identity: me,
        seeds: Vec::new(),
        policy: mesh::Policy::default(),
        saved: mesh::Saved::default(),
        banned: Vec::new(),
    };
    let now = |n: u64| {
        Now::new(
            Time::from_micros(n * 1_000_000),
            1_800_000_000_000 + n * 1000,
        )
    };
    let mut node = Checked::new(mesh::Mesh::new(
        now(0),
        setup,
        &betanet_machine::Seed::from_number(1),
    ));
    let settle = |node: &mut Checked<mesh::Mesh>, at: u64| {
        for _ in 0..64 {
            let Some(transmit) = node.poll_transmit() else {
                break;
            };
            if let mesh::Transmit::Check(work) = transmit {
                let _ = node.handle_input(now(at), mesh::Input::Checked(work.run()));
            }
        }
        while node.poll_event().is_some() {}
    };
    // The bytes as two peers would send them, in pieces of their choice.
    for (n, kind) in [(1, mesh::kind::GOSSIP), (2, mesh::kind::DISCOVER)] {
        let exchange = mesh::PEERS_EXCHANGES + n;
        let peer = betanet_wire::NodeId([n.to_le_bytes()[0]; 20]);
        let _ = node.handle_input(
            now(n),
            mesh::Input::Opened {
                exchange,
                kind,
                peer,
                from: None,
            },
        );
        let piece = usize::from(data.first().copied().unwrap_or(0)).max(1);
        let mut pieces = data.chunks(piece).peekable();
        while let Some(bytes) = pieces.next() {
            let (data, fin) = (Bytes::copy_from_slice(bytes), pieces.peek().is_none());
            let _ = node.handle_input(
                now(n),
                mesh::Input::Data {
                    exchange,
                    data,
                    fin,
                },
            );
            settle(&mut node, n);
        }
    }
    node.handle_timeout(now(60));
    settle(&mut node, 60);
}

/// Path headers: a decoded header encodes to its own bytes, and no hop accepts one that its sender did not sign.
pub fn path(data: &[u8]) {
    let Ok(control) = Control::from_bytes(data) else {
        return;
    };
    assert_eq!(control.to_bytes(), data);
    let (me, from) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
    let mut hop = Hop::new(64);
    let now = Now::new(Time::ZERO, 1_755_000_000_000);
    // The corpus knows no private key, so nothing in it is signed.
    let got = hop.receive(now, &me, (from.public(), ChargeTo::Unknown), control);
    assert!(got.is_err() && hop.is_empty() && hop.remembered() == 0);
}

/// Tickets, names and peers: parsed input prints to text that parses to the same value.
pub fn ticket(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    if let Ok(ticket) = Ticket::parse(text) {
        let again = Ticket::parse(&ticket.value());
        assert!(again.is_ok_and(|t| t.token() == ticket.token() && t.label() == ticket.label()));
    }
    if let Ok(name) = text.parse::<Name>() {
        assert_eq!(alloc::format!("{name}").parse(), Ok(name));
    }
    if let Ok(peer) = text.parse::<Peer>()
        && peer.pin.is_some()
    {
        assert_eq!(alloc::format!("{peer}").parse(), Ok(peer));
    }
}

fn incoming<H: Head>(data: &[u8], cut: usize) -> (Result<(), BarError>, Vec<u8>) {
    let mut reader = Incoming::<H>::default();
    let (first, second) = data.split_at(cut.min(data.len()));
    let mut outcome = reader.push(Bytes::copy_from_slice(first), false);
    if outcome.is_ok() {
        outcome = reader.push(Bytes::copy_from_slice(second), true);
    }
    let mut body = Vec::new();
    while let Some(part) = reader.pop() {
        if let Part::Body(bytes) = part {
            body.extend_from_slice(&bytes);
        }
    }
    (outcome, body)
}

/// BAR streams: splitting does not change the result, and a parsed request encodes to its own bytes.
pub fn bar(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else {
        return;
    };
    let whole = incoming::<Request>(stream, stream.len());
    let cut = incoming::<Request>(stream, usize::from(*cut));
    assert_eq!(whole.0.is_ok(), cut.0.is_ok());
    if whole.0.is_ok() {
        assert_eq!(whole.1, cut.1);
    }
    let _ = incoming::<Response>(stream, stream.len());
    if let Ok(Some((head, []))) = msg::split(stream, betanet_bar::HEAD_MAX)
        && let Ok(request) = Request::from_cbor(head)
        && let Ok(again) = request.to_message()
    {
        let read = Request::from_cbor(&again[4..]);
        assert_eq!(read, Ok(request));
    }
}

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

fn secrets(n: u8) -> Secrets {
    Secrets::new([n; 32], [n; 64])
}

const START: Now = Now::new(Time::ZERO, 1_767_225_600_000);

/// Handshake bytes: arbitrary ones as message 1, and after an honest message on either side.
pub fn handshake(data: &[u8]) {
    let server = identity(2);
    let ekm0 = [7; 32];
    let accept =
        |m1: &[u8]| Session::accept(START, Config::default(), &server, &ekm0, m1, secrets(4));
    assert!(accept(data).is_err(), "nobody guesses a message 1");
    let Some(mut client) = Session::connect(
        START,
        Config::default(),
        &identity(1),
        server.public(),
        &ekm0,
        secrets(3),
    )
    .ok()
    .map(Checked::new) else {
        return;
    };
    let Some(Transmit::Bytes(m1)) = client.poll_transmit() else {
        return;
    };
    let mut sides = Vec::from([client]);
    sides.extend(accept(&m1[2..]).ok().map(Checked::new));
    assert_eq!(sides.len(), 2);
    for side in &mut sides {
        while side.poll_transmit().is_some() {}
        let _ = side.handle_input(START, Input::Bytes(Bytes::copy_from_slice(data)));
        while side.poll_transmit().is_some() {}
        while let Some(event) = side.poll_event() {
            assert!(!matches!(event, Event::Established));
        }
    }
    if let Ok(bytes) = <[u8; 32]>::try_from(data) {
        let _ = PublicKey::from_bytes(&bytes);
    }
}

/// Data that one direction of a stream has carried.
#[derive(Default)]
struct Model {
    written: Vec<u8>,
    delivered: usize,
    ended: bool,
}

struct Pair {
    sides: [Checked<Session>; 2],
    now: Now,
    /// Keyed by the opener's stream and the writing side.
    model: BTreeMap<(StreamId, usize), Model>,
    over: bool,
    wire: [Vec<u8>; 2],
}

impl Pair {
    fn new() -> Option<Self> {
        let server = identity(2);
        let config = Config {
            rekey_bytes: 4096,
            send_buffer: 8192,
            ..Config::default()
        };
        let client = Session::connect(
            START,
            config.clone(),
            &identity(1),
            server.public(),
            &[7; 32],
            secrets(3),
        )
        .ok()?;
        let mut client = Checked::new(client);
        let Some(Transmit::Bytes(m1)) = client.poll_transmit() else {
            return None;
        };
        let accepted =
            Session::accept(START, config, &server, &[7; 32], &m1[2..], secrets(4)).ok()?;
        let mut this = Self {
            sides: [client, Checked::new(accepted)],
            now: START,
            model: BTreeMap::new(),
            over: false,
            wire: [Vec::new(), Vec::new()],
        };
        this.settle();
        assert!(this.sides.iter().all(|s| s.get().is_open()));
        Some(this)
    }

    /// Exchanges messages until neither side has any.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut moved = false;
            for side in 0..2 {
                moved |= self.step(side);
            }
            if !moved {
                return;
            }
        }
        assert!(self.over, "two honest sides never come to rest");
    }

    fn step(&mut self, side: usize) -> bool {
        let mut moved = false;
        while let Some(event) = self.sides[side].poll_event() {
            moved = true;
            self.event(side, event);
        }
        while let Some(transmit) = self.sides[side].poll_transmit() {
            moved = true;
            match transmit {
                Transmit::Bytes(bytes) => self.wire[side].extend_from_slice(&bytes),
                Transmit::NeedExport(context) => {
                    let ekm1 = Zeroizing::new(betanet_keys::hash(&[b"fuzz", &context]));
                    let _ = self.sides[side].handle_input(self.now, Input::Exported(ekm1));
                }
                Transmit::End | Transmit::Reset | Transmit::GoAway => {}
            }
        }
        let bytes = core::mem::take(&mut self.wire[side]);
        for part in bytes.chunks(32 << 10) {
            let part = Bytes::copy_from_slice(part);
            let _ = self.sides[1 - side].handle_input(self.now, Input::Bytes(part));
        }
        if let Some(wake) = self.sides[side].poll_timeout()
            && wake.at <= self.now.mono
        {
            self.sides[side].handle_timeout(self.now);
            moved = true;
        }
        moved
    }

    fn event(&mut self, side: usize, event: Event) {
        match event {
            Event::Data { stream, data, fin } => {
                let model = self.model.entry((stream, 1 - side)).or_default();
                let end = model.delivered + data.len();
                // Always the right bytes, in order, and once.
                assert_eq!(model.written.get(model.delivered..end), Some(data.as_ref()));
                assert!(!model.ended, "bytes after the end");
                model.delivered = end;
                model.ended = fin;
                if fin {
                    assert_eq!(model.delivered, model.written.len());
                }
                let bytes = data.len() as u64;
                let now = self.now;
                self.sides[side].call(now, |s| s.consume(now, stream, bytes));
            }
            Event::Cut { stream, delivered }
            | Event::StreamClosed {
                stream, delivered, ..
            } => {
                let model = self.model.entry((stream, 1 - side)).or_default();
                assert_eq!(delivered, model.delivered as u64);
            }
            Event::Closed { .. } => self.over = true,
            _ => {}
        }
    }

    fn command(&mut self, side: usize, command: Command) -> bool {
        self.sides[side].handle_command(self.now, command).is_ok()
    }

    fn write(&mut self, side: usize, stream: StreamId, data: &[u8], fin: bool) {
        let write = Command::Write {
            stream,
            data: Bytes::copy_from_slice(data),
            fin,
        };
        if self.command(side, write) {
            let model = self.model.entry((stream, side)).or_default();
            model.written.extend_from_slice(data);
        }
    }
}

/// Two sessions driven by a script of arbitrary bytes, compared with a model of the expected output.
pub fn sessions(data: &[u8]) {
    let Some(mut pair) = Pair::new() else { return };
    let mut script = data.iter().copied();
    while let (Some(op), Some(arg)) = (script.next(), script.next()) {
        let side = usize::from(op & 1);
        let stream = StreamId::from(arg % 16) + 2;
        match (op >> 1) % 9 {
            0 => _ = pair.command(side, Command::Open { kind: kind::BAR }),
            1 | 2 => {
                let bytes: Vec<u8> = (0..u16::from(arg) * 40)
                    .map(|i| i.to_le_bytes()[0] ^ op)
                    .collect();
                pair.write(side, stream, &bytes, op >= 0x80);
            }
            3 => _ = pair.command(side, Command::Rekey),
            4 => _ = pair.command(side, Command::Ping),
            5 => {
                let (now, code) = (pair.now, betanet_wire::Code::OK);
                pair.sides[side].call(now, |s| s.reset(now, stream, code));
            }
            6 => {
                let after = pair.now.mono + Duration::from_millis(u64::from(arg) * 50);
                pair.now = Now::new(after, pair.now.unix_ms);
                for s in &mut pair.sides {
                    s.handle_timeout(pair.now);
                }
            }
            // Bytes that neither side sent.
            7 => pair.wire[side].extend_from_slice(&[op, arg, op, arg]),
            _ => {
                let lost = if arg < 128 { Input::End } else { Input::Lost };
                let _ = pair.sides[side].handle_input(pair.now, lost);
            }
        }
        if arg % 3 != 0 {
            pair.settle();
        }
    }
    pair.settle();
}
