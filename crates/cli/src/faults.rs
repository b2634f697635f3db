//! Faults of settings, collected so that all are reported at once.

use std::path::Path;

use betanet_runtime::Problem;
use serde::de::DeserializeOwned;

/// The faults of one source.
pub(crate) struct Faults<'a> {
    origin: &'a str,
    pub(crate) found: Vec<Problem>,
}

impl<'a> Faults<'a> {
    /// Collects for a source: a file's path, or the command line.
    pub(crate) const fn of(origin: &'a str) -> Self {
        Self {
            origin,
            found: Vec::new(),
        }
    }

    pub(crate) fn say(&mut self, key: &str, value: &str, allowed: &str) {
        self.found.push(Problem {
            origin: self.origin.to_owned(),
            key: key.to_owned().into(),
            value: value.to_owned(),
            allowed: allowed.to_owned(),
        });
    }
}

/// Reads a TOML file. A fault names its line, and not its text, which may be a secret.
pub(crate) fn read_toml<T: DeserializeOwned>(
    path: &Path,
    table: &'static str,
) -> Result<T, Problem> {
    let problem = |line: Option<usize>, why: &str| Problem {
        origin: match line {
            Some(line) => format!("{}:{line}", path.display()),
            None => path.display().to_string(),
        },
        key: table.into(),
        value: String::new(),
        allowed: why.to_owned(),
    };
    let text = std::fs::read_to_string(path).map_err(|e| problem(None, &e.to_string()))?;
    toml::from_str(&text).map_err(|e| {
        let before = e.span().and_then(|span| text.get(..span.start));
        let line = before.map(|text| text.matches('\n').count() + 1);
        problem(line, e.message())
    })
}
