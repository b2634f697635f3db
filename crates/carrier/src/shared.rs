use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use rustls::ConnectionCommon;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_rustls::server;

use crate::jitter::Jittered;
use crate::link::Link;
use crate::{Error, Reads, Secure};

/// A TLS stream with holdable writes.
pub(crate) trait Tls: AsyncRead + AsyncWrite + Unpin {
    /// Sets whether the output of TLS is kept in a buffer.
    fn hold(&mut self, held: bool);

    /// See [`crate::Carrier::reads`].
    fn reads(&mut self, reads: Reads) {
        let _ = reads;
    }

    /// See [`crate::Carrier::heard`].
    fn heard(&self) -> Option<Instant> {
        None
    }

    /// See [`crate::Carrier::leaves`].
    fn leaves(&mut self, when: Option<(Instant, Duration)>) -> bool {
        let _ = when;
        false
    }

    /// Sends later writes without jitter.
    fn free(&mut self) {}

    /// Number of bytes that the socket has accepted, if counted.
    fn wrote(&self) -> u64 {
        0
    }

    /// Enlarges the buffer if possible; returns the maximum number of buffered plaintext bytes.
    fn deepen(&mut self) -> usize {
        HELD
    }
}

impl Tls for Box<dyn Secure> {
    fn hold(&mut self, held: bool) {
        (**self).hold(held);
    }

    fn reads(&mut self, reads: Reads) {
        (**self).reads(reads);
    }

    fn heard(&self) -> Option<Instant> {
        (**self).heard()
    }

    fn leaves(&mut self, when: Option<(Instant, Duration)>) -> bool {
        (**self).leaves(when)
    }
}

impl Tls for server::TlsStream<Link<Jittered>> {
    fn hold(&mut self, held: bool) {
        self.get_mut().0.hold(held);
    }

    fn leaves(&mut self, when: Option<(Instant, Duration)>) -> bool {
        if let Some((then, _)) = when {
            self.get_mut().0.socket().leaves(then);
        }
        true
    }

    fn free(&mut self) {
        self.get_mut().0.socket().free();
    }

    fn wrote(&self) -> u64 {
        self.get_ref().0.wrote()
    }

    fn deepen(&mut self) -> usize {
        // The overhead of TLS is less than a quarter, except for a flight of the smallest records.
        self.get_mut().1.set_buffer_limit(Some(DEEP + DEEP / 4));
        DEEP
    }
}

struct Inner<T> {
    tls: T,
    /// Whether TLS holds records back.
    waiting: bool,
    /// Whether the socket accepted less than it was given last.
    blocked: bool,
    /// Number of plaintext bytes in the held records, and its maximum.
    held: usize,
    room: usize,
    /// Record lengths to cut, with the bytes that wait for cutting.
    cuts: Option<Cuts>,
}

#[derive(Default)]
struct Cuts {
    plaintexts: VecDeque<usize>,
    waiting: BytesMut,
}

/// Number of bytes that TLS holds back when records are cut: its buffer has 64 KiB, for ciphertext.
const HELD: usize = 48 << 10;
/// The same if the buffer can be enlarged: a flight leaves in one write.
const DEEP: usize = 256 << 10;
/// Maximum number of bytes that wait to be cut; more leave uncut.
const UNCUT: usize = 256 << 10;

impl<T: Tls> Inner<T> {
    /// Keeps bytes until the next push.
    fn keep(&mut self, bytes: &[u8]) -> bool {
        match &mut self.cuts {
            Some(cuts) if cuts.waiting.len() < UNCUT => {
                cuts.waiting.extend_from_slice(bytes);
                true
            }
            _ => false,
        }
    }

    /// Keeps bytes after writing whole records to make room; returns `false` if records are not cut.
    fn poll_kept(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<bool>> {
        if !self.keep(bytes) {
            ready!(self.poll_cut(cx, true))?;
            return Poll::Ready(Ok(self.keep(bytes)));
        }
        Poll::Ready(Ok(true))
    }

    /// Gives the kept bytes to TLS, one record per piece; `whole` keeps back an incomplete record.
    fn poll_cut(&mut self, cx: &mut Context<'_>, whole: bool) -> Poll<io::Result<()>> {
        while let Some(cuts) = &self.cuts
            && !cuts.waiting.is_empty()
        {
            let piece = cuts
                .plaintexts
                .front()
                .copied()
                .unwrap_or(cuts.waiting.len());
            if whole && piece > cuts.waiting.len() {
                break;
            }
            let piece = cuts.waiting[..piece.min(cuts.waiting.len())].to_vec();
            // TLS would take part of an excess piece as a record of its own.
            if self.held + piece.len() > self.room {
                ready!(self.poll_release(cx))?;
            }
            let n = ready!(self.poll_write(cx, |tls, cx| tls.poll_write(cx, &piece)))?;
            if let Some(cuts) = &mut self.cuts {
                cuts.waiting.advance(n);
                match cuts.plaintexts.front_mut() {
                    Some(left) if *left > n => *left -= n,
                    _ => drop(cuts.plaintexts.pop_front()),
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the held records.
    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_cut(cx, false))?;
        self.poll_release(cx)
    }

    fn poll_release(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting {
            self.tls.hold(false);
            self.blocked = true;
            ready!(Pin::new(&mut self.tls).poll_flush(cx))?;
            self.blocked = false;
            self.waiting = false;
            self.held = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes as much as TLS has room for; the socket is used only if there is none.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(Pin<&mut T>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        for _ in 0..2 {
            self.tls.hold(true);
            self.waiting = true;
            let written = write(Pin::new(&mut self.tls), cx);
            if let Poll::Ready(Ok(n)) = written {
                self.held += n;
            }
            if written.is_ready() {
                return written;
            }
            ready!(self.poll_release(cx))?;
        }
        Poll::Ready(Err(io::ErrorKind::WriteZero.into()))
    }
}

/// A TLS stream with one handle for HTTP/2 and another for the exporter. Output of HTTP/2 waits for [`Shared::push`], so that a
/// task's turn is one write to the socket and not one per frame.
pub(crate) struct Shared<T>(Arc<Mutex<Inner<T>>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    pub(crate) fn new(tls: T) -> Self {
        let inner = Inner {
            tls,
            waiting: false,
            blocked: false,
            held: 0,
            room: HELD,
            cuts: None,
        };
        Self(Arc::new(Mutex::new(inner)))
    }

    pub(crate) fn with<O>(&self, f: impl FnOnce(&mut T) -> O) -> O {
        self.inner(|inner| f(&mut inner.tls))
    }

    fn inner<O>(&self, f: impl FnOnce(&mut Inner<T>) -> O) -> O {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T: Tls> Shared<T> {
    /// Sends the written bytes; those that the socket refuses now are retried when `cx` wakes.
    pub(crate) fn push(&self, cx: &mut Context<'_>) {
        // The next read or write finds a broken socket.
        let _ = self.inner(|inner| inner.poll_push(cx));
    }

    /// Number of bytes that the socket has accepted, if it refused some.
    pub(crate) fn blocked(&self) -> Option<u64> {
        self.inner(|inner| inner.blocked.then(|| inner.tls.wrote()))
    }

    /// Cuts later writes into records with these plaintext lengths, after those that wait already. An empty list cancels the
    /// lengths for bytes that have not come.
    pub(crate) fn cut(&self, plaintexts: &[usize]) {
        self.inner(|inner| {
            if inner.cuts.is_none() {
                inner.room = inner.tls.deepen();
            }
            let cuts = inner.cuts.get_or_insert_default();
            if plaintexts.is_empty() {
                cuts.plaintexts.clear();
            } else {
                // A caller that sets record lengths follows a shape, with its times.
                inner.tls.free();
            }
            cuts.plaintexts.extend(plaintexts);
        });
    }

    /// Pushes after each turn of a future that drives HTTP/2 over this stream.
    pub(crate) fn pushed<F: Future + Unpin>(
        &self,
        mut driven: F,
    ) -> impl Future<Output = F::Output> + use<F, T> {
        let tls = self.clone();
        poll_fn(move |cx| {
            let done = Pin::new(&mut driven).poll(cx);
            tls.push(cx);
            done
        })
    }
}

/// Operations of a shape on a tunnel's connection.
pub(crate) trait Records: Send {
    /// See [`Shared::cut`].
    fn cut(&self, plaintexts: &[usize]);

    /// See [`crate::Carrier::reads`].
    fn reads(&self, reads: Reads);

    /// See [`crate::Carrier::heard`].
    fn heard(&self) -> Option<Instant>;

    /// See [`crate::Carrier::leaves`].
    fn leaves(&self, when: Option<(Instant, Duration)>) -> bool;
}

impl<T: Tls + Send> Records for Shared<T> {
    fn cut(&self, plaintexts: &[usize]) {
        Self::cut(self, plaintexts);
    }

    fn reads(&self, reads: Reads) {
        self.with(|tls| tls.reads(reads));
    }

    fn heard(&self) -> Option<Instant> {
        self.with(|tls| tls.heard())
    }

    fn leaves(&self, when: Option<(Instant, Duration)>) -> bool {
        self.with(|tls| tls.leaves(when))
    }
}

/// Exports keying material; the context is always passed, since none and an empty one would be equal.
pub(crate) fn export<D>(
    tls: &ConnectionCommon<D>,
    label: &str,
    context: &[u8],
    out: &mut [u8],
) -> Result<(), Error> {
    tls.export_keying_material(out, label.as_bytes(), Some(context))
        .map(|_| ())
        .map_err(|_| Error::Export)
}

impl<T: Tls> AsyncRead for Shared<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(|tls| Pin::new(tls).poll_read(cx, buf))
    }
}

impl<T: Tls> AsyncWrite for Shared<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.inner(|inner| {
            if ready!(inner.poll_kept(cx, buf))? {
                return Poll::Ready(Ok(buf.len()));
            }
            inner.poll_write(cx, |tls, cx| tls.poll_write(cx, buf))
        })
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner(|inner| {
            if inner.cuts.is_some() {
                let whole: Vec<u8> = bufs.iter().flat_map(|b| b.iter().copied()).collect();
                if ready!(inner.poll_kept(cx, &whole))? {
                    return Poll::Ready(Ok(whole.len()));
                }
            }
            inner.poll_write(cx, |tls, cx| tls.poll_write_vectored(cx, bufs))
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.with(|tls| tls.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // See `push`.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner(|inner| {
            ready!(inner.poll_push(cx))?;
            inner.tls.hold(false);
            Pin::new(&mut inner.tls).poll_shutdown(cx)
        })
    }
}
