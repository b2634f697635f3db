//! Holds: what clients reserve, and whether it covers a task or a bid.

use std::sync::atomic::Ordering;
use std::time::Duration;

use betanet_economy_service::View;
use betanet_fog::Digest;
use betanet_fog_service::{Claim, Covered, Escrow, Purpose, Untold};
use betanet_keys::hash;
use betanet_session::Clock;
use betanet_tokenomics::account::address;
use betanet_tokenomics::request::{HOLD_MAX_S, Op};
use betanet_tokenomics::{Code, Envelope, Id, Request};

use crate::LedgerEscrow;

/// Validity of a request of this process, in ms.
pub(crate) const VALID_MS: u64 = 3_600_000;
/// Slack of a hold beyond what is asked for, in seconds: clocks differ, and a head takes its time.
const SLACK_S: u64 = 3_600;
/// Longest wait for a head over a hold of the coordinator itself.
const FINAL: Duration = Duration::from_secs(25);

/// ID of the request that reserves for a task or a bid. It follows from these, so that a repeat reserves nothing twice.
#[must_use]
pub fn reservation_id(client: &[u8; 32], purpose: Purpose, of: &Digest) -> Id {
    let kind = kind(purpose).to_be_bytes();
    first(&[b"BN-FOG-HOLD", client, &kind, of])
}

/// The first 16 bytes of a hash.
pub(crate) fn first(parts: &[&[u8]]) -> Id {
    let mut id = [0; 16];
    id.copy_from_slice(&hash(parts)[..16]);
    id
}

pub(crate) const fn kind(purpose: Purpose) -> u64 {
    match purpose {
        Purpose::Task => 0,
        Purpose::Bid => 1,
    }
}

/// The operation that reserves what a claim asks for. `None`: it would have to last longer than the ledger allows.
#[must_use]
pub fn reserve(claim: &Claim, now_ms: u64) -> Option<Op> {
    let ttl = claim.until_ms.saturating_sub(now_ms).div_ceil(1_000);
    let ttl = ttl.saturating_add(SLACK_S);
    (ttl <= HOLD_MAX_S && claim.amount > 0).then_some(Op::Reserve {
        amt: claim.amount,
        credit: 0,
        of: claim.of,
        kind: kind(claim.purpose),
        ttl,
    })
}

/// Whether the state under the final head covers a claim. `None` without a final head.
fn covers(view: &View<'_>, claim: &Claim) -> Option<bool> {
    let state = view.covered?;
    let client = address(&claim.owner);
    let held = state.reserved(&client, kind(claim.purpose), &claim.of);
    Some(held.is_some_and(|h| h.amt >= claim.amount && h.due >= claim.until_ms))
}

impl Escrow for LedgerEscrow {
    fn covers(&self, claim: Claim) -> Covered<'_> {
        Box::pin(async move {
            if self.open.load(Ordering::Relaxed) >= self.settings.open_max {
                return Err(Untold);
            }
            let covered = self.look_for(claim).await?;
            let own = claim.owner == *self.settings.own.public().as_bytes();
            if covered || !own || !self.reserve_own(&claim).await? {
                return Ok(covered);
            }
            let covered = async {
                loop {
                    if self.look_for(claim).await? {
                        return Ok(true);
                    }
                    self.ledger.changed(Duration::from_secs(1)).await;
                }
            };
            let waited = tokio::time::timeout(FINAL, covered).await;
            waited.unwrap_or(Err(Untold))
        })
    }

    fn needs_from(&self) -> u64 {
        self.needs_from.load(Ordering::Acquire)
    }
}

impl LedgerEscrow {
    async fn look_for(&self, claim: Claim) -> Result<bool, Untold> {
        let told = self.ledger.look(move |view| covers(view, &claim)).await;
        told.ok().flatten().ok_or(Untold)
    }

    /// Reserves for a task of the coordinator's own. Returns whether it is reserved, by now or before.
    async fn reserve_own(&self, claim: &Claim) -> Result<bool, Untold> {
        let own = &self.settings.own;
        let account = address(own.public().as_bytes());
        let nonce = self.ledger.look(move |view| view.latest.nonce(&account));
        let Some(nonce) = nonce.await.map_err(|_| Untold)? else {
            return Ok(false);
        };
        let now_ms = Clock::start().now().unix_ms;
        let Some(op) = reserve(claim, now_ms) else {
            return Ok(false);
        };
        let id = reservation_id(&claim.owner, claim.purpose, &claim.of);
        let Some(request) = Request::new(&[(account, nonce)], now_ms + VALID_MS, id, &op) else {
            return Ok(false);
        };
        let envelope = Envelope::sign(request, self.ledger.genesis().id(), &[own]);
        let answered = self.ledger.submit(envelope.to_bytes()).await;
        match answered.map_err(|_| Untold)?.answer.code {
            Code::Ok => Ok(true),
            // An earlier attempt used the ID: it is held, or it was settled since.
            Code::IdReused => {
                let (kind, of) = (kind(claim.purpose), claim.of);
                let held = self
                    .ledger
                    .look(move |view| view.latest.reserved(&account, kind, &of).is_some());
                held.await.map_err(|_| Untold)
            }
            _ => Ok(false),
        }
    }
}
