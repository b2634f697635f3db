//! Known answers of the sections that the machine decides.

use serde_json::Value;

#[path = "../../../../xtask/src/vectors/fog/coordinator.rs"]
mod coordinator;

fn cases() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec-vectors/fog.json");
    let text = std::fs::read_to_string(path).unwrap();
    let mut file: Value = serde_json::from_str(&text).unwrap();
    file["cases"].take()
}

#[test]
fn every_known_answer_of_the_machine_is_given() {
    let cases = cases();
    for (section, run) in coordinator::SECTIONS {
        let list = cases[section].as_array().unwrap();
        assert!(!list.is_empty());
        for case in list {
            if let Err(why) = run(case) {
                panic!("{}: {why}", case["name"]);
            }
        }
    }
}
