//! The known answers of the chapter that concern the scheduler.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test stops where it is surprised"
)]

#[path = "../../../xtask/src/vectors/fog/money.rs"]
mod money;
#[path = "../../../xtask/src/vectors/fog/place.rs"]
mod place;
#[path = "../../../xtask/src/vectors/fog/read.rs"]
mod read;
#[path = "../../../xtask/src/vectors/fog/rules.rs"]
mod rules;

use serde_json::Value;

#[test]
fn every_known_answer_is_given() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec-vectors/fog.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for (section, run) in [place::SECTIONS, money::SECTIONS, rules::SECTIONS].concat() {
        let cases = file["cases"][section].as_array().unwrap();
        assert!(!cases.is_empty(), "{section}");
        for case in cases {
            run(case).unwrap_or_else(|why| panic!("{}: {why}", case["name"]));
        }
    }
}
