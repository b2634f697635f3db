//! Requests of this side and their answers.

use betanet_bar::{Incoming, Part, Request, Response};
use betanet_htx::{self as htx, StreamId, kind};
use betanet_machine::{Machine as _, Now};
use betanet_wire::Code;
use bytes::Bytes;

use super::{Connection, Event};
use crate::Error;

#[derive(Debug, Default, Hash)]
pub(super) struct Asking {
    incoming: Incoming<Response>,
    in_body: bool,
    /// Body bytes whose credit was returned together with the head's.
    prepaid: u64,
}

impl Asking {
    pub(super) const fn delivered(&self) -> u64 {
        self.incoming.received()
    }

    /// How many of the consumed bytes had their credit returned earlier.
    pub(super) fn prepay(&mut self, bytes: u64) -> u64 {
        let prepaid = self.prepaid.min(bytes);
        self.prepaid -= prepaid;
        prepaid
    }
}

impl Connection {
    pub(super) fn ask(
        &mut self,
        now: Now,
        request: &Request,
        more: bool,
    ) -> Result<StreamId, Error> {
        let message = request.to_message()?;
        let stream = self.begin(now, kind::BAR, message.into(), !more)?;
        self.asking.insert(stream, Asking::default());
        Ok(stream)
    }

    /// Opens a stream with its first bytes, or fails without a change.
    pub(super) fn begin(
        &mut self,
        now: Now,
        kind: u8,
        first: Bytes,
        fin: bool,
    ) -> Result<StreamId, Error> {
        let open = htx::Command::Open { kind };
        let opened = self.session.handle_command(now, open)?;
        let stream = opened.ok_or(Error::NoId)?;
        let write = htx::Command::Write {
            stream,
            data: first,
            fin,
        };
        // A new stream accepts its first bytes whatever their number. If the session has ended meanwhile, its events report that.
        let _ = self.session.handle_command(now, write);
        Ok(stream)
    }

    pub(super) fn answer_data(&mut self, now: Now, stream: StreamId, data: Bytes, fin: bool) {
        let len = data.len() as u64;
        let Some(asking) = self.asking.get_mut(&stream) else {
            return;
        };
        let before = asking.incoming.received();
        let pushed = asking.incoming.push(data, fin);
        if !asking.in_body {
            asking.prepaid += asking.incoming.received() - before;
            self.session.consume(now, stream, len);
        }
        while let Some(part) = self.asking.get_mut(&stream).and_then(|a| a.incoming.pop()) {
            match part {
                Part::Head(response) => {
                    if let Some(asking) = self.asking.get_mut(&stream) {
                        asking.in_body = true;
                    }
                    self.event(now, Event::Head { stream, response });
                }
                Part::Body(data) => self.event(now, Event::Body { stream, data }),
                Part::End => {
                    self.asking.remove(&stream);
                    self.event(now, Event::End { stream });
                }
            }
        }
        if pushed.is_err()
            && let Some(asking) = self.asking.remove(&stream)
        {
            let code = Code::MALFORMED_FRAME;
            self.session.reset(now, stream, code);
            self.event(
                now,
                Event::Failed {
                    stream,
                    code: Some(code),
                    delivered: asking.delivered(),
                },
            );
        }
    }
}
