//! `betanet shape`: learns the traffic of page loads from recordings.

use std::path::Path;
use std::time::Duration;

use betanet_carrier::disk::{self, write_shared};
use betanet_traffic::shape::{
    Lag, Noise, Record, Shape, TRACES_MAX, learn, learn_lag, learn_pauses,
};
use betanet_wire::text::hex;
use serde::Deserialize;
use serde_json::json;

use crate::Fail;
use crate::args::{LearnArgs, ShapeCommand};
use crate::shape_file::read;
use crate::template::pcap;

pub(crate) fn run(command: &ShapeCommand) -> Result<(), Fail> {
    match command {
        ShapeCommand::Learn(args) => learn_from(args),
    }
}

/// One connection of a JSON recording.
#[derive(Deserialize)]
struct Line {
    records: Vec<(f64, i8, u8, u16)>,
}

fn connections(path: &Path) -> Result<Vec<Vec<Record>>, Fail> {
    let bytes = disk::read_bounded(path, disk::CAPTURE_MAX).map_err(Fail::file(path))?;
    let wrong = |why: String| Fail::Local(format!("{}: {why}", path.display()));
    if pcap::is_pcap(&bytes) {
        return pcap::records(&bytes).map_err(wrong);
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("neither pcap nor JSON".into()))?;
    let mut all = Vec::new();
    for (n, line) in text.lines().enumerate().filter(|(_, l)| !l.is_empty()) {
        let line: Line =
            serde_json::from_str(line).map_err(|e| wrong(format!("line {}: {e}", n + 1)))?;
        let records = line.records.iter().map(|(at, way, kind, size)| Record {
            at: u64::try_from(
                Duration::try_from_secs_f64(at.max(0.0))
                    .unwrap_or_default()
                    .as_micros(),
            )
            .unwrap_or(0),
            up: *way > 0,
            kind: *kind,
            size: *size,
        });
        all.push(records.collect());
    }
    Ok(all)
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

/// Returns how much the tunnels of these recordings lag behind the shapes that they followed, and the number of recordings.
fn lag(args: &LearnArgs) -> Result<(Lag, usize), Fail> {
    let mut tunnels = Vec::new();
    for path in &args.lag {
        tunnels.push(connections(path)?);
    }
    let followed: Vec<Shape> = args
        .followed
        .iter()
        .map(|path| read(path))
        .collect::<Result<_, _>>()?;
    if followed.len() > 1 && followed.len() != args.lag.len() {
        let why = format!(
            "--followed: {} shapes for {} recordings of --lag; name one that all followed, or one for each",
            followed.len(),
            args.lag.len()
        );
        return Err(Fail::Usage(why));
    }
    if followed.is_empty() {
        return Ok((Lag::default(), 0));
    }
    // A single shape applies to all of them.
    let shapes = followed.iter().cycle().zip(&tunnels);
    let pairs: Vec<_> = shapes
        .flat_map(|(shape, all)| all.iter().map(move |records| (shape, &records[..])))
        .collect();
    let lag = learn_lag(&pairs, usize::from(args.skip)).ok_or_else(|| {
        let why = "--lag: no connection over TLS, of those that were recorded, has requests when a load of --followed has them";
        Fail::Local(why.into())
    })?;
    Ok((lag, pairs.len()))
}

fn learn_from(args: &LearnArgs) -> Result<(), Fail> {
    let mut loads = Vec::new();
    for path in &args.recordings {
        loads.extend(connections(path)?);
    }
    let (lag, recorded) = lag(args)?;
    let seen = loads.len();
    let mut loads: Vec<_> = loads
        .iter()
        .filter_map(|records| {
            let trace = learn(records, usize::from(args.skip))?;
            Some((trace, learn_pauses(records).unwrap_or_default()))
        })
        .collect();
    let learnt = loads.len();
    loads.truncate(TRACES_MAX);
    lag.take_off(&mut loads);
    let (traces, pauses): (Vec<_>, Vec<_>) = loads.into_iter().unzip();
    let shape = Shape::new(traces).map_err(|e| {
        Fail::Local(format!(
            "of {seen} connections {learnt} are page loads over TLS: {e}"
        ))
    })?;
    let shape = shape.with_pauses(&pauses);
    write_shared(&args.output, shape.to_bytes()).map_err(Fail::file(&args.output))?;
    let bytes = |up: bool| -> u64 {
        let steps = shape.traces().iter().flatten();
        steps
            .filter(|s| s.up == up)
            .map(|s| u64::from(s.size))
            .sum()
    };
    let loads = shape.traces().len() as u64;
    let all = shape.traces().iter().flatten();
    let whole: Duration = all.map(|s| Duration::from(s.gap)).sum();
    let lag_us = json!({
        "answer": lag.answer.median(),
        "preface": lag.preface.median(),
        "request": lag.request.median(),
        "acknowledge": lag.acknowledge.median(),
        "opened": lag.opened.median(),
        "answers": lag.answers.each_ref().map(Noise::median),
        "reads": lag.reads.median(),
        "requests": lag.requests.each_ref().map(Noise::median),
    });
    let facts = json!({
        "connections": seen,
        "traces": loads,
        "id": hex(&shape.id()),
        "mean_up": bytes(true) / loads,
        "mean_down": bytes(false) / loads,
        "mean_ms": micros(whole) / 1000 / loads,
        "tunnels": recorded,
        "tunnels_that_followed": lag.tunnels,
        "lag_us": lag_us,
    });
    if args.json {
        say!("{facts}");
    } else {
        say!("{loads} page loads of {seen} connections");
        say!(
            "a load: {} bytes up, {} down, in {} ms",
            facts["mean_up"],
            facts["mean_down"],
            facts["mean_ms"]
        );
        if recorded > 0 {
            say!(
                "lag of {} of {recorded} tunnels: the others followed no load of --followed",
                lag.tunnels
            );
        }
        say!("id {}", hex(&shape.id()));
    }
    Ok(())
}
