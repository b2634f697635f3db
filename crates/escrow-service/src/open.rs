//! What the ledger's state says of a reservation: whether it is there, and who is not paid yet.

use std::collections::BTreeSet;

use betanet_fog_service::Claim;
use betanet_tokenomics::Economy;
use betanet_tokenomics::account::{TREASURY, address};
use betanet_tokenomics::request::Item;
use betanet_wire::NodeId;

use crate::ids::{id_of, kind};

/// Items that are still to be paid, and the number of nodes that cannot be.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) items: Vec<Item>,
    pub(crate) left_out: usize,
}

/// Items of nodes that can be paid and were not.
pub(crate) fn open_items(state: &Economy, items: Vec<Item>, paid: &BTreeSet<NodeId>) -> Open {
    let mut open = Open {
        items: Vec::new(),
        left_out: 0,
    };
    for item in items {
        if paid.contains(&item.to) || state.is_paid_receipt(&item.record) {
            continue;
        }
        match item.to == TREASURY || state.is_paid_node(&item.to) {
            true => open.items.push(item),
            false => open.left_out += 1,
        }
    }
    open
}

/// Whether a state has the reservation of a claim.
pub(crate) fn is_held(state: &Economy, claim: &Claim) -> bool {
    let of = (kind(claim.purpose), &claim.of);
    let held = state.reservation(&id_of(claim), &address(&claim.owner), of);
    held.is_some()
}
