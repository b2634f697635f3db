//! `gateway check` and `mixnode check`: check whether a node could start with these settings, without starting it.

use std::path::Path;

use betanet_runtime::{Problem, ReadSettings};
use serde_json::{Value, json};

use crate::Fail;

/// Checks parsed settings. `more` returns the additional faults for a kind of node.
pub(crate) fn check(
    read: ReadSettings,
    file: Option<&Path>,
    as_json: bool,
    more: impl Fn(&ReadSettings) -> Vec<Problem>,
) -> Result<(), Fail> {
    let mut problems = more(&read);
    // A setting that could not be parsed does not prevent the check of the others.
    let looked = read.config.look(&read.origins);
    problems.extend(read.problems);
    problems.extend(looked.problems);
    let warnings = looked.warnings;
    if as_json {
        say!(
            "{}",
            json!({
                "ok": problems.is_empty(),
                "problems": problems.iter().map(told).collect::<Vec<_>>(),
                "warnings": warnings.iter().map(told).collect::<Vec<_>>(),
            })
        );
    } else {
        for warning in &warnings {
            note!("warning: {warning}");
        }
    }
    match (problems.len(), file) {
        (0, _) if as_json => Ok(()),
        (0, Some(path)) => {
            say!("{}: a node can start with it", path.display());
            Ok(())
        }
        (0, None) => {
            say!("a node can start with these settings");
            Ok(())
        }
        (n, _) if as_json => Err(Fail::Usage(format!("{n} settings cannot be used"))),
        _ => Err(super::problems(&problems)),
    }
}

fn told(problem: &Problem) -> Value {
    json!({
        "where": problem.origin,
        "key": problem.key,
        "value": problem.value,
        "why": problem.allowed,
    })
}
