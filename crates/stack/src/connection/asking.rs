//! Requests of this side and their answers.

use betanet_bar::{Incoming, Part, Request, Response};
use betanet_htx::{self as htx, StreamId, kind};
use betanet_machine::{Machine as _, Now};
use betanet_wire::Code;
use bytes::Bytes;

use super::{Connection, Event};
use crate::Error;

#[derive(Debug, Default)]
pub(super) struct Asking {
    incoming: Incoming<Response>,
    in_body: bool,
    /// Body bytes whose credit went back together with the head's.
    prepaid: u64,
}

impl Asking {
    pub(super) const fn delivered(&self) -> u64 {
        self.incoming.received()
    }
}

impl Connection {
    pub(super) fn ask(&mut self, now: Now, request: &Request, more: bool) -> Result<(), Error> {
        let message = request.to_message()?;
        let stream = self.session.next_stream();
        self.session
            .handle_command(now, htx::Command::Open { kind: kind::BAR })?;
        let write = htx::Command::Write {
            stream,
            data: message.into(),
            fin: !more,
        };
        self.asking.insert(stream, Asking::default());
        Ok(self.session.handle_command(now, write)?)
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
            self.command(now, htx::Command::Consume { stream, bytes: len });
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
            self.command(now, htx::Command::Reset { stream, code });
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

    pub(super) fn consume(&mut self, now: Now, stream: StreamId, bytes: u64) -> Result<(), Error> {
        let prepaid = self.asking.get(&stream).map_or(0, |a| a.prepaid.min(bytes));
        // A stream that is complete gives back what is left of it: the session bounds the amount.
        let bytes = bytes - prepaid;
        self.session
            .handle_command(now, htx::Command::Consume { stream, bytes })?;
        if let Some(asking) = self.asking.get_mut(&stream) {
            asking.prepaid -= prepaid;
        }
        Ok(())
    }
}
