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

/// Most faults of one table that are looked for.
const FOUND_MAX: usize = 32;

impl Faults<'_> {
    /// Reads the tables of a TOML file that `T` names; `table` is the one to blame. Keys whose values do not fit are reported, and
    /// left out, so that the others are checked too. A fault names its line, and not its text, which may be a secret.
    pub(crate) fn table<T: DeserializeOwned + Default>(
        &mut self,
        file: Option<&Path>,
        table: &str,
    ) -> T {
        let Some(path) = file else {
            return T::default();
        };
        let mut text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) => {
                self.of_line(path, None, table, &e.to_string());
                return T::default();
            }
        };
        let (mut told, mut value) = (Vec::new(), None);
        for _ in 0..FOUND_MAX {
            let error = match toml::from_str(&text) {
                Ok(read) => {
                    value = Some(read);
                    break;
                }
                Err(error) => error,
            };
            let span = error.span();
            let before = span.as_ref().and_then(|span| text.get(..span.start));
            let line = before.map(|text| text.matches('\n').count() + 1);
            told.push((line, error.message().to_owned()));
            let Some(rest) = span.and_then(|span| without(&text, span)) else {
                break;
            };
            text = rest;
        }
        told.sort();
        for (line, why) in told {
            self.of_line(path, line, table, &why);
        }
        value.unwrap_or_default()
    }

    fn of_line(&mut self, path: &Path, line: Option<usize>, key: &str, why: &str) {
        self.found.push(Problem {
            origin: match line {
                Some(line) => format!("{}:{line}", path.display()),
                None => path.display().to_string(),
            },
            key: key.to_owned().into(),
            value: String::new(),
            allowed: why.to_owned(),
        });
    }
}

/// A TOML text without the lines that a span touches, if it still is one and is shorter.
fn without(text: &str, span: std::ops::Range<usize>) -> Option<String> {
    let start = text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
    let end = span.end.max(span.start);
    let end = text
        .get(end..)?
        .find('\n')
        .map_or(text.len(), |at| end + at);
    let lines = text.get(start..end)?;
    if lines.trim().is_empty() {
        return None;
    }
    // The other lines keep their numbers.
    let blank = "\n".repeat(lines.matches('\n').count());
    let rest = format!("{}{blank}{}", text.get(..start)?, text.get(end..)?);
    rest.parse::<toml::Table>().is_ok().then_some(rest)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct File {
        fog: Table,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Table {
        floor: Option<u64>,
        operators: Vec<String>,
        nodes: Option<u64>,
    }

    fn read(text: &str) -> (File, Vec<String>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut faults = Faults::of("x");
        let read = faults.table(Some(file.path()), "fog");
        let name = file.path().display().to_string();
        let found = faults.found.iter();
        let found = found.map(|f| f.to_string().replace(&name, "F")).collect();
        (read, found)
    }

    #[test]
    fn each_value_that_does_not_fit_is_told_with_its_line() {
        let (read, found) = read(
            "# settings\n[fog]\nfloor = \"much\"\nsecret = \"hunter2\"\noperators = [\n  1,\n]\nnodes = 7\n",
        );
        assert_eq!(read.fog.nodes, Some(7));
        assert!(read.fog.floor.is_none() && read.fog.operators.is_empty());
        // Of a list over several lines, only the wrong line can be left out.
        assert_eq!(found.len(), 3, "{found:?}");
        for (n, line) in [3, 4, 6].into_iter().enumerate() {
            assert!(found[n].contains(&format!("F:{line}")), "{found:?}");
        }
        assert!(!found.iter().any(|f| f.contains("hunter2")), "{found:?}");
    }

    #[test]
    fn a_file_that_is_no_toml_ends_with_one_fault() {
        let (_, found) = read("[fog\nfloor = 1\n");
        assert_eq!(found.len(), 1, "{found:?}");
        let (_, found) = read("fog = 3\n[[x]]\n");
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
