//! Chapter 11. A file below lists the kinds of cases that it runs.

mod proofs;
mod read;
mod sequence;
mod tables;
mod wire;

use serde_json::Value;

use super::{Tally, list};

pub(super) fn economy(cases: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    let kinds = [proofs::KINDS, sequence::KINDS, tables::KINDS, wire::KINDS].concat();
    for case in list(cases, "cases")? {
        let name = case["name"].as_str().unwrap_or("a case without a name");
        let kind = case["kind"].as_str().unwrap_or_default();
        match kinds.iter().find(|(k, _)| *k == kind) {
            Some((_, run)) => tally.case(name, run(case, cases)),
            None => tally.case(name, Err("no runner knows this kind".into())),
        }
    }
    Ok(tally)
}
