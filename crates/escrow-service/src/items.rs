//! Items of a settlement: who is paid how much, for which receipt.

use std::collections::BTreeMap;

use betanet_fog::{Receipt, Signed};
use betanet_scheduler::money::shares;
use betanet_tokenomics::account::{TREASURY, address};
use betanet_tokenomics::request::Item;
use betanet_wire::NodeId;

use crate::bills::{Bid, BidKey};

/// The word of a task that has no canonical result.
const NONE: &str = "drop";

/// The canonical result and the payees of a task.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Payout {
    pub(crate) status: String,
    pub(crate) out: Vec<u8>,
    pub(crate) items: Vec<Item>,
}

/// What a payout follows from, for those that did not see it come about.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// The signed task; empty for a bid.
    pub(crate) task: Vec<u8>,
    /// The receipts that decided it, ascending by fence.
    pub(crate) receipts: Vec<Signed<Receipt>>,
    /// Factor at which it was placed, in ppm.
    pub(crate) factor: u64,
    /// Percent of the pay that the client gets back.
    pub(crate) percent: u64,
    /// The bid.
    pub(crate) bid: Option<BidKey>,
}

impl Payout {
    /// Nobody is paid.
    pub(crate) fn none() -> Self {
        Self {
            status: NONE.into(),
            out: Vec::new(),
            items: Vec::new(),
        }
    }
}

/// Splits a task's cost over the receipts of the copies that decided it, ascending by fence: equally, the remainder to the first.
/// `percent` of each pay is withheld for a missed service level.
pub(crate) fn of_task(cost: u64, receipts: &[Signed<Receipt>], percent: u64) -> Payout {
    let Some(canon) = receipts.first() else {
        return Payout::none();
    };
    let (most, each) = shares(cost, receipts.len() as u64);
    let mut items = Vec::new();
    for (at, receipt) in receipts.iter().enumerate() {
        let pay = if at == 0 { most } else { each };
        // An item pays something.
        if pay == 0 {
            continue;
        }
        items.push(Item {
            to: address(&receipt.key),
            pay,
            sla: percent.saturating_mul(10_000),
            kib: 0,
            mibh: 0,
            record: receipt.rec().to_vec(),
            sig: Some(receipt.envelope().sig),
        });
    }
    Payout {
        status: canon.status.as_str().to_owned(),
        out: canon.out.map_or(Vec::new(), |out| out.to_vec()),
        items,
    }
}

/// What a bid pays: its lots that were served, each node once, and to the treasury what it lost.
pub(crate) fn of_bid(bid: &Bid) -> Payout {
    let mut of: BTreeMap<NodeId, u64> = BTreeMap::new();
    for lots in bid.lots.iter().filter(|l| !l.void) {
        let pay = of.entry(lots.node).or_default();
        *pay = pay.saturating_add(lots.amount);
    }
    *of.entry(TREASURY).or_default() += bid.lost;
    let paid = of.into_iter().filter(|(_, pay)| *pay > 0);
    let item = |(to, pay)| Item {
        to,
        pay,
        sla: 0,
        kib: 0,
        mibh: 0,
        record: Vec::new(),
        sig: None,
    };
    Payout {
        items: paid.map(item).collect(),
        ..Payout::none()
    }
}
