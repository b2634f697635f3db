//! Streams that other protocols use: libp2p substreams, and packets of the mix.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use betanet_carrier::{Carrier as _, Received};
use betanet_htx::{Config, Extra, L2, kind, offered_caps_with};
use betanet_keys::PublicKey;
use betanet_wire::ChargeTo;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::StreamType;
use crate::exchange::Inbox;
use crate::ops::{Op, RawStream, open_raw};
use crate::stream_carrier::ForwardCarrier;

/// Time that a stream without a reader waits for the peer's end.
const DRAIN: Duration = Duration::from_secs(10);

/// Handles streams that peers open. A closure with these arguments is a handler.
pub trait Streams: Send + Sync + 'static {
    /// Called when a peer has opened a stream of a registered type. Must not block: long work belongs in a task of its own.
    fn opened(&self, session: &PeerSession, kind: u8, stream: Substream);
}

impl<F> Streams for F
where
    F: Fn(&PeerSession, u8, Substream) + Send + Sync + 'static,
{
    fn opened(&self, session: &PeerSession, kind: u8, stream: Substream) {
        self(session, kind, stream);
    }
}

/// A session on which both the peer and this node can open streams.
#[derive(Clone, Debug)]
pub struct PeerSession {
    pub(crate) id: u64,
    pub(crate) ops: mpsc::Sender<Op>,
    pub(crate) peer: PublicKey,
    pub(crate) ip: Option<IpAddr>,
    pub(crate) charge: ChargeTo,
    pub(crate) over: CancellationToken,
}

/// Returns a session number that is unique in this process.
pub fn session_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl PeerSession {
    /// Returns the session's number, which is unique in this process.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Returns the peer's key.
    #[must_use]
    pub const fn peer(&self) -> &PublicKey {
        &self.peer
    }

    /// Returns the peer's IP address, or `None` if the session came over relays.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// Returns the party charged for the session's resources. A session over relays is charged to the same party as the session
    /// that carries it.
    #[must_use]
    pub const fn charge(&self) -> ChargeTo {
        self.charge
    }

    /// Opens a stream of type `kind`.
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

    /// Closes the session once all written data has been sent.
    pub async fn finish(&self) {
        // A session that has ended is already closed.
        let _ = self.ops.send(Op::Finish).await;
        self.over().await;
    }

    /// Closes the session.
    pub async fn close(&self) {
        // A session that has ended is already closed.
        let _ = self.ops.send(Op::Close).await;
        self.ops.closed().await;
    }
}

/// A stream's bytes in both directions, with a polling interface. Dropping it before this side has ended resets it.
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
    /// Creates the polling interface of a stream.
    pub fn new(stream: RawStream) -> Self {
        let inbox = stream.inbox();
        Self {
            stream: Some(ForwardCarrier::new(Bytes::new(), stream)),
            inbox,
            heard_end: false,
            ended: false,
        }
    }

    /// Returns the next bytes, or `None` once after the last.
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
        if self.ended {
            // Whoever only reads after its end sends that end too. A failure shows in what is read.
            let _ = stream.poll_ready(cx);
        }
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

    /// Returns whether [`Substream::send`] may be called. After the last bytes, returns whether the session has taken them.
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

    /// Sends bytes. Requires that [`Substream::poll_ready`] has returned ready.
    ///
    /// # Errors
    ///
    /// This side has ended the stream.
    pub fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        match &mut self.stream {
            Some(stream) if !self.ended => stream.send(bytes).map_err(|_| gone()),
            _ => Err(gone()),
        }
    }

    /// Returns the next bytes, or `None` after the last.
    ///
    /// # Errors
    ///
    /// See [`Substream::poll_next`].
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Sends bytes, and waits until the session has taken them.
    ///
    /// # Errors
    ///
    /// See [`Substream::poll_ready`].
    pub async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_ready(cx)).await?;
        self.send(bytes)?;
        std::future::poll_fn(|cx| self.poll_ready(cx)).await
    }

    /// Ends the sending direction, and waits until the session has taken the end.
    ///
    /// # Errors
    ///
    /// See [`Substream::poll_ready`].
    pub async fn finish(&mut self) -> io::Result<()> {
        self.end();
        std::future::poll_fn(|cx| self.poll_ready(cx)).await
    }

    /// Ends the sending direction. The end is sent by the next [`Substream::poll_ready`], which reports when the session has taken
    /// it, by the next [`Substream::poll_next`], or when the stream is dropped.
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
        // Data sent before the end has to arrive, and the end itself, so wait for the peer's end without reading.
        if self.ended
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

/// Handlers of streams, by type. Streams of other types are refused.
#[derive(Clone, Default)]
pub struct StreamRegistry {
    /// Handler of libp2p substreams.
    pub libp2p: Option<Arc<dyn Streams>>,
    /// Handler of packet streams.
    pub mix: Option<Arc<dyn Streams>>,
    /// Handler of streams on sessions that are joined with a leg of version 1.1. Their format is that of libp2p streams.
    pub translated: Option<Arc<dyn Streams>>,
    /// Handlers of an embedding program's types, by number.
    pub own: BTreeMap<u8, (StreamType, Arc<dyn Streams>)>,
    /// The offered versions of layer 2.
    pub l2: L2,
}

impl StreamRegistry {
    /// Returns the handler of a stream type, on a translated session or another.
    pub fn of(&self, kind: u8, translated: bool) -> Option<Arc<dyn Streams>> {
        match kind {
            kind::LIBP2P if translated && self.translated.is_some() => self.translated.clone(),
            kind::LIBP2P => self.libp2p.clone(),
            kind::MIX => self.mix.clone(),
            kind => self.own.get(&kind).map(|(_, handler)| Arc::clone(handler)),
        }
    }

    /// Returns the encoded capabilities that a node with these handlers offers in sessions of this configuration.
    pub fn caps(&self, config: &Config) -> Vec<u8> {
        let extra = Extra {
            aes: config.offers_aes(),
            libp2p: self.libp2p.is_some(),
            mix: self.mix.is_some(),
            naming: self.own.contains_key(&kind::ALIAS_GOSSIP),
            l2: self.l2,
        };
        let features = self.own.values().map(|(kind, _)| kind.feature());
        let features = features.filter(|name| !name.is_empty());
        offered_caps_with(config.pq.offered(), extra, features)
    }

    /// Returns the stream types that have handlers.
    pub fn kinds(&self) -> impl Iterator<Item = u8> {
        let both = [kind::LIBP2P, kind::MIX].into_iter();
        both.filter(|kind| self.of(*kind, true).is_some())
            .chain(self.own.keys().copied())
    }
}
