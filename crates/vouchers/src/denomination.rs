use alloc::vec::Vec;

/// Highest exponent of a denomination.
pub const DENOMINATION_MAX: u8 = 40;
/// Highest exponent that wallets use: a rare denomination names its user.
pub const WALLET_DENOMINATION_MAX: u8 = 20;

/// Exponent of a voucher's value, which is a power of two of the keyset's unit.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Denomination(u8);

impl Denomination {
    /// One unit.
    pub const LEAST: Self = Self(0);

    /// The denomination of this exponent; `None` above 40.
    #[must_use]
    pub const fn new(exponent: u8) -> Option<Self> {
        if exponent > DENOMINATION_MAX {
            return None;
        }
        Some(Self(exponent))
    }

    /// The exponent.
    #[must_use]
    pub const fn exponent(self) -> u8 {
        self.0
    }

    /// The value in units.
    #[must_use]
    pub const fn value(self) -> u64 {
        1 << self.0
    }
}

/// Splits an amount into vouchers by its binary digits, smallest first. What exceeds the digits of wallets goes into vouchers of
/// the highest denomination. `None` for zero, or where more than `most` vouchers would be needed.
#[must_use]
pub fn digits(amount: u64, most: usize) -> Option<Vec<Denomination>> {
    let top = u64::from(WALLET_DENOMINATION_MAX);
    let whole = usize::try_from(amount >> top).ok()?;
    let low = (0..WALLET_DENOMINATION_MAX).filter(|e| amount >> e & 1 == 1);
    let mut out: Vec<Denomination> = low.map(Denomination).collect();
    let all = out.len().checked_add(whole)?;
    if all == 0 || all > most {
        return None;
    }
    out.resize(all, Denomination(WALLET_DENOMINATION_MAX));
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_sum_to_the_amount_and_each_low_one_occurs_once() {
        for amount in [1, 2, 3, 1_000, (1 << 20) - 1, 1 << 20, (5 << 20) | 77] {
            let split = digits(amount, 1_024).unwrap();
            assert_eq!(split.iter().map(|d| d.value()).sum::<u64>(), amount);
            let low = split.iter().filter(|d| d.exponent() < 20);
            let ones = (amount & 0xf_ffff).count_ones();
            assert_eq!(u32::try_from(low.count()), Ok(ones));
        }
        assert_eq!(digits(0, 10), None);
        assert_eq!(digits(u64::MAX, 1_024), None);
        assert_eq!(digits(7, 2), None);
        assert_eq!(Denomination::new(41), None);
        assert_eq!(Denomination::new(40).unwrap().value(), 1 << 40);
    }
}
