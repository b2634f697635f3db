//! The socket beneath BoringSSL: records that belong together leave together.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Bytes that are gathered before they leave all the same.
const MOST: usize = 64 << 10;

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
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    pub(crate) const fn new(socket: S, last: Arc<AtomicBool>, heard: Arc<Mutex<Instant>>) -> Self {
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
        }
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
                let at = Instant::now() + later;
                self.pause = Some(Box::pin(betanet_carrier::until(at)));
                continue;
            }
            let all = self.waiting.len();
            let end = mark.map_or(all, |(mark, _)| mark.min(all));
            let rest = &self.waiting[self.sent..end];
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
