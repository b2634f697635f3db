//! Copies of lower tiers that make room.

use alloc::vec::Vec;
use core::cmp::Reverse;

use betanet_fog::Tier;

use crate::account::{Grant, Trial};
use crate::fleet::Fleet;
use crate::node::{Node, Order, takes};
use crate::ordered::Key;
use crate::query::Query;

/// Nodes that are compared: the least loaded that could make room.
const COMPARED: usize = 64;

/// The node that loses the fewest copies, and their fences.
pub(crate) fn preempt(fleet: &Fleet, query: &Query<'_>, second: bool) -> Option<(u32, Vec<u64>)> {
    let mask = takes(query.request.tier);
    if mask == 0 || query.lots.is_some() {
        return None;
    }
    let nodes = candidates(fleet, query, mask, second);
    let mut best: Option<(u32, Vec<u64>)> = None;
    for slot in nodes {
        let Some(node) = fleet.node(slot) else {
            continue;
        };
        let lost = losses(fleet, query, node, mask);
        if best
            .as_ref()
            .is_none_or(|(_, least)| lost.len() < least.len())
        {
            best = Some((slot, lost));
        }
    }
    best
}

/// The least loaded nodes that fail by free resources alone, and would not without the copies that yield.
fn candidates(fleet: &Fleet, query: &Query<'_>, mask: u8, second: bool) -> Vec<u32> {
    let want = query.want.taking(query.request.tier);
    let mut found: Vec<Key> = Vec::new();
    for tree in fleet.order(Order::Load) {
        let last = found.get(COMPARED - 1).copied();
        let mut more: Vec<Key> = Vec::new();
        tree.first_where(0, last.as_ref(), &want, query.set(), |slot| {
            if let Some(node) = fleet.node(slot)
                && could(fleet, query, slot, node, mask, second)
            {
                more.push(node.key(slot, fleet.hot(slot).ranks[Order::Load as usize]));
            }
            more.len() == COMPARED
        });
        found.append(&mut more);
        found.sort_unstable();
        found.truncate(COMPARED);
    }
    found.into_iter().map(|key| key.slot).collect()
}

/// Whether a node fails by free resources alone, and would not without the copies that yield.
fn could(fleet: &Fleet, query: &Query<'_>, slot: u32, node: &Node, mask: u8, second: bool) -> bool {
    let want = query.request.resources;
    if (query.failed_on(slot) != second)
        || query.unfit(fleet, slot, node).is_some()
        || query.dear(node).is_some()
        || node.account.short_of(want).is_none()
    {
        return false;
    }
    let mut trial = Trial::new(&node.account);
    for (_, grant) in yielding(fleet, node, mask) {
        trial.without(grant);
    }
    trial.fits(want)
}

/// The copies that a node gives up: by tier, priority and newest fence, each only if it holds what is short.
fn losses(fleet: &Fleet, query: &Query<'_>, node: &Node, mask: u8) -> Vec<u64> {
    let want = query.request.resources;
    let mut copies: Vec<_> = yielding(fleet, node, mask).collect();
    copies.sort_unstable_by_key(|(rank, _)| *rank);
    let mut trial = Trial::new(&node.account);
    let mut lost = Vec::new();
    for ((_, _, Reverse(fence)), grant) in copies {
        if trial.fits(want) {
            break;
        }
        if trial.helps(want, grant) {
            trial.without(grant);
            lost.push(fence);
        }
    }
    lost
}

type Yield<'f> = ((Tier, u8, Reverse<u64>), &'f Grant);

/// Copies of a node that yield, with their order.
fn yielding<'f>(fleet: &'f Fleet, node: &'f Node, mask: u8) -> impl Iterator<Item = Yield<'f>> {
    node.copies.iter().filter_map(move |fence| {
        let (live, grant) = fleet.copies.get(fence)?;
        let yields = live.yields() & mask != 0;
        yields.then_some(((live.tier, live.prio, Reverse(*fence)), grant))
    })
}
