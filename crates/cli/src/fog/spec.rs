//! Tasks and jobs as people describe them: TOML or JSON, with names and units.

mod build;
mod graph;
mod table;
mod task;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use betanet_carrier::disk;
use betanet_fog::Word;
use serde_json::{Map, Value};

use crate::Fail;
use table::{Problems, Table};

pub(crate) use build::{Made, Making};
pub(crate) use table::Problem;
pub(crate) use task::{BlobSource, InputSource, TaskSpec};
pub(crate) use units::{flag_time, in_bytes};

/// Most tasks of a job.
const TASKS_MAX: usize = 1024;
/// Name of the task that `task run` describes.
pub(crate) const ALONE: &str = "task";

/// A job.
#[derive(Clone, Debug)]
pub(crate) struct JobSpec {
    pub(crate) ns: Word,
    pub(crate) name: Word,
    /// Its tasks, each after those that it comes after.
    pub(crate) tasks: Vec<TaskSpec>,
}

/// Reads a TOML or JSON file as a table.
fn table_of(path: &Path) -> Result<Map<String, Value>, Fail> {
    let wrong = |why: String| Fail::Usage(format!("{}: {why}", path.display()));
    let bytes = disk::read_bounded(path, disk::TEXT_MAX).map_err(Fail::file(path))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("not UTF-8 text".into()))?;
    let json = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("json"));
    table_of_text(&text, json).map_err(wrong)
}

fn table_of_text(text: &str, json: bool) -> Result<Map<String, Value>, String> {
    let value: Value = if json {
        serde_json::from_str(text).map_err(|e| e.to_string())?
    } else {
        toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?
    };
    match value {
        Value::Object(map) => Ok(map),
        _ => Err("not a table of keys".into()),
    }
}

/// Lays values over others; tables are merged.
fn over(below: &mut Map<String, Value>, above: Map<String, Value>) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => over(old, new),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

/// Reads a job file, and reports all of its errors.
///
/// # Errors
///
/// The file cannot be read at all, or the list of its errors is not empty.
pub(crate) fn job(path: &Path) -> Result<Result<JobSpec, Vec<Problem>>, Fail> {
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    Ok(read_job(table_of(path)?, Some(&folder)))
}

/// Reads the text of a job file that names no other files.
///
/// # Errors
///
/// All that is wrong with it, a sentence each.
pub(crate) fn job_text(text: &str, json: bool) -> Result<JobSpec, Vec<String>> {
    let map = table_of_text(text, json).map_err(|why| vec![why])?;
    read_job(map, None).map_err(|all| all.iter().map(ToString::to_string).collect())
}

fn read_job(map: Map<String, Value>, folder: Option<&Path>) -> Result<JobSpec, Vec<Problem>> {
    let problems = Problems::default();
    let job = read_into(map, folder, &problems);
    let found = problems.count();
    match (job, found) {
        (Some(job), 0) => Ok(job),
        _ => Err(problems.into_vec()),
    }
}

fn name_of(table: &mut Table<'_>, key: &'static str) -> Option<Word> {
    let allowed = "1 to 63 of a-z 0-9 - _ .";
    let word = |v: &Value| v.as_str()?.parse().ok().filter(|w: &Word| !w.is_empty());
    if !table.has(key) {
        table.problem(key, "", format!("missing; it has {allowed}"));
    }
    table.read(key, allowed, word)
}

fn read_into(
    map: Map<String, Value>,
    folder: Option<&Path>,
    problems: &Problems,
) -> Option<JobSpec> {
    let mut table = Table::new(String::new(), map, problems);
    let name = name_of(&mut table, "name");
    let ns = name_of(&mut table, "ns");
    let defaults = table.read("defaults", "a table of a task's keys", |v| {
        v.as_object().cloned()
    });
    let defaults = defaults.unwrap_or_default();
    let listed = table.read("task", "tables by name: [task.NAME]", |v| {
        v.as_object().cloned()
    });
    let listed = listed.unwrap_or_default();
    match listed.len() {
        0 => table.problem(
            "task",
            "",
            "missing; a job has at least one table [task.NAME]",
        ),
        1..=TASKS_MAX => {}
        n => table.problem(
            "task",
            &format!("{n} tasks"),
            format!("at most {TASKS_MAX} tasks"),
        ),
    }
    table.finish();
    let names: BTreeSet<String> = listed.keys().cloned().collect();
    let mut specs = BTreeMap::new();
    for (task, value) in listed.into_iter().take(TASKS_MAX) {
        let path = format!("task.{task}");
        let Value::Object(own) = value else {
            problems.add(path, &value.to_string(), "a table of a task's keys");
            continue;
        };
        let mut all = defaults.clone();
        over(&mut all, own);
        let table = Table::new(path, all, problems);
        let spec = task::read(&task, table, folder, &names);
        specs.insert(task, spec);
    }
    let after = specs
        .iter()
        .map(|(name, spec)| (name.clone(), spec.after.clone()));
    let order = match graph::sort(&after.collect()) {
        Ok(order) => order,
        Err(cycle) => {
            let first = cycle.first().cloned().unwrap_or_default();
            let way = cycle.join(" after ");
            let key = format!("task.{first}.after");
            problems.add(
                key,
                &format!("{way} after {first}"),
                "no cycle: a task cannot come after itself",
            );
            return None;
        }
    };
    let tasks = order.into_iter().filter_map(|name| specs.remove(&name));
    Some(JobSpec {
        ns: ns?,
        name: name?,
        tasks: tasks.collect(),
    })
}

/// Describes one task by flags over a file.
pub(crate) fn alone(
    file: Option<&Path>,
    flags: Map<String, Value>,
) -> Result<(Word, TaskSpec), Fail> {
    let (mut map, folder) = match file {
        Some(path) => (table_of(path)?, path.parent().map(PathBuf::from)),
        None => (Map::new(), None),
    };
    over(&mut map, flags);
    let problems = Problems::default();
    let ns = map.remove("ns");
    let ns = ns.as_ref().and_then(Value::as_str).map(str::parse::<Word>);
    let ns = match ns {
        Some(Ok(ns)) if !ns.is_empty() => Some(ns),
        _ => {
            problems.add(
                "ns".into(),
                "",
                "name the namespace with --ns: 1 to 63 of a-z 0-9 - _ .",
            );
            None
        }
    };
    let table = Table::new(String::new(), map, &problems);
    let folder = folder.unwrap_or_default();
    let spec = task::read(ALONE, table, Some(&folder), &BTreeSet::new());
    match (ns, problems.count()) {
        (Some(ns), 0) => Ok((ns, spec)),
        _ => Err(fail(file, &problems.into_vec())),
    }
}

/// Reads a size, such as `2 GiB`.
pub(crate) fn size_of(text: &str) -> Option<u64> {
    units::bytes(&Value::String(text.to_owned()))
}

/// Reads cores in thousandths, such as `500m`.
pub(crate) fn cores_of(text: &str) -> Option<u64> {
    units::milli(&Value::String(text.to_owned()))
}

/// Returns the failure for a description with errors.
pub(crate) fn fail(file: Option<&Path>, problems: &[Problem]) -> Fail {
    let place = file.map_or_else(|| "the task".to_owned(), |path| path.display().to_string());
    let lines: Vec<String> = problems.iter().map(|p| format!("\n  {p}")).collect();
    Fail::Usage(format!("{place} cannot be used:{}", lines.concat()))
}

/// Sets a value at a path of keys, such as `resources.gpu`.
///
/// # Errors
///
/// The path is empty, or leads through a value that is no table.
pub(crate) fn set(map: &mut Map<String, Value>, path: &str, value: Value) -> Result<(), Fail> {
    let wrong = || Fail::Usage(format!("--set {path}: KEY=VALUE, such as tier=gold"));
    let (mut at, mut rest) = (map, path);
    while let Some((key, below)) = rest.split_once('.') {
        let table = at.entry(key).or_insert_with(|| Value::Object(Map::new()));
        at = table.as_object_mut().ok_or_else(wrong)?;
        rest = below;
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    at.insert(rest.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests;
