//! What the layer above asks.

use betanet_machine::Time;
use betanet_wire::Code;
use bytes::Bytes;

use super::{Command, MARGIN, Session};
use crate::frame::{Head, ty};
use crate::{Error, StreamId};

const PAD_MAX: u16 = 16_384;
static ZEROS: [u8; PAD_MAX as usize] = [0; PAD_MAX as usize];

impl Session {
    pub(super) fn command(&mut self, now: Time, command: Command) -> Result<(), Error> {
        if let Command::Close { code, reason } = command {
            if self.is_over() {
                return Err(Error::Closed);
            }
            self.close(now, code, &reason);
            return Ok(());
        }
        if !self.is_open() {
            return Err(if self.is_over() {
                Error::Closed
            } else {
                Error::NotReady
            });
        }
        // Bytes of a stream wait in a buffer of its own, which has a bound of its own: a stream that was opened can begin.
        let waits_apart = matches!(command, Command::Write { .. });
        if !waits_apart && (self.out.room() <= MARGIN || self.events.room() <= MARGIN) {
            return Err(Error::Full);
        }
        match command {
            Command::Open { kind } => self.open(now, kind),
            Command::Write { stream, data, fin } => self.write(stream, data, fin),
            Command::Consume { stream, bytes } => {
                self.consume(now, stream, bytes);
                Ok(())
            }
            Command::Reset { stream, code } => self.reset_stream(now, stream, code),
            Command::Ping => {
                self.measure(now);
                Ok(())
            }
            Command::Rekey => {
                self.turn_wanted = true;
                self.turn_if_due(now);
                Ok(())
            }
            Command::Pad(len) => {
                if self.agreed.as_ref().is_some_and(|a| a.has("padding")) {
                    let zeros = &ZEROS[..usize::from(len.min(PAD_MAX))];
                    self.send_frame(now, Head::connection(ty::PADDING), &[], zeros);
                }
                Ok(())
            }
            Command::PathControl(payload) => {
                if payload.len() > usize::from(PAD_MAX) {
                    return Err(Error::Full);
                }
                self.send_frame(now, Head::connection(ty::PATH_CONTROL), &[], &payload);
                Ok(())
            }
            Command::Shutdown => {
                self.shutdown(now);
                Ok(())
            }
            Command::Finish => {
                self.finish_up(now);
                Ok(())
            }
            Command::Close { .. } => Ok(()),
        }
    }

    fn open(&mut self, now: Time, kind: u8) -> Result<(), Error> {
        if self.closing.peer_goes_away() || self.closing.draining() {
            return Err(Error::GoingAway);
        }
        if !self.streams.may_open() {
            return Err(Error::TooManyStreams);
        }
        self.streams.open(kind);
        self.liveness.begins(now);
        self.make_room_beside(now);
        Ok(())
    }

    fn write(&mut self, id: StreamId, data: Bytes, fin: bool) -> Result<(), Error> {
        let bound = self.config.send_buffer;
        let stream = self
            .streams
            .get_mut(id)
            .filter(|s| !s.send.ended() && s.reset.is_none())
            .ok_or(Error::NoStream(id))?;
        if stream.send.buffered() >= bound {
            stream.send.refused = true;
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

    fn consume(&mut self, now: Time, id: StreamId, bytes: u64) {
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

    fn reset_stream(&mut self, now: Time, id: StreamId, code: Code) -> Result<(), Error> {
        let stream = self.streams.get_mut(id).ok_or(Error::NoStream(id))?;
        if stream.mine && stream.send.offset() == 0 {
            // Of this one the peer has seen nothing: it can be closed once its type is out.
            stream
                .send
                .begin(stream.kind.unwrap_or_default(), &[], false);
            stream.reset = Some(code);
            self.streams.begin(id);
            self.streams.queue(id);
            return Ok(());
        }
        if !stream.receive.finished {
            let credit = stream.receive.window.limit - stream.receive.highest;
            self.meter.reset(credit);
        }
        self.send_stream_close(now, id, code);
        self.remove_stream(now, id);
        Ok(())
    }
}
