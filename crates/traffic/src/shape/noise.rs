//! Noise that a machine adds to requested times, and the requests that compensate for it.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

/// Number of nearest pairs that represent a time: a fraction of all pairs, up to a maximum.
const NEAR: usize = 32;
const PART: usize = 16;
const NEAR_MAX: usize = 64;
/// Maximum number of times searched one by one; above it, samples represent their neighbours.
const TIMES: usize = 2000;
/// An odd number whose multiples are spread evenly, from the golden ratio.
const STRIDE: u32 = 0x9e37_79b1;
/// Upper bound of times in nanoseconds, more than an hour.
const LONGEST: i64 = 1 << 42;
/// Maximum number of search rounds, and of rounds without improvement.
const ROUNDS: usize = 100;
const VAIN: usize = 20;
/// Errors below this, in nanoseconds, are negligible.
const LITTLE: i64 = 5_000;
/// Unit of relative errors: one part in this number.
const PARTS: u64 = 1_000_000;
/// Minimum number of cases for a kind to have statistics of its own.
const ENOUGH: usize = 48;
/// Number of iterations for immediate times, each with the samples near the last request.
const LOOKS: usize = 4;
/// Minimum requested time, in nanoseconds.
const LEAST: i64 = 1000;
/// One, in binary fractions.
const ONE: i128 = 1 << 20;

/// Distribution of the difference between requested and actual times.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Noise {
    /// Pairs in nanoseconds: the requested time, in ascending order, and the time added to it.
    pairs: Vec<(i64, i64)>,
}

fn nanos(d: Duration) -> i64 {
    i64::try_from(d.as_nanos()).unwrap_or(LONGEST).min(LONGEST)
}

/// Median of sorted values.
fn middle(all: &[i64]) -> i64 {
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// Trimmed mean of sorted values.
fn level(all: &[i64]) -> i64 {
    let cut = all.len() / 4;
    let kept = &all[cut..all.len() - cut];
    let sum: i128 = kept.iter().map(|n| i128::from(*n)).sum();
    let len = i128::try_from(kept.len()).unwrap_or(i128::MAX);
    i64::try_from(sum / len.max(1)).unwrap_or_default()
}

/// Trimmed mean square deviation of sorted values.
fn width(all: &[i64]) -> i128 {
    let cut = all.len() / 8;
    let kept = &all[cut..all.len() - cut];
    let level = level(all);
    let sum: i128 = kept.iter().map(|n| i128::from(n - level).pow(2)).sum();
    let len = i128::try_from(kept.len()).unwrap_or(i128::MAX);
    sum / len.max(1)
}

impl Noise {
    /// Learns from pairs of requested and actual times.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (Duration, Duration)>) -> Self {
        let pairs = pairs.into_iter().map(|(asked, took)| {
            let asked = nanos(asked);
            (asked, nanos(took) - asked)
        });
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_unstable();
        // Any subset of equal requests must represent all of them.
        for alike in pairs.chunk_by_mut(|(a, _), (b, _)| a == b) {
            let mut numbered: Vec<_> = (0_u32..).zip(alike.iter().copied()).collect();
            numbered.sort_unstable_by_key(|(n, _)| n.wrapping_mul(STRIDE));
            for (to, (_, pair)) in alike.iter_mut().zip(numbered) {
                *to = pair;
            }
        }
        Self { pairs }
    }

    /// Whether there are enough cases for statistics of its own.
    pub(super) const fn is_known(&self) -> bool {
        self.pairs.len() >= ENOUGH
    }

    /// Median of the added time, in microseconds. Negative if actual times were shorter.
    #[must_use]
    pub fn median(&self) -> i64 {
        let mut added: Vec<_> = self.pairs.iter().map(|(_, d)| *d).collect();
        added.sort_unstable();
        middle(&added) / 1000
    }

    /// Start index of the `len` pairs whose requested times are nearest to `asked`.
    fn near(&self, asked: i64, len: usize) -> usize {
        let from = self.pairs.partition_point(|(a, _)| *a < asked);
        let to = self.pairs.partition_point(|(a, _)| *a <= asked);
        let first = usize::midpoint(from, to).saturating_sub(len / 2);
        first.min(self.pairs.len() - len)
    }

    /// Replaces times below `soon` by times to request, and returns the others. Times that come late by themselves, because
    /// some requests are delayed, count among the first. As many results are immediate as wanted, with the wanted median and
    /// spread, and the order is kept.
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
            // Requests that come late must be like the others when they do not.
            let wanted = wanted[n * wanted.len() / first];
            let off = i128::from(wanted - usual) * part / ONE;
            let asked = at + i64::try_from(off).unwrap_or_default();
            *time = Duration::from_nanos(asked.max(LEAST).unsigned_abs());
        }
        rest
    }

    /// Replaces wanted times by times to request, such that the resulting times have the wanted distribution. The order is
    /// kept; zero stays zero, and other times stay above zero.
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

    /// Times to request so that the wanted times result.
    ///
    /// Each possible result of a request should match the wanted time of its rank among all results. A request is shifted by
    /// the median of its results' deviations. Occasional delays shift no request: they count among the longest results, of
    /// which fewer are then needed.
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

    /// Subtracts the sorted added times in order, as if longer times had more added: exact if all requests were alike.
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

    /// Expected results of requests, sorted, each with the index of its request; drawn from the results of nearby requests,
    /// equally many of each.
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
