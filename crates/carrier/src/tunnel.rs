use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream, client};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::shared::Records;
use crate::{Carrier, Error, Reads, Received};

/// Received bytes after which the connection's window is enlarged: a connection with little traffic looks like any other.
const MUCH: usize = 64 << 10;
/// Maximum number of bytes in a client's DATA frame, as in browsers, whatever a server allows.
const FRAME: usize = 16 << 10;
/// Longest piece that is gathered with others: beyond, a copy costs more than a frame.
const SHORT: usize = 4 << 10;
/// Number of bytes of credit to request when there is none.
const ROOM: usize = 64 << 10;

type Exporter = Box<dyn Fn(&str, &[u8], &mut [u8]) -> Result<(), Error> + Send>;
type Push = Box<dyn FnMut(&mut Context<'_>) + Send>;
type Drive = Pin<Box<dyn Future<Output = Result<(), h2::Error>> + Send>>;

enum Incoming {
    /// The client waits for the answer to its POST.
    Waiting(client::ResponseFuture),
    Body(RecvStream),
    /// Bytes that the server read beyond message 1, before the rest.
    First(Bytes, RecvStream),
    Ended,
}

/// State of one side only.
enum Side {
    Client {
        /// The HTTP/2 connection, driven by the session's task until it is over.
        drive: Option<Drive>,
        push: Push,
        requests: client::SendRequest<Bytes>,
        going_away: bool,
    },
    Server {
        /// Tells the connection to send GOAWAY.
        go_away: Arc<Notify>,
        /// Tells the connection that much data comes in.
        much: Arc<Notify>,
    },
}

/// A tunnel within an HTTP/2 request.
pub(crate) struct H2Tunnel {
    incoming: Incoming,
    outgoing: SendStream<Bytes>,
    /// Short pieces of this turn. They go into one DATA frame, and so into one TLS record, instead of one for each of the session's
    /// frames.
    gathered: BytesMut,
    /// Bytes accepted but not yet given to HTTP/2 for lack of credit.
    waiting: Bytes,
    /// Whether something was sent since the connection's last turn.
    sent: bool,
    ended: bool,
    exporter: Exporter,
    records: Box<dyn Records>,
    /// Number of received bytes, until it shows that this tunnel takes much.
    came: usize,
    side: Side,
}

impl H2Tunnel {
    pub(crate) fn client(
        response: client::ResponseFuture,
        outgoing: SendStream<Bytes>,
        requests: client::SendRequest<Bytes>,
        drive: Drive,
        push: Push,
        exporter: Exporter,
        records: Box<dyn Records>,
    ) -> Self {
        let side = Side::Client {
            drive: Some(drive),
            push,
            requests,
            going_away: false,
        };
        Self::new(
            Incoming::Waiting(response),
            outgoing,
            exporter,
            records,
            side,
        )
    }

    pub(crate) fn server(
        first: Bytes,
        body: RecvStream,
        outgoing: SendStream<Bytes>,
        go_away: Arc<Notify>,
        much: Arc<Notify>,
        exporter: Exporter,
        records: Box<dyn Records>,
    ) -> Self {
        let incoming = if first.is_empty() {
            Incoming::Body(body)
        } else {
            Incoming::First(first, body)
        };
        let side = Side::Server { go_away, much };
        Self::new(incoming, outgoing, exporter, records, side)
    }

    fn new(
        incoming: Incoming,
        outgoing: SendStream<Bytes>,
        exporter: Exporter,
        records: Box<dyn Records>,
        side: Side,
    ) -> Self {
        Self {
            incoming,
            outgoing,
            gathered: BytesMut::new(),
            waiting: Bytes::new(),
            sent: false,
            ended: false,
            exporter,
            records,
            came: 0,
            side,
        }
    }

    /// Drives the connection; fails when it is over.
    fn drive(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.sent = false;
        while let Side::Client { drive, .. } = &mut self.side {
            let Some(connection) = drive else {
                return Err(Error::Gone);
            };
            if let Poll::Ready(done) = connection.as_mut().poll(cx) {
                *drive = None;
                done?;
                return Err(Error::Gone);
            }
            // The connection's turn may have brought credit for the waiting bytes.
            if self.waiting.is_empty() || self.outgoing.capacity() == 0 {
                break;
            }
            let _ = self.poll_waiting(cx)?;
        }
        Ok(())
    }

    /// Gives HTTP/2 bytes for which it has credit.
    fn give(&mut self, mut bytes: Bytes) -> Result<(), h2::Error> {
        while matches!(self.side, Side::Client { .. }) && bytes.len() > FRAME {
            self.outgoing.send_data(bytes.split_to(FRAME), false)?;
        }
        self.outgoing.send_data(bytes, false)
    }

    /// Gives HTTP/2 bytes at once if the peer's credit allows, and keeps them otherwise. Nothing waits before this call.
    fn give_or_wait(&mut self, bytes: Bytes) -> Result<(), h2::Error> {
        if self.outgoing.capacity() < bytes.len() {
            self.outgoing.reserve_capacity(bytes.len().max(ROOM));
        }
        if self.outgoing.capacity() >= bytes.len() {
            return self.give(bytes);
        }
        self.waiting = bytes;
        Ok(())
    }

    /// Gives HTTP/2 what was gathered. While bytes wait for credit, nothing is gathered.
    fn give_gathered(&mut self) -> Result<(), h2::Error> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.gathered).freeze();
        self.give_or_wait(bytes)
    }

    /// Gives HTTP/2 the waiting bytes as far as credit allows, and the end after all bytes.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            while !self.waiting.is_empty() {
                let room = self.outgoing.capacity();
                if room > 0 {
                    let part = self.waiting.split_to(room.min(self.waiting.len()));
                    self.give(part)?;
                    continue;
                }
                self.outgoing.reserve_capacity(self.waiting.len().max(ROOM));
                if self.outgoing.capacity() > 0 {
                    continue;
                }
                match ready!(self.outgoing.poll_capacity(cx)) {
                    Some(Ok(_)) => {}
                    Some(Err(e)) => return Poll::Ready(Err(e.into())),
                    None => return Poll::Ready(Err(Error::Gone)),
                }
            }
            if !self.ended {
                return Poll::Ready(Ok(()));
            }
            if self.gathered.is_empty() {
                self.ended = false;
                self.outgoing.send_data(Bytes::new(), true)?;
                return Poll::Ready(Ok(()));
            }
            self.give_gathered()?;
        }
    }
}

impl Carrier for H2Tunnel {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, Error>> {
        let driven = self.drive(cx);
        loop {
            match &mut self.incoming {
                Incoming::Waiting(response) => match response.poll_unpin(cx) {
                    Poll::Ready(Ok(answer)) if answer.status() == http::StatusCode::OK => {
                        self.incoming = Incoming::Body(answer.into_body());
                    }
                    Poll::Ready(Ok(answer)) => {
                        let status = answer.status().as_u16();
                        return Poll::Ready(Err(Error::NotATunnel { status }));
                    }
                    Poll::Ready(Err(e)) => return Poll::Ready(Err(e.into())),
                    Poll::Pending => break,
                },
                Incoming::First(..) => {
                    let Incoming::First(first, body) =
                        std::mem::replace(&mut self.incoming, Incoming::Ended)
                    else {
                        continue;
                    };
                    self.incoming = Incoming::Body(body);
                    return Poll::Ready(Ok(Received::Bytes(first)));
                }
                Incoming::Body(body) => match body.poll_data(cx) {
                    Poll::Ready(Some(Ok(bytes))) => {
                        // The session bounds its memory by its own credit.
                        body.flow_control().release_capacity(bytes.len())?;
                        let before = self.came;
                        self.came = self.came.saturating_add(bytes.len());
                        if let Side::Server { much, .. } = &self.side
                            && before < MUCH
                            && self.came >= MUCH
                        {
                            much.notify_one();
                        }
                        return Poll::Ready(Ok(Received::Bytes(bytes)));
                    }
                    Poll::Ready(Some(Err(e))) => return Poll::Ready(Err(e.into())),
                    Poll::Ready(None) => {
                        self.incoming = Incoming::Ended;
                        return Poll::Ready(Ok(Received::End));
                    }
                    Poll::Pending => break,
                },
                Incoming::Ended => break,
            }
        }
        driven?;
        if let Side::Client {
            requests,
            going_away: told @ false,
            ..
        } = &mut self.side
            && matches!(self.incoming, Incoming::Body(_))
            && let Poll::Ready(Err(_)) = requests.poll_ready(cx)
        {
            *told = true;
            return Poll::Ready(Ok(Received::GoAway));
        }
        Poll::Pending
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_waiting(cx)
    }

    fn send(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.sent = true;
        let fits = bytes.len() <= SHORT && self.gathered.len() + bytes.len() <= FRAME;
        // Nothing is gathered while bytes wait, so that none overtakes another.
        if fits && self.waiting.is_empty() {
            self.gathered.extend_from_slice(&bytes);
            return Ok(());
        }
        self.give_gathered()?;
        if !self.waiting.is_empty() {
            // There was no credit for the bytes before.
            let mut all = BytesMut::from(std::mem::take(&mut self.waiting));
            all.extend_from_slice(&bytes);
            self.waiting = all.freeze();
        } else if bytes.len() <= SHORT {
            self.gathered.extend_from_slice(&bytes);
        } else {
            self.give_or_wait(bytes)?;
        }
        Ok(())
    }

    fn push(&mut self, cx: &mut Context<'_>) {
        // A connection that is over reports that when asked next.
        let _ = self.give_gathered();
        // Without credit, this registers the task that credit wakes.
        let _ = self.poll_waiting(cx);
        if self.sent {
            // The last bytes should go along; a connection that is over reports that when asked next.
            let _ = self.drive(cx);
        }
        // A server's connection pushes after its own turn, which sent bytes trigger.
        if let Side::Client { push, .. } = &mut self.side {
            push(cx);
        }
    }

    fn cut(&mut self, plaintexts: &[usize]) {
        // These lengths do not cut bytes that were sent before.
        let _ = self.give_gathered();
        self.records.cut(plaintexts);
    }

    fn reads(&mut self, reads: Reads) {
        self.records.reads(reads);
    }

    fn heard(&self) -> Option<Instant> {
        self.records.heard()
    }

    fn leaves(&mut self, when: Option<(Instant, Duration)>) -> bool {
        self.records.leaves(when)
    }

    fn end(&mut self) {
        self.ended = true;
    }

    fn reset(&mut self) {
        self.waiting = Bytes::new();
        self.gathered = BytesMut::new();
        self.outgoing.send_reset(Reason::CANCEL);
    }

    fn go_away(&mut self) {
        // HTTP/2 clients need no announcement: they open no more requests.
        if let Side::Server { go_away, .. } = &self.side {
            go_away.notify_one();
        }
    }

    fn export_as(&self, label: &str, context: &[u8], out: &mut [u8]) -> Result<(), Error> {
        (self.exporter)(label, context, out)
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let _ = self.give_gathered();
        let sent = self.poll_waiting(cx);
        let driven = self.drive(cx);
        self.push(cx);
        if driven.is_err() || matches!(sent, Poll::Ready(Err(_))) {
            return Poll::Ready(());
        }
        match (&mut self.incoming, sent) {
            // The peer's end confirms that ours has arrived.
            (Incoming::Body(body), Poll::Ready(Ok(()))) => loop {
                match ready!(body.poll_data(cx)) {
                    Some(Ok(bytes)) => {
                        let _ = body.flow_control().release_capacity(bytes.len());
                    }
                    Some(Err(_)) | None => return Poll::Ready(()),
                }
            },
            (_, Poll::Ready(_)) => Poll::Ready(()),
            (_, Poll::Pending) => Poll::Pending,
        }
    }
}

use futures_util::FutureExt as _;

#[cfg(test)]
mod tests;
