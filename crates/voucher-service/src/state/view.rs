use std::collections::BTreeMap;

use betanet_vouchers::bank::Bank;
use betanet_vouchers::mint::Mint;
use betanet_vouchers::{Denomination, KeysetId, Keysets};

use crate::watched::Reported;

/// Numbers of vouchers of one denomination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counts {
    /// The denomination.
    pub denomination: Denomination,
    /// Points that this mint signed.
    pub signed: u64,
    /// Vouchers that are counted as issued: swaps, and what mints reported.
    pub issued: u64,
    /// Vouchers that were redeemed here or spent by swaps.
    pub redeemed: u64,
}

/// What a state knows of one keyset.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeysetView {
    /// The keyset.
    pub id: KeysetId,
    /// Its denominations, lowest first.
    pub counts: Vec<Counts>,
    /// Whether more was redeemed of one of them than was issued.
    pub alarm: bool,
    /// The last reports of its mints, if they are asked.
    pub reported: Option<Reported>,
}

/// Totals of a state.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct View {
    /// The keysets, by their IDs.
    pub keysets: Vec<KeysetView>,
    /// The sum of all balances in each unit.
    pub balances: BTreeMap<String, u128>,
}

impl View {
    pub(super) fn of(keysets: &Keysets, bank: &Bank, mint: &Mint) -> Self {
        let alarms: Vec<KeysetId> = bank.alarms().map(|a| a.keyset).collect();
        let mut view = Self::default();
        for keyset in keysets.iter() {
            let id = keyset.id();
            let counts = keyset.denominations().map(|denomination| {
                let counter = bank.counter(&id, denomination);
                Counts {
                    denomination,
                    signed: mint.issued(&id, denomination),
                    issued: counter.issued,
                    redeemed: counter.redeemed,
                }
            });
            view.keysets.push(KeysetView {
                id,
                counts: counts.collect(),
                alarm: alarms.contains(&id),
                reported: None,
            });
            let unit = keyset.unit();
            if !view.balances.contains_key(unit) {
                view.balances.insert(unit.to_owned(), bank.balances(unit));
            }
        }
        view
    }

    /// A total over all denominations.
    pub(crate) fn sum(&self, of: impl Fn(&Counts) -> u64) -> u64 {
        let all = self.keysets.iter().flat_map(|k| &k.counts);
        all.fold(0, |sum, counts| sum.saturating_add(of(counts)))
    }
}
