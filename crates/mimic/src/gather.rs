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

use crate::stamp::Stamps;

/// Bytes that are gathered before they leave all the same.
const MOST: usize = 64 << 10;
/// Bytes that are read at once, at most.
const READ: usize = 256 << 10;
/// Bytes that a browser reads with one system call: a window opens in between.
const PIECE: usize = 17 << 10;
/// After so much silence what is written takes its time until it leaves.
const COLD: Duration = Duration::from_micros(200);

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
    /// What lies behind these does not leave with what lies before.
    marks: VecDeque<Mark>,
    pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// More is gathered before any of it leaves: what is made into a record meanwhile would keep what follows from leaving in time.
    more: bool,
    /// When the socket gave something last, for the handshake.
    heard: Arc<Mutex<Instant>>,
    /// How much is read yet; and what was, at once, before it was asked for.
    reads: Reads,
    read: BytesMut,
    /// When the first was read of what is to be read in part.
    first: Option<Instant>,
    /// When what was written last left, or began to be written.
    wrote: Option<Instant>,
    /// Whether when what is written next leaves is asked of the system.
    looks: bool,
}

/// A place in what is gathered.
struct Mark {
    at: usize,
    /// What lies behind it leaves so long after what lies before, and not sooner than that.
    after: Duration,
    then: Option<Instant>,
}

impl<S: AsyncWrite + Stamps + Unpin> Gather<S> {
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
            more: false,
            heard,
            reads: Reads::All,
            read: BytesMut::new(),
            first: None,
            wrote: None,
            looks: false,
        }
    }

    pub(crate) const fn reads(&mut self, reads: Reads) {
        self.reads = reads;
        if let Reads::AtMost(_) = reads {
            self.first = None;
        }
    }

    pub(crate) const fn heard(&self) -> Option<Instant> {
        self.first
    }

    /// See [`betanet_carrier::Carrier::leaves`]; of what is gathered from now on.
    pub(crate) fn leaves(&mut self, when: Option<(Instant, Duration)>) {
        self.more = when.is_some();
        if let Some((then, after)) = when {
            self.marks.push_back(Mark {
                at: self.waiting.len(),
                after,
                then: Some(then),
            });
        }
    }

    /// What waits now, and so much more, leaves as soon as anything does; what is written after it follows so much later.
    pub(crate) fn mark(&mut self, more: usize, later: Duration) {
        if !later.is_zero() {
            self.marks.push_back(Mark {
                at: self.waiting.len() + more,
                after: later,
                then: None,
            });
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

    /// When what lies behind the place that was come to leaves, where there is one.
    fn due(&mut self) -> Option<Instant> {
        let mark = self.marks.pop_front_if(|mark| mark.at <= self.sent)?;
        let after = self.wrote.map(|wrote| wrote + mark.after);
        let at = after.max(mark.then);
        self.look_where_cold(at);
        at
    }

    /// What may follow shortly is to be told apart from when this leaves, not from when it is written.
    fn look_where_cold(&mut self, at: Option<Instant>) {
        let at = at.unwrap_or_else(Instant::now);
        let warm = |wrote| at.saturating_duration_since(wrote) <= COLD;
        if !self.looks && !self.wrote.is_some_and(warm) {
            self.looks = true;
            self.socket.look(true);
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.waiting.len() {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            if let Some(at) = self.due() {
                if !betanet_carrier::spin(at) {
                    self.pause = Some(Box::pin(betanet_carrier::exactly(at)));
                }
                continue;
            }
            let all = self.waiting.len();
            let end = self.marks.front().map_or(all, |mark| mark.at.min(all));
            if end < all {
                self.look_where_cold(None);
            }
            let n = ready!(self.poll_write_part(cx, end))?;
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

    /// Writes up to there, and takes note of when it left.
    fn poll_write_part(&mut self, cx: &mut Context<'_>, end: usize) -> Poll<io::Result<usize>> {
        let part = &self.waiting[self.sent..end];
        let looks = std::mem::take(&mut self.looks);
        let began = Instant::now();
        let written = Pin::new(&mut self.socket).poll_write(cx, part);
        let left = if looks { self.socket.left() } else { None };
        if looks {
            self.socket.look(false);
        }
        let now = Instant::now();
        let left = left.and_then(|ago| now.checked_sub(ago));
        // From the stamp to the wire it is as far again, and a little: what is cold is so all the way.
        let left = left.map(|left| left + left.saturating_duration_since(began) * 5 / 4);
        self.wrote = Some(left.map_or(began, |left| left.clamp(began, now)));
        written
    }
}

impl<S: AsyncRead + Stamps + Unpin> Gather<S> {
    /// Reads up to so much of what there is, and no more once the window has opened for what comes next: that is of the next time.
    fn poll_pieces(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        let mut filled = 0;
        let there = self.socket.unread();
        let more = |socket: &S, filled| {
            let left = there.zip(socket.unread());
            left.is_some_and(|(there, left)| left + filled > there)
        };
        while filled < room && (filled == 0 || !more(&self.socket, filled)) {
            let piece = PIECE.min(room - filled);
            self.read.resize(filled + piece, 0);
            let mut part = ReadBuf::new(&mut self.read[filled..]);
            let read = Pin::new(&mut self.socket).poll_read(cx, &mut part);
            let n = part.filled().len();
            self.read.truncate(filled + n);
            match read {
                Poll::Pending if filled > 0 => break,
                read => ready!(read)?,
            }
            filled += n;
            if n < piece {
                break;
            }
        }
        Poll::Ready(Ok(filled))
    }
}

impl<S: AsyncRead + Stamps + Unpin> AsyncRead for Gather<S> {
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
                // What comes while it reads it does not see.
                _ => this
                    .socket
                    .unread()
                    .filter(|n| *n > 0)
                    .map_or(READ, |n| n.min(READ)),
            };
            let n = ready!(this.poll_pieces(cx, room))?;
            this.first = this.first.or_else(|| Some(Instant::now()));
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

impl<S: AsyncWrite + Stamps + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.waiting.len() >= MOST {
            self.more = false;
            ready!(self.poll_send(cx))?;
        }
        if self.is_held() || self.more || !self.waiting.is_empty() {
            self.waiting.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_held() {
            return Poll::Ready(Ok(()));
        }
        if self.more {
            // Flushed again when there is no more: nobody has to be woken.
            return Poll::Pending;
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

    impl Stamps for tokio::io::DuplexStream {
        fn look(&self, _: bool) {}

        fn left(&self) -> Option<Duration> {
            None
        }

        fn unread(&self) -> Option<usize> {
            None
        }
    }

    /// What is read at once, if anything.
    fn read<S: AsyncRead + Stamps + Unpin>(gather: &mut Gather<S>) -> Option<Vec<u8>> {
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
        assert_eq!(gather.heard(), None);
        assert_eq!(read(&mut gather).unwrap(), b"012345");
        let heard = gather.heard();
        assert!(heard.is_some());
        assert_eq!(read(&mut gather).unwrap(), b"67");
        assert_eq!(read(&mut gather), None);
        far.write_all(b"ab").await.unwrap();
        gather.reads(Reads::Once);
        assert_eq!(read(&mut gather).unwrap(), b"89ab");
        assert_eq!(gather.heard(), heard, "of the first");
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

    /// A socket whose window opens for more once so much was read, and that remembers what was written with one call.
    #[derive(Default)]
    struct Window {
        there: usize,
        opens: usize,
        more: usize,
        wrote: Vec<(Instant, usize)>,
    }

    impl AsyncRead for Window {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.there == 0 {
                return Poll::Pending;
            }
            let n = buf.remaining().min(self.there);
            buf.put_slice(&vec![7; n]);
            self.there -= n;
            self.opens = self.opens.saturating_sub(n);
            if self.opens == 0 {
                self.there += std::mem::take(&mut self.more);
            }
            Poll::Ready(Ok(()))
        }
    }

    impl Stamps for Window {
        fn look(&self, _: bool) {}

        fn left(&self) -> Option<Duration> {
            None
        }

        fn unread(&self) -> Option<usize> {
            Some(self.there)
        }
    }

    impl AsyncWrite for Window {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.wrote.push((Instant::now(), buf.len()));
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_is_read_once_ends_where_the_window_opens() {
        let window = Window {
            there: 80_000,
            opens: 40_000,
            more: 30_000,
            ..Window::default()
        };
        let now = Arc::new(Mutex::new(Instant::now()));
        let mut gather = Gather::new(window, Arc::default(), now);
        let all = |gather: &mut Gather<Window>| {
            let mut n = 0;
            while let Some(bytes) = read(gather) {
                n += bytes.len();
            }
            n
        };
        gather.reads(Reads::Once);
        // The third piece opened it.
        assert_eq!(all(&mut gather), 3 * PIECE);
        gather.reads(Reads::Once);
        assert_eq!(all(&mut gather), 110_000 - 3 * PIECE);
        gather.reads(Reads::Once);
        assert_eq!(all(&mut gather), 0);
    }

    #[tokio::test]
    async fn what_is_gathered_leaves_when_it_is_to() {
        let (mut far, near) = tokio::io::duplex(100);
        let now = Arc::new(Mutex::new(Instant::now()));
        let mut gather = Gather::new(near, Arc::default(), now);
        gather.hold(false);
        let mut before = Instant::now();
        for after in [0, 90, 60] {
            let after = Duration::from_micros(after);
            gather.leaves(Some((Instant::now(), after)));
            gather.write_all(b"ask").await.unwrap();
            gather.leaves(None);
            gather.flush().await.unwrap();
            let wrote = gather.wrote.unwrap();
            assert!(wrote >= before + after);
            before = wrote;
        }
        for wait in [80, 800] {
            let at = Instant::now() + Duration::from_micros(wait);
            gather.leaves(Some((at, Duration::ZERO)));
            gather.write_all(b"ask").await.unwrap();
            gather.leaves(None);
            gather.flush().await.unwrap();
            assert!(gather.wrote.unwrap() >= at);
        }
        let mut all = [0; 15];
        far.read_exact(&mut all).await.unwrap();
        assert_eq!(&all, b"askaskaskaskask");
    }

    #[tokio::test]
    async fn nothing_leaves_before_all_of_it_is_gathered() {
        let now = Arc::new(Mutex::new(Instant::now()));
        let mut gather = Gather::new(Window::default(), Arc::default(), now);
        gather.hold(false);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let at = Instant::now();
        let apart = Duration::from_micros(70);
        for n in 0..4 {
            gather.leaves(Some((at + n * apart, apart)));
            gather.write_all(&[7; 30]).await.unwrap();
            assert!(Pin::new(&mut gather).poll_flush(&mut cx).is_pending());
        }
        assert_eq!(gather.socket.wrote, []);
        gather.leaves(None);
        gather.flush().await.unwrap();
        let writes = &gather.socket.wrote;
        assert_eq!(writes.len(), 4);
        assert!(writes.iter().all(|(_, bytes)| *bytes == 30));
        assert!(writes.windows(2).all(|two| two[1].0 >= two[0].0 + apart));
    }

    #[tokio::test]
    async fn what_is_too_much_to_gather_leaves_before() {
        let now = Arc::new(Mutex::new(Instant::now()));
        let mut gather = Gather::new(Window::default(), Arc::default(), now);
        gather.hold(false);
        for n in 0..20 {
            assert_eq!(gather.socket.wrote.is_empty(), n * 9000 <= MOST + 9000);
            gather.leaves(Some((Instant::now(), Duration::ZERO)));
            gather.write_all(&[7; 9000]).await.unwrap();
        }
        assert!(gather.waiting.len() < MOST + 9000);
        gather.leaves(None);
        gather.flush().await.unwrap();
        let written: usize = gather.socket.wrote.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(written, 20 * 9000);
    }
}
