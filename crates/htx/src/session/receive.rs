//! Received bytes: units are cut off the buffer, decrypted, and dispatched.

use betanet_machine::Time;
use betanet_wire::Code;
use bytes::{Buf as _, Bytes};

use super::{Event, MARGIN, Phase, Session, meter};
use crate::assembler::Conflict;
use crate::frame::{self, Frame, FrameError, HEADER, Head, TAG};
use crate::handshake::{MESSAGE_2, MESSAGE_3};
use crate::seal::OpenError;
use crate::stream::OFFSET_MAX;
use crate::streams::{CONNECTION_RAISE, Place, STREAM_RAISE, STREAM_START};
use crate::{HandshakeError, StreamId};

/// Payloads up to this size are copied, so that a few bytes do not hold a large buffer.
const COPY_MAX: usize = 1024;
/// Maximum memory cost of all streams' parts behind gaps, bytes.
const GAPS_MAX: usize = 1 << 20;

/// Result of one pass over the buffer.
enum Step {
    /// A unit was taken; look again.
    Took,
    /// More bytes are needed, or nothing can be read now.
    Wait,
}

impl Session {
    pub(super) fn process(&mut self, now: Time) {
        self.backlog = None;
        loop {
            if self.out.room() <= MARGIN || self.events.room() <= MARGIN {
                self.backlog = (!self.rx.is_empty()).then_some(now);
                return;
            }
            let step = match &self.phase {
                Phase::Message2(_) | Phase::Message3(_) => self.take_message(now),
                Phase::Negotiating | Phase::Open { .. } => self.take_frame(now),
                Phase::Closing if !self.closing.deaf() => self.take_frame(now),
                Phase::Exporting => Step::Wait,
                Phase::Closing | Phase::Closed => {
                    self.rx.clear();
                    Step::Wait
                }
            };
            if matches!(step, Step::Wait) {
                return;
            }
        }
    }

    fn take_message(&mut self, now: Time) -> Step {
        let Some(&[a, b]) = self.rx.first_chunk::<2>() else {
            return Step::Wait;
        };
        let len = usize::from(u16::from_be_bytes([a, b]));
        let (message, allowed) = match self.phase {
            Phase::Message2(_) => (2, MESSAGE_2.contains(&len)),
            _ => (3, len == MESSAGE_3),
        };
        if !allowed {
            self.handshake_failed(now, HandshakeError::Length { message, len });
            return Step::Took;
        }
        if self.rx.len() < 2 + len {
            return Step::Wait;
        }
        self.rx.advance(2);
        let bytes = self.rx.split_to(len);
        let done = match core::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Message2(initiator) => initiator.finish(&bytes).map(|(outcome, message3)| {
                self.send_message(now, &message3);
                outcome
            }),
            Phase::Message3(responder) => responder.finish(&bytes),
            other => {
                self.phase = other;
                return Step::Wait;
            }
        };
        match done {
            Ok(outcome) => {
                self.liveness.sample(now - self.began);
                self.negotiate(now, outcome);
            }
            Err(e) => self.handshake_failed(now, e),
        }
        Step::Took
    }

    fn handshake_failed(&mut self, now: Time, error: HandshakeError) {
        tracing::debug!(%error, "handshake failed");
        self.break_locally(now, Code::AUTH_FAILED, handshake_reason(error));
    }

    fn take_frame(&mut self, now: Time) -> Step {
        let total = match frame::total_length(&self.rx) {
            Ok(Some(n)) if n <= self.rx.len() => n,
            Ok(Some(n)) => {
                // Reserve room for the whole frame: a buffer that grows piece by piece is copied each time.
                self.rx.reserve(n - self.rx.len());
                return Step::Wait;
            }
            Ok(None) => return Step::Wait,
            Err(e) => {
                self.malformed(now, e);
                // Without a length, the next frame cannot be found.
                self.closing.stop_listening();
                return Step::Took;
            }
        };
        let mut bytes = self.rx.split_to(total);
        let Some(opener) = &mut self.opener else {
            return Step::Wait;
        };
        let turned = opener.generation();
        let head = match opener.open(&mut bytes) {
            Ok(head) => head,
            Err(e) => {
                self.unreadable(now, e);
                return Step::Took;
            }
        };
        self.stats.rekeys_in += opener.generation() - turned;
        self.stats.frames_in += 1;
        self.stats.bytes_in += total as u64;
        self.liveness.heard(now);
        let payload = bytes.freeze().slice(HEADER..total - TAG);
        match Frame::read(head, &payload) {
            Ok(frame) => self.route(now, head, frame, &payload),
            Err(e) => self.malformed(now, e),
        }
        Step::Took
    }

    fn unreadable(&mut self, now: Time, error: OpenError) {
        match error {
            OpenError::OldKey => self.fail(now, Code::OLD_KEY_FRAME, "frame under an old key"),
            OpenError::TurnedTooSoon => {
                self.fail(now, Code::MALFORMED_FRAME, "KEY_UPDATE too soon");
            }
            OpenError::Sealed if matches!(self.phase, Phase::Open { confirmed: false }) => {
                self.break_locally(
                    now,
                    Code::VERSION_NEGOTIATION_FAILED,
                    "the first frame of epoch 1 does not open",
                );
            }
            OpenError::Sealed => {
                self.break_locally(now, Code::AUTH_FAILED, "a frame does not open");
            }
        }
    }

    fn malformed(&mut self, now: Time, error: FrameError) {
        tracing::debug!(%error, "malformed frame");
        let reason = match error {
            FrameError::Length(_) => "frame length",
            FrameError::Payload => "payload",
            FrameError::Reserved => "reserved bit",
            FrameError::Stream => "stream of the frame",
            FrameError::Type(_) => "frame type",
        };
        self.fail(now, Code::MALFORMED_FRAME, reason);
    }

    fn route(&mut self, now: Time, head: Head, frame: Frame<'_>, payload: &Bytes) {
        let confirms = matches!(
            frame,
            Frame::WindowUpdate { scope: 0, credit } if credit == CONNECTION_RAISE
        );
        match (&self.phase, frame) {
            (Phase::Negotiating, frame) => self.route_epoch0(now, head, frame),
            (Phase::Closing, Frame::Close { .. }) if head.stream == 0 => self.peer_closed_too(now),
            (Phase::Closing, _) => {}
            (Phase::Open { confirmed: false }, Frame::Close { code, reason })
                if head.stream == 0 =>
            {
                self.peer_closed(now, code, reason);
            }
            (Phase::Open { confirmed: false }, _) if !confirms => {
                self.fail(now, Code::MALFORMED_FRAME, "epoch 1 begins with credit");
            }
            (_, Frame::Stream { offset, fin, data }) => {
                let data = if data.len() <= COPY_MAX {
                    Bytes::copy_from_slice(data)
                } else {
                    payload.slice_ref(data)
                };
                self.on_stream(now, head.stream, offset, data, fin);
            }
            (_, Frame::WindowUpdate { credit, .. }) => {
                if confirms {
                    self.phase = Phase::Open { confirmed: true };
                }
                self.on_window(now, head.stream, credit);
            }
            (_, Frame::Ping { token, reply }) => self.on_ping(now, token, reply),
            (_, Frame::Close { code, reason }) if head.stream == 0 => {
                self.peer_closed(now, code, reason);
            }
            (_, Frame::Close { code, .. }) => self.on_stream_close(now, head.stream, code),
            (_, Frame::PathControl(_)) => {
                self.without_progress(now, 1);
                self.event(now, Event::PathControl(payload.clone()));
            }
            (_, Frame::Padding) => {
                self.idle_payload(now, payload.len());
                if !self.agreed.as_ref().is_some_and(|a| a.has("padding")) {
                    self.fail(now, Code::MALFORMED_FRAME, "padding was not agreed on");
                }
            }
            (_, Frame::Skipped(_)) => {
                self.stats.skipped += 1;
                self.idle_payload(now, payload.len());
            }
            (_, Frame::KeyUpdate) => self.without_progress(now, meter::TURN),
        }
    }

    fn on_stream(&mut self, now: Time, id: StreamId, offset: u64, data: Bytes, fin: bool) {
        match self.streams.place(id) {
            Place::Open => {}
            Place::Past => return self.late_bytes(now, data.len() as u64),
            Place::Next => {
                if let Err(code) = self.streams.accept(id, self.closing.draining()) {
                    self.stats.streams_refused += 1;
                    self.without_progress(now, 1);
                    self.send_stream_close(now, id, code);
                    return self.late_bytes(now, data.len() as u64);
                }
                // Streams opened and closed endlessly make no progress; a stream that carries bytes earns the cost back.
                self.without_progress(now, 1);
            }
            Place::Wrong => return self.fail(now, Code::MALFORMED_FRAME, "stream id"),
        }
        let limit = self.streams.receive.limit;
        let received = self.streams.received;
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let end = offset.saturating_add(data.len() as u64);
        let new = end.saturating_sub(stream.receive.highest);
        if end > OFFSET_MAX || end > stream.receive.window.limit || received + new > limit {
            return self.fail(now, Code::FLOW_CONTROL_VIOLATION, "credit overrun");
        }
        stream.receive.highest += new;
        let (cost, ended) = (
            stream.receive.assembler.cost(),
            stream.receive.assembler.ends(),
        );
        let taken = stream.receive.assembler.insert(offset, data, fin);
        let (costs, ends) = (
            stream.receive.assembler.cost(),
            stream.receive.assembler.ends(),
        );
        let first = !core::mem::replace(&mut stream.receive.seen, true);
        if first {
            stream.receive.window.raise(now, STREAM_RAISE);
        }
        self.streams.received += new;
        self.keep_reserve(now);
        if let Err(conflict) = taken {
            let reason = match conflict {
                Conflict::Bytes => "offset conflict",
                Conflict::Fin => "data past FIN",
                Conflict::Gap => "gap over 64 KiB",
                Conflict::Parts => "more than 64 parts behind gaps",
            };
            return self.fail(now, Code::MALFORMED_FRAME, reason);
        }
        self.streams.behind_gaps = self.streams.behind_gaps + costs - cost;
        if self.streams.behind_gaps > GAPS_MAX {
            return self.fail(now, Code::MALFORMED_FRAME, "gaps over 1 MiB in all streams");
        }
        self.stream_frame(now, new, ends && !ended);
        if first {
            self.send_window(now, id, STREAM_RAISE);
            // For a stream of this side, room was made on opening: its answer may be the one that lacks it.
            if self.streams.get(id).is_some_and(|s| !s.mine) {
                self.make_room_beside(now);
            }
        }
        self.deliver(now, id);
    }

    /// A stream that nobody reads may occupy the connection's whole first credit. Each further stream adds credit, so that
    /// it does not block the others.
    pub(super) fn make_room_beside(&mut self, now: Time) {
        if self.streams.len() > 1
            && let Some(step) = self.streams.receive.widen(now, STREAM_RAISE)
        {
            self.send_window(now, 0, step);
        }
    }

    /// Keeps credit for the first bytes of the peer's next stream, which unread streams could otherwise use up. Each of them has
    /// credit of its own, so that widening ends.
    fn keep_reserve(&mut self, now: Time) {
        let left = self
            .streams
            .receive
            .limit
            .saturating_sub(self.streams.received);
        if left < STREAM_START
            && let Some(step) = self.streams.receive.widen(now, STREAM_RAISE)
        {
            self.send_window(now, 0, step);
        }
    }

    /// Returns the credit of bytes for an ended stream at once, because nobody consumes them.
    fn late_bytes(&mut self, now: Time, n: u64) {
        self.stats.late += 1;
        if !self.meter.late(n) {
            self.without_progress(now, 1);
        }
        if self.streams.received + n > self.streams.receive.limit {
            return self.fail(now, Code::FLOW_CONTROL_VIOLATION, "credit overrun");
        }
        self.streams.received += n;
        self.streams.receive.consume(n);
        self.grant_connection(now);
    }

    fn deliver(&mut self, now: Time, id: StreamId) {
        while let Some(stream) = self.streams.get_mut(id) {
            let Some(mut data) = stream.receive.assembler.pop() else {
                break;
            };
            if stream.kind.is_none() {
                let kind = data.get_u8();
                stream.kind = Some(kind);
                stream.receive.window.consume(1);
                self.streams.receive.consume(1);
                if !self.config.accepts.contains(&kind) {
                    self.stats.streams_refused += 1;
                    self.send_stream_close(now, id, Code::UNSUPPORTED_FEATURE);
                    return self.remove_stream(now, id);
                }
                self.event(now, Event::Opened { stream: id, kind });
            }
            let Some(stream) = self.streams.get_mut(id) else {
                return;
            };
            let fin = stream.receive.assembler.finished();
            stream.receive.finished = fin;
            if fin {
                self.streams.answered(id);
            }
            if !data.is_empty() || fin {
                self.event(
                    now,
                    Event::Data {
                        stream: id,
                        data,
                        fin,
                    },
                );
            }
        }
        self.finish_without_data(now, id);
    }

    /// Handles a FIN without data, after all data or on its own.
    fn finish_without_data(&mut self, now: Time, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        if stream.receive.assembler.finished() && !stream.receive.finished {
            stream.receive.finished = true;
            let kindless = stream.kind.is_none();
            self.streams.answered(id);
            if kindless {
                // The stream was opened and ended without even a type byte.
                self.send_stream_close(now, id, Code::MALFORMED_FRAME);
                return self.remove_stream(now, id);
            }
            self.event(
                now,
                Event::Data {
                    stream: id,
                    data: Bytes::new(),
                    fin: true,
                },
            );
        }
        if self
            .streams
            .get(id)
            .is_some_and(crate::stream::Stream::done)
        {
            self.remove_stream(now, id);
        }
    }

    fn on_window(&mut self, now: Time, id: StreamId, credit: u32) {
        self.without_progress(now, 1);
        let limit = if id == 0 {
            &mut self.streams.send_limit
        } else {
            match self.streams.place(id) {
                Place::Open => {}
                Place::Past => {
                    self.stats.late += 1;
                    return;
                }
                Place::Next | Place::Wrong => {
                    return self.fail(now, Code::MALFORMED_FRAME, "stream id");
                }
            }
            match self.streams.get_mut(id) {
                Some(stream) => &mut stream.send.limit,
                None => return,
            }
        };
        *limit += u64::from(credit);
        if *limit > OFFSET_MAX {
            self.fail(now, Code::FLOW_CONTROL_VIOLATION, "credit passes 2^62");
        }
    }

    fn on_stream_close(&mut self, now: Time, id: StreamId, code: Code) {
        match self.streams.place(id) {
            Place::Open => {
                let delivered = self.streams.get(id).map_or(0, |s| s.delivered());
                self.remove_stream(now, id);
                self.event(
                    now,
                    Event::StreamClosed {
                        stream: id,
                        code,
                        delivered,
                    },
                );
            }
            Place::Past => {
                self.stats.late += 1;
                self.without_progress(now, 1);
            }
            Place::Next | Place::Wrong => self.fail(now, Code::MALFORMED_FRAME, "stream id"),
        }
    }

    pub(super) fn begin_frames(&mut self) {
        self.phase = Phase::Negotiating;
    }
}

const fn handshake_reason(error: HandshakeError) -> &'static str {
    match error {
        HandshakeError::Length { .. } => "handshake message length",
        HandshakeError::Sealed { .. } => "a handshake message does not open",
        HandshakeError::SmallOrder { .. } => "a key of small order",
        HandshakeError::Kem => "the ML-KEM key is not valid",
        HandshakeError::Identity => "the identity does not match the Noise key",
        HandshakeError::PqRequired => "the peer does not use ML-KEM-768, which is required here",
        HandshakeError::Setup => "the Noise state could not be built",
    }
}
