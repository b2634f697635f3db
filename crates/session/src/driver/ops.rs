//! Execution of the operations that a session's users request.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use betanet_htx::{Error as Htx, StreamId};
use betanet_machine::Machine as _;
use betanet_stack::{Command, Error as Refusal, Kind};
use betanet_wire::Code;
use bytes::Bytes;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::{Driver, ROUND};
use crate::Error;
use crate::exchange::{Feed, Inbox};
use crate::facts::SessionFacts;
use crate::ops::{Ask, Body, OPS, Op, Open, RawStream};

/// Maximum number of requests that wait for a stream. More are refused.
const CROWD_MAX: usize = 1024;

/// Maximum number of sends of one stream that wait for credit. More are refused.
const BLOCKED_MAX: usize = 64;

/// Bytes that wait for the peer's credit.
pub(super) struct Blocked {
    data: Bytes,
    fin: bool,
    done: oneshot::Sender<Result<(), Error>>,
}

/// An operation that has to wait.
pub(super) enum Later {
    /// The session has no room to send now.
    Full(Op),
    /// The maximum number of streams is open.
    Crowded(Op),
}

/// Operations that wait until they can be carried out.
#[derive(Default)]
pub(super) struct Waiting {
    /// Waiting for the session to have room. The order is kept, because a path's header precedes its streams.
    full: VecDeque<Op>,
    /// Waiting for a stream. Other operations do not wait for these, since one of them may free a stream.
    crowd: VecDeque<Op>,
}

impl Waiting {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Returns the operation if the refusal is only temporary.
fn later(refusal: Refusal, op: Op) -> Result<(), Later> {
    match refusal {
        Refusal::Session(Htx::TooManyStreams) => Err(Later::Crowded(op)),
        refusal if refusal.kind() == Kind::NotNow => Err(Later::Full(op)),
        // The session is over, and its events report it.
        _ => Ok(()),
    }
}

impl Driver {
    pub(super) fn operations(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = self.again();
        for _ in 0..ROUND {
            if self.waiting.full.len() >= OPS {
                break;
            }
            let op = match self.poll_op(cx) {
                Poll::Ready(Some(op)) => op,
                // All handles are dropped, or the opener is gone: a client's session has no further use.
                Poll::Ready(None) if !self.left => {
                    self.left = true;
                    Op::Close
                }
                Poll::Ready(None) | Poll::Pending => break,
            };
            self.take(op);
            moved = true;
        }
        moved
    }

    fn poll_op(&mut self, cx: &mut Context<'_>) -> Poll<Option<Op>> {
        if let Some((_, ops)) = &mut self.own
            && let Poll::Ready(Some(op)) = ops.poll_recv(cx)
        {
            return Poll::Ready(Some(op));
        }
        self.controls.poll(cx)
    }

    /// Retries waiting operations until one has to wait again.
    fn again(&mut self) -> bool {
        let mut moved = false;
        while let Some(op) = self.waiting.full.pop_front() {
            match self.operate(op) {
                Err(Later::Full(op)) => {
                    self.waiting.full.push_front(op);
                    return moved;
                }
                Err(Later::Crowded(op)) => self.crowd(op),
                Ok(()) => {}
            }
            moved = true;
        }
        while let Some(op) = self.waiting.crowd.pop_front() {
            match self.operate(op) {
                Err(Later::Full(op) | Later::Crowded(op)) => {
                    self.waiting.crowd.push_front(op);
                    break;
                }
                Ok(()) => moved = true,
            }
        }
        moved
    }

    /// Carries out an operation, now or later.
    pub(super) fn take(&mut self, op: Op) {
        // A session that has no room can still be closed.
        if !self.waiting.full.is_empty() && !matches!(op, Op::Close) {
            return self.waiting.full.push_back(op);
        }
        match self.operate(op) {
            Err(Later::Full(op)) => self.waiting.full.push_back(op),
            Err(Later::Crowded(op)) => self.crowd(op),
            Ok(()) => {}
        }
    }

    /// Queues a request until a stream is free.
    fn crowd(&mut self, op: Op) {
        if self.waiting.crowd.len() < CROWD_MAX {
            return self.waiting.crowd.push_back(op);
        }
        let too_many = || Error::from(Refusal::Session(Htx::TooManyStreams));
        match op {
            Op::Ask(ask) => drop(ask.reply.send(Err(too_many()))),
            Op::Open(open) => drop(open.reply.send(Err(too_many()))),
            // No other operation opens streams.
            _ => {}
        }
    }

    pub(super) fn command(&mut self, command: Command) {
        // The session refused because it is over, and its events report it.
        let _ = self.connection.handle_command(self.clock.now(), command);
    }

    /// Closes the session at once.
    pub(super) fn close(&mut self, code: Code, reason: &str) {
        self.connection.close(self.clock.now(), code, reason);
    }

    /// Carries out an operation, or returns it to be retried.
    fn operate(&mut self, op: Op) -> Result<(), Later> {
        let now = self.clock.now();
        let command = match &op {
            // These operations are never refused.
            Op::Consume { stream, bytes } => {
                self.connection.consume(now, *stream, *bytes);
                return Ok(());
            }
            Op::Abort { stream, code } => {
                self.inboxes.remove(stream);
                self.blocked.remove(stream);
                self.answers.remove(stream);
                self.serving.give_up(*stream);
                self.connection.abort(now, *stream, *code);
                return Ok(());
            }
            Op::Close => {
                self.connection.close(now, Code::OK, "");
                return Ok(());
            }
            Op::PathControl(payload) => Command::PathControl(payload.clone()),
            Op::Ping(_) => Command::Ping,
            Op::Rekey => Command::Rekey,
            Op::Shutdown => Command::Shutdown,
            Op::Finish => Command::Finish,
            _ => return self.answered(op),
        };
        if let Err(refusal) = self.connection.handle_command(now, command) {
            return later(refusal, op);
        }
        if let Op::Ping(asker) = op {
            self.pings.push_back(asker);
        }
        Ok(())
    }

    /// Carries out an operation whose result a user awaits.
    fn answered(&mut self, op: Op) -> Result<(), Later> {
        match op {
            Op::Ask(ask) => self.ask(ask),
            Op::Open(open) => self.open(open),
            Op::Send {
                stream,
                data,
                fin,
                done,
            } => self.send(stream, data, fin, done),
            Op::Answer(answer) => self.answer(answer),
            Op::Facts(reply) => {
                let mut facts = SessionFacts::of(self.connection.session());
                facts.padded = self.carrier.cost();
                let _ = reply.send(facts);
                Ok(())
            }
            Op::LotteryKey(reply) => {
                let key = self.connection.session().lottery_key();
                let _ = reply.send(key.map(|k| Zeroizing::new(*k)));
                Ok(())
            }
            Op::EndsIdle(after) => {
                self.idle = Some((after, self.clock.now().mono));
                Ok(())
            }
            // All other operations are commands.
            _ => Ok(()),
        }
    }

    /// Issues a command that opens a stream, and returns the stream's ID.
    fn opens(&mut self, command: Command) -> Result<StreamId, Refusal> {
        let opened = self.connection.handle_command(self.clock.now(), command)?;
        opened.ok_or(Refusal::NoId)
    }

    fn ask(&mut self, ask: Box<Ask>) -> Result<(), Later> {
        if ask.reply.is_closed() {
            return Ok(());
        }
        let (request, more) = (ask.request.clone(), ask.more);
        let command = Command::Ask { request, more };
        match self.opens(command) {
            Ok(stream) => {
                let inbox = Inbox::default();
                self.inboxes.insert(stream, Feed::new(inbox.clone()));
                let Ask { ops, reply, .. } = *ask;
                let _ = reply.send(Ok(Body::new(stream, inbox, ops, more)));
            }
            Err(e) if e.kind() == Kind::NotNow => return later(e, Op::Ask(ask)),
            Err(e) => drop(ask.reply.send(Err(e.into()))),
        }
        Ok(())
    }

    fn open(&mut self, open: Box<Open>) -> Result<(), Later> {
        if open.reply.is_closed() {
            return Ok(());
        }
        let (kind, first) = (open.kind, open.first.clone());
        let bytes = first.len() as u64;
        let command = Command::Open { kind, first };
        match self.opens(command) {
            Ok(stream) => {
                let inbox = Inbox::default();
                self.inboxes.insert(stream, Feed::new(inbox.clone()));
                self.unpadded.opened(kind, stream);
                self.watched(bytes);
                let Open { ops, reply, .. } = *open;
                let _ = reply.send(Ok(RawStream::new(stream, inbox, ops)));
            }
            Err(e) if e.kind() == Kind::NotNow => return later(e, Op::Open(open)),
            Err(e) => drop(open.reply.send(Err(e.into()))),
        }
        Ok(())
    }

    fn send(
        &mut self,
        stream: StreamId,
        data: Bytes,
        fin: bool,
        done: oneshot::Sender<Result<(), Error>>,
    ) -> Result<(), Later> {
        if self.blocked.contains_key(&stream) {
            // Bytes given before go first.
            self.block(stream, Blocked { data, fin, done });
            return Ok(());
        }
        let send = Command::Send {
            stream,
            data: data.clone(),
            fin,
        };
        match self.connection.handle_command(self.clock.now(), send) {
            Ok(_) => {
                self.unpadded.sent(stream, data.len());
                if let Some(watch) = &mut self.watch {
                    watch.sent(self.clock.now().mono, data.len() as u64);
                }
                let _ = done.send(Ok(()));
            }
            // The session reports when there is credit.
            Err(Refusal::Session(Htx::Blocked(_))) => {
                self.block(stream, Blocked { data, fin, done });
            }
            Err(e) if e.kind() == Kind::NotNow => {
                let op = Op::Send {
                    stream,
                    data,
                    fin,
                    done,
                };
                return later(e, op);
            }
            Err(e) => drop(done.send(Err(e.into()))),
        }
        Ok(())
    }

    /// Keeps bytes until the session reports credit for their stream.
    fn block(&mut self, stream: StreamId, bytes: Blocked) {
        let waiting = self.blocked.entry(stream).or_default();
        if waiting.len() < BLOCKED_MAX {
            waiting.push_back(bytes);
        } else {
            let refusal = Refusal::Session(Htx::Blocked(stream));
            drop(bytes.done.send(Err(refusal.into())));
        }
    }

    /// Sends bytes that waited for credit on this stream.
    pub(super) fn writable(&mut self, stream: StreamId) {
        if let Some(answer) = self.answers.remove(&stream) {
            return self.take(Op::Answer(answer));
        }
        for Blocked { data, fin, done } in self.blocked.remove(&stream).unwrap_or_default() {
            self.take(Op::Send {
                stream,
                data,
                fin,
                done,
            });
        }
    }
}
