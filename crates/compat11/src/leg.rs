//! One connection of version 1.1, either side.

use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::{Machine, Now, Queue, Time, Wake, fingerprint};
use betanet_wire::NodeId;
use bytes::{Buf as _, Bytes, BytesMut};
use zeroize::Zeroizing;

use crate::Reading;
use crate::frame::{self, Head, TAG};
use crate::path::Asked;
use crate::seal::{Opener, Sealer};
use crate::streams::{Fault, Streams};

/// Maximum number of queued transmits.
const OUT_MAX: usize = 512;
/// Queued sealed bytes above which no stream data is added.
const OUT_BYTES: usize = 256 << 10;
/// Maximum number of queued events.
const EVENTS_MAX: usize = 512;
/// Free queue slots below which no more input is read.
const MARGIN: usize = 8;
/// Maximum number of buffered received bytes.
const RX_MAX: usize = 256 << 10;
/// Maximum number of stream bytes in one frame.
const DATA_MAX: usize = 16_384 - 9 - frame::HEAD_MAX - TAG;
/// Limits of a key: 1.1's 2^16 frames, and 1.2's 64 MiB and 15 min, which come before 1.1's 8 GiB and 1 h.
const TURN_FRAMES: u64 = 1 << 16;
const TURN_BYTES: u64 = 64 << 20;
const TURN_AFTER: Duration = Duration::from_secs(15 * 60);
/// Maximum length of a PING that is answered.
const PING_MAX: usize = 64;
/// Number of remembered PING answers, and how long they are kept: a PING that returns is an answer to the answer.
const PINGS: usize = 8;
const PING_KEPT: Duration = Duration::from_secs(5);
/// How long a leg that has sent its CLOSE waits for the peer's end.
const LINGER: Duration = Duration::from_secs(2);

/// Inputs from the carrier.
#[derive(Debug)]
pub enum Input {
    /// Body bytes, in order.
    Bytes(Bytes),
    /// The peer's body has ended.
    End,
    /// The carrier is gone.
    Lost,
}

/// Commands from the layer above.
#[derive(Clone, Debug)]
pub enum Command {
    /// Open a stream; the command returns its ID.
    Open,
    /// Send bytes on a stream.
    Write {
        /// Stream to write to.
        stream: u64,
        /// Bytes to send.
        data: Bytes,
    },
}

/// Outputs for the carrier. `End` and `Reset` are final.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Transmit {
    /// Body bytes, in order.
    Bytes(Bytes),
    /// End the body.
    End,
    /// Abort the body.
    Reset,
}

/// The party that ended a leg.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum By {
    /// This side.
    Local,
    /// The peer, with CLOSE.
    Peer,
    /// The peer broke a rule.
    Fault(&'static str),
    /// The carrier broke.
    Cut,
}

/// Events for the layer above.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Event {
    /// The client asks for a path over which its leg continues. Sent at most once.
    Path {
        /// The nodes of the path, first to last.
        nodes: Vec<NodeId>,
    },
    /// The peer opened a stream.
    Opened {
        /// The opened stream.
        stream: u64,
    },
    /// Bytes of a stream, in order. Acknowledge them with [`Leg::consume`].
    Data {
        /// Stream of the bytes.
        stream: u64,
        /// The bytes.
        data: Bytes,
    },
    /// A refused write may be retried.
    Writable {
        /// The stream that has room again.
        stream: u64,
    },
    /// The leg ended; no event follows.
    Closed {
        /// The party that ended the leg.
        by: By,
    },
}

/// The caller misused the leg, or there is no room now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The leg has ended.
    #[error("the leg is closed")]
    Closed,
    /// A queue is full.
    #[error("a queue is full")]
    Full,
    /// The stream's buffer is full; [`Event::Writable`] reports when it has room.
    #[error("stream {0} has no room")]
    Blocked(u64),
    /// The stream does not exist.
    #[error("there is no stream {0}")]
    NoStream(u64),
    /// The maximum number of streams is open.
    #[error("too many streams")]
    TooManyStreams,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Phase {
    Open,
    /// Queued data is sent before CLOSE.
    Draining,
    /// CLOSE was sent at this time.
    Closing(Time),
    Closed,
}

/// One connection of version 1.1.
pub struct Leg {
    phase: Phase,
    sealer: Sealer,
    opener: Opener,
    turned_at: Time,
    rx: BytesMut,
    /// Since when a whole frame waits in `rx` because a queue was short of room.
    backlog: Option<Time>,
    out: Queue<Transmit>,
    out_bytes: usize,
    events: Queue<Event>,
    streams: Streams,
    answered: Vec<(Vec<u8>, Time)>,
    /// The stream that carries path headers.
    paths: u64,
    asked: Asked,
}

impl core::fmt::Debug for Leg {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Leg")
            .field("phase", &self.phase)
            .field("streams", &self.streams.len())
            .finish_non_exhaustive()
    }
}

impl Leg {
    /// Starts on a connection whose exporter gave `keys` for [`Reading::exporter`].
    #[must_use]
    pub fn new(now: Now, client: bool, keys: &[u8; 64], reading: Reading) -> Self {
        let half = |at: usize| {
            let mut key = Zeroizing::new([0; 32]);
            key.copy_from_slice(&keys[at..at + 32]);
            key
        };
        let (mine, theirs) = if client { (0, 32) } else { (32, 0) };
        Self {
            phase: Phase::Open,
            sealer: Sealer::new(half(mine), reading),
            opener: Opener::new(half(theirs), reading),
            turned_at: now.mono,
            rx: BytesMut::new(),
            backlog: None,
            out: Queue::new(OUT_MAX),
            out_bytes: 0,
            events: Queue::new(EVENTS_MAX),
            streams: Streams::new(client),
            answered: Vec::new(),
            paths: reading.paths,
            asked: Asked::new(client),
        }
    }

    /// Returns the credit of consumed bytes to the peer. Never refused.
    pub fn consume(&mut self, now: Now, stream: u64, bytes: u64) {
        if !self.is_open() {
            return;
        }
        if let Some(credit) = self.streams.consumed(stream, bytes) {
            self.send(now.mono, Head::WindowUpdate(stream), &credit.to_be_bytes());
        }
        self.pump(now.mono);
    }

    /// Sends queued data, then CLOSE; returns whether the leg was open before. Never refused.
    pub fn close(&mut self, now: Now) -> bool {
        let open = self.is_open();
        if open {
            self.phase = Phase::Draining;
            self.pump(now.mono);
        }
        open
    }

    /// Whether an input of this many bytes would be accepted now.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.rx.is_empty() || self.rx.len() + bytes <= RX_MAX
    }

    /// Whether the last transmit has been queued.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    fn send(&mut self, now: Time, head: Head, plaintext: &[u8]) {
        let frame = self.sealer.seal(head, plaintext);
        self.queue(now, frame);
    }

    fn queue(&mut self, now: Time, frame: Vec<u8>) {
        self.out_bytes += frame.len();
        // Room was checked before: for a frame of the peer, and for each stream that returns credit.
        self.out.push_reserved(now, Transmit::Bytes(frame.into()));
    }

    fn turn_if_due(&mut self, now: Time) {
        let due = self.sealer.frames() >= TURN_FRAMES
            || self.sealer.bytes() >= TURN_BYTES
            || (now - self.turned_at >= TURN_AFTER && self.sealer.frames() > 0);
        if due {
            let frame = self.sealer.turn();
            self.turned_at = now;
            self.queue(now, frame);
        }
    }

    fn may_pump(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Draining)
            && self.out_bytes < OUT_BYTES
            && self.out.room() > MARGIN
            && self.events.room() > MARGIN
    }

    fn pump(&mut self, now: Time) {
        while self.may_pump() {
            let Some((id, pieces, refill)) = self.streams.take(DATA_MAX) else {
                break;
            };
            self.turn_if_due(now);
            let frame = self.sealer.seal_pieces(Head::Stream(id), &pieces);
            self.queue(now, frame);
            if refill && self.is_open() {
                self.events
                    .push_reserved(now, Event::Writable { stream: id });
            }
        }
        if self.phase == Phase::Draining && self.streams.buffered() == 0 {
            self.send(now, Head::Close, &[]);
            self.phase = Phase::Closing(now);
            self.events
                .push_reserved(now, Event::Closed { by: By::Local });
        }
    }

    fn finish(&mut self, now: Time, last: Transmit, by: By) {
        let told = matches!(self.phase, Phase::Closing(_) | Phase::Closed);
        if !self.is_closed() {
            self.out.push_reserved(now, last);
        }
        self.phase = Phase::Closed;
        self.rx.clear();
        self.backlog = None;
        self.streams.clear();
        if !told {
            self.events.push_reserved(now, Event::Closed { by });
        }
    }

    fn fault(&mut self, now: Time, why: &'static str) {
        tracing::debug!(why, "a leg of 1.1 ends by the peer's fault");
        self.send(now, Head::Close, &[]);
        self.finish(now, Transmit::End, By::Fault(why));
    }

    /// Opens received frames as long as there is room for their output.
    fn process(&mut self, now: Time) {
        self.backlog = None;
        while !self.is_closed() {
            let framed = match frame::read(&self.rx) {
                Ok(Some(framed)) if self.rx.len() >= framed.end => framed,
                Ok(_) => return,
                Err(_) => return self.fault(now, "no frame"),
            };
            if self.out.room() <= MARGIN || self.events.room() <= MARGIN {
                self.backlog = Some(now);
                return;
            }
            let mut whole = self.rx.split_to(framed.end);
            if self.opener.open(&framed, &mut whole).is_none() {
                return self.finish(
                    now,
                    Transmit::Reset,
                    By::Fault("a frame that does not open"),
                );
            }
            whole.advance(framed.at);
            whole.truncate(whole.len() - TAG);
            self.frame(now, framed.head, whole.freeze());
        }
    }

    fn frame(&mut self, now: Time, head: Head, body: Bytes) {
        match head {
            // Streams that this side has closed are not read any more.
            Head::Stream(_) if !self.is_open() => {}
            Head::Stream(stream) if stream == self.paths => self.path(now, &body),
            Head::Stream(stream) => match self.streams.received(stream, body.len() as u64) {
                Err(Fault::Streams) => self.fault(now, "too many streams"),
                Err(Fault::Credit) => self.fault(now, "more than the window"),
                Ok(new) => {
                    if new {
                        self.events.push_reserved(now, Event::Opened { stream });
                    }
                    if !body.is_empty() {
                        self.events
                            .push_reserved(now, Event::Data { stream, data: body });
                    }
                }
            },
            Head::Ping => self.answer(now, &body),
            Head::Close => {
                if !matches!(self.phase, Phase::Closing(_)) {
                    self.send(now, Head::Close, &[]);
                }
                self.finish(now, Transmit::End, By::Peer);
            }
            Head::KeyUpdate => {}
            Head::WindowUpdate(stream) => {
                let Ok(credit) = <[u8; 4]>::try_from(&body[..]) else {
                    return self.fault(now, "a WINDOW_UPDATE that is not four bytes");
                };
                if self
                    .streams
                    .granted(stream, u32::from_be_bytes(credit))
                    .is_err()
                {
                    self.fault(now, "credit passes 2^62");
                }
            }
        }
    }

    fn path(&mut self, now: Time, more: &[u8]) {
        match self.asked.more(more) {
            Ok(None) => {}
            Ok(Some(nodes)) => {
                self.events.push_reserved(now, Event::Path { nodes });
            }
            Err(error) => {
                tracing::debug!(%error, "a path header of 1.1 is not read");
                self.fault(now, "no path header");
            }
        }
    }

    /// Answers a PING. An answer has no mark in version 1.1, so a returned PING is not answered; else two ends would loop.
    fn answer(&mut self, now: Time, token: &[u8]) {
        self.answered.retain(|(_, at)| now - *at < PING_KEPT);
        let again = self.answered.iter().any(|(seen, _)| seen == token);
        if again || self.answered.len() >= PINGS || token.len() > PING_MAX || !self.is_open() {
            return;
        }
        self.answered.push((token.to_vec(), now));
        self.send(now, Head::Ping, token);
    }
}

impl Machine for Leg {
    type Input = Input;
    type Command = Command;
    /// The stream that was opened.
    type Answer = Option<u64>;
    type Transmit = Transmit;
    type Event = Event;
    type Error = Error;

    fn handle_input(&mut self, now: Now, input: Input) -> Result<(), Error> {
        let at = now.mono;
        match input {
            _ if self.is_closed() => return Err(Error::Closed),
            Input::Bytes(bytes) => {
                if !self.has_room(bytes.len()) {
                    return Err(Error::Full);
                }
                match bytes.try_into_mut() {
                    // The buffer has no other owner: no copy is needed.
                    Ok(bytes) if self.rx.is_empty() => self.rx = bytes,
                    Ok(bytes) => self.rx.extend_from_slice(&bytes),
                    Err(bytes) => self.rx.extend_from_slice(&bytes),
                }
                self.process(at);
            }
            Input::End if matches!(self.phase, Phase::Closing(_)) => {
                self.finish(at, Transmit::End, By::Local);
            }
            Input::End => self.finish(at, Transmit::Reset, By::Cut),
            Input::Lost => self.finish(at, Transmit::Reset, By::Cut),
        }
        self.pump(at);
        Ok(())
    }

    fn handle_command(&mut self, now: Now, command: Command) -> Result<Option<u64>, Error> {
        let at = now.mono;
        if !self.is_open() {
            return Err(Error::Closed);
        }
        if self.out.room() <= MARGIN || self.events.room() <= MARGIN {
            return Err(Error::Full);
        }
        let opened = match command {
            Command::Open => Some(self.streams.open().ok_or(Error::TooManyStreams)?),
            Command::Write { stream, data } => match self.streams.write(stream, data) {
                None => return Err(Error::NoStream(stream)),
                Some(false) => return Err(Error::Blocked(stream)),
                Some(true) => None,
            },
        };
        self.pump(at);
        Ok(opened)
    }

    fn handle_timeout(&mut self, now: Now) {
        let at = now.mono;
        if self.backlog.is_some() {
            self.process(at);
        }
        match self.phase {
            Phase::Closing(since) if at >= since + LINGER => {
                self.finish(at, Transmit::End, By::Local);
            }
            Phase::Open | Phase::Draining => self.turn_if_due(at),
            Phase::Closing(_) | Phase::Closed => {}
        }
        self.pump(at);
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        let transmit = self.out.pop()?;
        if let Transmit::Bytes(bytes) = &transmit {
            self.out_bytes -= bytes.len();
        }
        Some(transmit)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    fn poll_timeout(&self) -> Option<Wake> {
        let wake = |at, why| Some(Wake { at, why });
        let pump = self.may_pump() && self.streams.sendable();
        let turn = self.sealer.frames() > 0;
        let phase = match self.phase {
            Phase::Closing(since) => wake(since + LINGER, "compat11: CLOSE is unanswered"),
            Phase::Open | Phase::Draining if turn => {
                wake(self.turned_at + TURN_AFTER, "compat11: the key is due")
            }
            _ => None,
        };
        Wake::earliest([
            self.out.wake("compat11: transmits wait"),
            self.events.wake("compat11: events wait"),
            self.backlog
                .and_then(|at| wake(at, "compat11: input waits")),
            pump.then_some(Wake {
                at: self.turned_at,
                why: "compat11: streams have something to send",
            }),
            phase,
        ])
    }

    fn fingerprint(&self) -> u64 {
        fingerprint!(self, Leg {
            phase, sealer, opener, turned_at, rx, backlog, out, out_bytes, events, streams, answered, asked,
        } without {
            paths: "set once",
        })
    }
}
