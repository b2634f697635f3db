use std::sync::Arc;
use std::time::Duration;

use betanet_journal::{
    APPEND_BYTES_MAX, APPEND_RECORDS_MAX, Batch, Error as JournalError, Journal, LEASE_MS, Lead,
    Record, Term,
};
use betanet_session::Clock;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::role::{Error, Role, Settings};
use crate::{State, Unreadable};

/// Maximum number of requests that share a commit.
const TOGETHER: usize = 256;
/// Longest wait of a follower between two looks at the lease, and pause after a failure.
const LOOK: Duration = Duration::from_secs(1);
/// Age of the last commit after which the lease is renewed.
const RENEW: Duration = Duration::from_millis(LEASE_MS / 3);
/// Age of the last commit from which no answer leaves.
const LEASE: Duration = Duration::from_millis(LEASE_MS);

/// A request that waits for its answer.
pub(crate) struct Ask<S: State> {
    pub(crate) request: S::Request,
    pub(crate) answer: oneshot::Sender<S::Answer>,
}

/// A state, and the index of the last record that was applied.
pub(crate) struct Loaded<S> {
    state: S,
    last: u64,
    /// Index of the newest snapshot.
    saved: u64,
}

/// Builds a state from the newest snapshot of a journal, and the records after it.
pub(crate) async fn load<S: State>(
    journal: &dyn Journal,
    new: &(dyn Fn() -> S + Send + Sync),
) -> Result<Loaded<S>, Error> {
    loop {
        match load_once(journal, new).await {
            // A newer snapshot has replaced the records meanwhile.
            Err(Error::Journal(JournalError::Gone { .. })) => {}
            loaded => return loaded,
        }
    }
}

async fn load_once<S: State>(
    journal: &dyn Journal,
    new: &(dyn Fn() -> S + Send + Sync),
) -> Result<Loaded<S>, Error> {
    let mut loaded = Loaded {
        state: new(),
        last: 0,
        saved: 0,
    };
    let snapshots = journal.snapshots().await.map_err(Error::Journal)?;
    if let Some(snapshot) = snapshots.first() {
        let at = snapshot.at.index;
        let mut parts = Vec::new();
        for part in 0..snapshot.parts {
            parts.push(journal.load(at, part).await.map_err(Error::Journal)?);
        }
        let restored = loaded.state.restore(parts);
        restored.map_err(|Unreadable| Error::Snapshot { at })?;
        (loaded.last, loaded.saved) = (at, at);
    }
    loaded.catch_up(journal).await?;
    Ok(loaded)
}

impl<S: State> Loaded<S> {
    /// Applies the records that the journal has.
    async fn catch_up(&mut self, journal: &dyn Journal) -> Result<(), Error> {
        loop {
            let entries = journal.read(self.last, Batch::default()).await;
            let entries = entries.map_err(Error::Journal)?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                let index = entry.index;
                let applied = self.state.apply(&entry.record);
                applied.map_err(|Unreadable| Error::Record { index })?;
                self.last = index;
            }
        }
    }
}

/// How a term ended.
enum End {
    Stopped,
    /// Another process leads, or the outcome of a commit is unknown.
    Deposed,
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        match error {
            // A snapshot was restored, or another leader removed records.
            Error::Journal(
                JournalError::Gone { .. }
                | JournalError::Ahead { .. }
                | JournalError::EpochOver { .. },
            ) => Self::Deposed,
            error => Self::Failed(error),
        }
    }
}

pub(crate) struct Driver<S: State> {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) settings: Settings,
    pub(crate) new: Box<dyn Fn() -> S + Send + Sync>,
    pub(crate) asks: mpsc::Receiver<Ask<S>>,
    pub(crate) role: watch::Sender<Role>,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) clock: Clock,
}

impl<S: State> Driver<S> {
    pub(crate) async fn run(mut self, loaded: Loaded<S>) {
        let mut next = Some(loaded);
        loop {
            let end = match next.take() {
                Some(loaded) => self.term(loaded).await,
                None => {
                    let loading = load(&*self.journal, &*self.new).await;
                    match loading {
                        Ok(loaded) => self.term(loaded).await,
                        Err(error) => error.into(),
                    }
                }
            };
            match end {
                End::Stopped => break,
                End::Deposed => {
                    self.be(Role::Starting);
                    // Another leader of the same moment goes on first.
                    self.idle(LOOK / 10).await;
                }
                End::Failed(error) => {
                    let why = told(&error);
                    tracing::error!(error = why, "the journal failed");
                    self.be(Role::Failed(why.into()));
                    self.idle(LOOK).await;
                }
            }
            if self.is_over() {
                break;
            }
        }
        self.be(Role::Stopped);
    }

    fn be(&self, role: Role) {
        self.role.send_if_modified(|old| {
            let changed = *old != role;
            *old = role;
            changed
        });
    }

    /// Whether it was stopped, or nobody can ask any more.
    fn is_over(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }

    /// Refuses requests for so long.
    async fn idle(&mut self, time: Duration) {
        let until = tokio::time::sleep(time);
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return,
                _ = self.stop.changed() => return,
                // A request that is dropped is refused.
                ask = self.asks.recv() => if ask.is_none() { return },
            }
        }
    }

    /// Waits for so long beside another leader. Requests are refused, unless the records that are here answer them.
    async fn beside(&mut self, state: &mut S, time: Duration) {
        let until = tokio::time::sleep(time);
        tokio::pin!(until);
        loop {
            let ask = tokio::select! {
                () = &mut until => return,
                _ = self.stop.changed() => return,
                ask = self.asks.recv() => ask,
            };
            let Some(Ask { request, answer }) = ask else {
                return;
            };
            if let Some(said) = state.peek(request) {
                // Whoever asked may have left.
                let _ = answer.send(said);
            }
        }
    }

    /// Follows the journal until this process leads, then leads.
    async fn term(&mut self, mut loaded: Loaded<S>) -> End {
        loop {
            if self.is_over() {
                return End::Stopped;
            }
            if let Err(error) = loaded.catch_up(&*self.journal).await {
                return error.into();
            }
            match self.journal.lead().await {
                Ok(Lead::Leads(term)) => {
                    if let Err(error) = loaded.catch_up(&*self.journal).await {
                        return error.into();
                    }
                    return self.lead(loaded, term).await;
                }
                Ok(Lead::Held(held)) => {
                    self.be(Role::Follows(held.name));
                    let wait = Duration::from_millis(held.ends_in_ms.max(10));
                    self.beside(&mut loaded.state, wait.min(LOOK)).await;
                }
                Err(error) => return Error::Journal(error).into(),
            }
        }
    }

    async fn lead(&mut self, mut loaded: Loaded<S>, term: Term) -> End {
        tracing::debug!(epoch = term.epoch, last = term.last, "leads");
        let mut leader = Leader {
            journal: Arc::clone(&self.journal),
            epoch: term.epoch,
            began: Instant::now(),
            saving: None,
        };
        // The time of the lease counts from a commit of this term.
        if let Err(error) = leader.append(Vec::new()).await {
            return Error::Journal(error).into();
        }
        self.be(Role::Leads(term.epoch));
        let mut asks = Vec::with_capacity(TOGETHER);
        loop {
            let renew = leader.began + RENEW;
            tokio::select! {
                biased;
                _ = self.stop.changed() => {
                    leader.farewell().await;
                    return End::Stopped;
                }
                n = self.asks.recv_many(&mut asks, TOGETHER) => if n == 0 {
                    leader.farewell().await;
                    return End::Stopped;
                },
                () = tokio::time::sleep_until(renew) => {}
            }
            let mut requests = asks.iter_mut().map(|ask| &mut ask.request);
            loaded.state.prepare(&mut requests);
            let now = self.clock.now();
            let mut decided = Decided::new();
            for Ask { request, answer } in asks.drain(..) {
                let mut records = Vec::new();
                let said = loaded.state.decide(now, request, &mut records);
                decided.push(records, answer, said);
            }
            if let Err(error) = leader.commit(decided, &mut loaded.last).await {
                return Error::Journal(error).into();
            }
            let due = loaded.last - loaded.saved >= self.settings.snapshot_every.max(1);
            if due && leader.is_free().await {
                loaded.saved = loaded.last;
                let keep = self.settings.snapshots.max(1);
                leader.save(loaded.last, loaded.state.snapshot(), keep);
            }
        }
    }
}

/// Answers that wait for a commit, with those who asked.
type Answers<A> = Vec<(oneshot::Sender<A>, A)>;

/// The records of decided requests, in the appends that they fit in, each with its answers.
struct Decided<A> {
    appends: Vec<(Vec<Record>, Answers<A>)>,
    bytes: usize,
}

impl<A> Decided<A> {
    fn new() -> Self {
        Self {
            appends: vec![(Vec::new(), Vec::new())],
            bytes: 0,
        }
    }

    /// Adds a decision, whose records stay together.
    fn push(&mut self, records: Vec<Record>, to: oneshot::Sender<A>, answer: A) {
        let bytes: usize = records.iter().map(|r| r.body.len()).sum();
        let fits = |last: &[Record]| {
            last.is_empty()
                || last.len() + records.len() <= APPEND_RECORDS_MAX
                    && self.bytes + bytes <= APPEND_BYTES_MAX
        };
        if !self.appends.last().is_some_and(|(last, _)| fits(last)) {
            self.appends.push((Vec::new(), Vec::new()));
            self.bytes = 0;
        }
        self.bytes += bytes;
        if let Some((last, answers)) = self.appends.last_mut() {
            last.extend(records);
            answers.push((to, answer));
        }
    }
}

struct Leader {
    journal: Arc<dyn Journal>,
    epoch: u64,
    /// Begin of the last commit.
    began: Instant,
    saving: Option<JoinHandle<()>>,
}

impl Leader {
    async fn append(&mut self, records: Vec<Record>) -> Result<u64, JournalError> {
        let began = Instant::now();
        let index = self.journal.append(self.epoch, records).await?;
        self.began = began;
        Ok(index)
    }

    /// Commits decisions, and releases their answers.
    async fn commit<A>(&mut self, decided: Decided<A>, last: &mut u64) -> Result<(), JournalError> {
        for (records, answers) in decided.appends {
            // An answer without records needs a leader too.
            if !records.is_empty() || self.began.elapsed() >= RENEW {
                let n = records.len() as u64;
                let index = self.append(records).await?;
                *last = if n == 0 { *last } else { index };
            }
            if self.began.elapsed() >= LEASE {
                // The answers are dropped: another process may lead. The next commit tells.
                continue;
            }
            for (to, answer) in answers {
                // Whoever asked may have left.
                let _ = to.send(answer);
            }
        }
        Ok(())
    }

    async fn is_free(&mut self) -> bool {
        match &mut self.saving {
            Some(saving) if !saving.is_finished() => false,
            _ => {
                self.saving = None;
                true
            }
        }
    }

    /// Saves a snapshot beside the appends, and removes older ones.
    fn save(&mut self, at: u64, parts: Vec<Vec<u8>>, keep: usize) {
        let (journal, epoch) = (Arc::clone(&self.journal), self.epoch);
        self.saving = Some(tokio::spawn(async move {
            if let Err(error) = save(&*journal, epoch, at, parts, keep).await {
                tracing::warn!(%error, at, "a snapshot was not saved");
            }
        }));
    }

    async fn farewell(&mut self) {
        if let Some(saving) = self.saving.take() {
            // A snapshot that is cut off is discarded.
            saving.abort();
        }
        if let Err(error) = self.journal.resign(self.epoch).await {
            tracing::warn!(%error, "the lease was not given back");
        }
    }
}

async fn save(
    journal: &dyn Journal,
    epoch: u64,
    at: u64,
    parts: Vec<Vec<u8>>,
    keep: usize,
) -> Result<(), JournalError> {
    let mut n = 0;
    for part in parts {
        journal.save(epoch, at, n, part).await?;
        n += 1;
    }
    journal.finish(epoch, at, n).await?;
    journal.retain(epoch, keep).await
}

/// An error with its causes.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
