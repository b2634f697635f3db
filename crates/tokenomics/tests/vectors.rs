//! The known answers of the chapter.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test stops where it is surprised"
)]

#[path = "../../../xtask/src/vectors/economy/proofs.rs"]
mod proofs;
#[path = "../../../xtask/src/vectors/economy/read.rs"]
mod read;
#[path = "../../../xtask/src/vectors/economy/sequence.rs"]
mod sequence;
#[path = "../../../xtask/src/vectors/economy/tables.rs"]
mod tables;
#[path = "../../../xtask/src/vectors/economy/wire.rs"]
mod wire;

use serde_json::Value;

#[test]
fn every_known_answer_is_given() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../spec-vectors/economy.json"
    );
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = &file["cases"];
    let kinds = [proofs::KINDS, sequence::KINDS, tables::KINDS, wire::KINDS].concat();
    let mut failures = Vec::new();
    for case in cases.as_array().unwrap() {
        let kind = case["kind"].as_str().unwrap();
        let (_, run) = kinds.iter().find(|(k, _)| *k == kind).unwrap();
        if let Err(why) = run(case, cases) {
            failures.push(format!("{}: {why}", case["name"]));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
