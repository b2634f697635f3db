//! Streams whose bytes belong to whoever is above: forwarded ones.

use betanet_bar::Handler;
use betanet_htx::{self as htx, StreamId};
use betanet_machine::{Machine as _, Now};
use bytes::Bytes;

use super::{Connection, Event};
use crate::Error;

#[derive(Debug, Default)]
pub(super) struct Raw {
    delivered: u64,
    /// The peer sends no more.
    heard_all: bool,
    /// This side sends no more.
    sent_all: bool,
}

impl Raw {
    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }
}

impl<H: Handler> Connection<H> {
    pub(super) fn open(&mut self, now: Now, kind: u8, first: Bytes) -> Result<(), Error> {
        let stream = self.session.next_stream();
        self.session
            .handle_command(now, htx::Command::Open { kind })?;
        self.raw.insert(stream, Raw::default());
        let write = htx::Command::Write {
            stream,
            data: first,
            fin: false,
        };
        Ok(self.session.handle_command(now, write)?)
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
