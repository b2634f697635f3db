//! Signatures of other coordinators: what waits for them, and what the journal here tells those that ask.

use std::sync::atomic::Ordering;
use std::time::Duration;

use betanet_fog_service::Claim;
use tokio::time::Instant;

use super::Payer;
use crate::bills::{Bid, Bill};
use crate::cosign::ask::Lack;
use crate::cosign::{Of, Question};
use crate::items::Payout;
use crate::reason::Reason;
use crate::tally::count;

/// Longest pause after which other coordinators are asked again for their signatures.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Pause after so many tries without enough signatures: a second, then twice as long each time, at most a minute.
fn pause(tries: u32) -> Duration {
    Duration::from_secs(1 << tries.saturating_sub(1).min(6)).min(PAUSE_MAX)
}

impl Payer {
    /// Answers another coordinator's question with what the journal here says.
    pub(super) async fn answer(&mut self, question: Question) {
        let found = match self.read().await {
            Ok(()) => self.found(&question.of).await,
            Err(_) => Err(Reason::Unavailable),
        };
        // Whoever asked may have left.
        let _ = question.answer.send(found);
    }

    async fn found(&self, of: &Of) -> Result<(Claim, Payout), Reason> {
        let bill = match of {
            Of::Task(id) => Bill::Task(*id),
            Of::Bid(key) => Bill::Bid(*key),
        };
        let (claim, _) = self.claim(&bill).ok_or(Reason::Unknown)?;
        let over = match &bill {
            Bill::Task(id) => self.bills.tasks.get(id).is_some_and(|w| w.end.is_some()),
            Bill::Bid(key) => self.bills.bids.get(key).is_some_and(Bid::is_over),
        };
        let at = self.due_at(&bill).filter(|_| over).ok_or(Reason::Unknown)?;
        if at > self.clock.now().unix_ms {
            return Err(Reason::Early);
        }
        let due = self.due(&bill, false).await.ok_or(Reason::Unavailable)?;
        Ok((claim, due.0))
    }

    pub(super) fn tell_lacking(&self) {
        let lacking = self.lacking.len() as u64;
        let told = &self.escrow.tally.lacking;
        told.store(lacking, Ordering::Relaxed);
    }

    /// Too few coordinators signed this one: it waits, and where none answers, so do the others.
    pub(super) fn unsigned(&mut self, bill: Bill, lack: Lack) {
        count(&self.escrow.tally.unsigned);
        let tries = self.lacking.entry(bill).or_default();
        *tries = tries.saturating_add(1);
        let rest = pause(*tries);
        self.resting.insert(bill, Instant::now() + rest);
        if lack == Lack::Silent {
            self.silent = self.silent.saturating_add(1);
            self.quiet_until = Some(Instant::now() + pause(self.silent));
        }
        if !std::mem::replace(&mut self.told.unsigned, true) {
            tracing::warn!(
                ?lack,
                "tasks are not settled now: too few coordinators of the ledger sign"
            );
        }
        self.tell_lacking();
    }

    pub(super) fn signed(&mut self, bill: &Bill) {
        (self.silent, self.quiet_until) = (0, None);
        if self.lacking.remove(bill).is_some() {
            self.tell_lacking();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let pauses = [1, 2, 3, 6, 7, 8, u32::MAX].map(|tries| pause(tries).as_secs());
        assert_eq!(pauses, [1, 2, 4, 32, 60, 60, 60]);
    }
}
