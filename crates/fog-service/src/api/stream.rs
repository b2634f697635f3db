//! Streams: a node's work, the events, the states of a task. A task of its own feeds the latter two, and ends with their reader.

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
use tokio::time::{Instant, Sleep, sleep_until};

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
        let after = query.number("after")?.unwrap_or(0);
        let until = until(query.number("wait")?);
        if by.caller.node != id {
            return Err(RefusalCode::NotYours.bare());
        }
        let place = self.place(&by).await?;
        // What arises while the first items are asked for is not lost.
        let live = self.handle.stream_of(id);
        let asked = Request::Work { node: id, after };
        let Reply::Work(first) = self.ask(by.caller, asked).await? else {
            return Err(odd());
        };
        let handle = self.handle.clone();
        let copies = Copies {
            api: Arc::clone(self),
            last: after,
            first: first.into_iter(),
            live,
            left: ITEMS,
            until: Box::pin(sleep_until(until)),
            stopped: Box::pin(async move { handle.stopped().await }),
            _place: place,
        };
        let items = unfold(copies, |mut copies| async move {
            let item = copies.next().await?;
            Some((item, copies))
        });
        Ok(Box::pin(items))
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

/// What a node is told, as its session takes it.
struct Copies {
    api: Arc<Api>,
    /// Index of the last item that was told.
    last: u64,
    first: std::vec::IntoIter<Work>,
    live: mpsc::Receiver<(Work, Time)>,
    left: usize,
    until: Pin<Box<Sleep>>,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Its place among the open streams.
    _place: Place,
}

impl Copies {
    /// The next item; `None` at the end.
    async fn next(&mut self) -> Option<Vec<u8>> {
        self.left = self.left.checked_sub(1)?;
        loop {
            let item = match self.first.next() {
                Some(item) => item,
                None => self.arisen().await?,
            };
            self.last = self.last.max(item.at());
            if let Some(item) = self.api.work_item(item) {
                return Some(to_vec(&item));
            }
        }
    }

    /// The next item that arises after the first.
    async fn arisen(&mut self) -> Option<Work> {
        loop {
            let (item, lease) = tokio::select! {
                biased;
                () = &mut self.stopped => return None,
                next = self.live.recv() => next?,
                () = &mut self.until => return None,
            };
            // Others were among the first.
            if item.at() > self.last {
                // After its lease, its leader may be no more.
                return self.api.handle.counts_until(lease).then_some(item);
            }
        }
    }
}

impl Api {
    /// An item as it is sent; `None` if it cannot be.
    fn work_item(&self, item: Work) -> Option<WorkItem> {
        Some(match item {
            Work::Run { work, task } => {
                let at = work.fence;
                let signed = Signed::sign(*work, &self.identity);
                let (Ok(work), Ok(task)) = (signed, Envelope::from_slice(&task)) else {
                    tracing::error!(at, "an assignment cannot be signed");
                    return None;
                };
                WorkItem::Run(RunCopy {
                    at,
                    task,
                    work: work.into_envelope(),
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
        })
    }
}

/// Shortest time between two looks at the events.
const PAUSE: Duration = Duration::from_millis(20);
