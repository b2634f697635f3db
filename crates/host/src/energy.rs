//! Energy: counters of processor packages (RAPL), else what batteries give.

use std::collections::BTreeMap;

use betanet_machine::Time;
use serde::Serialize;

use crate::Root;

/// Packages that are looked at.
const PACKAGES: usize = 64;

/// Where an energy was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Counters of the processor's packages: without disks, screens and losses.
    Rapl,
    /// Energy that the batteries gave: that of the whole machine.
    Battery,
}

/// Energy that the machine took between two looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Energy {
    /// Millionths of a joule.
    pub uj: u64,
    /// Where it was read.
    pub source: Source,
}

/// The counters at the last look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    packages: BTreeMap<String, u64>,
    at: Option<Time>,
}

impl Meter {
    /// The energy since the last look. Only root may read the counters on most machines.
    pub(crate) fn read(&mut self, root: &Root, now: Time, drawn_uw: Option<u64>) -> Option<Energy> {
        let before = std::mem::take(&mut self.packages);
        let mut sum: Option<u64> = None;
        // `intel-rapl:0` is a package, `intel-rapl:0:1` a part of one; `psys` has both in it.
        let names = root.names("sys/class/powercap").into_iter();
        let names = names.filter(|n| n.matches(':').count() == 1);
        for name in names.take(PACKAGES) {
            let folder = format!("sys/class/powercap/{name}");
            let of = root.text(format!("{folder}/name")).unwrap_or_default();
            let Some(count) = root.number::<u64>(format!("{folder}/energy_uj")) else {
                continue;
            };
            if !of.starts_with("package") {
                continue;
            }
            if let Some(last) = before.get(&name) {
                let range = root.number::<u64>(format!("{folder}/max_energy_range_uj"));
                let more = count.checked_sub(*last).or_else(|| {
                    // The counter began anew at its end.
                    range?.checked_sub(*last)?.checked_add(count)
                });
                sum = more.map(|n| n.saturating_add(sum.unwrap_or(0))).or(sum);
            }
            self.packages.insert(name, count);
        }
        let last = self.at.replace(now);
        if let Some(uj) = sum {
            let source = Source::Rapl;
            return Some(Energy { uj, source });
        }
        let past = now - last?;
        let uj = u128::from(drawn_uw?) * past.as_millis() / 1000;
        Some(Energy {
            uj: u64::try_from(uj).ok()?,
            source: Source::Battery,
        })
    }
}
