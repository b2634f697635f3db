//! One settlement: what the ledger has, what is missing there, and the request that does it.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use betanet_economy_service::{Unavailable, View};
use betanet_fog::TaskId;
use betanet_fog_service::{Claim, Purpose};
use betanet_keys::Identity;
use betanet_tokenomics::account::address;
use betanet_tokenomics::request::{ITEMS_MAX, Item, Op};
use betanet_tokenomics::{Code, Economy, Envelope, Id, Request, Role};
use betanet_wire::NodeId;

use crate::LedgerEscrow;
use crate::cosign::ask::Lack;
use crate::ids::{TRIES, VALID_MS, first, id_of};
use crate::items::{Payout, Proof};
use crate::open::{Open, is_held, open_items};
use crate::past::{Ended, Past};

/// Fewest signers of a quorum.
const QUORUM_LEAST: usize = 2;
/// Clocks of the fog and the ledger differ by less, in ms.
const CLOCKS_MS: u64 = 86_400_000;

/// What the ledger has of a reservation.
pub(crate) enum Standing {
    /// Nothing, under the final head too: it was settled, it ended, or it never was.
    Gone,
    /// A record that no final head covers changed it; the number of records that must be covered.
    Waits(u64),
    /// It is there.
    Held,
}

/// How a settlement went.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// The reservation is ended. That stands once a final head covers so many records.
    Sent(u64),
    /// This process does not settle: the ledger is led elsewhere, or the keys are too few.
    NotHere,
    /// Too few coordinators in other processes signed, and why.
    Unsigned(Lack),
    /// The ledger refused.
    Refused(Code),
}

/// Who is paid out of a reservation, and since when it could be.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    pub(crate) claim: &'a Claim,
    pub(crate) payout: &'a Payout,
    /// What others see of it. Without it, the keys here sign alone.
    pub(crate) proof: Option<&'a Proof>,
    /// When what it pays for was accepted, in UNIX ms.
    pub(crate) since_ms: u64,
}

/// Coordinators of the ledger that can sign, with their nonces.
#[derive(Debug, Eq, PartialEq)]
struct Signers {
    /// Those whose keys are here, at most a quorum.
    own: Vec<(NodeId, u64)>,
    /// Those in other processes.
    others: Vec<(NodeId, u64)>,
    /// Signatures that the keys here lack for a quorum.
    lacking: usize,
}

/// The coordinators that can sign. `None`: even together they are too few.
fn quorum(state: &Economy, keys: &[NodeId], others: &[NodeId]) -> Option<Signers> {
    let list = state.role(Role::Coordinators);
    let most = (list.len() / 2 + 1).max(QUORUM_LEAST);
    let signers = |of: &[NodeId], n: usize| -> Vec<(NodeId, u64)> {
        let listed = of
            .iter()
            .filter(|id| list.iter().any(|m| m[..] == id.0[..]));
        let signers = listed.filter_map(|id| Some((*id, state.nonce(id)?)));
        signers.take(n).collect()
    };
    let own = signers(keys, most);
    let others: Vec<NodeId> = others
        .iter()
        .filter(|id| !keys.contains(id))
        .copied()
        .collect();
    let others = signers(&others, usize::MAX);
    let lacking = most - own.len();
    (others.len() >= lacking).then_some(Signers {
        own,
        others,
        lacking,
    })
}

/// What the newest state and the one under the final head have of a claim's reservation.
fn standing_in(latest: &Economy, covered: Option<&Economy>, claim: &Claim) -> Standing {
    let now = is_held(latest, claim);
    match covered.map(|s| is_held(s, claim)) {
        Some(true) if now => Standing::Held,
        Some(false) if !now => Standing::Gone,
        _ => Standing::Waits(latest.records()),
    }
}

impl LedgerEscrow {
    /// What the ledger has of a claim's reservation.
    pub(crate) async fn standing(&self, claim: Claim) -> Result<Standing, Unavailable> {
        self.ledger
            .look(move |view: &mut View<'_>| standing_in(view.latest, view.covered, &claim))
            .await
    }

    /// What the ledger has of these claims, each with the time at which it was accepted, in UNIX ms. Where another process leads the
    /// ledger, the newest records may be missing here.
    pub(crate) async fn standings(
        &self,
        claims: Vec<(Claim, u64)>,
    ) -> Result<Vec<Standing>, Unavailable> {
        let look = self.ledger.peek(move |view: &mut View<'_>| {
            let time = view.covered.map_or(0, Economy::time);
            let stands = |(claim, since_ms): &(Claim, u64)| {
                match standing_in(view.latest, view.covered, claim) {
                    // It may not be here yet.
                    Standing::Gone if time < *since_ms => Standing::Waits(view.latest.records()),
                    standing => standing,
                }
            };
            claims.iter().map(stands).collect()
        });
        look.await
    }

    /// Which of these have no reservation, as [`Standing::Gone`] says.
    pub(crate) async fn are_gone(&self, claims: Vec<Claim>) -> Result<Vec<bool>, Unavailable> {
        let look = self.ledger.look(move |view| {
            let gone = |claim: &Claim| {
                let standing = standing_in(view.latest, view.covered, claim);
                matches!(standing, Standing::Gone)
            };
            claims.iter().map(gone).collect()
        });
        look.await
    }

    /// Whether the ledger's state has the marks of a settlement: receipts that were paid. Lots leave none.
    pub(crate) async fn is_marked(&self, order: &Order<'_>) -> Result<bool, Unavailable> {
        let items = order.payout.items.clone();
        let paid = self.ledger.look(move |view| {
            let state = &*view.latest;
            let paid = |item: &Item| state.is_paid_receipt(&item.record);
            // Who has no account was left out.
            items.iter().any(paid) && items.iter().all(|i| paid(i) || !state.is_paid_node(&i.to))
        });
        paid.await
    }

    /// Which of these reservations a settlement has ended since a time, by one search of the records.
    pub(crate) async fn ended_of(
        &self,
        ids: BTreeSet<Id>,
        since_ms: u64,
    ) -> Result<BTreeSet<Id>, Unavailable> {
        let since_ms = since_ms.saturating_sub(CLOCKS_MS);
        let (mut ended, mut below) = (Ended::of(ids), usize::MAX);
        loop {
            let mut so_far = ended;
            let look = self.ledger.look(move |view| {
                let on = so_far.look(view.records, below, since_ms);
                (so_far, on)
            });
            let (found, on) = look.await?;
            ended = found;
            match on {
                Some(from) => below = from,
                None => {
                    let searched = &self.tally.searched;
                    searched.fetch_add(ended.searched, Ordering::Relaxed);
                    return Ok(ended.found);
                }
            }
        }
    }

    /// Earlier settlements of a reservation.
    async fn past(&self, order: &Order<'_>) -> Result<Past, Unavailable> {
        let since_ms = order.since_ms.saturating_sub(CLOCKS_MS);
        self.past_of(id_of(order.claim), since_ms, false).await
    }

    /// Earlier settlements of a reservation since a time, as far as they are known here.
    pub(crate) async fn past_of(
        &self,
        res: Id,
        since_ms: u64,
        follows: bool,
    ) -> Result<Past, Unavailable> {
        let (mut past, mut below) = (Past::default(), usize::MAX);
        loop {
            let mut so_far = past;
            let look = move |view: &mut View<'_>| {
                let on = so_far.look(view.records, below, (&res, since_ms));
                (so_far, on)
            };
            let (found, on) = match follows {
                true => self.ledger.peek(look).await?,
                false => self.ledger.look(look).await?,
            };
            past = found;
            match on {
                Some(from) => below = from,
                None => return Ok(past),
            }
        }
    }

    fn accounts(&self) -> Vec<NodeId> {
        let keys = self.settings.keys.iter();
        let mut all: Vec<NodeId> = keys.map(|k| address(k.public().as_bytes())).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn key_of(&self, id: &NodeId) -> Option<&Identity> {
        let mut keys = self.settings.keys.iter();
        keys.find(|k| address(k.public().as_bytes()) == *id)
    }

    /// Pays those who are owed from a reservation, and ends it. A list that is too long for one request is paid in parts; the last part
    /// ends the reservation. A payment that the ledger already has is not made again, whichever process made it.
    pub(crate) async fn settle(
        &self,
        order: &Order<'_>,
        now_ms: u64,
    ) -> Result<Outcome, Unavailable> {
        if !self.ledger.leads() {
            return Ok(Outcome::NotHere);
        }
        let alone = self
            .signers()
            .await?
            .is_some_and(|s| s.lacking == 0 || order.proof.is_none());
        // Others may take seconds: meanwhile, requests here go on, and a nonce that they use is looked up again.
        let _one = match alone {
            true => Some(self.requests.lock().await),
            false => None,
        };
        let parts = order.payout.items.len().div_ceil(ITEMS_MAX).max(1);
        for _ in 0..parts + TRIES {
            let (outcome, ends) = self.settle_part(order, now_ms).await?;
            match outcome {
                Outcome::Sent(_) if !ends => {}
                Outcome::Refused(Code::BadNonce) => {}
                _ => return Ok(outcome),
            }
        }
        // The next try goes on where the ledger stands.
        Ok(Outcome::Refused(Code::BadNonce))
    }

    /// Sends evidence about a task to the ledger, with the signatures of others where the keys here are too few. `None`: it would not
    /// count there.
    pub(crate) async fn accuse(
        &self,
        op: &Op,
        task: &TaskId,
        now_ms: u64,
    ) -> Result<Option<Outcome>, Unavailable> {
        let Op::Evidence { list, .. } = op else {
            return Ok(None);
        };
        let Some(wrong) = list.first().map(|proof| proof.record.clone()) else {
            return Ok(None);
        };
        let counts = self
            .ledger
            .look(move |view| view.latest.is_open_offence(&wrong));
        if !counts.await? {
            return Ok(None);
        }
        if !self.ledger.leads() {
            return Ok(Some(Outcome::NotHere));
        }
        let of = first(&[&task.0]);
        let mut outcome = Outcome::NotHere;
        for _ in 0..TRIES {
            let Some(by) = self.signers().await? else {
                return Ok(Some(Outcome::NotHere));
            };
            outcome = match by.lacking {
                0 => {
                    let _one = self.requests.lock().await;
                    self.send((op, &of), &by.own, now_ms).await?
                }
                _ => {
                    let proof = Proof::default();
                    self.send_together((op, &of), by, now_ms, &proof).await?
                }
            };
            if outcome != Outcome::Refused(Code::BadNonce) {
                break;
            }
        }
        Ok(Some(outcome))
    }

    /// Pays the next part. Returns whether it ends the reservation.
    async fn settle_part(
        &self,
        order: &Order<'_>,
        now_ms: u64,
    ) -> Result<(Outcome, bool), Unavailable> {
        // Nonces first: whatever is settled after this look uses them up, and then this request is refused.
        let Some(by) = self.signers().await? else {
            return Ok((Outcome::NotHere, true));
        };
        if by.lacking > 0 && order.proof.is_none() {
            return Ok((Outcome::NotHere, true));
        }
        let Open {
            mut items,
            left_out,
        } = self.unpaid(order).await?;
        let ends = items.len() <= ITEMS_MAX;
        items.truncate(ITEMS_MAX);
        let res = id_of(order.claim);
        let op = Op::Settle {
            status: order.payout.status.clone(),
            out: order.payout.out.clone(),
            end: ends,
            list: items,
            res,
        };
        let outcome = match order.proof {
            Some(proof) if by.lacking > 0 => {
                self.send_together((&op, &res), by, now_ms, proof).await?
            }
            _ => self.send((&op, &res), &by.own, now_ms).await?,
        };
        if left_out > 0 && ends && matches!(outcome, Outcome::Sent(_)) {
            tracing::warn!(
                nodes = left_out,
                "nodes without an account of the ledger are not paid"
            );
        }
        Ok((outcome, ends))
    }

    /// Items that no settlement has paid. Receipts have their marks in the ledger's state; for lots that take several requests, its
    /// records tell.
    async fn unpaid(&self, order: &Order<'_>) -> Result<Open, Unavailable> {
        let items = order.payout.items.clone();
        let in_parts = items.len() > ITEMS_MAX && order.claim.purpose != Purpose::Task;
        let paid = match in_parts {
            true => self.past(order).await?.paid,
            false => BTreeSet::new(),
        };
        let look = self
            .ledger
            .look(move |view| open_items(view.latest, items, &paid));
        look.await
    }

    async fn signers(&self) -> Result<Option<Signers>, Unavailable> {
        let (accounts, others) = (self.accounts(), self.cosigners.accounts());
        let look = self
            .ledger
            .look(move |view| quorum(view.latest, &accounts, &others));
        look.await
    }

    /// ID of a settlement with these nonces, valid until then. Nobody else knows it before it is used, who could use it up; those who
    /// sign too know it, so the next try has another.
    fn settlement_id(&self, res: &Id, by: &[(NodeId, u64)], until: u64) -> Id {
        let nonce = by.first().map_or(0, |(_, nonce)| *nonce);
        let (nonce, until) = (nonce.to_be_bytes(), until.to_be_bytes());
        let sig = self
            .settings
            .own
            .sign("BN-FOG-SETTLE", &[res, &nonce, &until]);
        first(&[&sig])
    }

    async fn send(
        &self,
        (op, res): (&Op, &Id),
        by: &[(NodeId, u64)],
        now_ms: u64,
    ) -> Result<Outcome, Unavailable> {
        let keys: Vec<&Identity> = by.iter().filter_map(|(id, _)| self.key_of(id)).collect();
        let until = now_ms.saturating_add(VALID_MS);
        let id = self.settlement_id(res, by, until);
        let Some(request) = Request::new(by, until, id, op) else {
            return Ok(Outcome::Refused(Code::Malformed));
        };
        let envelope = Envelope::sign(request, self.ledger.genesis().id(), &keys);
        self.submit(&envelope).await
    }

    async fn submit(&self, envelope: &Envelope) -> Result<Outcome, Unavailable> {
        let body = self.ledger.submit(envelope.to_bytes()).await?;
        Ok(match body.answer.code {
            Code::Ok => Outcome::Sent(body.answer.seq.saturating_add(1)),
            code => Outcome::Refused(code),
        })
    }

    /// Sends a settlement with the signatures of as many other coordinators as the keys here lack. Where one does not sign, another
    /// is asked, as long as there are enough.
    async fn send_together(
        &self,
        (op, res): (&Op, &Id),
        signers: Signers,
        now_ms: u64,
        proof: &Proof,
    ) -> Result<Outcome, Unavailable> {
        let genesis = *self.ledger.genesis().id();
        let Signers {
            own,
            mut others,
            lacking,
        } = signers;
        let mut lack = Lack::Silent;
        others.retain(|(id, _)| !self.cosigners.is_quiet(id));
        loop {
            let Some(asked) = others.get(..lacking) else {
                return Ok(Outcome::Unsigned(lack));
            };
            let by = [&own[..], asked].concat();
            let until = now_ms.saturating_add(VALID_MS);
            let id = self.settlement_id(res, &by, until);
            let Some(request) = Request::new(&by, until, id, op) else {
                return Ok(Outcome::Refused(Code::Malformed));
            };
            let whom: Vec<NodeId> = asked.iter().map(|(id, _)| *id).collect();
            let (signed, lacks) = self.cosigners.ask(genesis, &request, proof, &whom).await;
            if lacks.is_empty() && signed.len() == whom.len() {
                let keys: Vec<&Identity> =
                    own.iter().filter_map(|(id, _)| self.key_of(id)).collect();
                let mut envelope = Envelope::sign(request, &genesis, &keys);
                let of = |id: &NodeId| signed.iter().find(|(by, _)| by == id);
                let theirs = whom.iter().filter_map(of).map(|(_, sig)| *sig);
                envelope.sigs.extend(theirs);
                return self.submit(&envelope).await;
            }
            lack = lacks.iter().map(|(_, why)| *why).fold(lack, Lack::max);
            others.retain(|(id, _)| !lacks.iter().any(|(none, _)| none == id));
            if lacks.is_empty() {
                return Ok(Outcome::Unsigned(lack));
            }
        }
    }
}

#[cfg(test)]
mod tests;
