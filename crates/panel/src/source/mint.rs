//! A mint, as its node tells at the admin address.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::Source;
use super::http::{Broken, json};

/// Counts of one denomination, which is worth 2^e of the unit.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Denomination {
    pub(crate) e: u8,
    pub(crate) issued: u64,
    pub(crate) redeemed: u64,
    pub(crate) signed: u64,
}

/// A keyset.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Keyset {
    pub(crate) id: String,
    pub(crate) unit: String,
    pub(crate) phase: String,
    /// Whether more was redeemed than issued.
    pub(crate) alarm: bool,
    pub(crate) not_before: u64,
    pub(crate) exp: u64,
    /// Shares that sign together, and all shares.
    pub(crate) t: u64,
    pub(crate) n: u64,
    /// Number of the share that this node has.
    pub(crate) share: Option<u64>,
    /// Whether this node redeems.
    pub(crate) spends: bool,
    pub(crate) denominations: Vec<Denomination>,
}

impl Keyset {
    /// A total over all denominations: vouchers, and their value in the unit.
    pub(crate) fn total(&self, of: impl Fn(&Denomination) -> u64) -> (u64, u128) {
        let each = self.denominations.iter();
        each.fold((0, 0), |(n, value), d| {
            let count = of(d);
            let worth = 1_u128.checked_shl(d.e.into()).unwrap_or(u128::MAX);
            let worth = worth.saturating_mul(count.into());
            (count.saturating_add(n), worth.saturating_add(value))
        })
    }
}

/// A mint.
#[derive(Debug, Deserialize)]
pub(crate) struct Mint {
    pub(crate) keysets: Vec<Keyset>,
    /// Sum of the balances by unit; texts beyond 64 bits.
    pub(crate) balances: BTreeMap<String, Value>,
    pub(crate) node: String,
}

/// Reads the keysets.
pub(super) async fn read(source: &Source) -> Result<Mint, Broken> {
    json(source, "/vouchers/1/keysets").await
}
