//! What tells a session's task to go on or to end, and what it tells those who wait.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::ops::Op;

/// Who tells a session what to do.
pub enum Controls {
    /// The handles of one's own session.
    Handles(mpsc::Receiver<Op>),
    /// A gateway that may stop.
    Stop(Pin<Box<WaitForCancellationFutureOwned>>),
    /// The same, after it told.
    Told,
}

impl Controls {
    /// A session that ends in order when `stop` tells.
    #[must_use]
    pub fn stop(stop: CancellationToken) -> Self {
        Self::Stop(Box::pin(stop.cancelled_owned()))
    }

    /// The next operation; `None` when there will be no more, and nobody misses the session.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Op>> {
        match self {
            Self::Handles(ops) => ops.poll_recv(cx),
            Self::Stop(told) => {
                std::task::ready!(told.as_mut().poll(cx));
                // Told once: a finished future is not asked again.
                *self = Self::Told;
                Poll::Ready(Some(Op::Shutdown))
            }
            Self::Told => Poll::Pending,
        }
    }

    pub(super) fn close(&mut self) {
        if let Self::Handles(ops) = self {
            ops.close();
        }
    }
}

/// What whoever waits for a peer is told meanwhile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Silence {
    /// It has been dialled for so long, and there is no session yet.
    Opening(Duration),
    /// It failed before, and is dialled again after so long.
    Resting(Duration),
    /// It has said nothing for so long, and was asked twice whether it is there.
    Asked(Duration),
    /// It is heard again.
    Heard,
}

/// Is called when a peer falls silent, and when it is heard again.
pub type OnSilence = Arc<dyn Fn(Silence) + Send + Sync>;
