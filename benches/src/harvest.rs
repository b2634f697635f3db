//! Processor time that a node spends on its sensors, which it reads every second. The sensors are the real ones of this machine.

use std::hint::black_box;
use std::time::Duration;

use betanet_harvest::{Harvest, Rules};
use betanet_host::{Own, Root, Sensors};
use betanet_machine::{Now, Time};

use crate::{Effort, Figure, median, spent};

const NOW_MS: u64 = 1_790_000_000_000;

pub(crate) fn measure(effort: Effort) -> Vec<Figure> {
    let mut sensors = Sensors::new(Root::here(), Own::this_process());
    let mut harvest = Harvest::new(Rules::default());
    let n: u64 = if effort.quick { 20 } else { 100 };
    let mut second = 0;
    let mut times: [Vec<f64>; 2] = Default::default();
    for _ in 0..effort.rounds {
        let now = |s| Now::new(Time::ZERO + Duration::from_secs(s), NOW_MS + s * 1000);
        let looks = (second..second + n).map(now);
        second += n;
        let mut samples = Vec::new();
        let read = spent(|| samples.extend(looks.map(|now| (now, sensors.read(now)))));
        let decide = spent(|| {
            // Often enough for a clock of microseconds.
            for _ in 0..100 {
                for (now, sample) in &samples {
                    black_box(harvest.observe(now.mono, black_box(&sample.readings)));
                }
            }
        });
        times[0].push(read / n as f64);
        times[1].push(decide / (n as f64 * 100.0));
    }
    let [read, decide] = times.map(median);
    let processes = std::fs::read_dir("/proc").map_or(0, |all| {
        let ids = all.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
        ids.count()
    });
    let most = |name, ratio, bound, detail| Figure {
        name,
        ratio,
        bound,
        at_least: false,
        detail,
    };
    vec![
        most(
            "sensors each second, % of a core",
            read * 100.0,
            1.0,
            format!("{:.0} us a look, {processes} processes", read * 1e6),
        ),
        most(
            "harvest decision vs its readings",
            decide / read,
            0.01,
            format!("{:.3} us", decide * 1e6),
        ),
    ]
}
