use std::sync::Arc;
use std::time::Duration;

use betanet_bar::Request;
use betanet_keys::PublicKey;
use betanet_wire::{ChargeTo, Code};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::facts::Outcome;
use crate::ops::{Ask, Op, RawStream, gone, open_raw, send};
use crate::{Answer, Body, Error, OuterFacts, PeerSession, SessionFacts};

/// A user's handle of a session. Clones share the session, which closes when the last one is dropped.
#[derive(Clone, Debug)]
pub struct SessionHandle {
    pub(crate) ops: mpsc::Sender<Op>,
    pub(crate) peer: PublicKey,
    pub(crate) outer: OuterFacts,
    pub(crate) over: CancellationToken,
    pub(crate) id: u64,
    pub(crate) outcome: Arc<Outcome>,
}

impl SessionHandle {
    /// Creates a handle for a task that takes `ops`. The other arguments come from [`Driver::identity`](crate::Driver::identity).
    #[must_use]
    pub fn new(
        ops: mpsc::Sender<Op>,
        peer: PublicKey,
        outer: OuterFacts,
        (id, over, outcome): (u64, CancellationToken, Arc<Outcome>),
    ) -> Self {
        Self {
            ops,
            peer,
            outer,
            over,
            id,
            outcome,
        }
    }

    /// Returns the peer's key.
    #[must_use]
    pub const fn peer(&self) -> &PublicKey {
        &self.peer
    }

    /// Returns the parameters of the outer connection.
    #[must_use]
    pub const fn outer(&self) -> &OuterFacts {
        &self.outer
    }

    /// Waits until the session is over. Does not keep it open.
    pub fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        self.over.clone().cancelled_owned()
    }

    fn gone<T>(&self, _: T) -> Error {
        self.outcome.error(0).into()
    }

    /// Returns the session's outcome.
    #[must_use]
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Ends the session once no stream has been open for this long.
    pub async fn ends_idle(&self, after: Duration) {
        // A session that has ended needs nothing more.
        let _ = self.ops.send(Op::EndsIdle(after)).await;
    }

    /// Returns whether the session has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.ops.is_closed()
    }

    /// Sends a request's head. Dropping the returned body of the answer gives up the exchange.
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
    /// The session or the exchange ended, or the request is invalid.
    pub async fn ask(&self, request: Request) -> Result<Answer, Error> {
        self.begin(request, false).await?.answered().await
    }

    /// Sends a request's head. The returned [`Upload`] sends the body.
    ///
    /// # Errors
    ///
    /// See [`SessionHandle::ask`].
    pub async fn upload(&self, request: Request) -> Result<Upload, Error> {
        let body = self.begin(request, true).await?;
        Ok(Upload { body })
    }

    /// Sends a path message.
    ///
    /// # Errors
    ///
    /// The session ended.
    pub async fn path_control(&self, payload: Bytes) -> Result<(), Error> {
        self.ops.send(Op::PathControl(payload)).await.map_err(gone)
    }

    /// Opens a stream of another type than BAR.
    ///
    /// # Errors
    ///
    /// The session ended, or takes no more streams.
    pub async fn open_raw(&self, kind: u8, first: Bytes) -> Result<RawStream, Error> {
        open_raw(&self.ops, kind, first).await
    }

    /// Returns this session for code that opens streams of other types on it. The session then no longer ends with its last
    /// handle, but only when it is closed.
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

    /// Rekeys this side's sending key.
    ///
    /// # Errors
    ///
    /// The session ended.
    pub async fn rekey(&self) -> Result<(), Error> {
        let sent = self.ops.send(Op::Rekey).await;
        sent.map_err(|e| self.gone(e))
    }

    /// Returns the session's parameters and counters.
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

    /// Returns the key with which paths through the mix are drawn. The peer of the session is their guard.
    ///
    /// # Errors
    ///
    /// The session ended, or is not open.
    pub async fn lottery_key(&self) -> Result<Zeroizing<[u8; 32]>, Error> {
        let (reply, key) = oneshot::channel();
        self.ops.send(Op::LotteryKey(reply)).await.map_err(gone)?;
        key.await.map_err(gone)?.ok_or(Error::NotOpen)
    }

    /// Closes the session with OK.
    pub async fn close(&self) {
        // A session that has ended is already closed.
        let _ = self.ops.send(Op::Close).await;
        self.ops.closed().await;
    }
}

/// A request whose body is being sent. Dropping it before its end gives it up, and the peer keeps nothing of it.
#[derive(Debug)]
pub struct Upload {
    body: Body,
}

impl Upload {
    async fn push(&self, data: Bytes, fin: bool) -> Result<(), Error> {
        send(&self.body.ops, self.body.stream, data, fin).await
    }

    /// Waits until an answer's head has arrived or the exchange has ended. The rest of the body is then not needed.
    pub async fn answered(&self) {
        self.body.inbox.answered().await;
    }

    /// Sends bytes. Waits while the peer gives no credit, but at most until it answers.
    ///
    /// # Errors
    ///
    /// [`Error::Answered`] if the answer arrives before the body's end; [`Upload::finish`] returns it. Otherwise, the exchange
    /// ended.
    pub async fn send(&self, data: Bytes) -> Result<(), Error> {
        tokio::select! {
            biased;
            () = self.answered() => Err(Error::Answered),
            sent = self.push(data, false) => sent,
        }
    }

    /// Ends the body and waits for the answer's head. If the answer has arrived before, the rest of the body is given up.
    ///
    /// # Errors
    ///
    /// See [`SessionHandle::ask`].
    pub async fn finish(mut self) -> Result<Answer, Error> {
        self.body.unsent = tokio::select! {
            biased;
            () = self.answered() => true,
            sent = self.push(Bytes::new(), true) => sent.is_err(),
        };
        self.body.answered().await
    }

    /// Gives up the request. The peer keeps nothing of an incomplete body.
    pub async fn abandon(mut self) {
        (self.body.ended, self.body.unsent) = (true, false);
        let abort = Op::Abort {
            stream: self.body.stream,
            code: Code::OK,
        };
        // If the session has ended, so has the request.
        let _ = self.body.ops.send(abort).await;
    }
}
