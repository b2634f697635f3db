//! Processor time: that of the machine, and that of our own processes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::Root;

/// Ticks a second in what the kernel tells programs. It is 100 on every architecture that Linux has now.
const TICKS: u64 = 100;

/// A time in ticks.
pub(crate) fn ticks(n: u64) -> Duration {
    Duration::from_millis(n.saturating_mul(1000 / TICKS))
}

/// Processor time of the whole machine since its start, in ticks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Times {
    pub(crate) busy: u64,
    pub(crate) all: u64,
}

impl Times {
    /// Reads the first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|l| l.strip_prefix("cpu "))?;
        let mut fields = [0_u64; 8];
        let mut words = line.split_ascii_whitespace();
        for field in &mut fields {
            // A kernel older than 2.6.11 tells no stolen time.
            *field = words.next().map_or(Some(0), |w| w.parse().ok())?;
        }
        let [user, nice, system, idle, iowait, irq, softirq, steal] = fields;
        let sum = |of: &[u64]| of.iter().try_fold(0_u64, |a, n| a.checked_add(*n));
        // The host took the stolen time; no program here used it.
        let busy = sum(&[user, nice, system, irq, softirq])?;
        Some(Self {
            busy,
            all: sum(&[busy, idle, iowait, steal])?,
        })
    }

    pub(crate) fn read(root: &Root) -> Option<Self> {
        Self::parse(&root.text("proc/stat")?)
    }
}

/// What `/proc/<pid>/stat` tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    /// Its own time and that of its children that ended, in ticks.
    pub(crate) time: u64,
}

impl Process {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        // The name of a program may hold anything, parentheses and blanks too.
        let (id, rest) = text.split_once(" (")?;
        let (_, rest) = rest.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().take(15).collect();
        let number = |at: usize| fields.get(at)?.parse::<i64>().ok();
        let id_of = |at| u32::try_from(number(at)?).ok();
        // After the name: state, ppid, pgrp, …; utime, stime, cutime, cstime are the 12th to the 15th.
        let time = (11..15).try_fold(0_u64, |sum, at| {
            sum.checked_add(u64::try_from(number(at)?).ok()?)
        })?;
        Some(Self {
            id: id.parse().ok()?,
            parent: id_of(1)?,
            group: id_of(2)?,
            time,
        })
    }
}

/// Which processes are ours: a process and all that descend from it, and the members of process groups.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Own {
    /// The worker's process.
    pub process: Option<u32>,
    /// Process groups, for children whose parent is somebody else.
    pub groups: BTreeSet<u32>,
}

impl Own {
    /// This process and all that descend from it.
    #[must_use]
    pub fn this_process() -> Self {
        Self {
            process: Some(std::process::id()),
            groups: BTreeSet::new(),
        }
    }

    /// Processor time of all that are ours, in ticks. Children that ended count with the parent that waited for them.
    pub(crate) fn time(&self, root: &Root) -> u64 {
        if *self == Self::default() {
            return 0;
        }
        let names = root.names("proc");
        let ids = names.iter().filter(|n| n.parse::<u32>().is_ok());
        let all = ids.filter_map(|id| Process::parse(&root.text(format!("proc/{id}/stat"))?));
        self.sum(all.collect())
    }

    fn sum(&self, all: Vec<Process>) -> u64 {
        let mut below: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for process in &all {
            below.entry(process.parent).or_default().push(process.id);
        }
        let member = |p: &&Process| self.groups.contains(&p.group) || Some(p.id) == self.process;
        let mut open: Vec<u32> = all.iter().filter(member).map(|p| p.id).collect();
        let mut ours = BTreeSet::new();
        while let Some(id) = open.pop() {
            if ours.insert(id) {
                open.extend(below.get(&id).into_iter().flatten());
            }
        }
        let times = all.iter().filter(|p| ours.contains(&p.id)).map(|p| p.time);
        times.fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_and_idle_time_is_not_busy() {
        let text = "cpu  100 20 30 400 50 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5";
        let times = Times::parse(text);
        assert_eq!(
            times,
            Some(Times {
                busy: 163,
                all: 621
            })
        );
        for wrong in [
            "",
            "cpu0 1 2 3",
            "cpu  1 x 3 4",
            "cpu  18446744073709551615 1 0 0 0 0 0 0",
        ] {
            assert_eq!(Times::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_program_may_have_any_name() {
        let text = "77 (a) b) (c) S 1 70 70 0 -1 4194304 99 0 0 0 10 5 3 2 20 0 1 0 7506480";
        let process = Process::parse(text);
        let expected = Process {
            id: 77,
            parent: 1,
            group: 70,
            time: 20,
        };
        assert_eq!(process, Some(expected));
        for wrong in ["", "77", "77 (a", "77 (a) S 1", "x (a) S 1 2 3"] {
            assert_eq!(Process::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn descendants_and_members_of_groups_are_ours() {
        let process = |id, parent, group, time| Process {
            id,
            parent,
            group,
            time,
        };
        let all = vec![
            process(1, 0, 1, 1),
            process(10, 1, 10, 2),
            process(11, 10, 11, 4),
            process(12, 11, 12, 8),
            process(20, 1, 99, 16),
            process(30, 1, 30, 32),
            // A loop, which a table that changed while it was read may show.
            process(40, 41, 10, 64),
            process(41, 40, 10, 128),
        ];
        let own = |process, groups: &[u32]| Own {
            process,
            groups: groups.iter().copied().collect(),
        };
        assert_eq!(own(Some(10), &[]).sum(all.clone()), 14);
        assert_eq!(own(Some(10), &[99]).sum(all.clone()), 30);
        assert_eq!(own(None, &[10]).sum(all.clone()), 14 + 64 + 128);
        assert_eq!(own(None, &[]).sum(all), 0);
    }
}
