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

/// A TLS stream whose writes can be held.
pub(crate) trait Tls: AsyncRead + AsyncWrite + Unpin {
    /// Whether what TLS makes is kept in a buffer for now.
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

    /// What is written from now on leaves without jitter.
    fn free(&mut self) {}

    /// Bytes that the socket has taken, where that is counted.
    fn wrote(&self) -> u64 {
        0
    }

    /// Makes room for more at once, where it can; how many bytes of plaintext are kept in a buffer at most.
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
        // What TLS adds is less than a quarter, but for a flight of the smallest records only.
        self.get_mut().1.set_buffer_limit(Some(DEEP + DEEP / 4));
        DEEP
    }
}

struct Inner<T> {
    tls: T,
    /// Whether TLS holds records back.
    waiting: bool,
    /// Whether the socket did not take all that it was given last.
    blocked: bool,
    /// Bytes of plaintext in those, and how many those may be.
    held: usize,
    room: usize,
    /// Where records are cut, and what waits for that.
    cuts: Option<Cuts>,
}

#[derive(Default)]
struct Cuts {
    plaintexts: VecDeque<usize>,
    waiting: BytesMut,
}

/// Bytes that TLS holds back before they are sent, where records are cut: its buffer has 64 KiB, for ciphertext.
const HELD: usize = 48 << 10;
/// The same where its buffer can be made larger: a flight leaves in one write.
const DEEP: usize = 256 << 10;
/// Bytes that wait to be cut, at most; more leave as they are.
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

    /// Keeps bytes, after whole records of those before have made room for them; not where records are not cut.
    fn poll_kept(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<bool>> {
        if !self.keep(bytes) {
            ready!(self.poll_cut(cx, true))?;
            return Poll::Ready(Ok(self.keep(bytes)));
        }
        Poll::Ready(Ok(true))
    }

    /// Gives TLS what was kept, a record a piece; `whole` keeps back what is less than one.
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
            // TLS takes a part of what is too much for its buffer, and that would be a record of its own.
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

    /// Sends what was held back.
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

    /// Writes as much as TLS has room for; the socket is asked only when there is none.
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

/// A TLS stream that HTTP/2 owns one handle of, and the exporter another. What HTTP/2 writes waits for
/// [`Shared::push`], so that a task's turn is one write to the socket and not one a frame.
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
    /// Sends what was written; what the socket does not take now, it is asked for again when `cx` wakes.
    pub(crate) fn push(&self, cx: &mut Context<'_>) {
        // A broken socket is what the next read or write finds.
        let _ = self.inner(|inner| inner.poll_push(cx));
    }

    /// Where the socket does not take what it was given: how many bytes it has taken.
    pub(crate) fn blocked(&self) -> Option<u64> {
        self.inner(|inner| inner.blocked.then(|| inner.tls.wrote()))
    }

    /// Cuts what is written from now on into records with so much plaintext each, behind those that wait already; with
    /// none, what was said before of bytes that did not come is forgotten.
    pub(crate) fn cut(&self, plaintexts: &[usize]) {
        self.inner(|inner| {
            if inner.cuts.is_none() {
                inner.room = inner.tls.deepen();
            }
            let cuts = inner.cuts.get_or_insert_default();
            if plaintexts.is_empty() {
                cuts.plaintexts.clear();
            } else {
                // Whoever says what records are to be like follows a shape, in its times.
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

/// What a shape has to say of a tunnel's connection.
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

/// Exports; the context is always passed, since none and empty would be one.
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
