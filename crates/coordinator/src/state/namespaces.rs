//! What each namespace uses, spends and was promised.

use alloc::collections::BTreeMap;

use betanet_fog::{Tier, Word};
use betanet_scheduler::credit::{Day, Ending};

/// Days of which the figures are kept.
const DAYS: usize = 2;

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
    /// Tasks that ended on the last days, for the credits of each tier.
    pub(crate) served: BTreeMap<(u64, Tier), Day>,
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

    pub(super) fn serve(&mut self, day: u64, tier: Tier, task: &Ending<'_>) {
        self.served
            .entry((day, tier))
            .or_insert_with(|| Day::new(tier))
            .count(task);
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
