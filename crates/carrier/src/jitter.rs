//! Jitter: delays a web site's output by a drawn time, counted from its first byte.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use betanet_machine::{Rng, Seed};
use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::floor;

/// Maximum number of bytes that wait on one connection; more are accepted only after those have left.
const KEPT: usize = 256 << 10;

/// Draws the delays of a connection's answers.
///
/// A tunnel's answers take other times than a web site's, by tenths of a millisecond. A delay of up to some milliseconds, which
/// gathers all output that is ready meanwhile, hides the difference.
pub struct Jitter {
    up_to: Duration,
    rng: Mutex<Rng>,
}

impl Jitter {
    /// Delays uniformly distributed between zero and `up_to`.
    #[must_use]
    pub fn new(up_to: Duration, seed: &Seed) -> Self {
        let rng = Mutex::new(Rng::new(seed));
        Self { up_to, rng }
    }

    fn draw(&self) -> Duration {
        let nanos = u64::try_from(self.up_to.as_nanos()).unwrap_or(u64::MAX);
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_nanos(rng.below(nanos.max(1)))
    }
}

/// Bytes that wait, and their due time.
struct Kept {
    bytes: BytesMut,
    timer: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Whether the due time has passed.
    due: bool,
}

/// A connection with or without jitter.
///
/// Waiting bytes leave only when a read, a write or a flush drives the connection: its owner has to be reading.
pub(crate) struct Jittered {
    tcp: TcpStream,
    jitter: Option<Arc<Jitter>>,
    /// Due time of the next write, if it is fixed.
    then: Option<Instant>,
    /// Boxed because most connections have no waiting bytes.
    kept: Option<Box<Kept>>,
}

impl Jittered {
    pub(crate) const fn new(tcp: TcpStream, jitter: Option<Arc<Jitter>>) -> Self {
        Self {
            tcp,
            jitter,
            then: None,
            kept: None,
        }
    }

    /// Sends later writes at once, after the bytes that wait.
    pub(crate) fn free(&mut self) {
        self.jitter = None;
    }

    /// Sends the next write at `then`, as bytes with a drawn delay are sent.
    pub(crate) const fn leaves(&mut self, then: Instant) {
        self.then = Some(then);
    }

    /// Sends the waiting bytes when they are due.
    fn poll_kept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kept) = &mut self.kept {
            if !kept.due {
                ready!(kept.timer.as_mut().poll(cx));
                kept.due = true;
            }
            while !kept.bytes.is_empty() {
                let n = ready!(Pin::new(&mut self.tcp).poll_write(cx, &kept.bytes))?;
                kept.bytes.advance(n);
            }
            self.kept = None;
        }
        Poll::Ready(Ok(()))
    }

    /// Buffer for bytes to be written, if they are to wait.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<&mut BytesMut>>> {
        if self.poll_kept(cx)?.is_ready() {
            let drawn = |jitter: &Arc<Jitter>| Instant::now() + jitter.draw();
            let then = self.then.take();
            let Some(then) = then.or_else(|| self.jitter.as_ref().map(drawn)) else {
                return Poll::Ready(Ok(None));
            };
            self.kept = Some(Box::new(Kept {
                bytes: BytesMut::new(),
                timer: Box::pin(floor::until(then)),
                due: false,
            }));
            // Polled at once, to register the waker.
            let _ = self.poll_kept(cx)?;
        }
        match &mut self.kept {
            Some(kept) if kept.bytes.len() >= KEPT => Poll::Pending,
            Some(kept) => Poll::Ready(Ok(Some(&mut kept.bytes))),
            // No delay was drawn.
            None => Poll::Ready(Ok(None)),
        }
    }
}

impl Drop for Jittered {
    fn drop(&mut self) {
        // A failing connection still sends its reason: an alert, GOAWAY, 400.
        if let Some(kept) = &mut self.kept {
            while let Ok(n @ 1..) = self.tcp.try_write(&kept.bytes) {
                kept.bytes.advance(n);
            }
        }
    }
}

impl AsyncRead for Jittered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let _ = self.poll_kept(cx)?;
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Jittered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(self.poll_room(cx))? {
            None => Pin::new(&mut self.tcp).poll_write(cx, buf),
            Some(kept) => {
                let taken = buf.len().min(KEPT - kept.len());
                kept.extend_from_slice(&buf[..taken]);
                Poll::Ready(Ok(taken))
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match ready!(self.poll_room(cx))? {
            None => Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs),
            Some(kept) => {
                let before = kept.len();
                for buf in bufs {
                    let taken = buf.len().min(KEPT - kept.len());
                    kept.extend_from_slice(&buf[..taken]);
                }
                Poll::Ready(Ok(kept.len() - before))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The bytes wait on purpose, and must not block a writer with more.
        let _ = self.poll_kept(cx)?;
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_kept(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(100_000);
    const SHORT: Duration = Duration::from_millis(2);

    async fn pair(up_to: Option<Duration>) -> (Jittered, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(listener.accept(), far);
        let jitter = up_to.map(|up_to| Arc::new(Jitter::new(up_to, &Seed::from_number(1))));
        (Jittered::new(near.unwrap().0, jitter), far.unwrap())
    }

    fn write(to: &mut Jittered, bytes: &[u8]) -> Option<usize> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(to).poll_write(&mut cx, bytes) {
            Poll::Ready(n) => Some(n.unwrap()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn times_are_drawn_over_the_whole_range() {
        let jitter = Jitter::new(Duration::from_millis(10), &Seed::from_number(7));
        let mut tenths = [0; 10];
        for _ in 0..10_000 {
            tenths[usize::try_from(jitter.draw().as_millis()).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|n| (900..1100).contains(n)), "{tenths:?}");
        assert_eq!(
            Jitter::new(Duration::ZERO, &Seed::from_number(7)).draw(),
            Duration::ZERO
        );
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_holds_no_flush_up() {
        let (mut near, far) = pair(Some(LONG)).await;
        let piece = vec![1; 100 << 10];
        let taken: Vec<_> = (0..4).map(|_| write(&mut near, &piece)).collect();
        assert_eq!(
            taken,
            [Some(100 << 10), Some(100 << 10), Some(56 << 10), None]
        );
        near.flush().await.unwrap();
        assert_eq!(
            far.try_read(&mut [0; 8]).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }

    #[tokio::test]
    async fn it_leaves_in_order_while_its_owner_reads_or_shuts_down() {
        let (mut near, mut far) = pair(Some(SHORT)).await;
        near.write_all(b"one").await.unwrap();
        near.write_all(b"two").await.unwrap();
        let mut got = [0; 6];
        let reading = async { near.read(&mut [0; 8]).await.unwrap() };
        let other = async {
            far.read_exact(&mut got).await.unwrap();
            far.write_all(b"read").await.unwrap();
        };
        let (n, ()) = tokio::join!(reading, other);
        assert_eq!((n, &got), (4, b"onetwo"));
        near.write_all(b"three").await.unwrap();
        near.shutdown().await.unwrap();
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"three");
    }

    #[tokio::test]
    async fn a_freed_connection_waits_for_what_it_owes_only() {
        let (mut near, mut far) = pair(Some(SHORT)).await;
        near.write_all(b"late").await.unwrap();
        near.free();
        near.write_all(b"behind").await.unwrap();
        near.shutdown().await.unwrap();
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"latebehind");

        for (mut near, mut far) in [pair(Some(LONG)).await, pair(None).await] {
            near.free();
            near.write_all(b"now").await.unwrap();
            let mut now = [0; 3];
            far.read_exact(&mut now).await.unwrap();
            assert_eq!(&now, b"now");
        }
    }

    #[tokio::test]
    async fn what_is_to_leave_then_waits_for_that_alone() {
        for up_to in [None, Some(SHORT)] {
            let (mut near, mut far) = pair(up_to).await;
            near.free();
            near.leaves(Instant::now());
            near.write_all(b"now").await.unwrap();
            let mut now = [0; 3];
            far.read_exact(&mut now).await.unwrap();
            near.leaves(Instant::now() + LONG);
            for piece in [&b"and "[..], b"then"] {
                near.write_all(piece).await.unwrap();
                near.flush().await.unwrap();
            }
            let nothing = far.try_read(&mut [0; 8]).unwrap_err().kind();
            assert_eq!(nothing, io::ErrorKind::WouldBlock);
            drop(near);
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            assert_eq!(all, b"and then");
        }
    }

    #[tokio::test]
    async fn a_connection_that_is_dropped_has_said_what_it_had_to_say() {
        let (mut near, mut far) = pair(Some(LONG)).await;
        near.write_all(b"an alert").await.unwrap();
        drop(near);
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"an alert");
    }
}
