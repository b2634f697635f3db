//! HTTP/2 frames between the TLS stream and the `h2` crate, server side.
//!
//! Three quantities are counted: unsent answer bytes, unread body bytes, and useless bytes. Where `h2` differs from the
//! imitated server, this module imitates that server: the first frames, the frames that end a connection, and the error codes.
//! `h2` buffers a frame until it is whole, so frames above 16 KiB are cut for it.

mod head;
mod hpack;
mod inbound;
mod ledger;
mod outbound;

use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use h2::Reason;
use http::response::Parts;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, SemaphorePermit};

pub(crate) use crate::progress::Progress;
use inbound::Inbound;
use ledger::Ledger;
use outbound::Outbound;

use crate::cover::Body;

/// Maximum number of answer bytes on one connection that were read or given to `h2` and not yet sent.
pub(crate) const SEND_BUDGET: usize = 256 << 10;
/// Maximum number of unread body bytes on one connection; above it, the connection is not read.
pub(crate) const UNREAD_MAX: usize = 256 << 10;
/// Maximum number of requests on one connection, as in nginx (`keepalive_requests`).
pub(crate) const REQUESTS_MAX: u64 = 1000;
/// Maximum size of one header section in bytes: nginx's 4 × 8k (`large_client_header_buffers`).
pub(crate) const HEADERS_MAX: usize = 32 << 10;

/// Maximum length of one field's name or value in bytes, as in nginx.
pub(crate) const FIELD_MAX: usize = 8 << 10;

/// First HTTP/2 frames that a listener sends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Http2Look {
    /// SETTINGS in the order sent.
    pub settings: Vec<(u16, u32)>,
    /// Increment of the connection's window, sent right after SETTINGS; 0 for none.
    pub window: u32,
}

impl Http2Look {
    /// Frames of nginx 1.22 of Debian 12.
    #[must_use]
    pub fn nginx() -> Self {
        Self {
            settings: vec![(3, 128), (4, 65_536), (5, 16_777_215)],
            window: 0x7fff_0000,
        }
    }

    /// The value of a setting, if present.
    #[must_use]
    pub fn setting(&self, id: u16) -> Option<u32> {
        let mut all = self.settings.iter().rev();
        all.find(|(i, _)| *i == id).map(|(_, value)| *value)
    }
}

/// Frames of both directions, and their counters.
struct Frames {
    inbound: Inbound,
    outbound: Outbound,
    ledger: Ledger,
}

/// One connection's frames, for the tasks that answer its requests.
#[derive(Clone)]
pub(crate) struct Wire {
    frames: Arc<Mutex<Frames>>,
    /// Remaining part of [`SEND_BUDGET`].
    budget: Arc<Semaphore>,
}

impl Wire {
    pub(crate) fn new(look: &Http2Look, hands_on: bool, unsent: Arc<AtomicU64>) -> Self {
        let budget = Arc::new(Semaphore::new(SEND_BUDGET));
        let frames = Frames {
            inbound: Inbound::default(),
            outbound: Outbound::new(look),
            ledger: Ledger::new(Arc::clone(&budget), hands_on, unsent),
        };
        Self {
            frames: Arc::new(Mutex::new(frames)),
            budget,
        }
    }

    fn frames(&self) -> MutexGuard<'_, Frames> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn over<T>(&self, inner: T) -> Framed<T> {
        Framed {
            inner,
            wire: self.clone(),
            scratch: BytesMut::new(),
        }
    }

    /// Waits for room for this many answer bytes, [`SEND_BUDGET`] at most.
    pub(crate) async fn room(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let bytes = u32::try_from(bytes.min(SEND_BUDGET)).ok()?;
        self.budget.acquire_many(bytes).await.ok()
    }

    /// The next bytes of an answer, with room for the requested number.
    pub(crate) async fn next(
        &self,
        body: &mut Body,
        most: usize,
    ) -> io::Result<Option<(Bytes, SemaphorePermit<'_>)>> {
        let most = u32::try_from(most.min(SEND_BUDGET)).unwrap_or(u32::MAX);
        body.next_within(&self.budget, most).await
    }

    /// Records that answer bytes of this stream were given to `h2`, with the room that was acquired for them.
    pub(crate) fn gave(&self, stream: u32, bytes: usize, room: SemaphorePermit<'_>) {
        if self.frames().ledger.gave(stream, bytes) {
            room.forget();
        }
    }

    /// Records that this stream carries a tunnel, which bounds itself.
    pub(crate) fn tunnel(&self, stream: u32) {
        self.frames().ledger.tunnel(stream);
    }

    /// Records that body bytes were read.
    pub(crate) fn read(&self, stream: u32, bytes: usize) {
        self.frames().ledger.read(stream, bytes);
    }

    /// Records that nobody reads a body any more: further data of it is dropped.
    pub(crate) fn unwanted(&self, stream: u32) {
        self.frames().ledger.unwanted(stream);
    }

    /// Sets the head of a stream's answer, to be sent in nginx's form. Call this before `h2` gets the head.
    pub(crate) fn head(&self, stream: u32, head: &Parts) {
        let frames = &mut *self.frames();
        if frames.ledger.knows(stream) {
            let block = hpack::section(head);
            frames.outbound.section(&frames.ledger, stream, block);
        }
    }

    /// Accepts no more requests, and sends GOAWAY with the next write.
    pub(crate) fn go_away(&self) {
        let frames = &mut *self.frames();
        frames
            .outbound
            .go_away(&mut frames.ledger, Reason::NO_ERROR);
    }

    /// Closes a connection whose preface is late; the bytes received so far decide the error code, as in nginx.
    pub(crate) fn preface_is_late(&self) {
        let frames = &mut *self.frames();
        let why = if frames.inbound.is_fresh() {
            Reason::NO_ERROR
        } else {
            Reason::PROTOCOL_ERROR
        };
        frames.outbound.go_away(&mut frames.ledger, why);
    }

    /// Aborts the connection with this error code.
    pub(crate) fn give_up(&self, why: Reason) {
        let frames = &mut *self.frames();
        frames.outbound.go_away(&mut frames.ledger, why);
        frames.ledger.give_up();
    }

    /// Whether the connection was closed as a flood of useless bytes.
    pub(crate) fn is_flooded(&self) -> bool {
        self.frames().ledger.flooded
    }

    /// Whether no more requests are accepted.
    pub(crate) fn is_leaving(&self) -> bool {
        self.frames().ledger.leaving
    }
}

/// A stream for `h2`, whose frames are inspected.
pub(crate) struct Framed<T> {
    inner: T,
    wire: Wire,
    /// Replacement of input that could not be passed on unchanged.
    scratch: BytesMut,
}

impl<T: AsyncWrite + Unpin> Framed<T> {
    /// Writes this module's own frames.
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let frames = &mut *self.wire.frames();
        while let Some(own) = frames.outbound.own() {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, own))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            own.advance(n);
            if own.is_empty() {
                *own = BytesMut::new();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the last frames; does not wait for the socket.
    fn given_up(&mut self, cx: &mut Context<'_>) -> io::Error {
        let _ = self.poll_own(cx);
        io::ErrorKind::InvalidData.into()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Framed<T> {
    /// Reads once, into the caller's buffer or, if the input must change, into `scratch`. Returns whether there is more to come.
    fn poll_into(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let mut guard = self.wire.frames();
        let frames = &mut *guard;
        let opened = frames.outbound.has_window();
        if ready!(frames.ledger.poll_may_read(cx, opened)).is_err() {
            drop(guard);
            return Poll::Ready(Err(self.given_up(cx)));
        }
        let start = into.filled().len();
        // A frame's header is passed on whole.
        into.put_slice(frames.inbound.begun());
        let before = into.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, into);
        let came = into.filled().len() - before;
        if came == 0 || !matches!(read, Poll::Ready(Ok(()))) {
            into.set_filled(start);
            return read.map_ok(|()| false);
        }
        frames.ledger.came(came);
        let input = &into.filled()[start..];
        let taken = frames
            .inbound
            .take(input, &mut frames.ledger, &mut self.scratch);
        match taken {
            Ok(same) => into.set_filled(start + same.unwrap_or_default()),
            Err(reason) => {
                frames.outbound.go_away(&mut frames.ledger, reason);
                drop(guard);
                return Poll::Ready(Err(self.given_up(cx)));
            }
        }
        if frames.ledger.is_full() {
            frames
                .outbound
                .go_away(&mut frames.ledger, Reason::NO_ERROR);
        }
        Poll::Ready(Ok(true))
    }
}

/// Room for a retained header and some of the input.
const LITTLE: usize = 64;

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Framed<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.scratch.is_empty() {
                let n = this.scratch.len().min(buf.remaining());
                buf.put_slice(&this.scratch[..n]);
                this.scratch.advance(n);
                if this.scratch.is_empty() {
                    this.scratch = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            let before = buf.filled().len();
            let more = if buf.remaining() < LITTLE {
                let mut little = [0; LITTLE];
                let mut own = ReadBuf::new(&mut little);
                let more = ready!(this.poll_into(cx, &mut own))?;
                this.scratch.extend_from_slice(own.filled());
                more
            } else {
                ready!(this.poll_into(cx, buf))?
            };
            if !more || buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Framed<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_own(cx))?;
        let mut guard = this.wire.frames();
        let frames = &mut *guard;
        let all: usize = bufs.iter().map(|b| b.len()).sum();
        let plain = frames.outbound.plain(bufs);
        if plain == 0 {
            // A frame that is replaced: collect it whole first.
            let first = bufs.iter().find(|b| !b.is_empty());
            let n = first.map_or(0, |b| frames.outbound.hold(b, &mut frames.ledger));
            return Poll::Ready(Ok(n));
        }
        let inner = Pin::new(&mut this.inner);
        let n = if plain == all {
            ready!(inner.poll_write_vectored(cx, bufs))?
        } else {
            let first = bufs.iter().find(|b| !b.is_empty());
            let first = first.map_or(&[][..], |b| &b[..b.len().min(plain)]);
            ready!(inner.poll_write(cx, first))?
        };
        frames.outbound.passed(bufs, n, &mut frames.ledger);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_own(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_own(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
