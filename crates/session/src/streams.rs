//! Streams that somebody else than a session's own users takes: libp2p substreams, packets of the mix.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use betanet_carrier::{Carrier as _, Received};
use betanet_htx::{Extra, L2, kind};
use betanet_keys::PublicKey;
use betanet_wire::ChargeTo;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::exchange::Inbox;
use crate::ops::{Op, RawStream, open_raw};
use crate::stream_carrier::ForwardCarrier;

/// How long a stream whose reader is gone waits for the peer's end.
const DRAIN: Duration = Duration::from_secs(10);

/// Takes the streams that peers open.
pub trait Streams: Send + Sync + 'static {
    /// A peer opened a stream of a type that was asked for.
    fn opened(&self, session: &PeerSession, kind: u8, stream: Substream);
}

/// A session that a peer opens streams on, and that streams can be opened on.
#[derive(Clone, Debug)]
pub struct PeerSession {
    pub(crate) id: u64,
    pub(crate) ops: mpsc::Sender<Op>,
    pub(crate) peer: PublicKey,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) charge: ChargeTo,
    pub(crate) over: CancellationToken,
}

/// A number that no other session of this process has.
pub fn session_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl PeerSession {
    /// Tells sessions of one process apart.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The other end.
    #[must_use]
    pub const fn peer(&self) -> &PublicKey {
        &self.peer
    }

    /// Where it came from, if not over relays.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// Who pays for what it makes this node hold. A session over relays is charged to whom the session that carries it is.
    #[must_use]
    pub const fn charge(&self) -> ChargeTo {
        self.charge
    }

    /// Opens a stream of this type.
    ///
    /// # Errors
    ///
    /// The session ended, or takes no more streams.
    pub async fn open(&self, kind: u8) -> Result<Substream, Error> {
        open_raw(&self.ops, kind, Bytes::new())
            .await
            .map(Substream::new)
    }

    /// Waits until the session is over.
    pub fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        self.over.clone().cancelled_owned()
    }

    /// Closes the session once all that was written has left.
    pub async fn finish(&self) {
        // One that has ended is closed.
        let _ = self.ops.send(Op::Finish).await;
        self.over().await;
    }

    /// Closes the session.
    pub async fn close(&self) {
        // One that has ended is closed.
        let _ = self.ops.send(Op::Close).await;
        self.ops.closed().await;
    }
}

/// A stream's bytes, both ways, by polling. Dropped before this side has ended it, it is reset.
pub struct Substream {
    stream: Option<ForwardCarrier>,
    inbox: Inbox,
    heard_end: bool,
    ended: bool,
}

impl std::fmt::Debug for Substream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Substream")
    }
}

fn gone() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl Substream {
    /// The bytes of a stream.
    pub fn new(stream: RawStream) -> Self {
        let inbox = stream.inbox();
        Self {
            stream: Some(ForwardCarrier::new(Bytes::new(), stream)),
            inbox,
            heard_end: false,
            ended: false,
        }
    }

    /// The next bytes; `None` once after the last.
    ///
    /// # Errors
    ///
    /// The stream was reset, or its session ended.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if self.heard_end {
            return Poll::Ready(Ok(None));
        }
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(gone()));
        };
        match stream.poll_receive(cx) {
            Poll::Ready(Ok(Received::Bytes(bytes))) => Poll::Ready(Ok(Some(bytes))),
            Poll::Ready(Ok(Received::End)) => {
                self.heard_end = true;
                Poll::Ready(Ok(None))
            }
            Poll::Ready(Ok(Received::GoAway)) | Poll::Pending => Poll::Pending,
            Poll::Ready(Err(_)) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    /// Whether [`Substream::send`] may be called; after the last bytes, whether the session has taken them.
    ///
    /// # Errors
    ///
    /// The stream was reset, or its session ended.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Some(stream) => stream.poll_ready(cx).map_err(|_| gone()),
            None => Poll::Ready(Err(gone())),
        }
    }

    /// Sends bytes, once [`Substream::poll_ready`] says so.
    ///
    /// # Errors
    ///
    /// This side ended the stream.
    pub fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        match &mut self.stream {
            Some(stream) if !self.ended => stream.send(bytes).map_err(|_| gone()),
            _ => Err(gone()),
        }
    }

    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    ///
    /// As [`Substream::poll_next`].
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Sends bytes, and waits until the session has taken them.
    ///
    /// # Errors
    ///
    /// As [`Substream::poll_ready`].
    pub async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await?;
        self.send(bytes)?;
        std::future::poll_fn(|cx| self.poll_ready(cx)).await
    }

    /// Ends this side; [`Substream::poll_ready`] tells when the session has taken the end.
    pub fn end(&mut self) {
        if let Some(stream) = &mut self.stream
            && !std::mem::replace(&mut self.ended, true)
        {
            stream.end();
        }
    }
}

impl Drop for Substream {
    fn drop(&mut self) {
        // What this side sent to its end has to arrive: the peer's own end is waited for, unread.
        if self.ended
            && !self.heard_end
            && let (Some(mut stream), Ok(runtime)) =
                (self.stream.take(), tokio::runtime::Handle::try_current())
        {
            let inbox = self.inbox.clone();
            runtime.spawn(async move {
                let drained = std::future::poll_fn(|cx| stream.poll_flushed(cx));
                let _ = tokio::time::timeout(DRAIN, drained).await;
                drop(inbox);
            });
        }
    }
}

/// Who takes streams of which type; those of other types are refused.
#[derive(Clone, Default)]
pub struct StreamRegistry {
    /// The handler of libp2p substreams.
    pub libp2p: Option<Arc<dyn Streams>>,
    /// The handler of streams of packets.
    pub mix: Option<Arc<dyn Streams>>,
    /// Streams of sessions that are joined with a leg of version 1.1; in their form they are libp2p's.
    pub translated: Option<Arc<dyn Streams>>,
    /// The versions that are offered.
    pub l2: L2,
}

impl StreamRegistry {
    /// The handler of a stream type, on a translated session or another.
    pub fn of(&self, kind: u8, translated: bool) -> Option<Arc<dyn Streams>> {
        match kind {
            kind::LIBP2P if translated && self.translated.is_some() => self.translated.clone(),
            kind::LIBP2P => self.libp2p.clone(),
            kind::MIX => self.mix.clone(),
            _ => None,
        }
    }

    /// What a node with these offers.
    pub const fn extra(&self) -> Extra {
        Extra {
            libp2p: self.libp2p.is_some(),
            mix: self.mix.is_some(),
            l2: self.l2,
        }
    }

    /// The stream types that they take.
    pub fn kinds(&self) -> impl Iterator<Item = u8> {
        let both = [kind::LIBP2P, kind::MIX].into_iter();
        both.filter(|kind| self.of(*kind, true).is_some())
    }
}
