//! What is owed: a fold of the fog's journal, from each acceptance to its settlement.

use std::collections::BTreeMap;

use betanet_coordinator::{Change, Record};
use betanet_fog::{Commitment, Digest, Order, Receipt, Side, Signed, Task, TaskId, Tier, Word};
use betanet_fog_service::Claim;
use betanet_keys::{PublicKey, hash};
use betanet_scheduler::auction;
use betanet_wire::{NodeId, PeerId};

/// What a settlement is for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Bill {
    Task(TaskId),
    Bid(BidKey),
}

/// A bid. Others may have committed to the same hash, and its owner in another round or tier.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct BidKey {
    pub(crate) round: u64,
    pub(crate) tier: Tier,
    pub(crate) commit: Digest,
    pub(crate) by: [u8; 32],
}

/// What a record changes of the bills.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum News {
    /// One is held.
    Opened(Claim),
    /// One has ended.
    Ended(Bill),
}

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

/// A copy that got a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Placed {
    fence: u64,
    no: u32,
    node: NodeId,
}

/// A task whose budget is held.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Work {
    /// Index of its acceptance, and its time in UNIX ms.
    pub(crate) first: u64,
    pub(crate) since_ms: u64,
    /// What is held for it.
    pub(crate) claim: Claim,
    pub(crate) ns: Word,
    pub(crate) tier: Tier,
    /// Price factor at which it was placed last, in ppm.
    pub(crate) factor: u64,
    /// Copies that got a node.
    pub(crate) placed: Vec<Placed>,
    /// Fences of copies that ended with a receipt or have one that came too late, and the indexes of these records. Each is its copy's.
    pub(crate) returned: Vec<(u64, u64)>,
    pub(crate) end: Option<End>,
}

impl Work {
    /// Whether a receipt is that of a copy that got a node. Who leads writes the journal: others rely on nothing that it does not give.
    fn gave(&self, id: &TaskId, fence: u64, receipt: &[u8]) -> bool {
        let placed = self.placed.iter().find(|p| p.fence == fence);
        let Some((placed, receipt)) = placed.zip(Signed::<Receipt>::restore(receipt).ok()) else {
            return false;
        };
        let signer = PeerId::from_hash(hash(&[&receipt.key])).node_id();
        let copy = (receipt.fence, receipt.copy, signer);
        receipt.task == *id && copy == (fence, u64::from(placed.no), placed.node)
    }
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
    /// Index of its commitment, and its time in UNIX ms.
    pub(crate) first: u64,
    pub(crate) since_ms: u64,
    /// What is held for it.
    pub(crate) claim: Claim,
    pub(crate) lots: Vec<Lots>,
    /// Loss of a bid that was not revealed, in µ.
    pub(crate) lost: u64,
    /// When the last of its lots was over, in UNIX ms.
    pub(crate) over_ms: u64,
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
    since_ms: u64,
    claim: Claim,
    side: Side,
    order: Option<Order>,
}

type Round = (u64, Tier);

/// Everything that is held and not settled.
#[derive(Debug, Default)]
pub(crate) struct Bills {
    /// Index of the last record that was read.
    pub(crate) last: u64,
    pub(crate) tasks: BTreeMap<TaskId, Work>,
    pub(crate) bids: BTreeMap<BidKey, Bid>,
    rounds: BTreeMap<Round, BTreeMap<Digest, Sealed>>,
    /// The bid of each reservation of lots.
    rents: BTreeMap<[u8; 16], BidKey>,
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

    /// What began in records up to this one, with its claim and its time. A round that is not cleared is not told: its orders are here.
    pub(crate) fn began_by(&self, index: u64) -> Vec<(Bill, Claim, u64)> {
        let tasks = self.tasks.iter().filter(|(_, work)| work.first <= index);
        let tasks = tasks.map(|(id, work)| (Bill::Task(*id), work.claim, work.since_ms));
        let bids = self.bids.iter().filter(|(_, bid)| bid.first <= index);
        let bids = bids.map(|(key, bid)| (Bill::Bid(*key), bid.claim, bid.since_ms));
        tasks.chain(bids).collect()
    }

    /// Whether one is to be paid by receipts in records up to this one.
    pub(crate) fn pays_by(&self, bill: &Bill, index: u64) -> bool {
        let Bill::Task(id) = bill else {
            return false;
        };
        let work = self.tasks.get(id);
        let Some((work, end)) = work.and_then(|w| Some((w, w.end.as_ref()?))) else {
            return false;
        };
        let mut returned = work.returned.iter();
        end.cost > 0 && returned.any(|(fence, at)| *at <= index && end.deciding.contains(fence))
    }

    /// Drops these.
    pub(crate) fn drop_all(&mut self, bills: &[Bill]) {
        for bill in bills {
            match bill {
                Bill::Task(id) => drop(self.tasks.remove(id)),
                Bill::Bid(key) => drop(self.bids.remove(key)),
            }
        }
        let bids = &self.bids;
        self.rents.retain(|_, bid| bids.contains_key(bid));
    }

    /// Whether one is held.
    pub(crate) fn has(&self, bill: &Bill) -> bool {
        match bill {
            Bill::Task(id) => self.tasks.contains_key(id),
            Bill::Bid(key) => self.bids.contains_key(key),
        }
    }

    /// Takes a record of the journal. Returns what it changes.
    pub(crate) fn take(&mut self, index: u64, record: &Record) -> Vec<News> {
        self.last = index;
        let at = (index, record.ts);
        match &record.change {
            Change::Accepted { task, .. } => self.accepted(at, task),
            Change::Assigned {
                task,
                no,
                node,
                factor,
                ..
            } => {
                if let Some(work) = self.tasks.get_mut(task) {
                    work.factor = *factor;
                    work.placed.push(Placed {
                        fence: index,
                        no: *no,
                        node: *node,
                    });
                }
                Vec::new()
            }
            // A receipt that came too late is paid for nothing, and may still be wrong.
            Change::Returned {
                task,
                fence,
                receipt,
                ..
            }
            | Change::Evidence {
                task,
                fence,
                receipt,
            } => {
                if let Some(work) = self.tasks.get_mut(task) {
                    match work.gave(task, *fence, receipt) {
                        true => work.returned.push((*fence, index)),
                        false => tracing::warn!(
                            %task,
                            fence,
                            "the fog's journal has a receipt of no copy that it assigned: nobody is paid for it"
                        ),
                    }
                }
                Vec::new()
            }
            Change::Ended {
                task,
                deciding,
                cost,
                ..
            } => {
                let Some(work) = self.tasks.get_mut(task) else {
                    return Vec::new();
                };
                work.end = Some(End {
                    ts: record.ts,
                    cost: *cost,
                    deciding: deciding.clone(),
                });
                vec![News::Ended(Bill::Task(*task))]
            }
            Change::Sealed { commitment } => self.sealed(at, commitment),
            Change::Revealed { order } => {
                self.revealed(order);
                Vec::new()
            }
            Change::Cleared {
                round,
                tier,
                spared,
            } => self.cleared((*round, *tier), *spared, record.ts),
            Change::Voided { id } => {
                self.mark(id, |lots| lots.void = true);
                Vec::new()
            }
            Change::Over { id } => self.over(id, record.ts),
            _ => Vec::new(),
        }
    }

    fn accepted(&mut self, (index, ts): (u64, u64), task: &[u8]) -> Vec<News> {
        // The machine has checked it.
        let Ok(signed) = Signed::<Task>::restore(task) else {
            return Vec::new();
        };
        // Lots are paid for by their bid.
        if signed.rsv.is_some() {
            return Vec::new();
        }
        let claim = Claim::of_task(&signed);
        let work = Work {
            first: index,
            since_ms: ts,
            claim,
            ns: signed.ns.clone(),
            tier: signed.tier,
            factor: 0,
            placed: Vec::new(),
            returned: Vec::new(),
            end: None,
        };
        self.tasks.insert(signed.id(), work);
        vec![News::Opened(claim)]
    }

    fn sealed(&mut self, (index, ts): (u64, u64), commitment: &[u8]) -> Vec<News> {
        let Ok(signed) = Signed::<Commitment>::restore(commitment) else {
            return Vec::new();
        };
        let claim = Claim::of_bid(&signed);
        let sealed = Sealed {
            first: index,
            since_ms: ts,
            claim,
            side: signed.side,
            order: None,
        };
        let round = self.rounds.entry((signed.round, signed.tier)).or_default();
        round.insert(signed.commit, sealed);
        match signed.side {
            Side::Bid => vec![News::Opened(claim)],
            Side::Ask => Vec::new(),
        }
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

    /// Clears a round as the machine does: from its orders alone. Returns its bids that have no lots.
    fn cleared(&mut self, of: Round, spared: bool, ts: u64) -> Vec<News> {
        let Some(round) = self.rounds.remove(&of) else {
            return Vec::new();
        };
        let key = |commit: &Digest, by: [u8; 32]| BidKey {
            round: of.0,
            tier: of.1,
            commit: *commit,
            by,
        };
        let (mut orders, mut commits, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
        let mut bids = BTreeMap::new();
        // What a bid pays follows from all orders of the round: their records are needed as long as it is.
        let first = round.values().map(|sealed| sealed.first).min();
        for (commit, sealed) in &round {
            let key = key(commit, sealed.claim.owner);
            match &sealed.order {
                Some(order) => {
                    orders.push(order.clone());
                    commits.push(key);
                }
                None => hidden.push(*commit),
            }
            if sealed.side == Side::Bid {
                let lost = match sealed.order {
                    None if !spared => auction::forfeit(sealed.claim.amount),
                    _ => 0,
                };
                let bid = Bid {
                    first: first.unwrap_or(sealed.first),
                    since_ms: sealed.since_ms,
                    claim: sealed.claim,
                    lots: Vec::new(),
                    lost,
                    over_ms: ts,
                };
                bids.insert(key, bid);
            }
        }
        let cleared = auction::clear(&orders, &hidden);
        for m in &cleared.matches {
            let (Some(bid), Some(ask)) = (commits.get(m.bid), orders.get(m.ask)) else {
                continue;
            };
            let Ok(key) = PublicKey::from_bytes(&ask.by) else {
                continue;
            };
            if let Some(row) = bids.get_mut(bid) {
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
        let over = bids.iter().filter(|(_, bid)| bid.is_over());
        let news = over.map(|(key, _)| News::Ended(Bill::Bid(*key))).collect();
        self.bids.append(&mut bids);
        news
    }

    /// Ends lots. Returns their bid if these were its last.
    fn over(&mut self, id: &[u8; 16], ts: u64) -> Vec<News> {
        self.mark(id, |lots| lots.over = true);
        let Some(key) = self.rents.remove(id) else {
            return Vec::new();
        };
        match self.bids.get_mut(&key) {
            Some(bid) if bid.is_over() => {
                bid.over_ms = ts;
                vec![News::Ended(Bill::Bid(key))]
            }
            _ => Vec::new(),
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
mod tests;
