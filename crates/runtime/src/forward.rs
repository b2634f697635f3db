//! Streams through other nodes: a session's carrier is then a FORWARD stream of another session.

mod load;
mod relay;

use std::collections::BTreeMap;
use std::future::Future as _;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use betanet_carrier::{Carrier, Error as CarrierError, Received};
use betanet_htx::StreamId;
use betanet_keys::PublicKey;
use betanet_path::{Cf, Control, ControlError, Failure, LinkPath, PathId, Route, Stamps};
use betanet_wire::{ChargeTo, Code, NodeId};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::PollSender;

use crate::driver::{Op, tell};
use crate::exchange::Inbox;
use crate::mesh::Reports;
use crate::{Body, Error, ExchangeError, session};

pub(crate) use relay::{Exits, Relay};

/// Paths that one node waits on at once, at most.
const WAITING_MAX: usize = 4096;

/// Whose session something came on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CameFrom {
    /// The peer's key.
    pub(crate) key: PublicKey,
    /// Its address, where it came directly.
    pub(crate) ip: Option<IpAddr>,
    /// Who pays for it.
    pub(crate) charge: ChargeTo,
}

/// Who takes path messages, and streams of other types than BAR.
pub(crate) trait Paths: Send + Sync {
    /// A path message; what it is answered at once. `ops` reaches the session that it came on.
    ///
    /// # Errors
    ///
    /// Why it is refused. A few may be honest mistakes, as by a clock that is wrong.
    fn control(
        self: Arc<Self>,
        from: &CameFrom,
        payload: &[u8],
        ops: Option<mpsc::Sender<Op>>,
    ) -> Result<Option<Control>, Code>;

    /// A stream of this type that the peer opened.
    fn opened(self: Arc<Self>, from: &CameFrom, kind: u8, stream: RawStream);
}

/// A path message, where it is one.
fn read(payload: &[u8]) -> Result<Control, Code> {
    Control::from_bytes(payload).map_err(|error| {
        tracing::debug!(%error, "path message refused");
        match error {
            ControlError::Encrypted => Code::UNSUPPORTED_FEATURE,
            _ => Code::PATH_INVALID,
        }
    })
}

/// A stream of another type than BAR. Dropped before both its directions ended, it is reset.
#[derive(Debug)]
pub(crate) struct RawStream {
    body: Body,
}

impl RawStream {
    pub(crate) const fn new(stream: StreamId, inbox: Inbox, ops: mpsc::Sender<Op>) -> Self {
        Self {
            body: Body::new(stream, inbox, ops, false),
        }
    }

    /// Where its bytes arrive.
    pub(crate) fn inbox(&self) -> Inbox {
        self.body.inbox.clone()
    }

    /// The next bytes; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        self.body.chunk().await
    }

    /// Both directions apart.
    pub(crate) fn split(self) -> (Body, RawSender) {
        let sender = RawSender {
            stream: self.body.stream,
            ops: self.body.ops.clone(),
            ended: false,
        };
        (self.body, sender)
    }

    /// Resets it.
    pub(crate) async fn refuse(mut self, code: Code) {
        self.body.ended = true;
        let stream = self.body.stream;
        // A session that is gone has no streams.
        let _ = self.body.ops.send(Op::Abort { stream, code }).await;
    }
}

/// The sending direction of a [`RawStream`]. Dropped before its end, it resets the stream.
#[derive(Debug)]
pub(crate) struct RawSender {
    stream: StreamId,
    ops: mpsc::Sender<Op>,
    ended: bool,
}

impl RawSender {
    /// Sends bytes; waits while the peer gives no credit.
    pub(crate) async fn send(&mut self, data: Bytes, fin: bool) -> Result<(), Error> {
        session::send(&self.ops, self.stream, data, fin).await?;
        self.ended |= fin;
        Ok(())
    }

    /// Breaks the stream off.
    pub(crate) async fn abort(mut self, code: Code) {
        self.ended = true;
        let stream = self.stream;
        // A session that is gone has no streams.
        let _ = self.ops.send(Op::Abort { stream, code }).await;
    }
}

impl Drop for RawSender {
    fn drop(&mut self) {
        if !self.ended {
            let (stream, code) = (self.stream, Code::OK);
            tell(&self.ops, Op::Abort { stream, code });
        }
    }
}

/// Carries a session over a [`RawStream`].
pub(crate) struct ForwardCarrier {
    /// Read before the session took over.
    first: Bytes,
    inbox: Inbox,
    stream: StreamId,
    ops: PollSender<Op>,
    /// The last write, until the session below has taken it.
    sending: Option<oneshot::Receiver<Result<(), Error>>>,
    waiting: Option<(Bytes, bool)>,
    owed: u64,
    heard_end: bool,
    sent_end: bool,
    broken: bool,
}

/// Used-up bytes that are told to the peer together.
const CREDIT_STEP: u64 = 64 << 10;

impl ForwardCarrier {
    pub(crate) fn new(first: Bytes, stream: RawStream) -> Self {
        let mut body = stream.body;
        // This carrier ends the stream and gives its credit back now.
        body.ended = true;
        let owed = std::mem::take(&mut body.owed);
        Self {
            first,
            inbox: body.inbox.clone(),
            stream: body.stream,
            ops: PollSender::new(body.ops.clone()),
            sending: None,
            waiting: None,
            owed,
            heard_end: false,
            sent_end: false,
            broken: false,
        }
    }

    fn pay(&mut self, cx: &mut Context<'_>) {
        // Without room now, the next read pays.
        if self.owed > 0 && matches!(self.ops.poll_reserve(cx), Poll::Ready(Ok(()))) {
            let (stream, bytes) = (self.stream, std::mem::take(&mut self.owed));
            let _ = self.ops.send_item(Op::Consume { stream, bytes });
        }
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CarrierError>> {
        loop {
            if let Some(sending) = &mut self.sending {
                let sent = ready!(Pin::new(sending).poll(cx));
                self.sending = None;
                // Nothing can follow bytes that were lost.
                self.broken |= !matches!(sent, Ok(Ok(())));
            }
            if self.broken {
                return Poll::Ready(Err(CarrierError::Gone));
            }
            if self.waiting.is_none() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.ops.poll_reserve(cx)).is_err() {
                self.broken = true;
                continue;
            }
            if let Some((data, fin)) = self.waiting.take() {
                let (done, sent) = oneshot::channel();
                let stream = self.stream;
                let op = Op::Send {
                    stream,
                    data,
                    fin,
                    done,
                };
                self.ops.send_item(op).map_err(|_| CarrierError::Gone)?;
                self.sending = Some(sent);
            }
        }
    }
}

impl Carrier for ForwardCarrier {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, CarrierError>> {
        if !self.first.is_empty() {
            return Poll::Ready(Ok(Received::Bytes(std::mem::take(&mut self.first))));
        }
        if self.heard_end {
            return Poll::Pending;
        }
        match self.inbox.poll_chunk(cx) {
            Poll::Ready(Ok(Some(bytes))) => {
                self.owed += bytes.len() as u64;
                if self.owed >= CREDIT_STEP {
                    self.pay(cx);
                }
                Poll::Ready(Ok(Received::Bytes(bytes)))
            }
            Poll::Ready(Ok(None)) => {
                self.heard_end = true;
                Poll::Ready(Ok(Received::End))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(CarrierError::Gone)),
            Poll::Pending => {
                self.pay(cx);
                Poll::Pending
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CarrierError>> {
        self.poll_sent(cx)
    }

    fn send(&mut self, bytes: Bytes) -> Result<(), CarrierError> {
        self.waiting = Some((bytes, false));
        Ok(())
    }

    fn push(&mut self, _: &mut Context<'_>) {
        // The session below sends what it takes.
    }

    fn end(&mut self) {
        self.sent_end = true;
        match &mut self.waiting {
            Some((_, fin)) => *fin = true,
            None => self.waiting = Some((Bytes::new(), true)),
        }
    }

    fn reset(&mut self) {
        self.waiting = None;
    }

    fn go_away(&mut self) {
        // A path has no carrier that could be told; its session refuses new streams.
    }

    fn export_as(&self, _: &str, _: &[u8], _: &mut [u8]) -> Result<(), CarrierError> {
        // A session over FORWARD derives its material itself (E-31).
        Err(CarrierError::Export)
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.poll_sent(cx) {
            Poll::Ready(Ok(())) if !self.sent_end || self.heard_end => Poll::Ready(()),
            Poll::Ready(Err(_)) => Poll::Ready(()),
            _ => loop {
                // The peer's end is what tells that ours has arrived.
                match self.inbox.poll_chunk(cx) {
                    Poll::Ready(Ok(Some(bytes))) => self.owed += bytes.len() as u64,
                    Poll::Ready(_) => {
                        self.heard_end = true;
                        return Poll::Ready(());
                    }
                    Poll::Pending => return Poll::Pending,
                }
            },
        }
    }
}

impl Drop for ForwardCarrier {
    fn drop(&mut self) {
        if let Some(ops) = self.ops.get_ref()
            && !(self.sent_end && self.heard_end && self.waiting.is_none())
        {
            let (stream, code) = (self.stream, Code::OK);
            tell(ops, Op::Abort { stream, code });
        }
    }
}

/// A path that this node built, while a session stands on it.
struct Waiting {
    route: Route,
    /// Where the path's stream arrives, once there is one.
    inbox: Option<Inbox>,
    failed: Option<(Failure, NodeId)>,
}

/// The paths that a node built: an ERROR ends the one that it names, if a hop of it signed it.
#[derive(Default)]
pub(crate) struct OwnPaths {
    waiting: Mutex<BTreeMap<LinkPath, Waiting>>,
    /// Whom it tells what peers say of their load; the mesh that was started last.
    reports: Mutex<Option<Reports>>,
    stamps: Mutex<Stamps>,
}

impl OwnPaths {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LinkPath, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The timestamp of a path's header that begins at this time.
    pub(crate) fn stamp(&self, unix_ms: u64) -> u64 {
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        stamps.draw(unix_ms)
    }

    pub(crate) fn reports_to(&self, reports: Reports) {
        *self.reports.lock().unwrap_or_else(PoisonError::into_inner) = Some(reports);
    }

    fn report(&self, from: NodeId, cf: Cf) {
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reports) = &*reports {
            reports.congestion(from, cf);
        }
    }

    /// Waits for errors about a path over `entry` until it is forgotten; `false` when too many are waited for.
    pub(crate) fn wait(&self, entry: NodeId, path: PathId, route: Route) -> bool {
        let mut all = self.lock();
        if all.len() >= WAITING_MAX {
            return false;
        }
        let waiting = Waiting {
            route,
            inbox: None,
            failed: None,
        };
        all.insert((entry, path), waiting);
        true
    }

    /// Ends the path's stream with the path.
    pub(crate) fn bind(&self, entry: NodeId, path: PathId, inbox: Inbox) {
        if let Some(waiting) = self.lock().get_mut(&(entry, path)) {
            if waiting.failed.is_some() {
                inbox.end(Err(ExchangeError::Cut { delivered: 0 }));
            }
            waiting.inbox = Some(inbox);
        }
    }

    /// Why a path ended, and which of its hops said so.
    pub(crate) fn forget(&self, entry: NodeId, path: PathId) -> Option<(Failure, NodeId)> {
        self.lock().remove(&(entry, path))?.failed
    }
}

impl Paths for OwnPaths {
    fn control(
        self: Arc<Self>,
        from: &CameFrom,
        payload: &[u8],
        _: Option<mpsc::Sender<Op>>,
    ) -> Result<Option<Control>, Code> {
        Ok(match read(payload)? {
            Control::Probe(token) => Some(Control::ProbeAck {
                token,
                // It carries nothing for others.
                cf: Cf::default(),
            }),
            Control::Error {
                failure,
                path,
                key,
                sig,
            } => {
                if let Some(waiting) = self.lock().get_mut(&(from.key.node_id(), path))
                    && let Some(hop) = waiting.route.failed_hop(failure, &key, &sig)
                {
                    waiting.failed = Some((failure, hop));
                    if let Some(inbox) = &waiting.inbox {
                        inbox.end(Err(ExchangeError::Cut { delivered: 0 }));
                    }
                }
                None
            }
            Control::ProbeAck { cf, .. } | Control::Congestion(cf) => {
                self.report(from.key.node_id(), cf);
                None
            }
            // Nobody else's paths lead over a node that does not listen.
            Control::Single { .. } | Control::Multi { .. } => None,
        })
    }

    fn opened(self: Arc<Self>, _: &CameFrom, _: u8, stream: RawStream) {
        tokio::spawn(stream.refuse(Code::POLICY_REJECTED));
    }
}
