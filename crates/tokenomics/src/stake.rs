//! Stake: bonds, delegation, unbonding, redelegation, jail.

use betanet_wire::NodeId;

use crate::Asset;
use crate::account::{CLOSED, NODE, STAKE, UNBONDING};
use crate::apply::Context;
use crate::code::{Code, Lowest};
use crate::params::{Param, Role};
use crate::rows::{Flag, Node, Redelegation, Stake, Unbonding};
use crate::state::Economy;

/// Most holders of a node, itself included.
pub const HOLDERS_MAX: usize = 1_024;
/// Most open unbondings of a holder with a node.
pub const UNBONDINGS_MAX: usize = 8;
/// Highest commission, in ppm.
const COMMISSION_MAX: u64 = 500_000;
/// Reputation of a new node, in ppm.
const REPUTATION: u64 = 100_000;

pub(crate) const FIRST: NodeId = NodeId([0; 20]);
pub(crate) const LAST: NodeId = NodeId([0xff; 20]);

impl Economy {
    /// A holder's stake with a node.
    #[must_use]
    pub fn stake(&self, node: &NodeId, holder: &NodeId) -> u64 {
        self.t.stakes.get(&(*node, *holder)).map_or(0, |s| s.amt)
    }

    /// All stake with a node, its own included.
    #[must_use]
    pub fn node_stake(&self, node: &NodeId) -> u64 {
        let stakes = self.t.stakes.range((*node, FIRST)..=(*node, LAST));
        stakes.map(|(_, stake)| stake.amt).sum()
    }

    /// Reputation of a node in ppm, and whether it is jailed. `None`: it never bonded.
    #[must_use]
    pub fn standing(&self, node: &NodeId) -> Option<(u64, bool)> {
        let row = self.t.nodes.get(&(*node,))?;
        Some((row.reputation, row.is_jailed()))
    }

    /// Sets a stake; one of 0 goes.
    pub(crate) fn set_stake(&mut self, node: NodeId, holder: NodeId, amt: u64) {
        match amt {
            0 => drop(self.t.stakes.remove(&(node, holder))),
            _ => self.t.stakes.set((node, holder), Stake { amt }),
        }
    }

    pub(crate) fn bond(&mut self, c: &Context<'_>, amt: u64, comm: u64) -> Result<(), Code> {
        let account = self.t.accounts.get(&(c.by,));
        if account.is_none_or(|account| account.kind != NODE) {
            return Err(Code::NotAllowed);
        }
        let node = self.t.nodes.get(&(c.by,)).cloned();
        let mut lowest = Lowest::default();
        lowest.when(node.as_ref().is_some_and(|n| n.banned.0), Code::Jailed);
        let most = node.as_ref().map_or(COMMISSION_MAX, |n| n.comm);
        lowest.when(comm > most, Code::Bounds);
        let own = self.stake(&c.by, &c.by).saturating_add(amt);
        lowest.when(own < self.parameter(Param::MinBond), Code::BelowMin);
        lowest.join(self.payer(&c.by, Asset::Fog, u128::from(amt)));
        lowest.done()?;
        let mut node = node.unwrap_or(Node {
            comm,
            jailed: 0,
            banned: Flag(false),
            missed: 0,
            reputation: REPUTATION,
            jobs: 0,
            units: 0,
            fees: 0,
            sent: 0,
            returned: 0,
        });
        node.comm = comm;
        self.t.nodes.set((c.by,), node);
        self.shift(c.by, STAKE, Asset::Fog, amt);
        self.set_stake(c.by, c.by, own);
        Ok(())
    }

    /// Whether a holder may add stake to another's node.
    fn may_delegate(&self, holder: &NodeId, node: &NodeId) -> Result<(), Code> {
        if holder == node {
            return Err(Code::NotAllowed);
        }
        let row = self.t.nodes.get(&(*node,)).ok_or(Code::Unknown)?;
        let account = self.t.accounts.get(&(*node,));
        if account.is_some_and(|account| account.flags & CLOSED != 0) {
            return Err(Code::Closed);
        }
        if row.is_jailed() {
            return Err(Code::Jailed);
        }
        let holders = self.t.stakes.range((*node, FIRST)..=(*node, LAST));
        let is_new = !self.t.stakes.has(&(*node, *holder));
        match is_new && holders.count() >= HOLDERS_MAX {
            true => Err(Code::Limit),
            false => Ok(()),
        }
    }

    pub(crate) fn delegate(&mut self, c: &Context<'_>, amt: u64, node: NodeId) -> Result<(), Code> {
        let mut lowest = Lowest::default();
        lowest.join(self.may_delegate(&c.by, &node));
        lowest.join(self.payer(&c.by, Asset::Fog, u128::from(amt)));
        lowest.done()?;
        self.shift(c.by, STAKE, Asset::Fog, amt);
        let stake = self.stake(&node, &c.by).saturating_add(amt);
        self.set_stake(node, c.by, stake);
        Ok(())
    }

    /// What open redelegations brought to a node, as far as slashing still reaches it.
    fn brought(&self, holder: &NodeId, node: &NodeId) -> u64 {
        let of_holder = (*holder, FIRST, FIRST)..=(*holder, LAST, LAST);
        let rows = self.t.redelegations.range(of_holder);
        rows.filter(|(key, _)| key.2 == *node)
            .map(|(_, row)| row.amt)
            .sum()
    }

    /// Whether a holder has an open redelegation to a node.
    fn is_brought(&self, holder: &NodeId, node: &NodeId) -> bool {
        let of_holder = (*holder, FIRST, FIRST)..=(*holder, LAST, LAST);
        let mut rows = self.t.redelegations.range(of_holder);
        rows.any(|(key, _)| key.2 == *node)
    }

    pub(crate) fn unbond(&mut self, c: &Context<'_>, amt: u64, node: NodeId) -> Result<(), Code> {
        let stake = self.stake(&node, &c.by);
        if stake == 0 {
            return Err(Code::Unknown);
        }
        let brought = self.brought(&c.by, &node);
        let open = (node, c.by, 0)..=(node, c.by, u64::MAX);
        let full = self.t.unbondings.range(open).count() >= UNBONDINGS_MAX;
        let touches = brought > 0 && amt > stake.saturating_sub(brought);
        let mut lowest = Lowest::default();
        lowest.when(full || touches, Code::Limit);
        lowest.when(amt > stake, Code::Exceeds);
        lowest.done()?;
        self.set_stake(node, c.by, stake - amt);
        self.shift(STAKE, UNBONDING, Asset::Fog, amt);
        let due = c.now.saturating_add(self.parameter(Param::UnbondMs));
        let key = (node, c.by, due);
        let before = self.t.unbondings.get(&key).map_or(0, |row| row.amt);
        let amt = before.saturating_add(amt);
        self.t.unbondings.set(key, Unbonding { amt });
        Ok(())
    }

    pub(crate) fn redelegate(
        &mut self,
        c: &Context<'_>,
        amt: u64,
        from: NodeId,
        to: NodeId,
    ) -> Result<(), Code> {
        let stake = self.stake(&from, &c.by);
        let key = (c.by, from, to);
        let mut lowest = Lowest::default();
        lowest.when(c.by == from, Code::NotAllowed);
        lowest.when(stake == 0, Code::Unknown);
        lowest.join(self.may_delegate(&c.by, &to));
        let hops = self.is_brought(&c.by, &from) || self.t.redelegations.has(&key);
        lowest.when(hops, Code::Limit);
        lowest.when(amt > stake, Code::Exceeds);
        lowest.done()?;
        self.set_stake(from, c.by, stake - amt);
        let there = self.stake(&to, &c.by).saturating_add(amt);
        self.set_stake(to, c.by, there);
        let due = c.now.saturating_add(self.parameter(Param::UnbondMs));
        self.t.redelegations.set(key, Redelegation { amt, due });
        Ok(())
    }

    pub(crate) fn unjail(&mut self, c: &Context<'_>) -> Result<(), Code> {
        let node = self.t.nodes.get(&(c.by,)).ok_or(Code::Unknown)?;
        let mut node = node.clone();
        if !node.is_jailed() {
            return Err(Code::Over);
        }
        if node.banned.0 {
            return Err(Code::Jailed);
        }
        if c.now < node.jailed {
            return Err(Code::TooEarly);
        }
        if self.stake(&c.by, &c.by) < self.parameter(Param::MinBond) {
            return Err(Code::BelowMin);
        }
        node.jailed = 0;
        self.t.nodes.set((c.by,), node);
        Ok(())
    }

    pub(crate) fn note_probes(
        &mut self,
        c: &Context<'_>,
        list: &[(NodeId, u64, u64)],
    ) -> Result<(), Code> {
        self.quorum(c.request, Role::Auditors)?;
        let mut lowest = Lowest::default();
        for (id, _, _) in list {
            match self.t.nodes.get(&(*id,)) {
                None => lowest.add(Code::Unknown),
                Some(node) => lowest.when(node.sent > 0, Code::Once),
            }
        }
        lowest.done()?;
        for (id, sent, returned) in list {
            if let Some(node) = self.t.nodes.get(&(*id,)) {
                let mut node = node.clone();
                (node.sent, node.returned) = (*sent, *returned);
                self.t.nodes.set((*id,), node);
            }
        }
        Ok(())
    }
}
