//! What a task costs.

use betanet_fog::{Resources, Tier};

/// Shortest nominal run that is paid, in ms.
const LEAST_MS: u64 = 100;

/// Number of copies that a task pays for. `n` is that of its verification.
#[must_use]
pub const fn paid(tier: Tier, n: u64) -> u64 {
    let less = match tier {
        Tier::Bronze | Tier::Silver => 0,
        Tier::Gold | Tier::Platinum => 2,
    };
    let paid = n.saturating_sub(less);
    if paid == 0 { 1 } else { paid }
}

/// Nominal run of so much fuel, in ms.
#[must_use]
pub const fn nominal_ms(fuel: u64) -> u64 {
    let ms = fuel.div_ceil(1_000_000);
    if ms > LEAST_MS { ms } else { LEAST_MS }
}

/// Weight of resources, in µ an hour.
fn weight(r: &Resources) -> u128 {
    let of = |amount: u64, unit: u64, price: u64| {
        u128::from(amount.div_ceil(unit)) * u128::from(price)
    };
    of(r.cpu(), 1, 100)
        + of(r.gpu(), 1, 1_000)
        + of(r.memory(), 1 << 20, 10)
        + of(r.storage(), 1 << 30, 100)
        + of(r.bandwidth(), 1_000_000, 1_000)
        + of(r.relay(), 1_000_000, 2_000)
}

/// Cost in µ of a run of `ms` at the demand factor `factor`, for `paid` copies.
#[must_use]
pub fn cost(resources: &Resources, ms: u64, tier: Tier, factor: u64, paid: u64) -> u64 {
    const HOUR: u128 = 3_600_000 * 1_000_000_000;
    let whole = weight(resources) * u128::from(ms) * u128::from(tier.price_factor());
    let one = whole.saturating_mul(u128::from(factor)).div_ceil(HOUR);
    let all = one.saturating_mul(u128::from(paid));
    // Amounts stay below 2^63, so that they can be sent.
    u64::try_from(all).unwrap_or(u64::MAX).min(u64::MAX >> 1)
}

/// Equal shares of a cost, the first of which has the remainder.
pub fn shares(cost: u64, parts: u64) -> impl Iterator<Item = u64> {
    let (each, rest) = (cost.checked_div(parts).unwrap_or(0), cost.checked_rem(parts).unwrap_or(0));
    (0..parts).map(move |i| if i == 0 { each + rest } else { each })
}
