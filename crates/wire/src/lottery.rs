//! Weights in the lottery of mixes: integers, so that all who compute one agree.

/// Binary logarithm in units of 2^-16, for `x` of 1 to 2^62.
fn log2(x: u64) -> u64 {
    let k = 63 - x.max(1).leading_zeros();
    let mut m = u128::from(x) << 62 >> k;
    let mut lg = u64::from(k);
    for _ in 0..16 {
        m = (m * m) >> 62;
        lg *= 2;
        if m >= 1 << 63 {
            lg += 1;
            m >>= 1;
        }
    }
    lg
}

/// A stake's part in the weight of a mix, in ppm. `fog` counts whole FOG.
#[must_use]
pub fn stake_ppm(fog: u64) -> u64 {
    let lg = log2((fog.saturating_add(1)).min(1 << 62));
    (lg * 693_147 / 1_310_720).min(1_000_000)
}

/// Weight of a node in the lottery of mixes, of its reputation and performance in ppm and its stake in whole FOG.
#[must_use]
pub fn mix_weight(reputation: u64, performance: u64, fog: u64) -> u64 {
    let parts = u128::from(reputation) * 50
        + u128::from(performance) * 30
        + u128::from(stake_ppm(fog)) * 20;
    let weight = (65_535 * parts + 50_000_000) / 100_000_000;
    u64::try_from(weight).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_those_of_the_known_answers() {
        for (reputation, performance, fog, stake, weight) in [
            (0, 0, 0, 0, 1),
            (0, 0, 1, 34_657, 454),
            (1_000_000, 1_000_000, 0, 0, 52_428),
            (1_000_000, 1_000_000, 485_165_195, 999_999, 65_535),
            (500_000, 990_000, 1_000, 345_437, 40_375),
            (100_000, 1, 7, 103_972, 4_640),
            (944_175, 619_271, 1_895_082_415, 1_000_000, 56_220),
        ] {
            assert_eq!(stake_ppm(fog), stake, "{fog}");
            assert_eq!(mix_weight(reputation, performance, fog), weight, "{fog}");
        }
        assert_eq!(stake_ppm(u64::MAX), 1_000_000);
    }
}
