//! What each namespace uses, spends and was promised.

use alloc::collections::BTreeMap;

use betanet_fog::{Tier, Word};

use crate::codec::row;

/// Days of which the figures are kept.
const DAYS: usize = 2;

/// Tasks of one tier that ended on one day.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Served {
    /// Tasks that count.
    pub tasks: u64,
    /// Those that ended badly by the cluster's fault.
    pub bad: u64,
    /// Those that started.
    pub started: u64,
    /// Those that started within the tier's bound.
    pub fast: u64,
    /// Those that started within 1.5 times the bound.
    pub nearly: u64,
    /// What they cost, in µ.
    pub spend: u64,
}
row!(Served { tasks, bad, started, fast, nearly, spend });

impl Served {
    /// Percentage of the spend that is given back.
    #[must_use]
    pub fn percent(&self, tier: Tier) -> u64 {
        /// Fewest tasks of a day.
        const LEAST: u64 = 20;
        if self.tasks < LEAST {
            return 0;
        }
        // The rank-th fastest start is above a bound if fewer are within it.
        let rank = (95 * self.started).div_ceil(100);
        let slow = match rank {
            0 => 0,
            _ if self.nearly < rank => 25,
            _ if self.fast < rank => 10,
            _ => 0,
        };
        let good = 1_000_000 * self.tasks.saturating_sub(self.bad) / self.tasks;
        let (missed, may) = (1_000_000 - good, 1_000_000 - tier.good_ppm());
        let bad = match missed {
            _ if missed > 2 * may => 25,
            _ if missed > may => 10,
            _ => 0,
        };
        slow + bad
    }

    /// The credit, in µ.
    #[must_use]
    pub fn credit(&self, tier: Tier) -> u64 {
        let whole = u128::from(self.spend) * u128::from(self.percent(tier)) / 100;
        u64::try_from(whole).unwrap_or(u64::MAX)
    }

    /// Counts a start, so many ms after the task was ready.
    pub fn start(&mut self, tier: Tier, ms: u64) {
        let most = tier.start_p95_ms();
        self.started += 1;
        self.fast += u64::from(ms <= most);
        self.nearly += u64::from(ms <= most + most / 2);
    }
}

/// What a namespace uses now, spends today, and was served.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Namespace {
    /// Tasks that wait. This and the next four follow from the tasks.
    pub(crate) waiting: u64,
    pub(crate) copies: u64,
    pub(crate) cpu: u64,
    pub(crate) memory: u64,
    pub(crate) gpu: u64,
    /// Day of `spent`.
    pub(crate) day: u64,
    /// Cost at most of the tasks accepted that day, less what they did not need, in µ.
    pub(crate) spent: u64,
    pub(crate) served: BTreeMap<(u64, Tier), Served>,
}

impl Namespace {
    pub(crate) const fn spent_on(&self, day: u64) -> u64 {
        if self.day == day { self.spent } else { 0 }
    }

    pub(super) fn spend(&mut self, day: u64, cost: u64) {
        if day > self.day {
            (self.day, self.spent) = (day, 0);
        }
        if day == self.day {
            self.spent = self.spent.saturating_add(cost).min(u64::MAX >> 1);
        }
    }

    pub(super) fn refund(&mut self, day: u64, cost: u64) {
        if day == self.day {
            self.spent = self.spent.saturating_sub(cost);
        }
    }

    pub(super) fn serve(&mut self, day: u64, tier: Tier, served: impl FnOnce(&mut Served)) {
        served(self.served.entry((day, tier)).or_default());
        while let Some((first, _)) = self.served.keys().next().copied() {
            if first + DAYS as u64 > day {
                return;
            }
            self.served.pop_first();
        }
    }
}

/// All namespaces that ever had a task. Operators name them, so they are few.
pub(crate) type Namespaces = BTreeMap<Word, Namespace>;
