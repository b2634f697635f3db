//! Commands of the layer above.

use betanet_machine::{Now, Time};
use betanet_wire::Code;
use bytes::Bytes;

use super::{Command, MARGIN, Session};
use crate::frame::{Head, ty};
use crate::{Error, StreamId};

const PAD_MAX: u16 = 16_384;
static ZEROS: [u8; PAD_MAX as usize] = [0; PAD_MAX as usize];

impl Session {
    pub(super) fn command(
        &mut self,
        now: Time,
        command: Command,
    ) -> Result<Option<StreamId>, Error> {
        if !self.is_open() {
            return Err(if self.is_over() {
                Error::Closed
            } else {
                Error::NotReady
            });
        }
        // Stream bytes have a buffer with a bound of its own, so an opened stream can always begin.
        let waits_apart = matches!(command, Command::Write { .. });
        if !waits_apart && (self.out.room() <= MARGIN || self.events.room() <= MARGIN) {
            return Err(Error::Full);
        }
        match command {
            Command::Open { kind } => return self.open(now, kind).map(Some),
            Command::Write { stream, data, fin } => self.write(stream, data, fin)?,
            Command::Ping => self.measure(now),
            Command::Rekey => {
                self.turn_wanted = true;
                self.turn_if_due(now);
            }
            Command::Pad(len) => {
                if self.agreed.as_ref().is_some_and(|a| a.has("padding")) {
                    let zeros = &ZEROS[..usize::from(len.min(PAD_MAX))];
                    self.send_frame(now, Head::connection(ty::PADDING), &[], zeros);
                }
            }
            Command::PathControl(payload) => {
                if payload.len() > usize::from(PAD_MAX) {
                    return Err(Error::Full);
                }
                self.send_frame(now, Head::connection(ty::PATH_CONTROL), &[], &payload);
            }
            Command::Shutdown => self.shutdown(now),
            Command::Finish => self.finish_up(now),
        }
        Ok(None)
    }

    /// Returns the credit of consumed stream bytes to the peer. Never refused; an ended stream has already returned its
    /// credit.
    pub fn consume(&mut self, now: Now, stream: StreamId, bytes: u64) {
        if self.is_open() {
            self.used_up(now.mono, stream, bytes);
            self.pump(now.mono);
        }
    }

    /// Resets both directions of a stream. Never refused; a stream that has ended stays unchanged.
    pub fn reset(&mut self, now: Now, stream: StreamId, code: Code) {
        if self.is_open() {
            self.reset_stream(now.mono, stream, code);
            self.pump(now.mono);
        }
    }

    /// Closes the session at once. Never refused; the first code and reason are kept.
    pub fn close(&mut self, now: Now, code: Code, reason: &str) {
        self.end(now.mono, code, reason);
    }

    fn open(&mut self, now: Time, kind: u8) -> Result<StreamId, Error> {
        if self.closing.peer_goes_away() || self.closing.draining() {
            return Err(Error::GoingAway);
        }
        if !self.streams.may_open() {
            return Err(Error::TooManyStreams);
        }
        let id = self.streams.open(kind);
        self.liveness.begins(now);
        self.make_room_beside(now);
        Ok(id)
    }

    fn write(&mut self, id: StreamId, data: Bytes, fin: bool) -> Result<(), Error> {
        let bound = self.config.send_buffer;
        let stream = self
            .streams
            .get_mut(id)
            .filter(|s| !s.send.ended() && s.reset.is_none())
            .ok_or(Error::NoStream(id))?;
        if stream.send.buffered() >= bound {
            stream.send.refused.register();
            return Err(Error::Blocked(id));
        }
        match stream.kind {
            Some(kind) if stream.mine && stream.send.fresh() => stream.send.begin(kind, &data, fin),
            _ => stream.send.push(data, fin),
        }
        if stream.mine {
            self.streams.begin(id);
        }
        self.streams.queue(id);
        Ok(())
    }

    fn used_up(&mut self, now: Time, id: StreamId, bytes: u64) {
        let rtt = self.liveness.rtt_or_default();
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let held = stream.receive.assembler.offset() - stream.receive.window.consumed();
        let bytes = bytes.min(held);
        stream.receive.window.consume(bytes);
        let done = stream.done();
        let grant = if stream.receive.finished {
            None
        } else {
            stream.receive.window.grant(now, rtt)
        };
        self.streams.receive.consume(bytes);
        if let Some(credit) = grant {
            self.send_window(now, id, credit);
        }
        if done {
            self.remove_stream(now, id);
        } else {
            self.grant_connection(now);
        }
    }

    fn reset_stream(&mut self, now: Time, id: StreamId, code: Code) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        if stream.mine && stream.send.offset() == 0 {
            // The peer has seen nothing of this stream: it can be closed once its type was sent.
            stream
                .send
                .begin(stream.kind.unwrap_or_default(), &[], false);
            stream.reset = Some(code);
            self.streams.begin(id);
            self.streams.queue(id);
            return;
        }
        if !stream.receive.finished {
            let credit = stream.receive.window.limit - stream.receive.highest;
            self.meter.reset(credit);
        }
        self.send_stream_close(now, id, code);
        self.remove_stream(now, id);
    }
}
