//! Drives a node: beats, work, copies, receipts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use betanet_fog::bodies::{Beat, BeatAnswer, JoinAnswer, WorkItem};
use betanet_fog::{Outcome, Receipt, RefusalCode, Signed, TaskId, Word};
use betanet_keys::Identity;
use betanet_machine::Time;
use betanet_runtime::Clock;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::control::{Control, Copies, Intake, Wishes};
use super::engine::{Ended, Engine};
use super::receipts::{Receipts, StoreFailed};
use super::session::{Beaten, Due, NodeSession, Order, Run};
use crate::{Error, FogClient};

/// Items of the node's stream that wait for the worker.
const ITEMS: usize = 64;
/// Pause before a receipt that could not be delivered is sent again.
const AGAIN: Duration = Duration::from_secs(2);

/// Something that a worker did, for logs and counters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Report {
    /// A beat was answered.
    Beaten,
    /// A copy began.
    Started(TaskId, u64),
    /// A coordinator took a copy's receipt.
    Returned(TaskId, u64),
    /// A copy's receipt was refused for good.
    Refused(TaskId, u64, RefusalCode),
    /// A copy was stopped without a receipt.
    Stopped(TaskId, u64),
}

/// A task of the worker that ended.
enum Done {
    Beat(Time, Beat, Result<BeatAnswer, Error>),
    Ended(u64, u64, Ended),
    /// The start was refused, so the copy does not run.
    NotStarted(u64),
    Sent(u64, Result<(), RefusalCode>),
    /// The receipt could not be stored, and is not sent.
    NotStored(u64),
    Told,
}

/// A node at work. It has joined.
pub struct Worker<R> {
    client: FogClient,
    me: Identity,
    engine: Arc<dyn Engine>,
    receipts: Arc<Mutex<R>>,
    control: Control,
    intake: Intake,
    node: NodeSession,
    clock: Clock,
    tasks: JoinSet<Done>,
    running: BTreeMap<u64, AbortHandle>,
    beating: bool,
    told: Box<dyn Fn(Report) + Send + Sync>,
}

impl<R> std::fmt::Debug for Worker<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl<R: Receipts> Worker<R> {
    /// Creates the worker of a node that joined with this answer. The client's sessions must show the node's identity.
    #[must_use]
    pub fn new(client: FogClient, joined: &JoinAnswer, engine: impl Engine, receipts: R) -> Self {
        let clock = client.clock();
        let me = client.me().clone();
        let node = NodeSession::new(clock.now(), me.public().node_id(), joined);
        Self {
            client,
            me,
            engine: Arc::new(engine),
            receipts: Arc::new(Mutex::new(receipts)),
            control: Control::default(),
            intake: Intake::default(),
            node,
            clock,
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            beating: false,
            told: Box::new(|_| {}),
        }
    }

    /// Reports what the worker does.
    #[must_use]
    pub fn with_reports(mut self, told: impl Fn(Report) + Send + Sync + 'static) -> Self {
        self.told = Box::new(told);
        self
    }

    /// Takes orders from this handle while it runs.
    #[must_use]
    pub fn with_control(mut self, control: Control) -> Self {
        self.control = control;
        self
    }

    /// Works until `stop` is cancelled. Copies that run then are given back.
    ///
    /// Copies of an earlier run that are still live are placed again by the stream, and run again under the same fence. Those whose
    /// receipt is stored do not: their receipt is sent.
    pub async fn run(mut self, stop: CancellationToken) {
        // Receipts of an earlier run are sent first: their copies may still be live.
        for (fence, receipt) in with(&self.receipts, R::all).await.unwrap_or_default() {
            // A second run would make a second receipt under the fence, which is a conflict.
            self.node.settle(fence);
            match Signed::<Receipt>::restore(&receipt) {
                Ok(receipt) => self.send(fence, receipt),
                Err(refusal) => tracing::error!(%refusal, fence, "a stored receipt does not read"),
            }
        }
        let (items, mut work) = mpsc::channel(ITEMS);
        let stream = tokio::spawn(follow(self.client.clone(), items));
        let control = self.control.clone();
        loop {
            let now = self.clock.now();
            for due in self.node.due(now) {
                self.act(due);
            }
            self.control.count(Copies {
                running: self.running.len(),
                held: self.node.held(),
            });
            let wake = self.clock.instant(self.node.wake(now));
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep_until(wake) => {}
                Some(item) = work.recv() => self.take(&item),
                wishes = control.asked() => self.follow_wishes(wishes),
                Some(done) = self.tasks.join_next() => match done {
                    Ok(done) => self.done(done),
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => tracing::error!(%error, "a task of the worker failed"),
                },
            }
        }
        stream.abort();
        self.give_back().await;
    }

    fn act(&mut self, due: Due) {
        match due {
            Due::Beat if self.beating => {}
            Due::Beat => {
                let now = self.clock.now();
                let (client, beat) = (self.client.clone(), self.node.beat(now));
                self.beating = true;
                self.tasks.spawn(async move {
                    let answer = client.beat(&beat).await;
                    Done::Beat(now.mono, beat, answer)
                });
            }
            Due::Stop(task, fence) => {
                // The task may be secret.
                tracing::warn!(fence, "the copy stops: no coordinator answered for long");
                self.abort(fence);
                (self.told)(Report::Stopped(task, fence));
                let client = self.client.clone();
                self.tasks.spawn(async move {
                    // The coordinator learns it by the next beats too.
                    let _ = client.nack(&task, fence, offline()).await;
                    Done::Told
                });
            }
            Due::Time(fence) => {
                self.abort(fence);
                let ended = Ended {
                    status: Outcome::Time,
                    out: None,
                    fuel: 0,
                };
                let start = self.clock.now().unix_ms;
                self.conclude(fence, start, ended);
            }
        }
    }

    fn follow_wishes(&mut self, wishes: Wishes) {
        for blob in wishes.lost {
            self.node.lost_blob(blob);
        }
        if let Some(intake) = wishes.intake.filter(|intake| *intake != self.intake) {
            self.intake = intake;
            self.node.set_open(intake == Intake::Open);
            self.node.hurry(self.clock.now());
        }
        if let Some(why) = wishes.give_back {
            let fences: Vec<u64> = self.running.keys().copied().collect();
            for fence in fences {
                self.yield_copy(fence, why.clone());
            }
        }
    }

    /// Stops a copy and gives it back.
    fn yield_copy(&mut self, fence: u64, why: Word) {
        self.abort(fence);
        let Some(task) = self.node.run(fence).map(|run| run.id) else {
            return;
        };
        self.node.forget(fence);
        (self.told)(Report::Stopped(task, fence));
        let client = self.client.clone();
        self.tasks.spawn(async move {
            // The coordinator learns it by the next beats too.
            let _ = client.nack(&task, fence, why).await;
            Done::Told
        });
    }

    fn abort(&mut self, fence: u64) {
        if let Some(running) = self.running.remove(&fence) {
            running.abort();
        }
    }

    fn take(&mut self, item: &WorkItem) {
        match self.node.work(item) {
            Ok(Order::Run(run)) if self.intake == Intake::Refusing => {
                self.yield_copy(run.work.fence, drained());
            }
            Ok(Order::Run(run)) if !self.engine.serves(run.task.level) => {
                tracing::warn!(
                    fence = run.work.fence,
                    "a copy of a level that this node does not serve is given back"
                );
                self.yield_copy(run.work.fence, level());
            }
            Ok(Order::Run(run)) => self.start(run),
            Ok(Order::Drop(task, fence)) => {
                self.abort(fence);
                (self.told)(Report::Stopped(task, fence));
            }
            Ok(Order::Nothing) => {}
            Err(why) => tracing::warn!(%why, "an item of work is not obeyed"),
        }
    }

    fn start(&mut self, run: Arc<Run>) {
        let (client, engine, clock) = (self.client.clone(), Arc::clone(&self.engine), self.clock);
        let (id, fence) = (run.id, run.work.fence);
        (self.told)(Report::Started(id, fence));
        let running = self.tasks.spawn(async move {
            let start = clock.now().unix_ms;
            // A coordinator that does not answer for a while does not hold up the program.
            let told = client.start(&id, fence);
            let ended = engine.run(run);
            tokio::pin!(told, ended);
            tokio::select! {
                ended = &mut ended => {
                    // The start is before the result, or is not needed.
                    let _ = told.await;
                    return Done::Ended(fence, start, ended);
                }
                told = &mut told => if let Err(Some(code)) = told.map_err(|e| e.code())
                    && is_final(code)
                {
                    return Done::NotStarted(fence);
                },
            }
            Done::Ended(fence, start, ended.await)
        });
        self.running.insert(fence, running);
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Beat(sent, beat, answer) => {
                self.beating = false;
                match answer {
                    Ok(answer) => match self.node.beaten(sent, &beat, &answer) {
                        Beaten::Counts => (self.told)(Report::Beaten),
                        Beaten::Deposed => self.client.pass_over(),
                    },
                    Err(error) => {
                        tracing::warn!(%error, "a beat was not answered");
                        self.node.beat_refused(self.clock.now(), error.code());
                    }
                }
            }
            Done::Ended(fence, start, ended) => {
                self.running.remove(&fence);
                self.conclude(fence, start, ended);
            }
            Done::NotStarted(fence) => {
                self.running.remove(&fence);
                if let Some(run) = self.node.run(fence) {
                    (self.told)(Report::Stopped(run.id, fence));
                }
                self.node.forget(fence);
            }
            Done::Sent(fence, sent) => {
                if let Some(run) = self.node.run(fence) {
                    (self.told)(match sent {
                        Ok(()) => Report::Returned(run.id, fence),
                        Err(code) => Report::Refused(run.id, fence, code),
                    });
                }
                self.node.forget(fence);
            }
            Done::NotStored(fence) => {
                tracing::error!(fence, "a receipt that cannot be stored is not sent");
                // Nothing was told under the fence, so another node may run the copy.
                self.yield_copy(fence, storage());
            }
            Done::Told => {}
        }
    }

    /// Signs, stores and then sends the receipt of a copy.
    fn conclude(&mut self, fence: u64, start: u64, ended: Ended) {
        if !self.node.ended(fence) {
            return;
        }
        let Some(run) = self.node.run(fence).cloned() else {
            return;
        };
        let receipt = Receipt {
            inputs: run.work.inputs_digest(),
            end: self.clock.now().unix_ms,
            key: *self.me.public().as_bytes(),
            out: ended.out,
            copy: run.work.copy,
            fuel: ended.fuel.min(run.task.fuel),
            task: run.id,
            epoch: run.work.epoch,
            fence,
            start,
            engine: self.engine.name().parse().unwrap_or_default(),
            module: run.task.module.digest,
            status: ended.status,
        };
        let receipt = match Signed::sign(receipt, &self.me) {
            Ok(receipt) => receipt,
            Err(refusal) => {
                // An engine that names an output after a fault, or none after ok. The copy is lost with the next beats.
                tracing::error!(%refusal, fence, "the engine's outcome makes no receipt");
                return self.node.forget(fence);
            }
        };
        let (client, receipts) = (self.client.clone(), Arc::clone(&self.receipts));
        self.tasks.spawn(async move {
            let bytes = receipt.to_bytes();
            match with(&receipts, move |r| r.put(fence, &bytes)).await {
                Ok(()) => deliver(client, receipts, fence, receipt).await,
                Err(StoreFailed) => Done::NotStored(fence),
            }
        });
    }

    fn send(&mut self, fence: u64, receipt: Signed<Receipt>) {
        let (client, receipts) = (self.client.clone(), Arc::clone(&self.receipts));
        self.tasks.spawn(deliver(client, receipts, fence, receipt));
    }

    async fn give_back(mut self) {
        let fences: Vec<u64> = self.running.keys().copied().collect();
        let mut told = JoinSet::new();
        for fence in fences {
            self.abort(fence);
            if let Some(run) = self.node.run(fence) {
                let (client, task) = (self.client.clone(), run.id);
                told.spawn(async move { client.nack(&task, fence, offline()).await });
            }
        }
        // The leases of copies whose nack is lost end by themselves, and receipts that stay stored are sent at the next start.
        let mut tasks = self.tasks;
        let all = async {
            while told.join_next().await.is_some() {}
            while tasks.join_next().await.is_some() {}
        };
        let _ = tokio::time::timeout(AGAIN, all).await;
    }
}

/// Sends a stored receipt until a coordinator takes it, or refuses it for good.
async fn deliver<R: Receipts>(
    client: FogClient,
    receipts: Arc<Mutex<R>>,
    fence: u64,
    receipt: Signed<Receipt>,
) -> Done {
    let sent = loop {
        match client.done(&receipt).await {
            Ok(()) => break Ok(()),
            Err(error) => match error.code() {
                Some(code) if is_final(code) => break Err(code),
                _ => sleep(AGAIN).await,
            },
        }
    };
    if with(&receipts, move |r| r.remove(fence)).await.is_err() {
        tracing::warn!(fence, "a receipt that was taken stays stored");
    }
    Done::Sent(fence, sent)
}

/// Uses the storage of receipts off the executor's threads.
async fn with<R: Receipts, T: Send + 'static>(
    receipts: &Arc<Mutex<R>>,
    work: impl FnOnce(&mut R) -> Result<T, StoreFailed> + Send + 'static,
) -> Result<T, StoreFailed> {
    let receipts = Arc::clone(receipts);
    let done = tokio::task::spawn_blocking(move || {
        work(&mut receipts.lock().unwrap_or_else(PoisonError::into_inner))
    });
    done.await.unwrap_or(Err(StoreFailed))
}

/// Reason of a nack, for people.
fn offline() -> Word {
    "offline".parse().unwrap_or_default()
}

/// Reason of a nack of a node that cannot store receipts.
fn storage() -> Word {
    "storage".parse().unwrap_or_default()
}

/// Reason of a nack of a node that refuses copies.
fn drained() -> Word {
    "drained".parse().unwrap_or_default()
}

/// Reason of a nack, for people.
fn level() -> Word {
    "level".parse().unwrap_or_default()
}

/// Whether a refusal stays: the copy's lease or the task is over, or the receipt is wrong.
const fn is_final(code: RefusalCode) -> bool {
    !matches!(code.status(), 429 | 503)
}

/// Reads the node's stream of work without end.
async fn follow(client: FogClient, items: mpsc::Sender<WorkItem>) {
    let mut stream = client.work(0);
    loop {
        let next = tokio::select! {
            next = stream.next() => next,
            // The worker is gone, however it ended.
            () = items.closed() => return,
        };
        match next {
            Ok(Some(item)) => {
                if items.send(item).await.is_err() {
                    return;
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, "the stream of work is broken");
                sleep(AGAIN).await;
                stream = client.work(stream.after());
            }
        }
    }
}
