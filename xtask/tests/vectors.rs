//! The known answers are given, and a changed one is found. Each wire code has a test that provokes it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a test stops where it is surprised, and may look at the clock"
)]

#[path = "vectors/codes.rs"]
mod codes;

use std::fs;

use xtask::vectors;

#[test]
fn every_known_answer_is_given() {
    let mut lines = Vec::new();
    let dir = xtask::root().join("spec-vectors");
    let good = vectors::run(&dir, &mut |l| lines.push(l)).unwrap();
    assert!(good, "{lines:#?}");
    assert!(
        lines.iter().any(|l| l.starts_with("session: 4/4")),
        "{lines:#?}"
    );
}

/// Flips the last hex digit of the last long hex string of a file.
fn change_one_answer(text: &str) -> String {
    let is_hex = |s: &str| s.len() >= 16 && s.bytes().all(|b| b.is_ascii_hexdigit());
    let end = text
        .rmatch_indices('"')
        .map(|(at, _)| at)
        .find(|at| {
            let start = text[..*at].rfind('"').map_or(0, |s| s + 1);
            is_hex(&text[start..*at])
        })
        .unwrap();
    let digit = if text.as_bytes()[end - 1] == b'0' {
        "1"
    } else {
        "0"
    };
    format!("{}{digit}{}", &text[..end - 1], &text[end..])
}

#[test]
fn one_changed_answer_fails_its_file_and_unknown_or_empty_files_fail() {
    let source = xtask::root().join("spec-vectors");
    for name in [
        "identity",
        "key_schedule",
        "fog",
        "frames",
        "session",
        "noise_xk",
        "x25519_edges",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(source.join(format!("{name}.json"))).unwrap();
        let path = dir.path().join(format!("{name}.json"));
        fs::write(&path, &text).unwrap();
        assert!(vectors::run(dir.path(), &mut |_| {}).unwrap(), "{name}");
        fs::write(&path, change_one_answer(&text)).unwrap();
        assert!(!vectors::run(dir.path(), &mut |_| {}).unwrap(), "{name}");
    }
    let dir = tempfile::tempdir().unwrap();
    assert!(vectors::run(dir.path(), &mut |_| {}).is_err(), "no files");
    fs::write(dir.path().join("stranger.json"), "{\"cases\": []}").unwrap();
    assert!(!vectors::run(dir.path(), &mut |_| {}).unwrap(), "unknown");
    fs::remove_file(dir.path().join("stranger.json")).unwrap();
    fs::write(dir.path().join("identity.json"), "{\"cases\": []}").unwrap();
    assert!(
        !vectors::run(dir.path(), &mut |_| {}).unwrap(),
        "zero cases"
    );
}

/// Changes every text, number and truth value of an answer.
fn change(answer: &mut serde_json::Value) {
    use serde_json::Value;
    match answer {
        Value::Null => *answer = Value::from(1),
        Value::Bool(truth) => *truth = !*truth,
        Value::Number(n) => {
            let other = n
                .as_u64()
                .map_or_else(|| n.as_i64().unwrap().unsigned_abs(), |n| n ^ 1);
            *answer = Value::from(other);
        }
        Value::String(text) => text.push('0'),
        Value::Array(all) if all.is_empty() => all.push(Value::from(1)),
        Value::Array(all) => all.iter_mut().for_each(change),
        Value::Object(all) => all.values_mut().for_each(change),
    }
}

#[test]
fn each_case_of_the_fog_fails_once_its_answer_is_changed() {
    let source = xtask::root().join("spec-vectors/fog.json");
    let text = fs::read_to_string(source).unwrap();
    let mut file: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut count = 0;
    for cases in file["cases"].as_object_mut().unwrap().values_mut() {
        for case in cases.as_array_mut().unwrap() {
            change(&mut case["out"]);
            count += 1;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("fog.json"), file.to_string()).unwrap();
    let mut lines = Vec::new();
    assert!(!vectors::run(dir.path(), &mut |l| lines.push(l)).unwrap());
    assert_eq!(lines[0], format!("fog: 0/{count}"), "{lines:#?}");
}
