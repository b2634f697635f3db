//! The exchanges of the peer that are under way. They run on the session's own task, so that no piece of an answer crosses from one
//! thread to another; a service that works long between two awaits runs on a task of its own.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use betanet_htx::StreamId;
use futures_util::FutureExt as _;
use futures_util::future::{AbortHandle, abortable};
use futures_util::stream::{FuturesUnordered, Stream as _};

use crate::service::Exchange;

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Exchanges by stream.
#[derive(Default)]
pub(super) struct Serving {
    /// Made for the first: most sessions of a node that only listens have none.
    running: Option<FuturesUnordered<Running>>,
    streams: BTreeMap<StreamId, AbortHandle>,
}

impl Serving {
    /// Begins one.
    pub(super) fn begin(&mut self, stream: StreamId, exchange: Exchange) {
        // A panic in there ends the exchange, and is told by itself.
        let run = AssertUnwindSafe(exchange.run()).catch_unwind();
        let (run, handle) = abortable(run);
        let running = self.running.get_or_insert_default();
        running.push(Box::pin(run.map(drop)));
        self.streams.insert(stream, handle);
    }

    /// Whether one is answered on this stream.
    pub(super) fn contains(&self, stream: StreamId) -> bool {
        self.streams.contains_key(&stream)
    }

    /// Gives one up: its service is dropped at the next poll.
    pub(super) fn give_up(&mut self, stream: StreamId) {
        if let Some(handle) = self.streams.remove(&stream) {
            handle.abort();
        }
    }

    /// One has its answer; what is left of it ends by itself.
    pub(super) fn complete(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
    }

    /// Gives all of them up.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Lets them go on; whether one has ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(running) = &mut self.running else {
            return false;
        };
        let mut ended = false;
        while let Poll::Ready(Some(())) = Pin::new(&mut *running).poll_next(cx) {
            ended = true;
        }
        ended
    }
}
