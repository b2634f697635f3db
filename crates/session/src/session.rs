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
use crate::ops::{Ask, Op, RawStream, gone, open_raw};
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
        Ok(Upload::new(body))
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

/// The result of a send that is not known yet.
type Sent = Option<oneshot::Receiver<Result<(), Error>>>;

/// A request whose body is being sent. Dropping it before its end gives it up, and the peer keeps nothing of it.
#[derive(Debug)]
pub struct Upload {
    body: Body,
    /// The last bytes that the session's task was given, until they were sent. Held by the one that sends.
    last: tokio::sync::Mutex<Sent>,
}

/// Waits until the last bytes were sent. Cancel-safe.
async fn settle(last: &mut Sent) -> Result<(), Error> {
    let Some(sent) = last else {
        return Ok(());
    };
    let outcome = sent.await;
    *last = None;
    outcome.map_err(gone)?
}

impl Upload {
    const fn new(body: Body) -> Self {
        Self {
            body,
            last: tokio::sync::Mutex::const_new(None),
        }
    }

    /// Sends bytes, which it takes from `data` at once or not at all.
    async fn push(&self, data: &mut Bytes, fin: bool) -> Result<(), Error> {
        let mut last = self.last.lock().await;
        // Of a future that was dropped.
        settle(&mut last).await?;
        let permit = self.body.ops.reserve().await.map_err(gone)?;
        let (done, sent) = oneshot::channel();
        permit.send(Op::Send {
            stream: self.body.stream,
            data: std::mem::take(data),
            fin,
            done,
        });
        *last = Some(sent);
        settle(&mut last).await
    }

    /// Waits until an answer's head has arrived or the exchange has ended. The rest of the body is then not needed.
    pub async fn answered(&self) {
        self.body.inbox.answered().await;
    }

    /// Sends bytes. Waits while the peer gives no credit, but at most until it answers.
    ///
    /// If the future is dropped, either all of the bytes are sent, before later ones, or none. [`Upload::send_buf`] tells which.
    ///
    /// # Errors
    ///
    /// [`Error::Answered`] if the answer arrives before the body's end; [`Upload::finish`] returns it. Otherwise, the exchange
    /// ended.
    pub async fn send(&self, mut data: Bytes) -> Result<(), Error> {
        self.send_buf(&mut data).await
    }

    /// Like [`Upload::send`], and cancel-safe: if the future is dropped, `data` is empty if its bytes are sent, and unchanged if not.
    ///
    /// # Errors
    ///
    /// See [`Upload::send`].
    pub async fn send_buf(&self, data: &mut Bytes) -> Result<(), Error> {
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
        let mut end = Bytes::new();
        self.body.unsent = tokio::select! {
            biased;
            () = self.answered() => true,
            sent = self.push(&mut end, true) => sent.is_err(),
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

#[cfg(test)]
mod tests {
    use betanet_bar::{Headers, Method};
    use betanet_keys::Identity;
    use futures_util::FutureExt as _;

    use super::*;
    use crate::{Feed, Inbox};

    type Taken = (Bytes, bool, oneshot::Sender<Result<(), Error>>);

    /// Takes the next operation, which must be a send.
    fn taken(asked: &mut mpsc::Receiver<Op>) -> Option<Taken> {
        match asked.try_recv() {
            Ok(Op::Send {
                data, fin, done, ..
            }) => Some((data, fin, done)),
            Ok(_) | Err(_) => None,
        }
    }

    #[tokio::test]
    async fn bytes_of_a_dropped_send_are_sent_whole_in_order_or_not_at_all() {
        let (ops, mut asked) = mpsc::channel(4);
        let key = *Identity::from_seed(&[7; 32]).public();
        let identity = (1, CancellationToken::new(), Arc::default());
        let outer = OuterFacts::default();
        let handle = SessionHandle::new(ops, key, outer, identity);
        let inbox = Inbox::default();
        let feed = Feed::new(inbox.clone());
        let request = Request::new(Method::Put, "/x", Headers::default());
        let (upload, ()) = tokio::join!(handle.upload(request), async {
            if let Some(Op::Ask(ask)) = asked.recv().await {
                let _ = ask.reply.send(Ok(Body::new(5, inbox, ask.ops, true)));
            }
        });
        let upload = upload.unwrap();
        let (mut one, mut two) = (Bytes::from_static(b"one"), Bytes::from_static(b"two"));
        assert!(upload.send_buf(&mut one).now_or_never().is_none());
        assert!(one.is_empty(), "they are given");
        let (data, fin, done) = taken(&mut asked).unwrap();
        assert_eq!((&data[..], fin), (&b"one"[..], false));
        // Without credit for the first, nothing of the second is given, however often its future is dropped.
        for _ in 0..3 {
            assert!(upload.send_buf(&mut two).now_or_never().is_none());
            assert_eq!(&two[..], b"two");
            assert!(taken(&mut asked).is_none());
        }
        done.send(Ok(())).unwrap();
        assert!(upload.send_buf(&mut two).now_or_never().is_none());
        let (data, _, done) = taken(&mut asked).unwrap();
        assert_eq!((&data[..], two.len()), (&b"two"[..], 0));
        // The end follows the bytes of the dropped future.
        let mut finish = Box::pin(upload.finish());
        assert!(finish.as_mut().now_or_never().is_none());
        assert!(taken(&mut asked).is_none());
        done.send(Ok(())).unwrap();
        assert!(finish.as_mut().now_or_never().is_none());
        let (data, fin, _done) = taken(&mut asked).unwrap();
        assert_eq!((data.len(), fin), (0, true));
        drop(feed);
    }
}
