use crate::Tier;

/// The service level of a tier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Promise {
    /// 95th percentile of the time from ready to started, in ms.
    pub start_p95: u64,
    /// Share of ended tasks that must be good, in ppm.
    pub good: u64,
    /// Factor of the price, in thousandths.
    pub factor: u64,
}

impl Tier {
    /// What the tier promises, and what it costs.
    #[must_use]
    pub const fn promise(self) -> Promise {
        let (start_p95, good, factor) = match self {
            Self::Bronze => (2_500, 970_000, 1_000),
            Self::Silver => (1_200, 990_000, 2_500),
            Self::Gold => (400, 999_000, 5_000),
            Self::Platinum => (100, 999_900, 10_000),
        };
        Promise {
            start_p95,
            good,
            factor,
        }
    }
}
