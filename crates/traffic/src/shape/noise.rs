//! What a machine adds to times that it is asked for, and what to ask it for.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

/// Pairs that are taken to be as those of a time: the nearest ones, of many so great a part, and so many at most.
const NEAR: usize = 32;
const PART: usize = 16;
const NEAR_MAX: usize = 64;
/// Times that are looked at one by one; of more, as many stand for those beside them.
const TIMES: usize = 2000;
/// An odd number whose multiples are spread evenly: the golden ratio's.
const STRIDE: u32 = 0x9e37_79b1;
/// Longer times, in nanoseconds, are taken for that long: more than an hour.
const LONGEST: i64 = 1 << 42;
/// How often what is to be asked for is made better, at most, and how often in vain.
const ROUNDS: usize = 100;
const VAIN: usize = 20;
/// Errors of that are little, in nanoseconds.
const LITTLE: i64 = 5_000;
/// What errors are told in parts of.
const PARTS: u64 = 1_000_000;
/// Cases that have to be known of a kind for it to stand for itself.
const ENOUGH: usize = 48;
/// How often what comes of what is at once is looked up anew, near what is to be asked for.
const LOOKS: usize = 4;
/// The least that is asked for, in nanoseconds.
const LEAST: i64 = 1000;
/// Ones in binary fractions.
const ONE: i128 = 1 << 20;

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

/// Of what is in order: its level, whatever is at its ends.
fn level(all: &[i64]) -> i64 {
    let cut = all.len() / 4;
    let kept = &all[cut..all.len() - cut];
    let sum: i128 = kept.iter().map(|n| i128::from(*n)).sum();
    let len = i128::try_from(kept.len()).unwrap_or(i128::MAX);
    i64::try_from(sum / len.max(1)).unwrap_or_default()
}

/// Of what is in order: how wide it is, whatever is at its ends, as a mean square.
fn width(all: &[i64]) -> i128 {
    let cut = all.len() / 8;
    let kept = &all[cut..all.len() - cut];
    let level = level(all);
    let sum: i128 = kept.iter().map(|n| i128::from(n - level).pow(2)).sum();
    let len = i128::try_from(kept.len()).unwrap_or(i128::MAX);
    sum / len.max(1)
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
        // Of what was asked for alike any part is to stand for all.
        for alike in pairs.chunk_by_mut(|(a, _), (b, _)| a == b) {
            let mut numbered: Vec<_> = (0_u32..).zip(alike.iter().copied()).collect();
            numbered.sort_unstable_by_key(|(n, _)| n.wrapping_mul(STRIDE));
            for (to, (_, pair)) in alike.iter_mut().zip(numbered) {
                *to = pair;
            }
        }
        Self { pairs }
    }

    /// Whether there are enough cases for it to stand for itself.
    pub(super) const fn is_known(&self) -> bool {
        self.pairs.len() >= ENOUGH
    }

    /// What was added, in the middle of all, in microseconds. Below zero where times were shorter.
    #[must_use]
    pub fn median(&self) -> i64 {
        let mut added: Vec<_> = self.pairs.iter().map(|(_, d)| *d).collect();
        added.sort_unstable();
        middle(&added) / 1000
    }

    /// So many of those whose times were nearest to one: where they begin.
    fn near(&self, asked: i64, len: usize) -> usize {
        let from = self.pairs.partition_point(|(a, _)| *a < asked);
        let to = self.pairs.partition_point(|(a, _)| *a <= asked);
        let first = usize::midpoint(from, to).saturating_sub(len / 2);
        first.min(self.pairs.len() - len)
    }

    /// Puts in the place of times, which are to come sooner than `soon`, what is to be asked for, and gives back the others: those that
    /// come late of themselves, as some of what is asked for is held up, are among the first. It is as much that is at once as is to be,
    /// in the middle of what comes, and as wide; each sooner or later than others as it was.
    pub(super) fn undo_soon<'a>(
        &self,
        mut times: Vec<&'a mut Duration>,
        soon: Duration,
    ) -> Vec<&'a mut Duration> {
        times.retain(|d| !d.is_zero());
        times.sort();
        let soon = nanos(soon);
        let wanted: Vec<i64> = times.iter().map(|d| nanos(**d)).collect();
        let wanted = &wanted[..wanted.partition_point(|d| *d < soon)];
        let asked = self.pairs.partition_point(|(a, _)| *a < soon);
        let tried = &self.pairs[..asked];
        let came = |(asked, added): &&(i64, i64)| asked + added < soon;
        let came = Self {
            pairs: tried.iter().filter(came).copied().collect(),
        };
        if wanted.is_empty() || came.pairs.is_empty() {
            return times;
        }
        let first = (wanted.len() * tried.len() / came.pairs.len()).min(times.len());
        let rest = times.split_off(first);
        let usual = level(wanted);
        let (mut at, mut added) = (usual, Vec::new());
        for _ in 0..LOOKS {
            let len = (came.pairs.len() / 2).max(ENOUGH).min(came.pairs.len());
            let from = came.near(at, len);
            added.clear();
            added.extend(came.pairs[from..from + len].iter().map(|(_, d)| *d));
            added.sort_unstable();
            at = usual - level(&added);
        }
        let whole = width(wanted).max(1);
        let left = (whole - width(&added)).max(0);
        let part = (left * ONE * ONE / whole).isqrt();
        for (n, time) in times.into_iter().enumerate() {
            // Those that come late are to be as the others if they do not.
            let wanted = wanted[n * wanted.len() / first];
            let off = i128::from(wanted - usual) * part / ONE;
            let asked = at + i64::try_from(off).unwrap_or_default();
            *time = Duration::from_nanos(asked.max(LEAST).unsigned_abs());
        }
        rest
    }

    /// Puts in the place of times, which are to come, what is to be asked for: what comes of it is spread as they are. The order stays;
    /// nothing stays nothing, and something something.
    pub(super) fn undo(&self, mut times: Vec<&mut Duration>) {
        times.retain(|d| !d.is_zero());
        if self.pairs.is_empty() || times.is_empty() {
            return;
        }
        times.sort();
        let wanted: Vec<i64> = times.iter().map(|d| nanos(**d)).collect();
        let beside = wanted.len().div_ceil(TIMES);
        let some: Vec<i64> = wanted.chunks(beside).map(middle).collect();
        let asked = self.search(&some);
        let longer: Vec<i64> = asked
            .iter()
            .zip(&some)
            .map(|(asked, wanted)| asked - wanted)
            .collect();
        let all = wanted.iter().enumerate();
        let mut all: Vec<i64> = all
            .map(|(n, wanted)| (wanted + longer[n / beside]).max(LEAST))
            .collect();
        all.sort_unstable();
        for (time, asked) in times.into_iter().zip(all) {
            *time = Duration::from_nanos(asked.unsigned_abs());
        }
    }

    /// What to ask for, so that this comes of it.
    ///
    /// Each of what may come of a time is to be where its rank among all has it, and the time is asked for sooner or later by the median
    /// of how far those are from there. What is held up now and then is not asked for sooner for that: it stands among the longest,
    /// which are then less.
    fn search(&self, wanted: &[i64]) -> Vec<i64> {
        let mut asked = wanted.to_vec();
        let (mut best, mut error, mut vain) = (asked.clone(), u64::MAX, 0);
        let mut off = vec![Vec::new(); asked.len()];
        for round in 0..=ROUNDS {
            let last = round == ROUNDS || vain > VAIN;
            if last {
                asked = self.straight(wanted);
            }
            let comes = self.comes(&asked);
            let each = comes.len() / wanted.len();
            let far = |(n, wanted): (usize, &i64)| {
                let (came, _) = comes[n * each + each / 2];
                let far = wanted.abs_diff(came).saturating_mul(PARTS);
                far / (wanted + LITTLE).unsigned_abs()
            };
            let all = wanted.iter().enumerate().map(far);
            let now = all.fold(0, u64::saturating_add);
            vain += 1;
            if now < error {
                (best, error, vain) = (asked.clone(), now, 0);
            }
            if error == 0 || last {
                break;
            }
            for (rank, (came, of)) in comes.into_iter().enumerate() {
                off[of].push(wanted[rank / each] - came);
            }
            for (asked, off) in asked.iter_mut().zip(&mut off) {
                off.sort_unstable();
                *asked = (*asked + middle(off)).clamp(LEAST, LONGEST);
                off.clear();
            }
            asked.sort_unstable();
        }
        best
    }

    /// What was added to all, in order, taken off as if it were as much the longer a time is: exact where all was asked for alike.
    fn straight(&self, wanted: &[i64]) -> Vec<i64> {
        let mut added: Vec<i64> = self.pairs.iter().map(|(_, d)| *d).collect();
        added.sort_unstable();
        let all = wanted.iter().enumerate();
        let mut asked: Vec<i64> = all
            .map(|(n, time)| (time - added[n * added.len() / wanted.len()]).clamp(LEAST, LONGEST))
            .collect();
        asked.sort_unstable();
        asked
    }

    /// What comes of what is asked for, drawn from what came of what is near it, as often of each; the shortest first, and of which it is.
    fn comes(&self, asked: &[i64]) -> Vec<(i64, usize)> {
        let near = (self.pairs.len() / PART).clamp(NEAR, NEAR_MAX);
        let near = near.min(self.pairs.len());
        let each = asked.iter().enumerate().flat_map(|(n, asked)| {
            let first = self.near(*asked, near);
            let drawn = self.pairs[first..first + near].iter();
            drawn.map(move |(_, d)| ((asked + d).max(0), n))
        });
        let mut all: Vec<_> = each.collect();
        all.sort_unstable();
        all
    }
}
