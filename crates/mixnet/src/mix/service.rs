//! A gateway at the end of paths through the mix: one task passes requests to a service, and sends its answers.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use betanet_bar::Client;
use betanet_htx::StreamId;
use betanet_machine::{Io, Machine as _, Next, Now, drive};
use betanet_mix::{
    DATA_MAX, Delivered, Fragment, Kind, Message, RecipientCommand, RecipientConfig,
    RecipientEvent, RecipientMachine,
};
use betanet_session::ops::{OPS, Op};
use betanet_session::{Clock, Count, Exchange, Feed, Inbox, RequestSource, Running, Service};
use betanet_wire::ChargeTo;
use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};

use super::plane::Plane;

/// Capacity of the task's queue of payloads.
const WAITING: usize = 1024;
/// Maximum unread bytes of one request. Further ones count as lost, and the client retransmits them.
const UNREAD_MAX: usize = 256 << 10;
/// Maximum unread bytes of all requests together.
const UNREAD_ALL: usize = 64 << 20;

/// Answers payloads of the plane with `service`, until the node stops.
pub(crate) fn serve(
    plane: &Arc<Plane>,
    service: Arc<dyn Service>,
    clock: Clock,
    metrics: Arc<dyn Count>,
) -> tokio::task::AbortHandle {
    let (sender, payloads) = mpsc::channel(WAITING);
    plane.deliver_to(sender);
    let plane = Arc::downgrade(plane);
    let task = run(plane, payloads, service, clock, metrics);
    tokio::spawn(task).abort_handle()
}

async fn run(
    plane: std::sync::Weak<Plane>,
    mut payloads: mpsc::Receiver<Delivered>,
    service: Arc<dyn Service>,
    clock: Clock,
    metrics: Arc<dyn Count>,
) {
    let (mut server, mut asked) = Server::new(service, metrics);
    let mut next = Next::Wait(None);
    loop {
        tokio::select! {
            payload = payloads.recv() => {
                let Some(payload) = payload else { return };
                server.delivered(clock.now(), payload);
            }
            Some(op) = asked.recv() => server.take(clock.now(), op),
            () = tokio::time::sleep_until(clock.again(next)) => {}
        }
        let Some(plane) = plane.upgrade() else { return };
        next = drive(&mut AtPlane {
            server: &mut server,
            plane: &plane,
            clock,
        });
        plane.inner.metrics.exchanges(server.recipient.exchanges());
    }
}

/// A server together with the plane that sends its replies.
struct AtPlane<'a> {
    server: &'a mut Server,
    plane: &'a Plane,
    clock: Clock,
}

impl Io for AtPlane<'_> {
    type Machine = RecipientMachine;

    fn machine(&mut self) -> &mut RecipientMachine {
        &mut self.server.recipient
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    fn transmit(&mut self, reply: betanet_mix::Reply) {
        self.plane.send(reply);
    }

    fn event(&mut self, event: RecipientEvent) {
        self.server.told(self.clock.now(), event);
    }
}

/// A request and its answer.
struct Serving {
    stream: StreamId,
    feed: Feed,
    running: Option<Running>,
    /// Bytes of the request that its service has not read.
    unread: usize,
    /// Bytes of the answer that do not fill a piece yet.
    piece: BytesMut,
    /// The bytes that follow `piece`.
    rest: VecDeque<Bytes>,
    fin: bool,
    /// Notified when all of these bytes were taken.
    done: Option<oneshot::Sender<()>>,
}

struct Server {
    recipient: RecipientMachine,
    service: Arc<dyn Service>,
    metrics: Arc<dyn Count>,
    from: RequestSource,
    ops: mpsc::Sender<Op>,
    serving: BTreeMap<Message, Serving>,
    /// Exchanges by the stream IDs that their services use.
    streams: BTreeMap<StreamId, Message>,
    next: StreamId,
    unread: usize,
}

impl Server {
    /// Creates a server that answers with `service`, and the queue of its exchanges' operations.
    fn new(service: Arc<dyn Service>, metrics: Arc<dyn Count>) -> (Self, mpsc::Receiver<Op>) {
        let (ops, asked) = mpsc::channel(OPS);
        let server = Self {
            recipient: RecipientMachine::new(RecipientConfig::default()),
            service,
            metrics,
            from: RequestSource::of(ChargeTo::Unknown),
            ops,
            serving: BTreeMap::new(),
            streams: BTreeMap::new(),
            next: 0,
            unread: 0,
        };
        (server, asked)
    }

    /// Returns whether a payload belongs to a request with too many unread bytes.
    fn is_too_much(&self, payload: &Delivered) -> bool {
        let name = payload.payload[2..].first_chunk::<8>();
        let Some(serving) = name.and_then(|name| self.serving.get(name)) else {
            return false;
        };
        let full = serving.unread >= UNREAD_MAX || serving.unread > 0 && self.unread >= UNREAD_ALL;
        full && Fragment::from_payload(&payload.payload)
            .is_ok_and(|f| f.kind == Kind::Request && !f.data.is_empty())
    }

    fn delivered(&mut self, now: Now, payload: Delivered) {
        if self.is_too_much(&payload) {
            return;
        }
        // This is refused only while replies wait, which are taken after each turn.
        let _ = self.recipient.handle_input(now, payload);
    }

    fn told(&mut self, now: Now, event: RecipientEvent) {
        match event {
            RecipientEvent::Data {
                exchange,
                data,
                fin,
            } => self.request(exchange, data.into(), fin),
            RecipientEvent::Writable(exchange) => self.write(now, exchange),
            RecipientEvent::Gone(exchange) => self.forget(exchange),
        }
    }

    fn request(&mut self, exchange: Message, data: Bytes, fin: bool) {
        if !self.serving.contains_key(&exchange) {
            self.begin(exchange);
        }
        let Some(serving) = self.serving.get_mut(&exchange) else {
            return;
        };
        let len = data.len();
        if len > 0 && serving.feed.body(data) {
            serving.unread += len;
            self.unread += len;
        }
        if fin {
            serving.feed.end(Ok(()));
        }
    }

    fn begin(&mut self, exchange: Message) {
        let inbox = Inbox::default();
        let stream = self.next;
        self.next = self.next.wrapping_add(1);
        let running = Exchange {
            stream,
            inbox: inbox.clone(),
            ops: self.ops.clone(),
            client: Client::Anonymous,
            from: self.from.clone(),
            service: Arc::clone(&self.service),
            metrics: Arc::clone(&self.metrics),
        };
        let serving = Serving {
            stream,
            feed: Feed::new(inbox),
            running: Some(running.spawn()),
            unread: 0,
            piece: BytesMut::new(),
            rest: VecDeque::new(),
            fin: false,
            done: None,
        };
        self.serving.insert(exchange, serving);
        self.streams.insert(stream, exchange);
    }

    fn forget(&mut self, exchange: Message) {
        if let Some(serving) = self.serving.remove(&exchange) {
            self.streams.remove(&serving.stream);
            self.unread -= serving.unread;
        }
    }

    /// Carries out an operation of an exchange.
    fn take(&mut self, now: Now, op: Op) {
        match op {
            Op::Consume { stream, bytes } => self.consumed(stream, bytes),
            Op::Answer(answer) => {
                let Some(exchange) = self.streams.get(&answer.stream).copied() else {
                    return;
                };
                if let Some(serving) = self.serving.get_mut(&exchange) {
                    serving.rest.extend([answer.first, answer.data]);
                    serving.fin = answer.fin;
                    serving.done = Some(answer.done);
                }
                self.write(now, exchange);
            }
            Op::Abort { stream, .. } => {
                if let Some(exchange) = self.streams.get(&stream).copied() {
                    self.recipient.close(now, exchange);
                }
            }
            // An exchange requests no other operations.
            _ => {}
        }
    }

    fn consumed(&mut self, stream: StreamId, bytes: u64) {
        let exchange = self.streams.get(&stream);
        if let Some(serving) = exchange.and_then(|x| self.serving.get_mut(x)) {
            let used = usize::try_from(bytes).unwrap_or(usize::MAX);
            let used = used.min(serving.unread);
            serving.unread -= used;
            self.unread -= used;
        }
    }

    /// Sends as much of an answer as its window has room for.
    fn write(&mut self, now: Now, exchange: Message) {
        let Some(serving) = self.serving.get_mut(&exchange) else {
            return;
        };
        loop {
            while serving.piece.len() < DATA_MAX
                && let Some(next) = serving.rest.front_mut()
            {
                let len = next.len().min(DATA_MAX - serving.piece.len());
                serving.piece.extend_from_slice(&next.split_to(len));
                if next.is_empty() {
                    serving.rest.pop_front();
                }
            }
            let last = serving.fin && serving.rest.is_empty();
            if serving.piece.len() < DATA_MAX && !last || serving.running.is_none() {
                if let Some(done) = serving.done.take() {
                    let _ = done.send(());
                }
                return;
            }
            let answer = RecipientCommand::Answer {
                exchange,
                data: serving.piece.to_vec(),
                fin: last,
            };
            if self.recipient.handle_command(now, answer).is_err() {
                // The window is full, and an event reports room; or the exchange is over.
                return;
            }
            serving.piece.clear();
            if last && let Some(running) = serving.running.take() {
                running.complete();
            }
        }
    }
}
