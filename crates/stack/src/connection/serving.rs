//! Requests of the other side and our answers.

use betanet_bar::{Handler, Response};
use betanet_htx::{self as htx, StreamId};
use betanet_machine::{Machine as _, Now};
use betanet_wire::Code;
use bytes::Bytes;

use super::{Connection, Event};
use crate::feed::Feed;

/// Bytes asked of a handler at once.
const CHUNK: usize = 128 << 10;
/// Bytes that all answers of one connection may have waiting before each gets [`TRICKLE`] only.
const BUDGET: usize = 2 << 20;
/// What an answer gets when the budget is spent and nothing of it waits.
const TRICKLE: usize = 16 << 10;

pub(super) struct Serving<H: Handler> {
    feed: Feed<H>,
    /// The answer's head is out; what still arrives of the request is dropped.
    answered: bool,
    /// The whole answer is out.
    ended: bool,
    /// The session refused a write, or the budget was spent.
    waits: bool,
    refused: Option<Bytes>,
}

impl<H: Handler> Connection<H> {
    pub(super) fn serve(&mut self, stream: StreamId) {
        self.serving.insert(
            stream,
            Serving {
                feed: Feed::default(),
                answered: false,
                ended: false,
                waits: false,
                refused: None,
            },
        );
    }

    pub(super) fn may_write(&mut self, stream: StreamId) {
        if let Some(serving) = self.serving.get_mut(&stream) {
            serving.waits = false;
        }
    }

    pub(super) fn request_data(&mut self, now: Now, stream: StreamId, data: Bytes, fin: bool) {
        let len = data.len() as u64;
        let client = self.client();
        let Some(serving) = self.serving.get_mut(&stream) else {
            // An aborted exchange's last bytes, or the end of an answered one.
            return self.command(now, htx::Command::Consume { stream, bytes: len });
        };
        let mut answer = None;
        if !serving.answered {
            let Ok(taken) = serving.feed.take(&mut self.handler, client, data, fin) else {
                let code = Code::MALFORMED_FRAME;
                self.serving.remove(&stream);
                return self.command(now, htx::Command::Reset { stream, code });
            };
            answer = taken;
            if serving.feed.awaits {
                self.awaited.insert(stream);
            }
        }
        self.command(now, htx::Command::Consume { stream, bytes: len });
        if let Some(response) = answer {
            self.answer(now, stream, &response);
        }
        self.forget_if_done(stream, fin);
    }

    /// Sends the answers that were waited for and are there now.
    pub(super) fn answers(&mut self, now: Now) {
        for stream in core::mem::take(&mut self.awaited) {
            let Some(serving) = self.serving.get_mut(&stream) else {
                continue;
            };
            match serving.feed.answered(&mut self.handler) {
                Some(response) => self.answer(now, stream, &response),
                None => {
                    self.awaited.insert(stream);
                }
            }
        }
    }

    fn answer(&mut self, now: Now, stream: StreamId, response: &Response) {
        let status = response.status;
        let message = response
            .to_message()
            .or_else(|_| Response::new(betanet_bar::status::INTERNAL).to_message());
        let Some(serving) = self.serving.get_mut(&stream) else {
            return;
        };
        serving.answered = true;
        self.event(now, Event::Served { stream, status });
        if let Ok(message) = message {
            self.write(now, stream, message.into(), false);
        }
    }

    fn write(&mut self, now: Now, stream: StreamId, data: Bytes, fin: bool) {
        let write = htx::Command::Write {
            stream,
            data: data.clone(),
            fin,
        };
        let Err(error) = self.session.handle_command(now, write) else {
            return;
        };
        if let Some(serving) = self.serving.get_mut(&stream) {
            serving.waits = matches!(error, htx::Error::Blocked(_));
            serving.refused = Some(data);
        }
    }

    fn forget_if_done(&mut self, stream: StreamId, request_ended: bool) {
        let done = |s: &Serving<H>| s.ended && (request_ended || s.answered);
        if self.serving.get(&stream).is_some_and(done) {
            self.serving.remove(&stream);
        }
    }

    /// One fall: each answer that may be written gets on by a chunk.
    pub(super) fn fall(&mut self, now: Now) {
        let mut last = None;
        while let Some(stream) = self.next_writer(last) {
            last = Some(stream);
            self.write_on(now, stream);
        }
    }

    fn next_writer(&self, last: Option<StreamId>) -> Option<StreamId> {
        let from = last.map_or(0, |l| l + 1);
        self.serving
            .range(from..)
            .find(|(_, s)| s.answered && !s.ended && !s.waits)
            .map(|(id, _)| *id)
    }

    fn write_on(&mut self, now: Now, stream: StreamId) {
        let waiting = self.session.send_buffered();
        let own = self.session.stream_buffered(stream);
        let max = if waiting < BUDGET { CHUNK } else { TRICKLE };
        if own > 0 && waiting >= BUDGET || own >= CHUNK {
            return;
        }
        let Some(serving) = self.serving.get_mut(&stream) else {
            return;
        };
        if let Some(data) = serving.refused.take() {
            return self.write(now, stream, data, false);
        }
        let read = match &mut serving.feed.exchange {
            Some(x) => self.handler.read(x, max),
            None => Ok(Bytes::new()),
        };
        match read {
            Ok(data) if data.is_empty() => {
                serving.ended = true;
                self.write(now, stream, data, true);
                self.forget_if_done(stream, true);
            }
            Ok(data) => self.write(now, stream, data, false),
            Err(_) => {
                let code = Code::INTERNAL_ERROR;
                self.serving.remove(&stream);
                self.command(now, htx::Command::Reset { stream, code });
            }
        }
    }
}
