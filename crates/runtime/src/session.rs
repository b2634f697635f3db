use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use betanet_bar::Request;
use betanet_carrier::Cost;
use betanet_htx::{By, Session, StreamId};
use betanet_keys::PublicKey;
use betanet_wire::{ChargeTo, Code};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::driver::{Ask, Op, Open};
use crate::forward::RawStream;
use crate::{Answer, Body, Error, ExchangeError, OuterFacts, PeerSession};

/// What a session agreed on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionFacts {
    /// Layer keys and the IDs chosen, `""` where none is common.
    pub ids: Vec<(String, String)>,
    /// Features that both offer.
    pub features: Vec<String>,
    /// Whether ML-KEM-768 went into the keys.
    pub pq: bool,
    /// The client's TemplateID.
    pub template: [u8; 32],
    /// The smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// The Noise handshake hash.
    pub transcript: [u8; 32],
    /// Times the sending and the receiving key turned.
    pub rekeys: (u64, u64),
    /// What padding has cost this side, or following a shape.
    pub padded: Option<Cost>,
}

impl SessionFacts {
    pub(crate) fn of(session: &Session) -> Self {
        let agreed = session.agreed();
        let own = |(k, v): (&str, &str)| (k.to_owned(), v.to_owned());
        Self {
            ids: agreed.map_or_else(Vec::new, |a| a.ids().map(own).collect()),
            features: agreed.map_or_else(Vec::new, |a| a.features().to_vec()),
            pq: session.pq(),
            template: session.template().copied().unwrap_or_default(),
            rtt: session.rtt(),
            transcript: session.transcript().copied().unwrap_or_default(),
            rekeys: (session.stats().rekeys_out, session.stats().rekeys_in),
            padded: None,
        }
    }
}

/// What is known of a session once it is over, and whether it was of use before.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    end: OnceLock<(Code, String, By)>,
    worked: AtomicBool,
}

impl Outcome {
    pub(crate) fn ended(&self, code: Code, reason: &str, by: By) {
        let _ = self.end.set((code, reason.to_owned(), by));
    }

    /// Something was answered, or the peer began something.
    pub(crate) fn works(&self) {
        if !self.worked.load(Ordering::Relaxed) {
            self.worked.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn worked(&self) -> bool {
        self.worked.load(Ordering::Relaxed)
    }

    /// Whether it ended as it should.
    pub(crate) fn is_well(&self) -> bool {
        matches!(self.end.get(), Some((Code::OK, ..)))
    }

    /// Why an exchange does not come to its end.
    pub(crate) fn error(&self, delivered: u64) -> ExchangeError {
        match self.end.get() {
            Some((code, reason, by)) if *by != By::Cut && *code != Code::OK => {
                ExchangeError::Closed {
                    code: *code,
                    reason: reason.clone(),
                    by: *by,
                    delivered,
                }
            }
            _ => ExchangeError::Cut { delivered },
        }
    }
}

/// A session's user end. Clones share the session; with the last one it closes.
#[derive(Clone, Debug)]
pub struct SessionHandle {
    pub(crate) ops: mpsc::Sender<Op>,
    pub(crate) peer: PublicKey,
    pub(crate) outer: OuterFacts,
    pub(crate) over: CancellationToken,
    pub(crate) id: u64,
    pub(crate) outcome: Arc<Outcome>,
}

fn gone<T>(_: T) -> Error {
    ExchangeError::Cut { delivered: 0 }.into()
}

/// Sends bytes on a stream; waits while the peer gives no credit.
pub(crate) async fn send(
    ops: &mpsc::Sender<Op>,
    stream: StreamId,
    data: Bytes,
    fin: bool,
) -> Result<(), Error> {
    let (done, sent) = oneshot::channel();
    let op = Op::Send {
        stream,
        data,
        fin,
        done,
    };
    ops.send(op).await.map_err(gone)?;
    sent.await.map_err(gone)?
}

/// Opens a stream of another type than BAR.
pub(crate) async fn open_raw(
    ops: &mpsc::Sender<Op>,
    kind: u8,
    first: Bytes,
) -> Result<RawStream, Error> {
    let (reply, opened) = oneshot::channel();
    let open = Open {
        kind,
        first,
        ops: ops.clone(),
        reply,
    };
    ops.send(Op::Open(Box::new(open))).await.map_err(gone)?;
    opened.await.map_err(gone)?
}

impl SessionHandle {
    /// The other end.
    #[must_use]
    pub const fn peer(&self) -> &PublicKey {
        &self.peer
    }

    /// What the outer connection is.
    #[must_use]
    pub const fn outer(&self) -> &OuterFacts {
        &self.outer
    }

    /// Waits until the session is over, without keeping it open.
    pub fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        self.over.clone().cancelled_owned()
    }

    fn gone<T>(&self, _: T) -> Error {
        self.outcome.error(0).into()
    }

    /// What came of the session.
    pub(crate) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Ends once nothing was opened on it for so long.
    pub(crate) async fn ends_idle(&self, after: Duration) {
        // One that has ended ends no more.
        let _ = self.ops.send(Op::EndsIdle(after)).await;
    }

    /// Whether the session has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.ops.is_closed()
    }

    /// Sends a request's head; what its answer's body will be gives the exchange up when it is dropped.
    async fn begin(&self, request: Request, more: bool) -> Result<Body, Error> {
        let (reply, begun) = oneshot::channel();
        self.ops
            .send(Op::Ask(Box::new(Ask {
                request,
                more,
                ops: self.ops.clone(),
                reply,
            })))
            .await
            .map_err(|e| self.gone(e))?;
        begun.await.map_err(|e| self.gone(e))?
    }

    /// Sends a request without a streamed body, and waits for the answer's head.
    ///
    /// # Errors
    ///
    /// The session or the exchange ended, or the request is not one.
    pub async fn ask(&self, request: Request) -> Result<Answer, Error> {
        self.begin(request, false).await?.answered().await
    }

    /// Sends a request's head; the body follows through what is returned.
    ///
    /// # Errors
    ///
    /// As [`SessionHandle::ask`].
    pub async fn upload(&self, request: Request) -> Result<Upload, Error> {
        let body = self.begin(request, true).await?;
        Ok(Upload { body })
    }

    /// Sends a path message.
    pub(crate) async fn path_control(&self, payload: Bytes) -> Result<(), Error> {
        self.ops.send(Op::PathControl(payload)).await.map_err(gone)
    }

    /// Opens a stream of another type than BAR.
    pub(crate) async fn open_raw(&self, kind: u8, first: Bytes) -> Result<RawStream, Error> {
        open_raw(&self.ops, kind, first).await
    }

    /// The same session, for whoever opens streams of other types on it. It does not end with the last handle then, but when it
    /// is closed.
    #[must_use]
    pub fn peer_session(&self) -> PeerSession {
        PeerSession {
            id: self.id,
            ops: self.ops.clone(),
            peer: self.peer,
            ip: None,
            charge: ChargeTo::Node(self.peer.node_id()),
            over: self.over.clone(),
        }
    }

    /// Measures the round-trip time with one PING.
    ///
    /// # Errors
    ///
    /// The session ended.
    pub async fn ping(&self) -> Result<Duration, Error> {
        let (reply, pong) = oneshot::channel();
        let sent = self.ops.send(Op::Ping(reply)).await;
        sent.map_err(|e| self.gone(e))?;
        pong.await.map_err(|e| self.gone(e))
    }

    /// Turns this side's sending key.
    ///
    /// # Errors
    ///
    /// The session ended.
    pub async fn rekey(&self) -> Result<(), Error> {
        let sent = self.ops.send(Op::Rekey).await;
        sent.map_err(|e| self.gone(e))
    }

    /// What the session agreed on and counted.
    ///
    /// # Errors
    ///
    /// The session ended.
    pub async fn facts(&self) -> Result<SessionFacts, Error> {
        let (reply, facts) = oneshot::channel();
        let sent = self.ops.send(Op::Facts(reply)).await;
        sent.map_err(|e| self.gone(e))?;
        facts.await.map_err(|e| self.gone(e))
    }

    /// The key that paths through the mix are drawn with, whose guard is the other end.
    pub(crate) async fn lottery_key(&self) -> Result<Zeroizing<[u8; 32]>, Error> {
        let (reply, key) = oneshot::channel();
        self.ops.send(Op::LotteryKey(reply)).await.map_err(gone)?;
        key.await.map_err(gone)?.ok_or(Error::NoAddress)
    }

    /// Closes the session with OK.
    pub async fn close(&self) {
        // One that has ended is closed.
        let _ = self.ops.send(Op::Close).await;
        self.ops.closed().await;
    }
}

/// A request whose body is being sent. Dropped before its end, it is given up: the peer keeps nothing of it.
#[derive(Debug)]
pub struct Upload {
    body: Body,
}

impl Upload {
    async fn push(&self, data: Bytes, fin: bool) -> Result<(), Error> {
        send(&self.body.ops, self.body.stream, data, fin).await
    }

    /// Waits until an answer's head is here, or the exchange has ended: more of the body is not needed then.
    pub async fn answered(&self) {
        self.body.inbox.answered().await;
    }

    /// Sends bytes; waits while the peer gives no credit, but not longer than until it answers.
    ///
    /// # Errors
    ///
    /// [`Error::Answered`] when the answer is here before the body's end: [`Upload::finish`] gives it. The exchange ended.
    pub async fn send(&self, data: Bytes) -> Result<(), Error> {
        tokio::select! {
            biased;
            () = self.answered() => Err(Error::Answered),
            sent = self.push(data, false) => sent,
        }
    }

    /// Ends the body and waits for the answer's head. Where the answer came first, the rest of the body is given up.
    ///
    /// # Errors
    ///
    /// As [`SessionHandle::ask`].
    pub async fn finish(mut self) -> Result<Answer, Error> {
        self.body.unsent = tokio::select! {
            biased;
            () = self.answered() => true,
            sent = self.push(Bytes::new(), true) => sent.is_err(),
        };
        self.body.answered().await
    }

    /// Gives the request up: the peer keeps nothing of a body that did not come to its end.
    pub async fn abandon(mut self) {
        (self.body.ended, self.body.unsent) = (true, false);
        let abort = Op::Abort {
            stream: self.body.stream,
            code: Code::OK,
        };
        // With the session the request has ended too.
        let _ = self.body.ops.send(abort).await;
    }
}
