//! Moves between accounts.

use betanet_wire::NodeId;

use crate::account::{CLOSED, FEES, FROZEN, SYSTEM};
use crate::code::Code;
use crate::rows::{Balance, Wide};
use crate::state::Economy;
use crate::{ASSETS, Asset, Hash};

/// The four counters of an account and asset.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    /// Held for others.
    pub debits_pending: u128,
    /// Paid.
    pub debits: u128,
    /// Held by others for the account.
    pub credits_pending: u128,
    /// Received.
    pub credits: u128,
}

impl Counters {
    /// Credits less debits, posted and pending; 0 for an account that is below.
    #[must_use]
    pub const fn available(&self) -> u128 {
        self.credits
            .saturating_sub(self.debits)
            .saturating_sub(self.debits_pending)
    }

    /// Whether any counter is above zero besides paid and received ones that are equal.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.credits != self.debits || self.debits_pending != 0 || self.credits_pending != 0
    }
}

const EMPTY: Balance = Balance {
    debits_pending: Wide(0),
    debits: Wide(0),
    credits_pending: Wide(0),
    credits: Wide(0),
};

impl Economy {
    /// Counters of an account and asset.
    #[must_use]
    pub fn counters(&self, id: &NodeId, asset: Asset) -> Counters {
        let row = self.t.balances.get(&(*id, asset.number()));
        row.map_or(Counters::default(), counters)
    }

    /// Every balance that is not all zero, with its account and asset, by account.
    pub fn balances(&self) -> impl Iterator<Item = (NodeId, Asset, Counters)> {
        let rows = self.t.balances.iter();
        rows.filter_map(|((id, asset), row)| {
            let asset = Asset::from_number(u64::from(*asset))?;
            Some((*id, asset, counters(row)))
        })
    }

    pub(crate) fn available(&self, id: &NodeId, asset: Asset) -> u128 {
        self.counters(id, asset).available()
    }

    /// A system account's money as a number: all of it is below 2^63.
    pub(crate) fn held(&self, id: &NodeId, asset: Asset) -> u64 {
        crate::math::narrow(self.available(id, asset))
    }

    pub(crate) fn is_frozen(&self, id: &NodeId) -> bool {
        let account = self.t.accounts.get(&(*id,));
        account.is_some_and(|a| a.flags & FROZEN != 0)
    }

    /// Whether an account may be paid.
    pub(crate) fn payee(&self, id: &NodeId) -> Result<(), Code> {
        match self.t.accounts.get(&(*id,)) {
            None => Err(Code::Unknown),
            Some(account) if account.flags & CLOSED != 0 => Err(Code::Closed),
            Some(_) => Ok(()),
        }
    }

    /// Whether an account may pay: frozen ones may not, and the money must be there.
    pub(crate) fn payer(&self, id: &NodeId, asset: Asset, amt: u128) -> Result<(), Code> {
        if self.is_frozen(id) {
            return Err(Code::Frozen);
        }
        match self.available(id, asset) >= amt {
            true => Ok(()),
            false => Err(Code::Funds),
        }
    }

    /// Changes a balance. A row of zeros goes.
    fn change(&mut self, id: NodeId, asset: Asset, change: impl Fn(&mut Balance)) {
        let key = (id, asset.number());
        let mut is_empty = false;
        let is_there = self.t.balances.edit(&key, |row| {
            change(row);
            is_empty = *row == EMPTY;
        });
        if is_empty {
            self.t.balances.remove(&key);
        } else if !is_there {
            let mut row = EMPTY;
            change(&mut row);
            if row != EMPTY {
                self.t.balances.set(key, row);
            }
        }
    }

    /// Moves an amount. Flags do not bind the machine, and a move of 0 does not happen.
    pub(crate) fn shift(&mut self, from: NodeId, to: NodeId, asset: Asset, amt: u64) {
        if amt == 0 {
            return;
        }
        let amt = u128::from(amt);
        self.change(from, asset, |b| b.debits.0 = b.debits.0.saturating_add(amt));
        self.change(to, asset, |b| {
            b.credits.0 = b.credits.0.saturating_add(amt);
        });
    }

    /// Holds an amount for a payee.
    pub(crate) fn hold(&mut self, from: NodeId, to: NodeId, asset: Asset, amt: u64) {
        let amt = u128::from(amt);
        self.change(from, asset, |b| {
            b.debits_pending.0 = b.debits_pending.0.saturating_add(amt);
        });
        self.change(to, asset, |b| {
            b.credits_pending.0 = b.credits_pending.0.saturating_add(amt);
        });
    }

    /// Frees an amount that was held.
    pub(crate) fn free(&mut self, from: NodeId, to: NodeId, asset: Asset, amt: u64) {
        let amt = u128::from(amt);
        self.change(from, asset, |b| {
            b.debits_pending.0 = b.debits_pending.0.saturating_sub(amt);
        });
        self.change(to, asset, |b| {
            b.credits_pending.0 = b.credits_pending.0.saturating_sub(amt);
        });
    }

    /// Takes a fee from an account.
    pub(crate) fn charge(&mut self, from: NodeId, fee: u64) -> Result<(), Code> {
        if fee == 0 {
            return Ok(());
        }
        self.payer(&from, Asset::Fog, u128::from(fee))?;
        self.shift(from, FEES, Asset::Fog, fee);
        Ok(())
    }

    /// Whether an account holds or is owed anything of any asset.
    pub(crate) fn is_empty(&self, id: &NodeId) -> bool {
        ASSETS
            .iter()
            .all(|asset| !self.counters(id, *asset).holds())
    }

    /// Notes that something was used. Parts are joined after a number and the label.
    pub(crate) fn once_key(number: u8, parts: &[&[u8]]) -> Hash {
        let mut all: alloc::vec::Vec<&[u8]> = alloc::vec::Vec::with_capacity(parts.len() + 2);
        let number = [number];
        all.push(b"BN-ECO-ONCE1");
        all.push(&number);
        all.extend_from_slice(parts);
        betanet_keys::hash(&all)
    }

    /// Balances of the system accounts, by name.
    #[must_use]
    pub fn system_balances(&self) -> [(&'static str, [Counters; 3]); SYSTEM.len()] {
        SYSTEM.map(|(name, id)| (name, ASSETS.map(|asset| self.counters(&id, asset))))
    }
}

fn counters(row: &Balance) -> Counters {
    Counters {
        debits_pending: row.debits_pending.0,
        debits: row.debits.0,
        credits_pending: row.credits_pending.0,
        credits: row.credits.0,
    }
}
