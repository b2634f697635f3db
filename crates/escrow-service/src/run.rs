//! The loop: follows the fog's journal, and settles what has ended.

mod accuse;
mod gone;
mod owed;
mod together;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use betanet_coordinator::Record;
use betanet_economy_service::Unavailable;
use betanet_fog::{DAY_MS, TaskId};
use betanet_fog_service::{Claim, Handle};
use betanet_journal::{Batch, Entry, Error as JournalError, Journal};
use betanet_session::Clock;
use betanet_tokenomics::Code;
use betanet_wire::text::hex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bills::{Bill, Bills, News};
use crate::cosign::Question;
use crate::ids::id_of;
use crate::pay::{Order, Outcome, Standing};
use crate::tally::count;
use crate::{LedgerEscrow, When};
use together::{Lacking, pick};

/// Time between two looks while something waits.
const LOOK: Duration = Duration::from_millis(500);
/// Pause before something that was refused is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// Settlements between two looks at the journal.
const ROUND: usize = 256;

/// The settlement of a fog. Dropped, it stops.
#[derive(Debug)]
pub struct Paying(#[allow(dead_code, reason = "its end is the end of the tasks")] JoinSet<()>);

/// Says that settlements have ended, when they do.
struct Ends(Arc<LedgerEscrow>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.tally.ended.store(true, Ordering::Release);
    }
}

impl LedgerEscrow {
    /// Follows the journal of a coordinator, and settles what ended.
    #[must_use]
    pub fn start(self: &Arc<Self>, fog: Handle, journal: Arc<dyn Journal>) -> Paying {
        let mut tasks = JoinSet::new();
        let payer = Payer {
            escrow: Arc::clone(self),
            fog,
            journal,
            clock: Clock::start(),
            bills: Bills::default(),
            due: BTreeSet::new(),
            sent: BTreeMap::new(),
            ended: BTreeSet::new(),
            accused: BTreeSet::new(),
            unaccused: BTreeMap::new(),
            gone: BTreeMap::new(),
            resting: BTreeMap::new(),
            compared: None,
            lacking: BTreeMap::new(),
            silent: 0,
            quiet_until: None,
            told: Told::default(),
        };
        let questions = self.cosigner.questions();
        self.tally.ended.store(false, Ordering::Release);
        let ends = Ends(Arc::clone(self));
        tasks.spawn(async move {
            let _ends = ends;
            payer.run(questions).await;
        });
        Paying(tasks)
    }
}

/// What was logged, and is logged again only after a settlement went well.
#[derive(Default)]
struct Told {
    not_here: bool,
    unavailable: bool,
    unsigned: bool,
}

/// How one try went.
enum Step {
    /// It is settled, for good.
    Settled,
    /// Its hold ended before all were paid.
    Lost,
    /// What is to be paid cannot be told now.
    Untold,
    /// A record that no final head covers changed its reservation; the number of records that must be covered.
    Waits(u64),
    Tried(Outcome),
}

struct Payer {
    escrow: Arc<LedgerEscrow>,
    fog: Handle,
    journal: Arc<dyn Journal>,
    clock: Clock,
    bills: Bills,
    /// What has ended, by the time from which it is settled.
    due: BTreeSet<(u64, Bill)>,
    /// What waits for a final head, with the number of records that it must cover.
    sent: BTreeMap<Bill, u64>,
    /// What this process has ended with a settlement that was not dropped since.
    ended: BTreeSet<Bill>,
    /// Tasks whose evidence was sent, or was refused.
    accused: BTreeSet<TaskId>,
    /// Tasks whose evidence others could not sign yet, and the tries.
    unaccused: BTreeMap<TaskId, u32>,
    /// Bills whose reservation is gone, and whether a settlement ended it, where the ledger's records told.
    gone: BTreeMap<Bill, bool>,
    /// What was refused, until it is tried again.
    resting: BTreeMap<Bill, Instant>,
    /// When what is held was last compared with the journal's first record.
    compared: Option<Instant>,
    /// What too few coordinators have signed.
    lacking: BTreeMap<Bill, Lacking>,
    /// Tries in a row to which no other coordinator answered, and until when none is asked.
    silent: u32,
    quiet_until: Option<Instant>,
    told: Told,
}

impl Payer {
    async fn run(mut self, mut questions: mpsc::Receiver<Question>) {
        loop {
            let began = Instant::now();
            match self.read().await {
                Ok(()) => {
                    self.drop_gone().await;
                    let needs = self.bills.needs_from();
                    self.escrow.needs_from.store(needs, Ordering::Release);
                    let tally = &self.escrow.tally;
                    tally.read.store(self.bills.last, Ordering::Relaxed);
                    tally.read_since(began);
                }
                Err(JournalError::Gone { base, .. }) => self.begin_at(base),
                Err(JournalError::Ahead { .. }) => self.begin_at(0),
                Err(error) => {
                    tracing::warn!(%error, "the fog's journal cannot be read for settlements");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            }
            let more = self.settle_due(&mut questions).await;
            if more {
                continue;
            }
            let look = tokio::time::sleep(LOOK);
            let (journal, last) = (Arc::clone(&self.journal), self.bills.last);
            tokio::select! {
                () = look => {}
                grown = journal.wait(last) => if grown.is_err() {
                    tokio::time::sleep(LOOK).await;
                },
                Some(question) = questions.recv() => self.answer(question).await,
            }
        }
    }

    /// Begins anew: the records before are gone, by a snapshot that was kept without escrow or was restored.
    fn begin_at(&mut self, base: u64) {
        self.bills = Bills::after(base);
        self.due.clear();
        self.sent.clear();
        self.ended.clear();
        self.accused.clear();
        self.unaccused.clear();
        self.gone.clear();
        self.resting.clear();
        self.lacking.clear();
        self.escrow.tally.clear();
    }

    async fn read(&mut self) -> Result<(), JournalError> {
        loop {
            let entries = self.journal.read(self.bills.last, Batch::default()).await?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                self.take(&entry);
            }
        }
    }

    fn take(&mut self, entry: &Entry) {
        let kind = entry.record.kind.as_str();
        // Records of beats and nodes are none of ours; one that does not read stops the coordinator itself.
        let Ok(record) = Record::read(kind, &entry.record.body) else {
            self.bills.last = entry.index;
            return;
        };
        for news in self.bills.take(entry.index, &record) {
            match news {
                News::Opened(claim) => self.escrow.tally.opened(id_of(&claim)),
                News::Ended(bill) => {
                    if let Some(at) = self.due_at(&bill) {
                        self.due.insert((at, bill));
                    }
                }
            }
        }
    }

    /// From when on what has ended is settled, in UNIX ms.
    fn due_at(&self, bill: &Bill) -> Option<u64> {
        let work = match bill {
            Bill::Task(id) => self.bills.tasks.get(id)?,
            Bill::Bid(key) => return Some(self.bills.bids.get(key)?.over_ms),
        };
        let end = work.end.as_ref()?;
        let pays = end.cost > 0 && !end.deciding.is_empty();
        Some(match self.escrow.settings.when {
            When::DayEnd if pays => (end.ts / DAY_MS + 1).saturating_mul(DAY_MS),
            _ => end.ts,
        })
    }

    /// Settles what is due, up to a number, and answers a question before each. Returns whether there is more to do now.
    async fn settle_due(&mut self, questions: &mut mpsc::Receiver<Question>) -> bool {
        let (now_ms, now) = (self.clock.now().unix_ms, Instant::now());
        let oldest = self.due.first().filter(|(at, _)| *at <= now_ms);
        let oldest = oldest.map_or(0, |(at, _)| *at);
        self.escrow.tally.oldest_ms.store(oldest, Ordering::Relaxed);
        if self.check_sent().await.is_err() {
            if oldest > 0 {
                self.tell_unavailable();
            }
            return false;
        }
        self.resting.retain(|_, until| *until > now);
        if self.quiet_until.is_some_and(|until| until > now) {
            return false;
        }
        let ready = pick(&self.due, now_ms, &self.lacking, |bill| {
            self.sent.contains_key(bill) || self.resting.contains_key(bill)
        });
        for (at, bill) in &ready {
            // Who asks waits for no round.
            if let Ok(question) = questions.try_recv() {
                self.answer(question).await;
            }
            match self.settle(*bill, now_ms).await {
                Ok(step) => {
                    self.note((*at, *bill), step);
                    // One wait for those that do not answer is not had for each.
                    if self.quiet_until.is_some_and(|until| until > now) {
                        return false;
                    }
                }
                Err(Unavailable) => {
                    // The others are tried at the next look, so that one wait is not had for each.
                    self.tell_unavailable();
                    self.rest(*bill);
                    return false;
                }
            }
        }
        ready.len() == ROUND
    }

    fn note(&mut self, (at, bill): (u64, Bill), step: Step) {
        match step {
            Step::Settled => self.forget(at, bill),
            Step::Lost => {
                let of = self.claim(&bill).map(|(claim, _)| hex(&claim.of));
                tracing::warn!(
                    of,
                    "the hold of a task or bid ended unpaid: what its nodes were not paid is lost to them"
                );
                count(&self.escrow.tally.expired);
                self.forget(at, bill);
            }
            Step::Untold => {
                tracing::warn!("what is to be paid cannot be read from the fog now");
                self.rest(bill);
            }
            Step::Waits(records) => drop(self.sent.insert(bill, records)),
            Step::Tried(Outcome::Sent(records)) => {
                count(&self.escrow.tally.sent);
                self.told = Told::default();
                self.signed(&bill);
                self.ended.insert(bill);
                self.sent.insert(bill, records);
            }
            Step::Tried(Outcome::Refused(code)) => {
                if code != Code::BadNonce {
                    tracing::warn!(code = code.name(), "the ledger refused a settlement");
                    count(&self.escrow.tally.refused);
                }
                self.rest(bill);
            }
            Step::Tried(Outcome::Unsigned(lack)) => self.unsigned(bill, lack),
            Step::Tried(Outcome::NotHere) => {
                if !std::mem::replace(&mut self.told.not_here, true) {
                    tracing::warn!(
                        "tasks are not settled here: this process does not lead the ledger, or has too few keys of its coordinators"
                    );
                }
                self.rest(bill);
            }
        }
    }

    fn tell_unavailable(&mut self) {
        if !std::mem::replace(&mut self.told.unavailable, true) {
            tracing::warn!(
                "tasks are not settled now: the ledger is not led here, or does not answer"
            );
        }
    }

    fn rest(&mut self, bill: Bill) {
        self.resting.insert(bill, Instant::now() + AGAIN);
    }

    /// Looks again at what a final head covers, and takes up again what was dropped from the ledger.
    async fn check_sent(&mut self) -> Result<(), Unavailable> {
        if self.due.is_empty() {
            return Ok(());
        }
        let looked = self.escrow.ledger.look(|view| {
            let covered = view.covered.map_or(0, |s| s.records());
            (covered, view.latest.records())
        });
        let (covered, here) = looked.await?;
        let (ended, accused) = (&mut self.ended, &mut self.accused);
        self.sent.retain(|bill, records| {
            let dropped = *records > here;
            if dropped {
                ended.remove(bill);
                if let Bill::Task(id) = bill {
                    accused.remove(id);
                }
            }
            // The next look tells whether it is settled.
            *records > covered && !dropped
        });
        Ok(())
    }

    fn forget(&mut self, at: u64, bill: Bill) {
        if let Some((claim, _)) = self.claim(&bill) {
            self.escrow.tally.closed(&id_of(&claim));
        }
        self.due.remove(&(at, bill));
        self.ended.remove(&bill);
        self.gone.remove(&bill);
        if self.lacking.remove(&bill).is_some() {
            self.tell_lacking();
        }
        match bill {
            Bill::Task(id) => {
                self.accused.remove(&id);
                self.unaccused.remove(&id);
                self.bills.tasks.remove(&id);
            }
            Bill::Bid(key) => drop(self.bills.bids.remove(&key)),
        }
    }

    /// What is held for one, and since when.
    fn claim(&self, bill: &Bill) -> Option<(Claim, u64)> {
        match bill {
            Bill::Task(id) => self.bills.tasks.get(id).map(|w| (w.claim, w.since_ms)),
            Bill::Bid(key) => self.bills.bids.get(key).map(|b| (b.claim, b.since_ms)),
        }
    }

    /// Settles one.
    async fn settle(&mut self, bill: Bill, now_ms: u64) -> Result<Step, Unavailable> {
        let Some((claim, since_ms)) = self.claim(&bill) else {
            return Ok(Step::Settled);
        };
        let held = match self.escrow.standing(claim).await? {
            Standing::Waits(records) => return Ok(Step::Waits(records)),
            Standing::Gone if self.ended.contains(&bill) => return Ok(Step::Settled),
            Standing::Gone => false,
            Standing::Held => true,
        };
        if let (true, Bill::Task(id)) = (held, &bill)
            && let Some(lack) = self.accuse(id, now_ms).await?
        {
            return Ok(Step::Tried(Outcome::Unsigned(lack)));
        }
        let others = !self.escrow.cosigners.is_empty();
        let Some((payout, proof)) = self.due(&bill, others).await else {
            return Ok(Step::Untold);
        };
        let order = Order {
            claim: &claim,
            payout: &payout,
            proof: others.then_some(&proof),
            since_ms,
        };
        if held {
            let outcome = self.escrow.settle(&order, now_ms).await?;
            return Ok(Step::Tried(outcome));
        }
        let settled = payout.items.is_empty()
            || self.escrow.is_marked(&order).await?
            || self.was_ended(&bill).await?;
        Ok(if settled { Step::Settled } else { Step::Lost })
    }
}

#[cfg(test)]
mod tests;
