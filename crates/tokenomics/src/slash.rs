//! Slashing: evidence that the machine checks itself, and what an offence costs.

use alloc::vec::Vec;

use betanet_wire::NodeId;

use crate::account::{BURN, DAY_MS, STAKE, TREASURY, UNBONDING, address};
use crate::apply::Context;
use crate::code::{Code, Lowest};
use crate::math::{share, slash_ppm};
use crate::params::{Param, Role};
use crate::records::{HEAD_LABEL, LogHead, Receipt, task_verification, verify};
use crate::request::Proof;
use crate::rows::{Flag, Offence, Once, Unbonding};
use crate::stake::{FIRST, LAST};
use crate::state::Economy;
use crate::{Asset, Hash};

/// Two receipts for one assignment.
pub(crate) const EQUIVOCATION: u8 = 1;
/// A result that others disprove.
pub(crate) const WRONG: u8 = 2;
/// Two heads of one size.
pub(crate) const DOUBLE_SIGN: u8 = 3;
/// Too many missed epochs.
pub(crate) const OFFLINE: u8 = 4;
/// Offences of others count for so long.
const CORRELATED_MS: u64 = 7 * DAY_MS;
/// One part in so many goes to the reporter.
const REPORTER: u64 = 10;
/// One part in so many burns.
const BURNT: u64 = 2;
/// Number of the marks of offences.
const ONCE: u8 = 2;

impl Economy {
    pub(crate) fn evidence(
        &mut self,
        c: &Context<'_>,
        kind: u8,
        list: &[Proof],
        task: &[u8],
    ) -> Result<(), Code> {
        let mut lowest = Lowest::default();
        match kind {
            WRONG => lowest.join(self.quorum(c.request, Role::Coordinators)),
            _ => lowest.when(c.request.by.len() != 1, Code::NotAllowed),
        }
        let first = list.first().ok_or(Code::Malformed)?;
        let node = self.node_of(&first.key).map(|(id, _)| id);
        lowest.when(node.is_none(), Code::Unknown);
        let id = address(&first.key);
        let proven = match kind {
            EQUIVOCATION => equivocation(list),
            WRONG => wrong_result(list, task),
            _ => self.double_sign(list),
        };
        // The mark is known as soon as the first record reads, proven or not.
        let mark = offence_mark(kind, &id, &first.record);
        let used = mark.is_some_and(|mark| self.t.once.has(&(mark,)));
        lowest.when(used, Code::Once);
        lowest.when(!proven, Code::BadEvidence);
        lowest.done()?;
        let mark = mark.ok_or(Code::BadEvidence)?;
        self.t.once.set((mark,), Once { one: 1 });
        let reporter = (kind != WRONG).then_some(c.by);
        self.slash(kind, id, reporter, c.now);
        Ok(())
    }

    fn double_sign(&self, list: &[Proof]) -> bool {
        let [a, b] = list else {
            return false;
        };
        let head = |proof: &Proof| {
            let text: [&[u8]; 2] = [self.genesis.id(), &proof.record];
            let head = LogHead::from_bytes(&proof.record)?;
            verify(&proof.key, HEAD_LABEL, &text, &proof.sig).then_some(head)
        };
        match (head(a), head(b)) {
            (Some(x), Some(y)) => {
                a.key == b.key && x.size == y.size && (x.root != y.root || x.state != y.state)
            }
            _ => false,
        }
    }

    /// Takes a part of all stake that stands behind a node, and jails it.
    pub(crate) fn slash(&mut self, kind: u8, id: NodeId, reporter: Option<NodeId>, at: u64) {
        let base = self.parameter(match kind {
            EQUIVOCATION => Param::SlashEquiv,
            WRONG => Param::SlashWrong,
            DOUBLE_SIGN => Param::SlashSign,
            _ => Param::SlashOff,
        });
        let all = self.held(&STAKE, Asset::Fog);
        let offences = self.t.offences.range((kind, FIRST)..=(kind, LAST));
        let others = offences
            .filter(|((_, other), row)| *other != id && at.saturating_sub(row.at) < CORRELATED_MS)
            .fold(0_u64, |sum, (_, row)| sum.saturating_add(row.stake));
        let f = slash_ppm(base, self.parameter(Param::Corr), others, all);
        let stake = self.node_stake(&id);
        self.t.offences.set((kind, id), Offence { at, stake });
        let taken = self.take_stake(&id, f);
        let unbonding = self.take_unbonding(&id, f);
        let moved = self.take_redelegated(&id, f);
        let staked = taken.saturating_add(moved);
        self.shift(STAKE, TREASURY, Asset::Fog, staked);
        self.shift(UNBONDING, TREASURY, Asset::Fog, unbonding);
        let total = staked.saturating_add(unbonding);
        if let Some(reporter) = reporter {
            self.shift(TREASURY, reporter, Asset::Fog, total / REPORTER);
        }
        self.shift(TREASURY, BURN, Asset::Fog, total / BURNT);
        self.punish(kind, id, at);
    }

    fn punish(&mut self, kind: u8, id: NodeId, at: u64) {
        let Some(mut node) = self.t.nodes.get(&(id,)).cloned() else {
            return;
        };
        match kind {
            EQUIVOCATION | DOUBLE_SIGN => {
                node.banned = Flag(true);
                node.reputation = 0;
            }
            _ => {
                let until = at.saturating_add(self.parameter(Param::JailMs));
                node.jailed = node.jailed.max(until);
                node.reputation /= 2;
            }
        }
        self.t.nodes.set((id,), node);
    }

    fn take_stake(&mut self, id: &NodeId, f: u64) -> u64 {
        let stakes = self.t.stakes.range((*id, FIRST)..=(*id, LAST));
        let stakes: Vec<_> = stakes.map(|(key, row)| (*key, row.amt)).collect();
        let mut taken = 0_u64;
        for ((node, holder), amt) in stakes {
            let loss = share(amt, f);
            if loss > 0 {
                self.set_stake(node, holder, amt - loss);
            }
            taken = taken.saturating_add(loss);
        }
        taken
    }

    fn take_unbonding(&mut self, id: &NodeId, f: u64) -> u64 {
        let rows = (*id, FIRST, 0)..=(*id, LAST, u64::MAX);
        let rows = self.t.unbondings.range(rows);
        let rows: Vec<_> = rows.map(|(key, row)| (*key, row.amt)).collect();
        let mut taken = 0_u64;
        for (key, amt) in rows {
            let loss = share(amt, f);
            match amt - loss {
                0 => drop(self.t.unbondings.remove(&key)),
                _ if loss == 0 => {}
                amt => self.t.unbondings.set(key, Unbonding { amt }),
            }
            taken = taken.saturating_add(loss);
        }
        taken
    }

    /// Stake that moved away while slashing still reaches it loses at most what is left at the new node.
    fn take_redelegated(&mut self, id: &NodeId, f: u64) -> u64 {
        let rows = self.t.redelegations.owned(*id, (FIRST, FIRST, FIRST));
        let keys: Vec<_> = rows.copied().collect();
        let mut taken = 0_u64;
        for key in keys {
            let Some(mut row) = self.t.redelegations.get(&key).cloned() else {
                continue;
            };
            let (holder, _, to) = key;
            let there = self.stake(&to, &holder);
            let loss = share(row.amt, f).min(there);
            if loss == 0 {
                continue;
            }
            self.set_stake(to, holder, there - loss);
            row.amt -= loss;
            self.t.redelegations.set(key, row);
            taken = taken.saturating_add(loss);
        }
        taken
    }
}

/// Mark of an offence, which counts once.
pub(crate) fn offence_mark(kind: u8, id: &NodeId, first: &[u8]) -> Option<Hash> {
    let kinds = [kind];
    if kind == DOUBLE_SIGN {
        let head = LogHead::from_bytes(first)?;
        let size = head.size.to_be_bytes();
        return Some(Economy::once_key(ONCE, &[&kinds, &id.0, &size]));
    }
    let receipt = Receipt::from_bytes(first)?;
    let (copy, fence) = (receipt.copy.to_be_bytes(), receipt.fence.to_be_bytes());
    Some(match kind {
        WRONG => Economy::once_key(ONCE, &[&kinds, &id.0, &receipt.task]),
        _ => Economy::once_key(ONCE, &[&kinds, &id.0, &receipt.task, &copy, &fence]),
    })
}

/// The receipt of a proof, if its key signed it.
fn receipt(proof: &Proof) -> Option<Receipt> {
    let receipt = Receipt::from_bytes(&proof.record)?;
    let good = receipt.key == proof.key && receipt.is_signed(&proof.record, &proof.sig);
    good.then_some(receipt)
}

fn equivocation(list: &[Proof]) -> bool {
    let receipts: Option<Vec<Receipt>> = list.iter().map(receipt).collect();
    let Some([a, b]) = receipts.as_deref() else {
        return false;
    };
    let assignment = |r: &Receipt| (r.key, r.task, r.copy, r.fence, r.epoch);
    assignment(a) == assignment(b) && a.result() != b.result()
}

fn wrong_result(list: &[Proof], task: &[u8]) -> bool {
    let Some((id, k)) = task_verification(task) else {
        return false;
    };
    let receipts: Option<Vec<Receipt>> = list.iter().map(receipt).collect();
    let Some(receipts) = receipts else {
        return false;
    };
    let Some((wrong, others)) = receipts.split_first() else {
        return false;
    };
    let Some(right) = others.first() else {
        return false;
    };
    let mut keys: Vec<&Hash> = receipts.iter().map(|r| &r.key).collect();
    keys.sort_unstable();
    others.len() >= k
        && keys.windows(2).all(|pair| pair[0] != pair[1])
        && receipts.iter().all(|r| r.task == id && r.is_result())
        && others.iter().all(|r| r.result() == right.result())
        && wrong.result() != right.result()
}
