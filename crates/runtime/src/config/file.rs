//! Settings as a TOML file gives them.

use std::path::Path;

use betanet_carrier::disk;
use serde::Deserialize as _;

use super::{Problem, Settings};

impl Settings {
    /// Reads a TOML file.
    ///
    /// # Errors
    ///
    /// It cannot be read, or holds what it should not; the text says where.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let (settings, problems) = Self::read(path)?;
        if problems.is_empty() {
            return Ok(settings);
        }
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Err(lines.join("\n"))
    }

    /// Reads a TOML file: what of it can be used, and every key that cannot.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not TOML; the text says where.
    pub fn read(path: &Path) -> Result<(Self, Vec<Problem>), String> {
        let text = disk::read_text(path, disk::TEXT_MAX)
            .map_err(|e| format!("{}: {e}", path.display()))?;
        let table: toml::Table =
            toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        let (mut good, mut problems) = (toml::Table::new(), Vec::new());
        for (key, value) in table {
            let one = toml::Table::from_iter([(key.clone(), value.clone())]);
            match Self::deserialize(one) {
                Ok(_) => {
                    good.insert(key, value);
                }
                Err(e) => problems.push(Problem {
                    origin: format!("{}: line {}", path.display(), line(&text, &key)),
                    value: value.to_string(),
                    allowed: match e.message() {
                        m if m.starts_with("unknown field") => "there is no such setting".into(),
                        m => m.into(),
                    },
                    key: key.into(),
                }),
            }
        }
        let settings = Self::deserialize(good).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok((settings, problems))
    }
}

/// The line in which a key of the top level stands, from 1.
fn line(text: &str, key: &str) -> usize {
    let stands = |line: &str| {
        let line = line.trim_start().trim_start_matches(['[', '"', '\'']);
        let rest = line.strip_prefix(key);
        rest.is_some_and(|r| !r.starts_with(|c: char| c.is_alphanumeric() || "_-".contains(c)))
    };
    text.lines().position(stands).map_or(1, |n| n + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_cannot_be_used_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("g.toml");
        let text =
            "quota = 7\nlisen = [\"a:1\"]\n# listen\nlisten = \"a:1\"\npq = 3\n\n[mix]\nx = 1\n";
        std::fs::write(&file, text).unwrap();
        let (settings, problems) = Settings::read(&file).unwrap();
        assert_eq!(settings.quota, Some(7));
        let mut said: Vec<_> = problems
            .iter()
            .map(|p| (p.key.as_ref(), p.origin.as_str()))
            .collect();
        said.sort_by_key(|(_, origin)| *origin);
        let keys: Vec<_> = said.iter().map(|(k, _)| *k).collect();
        assert_eq!(keys, ["lisen", "listen", "pq", "mix"]);
        for ((_, origin), line) in said.iter().zip([2, 4, 5, 7]) {
            assert!(origin.ends_with(&format!("line {line}")), "{origin}");
        }
        assert!(problems.iter().all(|p| !p.allowed.is_empty()));
    }
}
