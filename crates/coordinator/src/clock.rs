//! The coordinator's time: the system's, without its jumps.

use betanet_machine::{Now, Time};

/// Correction per elapsed time: a tenth.
const SLEW: u64 = 10;

/// UNIX time that follows the monotonic clock, and the system's clock at most a tenth faster or slower.
///
/// So an hour's step of the system's clock ends no lease and expires no task at once. It never runs back.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(crate) struct Clock {
    mono: Time,
    micros: u64,
    running: bool,
}

impl Clock {
    /// Starts at the system's time, or at `least` if that is later, in UNIX ms.
    pub(crate) fn start(&mut self, now: Now, least: u64) {
        self.mono = now.mono;
        self.micros = now.unix_ms.max(least).saturating_mul(1_000);
        self.running = true;
    }

    /// UNIX ms.
    pub(crate) fn at(&mut self, now: Now) -> u64 {
        if !self.running {
            self.start(now, 0);
        }
        let passed = now.mono.as_micros().saturating_sub(self.mono.as_micros());
        self.mono = self.mono.max(now.mono);
        let straight = self.micros.saturating_add(passed);
        let system = now.unix_ms.saturating_mul(1_000);
        let most = passed / SLEW;
        self.micros = match system.checked_sub(straight) {
            Some(behind) => straight.saturating_add(behind.min(most)),
            None => straight - (straight - system).min(most),
        };
        self.ms()
    }

    /// UNIX ms at the last call.
    pub(crate) const fn ms(&self) -> u64 {
        self.micros / 1_000
    }

    /// Monotonic time of the last call.
    pub(crate) const fn mono(&self) -> Time {
        self.mono
    }

    /// The monotonic time at which the clock shows `ms`, if it runs straight. At least 1 ms after the last call, if that is to come.
    pub(crate) fn mono_of(&self, ms: u64) -> Time {
        let ahead = ms.saturating_mul(1_000).saturating_sub(self.micros);
        match ms <= self.ms() {
            true => self.mono,
            false => Time::from_micros(self.mono.as_micros().saturating_add(ahead.max(1_000))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(s: u64, unix_s: u64) -> Now {
        Now::new(Time::from_micros(s * 1_000_000), unix_s * 1_000)
    }

    #[test]
    fn an_hour_forward_or_back_is_made_up_for_in_ten_hours() {
        for step in [3_600_i64, -3_600] {
            let mut clock = Clock::default();
            clock.start(now(0, 1_000_000), 0);
            let unix = |s: u64| (1_000_000 + s).saturating_add_signed(step);
            assert!(clock.at(now(10, unix(10))).abs_diff(1_000_010_000) <= 1_000);
            let mut last = clock.ms();
            for s in 11..=36_100 {
                let ms = clock.at(now(s, unix(s)));
                assert!(ms > last);
                last = ms;
            }
            assert_eq!(last, unix(36_100) * 1_000, "{step}");
        }
    }

    #[test]
    fn it_starts_no_earlier_than_the_journal() {
        let mut clock = Clock::default();
        clock.start(now(5, 100), 200_000);
        assert_eq!(clock.at(now(6, 101)), 200_900);
    }
}
