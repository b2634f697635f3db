use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// Bytes read ahead at once while a peer sends much.
const AHEAD: usize = 64 << 10;

/// The socket beneath TLS, with fewer system calls than TLS alone would make: it reads ahead while much comes in, and
/// can hold writes back so that TLS gathers records.
pub(crate) struct Link<S> {
    socket: S,
    /// Writes are refused, and nobody is woken: whoever holds them writes again after the release.
    held: bool,
    /// Whether the last read filled what it was given.
    much: bool,
    ahead: BytesMut,
    /// Bytes that the socket took.
    wrote: u64,
}

impl<S> Link<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self {
            socket,
            held: false,
            much: false,
            ahead: BytesMut::new(),
            wrote: 0,
        }
    }

    pub(crate) const fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Bytes that the socket has taken.
    pub(crate) const fn wrote(&self) -> u64 {
        self.wrote
    }

    pub(crate) const fn socket(&mut self) -> &mut S {
        &mut self.socket
    }

    fn take(&mut self, buf: &mut ReadBuf<'_>) {
        let n = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..n]);
        self.ahead.advance(n);
        if self.ahead.is_empty() && !self.much {
            self.ahead = BytesMut::new();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Link<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let room = buf.remaining();
        if this.ahead.is_empty() && this.much && room < AHEAD {
            this.ahead.reserve(AHEAD);
            let socket = Pin::new(&mut this.socket);
            match poll_read_buf(socket, cx, &mut this.ahead) {
                Poll::Ready(n) => this.much = n? > room,
                Poll::Pending => {
                    // A quiet session keeps no buffer.
                    this.ahead = BytesMut::new();
                    this.much = false;
                    return Poll::Pending;
                }
            }
            this.take(buf);
        } else if this.ahead.is_empty() {
            this.ahead = BytesMut::new();
            ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
            this.much = room > 0 && buf.remaining() == 0;
        } else {
            this.take(buf);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Link<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.held {
            return Poll::Pending;
        }
        let n = ready!(Pin::new(&mut self.socket).poll_write(cx, buf))?;
        self.wrote += n as u64;
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.held {
            return Poll::Pending;
        }
        let n = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, bufs))?;
        self.wrote += n as u64;
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::task::Waker;
    use tokio::io::DuplexStream;

    /// Reads once into `room` bytes; `None` when nothing is there.
    fn read(link: &mut Link<DuplexStream>, room: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; room];
        let mut buf = ReadBuf::new(&mut bytes);
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(link).poll_read(&mut cx, &mut buf) {
            Poll::Ready(done) => {
                done.unwrap();
                Some(buf.filled().to_vec())
            }
            Poll::Pending => None,
        }
    }

    fn write(socket: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Option<usize> {
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(socket).poll_write(&mut cx, bytes) {
            Poll::Ready(n) => Some(n.unwrap()),
            Poll::Pending => None,
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_came_in_its_order(
            steps in proptest::collection::vec((0..200_000_usize, 1..100_000_usize, 0..9_usize), 1..20),
        ) {
            let (mut far, near) = tokio::io::duplex(1 << 18);
            let mut link = Link::new(near);
            let (mut sent, mut got, mut next) = (Vec::new(), Vec::new(), 0_u8);
            for (bytes, room, reads) in steps {
                let part: Vec<u8> = (0..bytes).map(|_| { next = next.wrapping_mul(5).wrapping_add(3); next }).collect();
                if let Some(n) = write(&mut far, &part) {
                    sent.extend_from_slice(&part[..n]);
                }
                for _ in 0..reads {
                    got.extend(read(&mut link, room).unwrap_or_default());
                }
            }
            while let Some(part) = read(&mut link, 4096) {
                got.extend(part);
            }
            prop_assert!(got == sent);
            prop_assert_eq!(link.ahead.capacity(), 0, "a quiet link keeps a buffer");
        }
    }

    #[test]
    fn held_writes_go_nowhere_until_the_release() {
        let (far, near) = tokio::io::duplex(64);
        let mut link = Link::new(near);
        link.hold(true);
        assert_eq!(write(&mut link, b"one"), None);
        link.hold(false);
        assert_eq!(write(&mut link, b"two"), Some(3));
        assert_eq!(read(&mut Link::new(far), 8), Some(b"two".to_vec()));
    }
}
