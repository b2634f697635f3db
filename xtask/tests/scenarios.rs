//! Every shipped scenario with 100 nodes, against its golden trace.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops where it is surprised"
)]

use std::path::PathBuf;

use xtask::sim::{Options, read, simulate};

fn files() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(xtask::root().join("scenarios")).unwrap();
    let mut files: Vec<PathBuf> = folder.map(|e| e.unwrap().path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "toml"));
    files.sort();
    files
}

fn hundred(checked: bool) -> Options {
    Options {
        nodes: Some(100),
        checked,
        quiet: true,
        ..Options::default()
    }
}

#[test]
fn each_has_its_golden_trace() {
    let files = files();
    assert!(files.len() >= 8, "{files:?}");
    for path in files {
        let file = read(&path).unwrap();
        assert!(file.has_golden_traces(), "{}", path.display());
        let ran = simulate(&file, &hundred(false));
        assert_eq!(ran.missed, Vec::<String>::new(), "{}", path.display());
    }
}

#[test]
fn under_the_contract_checker_with_every_signature_checked_anew_the_trace_is_the_same() {
    let file = read(&xtask::root().join("scenarios/join.toml")).unwrap();
    let (fast, checked) = (
        simulate(&file, &hundred(false)),
        simulate(&file, &hundred(true)),
    );
    assert_eq!(fast.outcome.trace, checked.outcome.trace);
    assert!(checked.outcome.checked > 10 * fast.outcome.checked);
}

#[test]
fn what_is_wrong_in_a_scenario_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.toml");
    let good = std::fs::read_to_string(xtask::root().join("scenarios/eclipse.toml")).unwrap();
    for (from, to, why) in [
        ("nodes = 1000", "nodes = 0", "nodes"),
        (
            "kind = \"eclipse\"",
            "kind = \"magic\"",
            "attack.kind: eclipse or storm",
        ),
        ("minutes = 10", "minuets = 10", "minuets"),
        ("seeds = 5", "seeds = \"five\"", "line 4"),
        ("prefixes = 20", "prefixes = 0", "prefixes"),
    ] {
        std::fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let said = read(&path).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
}
