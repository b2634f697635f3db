//! A session as a stream muxer, and its streams.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use betanet_htx::kind;
use betanet_runtime::{PeerSession, SessionError, SessionHandle, Substream};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::io::{AsyncRead, AsyncWrite};
use libp2p_core::StreamMuxer;
use libp2p_core::muxing::StreamMuxerEvent;
use tokio::sync::mpsc;

use crate::Error;

/// Bytes that one write takes, at most.
const WRITE_MAX: usize = 64 << 10;
/// Maximum number of opened streams that a peer may leave unaccepted; further ones are reset.
pub(crate) const INBOUND_MAX: usize = 256;

/// One connection.
pub struct Muxer {
    session: PeerSession,
    /// Keeps a dialled session alive.
    _handle: Option<SessionHandle>,
    inbound: mpsc::Receiver<Substream>,
    opening: Option<BoxFuture<'static, Result<Substream, SessionError>>>,
    closing: Option<BoxFuture<'static, ()>>,
    over: BoxFuture<'static, ()>,
}

impl std::fmt::Debug for Muxer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Muxer({})", self.session.id())
    }
}

impl Muxer {
    pub(crate) fn new(
        session: PeerSession,
        handle: Option<SessionHandle>,
        inbound: mpsc::Receiver<Substream>,
    ) -> Self {
        let over = Box::pin(session.over());
        Self {
            session,
            _handle: handle,
            inbound,
            opening: None,
            closing: None,
            over,
        }
    }
}

impl StreamMuxer for Muxer {
    type Substream = Stream;
    type Error = Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, Error>> {
        match ready!(self.inbound.poll_recv(cx)) {
            Some(stream) => Poll::Ready(Ok(Stream::new(stream))),
            None => Poll::Ready(Err(Error::Over)),
        }
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Stream, Error>> {
        let session = self.session.clone();
        let opening = self
            .opening
            .get_or_insert_with(|| Box::pin(async move { session.open(kind::LIBP2P).await }));
        let opened = ready!(opening.as_mut().poll(cx));
        self.opening = None;
        Poll::Ready(opened.map(Stream::new).map_err(|e| Error::Node(e.into())))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let session = self.session.clone();
        let closing = self
            .closing
            .get_or_insert_with(|| Box::pin(async move { session.close().await }));
        ready!(closing.as_mut().poll(cx));
        Poll::Ready(Ok(()))
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Error>> {
        // Lets the swarm notice a cut even while nothing is sent.
        ready!(self.over.as_mut().poll(cx));
        Poll::Ready(Err(Error::Over))
    }
}

/// One substream.
#[derive(Debug)]
pub struct Stream {
    inner: Substream,
    rest: Bytes,
}

impl Stream {
    const fn new(inner: Substream) -> Self {
        Self {
            inner,
            rest: Bytes::new(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        while self.rest.is_empty() {
            match ready!(self.inner.poll_next(cx))? {
                Some(bytes) => self.rest = bytes,
                None => return Poll::Ready(Ok(0)),
            }
        }
        let n = buf.len().min(self.rest.len());
        buf[..n].copy_from_slice(&self.rest.split_to(n));
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.inner.poll_ready(cx))?;
        let n = buf.len().min(WRITE_MAX);
        if n > 0 {
            self.inner.send(Bytes::copy_from_slice(&buf[..n]))?;
            // Flushed at once: the swarm need not poll for it.
            let _ = self.inner.poll_ready(cx)?;
        }
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.inner.poll_ready(cx))?;
        self.inner.end();
        self.inner.poll_ready(cx)
    }
}
