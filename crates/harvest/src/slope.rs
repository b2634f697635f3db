//! How fast a temperature rises.

use core::time::Duration;

use betanet_machine::Time;

/// Readings that are remembered.
const KEPT: usize = 16;
/// Time between two that are remembered.
const APART: Duration = Duration::from_secs(4);
/// Time over which a slope is told at least: sensors have steps of a whole degree.
const LEAST: Duration = Duration::from_secs(20);

/// The last minute of a temperature.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slope {
    /// A ring, of which `next` is the oldest once it is full.
    kept: [Option<(Time, i32)>; KEPT],
    next: usize,
}

impl Slope {
    fn newest(&self) -> Option<(Time, i32)> {
        self.kept[(self.next + KEPT - 1) % KEPT]
    }

    /// Takes a reading. Returns thousandths of a degree a minute, once enough time has been seen.
    pub(crate) fn observe(&mut self, now: Time, value: i32) -> Option<i64> {
        // Where nobody looked for a while, old readings say nothing of the last minute.
        let window = APART * u32::try_from(KEPT).unwrap_or(u32::MAX);
        let oldest = (0..KEPT).find_map(|n| {
            let kept = self.kept[(self.next + n) % KEPT];
            kept.filter(|(at, _)| now - *at <= window)
        });
        if self.newest().is_none_or(|(at, _)| now - at >= APART) {
            self.kept[self.next] = Some((now, value));
            self.next = (self.next + 1) % KEPT;
        }
        let (at, first) = oldest?;
        let past = now - at;
        if past < LEAST {
            return None;
        }
        let past = i64::try_from(past.as_millis()).ok()?;
        Some((i64::from(value) - i64::from(first)) * 60_000 / past)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    fn run(temps: impl Iterator<Item = (u64, i32)>) -> Vec<Option<i64>> {
        let mut slope = Slope::default();
        temps
            .map(|(s, t)| slope.observe(Time::ZERO + Duration::from_secs(s), t))
            .collect()
    }

    #[test]
    fn a_steady_rise_is_told_after_20_s_and_forgotten_after_a_minute() {
        // Half a degree a second for a minute, then level.
        let rise = |s: u64| 40_000 + 500 * i32::try_from(s.min(60)).unwrap();
        let told = run((0..200).map(|s| (s, rise(s))));
        assert_eq!(told[19], None);
        assert!(told[20..=60].iter().all(|t| *t == Some(30_000)), "{told:?}");
        assert!(told[90].unwrap() < 20_000);
        assert_eq!(told[130], Some(0));
    }

    #[test]
    fn what_was_before_a_long_silence_tells_nothing() {
        let told = run([(0, 40_000), (30, 41_000), (600, 90_000), (610, 90_000)].into_iter());
        assert_eq!(told, [None, Some(2_000), None, None]);
    }
}
