//! Answers as their readers have them.

use std::task::Poll;

use betanet_bar::Response;
use betanet_htx::StreamId;
use betanet_wire::Code;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Op, tell};
use crate::exchange::Inbox;
use crate::{Error, ExchangeError};

/// An answer whose head is here.
#[derive(Debug)]
pub struct Answer {
    /// Status and headers.
    pub head: Response,
    /// The body, as it comes.
    pub body: Body,
}

/// An answer's body. Dropped before its end, it gives the exchange up.
#[derive(Debug)]
pub struct Body {
    pub(crate) inbox: Inbox,
    pub(crate) stream: StreamId,
    pub(crate) ops: mpsc::Sender<Op>,
    pub(crate) owed: u64,
    pub(crate) ended: bool,
    /// The request's body was not sent to its end: the peer is told that no more of it comes.
    pub(crate) unsent: bool,
}

/// Used-up bytes that are told to the peer together.
const CREDIT_STEP: u64 = 64 << 10;

impl Body {
    /// Of the exchange that a stream is for; `unsent` where more of its request follows.
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

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    ///
    /// The exchange ended early; what came before was given.
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
                // Nothing at hand: before waiting, the peer is given all credit that is due.
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
            // A session that is gone needs no credit.
            let _ = self.ops.send(Op::Consume { stream, bytes }).await;
        }
    }

    /// All of it, up to `max` bytes; `None` when it is longer.
    ///
    /// # Errors
    ///
    /// As [`Body::chunk`].
    pub async fn all(&mut self, max: usize) -> Result<Option<Vec<u8>>, ExchangeError> {
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

impl Drop for Body {
    fn drop(&mut self) {
        let stream = self.stream;
        let last = if self.ended && !self.unsent {
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
