//! The peer's exchanges that are in progress. They run on the session's own task, so no part of an answer crosses threads. A
//! service that works long between two awaits runs on a task of its own.

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

/// Exchanges in progress, by stream.
#[derive(Default)]
pub(super) struct Serving {
    /// Created with the first exchange: most sessions of a node that only listens have none.
    running: Option<FuturesUnordered<Running>>,
    streams: BTreeMap<StreamId, AbortHandle>,
}

impl Serving {
    /// Begins an exchange.
    pub(super) fn begin(&mut self, stream: StreamId, exchange: Exchange) {
        // A panic in the service ends the exchange, and the panic hook reports it.
        let run = AssertUnwindSafe(exchange.run()).catch_unwind();
        let (run, handle) = abortable(run);
        let running = self.running.get_or_insert_default();
        running.push(Box::pin(run.map(drop)));
        self.streams.insert(stream, handle);
    }

    /// Returns whether an exchange runs on this stream.
    pub(super) fn contains(&self, stream: StreamId) -> bool {
        self.streams.contains_key(&stream)
    }

    /// Gives up an exchange. Its service is dropped at the next poll.
    pub(super) fn give_up(&mut self, stream: StreamId) {
        if let Some(handle) = self.streams.remove(&stream) {
            handle.abort();
        }
    }

    /// Marks an exchange as answered. Its remaining work ends by itself.
    pub(super) fn complete(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
    }

    /// Gives up all exchanges.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Polls all exchanges. Returns whether one has ended.
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
