//! The session machine: dispatch only. Each concern with fields of its own has its own file.

mod closing;
mod command;
mod liveness;
mod meter;
mod negotiation;
mod receive;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::time::Duration;

use betanet_keys::{Identity, PublicKey, schedule};
use betanet_machine::{Machine, Now, Queue, Time, Wake, fingerprint};
use betanet_wire::{Code, caps::Agreed};
use bytes::{Bytes, BytesMut};
use zeroize::Zeroizing;

use crate::cipher::Suite;
use crate::config::AES;
use crate::frame::{self, Head, ty};
use crate::handshake::{Initiator, Outcome, Responder, Secrets};
use crate::streams::{CONNECTION_RAISE, Streams};
use crate::{Cipher, Config, Error, HandshakeError, Opener, Outer, Sealer, StreamId};

use closing::Closing;
use liveness::Liveness;
use meter::Meter;
use negotiation::Negotiation;

/// Maximum number of queued transmits.
const OUT_MAX: usize = 1024;
/// Free queue slots below which no more input is read: the output that one frame may cause.
const MARGIN: usize = 16;
/// Queued sealed bytes above which no stream data is added.
const OUT_BYTES: usize = 256 << 10;
/// Maximum number of queued events.
const EVENTS_MAX: usize = 2048;
/// Maximum number of buffered received bytes.
const RX_MAX: usize = 256 << 10;
/// Number of frames after which a session joined with a leg of 1.1 replaces its key: version 1.1 has this limit too.
const TRANSLATED_FRAMES: u64 = 1 << 16;
/// Time from message 1 to an open session, on the server.
const SERVER_DEADLINE: Duration = Duration::from_secs(10);
/// Time from message 1 to an open session, on the client, whose message 1 may itself wait as long.
const CLIENT_DEADLINE: Duration = Duration::from_secs(20);

/// Inputs from the carrier.
#[derive(Debug)]
pub enum Input {
    /// Body bytes, in order.
    Bytes(Bytes),
    /// The exporter's answer to [`Transmit::NeedExport`].
    Exported(Zeroizing<[u8; 32]>),
    /// The peer's body has ended.
    End,
    /// The carrier is gone.
    Lost,
    /// The peer's carrier showed a sign of life: sent data may be slow, but is on its way.
    Alive,
    /// The peer's carrier is shutting down.
    GoAway,
}

/// Outputs for the carrier. `End` and `Reset` are final.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Transmit {
    /// Body bytes, in order.
    Bytes(Bytes),
    /// Export 32 bytes with [`crate::ticket::EXPORTER_LABEL`] and this context.
    NeedExport(Vec<u8>),
    /// Tell the peer's carrier that no new requests are accepted.
    GoAway,
    /// End the body.
    End,
    /// Abort the body.
    Reset,
}

/// Commands from the layer above.
#[derive(Clone, Debug)]
pub enum Command {
    /// Open a stream of this type; the command returns its ID.
    Open {
        /// The stream type.
        kind: u8,
    },
    /// Send bytes on a stream; `fin` ends its sending direction.
    Write {
        /// Stream to write to.
        stream: StreamId,
        /// Bytes to send.
        data: Bytes,
        /// Whether the bytes are the stream's last.
        fin: bool,
    },
    /// Measure the round-trip time; one [`Event::Pong`] answers all earlier requests.
    Ping,
    /// Replace the sending key as soon as the rules allow.
    Rekey,
    /// Send a PADDING frame with this many zero bytes, if both sides support PADDING; at most 16 384.
    Pad(u16),
    /// Send an L1 message.
    PathControl(Bytes),
    /// Accept no new streams, give open ones 10 s, then close with OK.
    Shutdown,
    /// Shut down without waiting for the peer's data: close once everything that this side wrote is sealed.
    Finish,
}

/// The party that ended a session.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum By {
    /// This side.
    Local,
    /// The peer, with CLOSE.
    Peer,
    /// The carrier broke, or the peer fell silent.
    Cut,
}

/// Events for the layer above.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Event {
    /// The session is open; [`Session::peer`] and [`Session::agreed`] give the peer and the agreed parameters.
    Established,
    /// The peer opened a stream.
    Opened {
        /// The opened stream.
        stream: StreamId,
        /// The stream type.
        kind: u8,
    },
    /// Bytes of a stream, in order, without its type byte. Acknowledge them with [`Session::consume`].
    Data {
        /// Stream of the bytes.
        stream: StreamId,
        /// The bytes.
        data: Bytes,
        /// Whether the bytes are the stream's last.
        fin: bool,
    },
    /// A refused write may be retried.
    Writable {
        /// The stream that has room again.
        stream: StreamId,
    },
    /// The peer ended a stream before its FIN.
    StreamClosed {
        /// The closed stream.
        stream: StreamId,
        /// The peer's close code.
        code: Code,
        /// Bytes delivered before the close.
        delivered: u64,
    },
    /// The session ended while this stream was open.
    Cut {
        /// The stream that was cut.
        stream: StreamId,
        /// Bytes delivered before the cut.
        delivered: u64,
    },
    /// A PING was answered.
    Pong {
        /// The round-trip time.
        rtt: Duration,
    },
    /// An L1 message.
    PathControl(Bytes),
    /// The peer accepts no new streams.
    GoingAway,
    /// The session ended; no event follows.
    Closed {
        /// The close code.
        code: Code,
        /// The close reason as text.
        reason: String,
        /// The party that ended the session.
        by: By,
    },
}

/// Counters of a session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// Number of frames sealed.
    pub frames_out: u64,
    /// Number of frames opened.
    pub frames_in: u64,
    /// Bytes sealed, including headers and tags.
    pub bytes_out: u64,
    /// Bytes opened, including headers and tags.
    pub bytes_in: u64,
    /// Number of updates of the sending key.
    pub rekeys_out: u64,
    /// Number of updates of the receiving key.
    pub rekeys_in: u64,
    /// Number of streams that the peer opened and this side refused.
    pub streams_refused: u64,
    /// Number of frames of unknown, skippable types.
    pub skipped: u64,
    /// Number of frames for streams that had already ended.
    pub late: u64,
    /// Events lost to a full queue. Non-zero means a bug: room is reserved beforehand.
    pub lost_events: u64,
}

enum Phase {
    Message2(Box<Initiator>),
    Message3(Box<Responder>),
    Negotiating,
    Exporting,
    Open { confirmed: bool },
    Closing,
    Closed,
}

impl Phase {
    const fn number(&self) -> u64 {
        match self {
            Self::Message2(_) => 0,
            Self::Message3(_) => 1,
            Self::Negotiating => 2,
            Self::Exporting => 3,
            Self::Open { confirmed: false } => 4,
            Self::Open { confirmed: true } => 5,
            Self::Closing => 6,
            Self::Closed => 7,
        }
    }
}

/// One session, either side.
pub struct Session {
    client: bool,
    config: Config,
    own: PublicKey,
    ekm0: Zeroizing<[u8; 32]>,
    phase: Phase,
    began: Time,
    outcome: Option<Outcome>,
    agreed: Option<Agreed>,
    sealer: Option<Sealer>,
    opener: Option<Opener>,
    lottery: Option<Zeroizing<[u8; 32]>>,
    turn_wanted: bool,
    turned_at: Time,
    rx: BytesMut,
    /// Since when a whole unit waits in `rx` because a queue was short of room.
    backlog: Option<Time>,
    out: Queue<Transmit>,
    out_bytes: usize,
    events: Queue<Event>,
    streams: Streams,
    negotiation: Negotiation,
    liveness: Liveness,
    meter: Meter,
    closing: Closing,
    stats: Stats,
}

impl Session {
    /// Starts a client session; message 1 is the first transmit.
    ///
    /// `ekm0` is the carrier's exporter with [`crate::ticket::EXPORTER_CONTEXT`].
    ///
    /// # Errors
    ///
    /// [`Error::Handshake`] if the responder's key is unusable.
    pub fn connect(
        now: Now,
        config: Config,
        identity: &Identity,
        responder: &PublicKey,
        ekm0: &[u8; 32],
        secrets: Secrets,
    ) -> Result<Self, Error> {
        let ekm0 = epoch0_material(&config.outer, ekm0);
        let (initiator, message) = Initiator::start(
            identity,
            responder,
            &ekm0,
            config.template,
            config.pq,
            secrets,
        )
        .map_err(Error::Handshake)?;
        let phase = Phase::Message2(Box::new(initiator));
        let mut this = Self::new(now, true, config, *identity.public(), ekm0, phase);
        this.send_message(now.mono, &message);
        Ok(this)
    }

    /// Starts a server session from message 1; message 2 is the first transmit.
    ///
    /// # Errors
    ///
    /// Message 1 is invalid: the carrier then answers as its cover site does.
    pub fn accept(
        now: Now,
        config: Config,
        identity: &Identity,
        ekm0: &[u8; 32],
        message1: &[u8],
        secrets: Secrets,
    ) -> Result<Self, HandshakeError> {
        let ekm0 = epoch0_material(&config.outer, ekm0);
        let (responder, message) =
            Responder::accept(identity, &ekm0, message1, config.pq, secrets)?;
        let phase = Phase::Message3(Box::new(responder));
        let mut this = Self::new(now, false, config, *identity.public(), ekm0, phase);
        this.send_message(now.mono, &message);
        Ok(this)
    }

    fn new(
        now: Now,
        client: bool,
        config: Config,
        own: PublicKey,
        ekm0: Zeroizing<[u8; 32]>,
        phase: Phase,
    ) -> Self {
        Self {
            client,
            own,
            ekm0,
            phase,
            began: now.mono,
            outcome: None,
            agreed: None,
            sealer: None,
            lottery: None,
            opener: None,
            turn_wanted: false,
            turned_at: now.mono,
            rx: BytesMut::new(),
            backlog: None,
            out: Queue::new(OUT_MAX),
            out_bytes: 0,
            events: Queue::new(EVENTS_MAX),
            streams: Streams::new(client, &config),
            negotiation: Negotiation::default(),
            liveness: Liveness::new(now.mono),
            meter: Meter::new(now.mono),
            closing: Closing::default(),
            stats: Stats::default(),
            config,
        }
    }

    /// The peer's identity; on the server available once message 3 was read.
    #[must_use]
    pub fn peer(&self) -> Option<&PublicKey> {
        self.outcome.as_ref().map(|o| &o.peer)
    }

    /// The parameters that both ends agreed on, once the session is open.
    #[must_use]
    pub const fn agreed(&self) -> Option<&Agreed> {
        self.agreed.as_ref()
    }

    /// The client's TemplateID.
    #[must_use]
    pub fn template(&self) -> Option<&[u8; 32]> {
        self.outcome.as_ref().map(|o| &o.template)
    }

    /// Whether ML-KEM-768 contributed to the keys.
    #[must_use]
    pub fn pq(&self) -> bool {
        self.outcome.as_ref().is_some_and(|o| o.pq)
    }

    /// The Noise handshake hash. Both ends share it, and it is not secret.
    #[must_use]
    pub fn transcript(&self) -> Option<&[u8; 32]> {
        self.outcome.as_ref().map(|o| &o.hash)
    }

    /// The key with which this session's client draws its paths through the mix; the peer has it too. `None` before the session
    /// is open.
    #[must_use]
    pub fn lottery_key(&self) -> Option<&[u8; 32]> {
        self.lottery.as_deref()
    }

    /// The smoothed round-trip time; `None` before the first measurement.
    #[must_use]
    pub const fn rtt(&self) -> Option<Duration> {
        self.liveness.rtt()
    }

    /// Start time of the session.
    #[must_use]
    pub const fn began(&self) -> Time {
        self.began
    }

    /// Whether streams may be opened and written.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Whether the last transmit has been queued.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Number of open streams.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// Bytes of all streams that are not yet sealed.
    #[must_use]
    pub fn send_buffered(&self) -> usize {
        self.streams.buffered()
    }

    /// Bytes of one stream that are not yet sealed.
    #[must_use]
    pub fn stream_buffered(&self, stream: StreamId) -> usize {
        self.streams.get(stream).map_or(0, |s| s.send.buffered())
    }

    /// Whether an input of this many bytes would be accepted now.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.rx.is_empty() || self.rx.len() + bytes <= RX_MAX
    }

    /// The session's counters.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    fn transmit(&mut self, now: Time, transmit: Transmit) {
        if let Transmit::Bytes(bytes) = &transmit {
            self.out_bytes += bytes.len();
        }
        // Room was checked before: for a frame of the peer, for a command, and for each stream that ends or returns credit.
        // A lost sealed frame would end the session.
        self.out.push_reserved(now, transmit);
    }

    fn event(&mut self, now: Time, event: Event) {
        // The rest of a frame that ended the session causes no events.
        if !self.is_over() && !self.events.push(now, event) {
            self.stats.lost_events += 1;
        }
    }

    /// Sends a handshake message: a u16 length and the bytes.
    fn send_message(&mut self, now: Time, message: &[u8]) {
        let mut out = Vec::with_capacity(2 + message.len());
        betanet_wire::prim::put_varstr(&mut out, message);
        self.transmit(now, Transmit::Bytes(out.into()));
    }

    fn send_frame(&mut self, now: Time, head: Head, prefix: &[u8], data: &[u8]) {
        let over = self.is_over();
        // Nothing is sent after this side's CLOSE.
        let Some(sealer) = self.sealer.as_mut().filter(|_| !over) else {
            return;
        };
        let frame = sealer.seal(head, prefix, data);
        self.count_out(&frame);
        self.transmit(now, Transmit::Bytes(frame));
    }

    fn count_out(&mut self, frame: &Bytes) {
        self.stats.frames_out += 1;
        self.stats.bytes_out += frame.len() as u64;
    }

    fn send_window(&mut self, now: Time, stream: StreamId, credit: u32) {
        let scope = u8::from(stream != 0);
        let payload = frame::window_update(scope, credit);
        self.send_frame(now, Head::of(ty::WINDOW_UPDATE, stream), &payload, &[]);
    }

    fn send_stream_close(&mut self, now: Time, stream: StreamId, code: Code) {
        let payload = frame::close(code, "");
        self.send_frame(now, Head::of(ty::CLOSE, stream), &payload, &[]);
    }

    /// The AEAD of the frames that carry streams. It is known once both sides' offers are.
    #[must_use]
    pub fn suite(&self) -> Suite {
        match &self.agreed {
            Some(agreed) if agreed.has(AES) => Suite::Aes256Gcm,
            _ => Suite::ChaCha20Poly1305,
        }
    }

    /// Installs the keys of an epoch.
    fn install(&mut self, ekm: &[u8; 32]) {
        let cipher = Cipher {
            suite: self.suite(),
            by: self.config.ciphers(),
        };
        let Some(outcome) = &self.outcome else { return };
        let k0 = schedule::k0(&outcome.noise_secret, ekm);
        let masked = matches!(self.config.outer, Outer::Forward(_));
        let client = schedule::TrafficSecret::client(&k0);
        let server = schedule::TrafficSecret::server(&k0);
        let (send, receive) = if self.client {
            (client, server)
        } else {
            (server, client)
        };
        self.sealer = Some(Sealer::with(cipher, send, masked));
        self.opener = Some(Opener::with(cipher, receive, masked));
    }

    fn enter_epoch1(&mut self, now: Time, ekm1: &[u8; 32]) {
        self.install(ekm1);
        self.lottery = self.outcome.as_ref().map(|outcome| {
            let client =
                schedule::TrafficSecret::client(&schedule::k0(&outcome.noise_secret, ekm1));
            schedule::label(client.as_bytes(), "lottery")
        });
        self.phase = Phase::Open { confirmed: false };
        self.turned_at = now;
        self.liveness.heard(now);
        self.send_window(now, 0, CONNECTION_RAISE);
        self.streams.receive.raise(now, CONNECTION_RAISE);
        self.event(now, Event::Established);
        self.process(now);
    }

    /// Replaces the sending key if an update is requested or due, and the rules allow it.
    fn turn_if_due(&mut self, now: Time) {
        let age = now - self.turned_at;
        let translated = self.agreed.as_ref().is_some_and(Agreed::is_translated);
        let Some(sealer) = &mut self.sealer else {
            return;
        };
        let due = self.turn_wanted
            || sealer.bytes() >= self.config.rekey_bytes
            || translated && sealer.frames() >= TRANSLATED_FRAMES
            || (age >= self.config.rekey_after && sealer.frames() > 0);
        if !due || !sealer.may_turn() {
            return;
        }
        let frame = sealer.turn();
        self.turn_wanted = false;
        self.turned_at = now;
        self.stats.rekeys_out += 1;
        self.count_out(&frame);
        self.transmit(now, Transmit::Bytes(frame));
    }

    fn may_pump(&self) -> bool {
        self.is_open()
            && self.out_bytes < OUT_BYTES
            && self.out.room() > MARGIN
            && self.events.room() > MARGIN
    }

    /// Seals pending stream data as far as credit allows, one frame per stream in turn.
    fn pump(&mut self, now: Time) {
        while self.may_pump() {
            let Some(id) = self.streams.take_turn() else {
                return;
            };
            self.turn_if_due(now);
            let max = self.streams.credit().min(self.config.frame_data as u64);
            let Some(stream) = self.streams.get_mut(id) else {
                continue;
            };
            let (offset, data, fin) = stream.send.take(max);
            let refill =
                stream.send.buffered() <= self.config.send_buffer / 2 && stream.send.refused.take();
            let (done, reset) = (stream.done(), stream.reset);
            let more = stream.send.buffered() > 0;
            self.streams.sent += data.len() as u64;
            if !data.is_empty() {
                self.meter.sent();
            }
            let len = u16::try_from(data.len()).unwrap_or(u16::MAX);
            let fields = frame::stream_fields(offset, fin, len);
            self.send_frame(now, Head::of(ty::STREAM, id), &fields, &data);
            if refill {
                self.event(now, Event::Writable { stream: id });
            }
            if let Some(code) = reset {
                self.send_stream_close(now, id, code);
            }
            if done || reset.is_some() {
                self.remove_stream(now, id);
            } else if more {
                self.streams.queue(id);
            }
        }
        self.close_when_drained(now);
    }

    /// Forgets a stream and returns the credit it held.
    fn remove_stream(&mut self, now: Time, id: StreamId) {
        self.streams.remove(id);
        self.grant_connection(now);
        self.close_when_drained(now);
    }

    fn grant_connection(&mut self, now: Time) {
        let rtt = self.liveness.rtt_or_default();
        if let Some(credit) = self.streams.receive.grant(now, rtt) {
            self.send_window(now, 0, credit);
        }
    }
}

/// Over FORWARD there is no exporter: a hash of the path takes its place.
fn epoch0_material(outer: &Outer, exported: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(match outer {
        Outer::Tls => *exported,
        Outer::Forward(path) => {
            let joined: Vec<&[u8]> = path.iter().map(|n| n.0.as_slice()).collect();
            betanet_keys::hash(&[b"BN-FWD0", &betanet_keys::hash(&joined)])
        }
    })
}

impl Machine for Session {
    type Input = Input;
    type Command = Command;
    /// The stream that was opened.
    type Answer = Option<StreamId>;
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
                self.rx.extend_from_slice(&bytes);
                self.liveness.heard(at);
                self.process(at);
            }
            Input::Exported(ekm1) => {
                if !matches!(self.phase, Phase::Exporting) {
                    return Err(Error::Unasked);
                }
                self.enter_epoch1(at, &ekm1);
            }
            Input::End => self.body_ended(at),
            Input::Alive => {
                self.liveness.moves();
                self.check_liveness(at);
            }
            Input::Lost => self.cut(at, "the carrier is gone"),
            Input::GoAway => self.peer_goes_away(at),
        }
        self.pump(at);
        Ok(())
    }

    fn handle_command(&mut self, now: Now, command: Command) -> Result<Option<StreamId>, Error> {
        let opened = self.command(now.mono, command)?;
        self.pump(now.mono);
        Ok(opened)
    }

    fn handle_timeout(&mut self, now: Now) {
        let at = now.mono;
        if self.backlog.is_some() {
            self.process(at);
        }
        self.check_deadline(at);
        self.check_liveness(at);
        self.check_closing(at);
        if self.is_open() {
            self.turn_if_due(at);
        }
        self.pump(at);
    }

    fn poll_transmit(&mut self) -> Option<Transmit> {
        let transmit = self.out.pop()?;
        if let Transmit::Bytes(bytes) = &transmit {
            if self.out_bytes >= OUT_BYTES / 2 {
                // The carrier accepts data that it had no room for before.
                self.liveness.moves();
            }
            self.out_bytes -= bytes.len();
        }
        Some(transmit)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    fn poll_timeout(&self) -> Option<Wake> {
        let wake = |at, why| Some(Wake { at, why });
        let backlog = self.backlog.and_then(|at| wake(at, "htx: input waits"));
        let pump = (self.may_pump() && self.streams.sendable()).then_some(Wake {
            at: self.began,
            why: "htx: streams have something to send",
        });
        let turn = match &self.sealer {
            Some(s) if self.is_open() && s.frames() > 0 && s.may_turn() => wake(
                self.turned_at + self.config.rekey_after,
                "htx: the key is due",
            ),
            _ => None,
        };
        Wake::earliest([
            self.out.wake("htx: transmits wait"),
            self.events.wake("htx: events wait"),
            backlog,
            pump,
            turn,
            self.deadline().and_then(|at| wake(at, "htx: handshake")),
            self.liveness_wake(),
            self.closing_wake(),
        ])
    }

    fn fingerprint(&self) -> u64 {
        fingerprint!(self, Session {
            client, phase, began, sealer, opener, turn_wanted, turned_at, rx, backlog, out, out_bytes, events, streams,
            negotiation, liveness, meter, closing,
        } without {
            config: "set once",
            own: "set once",
            ekm0: "a secret, set once",
            outcome: "holds secrets; set with the phase",
            agreed: "set with the phase",
            lottery: "a secret, set with the phase",
            stats: "statistics",
        })
    }
}

impl Hash for Phase {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number().hash(state);
    }
}

impl core::fmt::Debug for Session {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Session")
            .field("client", &self.client)
            .field("phase", &self.phase.number())
            .field("streams", &self.streams.len())
            .finish_non_exhaustive()
    }
}
