//! Inputs that control a session's task, and the reports on a silent peer.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::ops::Op;

/// The source of operations on a session.
pub enum Controls {
    /// Handles of a session that this node opened.
    Handles(mpsc::Receiver<Op>),
    /// A gateway that may be stopped.
    Stop(Pin<Box<WaitForCancellationFutureOwned>>),
    /// A gateway after its stop signal.
    Told,
}

impl Controls {
    /// Controls of a session that shuts down in order when `stop` is cancelled.
    #[must_use]
    pub fn stop(stop: CancellationToken) -> Self {
        Self::Stop(Box::pin(stop.cancelled_owned()))
    }

    /// Returns the next operation. `None` means that no more follow, and that the session has no users left.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Op>> {
        match self {
            Self::Handles(ops) => ops.poll_recv(cx),
            Self::Stop(told) => {
                std::task::ready!(told.as_mut().poll(cx));
                // A finished future must not be polled again.
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

/// Status of a peer that is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Silence {
    /// Time spent dialling the peer. There is no session yet.
    Opening(Duration),
    /// The last attempt failed. The peer is dialled again after this time.
    Resting(Duration),
    /// Time since the peer was last heard. It has been probed twice.
    Asked(Duration),
    /// The peer is heard again.
    Heard,
}

/// Called when a peer falls silent, and when it is heard again.
pub type OnSilence = Arc<dyn Fn(Silence) + Send + Sync>;
