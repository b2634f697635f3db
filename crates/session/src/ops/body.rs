//! Answers, as their readers receive them.

use std::task::Poll;

use betanet_bar::Response;
use betanet_htx::StreamId;
use betanet_wire::Code;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Op, tell};
use crate::exchange::Inbox;
use crate::{Error, ExchangeError};

/// An answer whose head has arrived.
#[derive(Debug)]
pub struct Answer {
    /// Status and headers.
    pub head: Response,
    /// The body, readable as it arrives.
    pub body: Body,
}

/// The body of an answer. Dropping it before its end gives up the exchange.
#[derive(Debug)]
pub struct Body {
    pub(crate) inbox: Inbox,
    pub(crate) stream: StreamId,
    pub(crate) ops: mpsc::Sender<Op>,
    pub(crate) owed: u64,
    pub(crate) ended: bool,
    /// Whether the request's body is not completely sent. A drop then tells the peer that no more of it follows.
    pub(crate) unsent: bool,
}

/// Number of consumed bytes after which the peer is given credit.
const CREDIT_STEP: u64 = 64 << 10;

/// Appends a chunk to a body of at most `max` bytes. Returns whether it fits.
pub(crate) fn append(all: &mut Vec<u8>, chunk: &[u8], max: usize) -> bool {
    let fits = all.len() + chunk.len() <= max;
    if fits {
        all.extend_from_slice(chunk);
    }
    fits
}

impl Body {
    /// Creates the body of the exchange on `stream`. `unsent` says whether more of the request's body follows.
    pub const fn new(stream: StreamId, inbox: Inbox, ops: mpsc::Sender<Op>, unsent: bool) -> Self {
        Self {
            inbox,
            stream,
            ops,
            owed: 0,
            ended: false,
            unsent,
        }
    }

    /// Waits for the answer's head.
    ///
    /// # Errors
    ///
    /// The exchange ended without one.
    pub async fn answered(self) -> Result<Answer, Error> {
        let head = self.inbox.wait_head().await?;
        Ok(Answer { head, body: self })
    }

    /// Returns the next bytes, or `None` at the end.
    ///
    /// # Errors
    ///
    /// The exchange ended early. All bytes that arrived before were returned.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        if self.ended {
            return Ok(None);
        }
        let ready = std::future::poll_fn(|cx| {
            Poll::Ready(match self.inbox.poll_chunk(cx) {
                Poll::Ready(got) => Some(got),
                Poll::Pending => None,
            })
        })
        .await;
        let got = match ready {
            Some(got) => got,
            None => {
                // Nothing is buffered: before waiting, give the peer all credit that is due.
                self.pay().await;
                let inbox = &self.inbox;
                std::future::poll_fn(|cx| inbox.poll_chunk(cx)).await
            }
        };
        match &got {
            Ok(Some(bytes)) => {
                self.owed += bytes.len() as u64;
                if self.owed >= CREDIT_STEP {
                    self.pay().await;
                }
            }
            Ok(None) | Err(_) => self.ended = true,
        }
        got
    }

    async fn pay(&mut self) {
        let bytes = std::mem::take(&mut self.owed);
        if bytes > 0 {
            let stream = self.stream;
            // A closed session needs no credit.
            let _ = self.ops.send(Op::Consume { stream, bytes }).await;
        }
    }

    /// Reads the whole body, up to `max` bytes. Returns `None` if it is longer.
    ///
    /// # Errors
    ///
    /// See [`Body::chunk`].
    pub async fn all(&mut self, max: usize) -> Result<Option<Vec<u8>>, ExchangeError> {
        let mut all = Vec::new();
        while let Some(bytes) = self.chunk().await? {
            if !append(&mut all, &bytes, max) {
                return Ok(None);
            }
        }
        Ok(Some(all))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let stream = self.stream;
        let last = if self.ended && !self.unsent {
            // Most answers to orders have no body: the session's task need not be woken for them.
            if self.owed == 0 {
                return;
            }
            Op::Consume {
                stream,
                bytes: self.owed,
            }
        } else {
            Op::Abort {
                stream,
                code: Code::OK,
            }
        };
        tell(&self.ops, last);
    }
}
