//! Lateness of tunnels relative to the shape that they follow.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::follow::{HEADER, HELD_UP, STALL, TOGETHER, WINDOW};
use super::learn::{learn, learn_pauses};
use super::noise::Noise;
use super::{Gap, Pauses, Record, Shape, Step, Trace};

/// Minimum number of bytes of a long answer.
const LONG: usize = 64 << 10;
/// Maximum median distance between a tunnel's requests and those of the load that it follows.
const FAR: Duration = Duration::from_millis(20);
/// Requests that a tunnel may lack, because its recording ended early.
const CUT: usize = 2;
/// Requests that follow the previous one, or the preface, sooner than this are sent without delay.
const AT_ONCE: Duration = Duration::from_micros(60);

/// Lateness of tunnels relative to the shape that they follow: the delay that a machine, or the path to the recorder, adds. It is
/// subtracted so that the resulting times match the target in spread, and not only in their median.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Lag {
    /// Number of tunnels from which it was learnt: those that followed a load.
    pub tunnels: usize,
    /// Lateness of the answer to the server's handshake.
    pub answer: Noise,
    /// Lateness of the HTTP/2 preface after that answer.
    pub preface: Noise,
    /// Lateness of the first request after the preface, if it is not sent without delay.
    pub request: Noise,
    /// Lateness of the acknowledgement of the server's SETTINGS.
    pub acknowledge: Noise,
    /// Lateness of the first request after the answer that opens a tunnel.
    pub opened: Noise,
    /// Lateness of answers: of long ones, which the server prepares whole before sending, and of others.
    pub answers: [Noise; 2],
    /// Lateness of the first data after a client resumes reading.
    pub reads: Noise,
    /// Lateness between consecutive requests: from the first to the second, which was longer on its way, and between others.
    pub requests: [Noise; 2],
    /// Lateness of each request of a load, in order: a client's work before each differs.
    places: Vec<Noise>,
}

/// Learns the lag of tunnels, each paired with the shape that it followed. `None` if none of them followed it; `skip` as in
/// [`learn`].
#[must_use]
pub fn learn_lag(tunnels: &[(&Shape, &[Record])], skip: usize) -> Option<Lag> {
    let pairs: Vec<_> = tunnels
        .iter()
        .filter_map(|(shape, records)| {
            let took = learn(records, skip)?;
            let n = followed(shape, &took)?;
            let pauses = shape.pauses().nth(n).zip(learn_pauses(records));
            Some((&shape.traces()[n], took, pauses))
        })
        .collect();
    if pairs.is_empty() {
        return None;
    }
    let pause = |of: fn(&Pauses) -> Duration| {
        let all = pairs.iter().filter_map(|(_, _, pauses)| *pauses);
        let all = all.map(|(asked, took)| (of(&asked), of(&took)));
        Noise::new(all.filter(|(asked, took)| !asked.is_zero() && !took.is_zero()))
    };
    let steps = |places: &dyn Fn(&[Step]) -> Vec<usize>, least: Duration| {
        let of = |(asked, took, _): &(&Trace, Trace, _)| {
            let took = aligned(asked, took);
            let places = places(asked).into_iter();
            let both = places.filter_map(|n| Some((asked[n].gap.into(), took[n]?)));
            both.filter(|(_, took)| *took >= least).collect::<Vec<_>>()
        };
        Noise::new(pairs.iter().flat_map(of))
    };
    let opened = pairs.iter().filter_map(|(asked, took, _)| {
        let (_, asked) = opened(asked)?;
        Some((asked, opened(took)?.1))
    });
    Some(Lag {
        tunnels: pairs.len(),
        opened: Noise::new(opened),
        answer: pause(|p| p.answer),
        preface: pause(|p| p.preface),
        request: pause(|p| p.request),
        acknowledge: pause(|p| p.acknowledge),
        answers: [true, false].map(|long| steps(&|t| answers(t, long), Duration::ZERO)),
        // Data that came sooner was not awaited: another record was due there.
        reads: steps(&read_on, STALL),
        requests: [true, false].map(|second| {
            let places = |t: &[Step]| {
                let all = follow(t).into_iter().filter(|f| f.second == second);
                all.map(|f| f.at).collect()
            };
            steps(&places, Duration::ZERO)
        }),
        places: places(pairs.iter().map(|(asked, took, _)| (&asked[..], &took[..]))),
    })
}

/// Position of the first request after the first answer, and its delay after that answer.
fn opened(trace: &[Step]) -> Option<(usize, Duration)> {
    let opens = trace.iter().position(|step| !step.up)?;
    let first = opens + trace[opens..].iter().position(|step| step.up)?;
    let gaps = trace[opens + 1..=first].iter();
    Some((first, gaps.map(|step| Duration::from(step.gap)).sum()))
}

/// Times of the requests after the first answer, relative to the first of them: the answer that opens a tunnel has no scheduled
/// time, and later times count from it.
fn requests(trace: &[Step]) -> Vec<Duration> {
    let opens = trace.iter().position(|step| !step.up).unwrap_or_default();
    let mut at = Duration::ZERO;
    let mut all = Vec::new();
    for step in &trace[opens..] {
        at += Duration::from(step.gap);
        if step.up {
            all.push(at);
        }
    }
    let first = all.first().copied().unwrap_or_default();
    all.iter().map(|at| *at - first).collect()
}

/// Index of the load that a tunnel followed: equal records, then the nearest request times. Records identify a load where times
/// do not, as when one late request shifts all times.
fn followed(shape: &Shape, tunnel: &[Step]) -> Option<usize> {
    let took = requests(tunnel);
    let apart = |trace: &Trace| {
        let asked = requests(trace);
        let both = asked.iter().zip(&took);
        let mut apart: Vec<_> = both.map(|(a, b)| a.abs_diff(*b)).collect();
        apart.sort_unstable();
        let apart = apart.get(apart.len() / 2).copied()?;
        (took.len() + CUT >= asked.len() && apart <= FAR).then_some(apart)
    };
    let differ = |trace: &Trace| {
        let both = trace.iter().zip(beside(trace, tunnel));
        let same = both.filter(|(step, n)| n.is_some_and(|n| tunnel[n].size == step.size));
        trace.len() - same.count()
    };
    let all = shape.traces().iter().enumerate();
    let near = all.filter_map(|(n, trace)| Some((differ(trace), apart(trace)?, n)));
    near.min().map(|(_, _, n)| n)
}

/// Index of the tunnel's record for each record of the load that it followed, if there is one: requests are in order, and so are
/// the records between them.
fn beside(asked: &[Step], took: &[Step]) -> Vec<Option<usize>> {
    let ups =
        |trace: &[Step]| -> Vec<usize> { (0..trace.len()).filter(|n| trace[*n].up).collect() };
    let mut all = vec![None; asked.len()];
    for (a, t) in ups(asked).into_iter().zip(ups(took)) {
        all[a] = Some(t);
        let both = asked[a + 1..].iter().zip(&took[t + 1..]);
        let downs = both.take_while(|(a, t)| !a.up && !t.up);
        for (n, _) in downs.enumerate() {
            all[a + 1 + n] = Some(t + 1 + n);
        }
    }
    all
}

/// Duration of each record of a load in a tunnel that followed it; for a request, if it follows another one in both.
fn aligned(asked: &[Step], took: &[Step]) -> Vec<Option<Duration>> {
    let follows = |trace: &[Step], n: usize| n > 0 && trace[n - 1].up;
    let time = |(a, t): (usize, Option<usize>)| {
        let t = t?;
        let counts = !asked[a].up || (follows(asked, a) && follows(took, t));
        counts.then(|| took[t].gap.into())
    };
    let all = beside(asked, took).into_iter().enumerate();
    all.map(time).collect()
}

/// A request that follows another one, but not at once.
#[derive(Clone, Copy)]
struct Follow {
    /// Its position in the trace and among the requests.
    at: usize,
    number: usize,
    /// Whether it is the first such request.
    second: bool,
}

fn follow(trace: &[Step]) -> Vec<Follow> {
    let mut all = Vec::new();
    let (mut up, mut second, mut number) = (false, true, 0);
    for (at, step) in trace.iter().enumerate() {
        let follows = up && step.up;
        if follows && step.gap != Gap::default() {
            all.push(Follow { at, number, second });
        }
        (up, second) = (step.up, !follows);
        number += usize::from(step.up);
    }
    all
}

/// Requested and actual times of each request, by its number.
fn places<'a>(tunnels: impl Iterator<Item = (&'a [Step], &'a [Step])>) -> Vec<Noise> {
    let mut all: Vec<Vec<(Duration, Duration)>> = Vec::new();
    for (asked, took) in tunnels {
        let took = aligned(asked, took);
        for Follow { at, number, .. } in follow(asked) {
            if all.len() <= number {
                all.resize_with(number + 1, Vec::new);
            }
            let pair = took[at].map(|took| (asked[at].gap.into(), took));
            all[number].extend(pair);
        }
    }
    all.into_iter().map(Noise::new).collect()
}

/// Positions of the first records of answers: long ones, or others. The very first answer, which opens the tunnel, is left out:
/// it has no scheduled time.
fn answers(trace: &[Step], long: bool) -> Vec<usize> {
    let begins = |n: usize| trace[n - 1].up && !trace[n].up;
    let bytes = |n: usize| -> usize {
        let answer = trace[n..].iter().take_while(|step| !step.up);
        answer.map(|step| usize::from(step.size)).sum()
    };
    let places = (1..trace.len()).filter(|n| begins(*n)).skip(1);
    places.filter(|n| (bytes(*n) >= LONG) == long).collect()
}

/// Positions of the first records of each answer after the client resumed reading. Later records are as much later, each time.
fn read_on(trace: &[Step]) -> Vec<usize> {
    let mut places = Vec::new();
    // Bytes that the client has not read yet, and whether it has resumed reading since the answer began.
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
            places.push(n);
        }
        again |= held_up;
        bytes += usize::from(step.size) + HEADER;
    }
    places
}

/// Accessor of one of the pauses, with the positions of one kind of records.
type Of = fn(&mut Pauses) -> &mut Duration;
type Places = fn(&[Step]) -> Vec<usize>;

impl Lag {
    /// Subtracts the lag from learnt loads.
    pub fn take_off(&self, loads: &mut [(Trace, Pauses)]) {
        let kinds: [(&Noise, Of); 3] = [
            (&self.answer, |p| &mut p.answer),
            (&self.preface, |p| &mut p.preface),
            (&self.acknowledge, |p| &mut p.acknowledge),
        ];
        for (noise, of) in kinds {
            noise.undo(loads.iter_mut().map(|(_, pauses)| of(pauses)).collect());
        }
        let requests = loads.iter_mut().map(|(_, pauses)| &mut pauses.request);
        let late = self.request.undo_soon(requests.collect(), AT_ONCE);
        self.request.undo(late);
        let [long, short] = &self.answers;
        let steps: [(&Noise, Places); 3] = [
            (long, |t| answers(t, true)),
            (short, |t| answers(t, false)),
            (&self.reads, read_on),
        ];
        // All times are looked up before any is changed.
        let all = steps.map(|(noise, places)| {
            let gaps = loads.iter().map(|(trace, _)| {
                let gap = |n: usize| (n, Duration::from(trace[n].gap));
                places(trace).into_iter().map(gap).collect::<Vec<_>>()
            });
            let mut gaps: Vec<_> = gaps.collect();
            noise.undo(gaps.iter_mut().flatten().map(|(_, gap)| gap).collect());
            gaps
        });
        let requests = self.requests(loads);
        let first: Vec<_> = loads.iter().map(|(trace, _)| opened(trace)).collect();
        let mut less = first.clone();
        let times = less.iter_mut().flatten().map(|(_, time)| time);
        self.opened.undo(times.collect());
        for ((trace, _), both) in loads.iter_mut().zip(first.into_iter().zip(less)) {
            if let (Some((n, was)), Some((_, less))) = both {
                let gap = Duration::from(trace[n].gap) + less;
                put(trace, n, gap.saturating_sub(was));
            }
        }
        let reads = 2;
        for (kind, gaps) in all.into_iter().chain([requests]).enumerate() {
            for ((trace, _), gaps) in loads.iter_mut().zip(gaps) {
                for (n, gap) in gaps {
                    // A late read must stay long enough to be awaited.
                    let least = if kind == reads { STALL } else { Duration::ZERO };
                    put(trace, n, gap.max(least));
                }
            }
        }
    }

    /// Requests of each load that follow another one, and the time to ask for between the two.
    fn requests(&self, loads: &[(Trace, Pauses)]) -> Vec<Vec<(usize, Duration)>> {
        let follows: Vec<_> = loads.iter().map(|(trace, _)| follow(trace)).collect();
        let gaps = loads.iter().zip(&follows);
        let gaps = gaps.map(|((trace, _), all)| {
            let gap = |f: &Follow| (f.at, Duration::from(trace[f.at].gap));
            all.iter().map(gap).collect::<Vec<_>>()
        });
        let mut gaps: Vec<_> = gaps.collect();
        // Grouped by the noise that applies.
        let mut kinds: BTreeMap<_, Vec<&mut Duration>> = BTreeMap::new();
        let all = follows.iter().flatten().zip(gaps.iter_mut().flatten());
        for (follow, (_, gap)) in all {
            let place = self.places.get(follow.number).filter(|p| p.is_known());
            let own = place.map(|_| follow.number);
            kinds.entry((follow.second, own)).or_default().push(gap);
        }
        let mut late = [Vec::new(), Vec::new()];
        for ((second, own), gaps) in kinds {
            let kind = usize::from(!second);
            let noise = own.map_or(&self.requests[kind], |n| &self.places[n]);
            late[kind].extend(noise.undo_soon(gaps, AT_ONCE));
        }
        for (noise, late) in self.requests.iter().zip(late) {
            noise.undo(late);
        }
        gaps
    }
}

/// Replaces the gap before a record. Time taken from a server's record is added to the following gap, so that later records do
/// not come earlier.
fn put(trace: &mut [Step], n: usize, gap: Duration) {
    let kept = Duration::from(trace[n].gap);
    trace[n].gap = Gap::new(gap);
    if trace[n].up {
        return;
    }
    if let Some(next) = trace[n..].iter_mut().find(|step| step.up) {
        next.gap = Gap::new((Duration::from(next.gap) + kept).saturating_sub(gap));
    }
}
