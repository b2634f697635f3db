//! Signatures of other coordinators: what waits for them, and what the journal here tells those that ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use betanet_fog_service::Claim;
use tokio::time::Instant;

use super::{Payer, ROUND};
use crate::bills::{Bid, Bill};
use crate::cosign::ask::{Lack, pause};
use crate::cosign::{Of, Question};
use crate::items::Payout;
use crate::reason::Reason;
use crate::tally::count;

/// What too few coordinators signed.
pub(super) struct Lacking {
    tries: u32,
    /// When it was tried last.
    last: Instant,
}

/// What is due and can be tried now, up to a number: what lacks no signatures by its time, then the rest, least recently tried first.
/// So those that nobody signs do not take the turns of others.
pub(super) fn pick(
    due: &BTreeSet<(u64, Bill)>,
    now_ms: u64,
    lacking: &BTreeMap<Bill, Lacking>,
    waits: impl Fn(&Bill) -> bool,
) -> Vec<(u64, Bill)> {
    let ready = || {
        let due = due.iter().take_while(|(at, _)| *at <= now_ms);
        due.filter(|(_, bill)| !waits(bill)).copied()
    };
    let fresh = ready().filter(|(_, bill)| !lacking.contains_key(bill));
    let mut picked: Vec<(u64, Bill)> = fresh.take(ROUND).collect();
    if picked.len() < ROUND && !lacking.is_empty() {
        let last = |all: (u64, Bill)| lacking.get(&all.1).map(|l| (l.last, all));
        let mut tried: Vec<_> = ready().filter_map(last).collect();
        tried.sort_unstable();
        let room = ROUND - picked.len();
        picked.extend(tried.into_iter().take(room).map(|(_, all)| all));
    }
    picked
}

impl Payer {
    /// Answers another coordinator's question with what the journal here says.
    pub(super) async fn answer(&mut self, question: Question) {
        // Whoever asked may have left.
        match question {
            Question::Pays { of, answer } => {
                let found = match self.read().await {
                    Ok(()) => self.found(&of).await,
                    Err(_) => Err(Reason::Unavailable),
                };
                let _ = answer.send(found);
            }
            Question::Accuses { task, answer } => {
                let _ = answer.send(self.accuses(&task).await);
            }
        }
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
        let now = Instant::now();
        let lacking = Lacking {
            tries: 0,
            last: now,
        };
        let lacking = self.lacking.entry(bill).or_insert(lacking);
        lacking.tries = lacking.tries.saturating_add(1);
        lacking.last = now;
        self.resting.insert(bill, now + pause(lacking.tries));
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
    use std::time::Duration;

    use betanet_fog::TaskId;

    use super::*;

    fn bill(n: usize) -> Bill {
        let mut id = [0; 32];
        id[24..].copy_from_slice(&n.to_be_bytes());
        Bill::Task(TaskId(id))
    }

    #[test]
    fn what_nobody_signs_takes_no_turn_of_others() {
        let begun = Instant::now();
        // More than a round is older, and not signed; the oldest was tried last.
        let old = 2 * ROUND;
        let due: BTreeSet<_> = (0..old + 3).map(|n| (n as u64, bill(n))).collect();
        let tried = |n: usize| Lacking {
            tries: 9,
            last: begun + Duration::from_secs((old - n) as u64),
        };
        let lacking: BTreeMap<_, _> = (0..old).map(|n| (bill(n), tried(n))).collect();
        let now_ms = old as u64 + 1;
        let picked = pick(&due, now_ms, &lacking, |b| *b == bill(old - 1));
        let expected = [old, old + 1].into_iter().chain((0..old - 1).rev());
        let expected: Vec<_> = expected.take(ROUND).map(|n| (n as u64, bill(n))).collect();
        assert_eq!(picked, expected);
        let picked = pick(&due, now_ms, &BTreeMap::new(), |_| false);
        assert_eq!(picked.len(), ROUND);
        assert_eq!(picked[0], (0, bill(0)));
    }
}
