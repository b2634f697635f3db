//! The known answers of the fog that concern the scheduler.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

#[path = "../../../xtask/src/vectors/fog/lease.rs"]
mod lease;
#[path = "../../../xtask/src/vectors/fog/money.rs"]
mod money;
#[path = "../../../xtask/src/vectors/fog/place.rs"]
mod place;
#[path = "../../../xtask/src/vectors/fog/read.rs"]
mod read;

use serde_json::Value;

fn run(kind: &str, runner: fn(&Value) -> read::Outcome) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec-vectors/fog.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = file["cases"][kind].as_array().unwrap();
    assert!(!cases.is_empty());
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| Some(format!("{}: {}", case["name"], runner(case).err()?)))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn placement() {
    run("place", place::run);
    run("queue", lease::queue);
}

#[test]
fn money() {
    run("demand", money::demand);
    run("cost", money::cost);
    run("auction", money::auction);
    run("reveal", money::reveal);
    run("credit", money::credit);
}

#[test]
fn leases() {
    run("retry", lease::retry);
    run("beat", lease::beat);
    run("lease", lease::lease);
    run("brake", lease::zones);
    run("spot", lease::spot);
    run("trust", lease::trust);
}
