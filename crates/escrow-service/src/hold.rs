//! Holds: whether a reservation covers a task or a bid, and those of the coordinator itself.

use std::sync::atomic::Ordering;
use std::time::Duration;

use betanet_economy_service::{Unavailable, View};
use betanet_fog_service::{Claim, Covered, Escrow, Released, Untold};
use betanet_session::Clock;
use betanet_tokenomics::account::address;
use betanet_tokenomics::{Code, Economy, Envelope, Id, Request};

use crate::LedgerEscrow;
use crate::ids::{TRIES, VALID_MS, id_of, kind, reserve};
use crate::items::Payout;
use crate::open::is_held;
use crate::pay::{Order, Outcome};

/// Longest wait for a head over holds of the coordinator itself.
const FINAL: Duration = Duration::from_secs(25);

/// How a reservation of the coordinator itself went.
enum Reserving {
    Made,
    /// It was made by an earlier attempt.
    Before,
    /// The money is not there.
    Refused,
}

/// Whether the state under the final head covers a claim, and no later record took that back. `None` without a final head.
fn covers(view: &View<'_>, claim: &Claim) -> Option<bool> {
    let (id, client) = (id_of(claim), address(&claim.owner));
    let good = |state: &Economy| {
        let held = state.reservation(&id, &client, (kind(claim.purpose), &claim.of));
        held.is_some_and(|h| h.amt >= claim.amount && h.due >= claim.until_ms)
    };
    Some(good(view.covered?) && good(view.latest))
}

impl Escrow for LedgerEscrow {
    fn covers(&self, claim: Claim) -> Covered<'_> {
        Box::pin(async move {
            let (id, most) = (id_of(&claim), self.settings.open_max);
            if !self.tally.has_room(&[id], most) {
                return Err(Untold);
            }
            if !self.hold_all(&[claim], &mut Vec::new()).await? {
                return Ok(false);
            }
            self.tally.admit(id, most).then_some(true).ok_or(Untold)
        })
    }

    fn hold(&self, claims: Vec<Claim>) -> Covered<'_> {
        Box::pin(async move {
            let ids: Vec<Id> = claims.iter().map(id_of).collect();
            if !self.tally.has_room(&ids, self.settings.open_max) {
                return Err(Untold);
            }
            let mut made = Vec::new();
            let held = self.hold_all(&claims, &mut made).await;
            if held != Ok(true) {
                self.give_back(made).await;
            }
            held
        })
    }

    fn release(&self, claims: Vec<Claim>) -> Released<'_> {
        for claim in &claims {
            self.tally.withdraw(&id_of(claim));
        }
        Box::pin(self.give_back(claims))
    }

    fn needs_from(&self) -> u64 {
        self.needs_from.load(Ordering::Acquire)
    }
}

impl LedgerEscrow {
    fn is_own(&self, claim: &Claim) -> bool {
        claim.owner == *self.settings.own.public().as_bytes()
    }

    async fn look_for(&self, claim: Claim) -> Result<bool, Untold> {
        let told = self.ledger.look(move |view| covers(view, &claim)).await;
        told.ok().flatten().ok_or(Untold)
    }

    /// Whether all of this is held. The coordinator's own is reserved, and all of it is waited for together. What was reserved here is
    /// added to `made`.
    async fn hold_all(&self, claims: &[Claim], made: &mut Vec<Claim>) -> Result<bool, Untold> {
        let mut waits = Vec::new();
        for claim in claims {
            if self.look_for(*claim).await? {
                continue;
            }
            if !self.is_own(claim) {
                return Ok(false);
            }
            match self.reserve_own(claim).await {
                Ok(Reserving::Refused) => return Ok(false),
                Ok(Reserving::Before) => {}
                Ok(Reserving::Made) => made.push(*claim),
                Err(untold) => {
                    // It may have been made even so.
                    made.push(*claim);
                    return Err(untold);
                }
            }
            waits.push(*claim);
        }
        let waited = tokio::time::timeout(FINAL, self.wait_for(&waits)).await;
        waited.unwrap_or(Err(Untold)).map(|()| true)
    }

    /// Waits until a final head covers all of these. The next regular head may be a minute away, so one is proposed.
    async fn wait_for(&self, claims: &[Claim]) -> Result<(), Untold> {
        for claim in claims {
            while !self.look_for(*claim).await? {
                self.ledger.propose().await.map_err(|_| Untold)?;
                if !self.look_for(*claim).await? {
                    self.ledger.changed(Duration::from_secs(1)).await;
                }
            }
        }
        Ok(())
    }

    /// Reserves for a task of the coordinator's own.
    async fn reserve_own(&self, claim: &Claim) -> Result<Reserving, Untold> {
        let _one = self.requests.lock().await;
        for _ in 0..TRIES {
            return match self.try_reserve(claim).await.map_err(|_| Untold)? {
                Some(Code::Ok) => Ok(Reserving::Made),
                // Another request of this account was first.
                Some(Code::BadNonce) => continue,
                // An earlier attempt used the ID: it is held, or it was settled since.
                Some(Code::IdReused) => {
                    let claim = *claim;
                    let held = self.ledger.look(move |view| is_held(view.latest, &claim));
                    match held.await.map_err(|_| Untold)? {
                        true => Ok(Reserving::Before),
                        false => Ok(Reserving::Refused),
                    }
                }
                // These pass, and say nothing of the money.
                Some(Code::Busy | Code::Paused | Code::Expired) => Err(Untold),
                Some(_) | None => Ok(Reserving::Refused),
            };
        }
        Err(Untold)
    }

    /// Sends one request for a hold. `None`: there is no account, or such a hold is not possible.
    async fn try_reserve(&self, claim: &Claim) -> Result<Option<Code>, Unavailable> {
        let own = &self.settings.own;
        let account = address(own.public().as_bytes());
        let nonce = self.ledger.look(move |view| view.latest.nonce(&account));
        let Some(nonce) = nonce.await? else {
            return Ok(None);
        };
        let now_ms = Clock::start().now().unix_ms;
        let Some(op) = reserve(claim, now_ms) else {
            return Ok(None);
        };
        let valid = now_ms.saturating_add(VALID_MS);
        let Some(request) = Request::new(&[(account, nonce)], valid, id_of(claim), &op) else {
            return Ok(None);
        };
        let envelope = Envelope::sign(request, self.ledger.genesis().id(), &[own]);
        let answered = self.ledger.submit(envelope.to_bytes()).await?;
        Ok(Some(answered.answer.code))
    }

    /// Gives back what is reserved for the coordinator's own tasks that were not submitted.
    async fn give_back(&self, claims: Vec<Claim>) {
        let now_ms = Clock::start().now().unix_ms;
        for claim in claims {
            // What was found covered may have been submitted.
            if !self.is_own(&claim) || self.tally.has(&id_of(&claim)) {
                continue;
            }
            let held = self.ledger.look(move |view| is_held(view.latest, &claim));
            if held.await != Ok(true) {
                continue;
            }
            let order = Order {
                claim: &claim,
                payout: &Payout::none(),
                // The task was not taken, so nothing can be shown of it.
                proof: None,
                since_ms: now_ms,
            };
            match self.settle(&order, now_ms).await {
                Ok(Outcome::Sent(_)) => {}
                other => tracing::warn!(
                    ?other,
                    "the budget of a task that was not submitted is held until its hold ends"
                ),
            }
        }
    }
}
