//! Handling of a session's events: notifies waiting users, and passes streams to their handlers.

use betanet_htx::{StreamId, kind as types};
use betanet_keys::PublicKey;
use betanet_stack::{Command, Event};
use betanet_wire::Code;
use betanet_wire::caps::Agreed;
use tokio::sync::mpsc;

use super::{Controls, Driver, REFUSED_MAX, hex};
use crate::admit::Denied;
use crate::exchange::{Feed, Inbox};
use crate::ops::{OPS, Op, RawStream};
use crate::paths::CameFrom;
use crate::streams::{PeerSession, Substream};
use crate::{Error, ExchangeError};

impl Driver {
    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::Established => {
                let entered = self
                    .admit
                    .enter(self.clock.now(), self.connection.session());
                if let Err(Denied { code, reason }) = entered {
                    return self.close(code, &reason);
                }
                self.metrics.opened();
                tracing::debug!(
                    transcript = %hex(self.connection.session().transcript()),
                    pq = self.connection.session().pq(),
                    aead = self.connection.session().suite().name(),
                    "session open"
                );
                if let Some(opened) = self.opened.take() {
                    let _ = opened.send(Ok(()));
                }
            }
            Event::Head { stream, response } => {
                self.outcome.works();
                self.inbox(stream, |i| i.head(response));
            }
            Event::Body { stream, data } => {
                self.outcome.works();
                if let Some(watch) = &mut self.watch {
                    watch.fed();
                }
                let bytes = data.len() as u64;
                if self.inbox(stream, |i| i.body(data)) == Some(false) {
                    self.dropped(stream, bytes);
                }
            }
            Event::End { stream } => {
                self.inbox(stream, |i| i.end(Ok(())));
                self.inboxes.remove(&stream);
            }
            Event::Failed {
                stream,
                code,
                delivered,
            } => {
                self.blocked.remove(&stream);
                self.answers.remove(&stream);
                let Some(code) = code else {
                    return self.cut.push((stream, delivered));
                };
                let error = ExchangeError::Ended { code, delivered };
                self.inbox(stream, |i| i.end(Err(error)));
                self.inboxes.remove(&stream);
                self.serving.give_up(stream);
            }
            Event::Writable { stream } => self.writable(stream),
            Event::Opened { stream, .. } if !self.may_open() => self.take(Op::Abort {
                stream,
                code: Code::POLICY_REJECTED,
            }),
            Event::Opened { stream, kind } if kind == types::BAR => self.serve(stream),
            Event::Opened { stream, kind } => {
                self.outcome.works();
                self.peer_opened(stream, kind);
            }
            Event::PathControl(payload) => self.path_control(&payload),
            Event::Pong { rtt } => {
                for asker in self.pings.drain(..) {
                    // The asker may have stopped waiting.
                    let _ = asker.send(rtt);
                }
            }
            Event::GoingAway => {}
            Event::Closed { code, reason, by } => {
                self.metrics.closed(code);
                self.outcome.ended(code, &reason, by);
                self.tell_cut();
                tracing::debug!(%code, reason, ?by, "session closed");
                if let Some(opened) = self.opened.take() {
                    let error = match self.outer_error.take() {
                        Some(source) => Error::Carrier(source),
                        None => Error::Session { code, reason, by },
                    };
                    let _ = opened.send(Err(error));
                }
            }
        }
    }

    /// Returns a queue to this task for streams, where no handle provides one.
    fn ops(&mut self) -> Option<mpsc::Sender<Op>> {
        if matches!(self.controls, Controls::Handles(_)) {
            return None;
        }
        Some(self.own_ops())
    }

    fn peer_opened(&mut self, stream: StreamId, kind: u8) {
        let refused = Op::Abort {
            stream,
            code: Code::POLICY_REJECTED,
        };
        let Some(peer) = self.connection.session().peer().copied() else {
            return self.take(refused);
        };
        let from = self.came_from(peer);
        let agreed = self.connection.session().agreed();
        let translated = agreed.is_some_and(Agreed::is_translated);
        let taker = self.registry.of(kind, translated);
        // On an outgoing session, nobody asks for streams of other types.
        let ops = match (&taker, self.ops()) {
            (_, Some(ops)) => ops,
            (Some(_), None) => self.own_ops(),
            (None, None) => return self.take(refused),
        };
        let inbox = Inbox::default();
        let raw = RawStream::new(stream, inbox.clone(), ops.clone());
        match (taker, self.paths.clone()) {
            (Some(taker), _) => {
                self.inboxes.insert(stream, Feed::new(inbox));
                let session = PeerSession {
                    id: self.id,
                    ops,
                    peer,
                    ip: self.admit.ip(),
                    charge: from.charge,
                    over: self.over.clone(),
                };
                taker.opened(&session, kind, Substream::new(raw));
            }
            (None, Some(paths)) => {
                self.inboxes.insert(stream, Feed::new(inbox));
                paths.opened(&from, kind, raw);
            }
            (None, None) => self.take(refused),
        }
    }

    fn came_from(&self, key: PublicKey) -> CameFrom {
        CameFrom {
            key,
            ip: self.admit.ip(),
            charge: self.admit.charge(key.node_id()),
        }
    }

    pub(super) fn own_ops(&mut self) -> mpsc::Sender<Op> {
        let (ops, _) = self.own.get_or_insert_with(|| mpsc::channel(OPS));
        ops.clone()
    }

    fn path_control(&mut self, payload: &[u8]) {
        let peer = self.connection.session().peer().copied();
        if let (Some(paths), Some(peer)) = (self.paths.clone(), peer) {
            let ops = self.ops();
            match paths.control(&self.came_from(peer), payload, ops) {
                Ok(Some(answer)) => {
                    self.command(Command::PathControl(answer.to_bytes().into()));
                }
                Ok(None) => {}
                Err(code) => {
                    self.refused += 1;
                    if self.refused >= REFUSED_MAX {
                        self.close(code, "too many path messages were refused");
                    }
                }
            }
        }
    }
}
