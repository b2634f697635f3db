//! QUIC's streams as HTTP/3 has them on the server's side, with what is read of them counted.
//!
//! `h3` buffers a frame until all of it has come, however long that is, and reads frames of no use without end. Both are bounded here.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use h3::error::Code;
use h3::quic::{
    BidiStream, Connection, ConnectionErrorIncoming, OpenStreams, RecvStream, SendStream,
    SendStreamUnframed as _, StreamErrorIncoming, StreamId, WriteBuf,
};

/// Bytes that were read and are of no use, or not yet: control streams, unknown frames, frames and header sections that are not whole.
const IDLE_BYTES: u64 = 256 << 10;
/// So much more, as one in eight of those that did get somebody further.
const MORE_BYTES: u64 = 768 << 10;

/// What a frame costs beside its payload, and as much again.
const AROUND: usize = 32;

/// What is counted of a connection.
#[derive(Default)]
pub(super) struct Ledger {
    read: AtomicU64,
    useful: AtomicU64,
    /// How the connection is given up, and whether it was.
    quic: OnceLock<quinn::Connection>,
    given_up: AtomicBool,
    /// Streams whose next frame is kept for the one behind it.
    keeps: Mutex<Vec<StreamId>>,
}

impl Ledger {
    pub(super) fn new(quic: quinn::Connection) -> Arc<Self> {
        let this = Self::default();
        let _ = this.quic.set(quic);
        Arc::new(this)
    }

    /// So much of what was read was of use to somebody: a header section, or a piece of a body, with what was around it.
    pub(super) fn useful(&self, bytes: usize) {
        self.useful
            .fetch_add((bytes + AROUND) as u64, Ordering::Relaxed);
    }

    /// What is sent next on this stream leaves with what is sent behind it.
    pub(super) fn keep(&self, stream: StreamId) {
        let mut keeps = self.keeps.lock().unwrap_or_else(PoisonError::into_inner);
        keeps.push(stream);
    }

    /// Whether it was told so, once.
    fn keeps(&self, stream: StreamId) -> bool {
        let mut keeps = self.keeps.lock().unwrap_or_else(PoisonError::into_inner);
        let at = keeps.iter().position(|s| *s == stream);
        at.map(|at| keeps.swap_remove(at)).is_some()
    }

    pub(super) fn useful_bytes(&self) -> u64 {
        self.useful.load(Ordering::Relaxed)
    }

    /// Gives the connection up, which took too much for too little.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
        if let Some(quic) = self.quic.get() {
            let code = quinn::VarInt::from_u64(Code::H3_EXCESSIVE_LOAD.value());
            quic.close(code.unwrap_or_default(), b"");
        }
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Counts what was read; whether it is borne with.
    fn came(&self, bytes: usize) -> bool {
        let read = self.read.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        let useful = self.useful_bytes();
        let good = read.saturating_sub(useful) <= IDLE_BYTES + (useful / 8).min(MORE_BYTES);
        if !good {
            self.give_up();
        }
        good
    }
}

/// A connection, or who opens streams of one.
pub(super) struct Counted<C> {
    inner: C,
    ledger: Arc<Ledger>,
}

impl<C> Counted<C> {
    pub(super) const fn new(inner: C, ledger: Arc<Ledger>) -> Self {
        Self { inner, ledger }
    }

    fn counted<S>(&self, inner: S) -> CountedStream<S> {
        CountedStream {
            inner,
            ledger: Arc::clone(&self.ledger),
        }
    }
}

/// A stream, whose bytes are counted as they are read.
pub(super) struct CountedStream<S> {
    inner: S,
    ledger: Arc<Ledger>,
}

impl<S: RecvStream> RecvStream for CountedStream<S> {
    type Buf = S::Buf;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Self::Buf>, StreamErrorIncoming>> {
        let data = self.inner.poll_data(cx);
        if let Poll::Ready(Ok(Some(bytes))) = &data
            && !self.ledger.came(bytes.remaining())
        {
            let connection_error = ConnectionErrorIncoming::ApplicationClose {
                error_code: Code::H3_EXCESSIVE_LOAD.value(),
            };
            let error = StreamErrorIncoming::ConnectionErrorIncoming { connection_error };
            return Poll::Ready(Err(error));
        }
        data
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.inner.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.inner.recv_id()
    }
}

impl<S: SendStream<Bytes>> SendStream<Bytes> for CountedStream<S> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.inner.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.inner.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.inner.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.inner.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.inner.send_id()
    }
}

impl BidiStream<Bytes> for CountedStream<h3_quinn::BidiStream<Bytes>> {
    type SendStream = Together;
    type RecvStream = CountedStream<h3_quinn::RecvStream>;

    fn split(self) -> (Self::SendStream, Self::RecvStream) {
        let (send, inner) = self.inner.split();
        let ledger = self.ledger;
        let send = Together {
            inner: send,
            ledger: Arc::clone(&ledger),
            kept: BytesMut::new(),
            waits: false,
        };
        (send, CountedStream { inner, ledger })
    }
}

/// An answer's direction. The head of a tunnel's is kept until what comes next can leave with it.
pub(super) struct Together {
    inner: h3_quinn::SendStream<Bytes>,
    ledger: Arc<Ledger>,
    kept: BytesMut,
    waits: bool,
}

impl Together {
    fn poll_kept(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while !self.kept.is_empty() {
            ready!(self.inner.poll_send(cx, &mut self.kept))?;
        }
        self.kept = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

impl SendStream<Bytes> for Together {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        if self.waits {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_kept(cx))?;
        self.inner.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        let before = std::mem::replace(&mut self.waits, self.ledger.keeps(self.inner.send_id()));
        if before || self.waits {
            self.kept.put(data.into());
            return Ok(());
        }
        self.inner.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.waits = false;
        ready!(self.poll_kept(cx))?;
        self.inner.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.inner.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.inner.send_id()
    }
}

impl<C> OpenStreams<Bytes> for Counted<C>
where
    C: OpenStreams<Bytes, BidiStream = h3_quinn::BidiStream<Bytes>>,
{
    type BidiStream = CountedStream<h3_quinn::BidiStream<Bytes>>;
    type SendStream = C::SendStream;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, StreamErrorIncoming>> {
        let opened = self.inner.poll_open_bidi(cx);
        opened.map_ok(|s| self.counted(s))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        self.inner.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.inner.close(code, reason);
    }
}

impl Connection<Bytes> for Counted<h3_quinn::Connection> {
    type RecvStream = CountedStream<h3_quinn::RecvStream>;
    type OpenStreams = Counted<h3_quinn::OpenStreams>;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::RecvStream, ConnectionErrorIncoming>> {
        let accepted = Connection::<Bytes>::poll_accept_recv(&mut self.inner, cx);
        accepted.map_ok(|s| self.counted(s))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::BidiStream, ConnectionErrorIncoming>> {
        let accepted = Connection::<Bytes>::poll_accept_bidi(&mut self.inner, cx);
        accepted.map_ok(|s| self.counted(s))
    }

    fn opener(&self) -> Self::OpenStreams {
        let opener = Connection::<Bytes>::opener(&self.inner);
        Counted::new(opener, Arc::clone(&self.ledger))
    }
}
