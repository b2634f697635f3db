//! A connection with a handler that answers its requests.

use alloc::collections::BTreeMap;
use core::hash::{Hash, Hasher};

use betanet_bar::{Client, Handler, Response, status};
use betanet_htx::{self as htx, StreamId, kind};
use betanet_machine::{Machine, Now, Queue, Wake, fingerprint, hash_fields};
use betanet_stack::{Command, Connection, Error, Event, Kind};
use betanet_wire::Code;
use bytes::Bytes;

use crate::feed::Feed;

/// Maximum number of queued events.
const EVENTS_MAX: usize = 1024;
/// Maximum number of events that one event may produce.
const MARGIN: usize = 8;

struct Serving<H: Handler> {
    feed: Feed<H>,
    /// The answer's head was sent; further request data is dropped.
    answered: bool,
    /// The whole answer was sent.
    ended: bool,
    /// The session refused a write.
    waits: bool,
    refused: Option<Bytes>,
}

impl<H: Handler> Hash for Serving<H> {
    fn hash<S: Hasher>(&self, state: &mut S) {
        hash_fields!(self, state, Serving { answered, ended, waits, refused } without {
            feed: "the handler's own",
        });
    }
}

/// A connection with a handler that answers the peer's requests at once. Drive it like the connection; the peer's requests are
/// not passed up.
pub struct Answering<H: Handler> {
    connection: Connection,
    handler: H,
    serving: BTreeMap<StreamId, Serving<H>>,
    events: Queue<Event>,
    /// The layer above has not yet seen that the session is open: no request of the peer is served.
    unseen: bool,
}

impl<H: Handler> Answering<H> {
    /// Answers the peer's requests with `handler`.
    #[must_use]
    pub const fn new(connection: Connection, handler: H) -> Self {
        Self {
            connection,
            handler,
            serving: BTreeMap::new(),
            events: Queue::new(EVENTS_MAX),
            unseen: false,
        }
    }

    /// The connection, for inspection.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// As [`Connection::consume`].
    pub fn consume(&mut self, now: Now, stream: StreamId, bytes: u64) {
        self.connection.consume(now, stream, bytes);
        self.settle(now);
    }

    /// As [`Connection::abort`].
    pub fn abort(&mut self, now: Now, stream: StreamId, code: Code) {
        self.connection.abort(now, stream, code);
        self.settle(now);
    }

    /// As [`Connection::close`].
    pub fn close(&mut self, now: Now, code: Code, reason: &str) {
        self.connection.close(now, code, reason);
        self.settle(now);
    }

    fn settle(&mut self, now: Now) {
        self.rise(now);
        self.fall(now);
    }

    fn rise(&mut self, now: Now) {
        while self.events.room() > MARGIN && !self.unseen {
            let Some(event) = self.connection.poll_event() else {
                return;
            };
            match event {
                Event::Opened { stream, kind } if kind == kind::BAR => self.begin(stream),
                Event::Body { stream, data } if self.serving.contains_key(&stream) => {
                    self.request(now, stream, data, false);
                }
                Event::End { stream } if self.serving.contains_key(&stream) => {
                    self.request(now, stream, Bytes::new(), true);
                }
                Event::Failed { stream, .. } if self.serving.remove(&stream).is_some() => {}
                Event::Writable { stream } if self.serving.contains_key(&stream) => {
                    if let Some(serving) = self.serving.get_mut(&stream) {
                        serving.waits = false;
                    }
                }
                other => {
                    self.unseen = matches!(other, Event::Established);
                    if matches!(other, Event::Closed { .. }) {
                        self.serving.clear();
                    }
                    self.events.push_reserved(now.mono, other);
                }
            }
        }
    }

    fn begin(&mut self, stream: StreamId) {
        let serving = Serving {
            feed: Feed::default(),
            answered: false,
            ended: false,
            waits: false,
            refused: None,
        };
        self.serving.insert(stream, serving);
    }

    fn request(&mut self, now: Now, stream: StreamId, data: Bytes, fin: bool) {
        let bytes = data.len() as u64;
        let peer = self.connection.session().peer();
        let client = peer.map_or(Client::Anonymous, |key| Client::Direct(key.node_id()));
        let Some(serving) = self.serving.get_mut(&stream) else {
            return;
        };
        let mut answer = None;
        if !serving.answered {
            let Ok(taken) = serving.feed.take(&mut self.handler, client, data, fin) else {
                let code = Code::MALFORMED_FRAME;
                self.serving.remove(&stream);
                return self.connection.abort(now, stream, code);
            };
            answer = taken;
        }
        if bytes > 0 {
            self.connection.consume(now, stream, bytes);
        }
        if let Some(response) = answer {
            self.answer(now, stream, &response);
        }
        let done = |s: &Serving<H>| s.ended && (fin || s.answered);
        if self.serving.get(&stream).is_some_and(done) {
            self.serving.remove(&stream);
        }
    }

    fn answer(&mut self, now: Now, stream: StreamId, response: &Response) {
        let message = response
            .to_message()
            .or_else(|_| Response::new(status::INTERNAL).to_message());
        let Some(serving) = self.serving.get_mut(&stream) else {
            return;
        };
        serving.answered = true;
        if let Ok(message) = message {
            self.write(now, stream, message.into(), false);
        }
    }

    fn write(&mut self, now: Now, stream: StreamId, data: Bytes, fin: bool) {
        let write = Command::Send {
            stream,
            data: data.clone(),
            fin,
        };
        let Err(error) = self.connection.handle_command(now, write) else {
            return;
        };
        if let Some(serving) = self.serving.get_mut(&stream) {
            serving.waits = error.kind() == Kind::NotNow;
            serving.refused = Some(data);
        }
    }

    /// Writes a chunk of each answer that has room.
    fn fall(&mut self, now: Now) {
        let mut from = 0;
        while let Some(stream) = self.next_writer(from) {
            from = stream + 1;
            self.write_on(now, stream);
        }
    }

    fn next_writer(&self, from: StreamId) -> Option<StreamId> {
        self.serving
            .range(from..)
            .find(|(_, s)| s.answered && !s.ended && !s.waits)
            .map(|(id, _)| *id)
    }

    fn write_on(&mut self, now: Now, stream: StreamId) {
        let max = self.connection.answer_room(stream);
        let Some(serving) = self.serving.get_mut(&stream).filter(|_| max > 0) else {
            return;
        };
        if let Some(data) = serving.refused.take() {
            return self.write(now, stream, data, false);
        }
        let read = match &mut serving.feed.exchange {
            Some(x) => self.handler.read(x, max),
            None => Ok(Bytes::new()),
        };
        match read {
            Ok(data) if data.is_empty() => {
                serving.ended = true;
                self.write(now, stream, data, true);
                self.serving.remove(&stream);
            }
            Ok(data) => self.write(now, stream, data, false),
            Err(_) => {
                let code = Code::INTERNAL_ERROR;
                self.serving.remove(&stream);
                self.connection.abort(now, stream, code);
            }
        }
    }
}

impl<H: Handler> Machine for Answering<H> {
    type Input = htx::Input;
    type Command = Command;
    type Answer = Option<StreamId>;
    type Transmit = htx::Transmit;
    type Event = Event;
    type Error = Error;

    fn handle_input(&mut self, now: Now, input: htx::Input) -> Result<(), Error> {
        self.connection.handle_input(now, input)?;
        self.settle(now);
        Ok(())
    }

    fn handle_command(&mut self, now: Now, command: Command) -> Result<Option<StreamId>, Error> {
        let opened = self.connection.handle_command(now, command)?;
        self.settle(now);
        Ok(opened)
    }

    fn handle_timeout(&mut self, now: Now) {
        self.connection.handle_timeout(now);
        self.settle(now);
    }

    fn poll_transmit(&mut self) -> Option<htx::Transmit> {
        self.connection.poll_transmit()
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
            self.connection.poll_timeout(),
            self.events.wake("sim: events wait"),
        ])
    }

    fn fingerprint(&self) -> u64 {
        fingerprint!(self, Answering { serving, events, unseen } machines { connection } without {
            handler: "the test's own",
        })
    }
}
