//! Streams: a node's work, the events, the states of a task. A task of its own feeds each, and ends with its reader.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use betanet_coordinator::{Item as Work, Reply, Request};
use betanet_fog::bodies::{DropCopy, RunCopy, WorkItem};
use betanet_fog::{Envelope, Refusal, RefusalCode, Signed, TaskId, to_vec};
use betanet_machine::Time;
use betanet_wire::NodeId;
use futures_util::stream::{Stream, unfold};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::user::encoded;
use super::{Api, Query, Verified, odd};
use crate::places::Place;

/// Most items of one request.
const ITEMS: usize = 256;

/// Longest wait of one request, in ms.
const WAIT_MAX: u64 = 60_000;

/// Items that wait for the reader.
const AHEAD: usize = 8;

/// Encoded items.
pub(super) type Items = Pin<Box<dyn Stream<Item = Vec<u8>> + Send>>;

fn until(wait: Option<u64>) -> Instant {
    Instant::now() + Duration::from_millis(wait.unwrap_or(0).min(WAIT_MAX))
}

/// The stream's side that is fed. It ends after [`ITEMS`] items.
struct Feed {
    to: mpsc::Sender<Vec<u8>>,
    left: usize,
    /// Its place among the open streams.
    _place: Place,
}

impl Feed {
    /// Returns whether more may follow.
    async fn give(&mut self, item: Vec<u8>) -> bool {
        self.left = self.left.saturating_sub(1);
        self.to.send(item).await.is_ok() && self.left > 0
    }

    async fn give_all(&mut self, items: Vec<Vec<u8>>) -> bool {
        for item in items {
            if !self.give(item).await {
                return false;
            }
        }
        true
    }
}

impl Api {
    /// Opens a stream, if there is a place for one.
    async fn feed(&self, by: &Verified) -> Result<(Feed, Items), Refusal> {
        let place = self.place(by).await?;
        let (to, items) = mpsc::channel(AHEAD);
        let items = unfold(items, |mut items| async move {
            let item = items.recv().await?;
            Some((item, items))
        });
        let feed = Feed {
            to,
            left: ITEMS,
            _place: place,
        };
        Ok((feed, Box::pin(items)))
    }

    /// The stream of a node.
    pub(super) async fn work(
        self: &Arc<Self>,
        by: Verified,
        id: NodeId,
        query: &Query,
    ) -> Result<Items, Refusal> {
        let mut last = query.number("after")?.unwrap_or(0);
        let until = until(query.number("wait")?);
        if by.caller.node != id {
            return Err(RefusalCode::NotYours.bare());
        }
        let (mut feed, items) = self.feed(&by).await?;
        // What arises while the first items are asked for is not lost.
        let mut live = self.handle.stream_of(id);
        let asked = Request::Work {
            node: id,
            after: last,
        };
        let Reply::Work(first) = self.ask(by.caller, asked).await? else {
            return Err(odd());
        };
        let api = Arc::clone(self);
        tokio::spawn(async move {
            for item in first {
                last = last.max(item.at());
                if !api.give_work(&mut feed, item).await {
                    return;
                }
            }
            loop {
                let next: Option<(Work, Time)> = tokio::select! {
                    next = live.recv() => next,
                    () = sleep_until(until) => return,
                    () = feed.to.closed() => return,
                    () = api.handle.stopped() => return,
                };
                let Some((item, lease)) = next else { return };
                // The item was among the first, or its leader is no more.
                if item.at() <= last {
                    continue;
                }
                if !api.handle.counts_until(lease) {
                    return;
                }
                last = item.at();
                if !api.give_work(&mut feed, item).await {
                    return;
                }
            }
        });
        Ok(items)
    }

    async fn give_work(&self, feed: &mut Feed, item: Work) -> bool {
        let item = match item {
            Work::Run { work, task } => {
                let at = work.fence;
                let signed = Signed::sign(*work, &self.identity);
                let (Ok(work), Ok(task)) = (signed, Envelope::from_slice(&task)) else {
                    tracing::error!(at, "an assignment cannot be signed");
                    return true;
                };
                WorkItem::Run(RunCopy {
                    at,
                    task,
                    work: work.envelope().clone(),
                })
            }
            Work::Drop {
                at,
                task,
                fence,
                why,
            } => WorkItem::Drop(DropCopy {
                at,
                why: why.as_str().parse().unwrap_or_default(),
                task,
                fence,
            }),
        };
        feed.give(to_vec(&item)).await
    }

    /// The stream of events.
    pub(super) async fn events(
        self: &Arc<Self>,
        by: Verified,
        query: &Query,
    ) -> Result<Items, Refusal> {
        let mut after = query.number("after")?.unwrap_or(0);
        let until = until(query.number("wait")?);
        let (mut feed, items) = self.feed(&by).await?;
        let caller = by.caller;
        let mut commits = self.handle.commits();
        let first = self.ask(caller.clone(), Request::Events { after }).await?;
        let api = Arc::clone(self);
        tokio::spawn(async move {
            let mut next = first;
            loop {
                let Reply::Events(events) = next else { return };
                after = events.last().map_or(after, |e| e.at);
                if !feed.give_all(encoded(events)).await {
                    return;
                }
                tokio::select! {
                    told = commits.changed() => if told.is_err() { return },
                    () = sleep_until(until) => return,
                    () = feed.to.closed() => return,
                    () = api.handle.stopped() => return,
                }
                // Under load, one look serves many commits.
                tokio::time::sleep(PAUSE).await;
                match api.ask(caller.clone(), Request::Events { after }).await {
                    Ok(events) => next = events,
                    Err(_) => return,
                }
            }
        });
        Ok(items)
    }

    /// The status of a task now, and after each of its changes, to its end.
    pub(super) async fn statuses(
        self: &Arc<Self>,
        by: Verified,
        id: TaskId,
        wait: u64,
    ) -> Result<Items, Refusal> {
        let until = until(Some(wait));
        let (mut feed, items) = self.feed(&by).await?;
        let (caller, way) = (by.caller, by.way);
        let changes = self.handle.watch(id);
        let asked = Request::Status(id);
        let first = self.ask_as_user(way, caller.clone(), asked).await?;
        let api = Arc::clone(self);
        tokio::spawn(async move {
            let mut next = first;
            let mut told = None;
            loop {
                let changed = changes.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                let Reply::Status(status) = next else { return };
                if told.as_ref() != Some(&status) {
                    let ended = status.state.ended();
                    if !feed.give(to_vec(&*status)).await || ended {
                        return;
                    }
                    told = Some(status);
                    // It may have changed since it was asked for.
                    next = match api.ask(caller.clone(), Request::Status(id)).await {
                        Ok(status) => status,
                        Err(_) => return,
                    };
                    continue;
                }
                tokio::select! {
                    () = &mut changed => {}
                    () = sleep_until(until) => return,
                    () = feed.to.closed() => return,
                    () = api.handle.stopped() => return,
                }
                next = match api.ask(caller.clone(), Request::Status(id)).await {
                    Ok(status) => status,
                    Err(_) => return,
                };
            }
        });
        Ok(items)
    }
}

/// Shortest time between two looks at the events.
const PAUSE: Duration = Duration::from_millis(20);
