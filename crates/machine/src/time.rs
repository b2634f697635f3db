use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

/// Microseconds since a start that only the driver knows. It never runs backwards.
///
/// Unlike `std::time::Instant` it has a plain value. A test can start at zero, traces compare byte for byte, and code below the
/// driver cannot read a clock.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Time(u64);

impl Time {
    /// The driver's start.
    pub const ZERO: Self = Self(0);

    /// A time this many microseconds after the start.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the start.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Time {
    type Output = Self;
    #[inline]
    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub for Time {
    type Output = Duration;
    #[inline]
    fn sub(self, rhs: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(rhs.0))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// The instant of a call, on both clocks.
///
/// Timers use `mono`, which never runs back; expiry and epochs use `unix_ms`, which may jump.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Now {
    /// The driver's monotonic clock.
    pub mono: Time,
    /// Milliseconds since the UNIX epoch by this node's clock.
    pub unix_ms: u64,
}

impl Now {
    /// An instant on both clocks.
    #[must_use]
    pub const fn new(mono: Time, unix_ms: u64) -> Self {
        Self { mono, unix_ms }
    }
}

/// A wake-up time, with a reason for traces.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Wake {
    /// Time of the wake-up.
    pub at: Time,
    /// Name of the timer.
    pub why: &'static str,
}

impl Wake {
    /// The earliest of several wake-ups.
    #[must_use]
    pub fn earliest<const N: usize>(wakes: [Option<Self>; N]) -> Option<Self> {
        wakes.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_saturates_and_never_goes_below_zero() {
        let late = Time::from_micros(u64::MAX);
        assert_eq!(late + Duration::from_secs(1), late);
        assert_eq!(Time::ZERO - late, Duration::ZERO);
    }

    #[test]
    fn the_earliest_wake_wins_and_none_is_no_wake() {
        let at = |us, why| {
            Some(Wake {
                at: Time::from_micros(us),
                why,
            })
        };
        assert_eq!(Wake::earliest([at(5, "b"), None, at(3, "a")]), at(3, "a"));
        assert_eq!(Wake::earliest([None, None]), None);
    }
}
