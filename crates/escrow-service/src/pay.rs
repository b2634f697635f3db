//! One settlement: what the ledger has, what is missing there, and the request that does it.

use betanet_economy_service::{Unavailable, View};
use betanet_keys::Identity;
use betanet_tokenomics::account::{TREASURY, address};
use betanet_tokenomics::request::{ITEMS_MAX, Item, Op};
use betanet_tokenomics::{Code, Economy, Envelope, Id, Request, Role};
use betanet_wire::NodeId;

use crate::LedgerEscrow;
use crate::hold::{VALID_MS, first};
use crate::items::Payout;

/// Fewest signers of a quorum.
const QUORUM_LEAST: usize = 2;

/// What the ledger has of a reservation.
pub(crate) enum Standing {
    /// Nothing, under the final head too: it was settled, or it never was.
    Settled,
    /// A record that no final head covers changed it; the number of records that must be covered.
    Waits(u64),
    /// It is there.
    Held(Reserved),
}

pub(crate) struct Reserved {
    pub(crate) id: Id,
    /// Accounts of the ledger that are paid for work.
    pub(crate) payees: Vec<NodeId>,
}

/// How a settlement went.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// It stands once a final head covers so many records.
    Sent(u64),
    /// This process does not settle: the ledger is led elsewhere, or the keys are too few.
    NotHere,
    /// The ledger refused.
    Refused(Code),
}

/// The keys of a quorum of coordinators with their nonces, if they are at hand.
fn quorum(state: &Economy, keys: &[NodeId]) -> Option<Vec<(NodeId, u64)>> {
    let list = state.role(Role::Coordinators);
    let most = (list.len() / 2 + 1).max(QUORUM_LEAST);
    let listed = keys
        .iter()
        .filter(|id| list.iter().any(|m| m[..] == id.0[..]));
    let signers = listed.filter_map(|id| Some((*id, state.nonce(id)?)));
    let signers: Vec<(NodeId, u64)> = signers.take(most).collect();
    (signers.len() == most).then_some(signers)
}

impl LedgerEscrow {
    /// What the ledger has of a client's reservation, and which of these nodes have accounts.
    pub(crate) async fn standing(
        &self,
        client: NodeId,
        (kind, of): (u64, [u8; 32]),
        nodes: Vec<NodeId>,
    ) -> Result<Standing, Unavailable> {
        self.ledger
            .look(move |view: &mut View<'_>| {
                let now = view.latest.reserved(&client, kind, &of);
                let covered = view.covered.and_then(|s| s.reserved(&client, kind, &of));
                match (now, covered) {
                    (Some(held), Some(_)) => Standing::Held(Reserved {
                        id: held.id,
                        payees: nodes
                            .into_iter()
                            .filter(|id| *id == TREASURY || view.latest.is_paid_node(id))
                            .collect(),
                    }),
                    (None, None) if view.covered.is_some() => Standing::Settled,
                    _ => Standing::Waits(view.latest.records()),
                }
            })
            .await
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

    /// Pays out of a reservation and ends it. Longer lists are paid in parts, the last of which ends it.
    pub(crate) async fn settle(
        &self,
        held: &Reserved,
        payout: &Payout,
        (name, now_ms): (&[u8], u64),
    ) -> Result<Outcome, Unavailable> {
        if !self.ledger.leads() {
            return Ok(Outcome::NotHere);
        }
        // A part has the same payees in each attempt, whoever has an account by then.
        let mut parts: Vec<&[Item]> = payout.items.chunks(ITEMS_MAX).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        let last = parts.len() - 1;
        let payable = |item: &&Item| held.payees.contains(&item.to);
        let mut sent = Outcome::NotHere;
        for (at, part) in parts.into_iter().enumerate() {
            let list: Vec<Item> = part.iter().filter(payable).cloned().collect();
            if list.is_empty() && at < last {
                continue;
            }
            let op = Op::Settle {
                status: payout.status.clone(),
                out: payout.out.clone(),
                end: at == last,
                list,
                res: held.id,
            };
            let id = self.settlement_id(name, at as u64);
            sent = self.send(&op, id, now_ms).await?;
            match sent {
                // A used ID is that of an earlier attempt.
                Outcome::Sent(_) | Outcome::Refused(Code::IdReused) => {}
                _ => return Ok(sent),
            }
        }
        Ok(sent)
    }

    /// ID of a part of a settlement: the same in each attempt, and known to nobody before it is used, who could use it up.
    fn settlement_id(&self, name: &[u8], part: u64) -> Id {
        let own = &self.settings.own;
        let sig = own.sign("BN-FOG-SETTLE", &[name, &part.to_be_bytes()]);
        first(&[&sig])
    }

    async fn send(&self, op: &Op, id: Id, now_ms: u64) -> Result<Outcome, Unavailable> {
        let accounts = self.accounts();
        let by = self
            .ledger
            .look(move |view| quorum(view.latest, &accounts))
            .await?;
        let Some(by) = by else {
            return Ok(Outcome::NotHere);
        };
        let keys: Vec<&Identity> = by.iter().filter_map(|(id, _)| self.key_of(id)).collect();
        let Some(request) = Request::new(&by, now_ms.saturating_add(VALID_MS), id, op) else {
            return Ok(Outcome::Refused(Code::Malformed));
        };
        let envelope = Envelope::sign(request, self.ledger.genesis().id(), &keys);
        let body = self.ledger.submit(envelope.to_bytes()).await?;
        Ok(match body.answer.code {
            Code::Ok => Outcome::Sent(body.answer.seq.saturating_add(1)),
            code => Outcome::Refused(code),
        })
    }
}
