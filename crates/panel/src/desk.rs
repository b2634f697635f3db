//! The way to the state: one task owns it, and each answer leaves after its records are on disk.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use betanet_journal::{APPEND_RECORDS_MAX, Batch, Journal, Lead, Record};
use betanet_machine::Now;
use betanet_runtime::Clock;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::core::{Core, Fixed, Tx};
use crate::error::Unavailable;

/// Most requests that wait for the state.
pub(crate) const INBOX_MAX: usize = 1024;
/// Most requests that share a commit.
const TOGETHER: usize = 256;
/// Pause after a failure of the journal.
const PAUSE: Duration = Duration::from_secs(1);

type Anything = Box<dyn Any + Send>;
type Decide = Box<dyn FnOnce(&mut Core, Now, &mut Tx<'_>) -> Anything + Send>;

struct Ask {
    decide: Decide,
    answer: oneshot::Sender<Anything>,
}

/// The way to the state. Clones lead to the same one.
#[derive(Clone)]
pub(crate) struct Desk {
    inbox: mpsc::Sender<Ask>,
    clock: Clock,
}

impl Desk {
    /// Reads the journal, and begins to answer.
    pub(crate) async fn start(
        journal: Arc<dyn Journal>,
        fixed: Fixed,
        stop: CancellationToken,
    ) -> Result<(Self, JoinHandle<()>), Error> {
        let (inbox, asks) = mpsc::channel(INBOX_MAX);
        let clock = Clock::start();
        let first = open(&*journal, &fixed).await?;
        let running = tokio::spawn(run(journal, fixed, asks, clock, first, stop));
        Ok((Self { inbox, clock }, running))
    }

    /// The time.
    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Runs a change or a question on the state. The answer is given once the records of it, and of those before it, are committed.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Core, Now, &mut Tx<'_>) -> T + Send + 'static,
    ) -> Result<T, Unavailable> {
        let (answer, answered) = oneshot::channel();
        let decide: Decide = Box::new(move |core, now, tx| Box::new(run(core, now, tx)));
        let ask = Ask { decide, answer };
        self.inbox.send(ask).await.map_err(|_| Unavailable)?;
        let answer = answered.await.map_err(|_| Unavailable)?;
        // It is of the type that the closure above returned.
        answer.downcast().map(|t| *t).map_err(|_| Unavailable)
    }
}

/// Rebuilds the state, and begins an epoch.
async fn open(journal: &dyn Journal, fixed: &Fixed) -> Result<(Core, u64), Error> {
    let term = match journal.lead().await.map_err(Error::Journal)? {
        Lead::Leads(term) => term,
        Lead::Held(_) => return Err(Error::Held),
    };
    let (mut core, mut last) = (Core::new(fixed.clone()), 0);
    loop {
        let read = journal.read(last, Batch::default()).await;
        let entries = read.map_err(Error::Journal)?;
        let Some(newest) = entries.last() else {
            return Ok((core, term.epoch));
        };
        last = newest.index;
        for entry in &entries {
            let applied = core.apply(&entry.record);
            applied.map_err(|_| Error::Record(entry.index))?;
        }
    }
}

async fn run(
    journal: Arc<dyn Journal>,
    fixed: Fixed,
    mut asks: mpsc::Receiver<Ask>,
    clock: Clock,
    first: (Core, u64),
    stop: CancellationToken,
) {
    let mut state = Some(first);
    loop {
        let (core, epoch) = match state.take() {
            Some(state) => state,
            None => match open(&*journal, &fixed).await {
                Ok(state) => state,
                Err(error) => {
                    tracing::error!(%error, "the panel does not answer");
                    if !idle(&mut asks, &stop).await {
                        return;
                    }
                    continue;
                }
            },
        };
        if serve(&*journal, core, epoch, &mut asks, clock, &stop).await {
            if let Err(error) = journal.resign(epoch).await {
                tracing::warn!(%error, "the panel's journal was not given back");
            }
            return;
        }
    }
}

/// Refuses what is asked, for a while. Returns whether to go on.
async fn idle(asks: &mut mpsc::Receiver<Ask>, stop: &CancellationToken) -> bool {
    let until = tokio::time::sleep(PAUSE);
    tokio::pin!(until);
    loop {
        tokio::select! {
            () = &mut until => return true,
            () = stop.cancelled() => return false,
            // An answer that is dropped is a refusal.
            ask = asks.recv() => if ask.is_none() { return false },
        }
    }
}

/// Serves until it is to stop, and returns true; or until a commit fails, and returns false.
async fn serve(
    journal: &dyn Journal,
    mut core: Core,
    epoch: u64,
    asks: &mut mpsc::Receiver<Ask>,
    clock: Clock,
    stop: &CancellationToken,
) -> bool {
    let mut batch = Vec::new();
    loop {
        let n = tokio::select! {
            n = asks.recv_many(&mut batch, TOGETHER) => n,
            () = stop.cancelled() => 0,
        };
        if n == 0 {
            return true;
        }
        let mut records: Vec<Record> = Vec::new();
        let mut answers = Vec::with_capacity(n);
        for ask in batch.drain(..) {
            let decided = (ask.decide)(&mut core, clock.now(), &mut Tx(&mut records));
            answers.push((ask.answer, decided));
        }
        // Only a sweep has more records than one append takes.
        for part in records.chunks(APPEND_RECORDS_MAX) {
            if let Err(error) = journal.append(epoch, part.to_vec()).await {
                tracing::error!(%error, "a change of the panel was not stored");
                return false;
            }
        }
        for (answer, decided) in answers {
            let _ = answer.send(decided);
        }
    }
}
