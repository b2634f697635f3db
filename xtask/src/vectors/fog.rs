//! Chapter 10. A crate that computes a section's answers adds its cases to [`SECTIONS`].

mod coordinator;
mod money;
mod place;
mod read;
mod records;
mod rules;

use serde_json::Value;

use super::{Tally, list};

type Case = fn(&Value) -> Result<(), String>;

/// The sections that are run, crate by crate.
const SECTIONS: &[&[(&str, Case)]] = &[
    coordinator::SECTIONS,
    records::SECTIONS,
    place::SECTIONS,
    money::SECTIONS,
    rules::SECTIONS,
];

pub(super) fn fog(file: &Value) -> Result<Tally, String> {
    let mut tally = Tally::default();
    for (section, cases) in file.as_object().ok_or("cases: not a map")? {
        let cases = list(cases, section)?;
        let mut runners = SECTIONS.iter().copied().flatten();
        match runners.find(|(name, _)| name == section) {
            Some((_, run)) => {
                for case in cases {
                    tally.case(case["name"].as_str().unwrap_or(section), run(case));
                }
            }
            None => tally.case(section, Err("no runner knows this section".into())),
        }
    }
    Ok(tally)
}
