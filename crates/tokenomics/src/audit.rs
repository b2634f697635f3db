//! The sums that hold after every record.

use alloc::collections::BTreeMap;

use crate::account::{BACKING, ESCROW, ISSUANCE, MICRO, RESERVE, STAKE, UNBONDING};
use crate::state::Economy;
use crate::{ASSETS, Asset};

/// A sum that does not hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{law}: {left} is not {right}")]
pub struct Imbalance {
    /// The law that is broken.
    pub law: &'static str,
    /// One side of it.
    pub left: u128,
    /// The other side.
    pub right: u128,
}

pub(crate) fn equal(law: &'static str, left: u128, right: u128) -> Result<(), Imbalance> {
    match left == right {
        true => Ok(()),
        false => Err(Imbalance { law, left, right }),
    }
}

impl Economy {
    /// Checks every sum of the chapter's audit.
    ///
    /// # Errors
    ///
    /// The first sum that does not hold.
    pub fn audit(&self) -> Result<(), Imbalance> {
        self.audit_assets()?;
        self.audit_escrow()?;
        let stakes = self.t.stakes.iter().map(|(_, row)| u128::from(row.amt));
        let stake = self.available(&STAKE, Asset::Fog);
        equal("stake is its table", stake, stakes.sum())?;
        let rows = self.t.unbondings.iter().map(|(_, row)| u128::from(row.amt));
        let unbonding = self.available(&UNBONDING, Asset::Fog);
        equal("unbonding is its table", unbonding, rows.sum())?;
        self.audit_bridge()?;
        let issued = self.counters(&ISSUANCE, Asset::Fog).debits;
        let cap = u128::from(self.genesis.cap);
        equal("issued is at most the cap", issued.max(cap), cap)
    }

    /// Per asset, debits are credits, and no account but issuance is below zero.
    fn audit_assets(&self) -> Result<(), Imbalance> {
        let mut sums: BTreeMap<Asset, [u128; 4]> = BTreeMap::new();
        for (id, asset, c) in self.balances() {
            let [debits, credits, held, owed] = sums.entry(asset).or_default();
            *debits += c.debits;
            *credits += c.credits;
            *held += c.debits_pending;
            *owed += c.credits_pending;
            let spent = c.debits + c.debits_pending;
            if id != ISSUANCE && spent > c.credits {
                return equal("no account is below zero", spent, c.credits);
            }
        }
        for [debits, credits, held, owed] in sums.into_values() {
            equal("debits are credits", debits, credits)?;
            equal("held is owed", held, owed)?;
        }
        Ok(())
    }

    fn audit_escrow(&self) -> Result<(), Imbalance> {
        let reservations = self.t.reservations.iter();
        let reserved: u128 = reservations.map(|(_, row)| u128::from(row.amt)).sum();
        let proposals = self.t.proposals.iter();
        let deposits: u128 = proposals.map(|(_, row)| u128::from(row.deposit)).sum();
        let held = self.available(&ESCROW, Asset::Fog);
        equal(
            "escrow is reservations and deposits",
            held,
            reserved + deposits,
        )
    }

    fn audit_bridge(&self) -> Result<(), Imbalance> {
        let being = |asset: Asset| {
            let source = self.counters(&ISSUANCE, asset);
            source.debits - source.credits
        };
        let fog = self.available(&RESERVE, Asset::Fog);
        let units = being(Asset::Units);
        equal("10^6 µ for each unit", fog, units * u128::from(MICRO))?;
        let keysets = self.t.keysets.iter();
        let out: u128 = keysets
            .map(|(_, row)| u128::from(row.issued) - u128::from(row.redeemed))
            .sum();
        let held = self.available(&RESERVE, Asset::Units);
        equal("units are issued less redeemed", held, out)?;
        let backing = self.available(&BACKING, Asset::Fog);
        equal(
            "backing is credits in being",
            backing,
            being(Asset::Credits),
        )?;
        for asset in ASSETS {
            let held = self.counters(&ISSUANCE, asset).debits_pending;
            equal("issuance holds nothing", held, 0)?;
        }
        Ok(())
    }
}
