//! QUIC streams for HTTP/3 on the server's side, with their input counted.
//!
//! `h3` buffers a frame of any length until it is complete, and reads useless frames endlessly. This module bounds both.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use h3::error::Code;
use h3::quic::{
    BidiStream, Connection, ConnectionErrorIncoming, OpenStreams, RecvStream, SendStream,
    SendStreamUnframed as _, StreamErrorIncoming, StreamId, WriteBuf,
};

/// Number of tolerated bytes that are useless, or not yet useful: control streams, unknown frames, incomplete frames and header
/// sections.
const IDLE_BYTES: u64 = 256 << 10;
/// Further tolerated bytes, plus one in eight of the useful ones.
const MORE_BYTES: u64 = 768 << 10;

/// Overhead counted for a frame beside its payload.
const AROUND: usize = 32;

/// Counters of one connection.
#[derive(Default)]
pub(super) struct Ledger {
    read: AtomicU64,
    useful: AtomicU64,
    /// Handle to abort the connection, and whether it was aborted.
    quic: OnceLock<quinn::Connection>,
    given_up: AtomicBool,
    /// Streams whose next frame is kept until the one after it.
    keeps: Mutex<Vec<StreamId>>,
}

impl Ledger {
    pub(super) fn new(quic: quinn::Connection) -> Arc<Self> {
        let this = Self::default();
        let _ = this.quic.set(quic);
        Arc::new(this)
    }

    /// Counts useful input: a header section or a piece of a body, with its overhead.
    pub(super) fn useful(&self, bytes: usize) {
        self.useful
            .fetch_add((bytes + AROUND) as u64, Ordering::Relaxed);
    }

    /// Keeps the next output of this stream until the output after it.
    pub(super) fn keep(&self, stream: StreamId) {
        let mut keeps = self.keeps.lock().unwrap_or_else(PoisonError::into_inner);
        keeps.push(stream);
    }

    /// Whether the stream was marked so, once.
    fn keeps(&self, stream: StreamId) -> bool {
        let mut keeps = self.keeps.lock().unwrap_or_else(PoisonError::into_inner);
        let at = keeps.iter().position(|s| *s == stream);
        at.map(|at| keeps.swap_remove(at)).is_some()
    }

    pub(super) fn useful_bytes(&self) -> u64 {
        self.useful.load(Ordering::Relaxed)
    }

    /// Aborts a connection with too much useless input.
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

    /// Counts input; returns whether it is tolerated.
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

/// A connection, or an opener of its streams.
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

/// A stream with counted input.
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

/// Direction of an answer. A tunnel's head is kept until later output can leave with it.
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
