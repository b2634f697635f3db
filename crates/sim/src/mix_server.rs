//! The recipient's end of mix paths, with a handler that answers at once.

use alloc::collections::BTreeMap;
use core::hash::{Hash, Hasher};

use betanet_bar::{Client, Handler, Response, status};
use betanet_machine::{Machine, Now, Queue, Wake, fingerprint, hash_fields};
use betanet_mix::{
    DATA_MAX, Delivered, Message, RecipientCommand, RecipientConfig, RecipientError,
    RecipientEvent, RecipientMachine, RecipientStats, Reply,
};
use bytes::{Bytes, BytesMut};

use crate::feed::Feed;

/// Maximum number of queued events.
const EVENTS_MAX: usize = 1024;

/// A request that came over the mix was answered with this status.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Served(pub u16);

struct Serving<H: Handler> {
    feed: Feed<H>,
    answered: bool,
    /// Bytes read that do not yet fill a piece.
    waiting: BytesMut,
    read_all: bool,
}

impl<H: Handler> Hash for Serving<H> {
    fn hash<S: Hasher>(&self, state: &mut S) {
        hash_fields!(self, state, Serving { answered, waiting, read_all } without {
            feed: "the handler's own",
        });
    }
}

/// Answers requests that come over the mix with a handler, which sees an unknown client.
pub struct MixServer<H: Handler> {
    recipient: RecipientMachine,
    handler: H,
    serving: BTreeMap<Message, Serving<H>>,
    events: Queue<Served>,
}

impl<H: Handler> MixServer<H> {
    /// Answers with `handler`.
    #[must_use]
    pub fn new(config: RecipientConfig, handler: H) -> Self {
        Self {
            recipient: RecipientMachine::new(config),
            handler,
            serving: BTreeMap::new(),
            events: Queue::new(EVENTS_MAX),
        }
    }

    /// The recipient's counters.
    #[must_use]
    pub const fn stats(&self) -> &RecipientStats {
        self.recipient.stats()
    }

    /// Number of open exchanges.
    #[must_use]
    pub fn exchanges(&self) -> usize {
        self.recipient.exchanges()
    }

    fn settle(&mut self, now: Now) {
        while let Some(event) = self.recipient.poll_event() {
            match event {
                RecipientEvent::Data {
                    exchange,
                    data,
                    fin,
                } => {
                    self.request(now, exchange, data.into(), fin);
                    self.write(now, exchange);
                }
                RecipientEvent::Writable(exchange) => self.write(now, exchange),
                RecipientEvent::Gone(exchange) => self.forget(exchange),
            }
        }
    }

    fn request(&mut self, now: Now, exchange: Message, data: Bytes, fin: bool) {
        let serving = self.serving.entry(exchange).or_insert_with(|| Serving {
            feed: Feed::default(),
            answered: false,
            waiting: BytesMut::new(),
            read_all: false,
        });
        if serving.answered {
            return;
        }
        let taken = serving
            .feed
            .take(&mut self.handler, Client::Anonymous, data, fin);
        let Ok(answer) = taken else {
            return self.close(now, exchange);
        };
        if let Some(response) = answer {
            self.answered(now, exchange, &response);
        }
    }

    fn answered(&mut self, now: Now, exchange: Message, response: &Response) {
        let Some(serving) = self.serving.get_mut(&exchange) else {
            return;
        };
        let message = response
            .to_message()
            .or_else(|_| Response::new(status::INTERNAL).to_message());
        serving.answered = true;
        // The owner of a simulation takes them in each step.
        self.events.push_reserved(now.mono, Served(response.status));
        if let Ok(message) = message {
            serving.waiting.extend_from_slice(&message);
        }
    }

    fn forget(&mut self, exchange: Message) {
        self.serving.remove(&exchange);
    }

    fn close(&mut self, now: Now, exchange: Message) {
        self.forget(exchange);
        self.recipient.close(now, exchange);
    }

    /// Writes as much of an answer as its window has room for.
    fn write(&mut self, now: Now, exchange: Message) {
        loop {
            let Some(serving) = self.serving.get_mut(&exchange).filter(|s| s.answered) else {
                return;
            };
            while serving.waiting.len() < DATA_MAX && !serving.read_all {
                let read = match &mut serving.feed.exchange {
                    Some(x) => self.handler.read(x, DATA_MAX),
                    None => Ok(Bytes::new()),
                };
                let Ok(bytes) = read else {
                    return self.close(now, exchange);
                };
                serving.read_all = bytes.is_empty();
                serving.waiting.extend_from_slice(&bytes);
            }
            let len = serving.waiting.len().min(DATA_MAX);
            let fin = serving.read_all && len == serving.waiting.len();
            let answer = RecipientCommand::Answer {
                exchange,
                data: serving.waiting[..len].to_vec(),
                fin,
            };
            if self.recipient.handle_command(now, answer).is_err() {
                // The window is full, and its end will report room, or the exchange is over.
                return;
            }
            if fin {
                self.serving.remove(&exchange);
                return;
            }
            if let Some(serving) = self.serving.get_mut(&exchange) {
                let _ = serving.waiting.split_to(len);
            }
        }
    }
}

impl<H: Handler> Machine for MixServer<H> {
    type Input = Delivered;
    /// There are no commands.
    type Command = core::convert::Infallible;
    type Answer = ();
    type Transmit = Reply;
    type Event = Served;
    type Error = RecipientError;

    fn handle_input(&mut self, now: Now, input: Delivered) -> Result<(), RecipientError> {
        self.recipient.handle_input(now, input)?;
        self.settle(now);
        Ok(())
    }

    fn handle_command(
        &mut self,
        _: Now,
        command: core::convert::Infallible,
    ) -> Result<(), RecipientError> {
        match command {}
    }

    fn handle_timeout(&mut self, now: Now) {
        self.recipient.handle_timeout(now);
        self.settle(now);
    }

    fn poll_transmit(&mut self) -> Option<Reply> {
        self.recipient.poll_transmit()
    }

    fn poll_event(&mut self) -> Option<Served> {
        self.events.pop()
    }

    fn poll_timeout(&self) -> Option<Wake> {
        Wake::earliest([
            self.recipient.poll_timeout(),
            self.events.wake("mix: statuses wait"),
        ])
    }

    fn fingerprint(&self) -> u64 {
        fingerprint!(self, MixServer { serving, events } machines { recipient } without {
            handler: "the test's own",
        })
    }
}
