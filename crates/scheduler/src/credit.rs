//! Service credits: what a namespace gets back for a day on which its tier's promise was not kept.

use betanet_fog::{Reason, TaskState, Tier};

/// Tasks that must have ended before a credit is due.
pub const LEAST: u64 = 20;

/// Slack of a deadline beyond the longest run, in ms: with less, a task that expired is the owner's own fault.
const SLACK: u64 = 60_000;

/// An ended task, as far as its tier's promise goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ending<'a> {
    /// How it ended.
    pub state: TaskState,
    /// Why, if it did not succeed.
    pub reason: Option<Reason>,
    /// When it was ready, in ms.
    pub ready: u64,
    /// When its first copy started, in ms, if one did.
    pub started: Option<u64>,
    /// Its deadline, in ms.
    pub deadline: u64,
    /// Its longest run, in ms.
    pub run_ms: u64,
    /// What it waited for at any time.
    pub waited: &'a [Reason],
    /// What it cost, in µ.
    pub cost: u64,
}

/// One day of one namespace and tier. It stores counts only, so that its size does not depend on the number of tasks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Day {
    tier: Tier,
    ended: u64,
    bad: u64,
    started: u64,
    /// Starts later than promised, and later than one and a half times that.
    late: u64,
    very_late: u64,
    spend: u64,
}

/// A credit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Credit {
    /// Part of the spend, in percent.
    pub percent: u64,
    /// Amount, in µ.
    pub amount: u64,
}

/// Whether a wait is the task's own choice: such tasks count nowhere.
const fn own(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Quota
            | Reason::Budget
            | Reason::Level
            | Reason::Rep
            | Reason::Need
            | Reason::Org
            | Reason::Spread
            | Reason::Price
            | Reason::Share
            | Reason::CpuTotal
            | Reason::MemoryTotal
            | Reason::StorageTotal
            | Reason::GpuTotal
            | Reason::BandwidthTotal
            | Reason::RelayTotal
    )
}

impl Day {
    /// A day without tasks.
    #[must_use]
    pub const fn new(tier: Tier) -> Self {
        Self {
            tier,
            ended: 0,
            bad: 0,
            started: 0,
            late: 0,
            very_late: 0,
            spend: 0,
        }
    }

    /// Counts an ended task.
    pub fn count(&mut self, task: &Ending<'_>) {
        self.spend = self.spend.saturating_add(task.cost);
        if task.state == TaskState::Cancelled || task.waited.iter().any(|r| own(*r)) {
            return;
        }
        let tight = task.run_ms.saturating_add(SLACK);
        let bad = match task.state {
            TaskState::Failed => matches!(
                task.reason,
                Some(Reason::Lost | Reason::NoQuorum | Reason::Internal)
            ),
            TaskState::Expired => task.deadline.saturating_sub(task.ready) > tight,
            _ => false,
        };
        self.ended += 1;
        self.bad += u64::from(bad);
        if let Some(started) = task.started {
            self.start(started.saturating_sub(task.ready));
        }
    }

    /// Counts a start that came `ms` after its task was ready.
    fn start(&mut self, ms: u64) {
        let p95 = self.tier.start_p95_ms();
        self.started += 1;
        self.late += u64::from(ms > p95);
        self.very_late += u64::from(ms > p95 + p95 / 2);
    }

    /// The credit that is due.
    #[must_use]
    pub fn credit(&self) -> Credit {
        if self.ended < LEAST {
            return Credit::default();
        }
        let percent = self.for_starts() + self.for_good();
        let amount = u128::from(self.spend) * u128::from(percent) / 100;
        Credit {
            percent,
            amount: u64::try_from(amount).unwrap_or(u64::MAX),
        }
    }

    fn for_starts(&self) -> u64 {
        // The start at this place, counted from the fastest, is the 95th percentile.
        let at = (95 * self.started).div_ceil(100);
        let above = |late: u64| at > self.started - late;
        match (above(self.late), above(self.very_late)) {
            (_, true) => 25,
            (true, _) => 10,
            _ => 0,
        }
    }

    fn for_good(&self) -> u64 {
        let good = 1_000_000 * (self.ended - self.bad) / self.ended;
        let promised = self.tier.good_ppm();
        if good >= promised {
            0
        } else if 1_000_000 - good > 2 * (1_000_000 - promised) {
            25
        } else {
            10
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: Ending<'_> = Ending {
        state: TaskState::Succeeded,
        reason: None,
        ready: 1_000,
        started: Some(1_500),
        deadline: 1_000_000,
        run_ms: 10_000,
        waited: &[],
        cost: 100,
    };

    fn credit(tasks: &[(u64, Ending<'_>)]) -> Credit {
        let mut day = Day::new(Tier::Bronze);
        for (n, task) in tasks {
            (0..*n).for_each(|_| day.count(task));
        }
        day.credit()
    }

    #[test]
    fn junk_earns_no_credit() {
        let lost = Ending {
            state: TaskState::Failed,
            reason: Some(Reason::Lost),
            started: None,
            ..TASK
        };
        let with = |e: Ending<'static>| credit(&[(20, TASK), (20, e)]).percent;
        assert_eq!(with(lost), 25);
        let own = Ending {
            reason: Some(Reason::Exit),
            ..lost
        };
        assert_eq!(with(own), 0, "the program's own failure");
        for waited in [
            &[Reason::Need] as &[Reason],
            &[Reason::GpuTotal],
            &[Reason::Quota],
        ] {
            assert_eq!(with(Ending { waited, ..lost }), 0, "{waited:?}");
        }
        assert_eq!(
            with(Ending {
                waited: &[Reason::CpuFree],
                ..lost
            }),
            25
        );
        let expired = Ending {
            state: TaskState::Expired,
            ..lost
        };
        assert_eq!(with(expired), 25);
        let tight = Ending {
            deadline: 71_000,
            ..expired
        };
        assert_eq!(with(tight), 0, "no slack was given");
        let cancelled = Ending {
            state: TaskState::Cancelled,
            ..lost
        };
        assert_eq!(with(cancelled), 0);
        assert_eq!(credit(&[(19, lost)]).percent, 0, "too few");
    }
}
