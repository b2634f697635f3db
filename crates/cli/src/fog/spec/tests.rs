//! Job files: valid ones, and all errors of wrong ones at once.

use std::fmt::Write as _;

use betanet_fog::{Level, Offline, Tier};

use super::*;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["hello.wasm", "split.wasm", "data.bin"] {
        std::fs::write(folder.path().join(name), b"\0asm").unwrap();
    }
    folder
}

fn toml_job(text: &str) -> Result<JobSpec, Vec<String>> {
    toml_job_in(folder().path(), text)
}

fn toml_job_in(folder: &Path, text: &str) -> Result<JobSpec, Vec<String>> {
    let map: Map<String, Value> = toml::from_str(text).unwrap();
    read_job(map, Some(folder)).map_err(|all| all.iter().map(ToString::to_string).collect())
}

#[test]
fn the_example_is_valid_and_says_each_default_truly() {
    let example = include_str!("../../../../../dist/job.toml");
    let folder = folder();
    let job = toml_job_in(folder.path(), example).unwrap();
    let names: Vec<&str> = job.tasks.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["split", "render"]);
    assert_eq!((&*job.ns, &*job.name), ("acme", "render"));
    // Keys that are commented out stand for their defaults.
    let plain: String = example
        .lines()
        .map(|line| line.strip_prefix("#= ").unwrap_or(line))
        .fold(String::new(), |mut all, line| {
            let _ = writeln!(all, "{line}");
            all
        });
    assert!(
        plain.len() < example.len(),
        "the example marks defaults with '#= '"
    );
    let full = toml_job_in(folder.path(), &plain).unwrap();
    for (short, full) in job.tasks.iter().zip(&full.tasks) {
        assert_eq!(format!("{short:?}"), format!("{full:?}"));
    }
}

#[test]
fn values_of_a_task_win_over_defaults() {
    let job = toml_job(
        r#"
        ns = "acme"
        name = "x"
        [defaults]
        module = "hello.wasm"
        tier = "silver"
        resources = { cpu = "500m", memory = "1 GiB" }
        [task.a]
        resources = { cpu = 2 }
        offline = "stop 5 min"
        verify = "2 of 3"
        [task.b]
        level = "private"
        "#,
    )
    .unwrap();
    let [a, b] = &job.tasks[..] else {
        panic!("two tasks");
    };
    assert_eq!(
        (a.tier, a.amounts.cpu, a.amounts.memory),
        (Tier::Silver, 2000, 1 << 30)
    );
    assert_eq!((a.offline.rule, a.offline.ms), (Offline::Stop, 300_000));
    assert_eq!((a.verify.k, a.verify.n), (2, 3));
    // Above public, a task asks for relay capacity by itself.
    assert_eq!((b.level, b.amounts.relay), (Level::Private, 1_000_000));
}

#[test]
fn all_errors_are_told_at_once_with_key_value_and_what_is_allowed() {
    let errors = toml_job(
        r#"
        ns = "Acme"
        colour = "red"
        [task.a]
        module = "missing.wasm"
        speed = 9
        prio = 10
        tier = "gold plated"
        timeout = 10
        resources = { cpu = -1, memory = "0 B", disk = 1 }
        inputs = { "../x" = "data.bin", "y" = "nothing.bin", "d" = "data.bin", "d/e" = "data.bin" }
        after = ["b", "zz"]
        verify = "2 of 5"
        retry = { base = "2 s", cap = "1 s" }
        [task.b]
        module = "hello.wasm"
        tier = "platinum"
        verify = "none"
        "#,
    )
    .unwrap_err();
    let wanted = [
        "name: missing",
        "ns = \"Acme\": 1 to 63 of a-z 0-9 - _ .",
        "colour = \"red\": unknown key; keys are name, ns, defaults, task",
        "task.a.module = ",
        "task.a.speed = 9: unknown key",
        "task.a.prio = 10: 0 to 9",
        "task.a.tier = \"gold plated\": bronze, silver, gold, platinum",
        "task.a.timeout = 10: 1 ms to 30 d, with a unit",
        "task.a.resources.cpu = -1: 1m to 4194 cores",
        "task.a.resources.memory = \"0 B\": 1 B to 1024 TiB",
        "task.a.resources.disk = 1: unknown key; keys are cpu, memory, storage, gpu, bandwidth, relay",
        "task.a.inputs.../x = \"data.bin\": the path is relative",
        "task.a.inputs.y = \"nothing.bin\": ",
        "task.a.inputs = d/e: d/ is a file, and cannot be a folder too",
        "task.a.after = zz: no task of this file has this name",
        "task.a.verify = \"2 of 5\": none, spot, or \"K of N\"",
        "task.a.retry.base = 2000 ms: at most cap, which is 1000 ms",
        "task.b.verify = none: platinum needs",
    ];
    for part in wanted {
        assert!(
            errors.iter().any(|e| e.starts_with(part)),
            "{part} in\n{}",
            errors.join("\n")
        );
    }
    assert_eq!(errors.len(), wanted.len(), "{}", errors.join("\n"));
}

#[test]
fn a_cycle_of_names_is_an_error() {
    let errors = toml_job(
        r#"
        ns = "acme"
        name = "x"
        [defaults]
        module = "hello.wasm"
        [task.a]
        after = ["c"]
        [task.b]
        after = ["a"]
        [task.c]
        after = ["b"]
        [task.d]
        after = ["d"]
        "#,
    )
    .unwrap_err();
    assert_eq!(
        errors,
        ["task.a.after = a after c after b after a: no cycle: a task cannot come after itself"]
    );
}

#[test]
fn ten_thousand_tasks_are_refused_without_an_error_for_each() {
    let mut text = "ns = \"acme\"\nname = \"x\"\n".to_owned();
    for n in 0..10_000 {
        let _ = writeln!(text, "[task.t{n}]\nmodule = \"hello.wasm\"");
    }
    let errors = toml_job(&text).unwrap_err();
    assert_eq!(errors, ["task = 10000 tasks: at most 1024 tasks"]);
}

#[test]
fn json_has_the_same_keys() {
    let folder = folder();
    let file = folder.path().join("job.json");
    let text =
        r#"{"ns": "acme", "name": "x", "task": {"a": {"module": "hello.wasm", "fuel": "5 G"}}}"#;
    std::fs::write(&file, text).unwrap();
    let read = job(&file).unwrap().unwrap();
    assert_eq!(read.tasks[0].fuel, 5_000_000_000);
    std::fs::write(&file, "{").unwrap();
    assert!(matches!(job(&file), Err(Fail::Usage(_))));
}
