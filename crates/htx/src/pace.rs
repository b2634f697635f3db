//! Content-independent padding: lengths rounded up to buckets, or a byte rate that does not depend on pending data.
//!
//! Padding is per direction: each end pads its own traffic as configured, if both ends support PADDING.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use betanet_machine::Time;

use crate::frame::{HEADER, TAG};

/// Interval between two cells.
pub const TICK: Duration = Duration::from_millis(20);
/// Ticks per second.
const TICKS: u64 = 50;
/// Minimum size of a PADDING frame.
pub const PADDING_MIN: usize = HEADER + TAG;
/// Sizes to which bytes sent together are padded; above the last size, they are padded to a multiple of it.
pub const BUCKETS: [usize; 6] = [512, 1024, 2048, 4096, 8192, 16_384];
/// Ticks between two rate decisions: an observer learns only the chosen rate.
const LOOK: u32 = 16;
/// Allowed rates, bytes per second.
const RATES: core::ops::RangeInclusive<u64> = 4096..=64 << 20;

/// Padding of the bytes that a session sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Padding {
    /// Bytes sent together are padded to the next size of [`BUCKETS`].
    Buckets,
    /// A rate in bytes per second, independent of pending data. It doubles while more is pending, up to `most`, and halves while
    /// less than half is used, down to `least`. If both are equal, the rate never changes.
    Rate {
        /// Lowest rate, bytes per second.
        least: u64,
        /// Highest rate, bytes per second.
        most: u64,
    },
}

/// The text is not a valid [`Padding`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("buckets, a rate as 64k or 1m bytes a second, or two as 16k..1m; a rate is 4k to 64m")]
pub struct PaddingError;

fn rate(text: &str) -> Option<u64> {
    let (number, unit) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 1 << 10),
        b'm' => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let rate = number
        .parse::<u64>()
        .ok()
        .filter(|_| digits)?
        .checked_mul(unit)?;
    RATES.contains(&rate).then_some(rate)
}

impl FromStr for Padding {
    type Err = PaddingError;

    fn from_str(text: &str) -> Result<Self, PaddingError> {
        if text == "buckets" {
            return Ok(Self::Buckets);
        }
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        match (rate(least), rate(most)) {
            (Some(least), Some(most)) if least <= most => Ok(Self::Rate { least, most }),
            _ => Err(PaddingError),
        }
    }
}

impl fmt::Display for Padding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Buckets => f.write_str("buckets"),
            Self::Rate { least, most } if least == most => write!(f, "{least}"),
            Self::Rate { least, most } => write!(f, "{least}..{most}"),
        }
    }
}

/// Number of PADDING bytes, without their frame's overhead, that pad `sent` to a bucket; `None` if `sent` is a bucket size.
#[must_use]
pub fn to_bucket(sent: usize) -> Option<usize> {
    let fits = |size: usize| size == sent || size > sent + PADDING_MIN;
    let last = BUCKETS[BUCKETS.len() - 1];
    let size = BUCKETS
        .into_iter()
        .find(|size| fits(*size))
        .unwrap_or_else(|| {
            let next = sent.next_multiple_of(last);
            if fits(next) { next } else { next + last }
        });
    (size > sent).then(|| size - sent - PADDING_MIN)
}

/// Schedules sending at a rate: when to send, and how many bytes.
#[derive(Debug)]
pub struct Pacer {
    least: u64,
    most: u64,
    rate: u64,
    /// Time of the next cell.
    next: Time,
    /// Bytes of a second that did not divide evenly into ticks, in fiftieths.
    rest: u64,
    /// Ticks since the last rate decision, and how many of them had more to send, or used less than half.
    ticks: u32,
    more: u32,
    less: u32,
}

impl Pacer {
    /// Starts at `now` with the lowest rate.
    #[must_use]
    pub const fn new(now: Time, least: u64, most: u64) -> Self {
        Self {
            least,
            most,
            rate: least,
            next: now,
            rest: 0,
            ticks: 0,
            more: 0,
            less: 0,
        }
    }

    /// The current rate, bytes per second.
    #[must_use]
    pub const fn rate(&self) -> u64 {
        self.rate
    }

    /// Maximum number of bytes per tick at the current rate.
    #[must_use]
    pub fn cell(&self) -> usize {
        usize::try_from(self.rate / TICKS + 1).unwrap_or(usize::MAX)
    }

    /// Time of the next cell.
    #[must_use]
    pub const fn wake(&self) -> Time {
        self.next
    }

    /// Number of bytes due now; call [`Pacer::sent`] afterwards. Missed ticks are not made up for, because a burst would reveal
    /// them a second time.
    #[must_use]
    pub fn due(&self, now: Time) -> Option<usize> {
        let bytes = (self.rate + self.rest) / TICKS;
        (now >= self.next).then(|| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// Records that the due bytes were sent: `said` of them carried data, and `waiting` bytes are still pending.
    pub fn sent(&mut self, now: Time, said: usize, waiting: usize) {
        let bytes = self.rate + self.rest;
        let due = bytes / TICKS;
        self.rest = bytes % TICKS;
        self.next = self.next + TICK;
        if self.next <= now {
            self.next = now + TICK;
        }
        self.ticks += 1;
        self.more += u32::from(waiting > 0);
        self.less += u32::from(said as u64 * 2 < due);
        if self.ticks < LOOK {
            return;
        }
        if self.more * 2 > self.ticks {
            self.rate = (self.rate * 2).min(self.most);
        } else if self.less == self.ticks {
            self.rate = (self.rate / 2).max(self.least);
        }
        (self.ticks, self.more, self.less) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_leaves_together_has_few_sizes(sent in 1_usize..200_000) {
            let size = sent + to_bucket(sent).map_or(0, |p| p + PADDING_MIN);
            prop_assert!(BUCKETS.contains(&size) || size.is_multiple_of(16_384));
            prop_assert!(to_bucket(size).is_none());
            prop_assert!(size <= 512.max(2 * (sent + PADDING_MIN + 1)), "{sent} {size}");
        }

        #[test]
        fn a_constant_rate_is_the_same_whatever_there_is_to_say(
            rate in 4096_u64..1 << 20,
            said in prop::collection::vec(0_usize..5000, 100),
        ) {
            let mut pacer = Pacer::new(Time::ZERO, rate, rate);
            let mut bytes = 0;
            for said in said {
                let due = pacer.due(pacer.wake()).unwrap();
                prop_assert_eq!(pacer.due(Time::ZERO), (pacer.wake() == Time::ZERO).then_some(due));
                bytes += due as u64;
                pacer.sent(pacer.wake(), said.min(due), said);
                prop_assert_eq!(pacer.rate(), rate);
            }
            // Exactly two seconds' worth of bytes.
            prop_assert_eq!(pacer.wake(), Time::ZERO + 100 * TICK);
            prop_assert_eq!(bytes, 2 * rate);
        }
    }

    #[test]
    fn an_adaptive_rate_doubles_while_something_waits_and_halves_when_little_is_said() {
        let mut pacer = Pacer::new(Time::ZERO, 10_000, 70_000);
        let look = |pacer: &mut Pacer, said, waiting| {
            for _ in 0..LOOK {
                pacer.sent(pacer.wake(), said, waiting);
            }
            pacer.rate()
        };
        let up: [u64; 4] = core::array::from_fn(|_| look(&mut pacer, 100, 1));
        assert_eq!(up, [20_000, 40_000, 70_000, 70_000]);
        assert_eq!(look(&mut pacer, 700, 0), 70_000, "half is said");
        let down: [u64; 4] = core::array::from_fn(|_| look(&mut pacer, 0, 0));
        assert_eq!(down, [35_000, 17_500, 10_000, 10_000]);
    }

    #[test]
    fn ticks_that_were_missed_are_not_made_up_for() {
        let mut pacer = Pacer::new(Time::ZERO, 50_000, 50_000);
        let late = Time::ZERO + 10 * TICK;
        assert_eq!(pacer.due(late), Some(1000));
        pacer.sent(late, 0, 0);
        assert_eq!(pacer.due(late), None);
        assert_eq!(pacer.wake(), late + TICK);
    }

    #[test]
    fn it_is_read_as_it_is_said() {
        for (text, padding) in [
            ("buckets", Padding::Buckets),
            (
                "64k",
                Padding::Rate {
                    least: 65_536,
                    most: 65_536,
                },
            ),
            (
                "16k..1m",
                Padding::Rate {
                    least: 16_384,
                    most: 1 << 20,
                },
            ),
            (
                "5000",
                Padding::Rate {
                    least: 5000,
                    most: 5000,
                },
            ),
        ] {
            assert_eq!(text.parse(), Ok(padding));
            assert_eq!(padding.to_string().parse(), Ok(padding));
        }
        for bad in [
            "",
            "k",
            "1k",
            "65m",
            "1m..16k",
            "..",
            "64K",
            "+64k",
            "bucket",
            "9999999999999999999m",
        ] {
            assert_eq!(bad.parse::<Padding>(), Err(PaddingError), "{bad}");
        }
    }
}
