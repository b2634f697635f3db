//! Streams of other types than BAR.

use betanet_htx::StreamId;
use betanet_wire::Code;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Body, Op, send, tell};
use crate::exchange::Inbox;
use crate::{Error, ExchangeError};

/// A stream of another type than BAR. Dropped before both its directions ended, it is reset.
#[derive(Debug)]
pub struct RawStream {
    pub(crate) body: Body,
}

impl RawStream {
    /// A stream whose bytes arrive in `inbox`, and whose task takes `ops`.
    pub const fn new(stream: StreamId, inbox: Inbox, ops: mpsc::Sender<Op>) -> Self {
        Self {
            body: Body::new(stream, inbox, ops, false),
        }
    }

    /// Where its bytes arrive.
    pub fn inbox(&self) -> Inbox {
        self.body.inbox.clone()
    }

    /// The next bytes; `None` after the last.
    ///
    /// # Errors
    ///
    /// The stream was reset, or its session ended.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        self.body.chunk().await
    }

    /// Both directions apart.
    pub fn split(self) -> (Body, RawSender) {
        let sender = RawSender {
            stream: self.body.stream,
            ops: self.body.ops.clone(),
            ended: false,
        };
        (self.body, sender)
    }

    /// Resets it.
    pub async fn refuse(mut self, code: Code) {
        self.body.ended = true;
        let stream = self.body.stream;
        // A session that is gone has no streams.
        let _ = self.body.ops.send(Op::Abort { stream, code }).await;
    }
}

/// The sending direction of a [`RawStream`]. Dropped before its end, it resets the stream.
#[derive(Debug)]
pub struct RawSender {
    stream: StreamId,
    ops: mpsc::Sender<Op>,
    ended: bool,
}

impl RawSender {
    /// Sends bytes; waits while the peer gives no credit.
    ///
    /// # Errors
    ///
    /// The session or the stream ended.
    pub async fn send(&mut self, data: Bytes, fin: bool) -> Result<(), Error> {
        send(&self.ops, self.stream, data, fin).await?;
        self.ended |= fin;
        Ok(())
    }

    /// Breaks the stream off.
    pub async fn abort(mut self, code: Code) {
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
