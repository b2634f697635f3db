//! What recordings of page loads, and of tunnels that follow them, tell.

use alloc::vec::Vec;
use core::time::Duration;

use super::{Gap, Pauses, RECORD_MAX, Record, STEPS_MAX, Shape, Step, Trace};

/// The record of an acknowledgement of SETTINGS: a frame without a body.
const ACKNOWLEDGED: u16 = 9 + 17;

/// Learns a trace from a connection's records. `None` where it holds no request and answer.
///
/// Left out is what is before the client's request: the handshake, `skip` records of the server behind it (session tickets, HTTP/2's
/// SETTINGS), the client's two (Finished, and its SETTINGS), and acknowledgements of SETTINGS, which carry nothing.
#[must_use]
pub fn learn(records: &[Record], skip: usize) -> Option<Trace> {
    let data = |r: &&Record| r.kind == 23;
    let first_up = records.iter().find(|r| r.kind == 23 && r.up)?.at;
    let begun = records
        .iter()
        .position(|r| r.kind == 23 && r.up && r.at >= first_up)?;
    let (mut ups, mut downs) = (0, 0);
    let mut kept: Vec<&Record> = Vec::new();
    for record in records[begun..].iter().filter(data) {
        let counted = if record.up {
            ups += 1;
            ups > 2
        } else {
            downs += 1;
            downs > skip
        };
        if counted && !(record.up && record.size == ACKNOWLEDGED) && record.size >= 18 {
            kept.push(record);
        }
    }
    if !kept.first()?.up || kept.iter().all(|r| r.up) {
        return None;
    }
    // Each record's time is rounded, not each gap: what is lost does not add up.
    let first = kept.first()?.at;
    let mut last = Duration::ZERO;
    let steps = kept.iter().take(STEPS_MAX).map(|r| {
        let at = Duration::from_micros(r.at.saturating_sub(first));
        let gap = Gap::new(at.saturating_sub(last));
        last += Duration::from(gap);
        Step {
            gap,
            up: r.up,
            size: r.size.min(RECORD_MAX),
        }
    });
    Some(steps.collect())
}

/// How long a connection's client took for what no burst shows.
#[must_use]
pub fn learn_pauses(records: &[Record]) -> Option<Pauses> {
    let after = |from: usize, is: &dyn Fn(&Record) -> bool| {
        let found = records.get(from..)?.iter().position(is)?;
        Some(from + found)
    };
    let took = |from: usize, to: usize| {
        let micros = records[to].at.checked_sub(records[from].at)?;
        Some(Duration::from_micros(micros))
    };
    let hello = after(0, &|r| !r.up)?;
    let answer = after(hello, &|r| r.up)?;
    let finished = after(answer, &|r| r.up && r.kind == 23)?;
    let preface = after(finished + 1, &|r| r.up)?;
    let settings = after(finished, &|r| !r.up && r.kind == 23)?;
    let acknowledged = after(settings, &|r| r.up && r.size == ACKNOWLEDGED);
    // Where it is not a record of its own, the request went with it.
    let request = after(preface + 1, &|r| r.up).filter(|at| *at < settings);
    Some(Pauses {
        answer: took(answer - 1, answer)?,
        preface: took(finished, preface)?,
        request: request.and_then(|at| took(preface, at)).unwrap_or_default(),
        acknowledge: acknowledged
            .and_then(|at| took(settings, at))
            .unwrap_or_default(),
    })
}

/// How much later tunnels are than the shape that they follow: what a machine, or the way to who recorded, adds by itself. To be taken
/// off.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lag {
    /// Of each pause.
    pub pauses: Pauses,
    /// Of the server's answers.
    pub answers: Duration,
}

fn median(mut all: Vec<Duration>) -> Option<Duration> {
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

/// Learns the lag of tunnels that followed this shape: by how much the medians of what they took lie over those of what it asks for.
/// `None` where none of them has a request and an answer; `skip` as in [`learn`].
#[must_use]
pub fn learn_lag(followed: &Shape, tunnels: &[Vec<Record>], skip: usize) -> Option<Lag> {
    let traces: Vec<Trace> = tunnels.iter().filter_map(|t| learn(t, skip)).collect();
    if traces.is_empty() {
        return None;
    }
    let late = |took: Vec<Duration>, asked: Vec<Duration>| {
        let late = median(took).zip(median(asked));
        late.map_or(Duration::ZERO, |(took, asked)| took.saturating_sub(asked))
    };
    let pauses: Vec<Pauses> = tunnels.iter().filter_map(|t| learn_pauses(t)).collect();
    let pause = |of: fn(&Pauses) -> Duration| {
        let asked: Vec<Pauses> = followed.pauses().collect();
        late(
            pauses.iter().map(of).collect(),
            asked.iter().map(of).collect(),
        )
    };
    // The first answer, which opens the tunnel, comes when it can.
    let answers = |traces: &[Trace]| {
        let pairs = traces.iter().flat_map(|t| t.windows(2).skip(2));
        let answers = pairs.filter(|pair| pair[0].up && !pair[1].up);
        answers.map(|pair| pair[1].gap.into()).collect()
    };
    Some(Lag {
        pauses: Pauses {
            answer: pause(|p| p.answer),
            preface: pause(|p| p.preface),
            request: pause(|p| p.request),
            acknowledge: pause(|p| p.acknowledge),
        },
        answers: late(answers(&traces), answers(followed.traces())),
    })
}

impl Lag {
    /// Takes it off what was learnt of one load.
    pub fn take_off(&self, trace: &mut Trace, pauses: &mut Pauses) {
        // What is taken off an answer is given to what follows it: that is not the earlier for it.
        let (mut up, mut owed) = (true, Duration::ZERO);
        for step in trace {
            if core::mem::replace(&mut up, step.up) != step.up {
                let gap = Duration::from(step.gap) + owed;
                let lag = if step.up {
                    Duration::ZERO
                } else {
                    self.answers
                };
                let less = gap.saturating_sub(lag);
                step.gap = Gap::new(less);
                owed = gap - less;
            }
        }
        let less = |p: &mut Duration, lag| *p = p.saturating_sub(lag);
        less(&mut pauses.answer, self.pauses.answer);
        less(&mut pauses.preface, self.pauses.preface);
        less(&mut pauses.request, self.pauses.request);
        less(&mut pauses.acknowledge, self.pauses.acknowledge);
    }
}
