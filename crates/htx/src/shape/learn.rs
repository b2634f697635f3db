//! What recordings of page loads, and of tunnels that follow them, tell.

use alloc::vec::Vec;
use core::time::Duration;

use super::{Gap, Pauses, RECORD_MAX, Record, STEPS_MAX, Step, Trace};

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

/// How much later tunnels that follow page loads are than those were: what a machine, or the way to who recorded, adds by itself. To be
/// taken off.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lag {
    /// Of each pause.
    pub pauses: Pauses,
    /// Of the server's answers.
    pub answers: Duration,
}

/// Learns the lag of tunnels that followed these loads: by how much the medians lie apart. `None` where either holds no connection with
/// a request and an answer.
#[must_use]
pub fn learn_lag(loads: &[Vec<Record>], tunnels: &[Vec<Record>]) -> Option<Lag> {
    let speaks = |all: &[Vec<Record>]| all.iter().any(|c| learn_pauses(c).is_some());
    if !speaks(loads) || !speaks(tunnels) {
        return None;
    }
    let apart = |of: &dyn Fn(&[Record]) -> Vec<Duration>| {
        let median = |connections: &[Vec<Record>]| {
            let mut all: Vec<Duration> = connections.iter().flat_map(|c| of(c)).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        median(tunnels).saturating_sub(median(loads))
    };
    let pause = |of: fn(Pauses) -> Duration| {
        apart(&move |c: &[Record]| learn_pauses(c).map(of).into_iter().collect())
    };
    let answers = |c: &[Record]| {
        let pairs = c.windows(2).filter(|p| p[0].up && !p[1].up);
        pairs
            .map(|p| Duration::from_micros(p[1].at.saturating_sub(p[0].at)))
            .collect()
    };
    Some(Lag {
        pauses: Pauses {
            answer: pause(|p| p.answer),
            preface: pause(|p| p.preface),
            request: pause(|p| p.request),
            acknowledge: pause(|p| p.acknowledge),
        },
        answers: apart(&answers),
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
