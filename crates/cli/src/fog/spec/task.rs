//! One task of a description.

mod blobs;
mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use betanet_fog::{
    Amounts, DAY_MS, Grant, Level, Offline, Placement, Policy, Resource, Retry, Strategy, TaskId,
    Text, Tier, Verification, Verify, Word,
};
use betanet_wire::text;
use serde_json::Value;

use super::table::Table;
use super::units::{bytes, count, milli, money, plain, rate, time};

/// Longest deadline, run and offline time.
const LONGEST_MS: u64 = 30 * DAY_MS;
/// Most items of a list.
const LIST_MAX: usize = 64;
/// Relay capacity that tasks above the level public ask for at least, in bit/s.
const RELAY_LEAST: u64 = 1_000_000;

/// A blob that a task needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum BlobSource {
    /// A local file, which is stored before the task is submitted.
    File(PathBuf),
    /// A blob that is stored already.
    Stored { digest: [u8; 32], size: u64 },
}

/// Origin of an input.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum InputSource {
    Blob(BlobSource),
    /// A file of the output of a task of the same job.
    Output {
        task: String,
        file: Text,
    },
    /// A file of the output of a task by its ID.
    OutputOf {
        task: TaskId,
        file: Text,
    },
}

/// A task with its values read, and names in place of IDs.
#[derive(Clone, Debug)]
pub(crate) struct TaskSpec {
    pub(crate) name: String,
    pub(crate) module: BlobSource,
    pub(crate) inputs: Vec<(Text, InputSource)>,
    /// Names of tasks of the job that it comes after.
    pub(crate) after: Vec<String>,
    /// IDs of other tasks that it comes after.
    pub(crate) after_ids: Vec<TaskId>,
    pub(crate) args: Vec<Text>,
    pub(crate) env: BTreeMap<Text, Text>,
    pub(crate) amounts: Amounts,
    pub(crate) tier: Tier,
    pub(crate) level: Level,
    pub(crate) strategy: Strategy,
    pub(crate) prio: u64,
    pub(crate) budget: u64,
    pub(crate) fuel: u64,
    pub(crate) out_max: u64,
    pub(crate) run_ms: u64,
    /// Time from the submission to the deadline, in ms.
    pub(crate) deadline: u64,
    /// Time from the submission to the earliest start, in ms.
    pub(crate) start: u64,
    pub(crate) retry: Retry,
    pub(crate) verify: Verification,
    pub(crate) offline: Policy,
    pub(crate) grants: Vec<Grant>,
    pub(crate) group: Word,
    pub(crate) place: Placement,
    pub(crate) rsv: Option<[u8; 16]>,
}

/// Reads a task. What is wrong becomes a problem, and has its default in the result.
pub(super) fn read(
    name: &str,
    mut t: Table<'_>,
    folder: Option<&Path>,
    names: &BTreeSet<String>,
) -> TaskSpec {
    let (after, after_ids) = after(&mut t, name, names);
    let tier = t.word("tier", Tier::Bronze, Tier::WORDS);
    let level = t.word("level", Level::Public, Level::WORDS);
    let grants = grants(&mut t);
    let strategy = t.word("strategy", Strategy::LeastLoaded, Strategy::WORDS);
    let of = |default, bounds: RangeInclusive<u64>| (default, bounds);
    let spec = TaskSpec {
        name: name.to_owned(),
        module: blobs::module(&mut t, folder),
        inputs: blobs::inputs(&mut t, folder, &after, &after_ids),
        args: texts(&mut t, "args"),
        env: env(&mut t),
        amounts: resources(&mut t, level),
        tier,
        level,
        strategy,
        prio: t.number("prio", of(5, 0..=9), "0 to 9", plain),
        budget: t.number(
            "budget",
            of(1_000_000, 1..=u64::MAX),
            "at least 1 µ, such as 250000 or \"0.25 units\"",
            money,
        ),
        fuel: t.number(
            "fuel",
            of(10_000_000_000, 1..=1 << 60),
            "1 to 2^60, such as \"10 G\"",
            count,
        ),
        out_max: t.number("output", of(16 << 20, 0..=1 << 30), "0 B to 1 GiB", bytes),
        run_ms: t.number(
            "timeout",
            of(600_000, 1..=LONGEST_MS),
            "1 ms to 30 d, with a unit: ms, s, min, h, d",
            time,
        ),
        deadline: t.number(
            "deadline",
            of(DAY_MS, 1..=LONGEST_MS),
            "1 ms to 30 d from the submission, with a unit: ms, s, min, h, d",
            time,
        ),
        start: t.number(
            "start",
            of(0, 0..=LONGEST_MS),
            "0 s to 30 d from the submission, with a unit: ms, s, min, h, d",
            time,
        ),
        retry: retry(&mut t),
        verify: verify(&mut t, tier, !grants.is_empty()),
        offline: offline(&mut t),
        grants,
        group: t
            .read("group", "up to 63 of a-z 0-9 - _ .", word)
            .unwrap_or_default(),
        place: place::placement(&mut t),
        rsv: t.read("reservation", "32 hex digits", |v| {
            text::unhex_array(v.as_str()?)
        }),
        after,
        after_ids,
    };
    if spec.start >= spec.deadline {
        t.problem("start", "", "the start comes before the deadline");
    }
    t.finish();
    spec
}

fn word(value: &Value) -> Option<Word> {
    value.as_str()?.parse().ok()
}

fn long_text(value: &Value) -> Option<Text> {
    value.as_str()?.parse().ok()
}

fn task_id(text: &str) -> Option<TaskId> {
    text::unhex_array(text).map(TaskId)
}

fn after(t: &mut Table<'_>, own: &str, names: &BTreeSet<String>) -> (Vec<String>, Vec<TaskId>) {
    let allowed = "a list of up to 64 names of tasks in this file, or of task IDs";
    let list = t.list("after", allowed);
    let (mut known, mut ids) = (Vec::new(), Vec::new());
    if list.len() > LIST_MAX {
        t.problem("after", &format!("{} items", list.len()), allowed);
    }
    for value in list.into_iter().take(LIST_MAX) {
        match value.as_str() {
            Some(name) if name == own || names.contains(name) => known.push(name.to_owned()),
            Some(name) => match task_id(name) {
                Some(id) => ids.push(id),
                None => t.problem("after", name, "no task of this file has this name"),
            },
            None => t.problem("after", &value.to_string(), allowed),
        }
    }
    (known, ids)
}

fn texts(t: &mut Table<'_>, key: &'static str) -> Vec<Text> {
    let allowed = "a list of up to 64 texts of up to 1024 bytes";
    let read = |v: &Value| {
        let list = v.as_array().filter(|list| list.len() <= LIST_MAX)?;
        list.iter().map(long_text).collect()
    };
    t.read(key, allowed, read).unwrap_or_default()
}

fn env(t: &mut Table<'_>) -> BTreeMap<Text, Text> {
    let allowed = "a table of up to 64 texts of up to 1024 bytes";
    let read = |v: &Value| {
        let map = v.as_object().filter(|map| map.len() <= LIST_MAX)?;
        let entry = |(k, v): (&String, &Value)| Some((k.parse().ok()?, long_text(v)?));
        map.iter().map(entry).collect()
    };
    t.read("env", allowed, read).unwrap_or_default()
}

fn resources(t: &mut Table<'_>, level: Level) -> Amounts {
    let mut r = t.table("resources");
    let most = Resource::most;
    let amounts = Amounts {
        cpu: r.number(
            "cpu",
            (1000, 1..=most(Resource::Cpu)),
            "1m to 4194 cores, such as 500m or 2",
            milli,
        ),
        memory: r.number(
            "memory",
            (256 << 20, 1..=most(Resource::Memory)),
            "1 B to 1024 TiB, such as \"2 GiB\"",
            bytes,
        ),
        storage: r.number(
            "storage",
            (0, 0..=most(Resource::Storage)),
            "0 B to 1024 TiB",
            bytes,
        ),
        gpu: r.number(
            "gpu",
            (0, 0..=most(Resource::Gpu)),
            "0 to 64 devices, or a share of one such as 500m",
            milli,
        ),
        bandwidth: r.number(
            "bandwidth",
            (0, 0..=most(Resource::Bandwidth)),
            "0 bit/s to 1 Tbit/s, such as \"10 Mbit/s\"",
            rate,
        ),
        relay: r.number(
            "relay",
            (
                if level > Level::Public {
                    RELAY_LEAST
                } else {
                    0
                },
                0..=most(Resource::Relay),
            ),
            "0 bit/s to 1 Tbit/s, such as \"10 Mbit/s\"",
            rate,
        ),
    };
    if amounts.gpu > 1000 && !amounts.gpu.is_multiple_of(1000) {
        r.problem(
            "gpu",
            &format!("{}m", amounts.gpu),
            "whole devices, or a share of one",
        );
    }
    if level > Level::Public && amounts.relay < RELAY_LEAST {
        r.problem(
            "relay",
            &amounts.relay.to_string(),
            "at least 1 Mbit/s above the level public",
        );
    }
    r.finish();
    amounts
}

fn retry(t: &mut Table<'_>) -> Retry {
    let mut r = t.table("retry");
    let times = "100 ms to 1 d, with a unit: ms, s, min, h, d";
    let retry = Retry {
        most: r.number("most", (3, 0..=20), "0 to 20 faults", plain),
        base: r.number("base", (1_000, 100..=DAY_MS), times, time),
        cap: r.number("cap", (60_000, 100..=DAY_MS), times, time),
    };
    if retry.base > retry.cap {
        r.problem(
            "base",
            &format!("{} ms", retry.base),
            format!("at most cap, which is {} ms", retry.cap),
        );
    }
    r.finish();
    retry
}

fn verify(t: &mut Table<'_>, tier: Tier, granted: bool) -> Verification {
    let allowed = "none, spot, or \"K of N\" with 2 ≤ K ≤ N ≤ 15 and 2K > N";
    let default = match tier {
        Tier::Platinum => Verification {
            rule: Verify::Quorum,
            k: 2,
            n: 3,
        },
        _ => Verification::NONE,
    };
    let read = |v: &Value| {
        let text = v.as_str()?;
        Some(match text {
            "none" => Verification::NONE,
            "spot" => Verification {
                rule: Verify::Spot,
                k: 0,
                n: 0,
            },
            _ => {
                let (k, n) = text.trim_start_matches("quorum ").split_once(" of ")?;
                let (k, n) = (k.trim().parse().ok()?, n.trim().parse().ok()?);
                let good = (2..=n).contains(&k) && n <= 15 && 2 * k > n;
                good.then_some(Verification {
                    rule: Verify::Quorum,
                    k,
                    n,
                })?
            }
        })
    };
    let found = t.read("verify", allowed, read).unwrap_or(default);
    if tier == Tier::Platinum && (found.rule != Verify::Quorum || found.n < 3) {
        t.problem(
            "verify",
            found.rule.as_str(),
            "platinum needs \"K of N\" with N ≥ 3",
        );
    }
    if granted && found.rule != Verify::None {
        t.problem(
            "verify",
            found.rule.as_str(),
            "a task with grants has verify none, and another tier than platinum",
        );
    }
    found
}

fn offline(t: &mut Table<'_>) -> Policy {
    let allowed = "replace, or stop or keep with a time of up to 30 d, such as \"stop 5 min\"";
    let read = |v: &Value| {
        let text = v.as_str()?;
        if text == "replace" {
            return Some(Policy {
                rule: Offline::Replace,
                ms: 0,
            });
        }
        let (rule, ms) = text.split_once(' ')?;
        let rule = Offline::from_word(rule).filter(|r| *r != Offline::Replace)?;
        let ms = time(&Value::String(ms.to_owned())).filter(|ms| *ms <= LONGEST_MS)?;
        Some(Policy { rule, ms })
    };
    t.read("offline", allowed, read).unwrap_or(Policy {
        rule: Offline::Replace,
        ms: 0,
    })
}

fn grants(t: &mut Table<'_>) -> Vec<Grant> {
    let allowed = "a list of clock, network and random";
    let read = |v: &Value| {
        let list = v.as_array()?.iter();
        let grants: Option<BTreeSet<&str>> = list.map(Value::as_str).collect();
        grants?.into_iter().map(Grant::from_word).collect()
    };
    t.read("grants", allowed, read).unwrap_or_default()
}
