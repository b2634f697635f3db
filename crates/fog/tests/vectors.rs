//! The known answers of the chapter that concern records.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test stops where it is surprised"
)]

#[path = "../../../xtask/src/vectors/fog/records.rs"]
mod records;

use serde_json::Value;

fn file() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec-vectors/fog.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn every_known_answer_is_given() {
    let file = file();
    for (section, run) in records::SECTIONS {
        let cases = file["cases"][section].as_array().unwrap();
        assert!(!cases.is_empty(), "{section}");
        for case in cases {
            run(case).unwrap_or_else(|why| panic!("{}: {why}", case["name"]));
        }
    }
}
