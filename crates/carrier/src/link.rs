use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::look::{Client, Outgoing, Refusal};

/// Number of bytes read ahead at once while a peer sends much.
const AHEAD: usize = 64 << 10;

/// Maximum number of bytes of a client until its handshake ends. TLS keeps them until a message is complete: rustls accepts a hello of
/// up to 64 KiB, and needs room for its last record and for the messages that follow.
const HELLO_TAKEN: usize = 80 << 10;

/// The socket beneath TLS, with fewer system calls than TLS alone would make: it reads ahead under heavy input, and can hold
/// writes back so that TLS gathers records.
pub(crate) struct Link<S> {
    socket: S,
    /// Writes are refused without waking a task: the holder writes again after the release.
    held: bool,
    /// Whether the last read filled its buffer.
    much: bool,
    ahead: BytesMut,
    /// Number of bytes that the socket has accepted.
    wrote: u64,
    /// Present during a listener's handshake.
    look: Option<Box<Looking>>,
}

/// A handshake whose output is rewritten to imitate another library.
#[derive(Default)]
struct Looking {
    outgoing: Outgoing,
    /// Bytes that the socket has not accepted yet.
    out: Vec<u8>,
    /// Number of bytes that came.
    taken: usize,
}

impl<S> Link<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self {
            socket,
            held: false,
            much: false,
            ahead: BytesMut::new(),
            wrote: 0,
            look: None,
        }
    }

    /// A listener's link, whose handshake looks as [`crate::look`] defines until [`Link::looked`].
    pub(crate) fn looking(socket: S) -> Self {
        Self {
            look: Some(Box::default()),
            ..Self::new(socket)
        }
    }

    /// Contents of the client's hello.
    pub(crate) fn client(&self) -> Option<&Client> {
        self.look.as_ref()?.outgoing.client()
    }

    /// The refusal to send, if the client is refused.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.look.as_ref()?.outgoing.refusal()
    }

    /// Starts answering the client.
    pub(crate) fn answer(&mut self) {
        if let Some(look) = &mut self.look {
            look.outgoing.answer();
        }
    }

    /// Ends rewriting after the handshake and its last output.
    pub(crate) fn looked(&mut self) {
        self.look = None;
    }

    pub(crate) const fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Number of bytes that the socket has accepted.
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

impl<S: AsyncWrite + Unpin> Link<S> {
    /// Sends the bytes that wait in [`Looking`].
    fn poll_say(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(look) = &mut self.look else {
            return Poll::Ready(Ok(()));
        };
        while !look.out.is_empty() {
            let n = ready!(Pin::new(&mut self.socket).poll_write(cx, &look.out))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            look.out.drain(..n);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> Link<S> {
    fn poll_come(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self;
        let room = buf.remaining();
        // A handshake is not read ahead: it would hold a second copy.
        let many = this.much && this.look.is_none();
        if this.ahead.is_empty() && many && room < AHEAD {
            this.ahead.reserve(AHEAD);
            let socket = Pin::new(&mut this.socket);
            match poll_read_buf(socket, cx, &mut this.ahead) {
                Poll::Ready(n) => this.much = n? > room,
                Poll::Pending => {
                    // An idle session keeps no buffer.
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

impl<S: AsyncRead + Unpin> AsyncRead for Link<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.poll_come(cx, buf))?;
        if let Some(look) = &mut self.look {
            let came = &buf.filled()[before..];
            look.outgoing.hear(came);
            look.taken += came.len();
            if look.outgoing.refusal().is_some() || look.taken > HELLO_TAKEN {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
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
        if self.look.is_some() {
            // One message at a time: the waiting bytes never exceed a flight.
            ready!(self.poll_say(cx))?;
            if let Some(look) = &mut self.look {
                let Looking { outgoing, out, .. } = &mut **look;
                outgoing.say(buf, out);
            }
            // The rest leaves at the flush that ends each flight.
            if let Poll::Ready(Err(e)) = self.poll_say(cx) {
                return Poll::Ready(Err(e));
            }
            return Poll::Ready(Ok(buf.len()));
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
        if self.look.is_some() {
            let all: Vec<u8> = bufs.iter().flat_map(|b| b.iter().copied()).collect();
            return self.poll_write(cx, &all);
        }
        let n = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, bufs))?;
        self.wrote += n as u64;
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_say(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_say(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::task::Waker;
    use tokio::io::DuplexStream;

    /// Reads once into `room` bytes; `None` if nothing is there.
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

    /// A hello that rustls would take has an end before the bound, and one without an end is cut there, in large records or small.
    #[test]
    fn a_handshake_that_does_not_end_is_taken_up_to_80_kib() {
        for record in [16_384_u16, 1] {
            let (mut far, near) = tokio::io::duplex(1 << 20);
            let mut link = Link::looking(near);
            let [high, low] = record.to_be_bytes();
            let head = [22, 3, 1, high, low];
            // A ClientHello of 2^17 bytes, which OpenSSL would await.
            let hello = [&[1, 2, 0, 0][..], &[0; 1 << 17]].concat();
            let mut bytes = Vec::new();
            for part in hello.chunks(record.into()) {
                bytes.extend(head);
                bytes.extend(part);
            }
            write(&mut far, &bytes).unwrap();
            let mut taken = 0;
            let ended = loop {
                let mut room = vec![0; 4096];
                let mut buf = ReadBuf::new(&mut room);
                let mut cx = Context::from_waker(Waker::noop());
                match Pin::new(&mut link).poll_read(&mut cx, &mut buf) {
                    Poll::Ready(Ok(())) => taken += buf.filled().len(),
                    Poll::Ready(Err(e)) => break e.kind(),
                    Poll::Pending => panic!("{taken} bytes were taken"),
                }
                assert_eq!(link.ahead.capacity(), 0, "nothing is read ahead");
            };
            assert_eq!(ended, io::ErrorKind::InvalidData);
            assert_eq!(taken, HELLO_TAKEN);
        }
    }
}
