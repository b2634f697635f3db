//! What began in records that the journal has no more.

use std::collections::BTreeMap;

use betanet_economy_service::Unavailable;
use betanet_fog_service::Claim;
use betanet_wire::text::hex;
use tokio::time::Instant;

use super::{AGAIN, Payer};
use crate::bills::Bill;
use crate::ids::id_of;
use crate::pay::Standing;
use crate::tally::count;

/// Reservations of one look: the ledger stands still meanwhile.
const LOOKED: usize = 1_024;

impl Payer {
    /// Forgets bills whose records and reservation are gone: another process led meanwhile and settled them. A bill whose reservation is
    /// still held was not settled. It stays, unless the receipts that it pays are gone.
    pub(super) async fn drop_gone(&mut self) {
        let now = Instant::now();
        if self.compared.is_some_and(|at| now < at + AGAIN) {
            return;
        }
        let Ok(facts) = self.journal.facts().await else {
            return;
        };
        self.compared = Some(now);
        let began = self.bills.began_by(facts.base);
        let mut dropped = Vec::new();
        for some in began.chunks(LOOKED) {
            let claims = some.iter().map(|(_, claim, ms)| (*claim, *ms)).collect();
            let Ok(standings) = self.escrow.standings(claims).await else {
                break;
            };
            for ((bill, claim, _), standing) in some.iter().zip(standings) {
                match standing {
                    Standing::Gone => {}
                    Standing::Held if self.is_lost(bill, facts.base) => self.tell_lost(claim),
                    Standing::Held | Standing::Waits(_) => continue,
                }
                self.escrow.tally.closed(&id_of(claim));
                dropped.push(*bill);
            }
        }
        if dropped.is_empty() {
            return;
        }
        self.bills.drop_all(&dropped);
        let bills = &self.bills;
        self.due.retain(|(_, bill)| bills.has(bill));
        self.sent.retain(|bill, _| bills.has(bill));
        self.ended.retain(|bill| bills.has(bill));
        self.resting.retain(|bill, _| bills.has(bill));
        self.lacking.retain(|bill, _| bills.has(bill));
        self.gone.retain(|bill, _| bills.has(bill));
        self.unaccused.retain(|id, _| bills.tasks.contains_key(id));
        self.tell_lacking();
    }

    /// Whether a settlement ended the reservation of one, which is gone. The ledger's records are searched once for all that are due
    /// and gone: after a restart, these may be many.
    pub(super) async fn was_ended(&mut self, bill: &Bill) -> Result<bool, Unavailable> {
        if let Some(ended) = self.gone.get(bill) {
            return Ok(*ended);
        }
        let due = self.due.iter().map(|(_, bill)| *bill);
        let unknown = due.filter(|b| !self.ended.contains(b) && !self.gone.contains_key(b));
        let all: Vec<(Bill, (Claim, u64))> = unknown
            .filter_map(|bill| Some((bill, self.claim(&bill)?)))
            .collect();
        let mut of = BTreeMap::new();
        let mut oldest_ms = u64::MAX;
        for some in all.chunks(LOOKED) {
            let claims = some.iter().map(|(_, (claim, _))| *claim).collect();
            let gone = self.escrow.are_gone(claims).await?;
            let found = some.iter().zip(gone).filter(|(_, gone)| *gone);
            for ((bill, (claim, since_ms)), _) in found {
                of.insert(id_of(claim), *bill);
                oldest_ms = oldest_ms.min(*since_ms);
            }
        }
        // This one is gone, as was seen just now.
        if let Some((claim, since_ms)) = self.claim(bill) {
            of.insert(id_of(&claim), *bill);
            oldest_ms = oldest_ms.min(since_ms);
        }
        let ids = of.keys().copied().collect();
        let ended = self.escrow.ended_of(ids, oldest_ms).await?;
        for (id, bill) in of {
            self.gone.insert(bill, ended.contains(&id));
        }
        Ok(self.gone.get(bill).copied().unwrap_or_default())
    }

    /// Whether one that is held can never be paid. Only who leads the ledger knows all that was settled.
    fn is_lost(&self, bill: &Bill, base: u64) -> bool {
        self.escrow.ledger.leads() && self.bills.pays_by(bill, base)
    }

    fn tell_lost(&self, claim: &Claim) {
        tracing::warn!(
            of = hex(&claim.of),
            "a task's receipts were removed from the journal before it was settled: what its nodes were not paid is lost to them"
        );
        count(&self.escrow.tally.expired);
    }
}
