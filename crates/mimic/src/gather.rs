//! The socket beneath BoringSSL: records that belong together leave together.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use betanet_carrier::Reads;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

mod ahead;

use ahead::Ahead;

/// Number of gathered bytes above which they leave in any case.
const MOST: usize = 64 << 10;
/// Longest plausible duration of a write: a thread whose write took longer was preempted.
const WAY: Duration = Duration::from_micros(50);

/// A socket that reports its number of unread bytes, if the system supports it.
pub(crate) trait Unread {
    fn unread(&self) -> Option<usize>;
}

impl Unread for TcpStream {
    #[cfg(target_os = "linux")]
    fn unread(&self) -> Option<usize> {
        usize::try_from(rustix::io::ioctl_fionread(self).ok()?).ok()
    }

    #[cfg(not(target_os = "linux"))]
    fn unread(&self) -> Option<usize> {
        None
    }
}

pub(crate) struct Gather<S> {
    socket: S,
    held: bool,
    /// Whether the handshake is still under way: nothing was held yet.
    shaking: bool,
    /// Set by the handshake before its last flight, which leaves with the first request.
    last: Arc<AtomicBool>,
    waiting: Vec<u8>,
    /// Number of those bytes that have left.
    sent: usize,
    /// Places at which the gathered bytes are split: later bytes do not leave with earlier ones.
    marks: VecDeque<Mark>,
    pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Whether more is gathered before any byte leaves: making records meanwhile would delay the following ones.
    more: bool,
    /// Time of the last read from the socket, for the handshake.
    heard: Arc<Mutex<Instant>>,
    ahead: Ahead,
    /// Time at which the last write left.
    wrote: Option<Instant>,
}

/// A place in the gathered bytes.
struct Mark {
    at: usize,
    /// Minimum delay of the bytes after the place, counted from the bytes before it.
    after: Duration,
    then: Option<Instant>,
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
            more: false,
            heard,
            ahead: Ahead::new(),
            wrote: None,
        }
    }

    pub(crate) fn reads(&mut self, reads: Reads) {
        self.ahead.reads(reads);
    }

    pub(crate) const fn heard(&self) -> Option<Instant> {
        self.ahead.first()
    }

    /// See [`betanet_carrier::Carrier::leaves`]; applies to bytes gathered from now on.
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

    /// Sends the waiting bytes and `more` further ones as soon as possible; bytes written after them follow `later`.
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

    /// Send time of the bytes after the present place, if there is one.
    fn due(&mut self) -> Option<Instant> {
        let mark = self.marks.pop_front_if(|mark| mark.at <= self.sent)?;
        let after = self.wrote.map(|wrote| wrote + mark.after);
        after.max(mark.then)
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

    /// Writes up to `end` and records when the bytes left: short gaps count from that, and not from the start of the write.
    /// After a silence a write takes ten times as long, so a typical duration cannot be assumed.
    fn poll_write_part(&mut self, cx: &mut Context<'_>, end: usize) -> Poll<io::Result<usize>> {
        let part = &self.waiting[self.sent..end];
        let began = Instant::now();
        let written = Pin::new(&mut self.socket).poll_write(cx, part);
        // Bytes leave near the end of the system call, whatever its duration; the rest is the return. A send timestamp of Linux
        // would take as long again.
        let way = (began.elapsed() * 7 / 8).min(WAY);
        self.wrote = Some(began + way);
        written
    }
}

impl<S: AsyncRead + Unread + Unpin> Gather<S> {
    /// Number of bytes that the socket has for its reader, if it can tell.
    pub(crate) fn unread(&self) -> Option<usize> {
        self.socket.unread()
    }
}

impl<S: AsyncRead + Unread + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if ready!(this.ahead.poll_read(cx, &mut this.socket, buf))? {
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
            // Flushed again at the end of gathering: no task has to be woken.
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

    use super::ahead::PIECE;
    use super::*;

    impl Unread for tokio::io::DuplexStream {
        fn unread(&self) -> Option<usize> {
            None
        }
    }

    /// Bytes that can be read at once, if any.
    fn read<S: AsyncRead + Unread + Unpin>(gather: &mut Gather<S>) -> Option<Vec<u8>> {
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
        gather.reads(Reads::About(4));
        assert_eq!(read(&mut gather).unwrap(), b"89ab");
        assert_eq!(gather.heard(), heard, "of the first");
        far.write_all(b"cd").await.unwrap();
        assert_eq!(read(&mut gather), None);
        gather.reads(Reads::All);
        assert_eq!(read(&mut gather).unwrap(), b"cd");
        // An end is reported regardless of the limit.
        gather.reads(Reads::AtMost(3));
        drop(far);
        let mut rest = Vec::new();
        assert_eq!(gather.read_to_end(&mut rest).await.unwrap(), 0);
    }

    /// A socket whose window opens after a number of read bytes, and which records the bytes of each write.
    #[derive(Default)]
    struct Window {
        there: usize,
        opens: usize,
        more: usize,
        wrote: Vec<(Instant, usize)>,
        /// Duration for which a write blocks the writer.
        keeps: Duration,
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

    impl Unread for Window {
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
            let now = Instant::now();
            self.wrote.push((now, buf.len()));
            assert!(betanet_carrier::spin(now + self.keeps));
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
    async fn what_is_read_of_what_there_is_ends_where_the_window_opens() {
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
        gather.reads(Reads::About(35_000));
        // The third piece opened it.
        assert_eq!(all(&mut gather), 3 * PIECE);
        // Then it opens twice for as many bytes.
        (gather.socket.opens, gather.socket.more) = (20_000, 10_000);
        gather.reads(Reads::About(60_000));
        assert_eq!(all(&mut gather), 120_000 - 3 * PIECE);
        (gather.socket.there, gather.socket.more) = (60_000, 90_000);
        assert_eq!(all(&mut gather), PIECE);
        // An approximate number of pieces becomes a whole number; other lengths are read exactly.
        gather.reads(Reads::AtMost(2 * PIECE - 400));
        assert_eq!(all(&mut gather), 2 * PIECE);
        gather.reads(Reads::AtMost(12_345));
        assert_eq!(all(&mut gather), 12_345);
        gather.reads(Reads::AtMost(usize::MAX));
        assert_eq!(all(&mut gather), 150_000 - 3 * PIECE - 12_345);
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
    async fn what_follows_counts_from_when_it_left_that_was_long_on_its_way() {
        let apart = Duration::from_micros(30);
        for keeps in [0, 40, 90].map(Duration::from_micros) {
            let window = Window {
                keeps,
                ..Window::default()
            };
            let now = Arc::new(Mutex::new(Instant::now()));
            let mut gather = Gather::new(window, Arc::default(), now);
            gather.hold(false);
            for _ in 0..2 {
                gather.leaves(Some((Instant::now(), apart)));
                gather.write_all(&[7; 30]).await.unwrap();
            }
            gather.leaves(None);
            gather.flush().await.unwrap();
            let [(first, _), (second, _)] = gather.socket.wrote[..] else {
                panic!("two were written")
            };
            assert!(second >= first + (keeps * 7 / 8).min(WAY) + apart);
            // A preempted writer is not taken to have sent that late.
            assert!(gather.wrote.unwrap() <= second + WAY);
        }
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
