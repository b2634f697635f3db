//! The chapter's arithmetic. Every intermediate value fits 128 bits, and division rounds down.

use alloc::vec::Vec;

pub use betanet_wire::lottery::{mix_weight, stake_ppm};

/// One in ppm.
pub const PPM: u128 = 1_000_000;

/// A number as the ledger's width. Values above it do not arise, because supplies are below 2^63.
pub(crate) fn narrow(n: u128) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// `amount · ppm / 10^6`.
#[must_use]
pub fn share(amount: u64, ppm: u64) -> u64 {
    narrow(u128::from(amount) * u128::from(ppm) / PPM)
}

/// Splits a total over weights by largest remainder. Ties go to the lower key.
///
/// Items are in the order of their keys. Without any weight nobody gets anything.
#[must_use]
pub fn split(total: u64, weights: &[u64]) -> Vec<u64> {
    let sum: u128 = weights.iter().map(|w| u128::from(*w)).sum();
    if sum == 0 {
        return alloc::vec![0; weights.len()];
    }
    let mut shares = Vec::with_capacity(weights.len());
    let mut rests = Vec::with_capacity(weights.len());
    for (i, weight) in weights.iter().enumerate() {
        let product = u128::from(total) * u128::from(*weight);
        shares.push(narrow(product / sum));
        rests.push((core::cmp::Reverse(product % sum), i));
    }
    let given: u64 = shares.iter().sum();
    let left = usize::try_from(total - given).unwrap_or(0);
    rests.sort_unstable();
    for (_, i) in rests.iter().take(left) {
        shares[*i] += 1;
    }
    shares
}

/// Newly issued µ of an epoch: `base` halves every `halving` epochs, and `left` is what the cap leaves.
#[must_use]
pub fn issuance(base: u64, halving: u64, epoch: u64, left: u64) -> u64 {
    let halvings = epoch / halving.max(1);
    let due = u32::try_from(halvings)
        .ok()
        .and_then(|n| base.checked_shr(n))
        .unwrap_or(0);
    due.min(left)
}

/// Parts in 10^6 of the probes that came back.
#[must_use]
pub fn performance(sent: u64, returned: u64) -> u64 {
    narrow(u128::from(returned) * PPM / u128::from(sent.max(1)))
}

/// Reputation after an epoch with this many jobs and probes.
#[must_use]
pub fn reputation(before: u64, jobs: u64, sent: u64, returned: u64) -> u64 {
    if jobs == 0 && sent == 0 {
        return narrow(u128::from(before) * 99 / 100);
    }
    let new = match sent {
        0 => 1_000_000,
        _ => performance(sent, returned),
    };
    narrow((u128::from(before) * 15 + u128::from(new)) / 16)
}

/// Fraction of stake, in ppm, that an offence costs. `others` is the stake of other nodes with a like offence, `all` is all stake.
#[must_use]
pub fn slash_ppm(base: u64, corr: u64, others: u64, all: u64) -> u64 {
    let extra = match all {
        0 => 0,
        _ => u128::from(base) * u128::from(corr) * u128::from(others) / u128::from(all),
    };
    narrow((u128::from(base) + extra).min(PPM))
}
