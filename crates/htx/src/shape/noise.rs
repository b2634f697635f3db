//! What a machine adds to times that it is asked for, and what to ask it for.

use alloc::vec::Vec;
use core::time::Duration;

/// Pairs that are taken to be as those of a time: the nearest ones, of many so great a part, and so many at most.
const NEAR: usize = 16;
const PART: usize = 40;
const NEAR_MAX: usize = 64;
/// Times that are looked at one by one; of more, as many stand for those beside them.
const TIMES: usize = 2000;
/// Longer times, in nanoseconds, are taken for that long: more than an hour.
const LONGEST: i64 = 1 << 42;
/// How often what is to be asked for is made better, at most, and how often in vain.
const ROUNDS: usize = 150;
const VAIN: usize = 30;
/// Errors of that are little, in nanoseconds.
const LITTLE: i64 = 5_000;
/// What errors are told in parts of.
const PARTS: u64 = 1_000_000;

/// What was asked for and what was taken instead, of many times: not how much is added to a time, but how that is drawn.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Noise {
    /// In nanoseconds: what was asked for, the shortest first, and how much longer it took.
    pairs: Vec<(i64, i64)>,
}

fn nanos(d: Duration) -> i64 {
    i64::try_from(d.as_nanos()).unwrap_or(LONGEST).min(LONGEST)
}

/// Of what is in order.
fn middle(all: &[i64]) -> i64 {
    all.get(all.len() / 2).copied().unwrap_or_default()
}

impl Noise {
    /// From times, as they were asked for and as they were taken.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (Duration, Duration)>) -> Self {
        let pairs = pairs.into_iter().map(|(asked, took)| {
            let asked = nanos(asked);
            (asked, nanos(took) - asked)
        });
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_unstable();
        Self { pairs }
    }

    /// What was added, in the middle of all, in microseconds. Below zero where times were shorter.
    #[must_use]
    pub fn median(&self) -> i64 {
        self.added(i64::MAX, 1, 2) / 1000
    }

    /// What was added in so many of so many cases, in nanoseconds, where less than that was asked for.
    fn added(&self, asked: i64, cases: usize, of: usize) -> i64 {
        let below = self.pairs.partition_point(|(a, _)| *a < asked);
        let mut added: Vec<_> = self.pairs[..below].iter().map(|(_, d)| *d).collect();
        added.sort_unstable();
        added
            .get(added.len() * cases / of)
            .copied()
            .unwrap_or_default()
    }

    /// What comes of what is asked for, drawn from what came of what is near it: as many quantiles of that as are asked for.
    fn comes(&self, asked: &[i64], room: &mut Vec<i64>) -> Vec<i64> {
        let near = (self.pairs.len() / PART).clamp(NEAR, NEAR_MAX);
        let near = near.min(self.pairs.len());
        room.clear();
        for asked in asked {
            let at = self.pairs.partition_point(|(a, _)| a < asked);
            let first = at.saturating_sub(near / 2).min(self.pairs.len() - near);
            let drawn = &self.pairs[first..first + near];
            room.extend(drawn.iter().map(|(_, d)| (asked + d).max(0)));
        }
        room.sort_unstable();
        let quantile = |n: usize| room[n * near + near / 2];
        (0..asked.len()).map(quantile).collect()
    }

    /// Puts in the place of times, which are to come, what is to be asked for: what comes of it is spread as they are. The order stays;
    /// nothing stays nothing, and something something. What is to come sooner than `soon` is not asked for sooner than that, less what
    /// three in four of those take longer at most: it is no remedy for what is held up.
    pub(super) fn undo(&self, times: Vec<&mut Duration>, soon: Duration) {
        let mut times: Vec<_> = times.into_iter().filter(|d| !d.is_zero()).collect();
        if self.pairs.is_empty() || times.is_empty() {
            return;
        }
        times.sort();
        let wanted: Vec<i64> = times.iter().map(|d| nanos(**d)).collect();
        let soon = nanos(soon);
        let usual = self.added(soon, 3, 4);
        let floor = |wanted: i64| {
            let floor = if soon > 0 {
                wanted.min(soon) - usual
            } else {
                0
            };
            floor.max(1000)
        };
        let beside = wanted.len().div_ceil(TIMES);
        let some: Vec<i64> = wanted.chunks(beside).map(middle).collect();
        let asked = self.search(&some, floor);
        let longer: Vec<i64> = asked
            .iter()
            .zip(&some)
            .map(|(asked, wanted)| asked - wanted)
            .collect();
        let all = wanted.iter().enumerate();
        let mut all: Vec<i64> = all
            .map(|(n, wanted)| (wanted + longer[n / beside]).max(floor(*wanted)))
            .collect();
        all.sort_unstable();
        for (time, asked) in times.into_iter().zip(all) {
            *time = Duration::from_micros((asked.unsigned_abs() + 500) / 1000);
        }
    }

    /// What to ask for, so that this comes of it; no less of each than its floor.
    fn search(&self, wanted: &[i64], floor: impl Fn(i64) -> i64) -> Vec<i64> {
        let mut asked = wanted.to_vec();
        let (mut best, mut error, mut vain) = (asked.clone(), u64::MAX, 0);
        let mut room = Vec::new();
        for _ in 0..ROUNDS {
            let comes = self.comes(&asked, &mut room);
            let off = |(wanted, comes): (&i64, &i64)| {
                let off = wanted.abs_diff(*comes).saturating_mul(PARTS);
                off / (wanted + LITTLE).unsigned_abs()
            };
            let now = wanted
                .iter()
                .zip(&comes)
                .map(off)
                .fold(0, u64::saturating_add);
            vain += 1;
            if now < error {
                (best, error, vain) = (asked.clone(), now, 0);
            }
            if error == 0 || vain > VAIN {
                break;
            }
            for ((asked, wanted), comes) in asked.iter_mut().zip(wanted).zip(comes) {
                *asked += (wanted - comes) * 2 / 5;
            }
            asked.sort_unstable();
            for (asked, wanted) in asked.iter_mut().zip(wanted) {
                *asked = (*asked).clamp(floor(*wanted), LONGEST);
            }
        }
        best
    }
}
