//! One connection: `bar` exchanges on an `htx` session.

mod asking;
mod raw;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use core::time::Duration;

use betanet_bar::{Request, Response};
use betanet_htx::{self as htx, Session, StreamId};
use betanet_machine::{Machine, Now, Queue, Wake, fingerprint};
use betanet_wire::Code;
use bytes::Bytes;

use crate::Error;
use asking::Asking;
use raw::Raw;

/// Maximum number of queued events.
const EVENTS_MAX: usize = 1024;
/// Maximum number of events that one session event may produce.
const MARGIN: usize = 8;

/// Commands from the layer above.
#[derive(Clone, Debug)]
pub enum Command {
    /// Send a request; the command returns its stream. With `more`, the body follows in [`Command::Send`].
    Ask {
        /// The request's head.
        request: Request,
        /// Whether a body follows.
        more: bool,
    },
    /// Open a stream of a type other than BAR; the command returns its ID. Its bytes are sent with [`Command::Send`] and
    /// received as [`Event::Body`].
    Open {
        /// The stream type.
        kind: u8,
        /// The first bytes.
        first: Bytes,
    },
    /// Send a path message.
    PathControl(Bytes),
    /// Bytes of a request's body, of an answer to the peer, or of a stream of another type. One command for an answer may hold at
    /// most [`Connection::answer_room`] bytes. A refused command may be retried after [`Event::Writable`].
    Send {
        /// Stream of the exchange.
        stream: StreamId,
        /// The bytes.
        data: Bytes,
        /// Whether these are the stream's last bytes.
        fin: bool,
    },
    /// Send a PADDING frame with this many bytes, if both sides support PADDING.
    Pad(u16),
    /// Measure the round-trip time.
    Ping,
    /// Replace the sending key.
    Rekey,
    /// Shut down in order.
    Shutdown,
    /// Shut down in order, without waiting for further data on the peer's streams.
    Finish,
}

/// Events for the layer above.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Event {
    /// The session is open. Peer-initiated streams are served only after this event was taken, and never after
    /// [`Connection::close`]. An embedder that rejects the session closes it on this event.
    Established,
    /// Head of an answer.
    Head {
        /// Stream of the exchange.
        stream: StreamId,
        /// The head; an inline body arrives as [`Event::Body`].
        response: Response,
    },
    /// Bytes of an answer's body, or of a stream that is not a request of this side; acknowledge them with
    /// [`Connection::consume`].
    Body {
        /// Stream of the bytes.
        stream: StreamId,
        /// The bytes.
        data: Bytes,
    },
    /// An answer is complete, or the peer finished its direction of a stream.
    End {
        /// The finished stream.
        stream: StreamId,
    },
    /// An exchange or a stream ended before it was complete.
    Failed {
        /// The failed stream.
        stream: StreamId,
        /// Close code; `None` when the session was cut.
        code: Option<Code>,
        /// Body bytes delivered before the failure.
        delivered: u64,
    },
    /// A refused [`Command::Send`] may be tried again.
    Writable {
        /// The stream that has room again.
        stream: StreamId,
    },
    /// The peer opened a stream of a type that the configuration accepts. A stream of type BAR carries a request: its bytes
    /// arrive as [`Event::Body`], and the answer is sent with [`Command::Send`]. [`Connection::abort`] rejects the request.
    Opened {
        /// The opened stream.
        stream: StreamId,
        /// The stream type.
        kind: u8,
    },
    /// A path message.
    PathControl(Bytes),
    /// A PING was answered.
    Pong {
        /// The round-trip time.
        rtt: Duration,
    },
    /// The peer takes no new requests.
    GoingAway,
    /// The session ended; no event follows.
    Closed {
        /// The close code.
        code: Code,
        /// The close reason as text.
        reason: String,
        /// The party that ended the session.
        by: htx::By,
    },
}

/// A session, the requests made over it, and the streams that the peer opens on it.
pub struct Connection {
    session: Session,
    asking: BTreeMap<StreamId, Asking>,
    /// Streams that are not requests of this side, with the state of each.
    raw: BTreeMap<StreamId, Raw>,
    /// Answers that wait for room in their connection's budget and have registered interest.
    starved: BTreeSet<StreamId>,
    events: Queue<Event>,
    lost_events: u64,
    /// The layer above has not yet taken [`Event::Established`] and may reject the session; no stream of the peer is served.
    unseen: bool,
    /// This side closed the session; no further stream of the peer is served.
    closed: bool,
}

impl Connection {
    /// Wraps `session`, with no exchange under way.
    #[must_use]
    pub const fn new(session: Session) -> Self {
        Self {
            session,
            asking: BTreeMap::new(),
            raw: BTreeMap::new(),
            starved: BTreeSet::new(),
            events: Queue::new(EVENTS_MAX),
            lost_events: 0,
            unseen: false,
            closed: false,
        }
    }

    /// The session below, for inspection.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// Number of events lost to full queues, here and in the session. Non-zero means a bug: room is reserved beforehand.
    #[must_use]
    pub const fn lost_events(&self) -> u64 {
        self.lost_events + self.session.stats().lost_events
    }

    /// Returns the credit of consumed bytes of an answer's body or of a stream that the peer opened. Never refused.
    pub fn consume(&mut self, now: Now, stream: StreamId, bytes: u64) {
        let prepaid = self.asking.get_mut(&stream).map_or(0, |a| a.prepay(bytes));
        // A complete stream returns its remaining credit: the session bounds the amount.
        self.session.consume(now, stream, bytes - prepaid);
        self.settle(now);
    }

    /// Aborts an exchange or a stream. Never refused; no event about it follows.
    pub fn abort(&mut self, now: Now, stream: StreamId, code: Code) {
        self.session.reset(now, stream, code);
        self.asking.remove(&stream);
        self.raw.remove(&stream);
        self.starved.remove(&stream);
        self.settle(now);
    }

    /// Closes the session at once. Never refused; the first code and reason are kept.
    pub fn close(&mut self, now: Now, code: Code, reason: &str) {
        self.closed = true;
        self.session.close(now, code, reason);
        self.settle(now);
    }

    fn event(&mut self, now: Now, event: Event) {
        if !self.events.push(now.mono, event) {
            self.lost_events += 1;
        }
    }

    /// Passes events up once.
    fn settle(&mut self, now: Now) {
        self.rise(now);
        self.feed_starved(now);
    }

    fn rise(&mut self, now: Now) {
        while self.events.room() > MARGIN && !self.unseen {
            let Some(event) = self.session.poll_event() else {
                return;
            };
            match event {
                htx::Event::Established => {
                    self.unseen = true;
                    self.event(now, Event::Established);
                }
                // Events that arrived together with the message that opened a session which was then rejected.
                htx::Event::Opened { .. } | htx::Event::PathControl(_) if self.closed => {}
                htx::Event::Opened { stream, kind } => {
                    self.raw.insert(stream, Raw::of(kind));
                    self.event(now, Event::Opened { stream, kind });
                }
                htx::Event::Data { stream, data, fin } => {
                    if self.asking.contains_key(&stream) {
                        self.answer_data(now, stream, data, fin);
                    } else if self.raw.contains_key(&stream) {
                        self.raw_data(now, stream, data, fin);
                    } else {
                        // The last bytes of an aborted exchange, or of a request whose answer is complete.
                        let bytes = data.len() as u64;
                        self.session.consume(now, stream, bytes);
                    }
                }
                htx::Event::Writable { stream } => {
                    if self.asking.contains_key(&stream) || self.raw.contains_key(&stream) {
                        self.event(now, Event::Writable { stream });
                    }
                }
                htx::Event::StreamClosed { stream, code, .. } => {
                    self.stream_gone(now, stream, Some(code));
                }
                htx::Event::Cut { stream, .. } => self.stream_gone(now, stream, None),
                htx::Event::Pong { rtt } => self.event(now, Event::Pong { rtt }),
                htx::Event::PathControl(payload) => self.event(now, Event::PathControl(payload)),
                htx::Event::GoingAway => self.event(now, Event::GoingAway),
                htx::Event::Closed { code, reason, by } => {
                    self.starved.clear();
                    self.event(now, Event::Closed { code, reason, by });
                }
            }
        }
    }

    fn stream_gone(&mut self, now: Now, stream: StreamId, code: Option<Code>) {
        self.starved.remove(&stream);
        let delivered = match (self.asking.remove(&stream), self.raw.remove(&stream)) {
            (Some(asking), _) => Some(asking.delivered()),
            (None, raw) => raw.map(|r| r.delivered()),
        };
        if let Some(delivered) = delivered {
            self.event(
                now,
                Event::Failed {
                    stream,
                    code,
                    delivered,
                },
            );
        }
    }
}

impl Machine for Connection {
    type Input = htx::Input;
    type Command = Command;
    /// The stream that was opened.
    type Answer = Option<StreamId>;
    type Transmit = htx::Transmit;
    type Event = Event;
    type Error = Error;

    fn handle_input(&mut self, now: Now, input: htx::Input) -> Result<(), Error> {
        self.session.handle_input(now, input)?;
        self.settle(now);
        Ok(())
    }

    fn handle_command(&mut self, now: Now, command: Command) -> Result<Option<StreamId>, Error> {
        let opened = match command {
            Command::Ask { request, more } => Some(self.ask(now, &request, more)?),
            Command::Open { kind, first } => Some(self.open(now, kind, first)?),
            Command::PathControl(payload) => self
                .session
                .handle_command(now, htx::Command::PathControl(payload))?,
            Command::Send { stream, data, fin } => {
                self.may_send(stream, &data)?;
                let write = htx::Command::Write { stream, data, fin };
                self.session.handle_command(now, write)?;
                if fin {
                    self.raw_sent_all(stream);
                }
                None
            }
            Command::Pad(len) => self.session.handle_command(now, htx::Command::Pad(len))?,
            Command::Ping => self.session.handle_command(now, htx::Command::Ping)?,
            Command::Rekey => self.session.handle_command(now, htx::Command::Rekey)?,
            Command::Shutdown => self.session.handle_command(now, htx::Command::Shutdown)?,
            Command::Finish => self.session.handle_command(now, htx::Command::Finish)?,
        };
        self.settle(now);
        Ok(opened)
    }

    fn handle_timeout(&mut self, now: Now) {
        self.session.handle_timeout(now);
        self.settle(now);
    }

    fn poll_transmit(&mut self) -> Option<htx::Transmit> {
        self.session.poll_transmit()
    }

    fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop()?;
        if matches!(event, Event::Established) {
            self.unseen = false;
        }
        Some(event)
    }

    fn poll_timeout(&self) -> Option<Wake> {
        Wake::earliest([
            self.session.poll_timeout(),
            self.events.wake("stack: events wait"),
        ])
    }

    fn fingerprint(&self) -> u64 {
        fingerprint!(self, Connection { asking, raw, events, unseen, closed } machines { session } without {
            starved: "registered interest",
            lost_events: "statistics",
        })
    }
}
