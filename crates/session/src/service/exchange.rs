//! One exchange over a byte stream: reads a request and writes its answer. It is independent of sessions, and serves both streams
//! of direct sessions and exchanges over the mix.

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

/// The parts of an exchange.
pub struct Exchange {
    /// ID of the exchange in `ops`.
    pub stream: StreamId,
    /// Inbox in which the request's bytes arrive.
    pub inbox: Inbox,
    /// Queue of the task that sends the answer's bytes.
    pub ops: mpsc::Sender<Op>,
    /// The client, as far as it is known.
    pub client: Client,
    /// The session on which the request arrived.
    pub from: RequestSource,
    /// The service that answers.
    pub service: Arc<dyn Service>,
    /// Counts the answer.
    pub metrics: Arc<dyn Count>,
}

/// An exchange that runs in its own task. Dropping this gives up the exchange and drops the service's future.
#[derive(Debug)]
pub struct Running(Option<AbortHandle>);

impl Running {
    /// Marks the answer as complete. The remaining task ends by itself.
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

/// Resets a stream whose answer is incomplete, unless the client has reset it.
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
    /// Spawns a task that runs until the answer is complete.
    pub fn spawn(self) -> Running {
        let task = tokio::spawn(self.run());
        Running(Some(task.abort_handle()))
    }

    /// Runs until the answer is complete, polled by the caller.
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

    /// Returns the service's reply, unless the request turns out to be faulty first.
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
                // The panic hook has already reported a panic of the service.
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
            // A head does not wait for the bytes that follow it.
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
            // The session is closed or the exchange was given up, so nobody receives the answer.
            if self.ops.send(Op::Answer(Box::new(answer))).await.is_err() || sent.await.is_err() {
                return Ok(());
            }
            if last {
                return Ok(());
            }
        }
    }
}
