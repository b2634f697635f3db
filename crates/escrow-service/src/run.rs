//! The loop: follows the fog's journal, and settles what has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use betanet_coordinator::{Change, Record};
use betanet_economy_service::Unavailable;
use betanet_fog::{DAY_MS, Digest, Receipt, Signed, TaskId};
use betanet_fog_service::{Handle, Purpose};
use betanet_journal::{Batch, Entry, Error as JournalError, Journal};
use betanet_keys::PublicKey;
use betanet_session::Clock;
use betanet_tokenomics::Code;
use betanet_wire::NodeId;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::bills::{Bills, Work};
use crate::hold::kind;
use crate::items::{Payout, of_bid, of_task};
use crate::pay::{Outcome, Standing};
use crate::{LedgerEscrow, When};

/// Time between two looks while something waits.
const LOOK: Duration = Duration::from_millis(500);
/// Pause before something that was refused is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// Settlements between two looks at the journal.
const ROUND: usize = 256;

/// The settlement of a fog. Dropped, it stops.
#[derive(Debug)]
pub struct Paying(#[allow(dead_code, reason = "its end is the end of the tasks")] JoinSet<()>);

/// What a settlement is for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Bill {
    Task(TaskId),
    Bid(Digest),
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
            resting: BTreeMap::new(),
            warned: false,
        };
        tasks.spawn(payer.run());
        Paying(tasks)
    }
}

struct Payer {
    escrow: Arc<LedgerEscrow>,
    fog: Handle,
    journal: Arc<dyn Journal>,
    clock: Clock,
    bills: Bills,
    /// What has ended, by the time from which it is settled.
    due: BTreeSet<(u64, Bill)>,
    /// What was sent, with the number of records that a final head must cover.
    sent: BTreeMap<Bill, u64>,
    /// What was refused, until it is tried again.
    resting: BTreeMap<Bill, Instant>,
    warned: bool,
}

impl Payer {
    async fn run(mut self) {
        loop {
            match self.read().await {
                Ok(()) => {
                    let needs = self.bills.needs_from();
                    self.escrow.needs_from.store(needs, Ordering::Release);
                    let open = self.bills.tasks.len() + self.bills.bids.len();
                    self.escrow.open.store(open, Ordering::Relaxed);
                }
                Err(JournalError::Gone { base, .. }) => self.begin_at(base),
                Err(JournalError::Ahead { .. }) => self.begin_at(0),
                Err(error) => {
                    tracing::warn!(%error, "the fog's journal cannot be read for settlements");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            }
            let more = self.settle_due().await;
            if more {
                continue;
            }
            let look = tokio::time::sleep(LOOK);
            let (journal, last) = (Arc::clone(&self.journal), self.bills.last);
            tokio::select! {
                () = look => {}
                grown = journal.wait(last) => if grown.is_err() {
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    /// Begins anew: the records before are gone, by a snapshot that was kept without escrow or was restored.
    fn begin_at(&mut self, base: u64) {
        self.bills = Bills::after(base);
        self.due.clear();
        self.sent.clear();
        self.resting.clear();
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
        self.bills.take(entry.index, &record);
        match &record.change {
            Change::Ended { task, .. } => {
                if let Some(at) = self.bills.tasks.get(task).and_then(|w| self.due_at(w)) {
                    self.due.insert((at, Bill::Task(*task)));
                }
            }
            Change::Cleared { .. } | Change::Over { .. } => {
                let over = self.bills.bids.iter().filter(|(_, bid)| bid.is_over());
                self.due
                    .extend(over.map(|(commit, _)| (0, Bill::Bid(*commit))));
            }
            _ => {}
        }
    }

    /// From when on an ended task is settled, in UNIX ms.
    fn due_at(&self, work: &Work) -> Option<u64> {
        let end = work.end.as_ref()?;
        let pays = end.cost > 0 && !end.deciding.is_empty();
        Some(match self.escrow.settings.when {
            When::DayEnd if pays => (end.ts / DAY_MS + 1).saturating_mul(DAY_MS),
            _ => 0,
        })
    }

    /// Settles what is due, up to a number. Returns whether there is more to do now.
    async fn settle_due(&mut self) -> bool {
        if self.check_sent().await.is_err() {
            return false;
        }
        let (now_ms, now) = (self.clock.now().unix_ms, Instant::now());
        self.resting.retain(|_, until| *until > now);
        let ready = self.due.iter().take_while(|(at, _)| *at <= now_ms);
        let idle = |(_, bill): &&(u64, Bill)| {
            !self.sent.contains_key(bill) && !self.resting.contains_key(bill)
        };
        let ready: Vec<(u64, Bill)> = ready.filter(idle).take(ROUND).copied().collect();
        for (at, bill) in &ready {
            match self.settle(*bill, now_ms).await {
                Ok(Some(Outcome::Sent(records))) => {
                    self.sent.insert(*bill, records);
                }
                Ok(None) => self.forget(*at, *bill),
                Ok(Some(Outcome::Refused(code))) => {
                    if code != Code::BadNonce {
                        tracing::warn!(code = code.name(), "the ledger refused a settlement");
                    }
                    self.resting.insert(*bill, now + AGAIN);
                }
                Ok(Some(Outcome::NotHere)) => {
                    if !std::mem::replace(&mut self.warned, true) {
                        tracing::warn!(
                            "tasks are not settled here: this process does not lead the ledger, or has too few keys of its coordinators"
                        );
                    }
                    self.resting.insert(*bill, now + AGAIN);
                }
                Err(Unavailable) => return false,
            }
        }
        ready.len() == ROUND
    }

    /// Forgets what a final head covers, and takes up again what was dropped from the ledger.
    async fn check_sent(&mut self) -> Result<(), Unavailable> {
        if self.sent.is_empty() {
            return Ok(());
        }
        let looked = self.escrow.ledger.look(|view| {
            let covered = view.covered.map_or(0, |s| s.records());
            (covered, view.latest.records())
        });
        let (covered, here) = looked.await?;
        let done: Vec<Bill> = self
            .sent
            .iter()
            .filter(|(_, records)| **records <= covered || **records > here)
            .map(|(bill, _)| *bill)
            .collect();
        for bill in done {
            // The next look tells whether it is settled.
            self.sent.remove(&bill);
        }
        Ok(())
    }

    fn forget(&mut self, at: u64, bill: Bill) {
        self.due.remove(&(at, bill));
        match bill {
            Bill::Task(id) => drop(self.bills.tasks.remove(&id)),
            Bill::Bid(commit) => drop(self.bills.bids.remove(&commit)),
        }
    }

    /// Settles one. `None`: it is settled, for good.
    async fn settle(&self, bill: Bill, now_ms: u64) -> Result<Option<Outcome>, Unavailable> {
        let (client, of, payout) = match bill {
            Bill::Task(id) => {
                let Some(work) = self.bills.tasks.get(&id) else {
                    return Ok(None);
                };
                let Some(payout) = self.payout(work).await else {
                    return Err(Unavailable);
                };
                (work.owner, (kind(Purpose::Task), id.0), payout)
            }
            Bill::Bid(commit) => {
                let Some(bid) = self.bills.bids.get(&commit) else {
                    return Ok(None);
                };
                (bid.by, (kind(Purpose::Bid), commit), of_bid(bid))
            }
        };
        let nodes: Vec<NodeId> = payout.items.iter().map(|i| i.to).collect();
        let client = betanet_tokenomics::account::address(&client);
        let held = match self.escrow.standing(client, of, nodes).await? {
            Standing::Settled => return Ok(None),
            Standing::Waits(records) => return Ok(Some(Outcome::Sent(records))),
            Standing::Held(held) => held,
        };
        let left_out = payout.items.len() - held.payees.len();
        if left_out > 0 {
            tracing::warn!(
                nodes = left_out,
                "nodes without an account of the ledger are not paid"
            );
        }
        let name = [&client.0[..], &of.0.to_be_bytes(), &of.1].concat();
        let outcome = self.escrow.settle(&held, &payout, (&name, now_ms)).await?;
        if !matches!(outcome, Outcome::Refused(Code::IdReused | Code::Once)) {
            return Ok(Some(outcome));
        }
        // It was paid before, out of another reservation: this one was made besides, and returns.
        let name = [&name[..], &held.id].concat();
        let back = Payout::none();
        Ok(Some(
            self.escrow.settle(&held, &back, (&name, now_ms)).await?,
        ))
    }

    /// Who is paid for a task. `None`: it cannot be told now.
    async fn payout(&self, work: &Work) -> Option<Payout> {
        let end = work.end.as_ref()?;
        let mut receipts = Vec::new();
        for (fence, index) in &work.returned {
            if end.deciding.contains(fence) {
                receipts.push(self.receipt(*index).await?);
            }
        }
        if end.cost == 0 || receipts.is_empty() {
            return Some(Payout::none());
        }
        receipts.sort_by_key(|r| r.fence);
        let day = end.ts / DAY_MS;
        let percent = self.fog.credit(work.ns.clone(), work.tier, day).await?;
        Some(of_task(end.cost, &receipts, percent))
    }

    async fn receipt(&self, index: u64) -> Option<Signed<Receipt>> {
        let one = Batch {
            records: 1,
            ..Batch::default()
        };
        let entries = self.journal.read(index.checked_sub(1)?, one).await.ok()?;
        let entry = entries.into_iter().next()?;
        let record = Record::read(entry.record.kind.as_str(), &entry.record.body).ok()?;
        let Change::Returned { receipt, .. } = record.change else {
            return None;
        };
        let receipt = Signed::<Receipt>::restore(&receipt).ok()?;
        PublicKey::from_bytes(&receipt.key).ok()?;
        Some(receipt)
    }
}
