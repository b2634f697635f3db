use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use betanet_bar::{Incoming, Part, Request, Response};
use betanet_htx::StreamId;
use betanet_machine::{Machine, Now, Queue, Wake, fingerprint};
use betanet_mix::{
    Client, ClientCommand, ClientError, ClientEvent, ClientInput, ClientStats, ClientTransmit,
    Looped, Lost, Recipient, Topology,
};
use bytes::Bytes;
use zeroize::Zeroizing;

use crate::Kind;

/// Maximum number of queued events.
const EVENTS_MAX: usize = 4096;
/// Maximum number of events that one event from below may produce.
const MARGIN: usize = 8;
/// Bytes of a request that are sent together.
const SEND: usize = 32 << 10;

/// Commands from the layer above.
#[derive(Debug)]
pub enum MixCommand {
    /// Send a request; the command returns its stream. With `more`, the body follows in [`MixCommand::Send`].
    Ask {
        /// Destination of the request.
        to: Recipient,
        /// The request's head.
        request: Request,
        /// Whether a body follows.
        more: bool,
    },
    /// Bytes of a request's body, at most 32 KiB.
    Send {
        /// Stream of the exchange.
        stream: StreamId,
        /// The bytes.
        data: Bytes,
        /// Whether these are the request's last bytes.
        fin: bool,
    },
    /// Replace the topology with that of another epoch.
    Topology(Topology),
    /// Update the key of a gateway.
    Recipient(Recipient),
    /// Lottery key of a new session with the guard.
    Session(Zeroizing<[u8; 32]>),
}

/// Events for the layer above.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum MixEvent {
    /// Head of an answer.
    Head {
        /// Stream of the exchange.
        stream: StreamId,
        /// The head; an inline body arrives as [`MixEvent::Body`].
        response: Response,
    },
    /// Bytes of an answer's body; acknowledge them with [`MixRequester::consume`].
    Body {
        /// Stream of the exchange.
        stream: StreamId,
        /// The bytes.
        data: Bytes,
    },
    /// An answer is complete.
    End {
        /// Stream of the exchange.
        stream: StreamId,
    },
    /// An exchange ended before its answer was complete.
    Failed {
        /// Stream of the exchange.
        stream: StreamId,
        /// Reason of the failure.
        why: Lost,
        /// Body bytes delivered before the failure.
        delivered: u64,
    },
    /// A refused [`MixCommand::Send`] may be tried again.
    Writable {
        /// Stream that has room again.
        stream: StreamId,
    },
    /// A loop packet returned.
    Looped(Looped),
    /// A loop packet was lost.
    LoopLost,
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MixError {
    /// The mix client refused it.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// The request is malformed and cannot be sent.
    #[error("the request cannot be sent")]
    Request(#[from] betanet_bar::Error),
}

impl MixError {
    /// The class of this error.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Client(ClientError::Blocked | ClientError::Full | ClientError::Exchanges) => {
                Kind::NotNow
            }
            Self::Client(_) | Self::Request(_) => Kind::Local,
        }
    }
}

/// Sends `bar` requests over the mix.
pub struct MixRequester {
    client: Client,
    asking: BTreeMap<StreamId, Incoming<Response>>,
    next: StreamId,
    events: Queue<MixEvent>,
}

impl MixRequester {
    /// Sends requests through `client`.
    #[must_use]
    pub const fn new(client: Client) -> Self {
        Self {
            client,
            asking: BTreeMap::new(),
            next: 1,
            events: Queue::new(EVENTS_MAX),
        }
    }

    /// Returns the credit of consumed body bytes of an answer. Never refused.
    pub fn consume(&mut self, now: Now, stream: StreamId, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.client.consume(now, stream.into(), bytes);
        self.rise(now);
    }

    /// Aborts an exchange. Never refused; no event about it follows.
    pub fn abort(&mut self, now: Now, stream: StreamId) {
        self.asking.remove(&stream);
        self.client.abort(now, stream.into());
        self.rise(now);
    }

    /// The client's counters.
    #[must_use]
    pub const fn stats(&self) -> &ClientStats {
        self.client.stats()
    }

    /// Whether nothing is left to send.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.client.is_idle()
    }

    /// Begins an exchange with its head, or fails without a change.
    fn ask(
        &mut self,
        now: Now,
        to: Recipient,
        request: &Request,
        more: bool,
    ) -> Result<StreamId, MixError> {
        let message = request.to_message()?;
        let stream = self.next;
        let exchange = u64::from(stream);
        self.client
            .handle_command(now, ClientCommand::Begin { exchange, to })?;
        self.asking.insert(stream, Incoming::default());
        self.next += 1;
        // A head may exceed the bytes accepted at once, but the first bytes of an exchange are accepted whole.
        let mut rest = &message[..];
        while !rest.is_empty() {
            let (data, after) = rest.split_at(rest.len().min(SEND));
            rest = after;
            let send = ClientCommand::Send {
                exchange,
                data: data.to_vec(),
                fin: rest.is_empty() && !more,
            };
            // Refused if the first of them found no path: an event reports that.
            if self.client.handle_command(now, send).is_err() {
                break;
            }
        }
        Ok(stream)
    }

    fn rise(&mut self, now: Now) {
        while self.events.room() > MARGIN {
            let Some(event) = self.client.poll_event() else {
                return;
            };
            match event {
                ClientEvent::Data {
                    exchange,
                    data,
                    fin,
                } => self.data(now, exchange, data, fin),
                ClientEvent::Writable { exchange } => {
                    if let Ok(stream) = StreamId::try_from(exchange) {
                        self.events
                            .push_reserved(now.mono, MixEvent::Writable { stream });
                    }
                }
                ClientEvent::Failed { exchange, why } => self.failed(now, exchange, why),
                ClientEvent::Looped(looped) => {
                    self.events
                        .push_reserved(now.mono, MixEvent::Looped(looped));
                }
                ClientEvent::LoopLost => {
                    self.events.push_reserved(now.mono, MixEvent::LoopLost);
                }
            }
        }
    }

    fn failed(&mut self, now: Now, exchange: u64, why: Lost) {
        let Ok(stream) = StreamId::try_from(exchange) else {
            return;
        };
        if let Some(incoming) = self.asking.remove(&stream) {
            let delivered = incoming.received();
            let failed = MixEvent::Failed {
                stream,
                why,
                delivered,
            };
            self.events.push_reserved(now.mono, failed);
        }
    }

    fn data(&mut self, now: Now, exchange: u64, data: Vec<u8>, fin: bool) {
        let Ok(stream) = StreamId::try_from(exchange) else {
            return;
        };
        let len = data.len();
        let Some(incoming) = self.asking.get_mut(&stream) else {
            return;
        };
        let before = incoming.received();
        let pushed = incoming.push(data.into(), fin);
        // Bytes outside the body are consumed here.
        let body = usize::try_from(incoming.received() - before).unwrap_or(len);
        let bytes = len.saturating_sub(body);
        let mut parts = Vec::new();
        while let Some(part) = incoming.pop() {
            parts.push(part);
        }
        for part in parts {
            let event = match part {
                Part::Head(response) => MixEvent::Head { stream, response },
                Part::Body(data) => MixEvent::Body { stream, data },
                Part::End => {
                    self.asking.remove(&stream);
                    MixEvent::End { stream }
                }
            };
            self.events.push_reserved(now.mono, event);
        }
        if bytes > 0 {
            self.client.consume(now, exchange, bytes);
        }
        if pushed.is_err() {
            self.failed(now, exchange, Lost::Answer);
            self.client.abort(now, exchange);
        }
    }
}

impl Machine for MixRequester {
    type Input = ClientInput;
    type Command = MixCommand;
    /// The stream of the exchange that was begun.
    type Answer = Option<StreamId>;
    type Transmit = ClientTransmit;
    type Event = MixEvent;
    type Error = MixError;

    fn handle_input(&mut self, now: Now, input: ClientInput) -> Result<(), MixError> {
        self.client.handle_input(now, input)?;
        self.rise(now);
        Ok(())
    }

    fn handle_command(
        &mut self,
        now: Now,
        command: MixCommand,
    ) -> Result<Option<StreamId>, MixError> {
        let mut begun = None;
        match command {
            MixCommand::Ask { to, request, more } => {
                begun = Some(self.ask(now, to, &request, more)?);
            }
            MixCommand::Send { stream, data, fin } => {
                let send = ClientCommand::Send {
                    exchange: stream.into(),
                    data: data.to_vec(),
                    fin,
                };
                self.client.handle_command(now, send)?;
            }
            MixCommand::Topology(topology) => self
                .client
                .handle_command(now, ClientCommand::Topology(topology))?,
            MixCommand::Recipient(to) => self
                .client
                .handle_command(now, ClientCommand::Recipient(to))?,
            MixCommand::Session(key) => self
                .client
                .handle_command(now, ClientCommand::Session(key))?,
        }
        self.rise(now);
        Ok(begun)
    }

    fn handle_timeout(&mut self, now: Now) {
        self.client.handle_timeout(now);
        self.rise(now);
    }

    fn poll_transmit(&mut self) -> Option<ClientTransmit> {
        self.client.poll_transmit()
    }

    fn poll_event(&mut self) -> Option<MixEvent> {
        self.events.pop()
    }

    fn poll_timeout(&self) -> Option<Wake> {
        Wake::earliest([
            self.client.poll_timeout(),
            self.events.wake("mix: answers wait"),
        ])
    }

    fn fingerprint(&self) -> u64 {
        fingerprint!(self, MixRequester { asking, next, events } machines { client })
    }
}
