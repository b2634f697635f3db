//! Frame seal and open at 16 KiB beside the AEAD's own speed.

use crate::{Effort, Figure, median, parts};

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let n = if effort.quick { 200 } else { 1000 };
    let runs: Vec<parts::Aead> = (0..effort.rounds).map(|_| parts::aead(n)).collect();
    let of = |f: &dyn Fn(&parts::Aead) -> f64| median(runs.iter().map(f).collect());
    let figure = |name, ours: f64, raw: f64| Figure {
        name,
        ratio: raw / ours,
        bound: 0.90,
        at_least: true,
        detail: format!(
            "{:.2} of {:.2} GB/s",
            parts::SIZE as f64 / ours,
            parts::SIZE as f64 / raw
        ),
    };
    vec![
        figure(
            "frame seal vs ring, 16 KiB",
            of(&|r| r.seal),
            of(&|r| r.raw_seal),
        ),
        figure(
            "frame open vs ring, 16 KiB",
            of(&|r| r.open),
            of(&|r| r.raw_open),
        ),
    ]
}
