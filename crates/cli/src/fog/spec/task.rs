//! One task of a description.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use betanet_fog::{
    Affinity, Amounts, Attribute, DAY_MS, Grant, Level, Near, Need, Offline, Op, Placement, Policy,
    Resource, Retry, Strategy, TaskId, Text, Tier, Verification, Verify, Word,
};
use betanet_fog_client::node_id;
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
    folder: &Path,
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
        module: module(&mut t, folder),
        inputs: inputs(&mut t, folder, &after, &after_ids),
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
        place: placement(&mut t),
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

/// Reads a file name, or a table with the digest and the size of a stored blob.
fn blob(value: &Value, folder: &Path) -> Option<BlobSource> {
    match value {
        Value::String(path) if !path.is_empty() => Some(BlobSource::File(folder.join(path))),
        Value::Object(map) if map.len() == 2 => Some(BlobSource::Stored {
            digest: text::unhex_array(map.get("sha256")?.as_str()?)?,
            size: bytes(map.get("size")?)?,
        }),
        _ => None,
    }
}

fn module(t: &mut Table<'_>, folder: &Path) -> BlobSource {
    let allowed = "a file of up to 64 MiB, or { sha256 = HEX, size = SIZE } of a stored blob";
    let none = BlobSource::File(PathBuf::new());
    if !t.has("module") {
        t.problem("module", "", format!("missing; {allowed}"));
    }
    let read = t.read("module", allowed, |v| blob(v, folder));
    match &read {
        Some(BlobSource::File(path)) => match std::fs::metadata(path) {
            Ok(meta) if !meta.is_file() || !(1..=1 << 26).contains(&meta.len()) => {
                t.problem("module", &path.display().to_string(), allowed);
            }
            Ok(_) => {}
            Err(error) => t.problem("module", &path.display().to_string(), error.to_string()),
        },
        Some(BlobSource::Stored { size, .. }) if !(1..=1 << 26).contains(size) => {
            t.problem("module", &format!("size {size}"), allowed);
        }
        _ => {}
    }
    read.unwrap_or(none)
}

fn inputs(
    t: &mut Table<'_>,
    folder: &Path,
    after: &[String],
    ids: &[TaskId],
) -> Vec<(Text, InputSource)> {
    let allowed = "PATH = a file of up to 4 GiB, { sha256, size } of a stored blob, or { task, file } of a task in after";
    let table = t.table("inputs");
    let (problems, at) = (table.problems(), table.at(""));
    let mut all = Vec::new();
    for (path, value) in table.entries() {
        let key = format!("{at}{path}");
        let told = |why: &str| problems.add(key.clone(), &value.to_string(), why);
        let good = |path: &str| {
            let segment = |s: &str| !matches!(s, "" | "." | "..");
            !path.chars().any(|c| c.is_control() || c == '\\') && path.split('/').all(segment)
        };
        let Some(place) = path.parse::<Text>().ok().filter(|p| good(p)) else {
            told("the path is relative, without '.', '..' or empty parts");
            continue;
        };
        let source = match value.get("task").and_then(Value::as_str) {
            Some(task) => {
                let file = value.get("file").and_then(long_text).filter(|f| good(f));
                let of_name = after.iter().any(|name| name == task);
                let of_id = task_id(task).filter(|id| ids.contains(id));
                match (file, of_id) {
                    (Some(file), _) if of_name => Some(InputSource::Output {
                        task: task.to_owned(),
                        file,
                    }),
                    (Some(file), Some(task)) => Some(InputSource::OutputOf { task, file }),
                    _ => None,
                }
            }
            None => blob(&value, folder).map(InputSource::Blob),
        };
        match &source {
            Some(InputSource::Blob(BlobSource::File(file))) => match std::fs::metadata(file) {
                Ok(meta) if !meta.is_file() || meta.len() > 1 << 32 => told(allowed),
                Ok(_) => {}
                Err(error) => told(&error.to_string()),
            },
            Some(InputSource::Blob(BlobSource::Stored { size, .. })) if *size > 1 << 32 => {
                told(allowed);
            }
            Some(_) => {}
            None => told(allowed),
        }
        all.extend(source.map(|source| (place, source)));
    }
    if all.len() > LIST_MAX {
        t.problem(
            "inputs",
            &format!("{} files", all.len()),
            "at most 64 files",
        );
    }
    let folders: BTreeSet<String> = all.iter().map(|(path, _)| format!("{path}/")).collect();
    for (path, _) in &all {
        if let Some(file) = folders.iter().find(|f| path.starts_with(f.as_str())) {
            t.problem(
                "inputs",
                path,
                format!("{file} is a file, and cannot be a folder too"),
            );
        }
    }
    all
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

fn words(value: &Value) -> Option<Vec<Word>> {
    let list = value.as_array().filter(|list| list.len() <= LIST_MAX)?;
    list.iter().map(word).collect()
}

fn placement(t: &mut Table<'_>) -> Placement {
    let mut p = t.table("place");
    let near = p.read("near", "{ node = NAME, region = WORD, zone = WORD }", |v| {
        let map = v.as_object()?;
        let known = |k: &String| matches!(k.as_str(), "node" | "region" | "zone");
        let of = |key| map.get(key).map_or(Some(Word::default()), word);
        let node = match map.get("node") {
            Some(node) => Some(node_id(node.as_str()?)?),
            None => None,
        };
        let near = Near {
            node,
            region: of("region")?,
            zone: of("zone")?,
        };
        map.keys().all(known).then_some(near)
    });
    let need = p.read(
        "need",
        "a list of { attribute = WORD, in = [WORD] } or { attribute = WORD, not_in = [WORD] }",
        |v| {
            let list = v.as_array().filter(|list| list.len() <= LIST_MAX)?;
            let one = |v: &Value| {
                let map = v.as_object().filter(|map| map.len() == 2)?;
                let attribute = Attribute::from(word(map.get("attribute")?)?);
                let (op, values) = match (map.get("in"), map.get("not_in")) {
                    (Some(values), None) => (Op::In, values),
                    (None, Some(values)) => (Op::NotIn, values),
                    _ => return None,
                };
                let values = words(values)?.try_into().ok()?;
                Some(Need {
                    attribute,
                    op,
                    values,
                })
            };
            list.iter().map(one).collect::<Option<Vec<Need>>>()
        },
    );
    let affinity = p.read(
        "affinity",
        "a list of { attribute = WORD, in = [WORD], weight = −100 to 100 }",
        |v| {
            let list = v.as_array().filter(|list| list.len() <= LIST_MAX)?;
            let one = |v: &Value| {
                let map = v.as_object().filter(|map| map.len() == 3)?;
                let weight = map
                    .get("weight")?
                    .as_i64()
                    .filter(|w| w.unsigned_abs() <= 100)?;
                Some(Affinity {
                    attribute: word(map.get("attribute")?)?.into(),
                    values: words(map.get("in")?)?.try_into().ok()?,
                    weight,
                })
            };
            list.iter().map(one).collect::<Option<Vec<Affinity>>>()
        },
    );
    let spread = p.read(
        "spread",
        "kind, model, node, org, region, zone, or a label",
        |v| word(v).filter(|w| !w.is_empty()).map(Attribute::from),
    );
    let rep = p.number(
        "reputation",
        (0, 0..=1_000_000),
        "0 to 1000000 millionths",
        plain,
    );
    p.finish();
    Placement {
        affinity: affinity.unwrap_or_default().try_into().unwrap_or_default(),
        near: near.unwrap_or_default(),
        need: need.unwrap_or_default().try_into().unwrap_or_default(),
        rep,
        spread,
    }
}
