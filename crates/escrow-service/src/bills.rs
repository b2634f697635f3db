//! What is owed: a fold of the fog's journal, from each acceptance to its settlement.

use std::collections::BTreeMap;

use betanet_coordinator::{Change, Record};
use betanet_fog::{Commitment, Digest, Order, Side, Signed, Task, TaskId, Tier, Word};
use betanet_keys::PublicKey;
use betanet_scheduler::auction;
use betanet_wire::NodeId;

/// How a task ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct End {
    /// When, in UNIX ms.
    pub(crate) ts: u64,
    /// What it costs, in µ.
    pub(crate) cost: u64,
    /// Fences of the copies that are paid.
    pub(crate) deciding: Vec<u64>,
}

/// A task whose budget is held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Work {
    /// Index of its acceptance.
    pub(crate) first: u64,
    pub(crate) owner: [u8; 32],
    pub(crate) ns: Word,
    pub(crate) tier: Tier,
    /// Fences of copies that ended with a receipt, and the indexes of these records.
    pub(crate) returned: Vec<(u64, u64)>,
    pub(crate) end: Option<End>,
}

/// Lots that a bid got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Lots {
    pub(crate) id: [u8; 16],
    pub(crate) node: NodeId,
    /// Price of all, in µ.
    pub(crate) amount: u64,
    /// Whether they were paid back, and whether their hour is over.
    pub(crate) void: bool,
    pub(crate) over: bool,
}

/// A bid whose money is held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Bid {
    /// Index of its commitment.
    pub(crate) first: u64,
    pub(crate) by: [u8; 32],
    pub(crate) lots: Vec<Lots>,
    /// Loss of a bid that was not revealed, in µ.
    pub(crate) lost: u64,
}

impl Bid {
    pub(crate) fn is_over(&self) -> bool {
        self.lots.iter().all(|l| l.over)
    }
}

/// An order of a round that is not cleared.
#[derive(Clone, Debug)]
struct Sealed {
    first: u64,
    by: [u8; 32],
    side: Side,
    hold: u64,
    order: Option<Order>,
}

type Round = (u64, Tier);

/// Everything that is held and not settled.
#[derive(Debug, Default)]
pub(crate) struct Bills {
    /// Index of the last record that was read.
    pub(crate) last: u64,
    pub(crate) tasks: BTreeMap<TaskId, Work>,
    pub(crate) bids: BTreeMap<Digest, Bid>,
    rounds: BTreeMap<Round, BTreeMap<Digest, Sealed>>,
    /// The bid of each reservation of lots.
    rents: BTreeMap<[u8; 16], Digest>,
}

impl Bills {
    /// Nothing yet, of a journal that begins after this index.
    pub(crate) fn after(base: u64) -> Self {
        Self {
            last: base,
            ..Self::default()
        }
    }

    /// Index of the first record that is still needed.
    pub(crate) fn needs_from(&self) -> u64 {
        let tasks = self.tasks.values().map(|w| w.first);
        let bids = self.bids.values().map(|b| b.first);
        let orders = self.rounds.values().flat_map(|r| r.values());
        let all = tasks.chain(bids).chain(orders.map(|s| s.first));
        all.min().unwrap_or(self.last.saturating_add(1))
    }

    /// Takes a record of the journal.
    pub(crate) fn take(&mut self, index: u64, record: &Record) {
        self.last = index;
        match &record.change {
            Change::Accepted { task, .. } => self.accepted(index, task),
            Change::Returned { task, fence, .. } => {
                if let Some(work) = self.tasks.get_mut(task) {
                    work.returned.push((*fence, index));
                }
            }
            Change::Ended {
                task,
                deciding,
                cost,
                ..
            } => {
                if let Some(work) = self.tasks.get_mut(task) {
                    work.end = Some(End {
                        ts: record.ts,
                        cost: *cost,
                        deciding: deciding.clone(),
                    });
                }
            }
            Change::Sealed { commitment } => self.sealed(index, commitment),
            Change::Revealed { order } => self.revealed(order),
            Change::Cleared {
                round,
                tier,
                spared,
            } => self.cleared((*round, *tier), *spared),
            Change::Voided { id } => self.mark(id, |lots| lots.void = true),
            Change::Over { id } => {
                self.mark(id, |lots| lots.over = true);
                self.rents.remove(id);
            }
            _ => {}
        }
    }

    fn accepted(&mut self, index: u64, task: &[u8]) {
        // The machine has checked it.
        let Ok(signed) = Signed::<Task>::restore(task) else {
            return;
        };
        // Lots are paid for by their bid.
        if signed.rsv.is_some() {
            return;
        }
        let work = Work {
            first: index,
            owner: signed.owner,
            ns: signed.ns.clone(),
            tier: signed.tier,
            returned: Vec::new(),
            end: None,
        };
        self.tasks.insert(signed.id(), work);
    }

    fn sealed(&mut self, index: u64, commitment: &[u8]) {
        let Ok(signed) = Signed::<Commitment>::restore(commitment) else {
            return;
        };
        let sealed = Sealed {
            first: index,
            by: signed.by,
            side: signed.side,
            hold: signed.hold,
            order: None,
        };
        let round = self.rounds.entry((signed.round, signed.tier)).or_default();
        round.insert(signed.commit, sealed);
    }

    fn revealed(&mut self, order: &[u8]) {
        let Ok(order) = Order::from_slice(order) else {
            return;
        };
        let round = self.rounds.get_mut(&(order.round, order.tier));
        if let Some(sealed) = round.and_then(|r| r.get_mut(&order.commit())) {
            sealed.order = Some(order);
        }
    }

    /// Clears a round as the machine does: from its orders alone.
    fn cleared(&mut self, of: Round, spared: bool) {
        let Some(round) = self.rounds.remove(&of) else {
            return;
        };
        let (mut orders, mut commits, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
        for (commit, sealed) in &round {
            match &sealed.order {
                Some(order) => {
                    orders.push(order.clone());
                    commits.push(*commit);
                }
                None => hidden.push(*commit),
            }
        }
        let cleared = auction::clear(&orders, &hidden);
        for (commit, sealed) in &round {
            if sealed.side == Side::Bid {
                let lost = match sealed.order {
                    None if !spared => auction::forfeit(sealed.hold),
                    _ => 0,
                };
                let bid = Bid {
                    first: sealed.first,
                    by: sealed.by,
                    lots: Vec::new(),
                    lost,
                };
                self.bids.insert(*commit, bid);
            }
        }
        for m in &cleared.matches {
            let (Some(bid), Some(ask)) = (commits.get(m.bid), orders.get(m.ask)) else {
                continue;
            };
            let Ok(key) = PublicKey::from_bytes(&ask.by) else {
                continue;
            };
            if let Some(row) = self.bids.get_mut(bid) {
                row.lots.push(Lots {
                    id: m.id,
                    node: key.node_id(),
                    amount: cleared.price.saturating_mul(m.lots),
                    void: false,
                    over: false,
                });
                self.rents.insert(m.id, *bid);
            }
        }
    }

    fn mark(&mut self, id: &[u8; 16], mark: impl Fn(&mut Lots)) {
        let bid = self.rents.get(id).and_then(|bid| self.bids.get_mut(bid));
        let lots = bid.and_then(|b| b.lots.iter_mut().find(|l| l.id == *id));
        if let Some(lots) = lots {
            mark(lots);
        }
    }
}

#[cfg(test)]
mod tests {
    use betanet_fog::to_vec;
    use betanet_keys::Identity;

    use super::*;
    use crate::items::of_bid;

    const ROUND: u64 = 7;

    fn identity(n: u8) -> Identity {
        Identity::from_seed(&[n; 32])
    }

    fn order(n: u8, side: Side, price: u64) -> Order {
        Order {
            by: *identity(n).public().as_bytes(),
            qty: 1,
            salt: [n; 16],
            side,
            tier: Tier::Bronze,
            price,
            round: ROUND,
        }
    }

    fn note(bills: &mut Bills, change: Change) {
        let index = bills.last + 1;
        bills.take(index, &Record { ts: 1, change });
    }

    fn seal(bills: &mut Bills, n: u8, order: &Order, hold: u64) {
        let commitment = Commitment {
            by: order.by,
            hold,
            side: order.side,
            tier: order.tier,
            round: order.round,
            commit: order.commit(),
        };
        let commitment = Signed::sign(commitment, &identity(n)).unwrap().to_bytes();
        note(
            bills,
            Change::Sealed {
                commitment: commitment.into(),
            },
        );
    }

    fn reveal(bills: &mut Bills, order: &Order) {
        let order = to_vec(order).into();
        note(bills, Change::Revealed { order });
    }

    #[test]
    fn a_bid_pays_for_lots_that_were_served_and_for_its_silence() {
        let mut bills = Bills::after(4);
        assert_eq!(bills.needs_from(), 5);
        let (bid, ask) = (order(1, Side::Bid, 900), order(2, Side::Ask, 700));
        let silent = order(3, Side::Bid, 500);
        seal(&mut bills, 1, &bid, 1_000);
        seal(&mut bills, 2, &ask, 1);
        seal(&mut bills, 3, &silent, 600);
        reveal(&mut bills, &bid);
        reveal(&mut bills, &ask);
        assert_eq!(bills.needs_from(), 5);
        let cleared = |spared| Change::Cleared {
            round: ROUND,
            tier: Tier::Bronze,
            spared,
        };
        note(&mut bills, cleared(false));
        let lots = bills.bids[&bid.commit()].lots.clone();
        assert_eq!(
            (lots.len(), lots[0].node),
            (1, identity(2).public().node_id())
        );
        // The hour is not over.
        assert!(!bills.bids[&bid.commit()].is_over());
        // The one that was silent owes a hundredth of its hold, at once.
        let owed = of_bid(&bills.bids[&silent.commit()]).items;
        assert!(bills.bids[&silent.commit()].is_over());
        assert_eq!(owed.iter().map(|i| i.pay).sum::<u64>(), 6);
        assert_eq!(owed[0].to, betanet_tokenomics::account::TREASURY);

        note(&mut bills, Change::Over { id: lots[0].id });
        let row = &bills.bids[&bid.commit()];
        let paid = of_bid(row).items;
        assert!(row.is_over());
        assert_eq!(
            (paid.len(), paid[0].pay, paid[0].to),
            (1, lots[0].amount, lots[0].node)
        );
        assert!((700..=900).contains(&paid[0].pay));

        // Lots that were paid back cost nothing.
        let mut void = row.clone();
        void.lots[0].void = true;
        assert!(of_bid(&void).items.is_empty());
    }

    #[test]
    fn a_spared_bid_owes_nothing() {
        let mut bills = Bills::default();
        let silent = order(3, Side::Bid, 500);
        seal(&mut bills, 3, &silent, 600);
        note(
            &mut bills,
            Change::Cleared {
                round: ROUND,
                tier: Tier::Bronze,
                spared: true,
            },
        );
        assert!(of_bid(&bills.bids[&silent.commit()]).items.is_empty());
    }
}
