//! A carrier that runs a session over a stream of another session.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use betanet_carrier::{Carrier, Error as CarrierError, Received};
use betanet_htx::StreamId;
use betanet_wire::Code;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio_util::sync::PollSender;

use crate::Error;
use crate::exchange::Inbox;
use crate::ops::{Op, RawStream, tell};

/// Carries a session over a [`RawStream`].
pub struct ForwardCarrier {
    /// Bytes read before the session took over the stream.
    first: Bytes,
    inbox: Inbox,
    stream: StreamId,
    ops: PollSender<Op>,
    /// The last write, until the session below has taken it.
    sending: Option<oneshot::Receiver<Result<(), Error>>>,
    waiting: Option<(Bytes, bool)>,
    owed: u64,
    heard_end: bool,
    sent_end: bool,
    broken: bool,
}

/// Number of consumed bytes after which the peer is given credit.
const CREDIT_STEP: u64 = 64 << 10;

impl ForwardCarrier {
    /// Creates a carrier over `stream`. The bytes `first` were read from it before.
    pub fn new(first: Bytes, stream: RawStream) -> Self {
        let mut body = stream.body;
        // From here on, this carrier ends the stream and gives its credit back.
        body.ended = true;
        let owed = std::mem::take(&mut body.owed);
        Self {
            first,
            inbox: body.inbox.clone(),
            stream: body.stream,
            ops: PollSender::new(body.ops.clone()),
            sending: None,
            waiting: None,
            owed,
            heard_end: false,
            sent_end: false,
            broken: false,
        }
    }

    fn pay(&mut self, cx: &mut Context<'_>) {
        // If the queue has no room now, the next read gives the credit.
        if self.owed > 0 && matches!(self.ops.poll_reserve(cx), Poll::Ready(Ok(()))) {
            let (stream, bytes) = (self.stream, std::mem::take(&mut self.owed));
            let _ = self.ops.send_item(Op::Consume { stream, bytes });
        }
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CarrierError>> {
        loop {
            if let Some(sending) = &mut self.sending {
                let sent = ready!(Pin::new(sending).poll(cx));
                self.sending = None;
                // Nothing can follow lost bytes.
                self.broken |= !matches!(sent, Ok(Ok(())));
            }
            if self.broken {
                return Poll::Ready(Err(CarrierError::Gone));
            }
            if self.waiting.is_none() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.ops.poll_reserve(cx)).is_err() {
                self.broken = true;
                continue;
            }
            if let Some((data, fin)) = self.waiting.take() {
                let (done, sent) = oneshot::channel();
                let stream = self.stream;
                let op = Op::Send {
                    stream,
                    data,
                    fin,
                    done,
                };
                self.ops.send_item(op).map_err(|_| CarrierError::Gone)?;
                self.sending = Some(sent);
            }
        }
    }
}

impl Carrier for ForwardCarrier {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, CarrierError>> {
        if !self.first.is_empty() {
            return Poll::Ready(Ok(Received::Bytes(std::mem::take(&mut self.first))));
        }
        if self.heard_end {
            return Poll::Pending;
        }
        match self.inbox.poll_chunk(cx) {
            Poll::Ready(Ok(Some(bytes))) => {
                self.owed += bytes.len() as u64;
                if self.owed >= CREDIT_STEP {
                    self.pay(cx);
                }
                Poll::Ready(Ok(Received::Bytes(bytes)))
            }
            Poll::Ready(Ok(None)) => {
                self.heard_end = true;
                Poll::Ready(Ok(Received::End))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(CarrierError::Gone)),
            Poll::Pending => {
                self.pay(cx);
                Poll::Pending
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CarrierError>> {
        self.poll_sent(cx)
    }

    fn send(&mut self, bytes: Bytes) -> Result<(), CarrierError> {
        self.waiting = Some((bytes, false));
        Ok(())
    }

    fn push(&mut self, _: &mut Context<'_>) {
        // The session below sends whatever it takes.
    }

    fn end(&mut self) {
        self.sent_end = true;
        match &mut self.waiting {
            Some((_, fin)) => *fin = true,
            None => self.waiting = Some((Bytes::new(), true)),
        }
    }

    fn reset(&mut self) {
        self.waiting = None;
    }

    fn go_away(&mut self) {
        // A path has no carrier to notify. Its session refuses new streams.
    }

    fn export_as(&self, _: &str, _: &[u8], _: &mut [u8]) -> Result<(), CarrierError> {
        // A session over FORWARD derives its keying material itself (E-31).
        Err(CarrierError::Export)
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.poll_sent(cx) {
            Poll::Ready(Ok(())) if !self.sent_end || self.heard_end => Poll::Ready(()),
            Poll::Ready(Err(_)) => Poll::Ready(()),
            _ => loop {
                // The peer's end confirms that ours has arrived.
                match self.inbox.poll_chunk(cx) {
                    Poll::Ready(Ok(Some(bytes))) => self.owed += bytes.len() as u64,
                    Poll::Ready(_) => {
                        self.heard_end = true;
                        return Poll::Ready(());
                    }
                    Poll::Pending => return Poll::Pending,
                }
            },
        }
    }
}

impl Drop for ForwardCarrier {
    fn drop(&mut self) {
        if let Some(ops) = self.ops.get_ref()
            && !(self.sent_end && self.heard_end && self.waiting.is_none())
        {
            let (stream, code) = (self.stream, Code::OK);
            tell(ops, Op::Abort { stream, code });
        }
    }
}
