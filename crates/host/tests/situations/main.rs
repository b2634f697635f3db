//! A table of situations: files of sensors over time, and what the rules make of each step.
//!
//! `situations.toml` has the table. A step writes files below a folder that stands for `/`, then the sensors are read once and the
//! machine of the rules decides. Counters of processor time come from shares of the time since the last step.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use betanet_harvest::testkit::Checked;
use betanet_harvest::{Decision, Table};
use betanet_host::{Own, Root, Sensors};
use betanet_machine::{Now, Time};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use serde::Deserialize;

/// Cores of every machine here.
const CORES: u64 = 4;
/// Ids of the worker, of its child, and of the group of a process that does not descend from it.
const WORKER: u32 = 4242;
const GROUP: u32 = 777;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The files of each machine before the first step.
    machine: BTreeMap<String, BTreeMap<String, String>>,
    situation: Vec<Situation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Situation {
    name: String,
    machine: String,
    #[serde(default)]
    rules: Table,
    /// Seconds from Sunday, the 29th of November 2026, 12:00 UTC.
    #[serde(default)]
    start: i64,
    /// A time zone in POSIX's form, for `/etc/localtime`.
    zone: Option<String>,
    step: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// Seconds from the first step.
    at: u64,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    gone: Vec<String>,
    /// Seconds since something was typed at a terminal.
    typed: Option<u64>,
    /// Percent of the machine since the last step: of others, of the worker's child, of the group, stolen by the host.
    #[serde(default)]
    others: u64,
    #[serde(default)]
    own: u64,
    #[serde(default)]
    group: u64,
    #[serde(default)]
    stolen: u64,
    /// Whether the worker's child ended since, and the worker waited for it.
    #[serde(default)]
    reaped: bool,
    expect: String,
}

/// Ticks so far.
#[derive(Default)]
struct Ticks {
    others: u64,
    child: u64,
    waited: u64,
    group: u64,
    stolen: u64,
    all: u64,
}

impl Ticks {
    fn pass(&mut self, seconds: u64, step: &Step) {
        let all = seconds * 100 * CORES;
        self.all += all;
        self.others += all * step.others / 100;
        self.child += all * step.own / 100;
        self.group += all * step.group / 100;
        self.stolen += all * step.stolen / 100;
        if step.reaped {
            self.waited += std::mem::take(&mut self.child);
        }
    }

    fn write(&self, root: &Path) {
        let user = self.others + self.child + self.waited + self.group;
        let idle = self.all - user - self.stolen;
        let text = format!("cpu  {user} 0 0 {idle} 0 0 0 {} 0 0\n", self.stolen);
        put(root, "proc/stat", &text);
        let process = |id: u32, parent: u32, group: u32, own: u64, waited: u64| {
            let text = format!(
                "{id} (some name) S {parent} {group} 1 0 -1 0 0 0 0 0 {own} 0 {waited} 0 20 0 1 0 0"
            );
            put(root, &format!("proc/{id}/stat"), &text);
        };
        process(1, 0, 1, 0, 0);
        process(WORKER, 1, WORKER, 0, self.waited);
        process(WORKER + 1, WORKER, WORKER + 1, self.child, 0);
        process(GROUP, 1, GROUP, self.group, 0);
        process(9000, 1, 9000, self.others, 0);
    }
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A file of a time zone that has a rule and nothing else.
fn zone(rule: &str) -> Vec<u8> {
    let mut block = b"TZif2".to_vec();
    block.extend([0; 15]);
    for count in [0_u32, 0, 0, 0, 1, 4] {
        block.extend(count.to_be_bytes());
    }
    block.extend([0; 6]);
    block.extend(b"LMT\0");
    [&block, &block, format!("\n{rule}\n").as_bytes()].concat()
}

fn typed(root: &Path, unix_s: i64) {
    put(root, "dev/pts/0", "");
    let at = Timespec {
        tv_sec: unix_s,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: at,
        last_modification: at,
    };
    utimensat(CWD, root.join("dev/pts/0"), &times, AtFlags::empty()).unwrap();
}

fn said(decision: Decision) -> String {
    match decision {
        Decision::Run { share } => format!("run {share}"),
        Decision::Pause(reason) | Decision::GiveBack(reason) => {
            format!("{} {reason}", decision.as_str())
        }
    }
}

/// Returns the steps whose outcome is not the expected one.
fn play(machine: &BTreeMap<String, String>, situation: &Situation) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (path, text) in machine {
        put(root, path, text);
    }
    if let Some(rule) = &situation.zone {
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/localtime"), zone(rule)).unwrap();
    }
    let own = Own {
        process: Some(WORKER),
        groups: [GROUP].into(),
    };
    let mut sensors = Sensors::new(Root::at(root), own);
    let mut harvest = Checked::new(situation.rules.check().unwrap());
    let mut ticks = Ticks::default();
    let mut last = 0;
    let mut wrong = Vec::new();
    for step in &situation.step {
        ticks.pass(step.at - last, step);
        last = step.at;
        ticks.write(root);
        for (path, text) in &step.files {
            put(root, path, text);
        }
        for path in &step.gone {
            fs::remove_file(root.join(path)).unwrap();
        }
        let unix_s = 1_795_953_600 + situation.start + i64::try_from(step.at).unwrap();
        if let Some(ago) = step.typed {
            typed(root, unix_s - i64::try_from(ago).unwrap());
        }
        let mono = Time::ZERO + Duration::from_secs(step.at);
        let now = Now::new(mono, u64::try_from(unix_s).unwrap() * 1000);
        let sample = sensors.read(now);
        let decision = said(harvest.observe(now.mono, &sample.readings));
        if decision != step.expect {
            let name = &situation.name;
            wrong.push(format!(
                "{name}: at {} s {decision}, not {}: {:?}",
                step.at, step.expect, sample
            ));
        }
    }
    wrong
}

#[test]
fn every_situation_has_its_outcome() {
    let file: File = toml::from_str(include_str!("situations.toml")).unwrap();
    let wrong = file.situation.iter().flat_map(|situation| {
        let machine = file.machine.get(&situation.machine);
        play(
            machine.unwrap_or_else(|| panic!("{}", situation.machine)),
            situation,
        )
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let steps: usize = file.situation.iter().map(|s| s.step.len()).sum();
    assert!(file.situation.len() >= 40 && steps >= 120, "{steps} steps");
}
