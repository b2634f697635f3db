//! A request as it arrives: its head first, then its body as far as the service reads it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use betanet_bar::{Error as BarError, Incoming, Part, Refusal, Request};
use betanet_htx::StreamId;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::PollSender;

use crate::exchange::Inbox;
use crate::ops::{Op, tell};

/// Used-up bytes that are told to the client together.
const CREDIT_STEP: u64 = 64 << 10;

/// Why a request's body does not come to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The client gave up, or its session ended.
    #[error("the client is gone")]
    Gone,
    /// It is not as long as the head said, or must not be there. The client is told so, whatever the service answers.
    #[error("the body is not what the request's head said")]
    Malformed,
}

/// Why there is no more of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// It is answered with 400.
    Refused(Refusal),
    /// It is no request.
    Malformed,
    /// The client is gone.
    Gone,
}

/// A request that arrives on a byte stream.
pub(super) struct Arriving {
    stream: StreamId,
    inbox: Inbox,
    ops: mpsc::Sender<Op>,
    /// Bytes that were taken, and not told yet.
    owed: u64,
    /// Waits for room to tell them.
    waits: Option<PollSender<Op>>,
    incoming: Incoming<Request>,
    heard_all: bool,
    complete: bool,
    fault: Option<Fault>,
    /// Who answers, and has to know of a fault.
    answerer: Option<Waker>,
}

impl Arriving {
    fn new(stream: StreamId, inbox: Inbox, ops: mpsc::Sender<Op>) -> Self {
        Self {
            stream,
            inbox,
            ops,
            owed: 0,
            waits: None,
            incoming: Incoming::default(),
            heard_all: false,
            complete: false,
            fault: None,
            answerer: None,
        }
    }

    /// Tells the client what was used, once there is room for that in the queue of who hears it.
    fn poll_pay(&mut self, cx: &mut Context<'_>) {
        if self.owed == 0 {
            return;
        }
        let (stream, bytes) = (self.stream, self.owed);
        let pay = Op::Consume { stream, bytes };
        if let Err(TrySendError::Full(pay)) = self.ops.try_send(pay) {
            let ops = &self.ops;
            let waits = self
                .waits
                .get_or_insert_with(|| PollSender::new(ops.clone()));
            match waits.poll_reserve(cx) {
                // Nobody hears it when the session is gone.
                Poll::Ready(reserved) => {
                    let _ = reserved.and_then(|()| waits.send_item(pay));
                }
                Poll::Pending => return,
            }
        }
        self.waits = None;
        self.owed = 0;
    }

    /// The same from where nobody can wait, for the last time.
    fn pay_all(&mut self) {
        let (stream, bytes) = (self.stream, std::mem::take(&mut self.owed));
        if bytes > 0 {
            tell(&self.ops, Op::Consume { stream, bytes });
        }
        self.waits = None;
    }

    fn push(&mut self, bytes: Bytes, fin: bool) {
        if let Err(error) = self.incoming.push(bytes, fin) {
            self.fault = Some(match error {
                BarError::Refused(why) => Fault::Refused(why),
                _ => Fault::Malformed,
            });
            if let Some(waker) = self.answerer.take() {
                waker.wake();
            }
        }
    }

    /// The next part. What was taken before counts as used.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Part<Request>, Fault>> {
        loop {
            if let Some(part) = self.incoming.pop() {
                if part == Part::End {
                    self.complete = true;
                    self.pay_all();
                }
                return Poll::Ready(Ok(part));
            }
            if let Some(fault) = self.fault {
                return Poll::Ready(Err(fault));
            }
            match self.inbox.poll_chunk(cx) {
                Poll::Ready(Ok(Some(bytes))) => {
                    self.owed += bytes.len() as u64;
                    if self.owed >= CREDIT_STEP {
                        self.poll_pay(cx);
                    }
                    self.push(bytes, false);
                }
                Poll::Ready(Ok(None)) if !self.heard_all => {
                    self.heard_all = true;
                    self.push(Bytes::new(), true);
                }
                Poll::Ready(Ok(None) | Err(_)) => self.fault = Some(Fault::Gone),
                Poll::Pending => {
                    // Before waiting, the client is given all credit that is due.
                    self.poll_pay(cx);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Nobody reads on: what is there and what comes is dropped, and the client has its credit back.
    fn discard(&mut self) {
        if !self.complete {
            self.fault.get_or_insert(Fault::Gone);
        }
        self.owed += self.inbox.discard();
        self.pay_all();
    }
}

/// The same, shared by who reads and who answers.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Arriving>>);

impl Shared {
    pub(super) fn new(stream: StreamId, inbox: Inbox, ops: mpsc::Sender<Op>) -> Self {
        Self(Arc::new(Mutex::new(Arriving::new(stream, inbox, ops))))
    }

    fn lock(&self) -> MutexGuard<'_, Arriving> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The head.
    pub(super) async fn head(&self) -> Result<Request, Fault> {
        match std::future::poll_fn(|cx| self.lock().poll_part(cx)).await? {
            Part::Head(request) => Ok(request),
            // Nothing else comes first.
            Part::Body(_) | Part::End => Err(Fault::Malformed),
        }
    }

    /// The end of a request that has no body.
    pub(super) async fn end(&self) -> Result<(), Fault> {
        let end = std::future::poll_fn(|cx| self.lock().poll_part(cx)).await?;
        if end == Part::End {
            Ok(())
        } else {
            Err(Fault::Malformed)
        }
    }

    /// Ready when the request turns out to be none.
    pub(super) fn poll_fault(&self, cx: &Context<'_>) -> Poll<Fault> {
        let mut arriving = self.lock();
        match arriving.fault {
            Some(fault @ (Fault::Refused(_) | Fault::Malformed)) => Poll::Ready(fault),
            Some(Fault::Gone) | None => {
                arriving.answerer = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether it has turned out to be none.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.lock().fault.filter(|fault| *fault != Fault::Gone)
    }

    pub(super) fn discard(&self) {
        self.lock().discard();
    }

    /// For the service.
    pub(super) fn body(&self) -> CallBody {
        CallBody(self.clone())
    }
}

/// A request's body. Bytes that are not read give the client no credit; dropped, what is left of it is not waited for.
pub struct CallBody(Shared);

impl std::fmt::Debug for CallBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallBody")
    }
}

impl CallBody {
    /// One that is here as a whole.
    #[cfg(any(test, feature = "testkit"))]
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        let inbox = Inbox::default();
        let put = betanet_bar::Method::Put;
        let head = Request::new(put, "/", betanet_bar::Headers::default()).to_message();
        inbox.body(head.unwrap_or_default().into());
        inbox.body(bytes);
        inbox.end(Ok(()));
        Self(Shared::new(0, inbox, mpsc::channel(1).0))
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    ///
    /// The body does not come to its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// The same by polling.
    ///
    /// # Errors
    ///
    /// As [`CallBody::chunk`].
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        let mut arriving = self.0.lock();
        loop {
            if arriving.complete {
                return Poll::Ready(Ok(None));
            }
            match std::task::ready!(arriving.poll_part(cx)) {
                Ok(Part::Body(bytes)) => return Poll::Ready(Ok(Some(bytes))),
                Ok(Part::Head(_) | Part::End) => {}
                Err(Fault::Gone) => return Poll::Ready(Err(BodyError::Gone)),
                Err(Fault::Refused(_) | Fault::Malformed) => {
                    return Poll::Ready(Err(BodyError::Malformed));
                }
            }
        }
    }

    /// All of it, up to `max` bytes; `None` when it is longer.
    ///
    /// # Errors
    ///
    /// As [`CallBody::chunk`].
    pub async fn all(&mut self, max: usize) -> Result<Option<Vec<u8>>, BodyError> {
        let mut out = Vec::new();
        while let Some(bytes) = self.chunk().await? {
            if out.len() + bytes.len() > max {
                return Ok(None);
            }
            out.extend_from_slice(&bytes);
        }
        Ok(Some(out))
    }
}

impl Drop for CallBody {
    fn drop(&mut self) {
        self.0.discard();
    }
}
