//! The socket beneath BoringSSL: records that belong together leave together.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use betanet_carrier::Reads;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Bytes that are gathered before they leave all the same.
const MOST: usize = 64 << 10;
/// Bytes that are read at once, at most.
const READ: usize = 256 << 10;

pub(crate) struct Gather<S> {
    socket: S,
    held: bool,
    /// Nothing was held yet: the handshake goes on.
    shaking: bool,
    /// Set by the handshake when its last flight follows: that leaves with what is asked first.
    last: Arc<AtomicBool>,
    waiting: Vec<u8>,
    /// How much of that has left.
    sent: usize,
    /// What lies before these leaves at once, the rest so long after it.
    marks: VecDeque<(usize, Duration)>,
    pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// When the socket gave something last, for the handshake.
    heard: Arc<Mutex<Instant>>,
    /// How much is read yet; and what was, at once, before it was asked for.
    reads: Reads,
    read: BytesMut,
    /// When what was written last began to be, and when what is written next may.
    wrote: Option<Instant>,
    leaves: Option<(Instant, Duration)>,
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    pub(crate) fn new(socket: S, last: Arc<AtomicBool>, heard: Arc<Mutex<Instant>>) -> Self {
        Self {
            socket,
            held: false,
            shaking: true,
            last,
            waiting: Vec::new(),
            sent: 0,
            marks: VecDeque::new(),
            pause: None,
            heard,
            reads: Reads::All,
            read: BytesMut::new(),
            wrote: None,
            leaves: None,
        }
    }

    pub(crate) const fn reads(&mut self, reads: Reads) {
        self.reads = reads;
    }

    /// What is gathered now leaves then, and so long after what left before it, where that is soon.
    pub(crate) const fn leaves(&mut self, at: Instant, after: Duration) {
        self.leaves = Some((at, after));
    }

    /// What waits now, and so much more, leaves as soon as anything does; what is written after it follows so much later.
    pub(crate) fn mark(&mut self, more: usize, later: Duration) {
        if !later.is_zero() {
            self.marks.push_back((self.waiting.len() + more, later));
        }
    }

    pub(crate) fn hold(&mut self, held: bool) {
        self.held = held;
        self.shaking = false;
        self.last.store(false, Ordering::Relaxed);
    }

    fn is_held(&self) -> bool {
        self.held || self.last.load(Ordering::Relaxed)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.waiting.len() {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let mark = self.marks.front().copied();
            if let Some((_, later)) = mark.filter(|(mark, _)| self.sent >= *mark) {
                self.marks.pop_front();
                let at = self.wrote.unwrap_or_else(Instant::now) + later;
                if betanet_carrier::spin(at) {
                    continue;
                }
                self.pause = Some(Box::pin(betanet_carrier::exactly(at)));
                continue;
            }
            let all = self.waiting.len();
            let end = mark.map_or(all, |(mark, _)| mark.min(all));
            let rest = &self.waiting[self.sent..end];
            if let Some((at, after)) = self.leaves.take() {
                let last = self.wrote.map(|wrote| wrote + after);
                betanet_carrier::spin(last.map_or(at, |last| last.max(at)));
            }
            self.wrote = Some(Instant::now());
            let n = ready!(Pin::new(&mut self.socket).poll_write(cx, rest))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
        }
        self.sent = 0;
        self.marks.clear();
        if self.waiting.capacity() > 2 * MOST {
            self.waiting = Vec::new();
        }
        self.waiting.clear();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.reads != Reads::All && this.read.is_empty() {
            let room = match this.reads {
                Reads::AtMost(0) => return Poll::Pending,
                Reads::AtMost(bytes) => bytes.min(READ),
                _ => READ,
            };
            // What a browser made room for, with one read and not in small pieces.
            this.read.resize(room, 0);
            let mut part = ReadBuf::new(&mut this.read);
            let read = Pin::new(&mut this.socket).poll_read(cx, &mut part);
            let n = part.filled().len();
            this.read.truncate(n);
            ready!(read)?;
            this.reads = match this.reads {
                Reads::AtMost(bytes) => Reads::AtMost(bytes - n),
                _ => Reads::AtMost(0),
            };
            if n == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        if !this.read.is_empty() {
            let n = this.read.len().min(buf.remaining());
            buf.put_slice(&this.read.split_to(n));
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        if self.shaking {
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.waiting.len() >= MOST {
            ready!(self.poll_send(cx))?;
        }
        if self.is_held() || !self.waiting.is_empty() {
            self.waiting.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_held() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What is read at once, if anything.
    fn read<S: AsyncRead + Unpin>(gather: &mut Gather<S>) -> Option<Vec<u8>> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut buf = [0; 6];
        let mut buf = ReadBuf::new(&mut buf);
        let read = Pin::new(gather).poll_read(&mut cx, &mut buf);
        read.is_ready().then(|| buf.filled().to_vec())
    }

    #[tokio::test]
    async fn what_is_not_to_be_read_stays_in_the_socket() {
        let (mut far, near) = tokio::io::duplex(100);
        let now = Arc::new(Mutex::new(Instant::now()));
        let mut gather = Gather::new(near, Arc::default(), now);
        far.write_all(b"0123456789").await.unwrap();
        gather.reads(Reads::AtMost(8));
        assert_eq!(read(&mut gather).unwrap(), b"012345");
        assert_eq!(read(&mut gather).unwrap(), b"67");
        assert_eq!(read(&mut gather), None);
        far.write_all(b"ab").await.unwrap();
        gather.reads(Reads::Once);
        assert_eq!(read(&mut gather).unwrap(), b"89ab");
        far.write_all(b"cd").await.unwrap();
        assert_eq!(read(&mut gather), None);
        gather.reads(Reads::All);
        assert_eq!(read(&mut gather).unwrap(), b"cd");
        // An end is told, however much is to be read.
        gather.reads(Reads::AtMost(3));
        drop(far);
        let mut rest = Vec::new();
        assert_eq!(gather.read_to_end(&mut rest).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_is_gathered_leaves_when_it_is_to() {
        let (_far, near) = tokio::io::duplex(100);
        let now = Arc::new(Mutex::new(Instant::now()));
        let mut gather = Gather::new(near, Arc::default(), now);
        let mut before = Instant::now();
        for after in [0, 90, 60] {
            let after = Duration::from_micros(after);
            gather.hold(true);
            gather.write_all(b"ask").await.unwrap();
            gather.leaves(Instant::now(), after);
            gather.hold(false);
            gather.flush().await.unwrap();
            let wrote = gather.wrote.unwrap();
            assert!(wrote >= before + after);
            before = wrote;
        }
        gather.hold(true);
        gather.write_all(b"ask").await.unwrap();
        let at = Instant::now() + Duration::from_micros(80);
        gather.leaves(at, Duration::ZERO);
        gather.hold(false);
        gather.flush().await.unwrap();
        assert!(gather.wrote.unwrap() >= at);
    }
}
