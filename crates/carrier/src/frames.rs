//! HTTP/2's frames between the TLS stream and the `h2` crate, on the server's side.
//!
//! Three things are counted: bytes of answers that have not left, bytes of bodies that were not read, and bytes of no use. Where `h2`
//! differs from the imitated server, that server's part is played here: the first frames, which frames end a connection, and with
//! which code. `h2` buffers a frame until it is whole, so larger ones than 16 KiB are cut for it.

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

/// Bytes of answers on one connection that were read or given to `h2` and have not left.
pub(crate) const SEND_BUDGET: usize = 256 << 10;
/// Bytes of bodies on one connection that came and were not read; no more is read from the connection until they are.
pub(crate) const UNREAD_MAX: usize = 256 << 10;
/// Requests on one connection, as nginx has it (`keepalive_requests`).
pub(crate) const REQUESTS_MAX: u64 = 1000;
/// Bytes of one header section: nginx's 4 × 8k (`large_client_header_buffers`).
pub(crate) const HEADERS_MAX: usize = 32 << 10;

/// Bytes of one field's name or value, as nginx reads them.
pub(crate) const FIELD_MAX: usize = 8 << 10;

/// What a listener says first of itself over HTTP/2.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Http2Look {
    /// SETTINGS, in the order they are sent in.
    pub settings: Vec<(u16, u32)>,
    /// The increment of the connection's window that is sent right behind; 0: none.
    pub window: u32,
}

impl Http2Look {
    /// nginx 1.22, of Debian 12.
    #[must_use]
    pub fn nginx() -> Self {
        Self {
            settings: vec![(3, 128), (4, 65_536), (5, 16_777_215)],
            window: 0x7fff_0000,
        }
    }

    /// The value of a setting, where it is among them.
    #[must_use]
    pub fn setting(&self, id: u16) -> Option<u32> {
        let mut all = self.settings.iter().rev();
        all.find(|(i, _)| *i == id).map(|(_, value)| *value)
    }
}

/// Both directions' frames, and what is counted of them.
struct Frames {
    inbound: Inbound,
    outbound: Outbound,
    ledger: Ledger,
}

/// One connection's frames, for those who answer its requests.
#[derive(Clone)]
pub(crate) struct Wire {
    frames: Arc<Mutex<Frames>>,
    /// What is left of [`SEND_BUDGET`].
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

    /// Waits for room for so many bytes of an answer, [`SEND_BUDGET`] at most.
    pub(crate) async fn room(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let bytes = u32::try_from(bytes.min(SEND_BUDGET)).ok()?;
        self.budget.acquire_many(bytes).await.ok()
    }

    /// The next bytes of an answer, and room for so many as were asked for.
    pub(crate) async fn next(
        &self,
        body: &mut Body,
        most: usize,
    ) -> io::Result<Option<(Bytes, SemaphorePermit<'_>)>> {
        let most = u32::try_from(most.min(SEND_BUDGET)).unwrap_or(u32::MAX);
        body.next_within(&self.budget, most).await
    }

    /// So many bytes of this stream's answer were given to `h2`, in room that was waited for.
    pub(crate) fn gave(&self, stream: u32, bytes: usize, room: SemaphorePermit<'_>) {
        if self.frames().ledger.gave(stream, bytes) {
            room.forget();
        }
    }

    /// This stream carries a tunnel, which bounds itself.
    pub(crate) fn tunnel(&self, stream: u32) {
        self.frames().ledger.tunnel(stream);
    }

    /// So many bytes of a body were read.
    pub(crate) fn read(&self, stream: u32, bytes: usize) {
        self.frames().ledger.read(stream, bytes);
    }

    /// Nobody reads a body any more: what comes of it is dropped.
    pub(crate) fn unwanted(&self, stream: u32) {
        self.frames().ledger.unwanted(stream);
    }

    /// A stream's answer has this head: it is sent as nginx sends it. To be called before `h2` is given it.
    pub(crate) fn head(&self, stream: u32, head: &Parts) {
        let frames = &mut *self.frames();
        if frames.ledger.knows(stream) {
            let block = hpack::section(head);
            frames.outbound.section(&frames.ledger, stream, block);
        }
    }

    /// Takes no more requests, and says so with the next thing that is written.
    pub(crate) fn go_away(&self) {
        let frames = &mut *self.frames();
        frames
            .outbound
            .go_away(&mut frames.ledger, Reason::NO_ERROR);
    }

    /// Says goodbye to who has not sent its preface in time: what has come of it decides the reason, as in nginx.
    pub(crate) fn preface_is_late(&self) {
        let frames = &mut *self.frames();
        let why = if frames.inbound.is_fresh() {
            Reason::NO_ERROR
        } else {
            Reason::PROTOCOL_ERROR
        };
        frames.outbound.go_away(&mut frames.ledger, why);
    }

    /// Gives the connection up, for this reason.
    pub(crate) fn give_up(&self, why: Reason) {
        let frames = &mut *self.frames();
        frames.outbound.go_away(&mut frames.ledger, why);
        frames.ledger.give_up();
    }

    /// Whether the connection was ended since what came got nobody further.
    pub(crate) fn is_flooded(&self) -> bool {
        self.frames().ledger.flooded
    }

    /// Whether no more requests are taken.
    pub(crate) fn is_leaving(&self) -> bool {
        self.frames().ledger.leaving
    }
}

/// A stream for `h2`, whose frames are looked at.
pub(crate) struct Framed<T> {
    inner: T,
    wire: Wire,
    /// What a read became where it could not be handed on as it was.
    scratch: BytesMut,
}

impl<T: AsyncWrite + Unpin> Framed<T> {
    /// Writes what is to be said beside what `h2` says.
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

    /// Says what is to be said last; what the socket does not take now is not waited for.
    fn given_up(&mut self, cx: &mut Context<'_>) -> io::Error {
        let _ = self.poll_own(cx);
        io::ErrorKind::InvalidData.into()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Framed<T> {
    /// Reads once, into what is given or, where it is not handed on as it came, into `scratch`. Whether there is more to come.
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
        // A frame's header is handed on whole.
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

/// What is kept of a header has to find room beside something of what comes.
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
            // A frame that is not sent as it is: taken whole first.
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
