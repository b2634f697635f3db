//! A request as it arrives: its head first, then its body at the pace of the service.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use betanet_bar::{Error as BarError, Incoming, Part, Refusal, Request};
use betanet_htx::StreamId;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::PollSender;

use crate::exchange::Inbox;
use crate::ops::{Op, append, tell};

/// Number of consumed bytes after which the client is given credit.
const CREDIT_STEP: u64 = 64 << 10;

/// The reason why a request's body is incomplete.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The client gave up, or its session ended.
    #[error("the client is gone")]
    Gone,
    /// The body does not have the length that the head states, or must not exist. The client receives an error, whatever the
    /// service answers.
    #[error("the body is not what the request's head said")]
    Malformed,
}

/// The reason why a request does not continue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// The request is refused, and answered with 400.
    Refused(Refusal),
    /// The bytes are not a request.
    Malformed,
    /// The client is gone.
    Gone,
}

/// A request that arrives on a byte stream.
pub(super) struct Arriving {
    stream: StreamId,
    inbox: Inbox,
    ops: mpsc::Sender<Op>,
    /// Bytes consumed for which no credit was given yet.
    owed: u64,
    /// Waits for room in the queue to give credit.
    waits: Option<PollSender<Op>>,
    incoming: Incoming<Request>,
    heard_all: bool,
    complete: bool,
    fault: Option<Fault>,
    /// Wakes the answering task when the request turns out to be faulty.
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

    /// Gives the client credit for consumed bytes, once the operation queue has room.
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
                // A closed session needs no credit.
                Poll::Ready(reserved) => {
                    let _ = reserved.and_then(|()| waits.send_item(pay));
                }
                Poll::Pending => return,
            }
        }
        self.waits = None;
        self.owed = 0;
    }

    /// Gives all remaining credit, from code that cannot wait.
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

    /// Returns the next part. The part taken before then counts as consumed.
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
                    // Before waiting, give the client all credit that is due.
                    self.poll_pay(cx);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Drops all buffered and arriving bytes, and gives the client credit for them.
    fn discard(&mut self) {
        if !self.complete {
            self.fault.get_or_insert(Fault::Gone);
        }
        self.owed += self.inbox.discard();
        self.pay_all();
    }
}

/// A request shared by its reader and its answerer.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Arriving>>);

impl Shared {
    pub(super) fn new(stream: StreamId, inbox: Inbox, ops: mpsc::Sender<Op>) -> Self {
        Self(Arc::new(Mutex::new(Arriving::new(stream, inbox, ops))))
    }

    fn lock(&self) -> MutexGuard<'_, Arriving> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the head.
    pub(super) async fn head(&self) -> Result<Request, Fault> {
        match std::future::poll_fn(|cx| self.lock().poll_part(cx)).await? {
            Part::Head(request) => Ok(request),
            // No other part comes first.
            Part::Body(_) | Part::End => Err(Fault::Malformed),
        }
    }

    /// Waits for the end of a request that has no body.
    pub(super) async fn end(&self) -> Result<(), Fault> {
        let end = std::future::poll_fn(|cx| self.lock().poll_part(cx)).await?;
        if end == Part::End {
            Ok(())
        } else {
            Err(Fault::Malformed)
        }
    }

    /// Resolves when the request turns out to be faulty.
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

    /// Returns the request's fault, if it has one.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.lock().fault.filter(|fault| *fault != Fault::Gone)
    }

    pub(super) fn discard(&self) {
        self.lock().discard();
    }

    /// Returns the body, for the service.
    pub(super) fn body(&self) -> CallBody {
        CallBody(self.clone())
    }
}

/// The body of a request. Unread bytes give the client no credit. After a drop, the rest of the body is not waited for.
pub struct CallBody(Shared);

impl std::fmt::Debug for CallBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CallBody")
    }
}

impl CallBody {
    /// Creates a body that is already complete.
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

    /// Returns the next bytes, or `None` at the end.
    ///
    /// # Errors
    ///
    /// The body is incomplete or malformed.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// Polls for the next bytes, or `None` at the end.
    ///
    /// # Errors
    ///
    /// See [`CallBody::chunk`].
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

    /// Reads the whole body, up to `max` bytes. Returns `None` if it is longer.
    ///
    /// # Errors
    ///
    /// See [`CallBody::chunk`].
    pub async fn all(&mut self, max: usize) -> Result<Option<Vec<u8>>, BodyError> {
        let mut all = Vec::new();
        while let Some(bytes) = self.chunk().await? {
            if !append(&mut all, &bytes, max) {
                return Ok(None);
            }
        }
        Ok(Some(all))
    }
}

impl Drop for CallBody {
    fn drop(&mut self) {
        self.0.discard();
    }
}
