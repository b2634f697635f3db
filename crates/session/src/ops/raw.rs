//! Streams of other types than BAR.

use betanet_htx::StreamId;
use betanet_wire::Code;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Body, Op, send, tell};
use crate::exchange::Inbox;
use crate::{Error, ExchangeError};

/// A stream of another type than BAR. Dropping it before both directions have ended resets it.
#[derive(Debug)]
pub struct RawStream {
    pub(crate) body: Body,
}

impl RawStream {
    /// Creates a stream whose bytes arrive in `inbox` and whose task takes `ops`.
    pub const fn new(stream: StreamId, inbox: Inbox, ops: mpsc::Sender<Op>) -> Self {
        Self {
            body: Body::new(stream, inbox, ops, false),
        }
    }

    /// Returns the inbox of the stream's received bytes.
    pub fn inbox(&self) -> Inbox {
        self.body.inbox.clone()
    }

    /// Returns the next bytes, or `None` after the last.
    ///
    /// # Errors
    ///
    /// The stream was reset, or its session ended.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ExchangeError> {
        self.body.chunk().await
    }

    /// Splits the stream into its receiving and its sending direction.
    pub fn split(self) -> (Body, RawSender) {
        let sender = RawSender {
            stream: self.body.stream,
            ops: self.body.ops.clone(),
            ended: false,
        };
        (self.body, sender)
    }

    /// Resets the stream with `code`.
    pub async fn refuse(mut self, code: Code) {
        self.body.ended = true;
        let stream = self.body.stream;
        // A closed session has no streams.
        let _ = self.body.ops.send(Op::Abort { stream, code }).await;
    }
}

/// The sending direction of a [`RawStream`]. Dropping it before its end resets the stream.
#[derive(Debug)]
pub struct RawSender {
    stream: StreamId,
    ops: mpsc::Sender<Op>,
    ended: bool,
}

impl RawSender {
    /// Sends bytes. Waits while the peer gives no credit.
    ///
    /// # Errors
    ///
    /// The session or the stream ended.
    pub async fn send(&mut self, data: Bytes, fin: bool) -> Result<(), Error> {
        send(&self.ops, self.stream, data, fin).await?;
        self.ended |= fin;
        Ok(())
    }

    /// Resets the stream with `code`.
    pub async fn abort(mut self, code: Code) {
        self.ended = true;
        let stream = self.stream;
        // A closed session has no streams.
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
