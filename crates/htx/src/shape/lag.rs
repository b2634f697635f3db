//! How much later tunnels are than the shape that they follow.

use alloc::vec::Vec;
use core::time::Duration;

use super::follow::{HEADER, HELD_UP, STALL, TOGETHER, WINDOW};
use super::learn::{learn, learn_pauses};
use super::{Gap, Pauses, Record, Shape, Trace};

/// Points of a [`Curve`].
const POINTS: usize = 10;
/// Requests that are closer together are sent one after the other, as fast as it goes.
const AT_ONCE: Duration = Duration::from_micros(100);
/// Bytes of an answer that is long.
const LONG: usize = 64 << 10;

/// By how much what was taken is longer than what was asked for: at the middle of each tenth of either, the shortest first, in
/// microseconds. Below zero where it is shorter.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Curve([i64; POINTS]);

fn micros(d: Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX)
}

impl Curve {
    fn learn(mut took: Vec<Duration>, mut asked: Vec<Duration>) -> Self {
        took.sort_unstable();
        asked.sort_unstable();
        let middle = |all: &[Duration], n: usize| {
            let at = (2 * n + 1) * all.len() / (2 * POINTS);
            all.get(at).copied().map(micros)
        };
        let mut points = core::array::from_fn(|n| {
            let both = middle(&took, n).zip(middle(&asked, n));
            both.map_or(0, |(took, asked)| took - asked)
        });
        // What is short was not held up: it is no later than what is longer, but by the luck of the draw.
        for n in (0..POINTS / 2).rev() {
            points[n] = points[n].min(points[n + 1]);
        }
        Self(points)
    }

    /// In the middle of all, in microseconds.
    #[must_use]
    pub const fn median(&self) -> i64 {
        (self.0[POINTS / 2 - 1] + self.0[POINTS / 2]) / 2
    }

    /// For the `n`th shortest of so many.
    fn at(&self, n: usize, of: usize) -> i64 {
        // Twice as fine as the points: their middles are where the odd ones are.
        let at = (2 * n + 1) * POINTS;
        let (point, part) = (
            at.saturating_sub(of) / (2 * of),
            at.saturating_sub(of) % (2 * of),
        );
        let here = self.0[point.min(POINTS - 1)];
        let next = self.0[(point + 1).min(POINTS - 1)];
        let (part, of) = (
            i64::try_from(part).unwrap_or(0),
            i64::try_from(2 * of).unwrap_or(1),
        );
        here + (next - here) * part / of
    }

    /// Takes it off each of these, by how many are shorter. Nothing stays nothing, and something something.
    fn take_off(&self, all: Vec<&mut Duration>) {
        let mut all: Vec<_> = all.into_iter().filter(|d| !d.is_zero()).collect();
        all.sort();
        let of = all.len();
        for (n, took) in all.into_iter().enumerate() {
            let less = micros(*took).saturating_sub(self.at(n, of)).max(1);
            *took = Duration::from_micros(less.unsigned_abs());
        }
    }
}

/// How much later tunnels are than the shape that they follow: what a machine, or the way to who recorded, adds by itself. To be taken
/// off: each time by as much as there was between times of that rank, so that what comes of it is as wide as what is to be followed, and
/// not only in the middle of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lag {
    /// To answer the server's handshake.
    pub answer: Curve,
    /// From that answer to HTTP/2's preface.
    pub preface: Curve,
    /// From the preface to the first request, where it is not said at once.
    pub request: Curve,
    /// To acknowledge the server's SETTINGS.
    pub acknowledge: Curve,
    /// Of the server's answers: of long ones, all of which is got ready before any of it leaves, and of others.
    pub answers: [Curve; 2],
    /// From an answer's beginning to what comes when a client reads on that did not for a while.
    pub reads: Curve,
    /// Between requests that follow each other at once: from the first of them to the second, which was longer on its way, and between
    /// others.
    pub requests: [Curve; 2],
}

/// Learns the lag of tunnels that followed these shapes, as many of them each. `None` where none of them has a request and an answer;
/// `skip` as in [`learn`].
#[must_use]
pub fn learn_lag(followed: &[Shape], tunnels: &[Vec<Record>], skip: usize) -> Option<Lag> {
    let traces: Vec<Trace> = tunnels.iter().filter_map(|t| learn(t, skip)).collect();
    if traces.is_empty() {
        return None;
    }
    let pauses: Vec<Pauses> = tunnels.iter().filter_map(|t| learn_pauses(t)).collect();
    let asked: Vec<Pauses> = followed.iter().flat_map(Shape::pauses).collect();
    let pause = |of: fn(&Pauses) -> Duration| {
        let all = |pauses: &[Pauses]| pauses.iter().map(of).filter(|d| !d.is_zero()).collect();
        Curve::learn(all(&pauses), all(&asked))
    };
    let followed: Vec<Trace> = followed.iter().flat_map(|s| s.traces().to_vec()).collect();
    let requests = |traces: &[Trace], second| {
        let gaps = traces.iter().flat_map(|t| at_once(t, second));
        gaps.map(|(_, gap)| gap).collect()
    };
    let answers = |traces: &[Trace], long| {
        let all = traces.iter().flat_map(|t| answers(t, long));
        // The first answer, which opens the tunnel, comes when it can.
        all.filter(|(n, _)| *n > 2).map(|(_, gap)| gap).collect()
    };
    let reads = |traces: &[Trace]| {
        let gaps = traces.iter().flat_map(read_on);
        gaps.map(|(_, gap)| gap).collect()
    };
    Some(Lag {
        answer: pause(|p| p.answer),
        preface: pause(|p| p.preface),
        request: pause(|p| p.request),
        acknowledge: pause(|p| p.acknowledge),
        answers: [true, false]
            .map(|long| Curve::learn(answers(&traces, long), answers(&followed, long))),
        reads: Curve::learn(reads(&traces), reads(&followed)),
        requests: [true, false].map(|second| {
            let asked = requests(&followed, second);
            Curve::learn(requests(&traces, second), asked)
        }),
    })
}

/// One of the pauses.
type Of = fn(&mut Pauses) -> &mut Duration;

/// The gap of each request in a trace that follows another one at once, by its place: of those that are second, or of others.
fn at_once(trace: &Trace, second: bool) -> Vec<(usize, Duration)> {
    let mut gaps = Vec::new();
    let (mut up, mut first) = (false, true);
    for (n, step) in trace.iter().enumerate() {
        let gap = Duration::from(step.gap);
        let follows = up && step.up && gap < AT_ONCE;
        if follows && !gap.is_zero() && first == second {
            gaps.push((n, gap));
        }
        (up, first) = (step.up, !follows);
    }
    gaps
}

/// The gap of each answer in a trace, by the answer's place: of those that are long, or of others.
fn answers(trace: &Trace, long: bool) -> Vec<(usize, Duration)> {
    let begins = |n: usize| n > 0 && trace[n - 1].up && !trace[n].up;
    let bytes = |n: usize| -> usize {
        let answer = trace[n..].iter().take_while(|step| !step.up);
        answer.map(|step| usize::from(step.size)).sum()
    };
    let places = (0..trace.len()).filter(|n| begins(*n) && (bytes(*n) >= LONG) == long);
    places.map(|n| (n, trace[n].gap.into())).collect()
}

/// The gap of what comes first of each answer once the client has read on, by its place. What comes then comes later by as much, each
/// time.
fn read_on(trace: &Trace) -> Vec<(usize, Duration)> {
    let mut gaps = Vec::new();
    // Of what a client has not read yet; and whether it has read on since the answer began.
    let (mut bytes, mut again) = (0, false);
    for (n, step) in trace.iter().enumerate() {
        let gap = Duration::from(step.gap);
        let held_up = bytes >= WINDOW && (STALL..HELD_UP).contains(&gap);
        if step.up || (gap >= TOGETHER && !held_up) {
            (bytes, again) = (0, false);
        }
        if step.up {
            continue;
        }
        if held_up && !again {
            gaps.push((n, gap));
        }
        again |= held_up;
        bytes += usize::from(step.size) + HEADER;
    }
    gaps
}

impl Lag {
    /// Takes it off what was learnt of loads.
    pub fn take_off(&self, loads: &mut [(Trace, Pauses)]) {
        let kinds: [(&Curve, Of); 4] = [
            (&self.answer, |p| &mut p.answer),
            (&self.preface, |p| &mut p.preface),
            (&self.request, |p| &mut p.request),
            (&self.acknowledge, |p| &mut p.acknowledge),
        ];
        for (curve, of) in kinds {
            curve.take_off(loads.iter_mut().map(|(_, pauses)| of(pauses)).collect());
        }
        for (curve, long) in self.answers.iter().zip([true, false]) {
            let gaps = loads.iter().map(|(trace, _)| answers(trace, long));
            let mut less: Vec<_> = gaps.collect();
            let all = less.iter_mut().flatten().map(|(_, gap)| gap);
            curve.take_off(all.collect());
            for ((trace, _), less) in loads.iter_mut().zip(less) {
                put(trace, &less);
            }
        }
        let mut less: Vec<_> = loads.iter().map(|(trace, _)| read_on(trace)).collect();
        let all = less.iter_mut().flatten().map(|(_, gap)| gap);
        self.reads.take_off(all.collect());
        for ((trace, _), less) in loads.iter_mut().zip(less) {
            // It stays something to wait for.
            let less: Vec<_> = less
                .iter()
                .map(|(n, gap)| (*n, (*gap).max(STALL)))
                .collect();
            put(trace, &less);
        }
        let seconds = |second| -> Vec<_> {
            let gaps = loads.iter().map(|(trace, _)| at_once(trace, second));
            gaps.collect()
        };
        // Both are looked for before either is changed.
        let both = [true, false].map(seconds);
        for (curve, mut less) in self.requests.iter().zip(both) {
            let all = less.iter_mut().flatten().map(|(_, gap)| gap);
            curve.take_off(all.collect());
            for ((trace, _), less) in loads.iter_mut().zip(less) {
                for (n, gap) in less {
                    trace[n].gap = Gap::new(gap);
                }
            }
        }
    }
}

/// Puts other gaps before what a server sends. What is taken off one is given to what follows it: that is not the earlier for it.
fn put(trace: &mut Trace, answers: &[(usize, Duration)]) {
    for (n, gap) in answers {
        let kept = Duration::from(trace[*n].gap);
        trace[*n].gap = Gap::new(*gap);
        let back = trace[*n..].iter().position(|step| step.up);
        if let Some(step) = back.and_then(|back| trace.get_mut(n + back)) {
            step.gap = Gap::new((Duration::from(step.gap) + kept).saturating_sub(*gap));
        }
    }
}
