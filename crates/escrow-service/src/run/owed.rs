//! What one settlement pays, read from the fog's journal.

use betanet_coordinator::{Change, Record};
use betanet_fog::{DAY_MS, Receipt, Signed};
use betanet_journal::Batch;
use betanet_keys::PublicKey;

use super::Payer;
use crate::bills::{Bill, Work};
use crate::items::{Payout, Proof, of_bid, of_task};

impl Payer {
    /// Who is paid for one, and, if others are to see it, what that follows from. `None`: it cannot be told now.
    pub(super) async fn due(&self, bill: &Bill, shown: bool) -> Option<(Payout, Proof)> {
        let work = match bill {
            Bill::Task(id) => self.bills.tasks.get(id)?,
            Bill::Bid(key) => {
                let proof = Proof {
                    bid: Some(*key),
                    ..Proof::default()
                };
                return Some((of_bid(self.bills.bids.get(key)?), proof));
            }
        };
        let (payout, mut proof) = self.payout(work).await?;
        if shown {
            proof.task = self.task(work).await?;
        }
        Some((payout, proof))
    }

    /// Who is paid for a task. `None`: it cannot be told now.
    async fn payout(&self, work: &Work) -> Option<(Payout, Proof)> {
        let end = work.end.as_ref()?;
        if end.cost == 0 {
            return Some((Payout::none(), Proof::default()));
        }
        let mut receipts = Vec::new();
        for (fence, index) in &work.returned {
            if end.deciding.contains(fence) {
                receipts.push(self.receipt(*index).await?);
            }
        }
        if receipts.is_empty() {
            return Some((Payout::none(), Proof::default()));
        }
        receipts.sort_by_key(|r| r.fence);
        let day = end.ts / DAY_MS;
        let percent = self.fog.credit(work.ns.clone(), work.tier, day).await?;
        let payout = of_task(end.cost, &receipts, percent);
        let proof = Proof {
            receipts,
            factor: work.factor,
            percent,
            ..Proof::default()
        };
        Some((payout, proof))
    }

    async fn record(&self, index: u64) -> Option<Change> {
        let one = Batch {
            records: 1,
            ..Batch::default()
        };
        let entries = self.journal.read(index.checked_sub(1)?, one).await.ok()?;
        let entry = entries.into_iter().next()?;
        let record = Record::read(entry.record.kind.as_str(), &entry.record.body);
        record.ok().map(|record| record.change)
    }

    /// A task as its owner signed it.
    pub(super) async fn task(&self, work: &Work) -> Option<Vec<u8>> {
        match self.record(work.first).await? {
            Change::Accepted { task, .. } => Some(task.into()),
            _ => None,
        }
    }

    pub(super) async fn receipt(&self, index: u64) -> Option<Signed<Receipt>> {
        let (Change::Returned { receipt, .. } | Change::Evidence { receipt, .. }) =
            self.record(index).await?
        else {
            return None;
        };
        let receipt = Signed::<Receipt>::restore(&receipt).ok()?;
        PublicKey::from_bytes(&receipt.key).ok()?;
        Some(receipt)
    }
}
