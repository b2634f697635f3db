//! Evidence of wrong results, sent to the ledger before a task is settled: what covers the settlement covers it too.

use betanet_economy_service::Unavailable;
use betanet_fog::{Receipt, Signed, Task, TaskId};
use betanet_tokenomics::Code;
use betanet_tokenomics::request::Op;

use super::Payer;
use crate::cosign::ask::Lack;
use crate::pay::Outcome;
use crate::reason::Reason;
use crate::tally::count;
use crate::wrong::evidence;

/// Times that evidence is sent where others cannot tell yet, with growing pauses: half a minute.
const TRIES: u32 = 6;
/// Most receipts of one task that are looked at.
const RECEIPTS_MAX: usize = 64;

impl Payer {
    /// Evidence that the journal here gives of a task. `None`: it cannot be told now.
    pub(super) async fn evidence(&self, id: &TaskId) -> Option<Vec<Op>> {
        let Some(work) = self.bills.tasks.get(id) else {
            return Some(Vec::new());
        };
        let Some(end) = &work.end else {
            return Some(Vec::new());
        };
        // Mostly all agree, and nothing is read.
        let other = |fence: &u64| !end.deciding.contains(fence);
        if end.deciding.len() < 2 || !work.returned.iter().any(|(fence, _)| other(fence)) {
            return Some(Vec::new());
        }
        let task = Signed::<Task>::restore(&self.task(work).await?).ok()?;
        let mut receipts: Vec<Signed<Receipt>> = Vec::new();
        for (_, index) in work.returned.iter().take(RECEIPTS_MAX) {
            receipts.push(self.receipt(*index).await?);
        }
        receipts.sort_by_key(|r| r.fence);
        Some(evidence(&task, &receipts, &end.deciding))
    }

    /// Answers another coordinator's question about evidence with what the journal here says.
    pub(super) async fn accuses(&mut self, id: &TaskId) -> Result<Vec<Op>, Reason> {
        self.read().await.map_err(|_| Reason::Unavailable)?;
        let ended = self.bills.tasks.get(id).is_some_and(|w| w.end.is_some());
        if !ended {
            return Err(Reason::Unknown);
        }
        self.evidence(id).await.ok_or(Reason::Unavailable)
    }

    /// Sends evidence of a task, if there is some that the ledger does not have. Returns what is lacking where the settlement is to wait
    /// for it: once the task is settled, nobody signs evidence of it. It waits for signatures that it needs itself, and a few times for
    /// those that cannot tell yet.
    pub(super) async fn accuse(
        &mut self,
        id: &TaskId,
        now_ms: u64,
    ) -> Result<Option<Lack>, Unavailable> {
        if self.accused.contains(id) {
            return Ok(None);
        }
        let Some(all) = self.evidence(id).await else {
            return Ok(None);
        };
        for op in &all {
            match self.escrow.accuse(op, id, now_ms).await? {
                None => {}
                Some(Outcome::Sent(_)) => {
                    count(&self.escrow.tally.accused);
                    tracing::info!(task = %id, "evidence of a wrong result was sent to the ledger");
                }
                Some(Outcome::Refused(Code::Once | Code::Unknown)) => {}
                // The settlement needs them too.
                Some(Outcome::Unsigned(Lack::Silent)) => return Ok(Some(Lack::Silent)),
                Some(Outcome::Unsigned(Lack::NotNow)) if self.waits(id) => {
                    return Ok(Some(Lack::NotNow));
                }
                Some(other) => {
                    count(&self.escrow.tally.unaccused);
                    tracing::warn!(task = %id, why = ?other, "evidence of a wrong result did not reach the ledger");
                }
            }
        }
        self.accused.insert(*id);
        self.unaccused.remove(id);
        Ok(None)
    }

    /// Whether a settlement waits once more for evidence.
    fn waits(&mut self, id: &TaskId) -> bool {
        let tries = self.unaccused.entry(*id).or_default();
        *tries = tries.saturating_add(1);
        *tries < TRIES
    }
}
