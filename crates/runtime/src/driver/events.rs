//! What a session's events bring about: whoever waits is told, streams go to those who take them.

use betanet_htx::{StreamId, kind as types};
use betanet_keys::PublicKey;
use betanet_stack::{Command, Event};
use betanet_wire::Code;
use betanet_wire::caps::Agreed;
use tokio::sync::mpsc;

use super::{Controls, Driver, OPS, Op, REFUSED_MAX, hex};
use crate::exchange::{Feed, Inbox};
use crate::forward::{CameFrom, RawStream};
use crate::streams::{PeerSession, Substream};
use crate::{Error, ExchangeError};

impl Driver {
    pub(super) fn event(&mut self, event: Event) {
        match event {
            Event::Established if let Err(refusal) = self.permit.enter() => {
                self.metrics.not_admitted.inc();
                tracing::info!(%refusal, "a session is refused");
                self.close(Code::POLICY_REJECTED, &refusal.to_string());
            }
            Event::Established if !self.template_passes() => {
                self.close(
                    Code::L2_ORIGIN_MISMATCH,
                    "the template is not in the registry",
                );
            }
            Event::Established if let Err((code, reason)) = self.version_stands() => {
                self.close(code, reason);
            }
            Event::Established => {
                self.metrics.sessions_opened.inc();
                tracing::debug!(
                    transcript = %hex(self.connection.session().transcript()),
                    pq = self.connection.session().pq(),
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
                    // Whoever does not wait any more.
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
                        Some(source) => Error::Outer {
                            address: String::new(),
                            source,
                        },
                        None => Error::Session { code, reason, by },
                    };
                    let _ = opened.send(Err(error));
                }
            }
        }
    }

    /// Whether the client's template is one that this side lets pass.
    fn template_passes(&self) -> bool {
        let (Some(rules), Some(template)) = (&self.fronts, self.connection.session().template())
        else {
            return true;
        };
        rules
            .check(template, None, self.clock.now().unix_ms)
            .is_ok()
    }

    /// Whether the peer stands by the version that it chose.
    fn version_stands(&self) -> Result<(), (Code, &'static str)> {
        match &self.versions {
            Some(versions) => versions.stands(self.connection.session()),
            None => Ok(()),
        }
    }

    /// Reaches this task from without, where nothing else does.
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
        // On a session of one's own nobody asks for anything else.
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
                    ip: self.permit.ip(),
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
            ip: self.permit.ip(),
            charge: self.permit.charge(key.node_id()),
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
