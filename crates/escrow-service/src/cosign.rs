//! Signatures of coordinators in several processes: what one proposes, and what the others look at before they sign.

pub(crate) mod ask;
pub(crate) mod bar;
pub(crate) mod body;
pub(crate) mod check;
pub(crate) mod kept;
mod rate;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use betanet_durable::{Durable, Handle, Settings as Keeping};
use betanet_fog::TaskId;
use betanet_fog_service::Claim;
use betanet_journal::Journal;
use betanet_session::Service;
use betanet_tokenomics::request::Op;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::bills::BidKey;
use crate::items::Payout;
use crate::reason::Reason;
use crate::{Error, LedgerEscrow};
use bar::{BarService, Door};
use kept::{Ask, Kept, Said};

/// The path prefix under which coordinators ask each other for signatures.
pub const PREFIX: &str = "/settle/1";

/// Time between two looks at what may be forgotten.
const SWEEP: Duration = Duration::from_secs(60);
/// Settlements of one such look.
const SWEPT: usize = 1_024;
/// Longest that the journal's reader is waited for.
const LOOKED: Duration = Duration::from_secs(4);
/// Most questions that wait for the journal's reader.
const QUESTIONS_MAX: usize = 64;

/// How a coordinator checks a settlement that another one proposes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Check {
    /// By what the proposal carries: the task, its receipts, and the reservation on the ledger. It does not show which copies were
    /// assigned, nor what was left out, and settles no lots.
    #[default]
    Proposal,
    /// By that, and by the journal here, which is the fog's own.
    Journal,
}

/// What a settlement is for, for one who looks it up in the journal.
pub(crate) enum Of {
    Task(TaskId),
    Bid(BidKey),
}

/// A question to the reader of the journal.
pub(crate) enum Question {
    /// Who is paid for this.
    Pays {
        of: Of,
        answer: oneshot::Sender<Result<(Claim, Payout), Reason>>,
    },
    /// Evidence of wrong results of a task.
    Accuses {
        task: TaskId,
        answer: oneshot::Sender<Result<Vec<Op>, Reason>>,
    },
}

/// The part of an escrow that signs for others.
#[derive(Default)]
pub(crate) struct Cosigner {
    /// What was signed, once its journal is open.
    pub(crate) kept: OnceLock<Handle<Kept>>,
    /// The reader of the fog's journal, while it runs.
    pub(crate) reader: std::sync::Mutex<Option<mpsc::Sender<Question>>>,
    pub(crate) door: Door,
}

impl std::fmt::Debug for Cosigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cosigner")
    }
}

impl Cosigner {
    fn reader(&self) -> std::sync::MutexGuard<'_, Option<mpsc::Sender<Question>>> {
        let locked = self.reader.lock();
        locked.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The questions for a reader that begins.
    pub(crate) fn questions(&self) -> mpsc::Receiver<Question> {
        let (sender, questions) = mpsc::channel(QUESTIONS_MAX);
        *self.reader() = Some(sender);
        questions
    }

    /// What the journal here says is paid.
    pub(crate) async fn looked_up(&self, of: Of) -> Result<(Claim, Payout), Reason> {
        self.asked(|answer| Question::Pays { of, answer }).await
    }

    /// The evidence of a task that the journal here gives.
    pub(crate) async fn accusations(&self, task: TaskId) -> Result<Vec<Op>, Reason> {
        self.asked(|answer| Question::Accuses { task, answer })
            .await
    }

    async fn asked<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<T, Reason>>) -> Question,
    ) -> Result<T, Reason> {
        let reader = self.reader().clone().ok_or(Reason::Unavailable)?;
        let (answer, answered) = oneshot::channel();
        let asked = reader.try_send(question(answer));
        asked.map_err(|_| Reason::Unavailable)?;
        match tokio::time::timeout(LOOKED, answered).await {
            Ok(Ok(found)) => found,
            _ => Err(Reason::Unavailable),
        }
    }
}

/// A part that signs for other coordinators, and runs. Dropped, it stops without a farewell, as by a crash.
pub struct Cosigning {
    durable: Durable<Kept>,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for Cosigning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cosigning")
    }
}

impl Cosigning {
    /// Ends it.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.durable.stop().await;
    }
}

impl LedgerEscrow {
    /// The service for [`PREFIX`]: other coordinators of the ledger ask it for signatures. Until [`LedgerEscrow::cosign`] it answers 503.
    #[must_use]
    pub fn service(self: &Arc<Self>) -> impl Service + use<> {
        BarService(Arc::clone(self))
    }

    /// Begins to check and sign settlements that other coordinators propose. The journal keeps each signature; no other process uses it.
    ///
    /// # Errors
    ///
    /// The journal is damaged, or of another version. It was started already.
    pub async fn cosign(self: &Arc<Self>, journal: Arc<dyn Journal>) -> Result<Cosigning, Error> {
        if self.cosigner.kept.get().is_some() {
            return Err(Error::Started);
        }
        let most = self.settings.open_max;
        let durable = Durable::start(journal, Keeping::default(), move || Kept::new(most)).await?;
        let handle = durable.handle();
        if self.cosigner.kept.set(handle.clone()).is_err() {
            return Err(Error::Started);
        }
        let mut tasks = JoinSet::new();
        let this = Arc::clone(self);
        tasks.spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                this.sweep(&handle).await;
            }
        });
        Ok(Cosigning { durable, tasks })
    }

    /// Forgets settlements whose reservation is gone under the final head: nothing is signed for these any more.
    async fn sweep(&self, kept: &Handle<Kept>) {
        let mut after = None;
        loop {
            let Ok(Said::List(ids)) = kept.ask(Ask::List(after, SWEPT)).await else {
                return;
            };
            let Some(last) = ids.last() else {
                return;
            };
            after = Some(*last);
            let gone = self.ledger.peek(move |view| {
                let mut gone = ids;
                match view.covered {
                    Some(state) => gone.retain(|id| !state.has_reservation(id)),
                    None => gone.clear(),
                }
                gone
            });
            let Ok(gone) = gone.await else {
                return;
            };
            if !gone.is_empty() && kept.ask(Ask::Forget(gone)).await.is_err() {
                return;
            }
        }
    }
}
