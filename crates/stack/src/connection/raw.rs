//! Streams whose bytes the layer above handles: requests of the peer, and streams of other types.

use betanet_htx::{Error as Htx, StreamId, kind as types};
use betanet_machine::Now;
use bytes::Bytes;

use super::{Connection, Event, MARGIN};
use crate::Error;

/// Maximum number of bytes that one answer may queue.
pub(super) const CHUNK: usize = 128 << 10;
/// Bytes that all answers of one connection may queue; above this, each answer gets only [`TRICKLE`].
const BUDGET: usize = 2 << 20;
/// Room of an answer with nothing queued once the budget is spent.
const TRICKLE: usize = 16 << 10;

#[derive(Debug, Default, Hash)]
pub(super) struct Raw {
    /// Whether the stream carries a request of the peer and takes our answer.
    answer: bool,
    delivered: u64,
    /// The peer has finished its direction.
    heard_all: bool,
    /// This side has finished its direction.
    sent_all: bool,
}

impl Raw {
    /// State of a stream that the peer opened.
    pub(super) fn of(kind: u8) -> Self {
        Self {
            answer: kind == types::BAR,
            ..Self::default()
        }
    }

    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }
}

impl Connection {
    /// Number of answer bytes that this stream, opened by the peer, accepts now. The first bytes are accepted whatever their
    /// number.
    #[must_use]
    pub fn answer_room(&self, stream: StreamId) -> usize {
        let waiting = self.session.send_buffered();
        let own = self.session.stream_buffered(stream);
        if own >= CHUNK || own > 0 && waiting >= BUDGET {
            0
        } else if waiting < BUDGET {
            CHUNK
        } else {
            TRICKLE
        }
    }

    /// Refuses bytes of an answer that has no room; [`Event::Writable`] follows when it has.
    pub(super) fn may_send(&mut self, stream: StreamId, data: &Bytes) -> Result<(), Error> {
        let answers = self.raw.get(&stream).is_some_and(|r| r.answer);
        if answers && !data.is_empty() && self.answer_room(stream) == 0 {
            self.starved.insert(stream);
            return Err(Htx::Blocked(stream).into());
        }
        Ok(())
    }

    /// Emits [`Event::Writable`] for refused answers that have room now.
    pub(super) fn feed_starved(&mut self, now: Now) {
        let mut from = 0;
        while self.events.room() > MARGIN
            && let Some(stream) = self.starved.range(from..).next().copied()
        {
            from = stream + 1;
            if self.answer_room(stream) > 0 {
                self.starved.remove(&stream);
                self.event(now, Event::Writable { stream });
            }
        }
    }

    pub(super) fn open(&mut self, now: Now, kind: u8, first: Bytes) -> Result<StreamId, Error> {
        let stream = self.begin(now, kind, first, false)?;
        self.raw.insert(stream, Raw::default());
        Ok(stream)
    }

    pub(super) fn raw_data(&mut self, now: Now, stream: StreamId, data: Bytes, fin: bool) {
        if let Some(raw) = self.raw.get_mut(&stream) {
            raw.delivered += data.len() as u64;
            raw.heard_all |= fin;
        }
        if !data.is_empty() {
            self.event(now, Event::Body { stream, data });
        }
        if fin {
            self.event(now, Event::End { stream });
        }
        self.forget_raw(stream);
    }

    pub(super) fn raw_sent_all(&mut self, stream: StreamId) {
        if let Some(raw) = self.raw.get_mut(&stream) {
            raw.sent_all = true;
        }
        self.forget_raw(stream);
    }

    fn forget_raw(&mut self, stream: StreamId) {
        if self
            .raw
            .get(&stream)
            .is_some_and(|r| r.heard_all && r.sent_all)
        {
            self.raw.remove(&stream);
        }
    }
}
