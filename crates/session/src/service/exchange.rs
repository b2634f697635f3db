//! One exchange over a byte stream: a request's bytes come in, an answer's go out. It knows of no session: streams of direct
//! sessions and exchanges over the mix are served by it alike.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;

use betanet_bar::{Client, Head as _, Response, status};
use betanet_htx::StreamId;
use betanet_wire::Code;
use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::body::{Fault, Shared};
use super::reply::Next;
use super::{Call, Reply, RequestSource, Service};
use crate::Count;
use crate::exchange::Inbox;
use crate::ops::{Answer, Op, tell};

/// What one needs.
pub struct Exchange {
    /// Names the exchange for `ops`.
    pub stream: StreamId,
    /// Where the request's bytes arrive.
    pub inbox: Inbox,
    /// Who sends the answer's.
    pub ops: mpsc::Sender<Op>,
    /// The client, as far as it is known.
    pub client: Client,
    /// The session that it came on.
    pub from: RequestSource,
    /// Answers.
    pub service: Arc<dyn Service>,
    /// Counts the answer.
    pub metrics: Arc<dyn Count>,
}

/// An exchange that runs in a task of its own. Dropped, it is given up: the service's future is dropped with it.
#[derive(Debug)]
pub struct Running(Option<AbortHandle>);

impl Running {
    /// The answer is complete: what is left ends by itself.
    pub fn complete(mut self) {
        self.0 = None;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
        }
    }
}

/// Resets a stream whose answer did not come to its end, unless its client did so.
struct Unfinished {
    stream: StreamId,
    inbox: Inbox,
    ops: mpsc::Sender<Op>,
    code: Option<Code>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(code) = self.code
            && !self.inbox.is_cut()
        {
            let stream = self.stream;
            tell(&self.ops, Op::Abort { stream, code });
        }
    }
}

impl Exchange {
    /// Runs until the answer is complete.
    pub fn spawn(self) -> Running {
        let task = tokio::spawn(self.run());
        Running(Some(task.abort_handle()))
    }

    /// The same, where the caller polls it.
    pub(crate) async fn run(self) {
        let mut unfinished = Unfinished {
            stream: self.stream,
            inbox: self.inbox.clone(),
            ops: self.ops.clone(),
            code: Some(Code::INTERNAL_ERROR),
        };
        let request = Shared::new(self.stream, self.inbox.clone(), self.ops.clone());
        unfinished.code = self.answer(&request).await.err();
        request.discard();
    }

    async fn answer(&self, request: &Shared) -> Result<(), Code> {
        let reply = match self.reply(request).await {
            Ok(reply) => reply,
            Err(Fault::Refused(why)) => {
                request.discard();
                Response::refused(why).into()
            }
            Err(Fault::Malformed) => return Err(Code::MALFORMED_FRAME),
            Err(Fault::Gone) => return Ok(()),
        };
        self.send(reply).await
    }

    /// What the service says, unless the request turns out to be none before it does.
    async fn reply(&self, arriving: &Shared) -> Result<Reply, Fault> {
        let request = arriving.head().await?;
        if !request.may_have_body() {
            arriving.end().await?;
        }
        let call = Call {
            request,
            client: self.client,
            body: arriving.body(),
            from: self.from.clone(),
        };
        let work = AssertUnwindSafe(async { self.service.call(call).await });
        tokio::select! {
            biased;
            fault = std::future::poll_fn(|cx| arriving.poll_fault(cx)) => Err(fault),
            reply = work.catch_unwind() => match arriving.fault() {
                Some(fault) => Err(fault),
                // A panic in there is told by itself.
                None => Ok(reply.unwrap_or_else(|_| Reply::new(status::INTERNAL))),
            },
        }
    }

    async fn send(&self, reply: Reply) -> Result<(), Code> {
        let Reply { head, mut body } = reply;
        let mut status = head.status;
        let message = head.to_message().or_else(|_| {
            status = status::INTERNAL;
            Response::new(status).to_message()
        });
        let mut first = Bytes::from(message.map_err(|_| Code::INTERNAL_ERROR)?);
        self.metrics.served(status);
        loop {
            // A head does not wait for what follows it.
            let next = std::future::poll_fn(|cx| match body.poll_next(cx) {
                Poll::Ready(next) => Poll::Ready(Some(next)),
                Poll::Pending if !first.is_empty() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            let Next { bytes, last } = match next.await {
                Some(Ok(next)) => next,
                Some(Err(error)) => {
                    tracing::debug!(%error, "an answer breaks off");
                    return Err(Code::INTERNAL_ERROR);
                }
                None => Next {
                    bytes: Bytes::new(),
                    last: false,
                },
            };
            let (done, sent) = oneshot::channel();
            let answer = Answer {
                stream: self.stream,
                first: std::mem::take(&mut first),
                data: bytes,
                fin: last,
                done,
            };
            // Nobody hears the answer of a session that is gone, or of an exchange that was given up.
            if self.ops.send(Op::Answer(Box::new(answer))).await.is_err() || sent.await.is_err() {
                return Ok(());
            }
            if last {
                return Ok(());
            }
        }
    }
}
