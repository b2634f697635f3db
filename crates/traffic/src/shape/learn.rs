//! Learns traces and pauses from recordings of page loads.

use alloc::vec::Vec;
use core::time::Duration;

use super::{Gap, Pauses, RECORD_MAX, Record, STEPS_MAX, Step, Trace};

/// Times below this, in microseconds, are kept unchanged.
const SHORT: u64 = 2000;
/// Length of the record that acknowledges SETTINGS: a frame without a body.
const ACKNOWLEDGED: u16 = 9 + 17;
/// Maximum length of a record with the HTTP/2 preface, SETTINGS and WINDOW_UPDATE, but no request.
const PREFACE: u16 = 24 + (9 + 8 * 6) + 13 + 17;

/// Learns a trace from a connection's records. `None` if they hold no request with an answer.
///
/// Left out are records before the client's request: the handshake, `skip` records of the server after it (session tickets,
/// HTTP/2's SETTINGS), the client's two (Finished, and its SETTINGS), and acknowledgements of SETTINGS, which carry no data.
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
    let mut last = kept.first()?.at;
    // Rounding errors are compensated for, so that they do not accumulate, but not in short gaps.
    let mut lost = 0_i64;
    let steps = kept.iter().take(STEPS_MAX).map(|r| {
        let exact = r.at.saturating_sub(core::mem::replace(&mut last, r.at));
        let owed = if exact < SHORT { 0 } else { lost };
        let gap = Gap::new(Duration::from_micros(exact.saturating_add_signed(owed)));
        let micros = |n: u128| i64::try_from(n).unwrap_or(i64::MAX);
        let taken = micros(Duration::from(gap).as_micros());
        lost = lost.saturating_add(micros(exact.into()).saturating_sub(taken));
        Step {
            gap,
            up: r.up,
            size: r.size.min(RECORD_MAX),
        }
    });
    Some(steps.collect())
}

/// Learns a client's delays that no burst shows.
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
    let alone = records[preface].size <= PREFACE;
    let request = after(preface + 1, &|r| r.up && r.size != ACKNOWLEDGED).filter(|_| alone);
    Some(Pauses {
        answer: took(answer - 1, answer)?,
        preface: took(finished, preface)?,
        request: request.and_then(|at| took(preface, at)).unwrap_or_default(),
        acknowledge: acknowledged
            .and_then(|at| took(settings, at))
            .unwrap_or_default(),
    })
}
