//! `gateway check` and `mixnode check`: whether a node could start with these settings, without starting it.

use std::path::Path;

use betanet_runtime::{GatewayConfig, Looked, Problem, SettingSource, Settings};
use serde_json::{Value, json};

use super::FLAGS;
use crate::Fail;

/// Checks the settings of a file below those of the command line. `more` says what else a kind of node asks for.
pub(super) fn check(
    flags: Settings,
    file: Option<&Path>,
    as_json: bool,
    more: impl Fn(&Settings) -> Vec<Problem>,
) -> Result<(), Fail> {
    let (settings, origin, mut problems) = match file {
        Some(path) => {
            let (read, problems) = Settings::read(path).map_err(Fail::Usage)?;
            let (settings, origin) = flags.over(read, path);
            (settings, origin, problems)
        }
        None => (flags, SettingSource::One(FLAGS.into()), Vec::new()),
    };
    problems.extend(more(&settings));
    let unread: Vec<_> = problems.iter().map(|p| p.key.clone()).collect();
    let looked = match settings.check(&origin) {
        Ok(config) => GatewayConfig::look(&config, &origin),
        Err(problems) => Looked {
            problems,
            warnings: Vec::new(),
        },
    };
    // What could not be read is not missing besides.
    let rest = looked.problems.into_iter();
    problems.extend(rest.filter(|p| !unread.contains(&p.key)));
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
