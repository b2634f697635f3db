//! Padding that looks at no content: sizes rounded up to a few, or bytes at a rate that is the same whether there is something to say.
//!
//! Both work one way: each end pads what it sends as it likes, where both know PADDING.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use betanet_machine::Time;

use crate::frame::{HEADER, TAG};

/// Between two cells.
pub const TICK: Duration = Duration::from_millis(20);
/// Ticks a second.
const TICKS: u64 = 50;
/// The least that a PADDING frame takes.
pub const PADDING_MIN: usize = HEADER + TAG;
/// Sizes that bytes which leave together are filled up to; more than the last are filled up to a multiple of it.
pub const BUCKETS: [usize; 6] = [512, 1024, 2048, 4096, 8192, 16_384];
/// Ticks between two looks at whether a rate is still the right one: all that an observer learns is which it is.
const LOOK: u32 = 16;
/// Rates, bytes a second.
const RATES: core::ops::RangeInclusive<u64> = 4096..=64 << 20;

/// How what is sent is padded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Padding {
    /// What leaves together is filled up to the next of [`BUCKETS`].
    Buckets,
    /// So many bytes a second, whatever there is to say; doubled while there is more, up to a highest rate, and halved while there is
    /// less than half. With one rate for both, it never changes.
    Rate {
        /// The lowest, bytes a second.
        least: u64,
        /// The highest.
        most: u64,
    },
}

/// What [`Padding`] is not.
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

/// The bytes of PADDING, its frame's own ones not counted, that fill `sent` up to a bucket; `None` where it is one.
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

/// Says how many bytes leave when, at a rate.
#[derive(Debug)]
pub struct Pacer {
    least: u64,
    most: u64,
    rate: u64,
    /// When the next bytes are due.
    next: Time,
    /// Bytes of a second that no tick was long enough for, in fiftieths.
    rest: u64,
    /// Ticks since the last look, and of those how many had more to say, or less than half.
    ticks: u32,
    more: u32,
    less: u32,
}

impl Pacer {
    /// Begins at `now`, at the lowest rate.
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

    /// The rate that it is at, bytes a second.
    #[must_use]
    pub const fn rate(&self) -> u64 {
        self.rate
    }

    /// The bytes of one tick at that rate, at most.
    #[must_use]
    pub fn cell(&self) -> usize {
        usize::try_from(self.rate / TICKS + 1).unwrap_or(usize::MAX)
    }

    /// When bytes are due.
    #[must_use]
    pub const fn wake(&self) -> Time {
        self.next
    }

    /// The bytes that are due now; [`Pacer::sent`] follows. Ticks that were missed are not made up for: that would tell of them twice.
    #[must_use]
    pub fn due(&self, now: Time) -> Option<usize> {
        let bytes = (self.rate + self.rest) / TICKS;
        (now >= self.next).then(|| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// What was due has left; of it so many bytes were something to say, and so many more wait.
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
            // Two seconds of it, to the byte.
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
