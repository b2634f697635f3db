//! Requests of the peer. Each is answered separately, and its bytes are sent as the connection has room.

use betanet_bar::Client;
use betanet_htx::{Error as Htx, StreamId};
use betanet_machine::Machine as _;
use betanet_stack::{Command, Error as Refusal, Kind};
use betanet_wire::Code;
use bytes::Bytes;

use super::Driver;
use super::ops::Later;
use crate::exchange::{Feed, Inbox};
use crate::ops::{Answer, Op};
use crate::service::{Exchange, RequestSource};

impl Driver {
    /// Returns whether the peer may open one more stream.
    pub(super) fn may_open(&mut self) -> bool {
        let Some(peer) = self.connection.session().peer().map(|key| key.node_id()) else {
            return false;
        };
        self.admit.may_open(self.clock.now().mono, peer)
    }

    /// Starts an exchange for a request of the peer.
    pub(super) fn serve(&mut self, stream: StreamId) {
        let Some(node) = self.connection.session().peer().map(|key| key.node_id()) else {
            let code = Code::POLICY_REJECTED;
            return self.take(Op::Abort { stream, code });
        };
        let inbox = Inbox::default();
        self.inboxes.insert(stream, Feed::new(inbox.clone()));
        let exchange = Exchange {
            stream,
            inbox,
            ops: self.own_ops(),
            client: Client::Direct(node),
            from: RequestSource {
                session: self.id,
                charge: self.admit.charge(node),
                allowance: self.allowance.clone(),
            },
            service: std::sync::Arc::clone(&self.service),
            metrics: std::sync::Arc::clone(&self.metrics),
        };
        self.serving.begin(stream, exchange);
    }

    /// Returns credit to the peer for bytes that nobody will read.
    pub(super) fn dropped(&mut self, stream: StreamId, bytes: u64) {
        self.connection.consume(self.clock.now(), stream, bytes);
    }

    /// Sends as much of an answer as there is room for, and keeps the rest.
    pub(super) fn answer(&mut self, mut answer: Box<Answer>) -> Result<(), Later> {
        let stream = answer.stream;
        if !self.serving.contains(stream) {
            // The exchange was given up. Dropping `done` notifies the sender.
            return Ok(());
        }
        let now = self.clock.now();
        loop {
            let (data, rest) = if answer.first.is_empty() {
                let room = self.connection.answer_room(stream).max(1);
                let mut rest = answer.data.clone();
                (rest.split_to(room.min(rest.len())), rest)
            } else {
                (answer.first.clone(), answer.data.clone())
            };
            let fin = answer.fin && rest.is_empty();
            let send = Command::Send { stream, data, fin };
            match self.connection.handle_command(now, send) {
                Ok(_) => {
                    answer.first = Bytes::new();
                    answer.data = rest;
                }
                Err(Refusal::Session(Htx::Blocked(_))) => {
                    self.answers.insert(stream, answer);
                    return Ok(());
                }
                Err(e) if e.kind() == Kind::NotNow => {
                    return Err(Later::Full(Op::Answer(answer)));
                }
                // The session or the stream is over, and its event reports it.
                Err(_) => return Ok(()),
            }
            if answer.data.is_empty() {
                break;
            }
        }
        if answer.fin {
            self.serving.complete(stream);
        }
        let _ = answer.done.send(());
        Ok(())
    }
}
