//! The end of a session: CLOSE in both directions, orderly shutdown, and aborts.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use betanet_machine::{Time, Wake};
use betanet_wire::Code;

use super::{By, Event, Phase, Session, Transmit};
use crate::frame::{self, Head, ty};

/// How long this side waits for the peer's CLOSE after its own.
const LINGER: Duration = Duration::from_secs(2);
/// How long an orderly shutdown waits for open streams.
const DRAIN: Duration = Duration::from_secs(10);
/// Maximum number of bytes kept of a peer's close reason.
const REASON_MAX: usize = 256;

#[derive(Debug, Default, Hash)]
pub(super) struct Closing {
    drain_until: Option<Time>,
    linger_until: Option<Time>,
    peer_goes_away: bool,
    /// Whether shutdown skips streams that have nothing left to send.
    own_only: bool,
    deaf: bool,
}

impl Closing {
    pub(super) const fn draining(&self) -> bool {
        self.drain_until.is_some()
    }

    pub(super) const fn peer_goes_away(&self) -> bool {
        self.peer_goes_away
    }

    pub(super) const fn deaf(&self) -> bool {
        self.deaf
    }

    pub(super) const fn stop_listening(&mut self) {
        self.deaf = true;
    }
}

impl Session {
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Closing | Phase::Closed)
    }

    /// Reports the ends regardless of the queue's length: there are at most 513 of them, once.
    fn tell_end(&mut self, now: Time, code: Code, reason: &str, by: By) {
        let cut: Vec<(u32, u64)> = self
            .streams
            .iter()
            .filter(|(_, s)| !(s.receive.finished && s.send.fin_sent))
            .map(|(id, s)| (id, s.delivered()))
            .collect();
        for (stream, delivered) in cut {
            self.events
                .push_reserved(now, Event::Cut { stream, delivered });
        }
        self.streams.clear();
        let reason = String::from(reason);
        self.events
            .push_reserved(now, Event::Closed { code, reason, by });
    }

    /// Sends CLOSE; the peer's CLOSE, or two seconds, end the body.
    pub(super) fn end(&mut self, now: Time, code: Code, reason: &str) {
        if self.is_over() {
            return;
        }
        if self.sealer.is_none() || matches!(self.phase, Phase::Exporting) {
            // There is no key with which the peer could decrypt a CLOSE.
            return self.break_locally(now, code, reason);
        }
        let payload = frame::close(code, reason);
        self.send_frame(now, Head::connection(ty::CLOSE), &payload, &[]);
        self.phase = Phase::Closing;
        self.closing.linger_until = Some(now + LINGER);
        self.tell_end(now, code, reason, By::Local);
    }

    /// Closes because the peer broke a rule, and tells it so.
    pub(super) fn fail(&mut self, now: Time, code: Code, reason: &'static str) {
        tracing::debug!(%code, reason, "session ends by the peer's fault");
        self.end(now, code, reason);
    }

    /// Closes without a message, because the peer broke a rule in a way that leaves none.
    pub(super) fn break_locally(&mut self, now: Time, code: Code, reason: &str) {
        self.break_off(now, code, reason, By::Local);
    }

    /// Ends the session because the carrier or the peer is gone.
    pub(super) fn cut(&mut self, now: Time, reason: &str) {
        self.break_off(now, Code::INTERNAL_ERROR, reason, By::Cut);
    }

    fn break_off(&mut self, now: Time, code: Code, reason: &str, by: By) {
        if matches!(self.phase, Phase::Closed) && self.closing.linger_until.is_some() {
            return;
        }
        let told = matches!(self.phase, Phase::Closing);
        self.finish(now, Transmit::Reset);
        if !told {
            self.tell_end(now, code, reason, by);
        }
    }

    fn finish(&mut self, now: Time, last: Transmit) {
        self.phase = Phase::Closed;
        self.closing.linger_until = Some(now);
        self.rx.clear();
        self.backlog = None;
        self.sealer = None;
        self.opener = None;
        self.transmit(now, last);
    }

    pub(super) fn peer_closed(&mut self, now: Time, code: Code, reason: &[u8]) {
        let payload = frame::close(Code::OK, "");
        self.send_frame(now, Head::connection(ty::CLOSE), &payload, &[]);
        self.finish(now, Transmit::End);
        let reason = String::from_utf8_lossy(&reason[..reason.len().min(REASON_MAX)]);
        self.tell_end(now, code, &reason, By::Peer);
    }

    pub(super) fn peer_closed_too(&mut self, now: Time) {
        self.finish(now, Transmit::End);
    }

    pub(super) fn body_ended(&mut self, now: Time) {
        if matches!(self.phase, Phase::Closing) {
            self.finish(now, Transmit::End);
        } else {
            self.cut(now, "the peer's body ended without CLOSE");
        }
    }

    pub(super) fn peer_goes_away(&mut self, now: Time) {
        if !self.closing.peer_goes_away && !self.is_over() {
            self.closing.peer_goes_away = true;
            self.event(now, Event::GoingAway);
        }
    }

    pub(super) fn shutdown(&mut self, now: Time) {
        if self.closing.draining() {
            return;
        }
        self.closing.drain_until = Some(now + DRAIN);
        self.transmit(now, Transmit::GoAway);
        self.close_when_drained(now);
    }

    pub(super) fn finish_up(&mut self, now: Time) {
        self.closing.own_only = true;
        self.shutdown(now);
        self.close_when_drained(now);
    }

    pub(super) fn close_when_drained(&mut self, now: Time) {
        if !self.closing.draining() || !self.is_open() {
            return;
        }
        if self.streams.len() == 0 || self.closing.own_only && self.streams.all_sent() {
            self.end(now, Code::OK, "");
        }
    }

    pub(super) fn closing_wake(&self) -> Option<Wake> {
        match self.phase {
            Phase::Closing => self.closing.linger_until.map(|at| Wake {
                at,
                why: "htx: CLOSE is unanswered",
            }),
            Phase::Closed => None,
            _ => self.closing.drain_until.map(|at| Wake {
                at,
                why: "htx: streams had their time",
            }),
        }
    }

    pub(super) fn check_closing(&mut self, now: Time) {
        if self.closing_wake().is_none_or(|w| w.at > now) {
            return;
        }
        if matches!(self.phase, Phase::Closing) {
            self.finish(now, Transmit::End);
        } else {
            self.end(now, Code::OK, "");
        }
    }
}
