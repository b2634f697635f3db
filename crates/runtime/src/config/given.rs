//! Settings as files, variables and flags give them, before parsing.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use betanet_carrier::disk;

use super::knob::{Form, Kind, Knob};
use super::{GatewayConfig, Problem};

/// The source and the written key of each setting.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// Source reported for settings that were not given.
    base: String,
    /// Source and written key of each given setting, by name.
    given: BTreeMap<&'static str, (String, String)>,
    /// Names of settings that could not be parsed. These faults are already reported.
    unread: BTreeSet<&'static str>,
}

impl Origins {
    /// Creates the origins of settings that all have one source.
    #[must_use]
    pub fn one(place: impl Into<String>) -> Self {
        Self {
            base: place.into(),
            ..Self::default()
        }
    }

    /// Returns whether the setting was given and could not be parsed.
    #[must_use]
    pub fn is_unread(&self, name: &str) -> bool {
        self.unread.contains(name)
    }

    /// Creates a problem of a setting, with the key as it was written.
    #[must_use]
    pub fn problem(&self, name: &'static str, value: &str, why: String) -> Problem {
        let (origin, key) = match self.given.get(name) {
            Some((place, key)) => (place.clone(), key.clone()),
            None => (self.base.clone(), name.to_owned()),
        };
        Problem {
            origin,
            key: key.into(),
            value: value.to_owned(),
            allowed: why,
        }
    }
}

/// Error of a settings file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not valid TOML.
    #[error("{}: {source}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// The parser's error, with the line.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// One given setting.
#[derive(Clone, Debug)]
struct One {
    place: String,
    key: String,
    texts: Vec<OsString>,
}

/// Given settings, each with its source. A setting that is given again replaces the earlier value.
#[derive(Clone, Debug)]
pub struct Given {
    base: String,
    all: BTreeMap<&'static str, One>,
    problems: Vec<Problem>,
    unread: BTreeSet<&'static str>,
    knobs: Vec<Knob>,
}

/// Parsed settings.
#[derive(Clone, Debug)]
pub struct ReadSettings {
    /// The values, with defaults in place of those that could not be parsed.
    pub config: GatewayConfig,
    /// Their sources.
    pub origins: Origins,
    /// The settings that could not be parsed.
    pub problems: Vec<Problem>,
}

impl Given {
    /// Creates an empty set. A missing required setting is reported at `place`.
    #[must_use]
    pub fn new(place: impl Into<String>) -> Self {
        Self {
            base: place.into(),
            all: BTreeMap::new(),
            problems: Vec::new(),
            unread: BTreeSet::new(),
            knobs: GatewayConfig::knobs(),
        }
    }

    /// Like [`Given::from_file`], for a file that has tables of other parts too. These are passed over.
    ///
    /// # Errors
    ///
    /// See [`Given::from_file`].
    pub fn from_file_beside(path: &Path, others: &[&str]) -> Result<Self, SettingsError> {
        Self::of_file(path, others)
    }

    /// Reads the settings of a TOML file: in the table of their section, or at the top level by their names.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is not TOML. [`Given::read`] reports unknown keys.
    pub fn from_file(path: &Path) -> Result<Self, SettingsError> {
        Self::of_file(path, &[])
    }

    fn of_file(path: &Path, others: &[&str]) -> Result<Self, SettingsError> {
        let text = disk::read_text(path, disk::TEXT_MAX).map_err(|source| SettingsError::File {
            path: path.to_owned(),
            source,
        })?;
        let table: toml::Table = toml::from_str(&text).map_err(|e| SettingsError::Toml {
            path: path.to_owned(),
            source: e.into(),
        })?;
        let mut given = Self::new(path.display().to_string());
        for (key, value) in table {
            match value {
                toml::Value::Table(_) if others.contains(&key.as_str()) => {}
                toml::Value::Table(section) if given.knobs.iter().any(|k| k.table == key) => {
                    for (field, value) in section {
                        let is = |k: &&Knob| k.table == key && k.field == field;
                        let knob = given.knobs.iter().find(is).cloned();
                        let line = line(&text, &field, Some(&key));
                        given.value(line, format!("{key}.{field}"), knob, &value);
                    }
                }
                value => {
                    let knob = given.knobs.iter().find(|k| k.name == key).cloned();
                    let line = line(&text, &key, None);
                    given.value(line, key, knob, &value);
                }
            }
        }
        Ok(given)
    }

    /// Adds a value of a file.
    fn value(&mut self, line: usize, key: String, knob: Option<Knob>, value: &toml::Value) {
        let place = format!("{}: line {line}", self.base);
        let problem = |allowed: String, shown: String| Problem {
            origin: place.clone(),
            key: key.clone().into(),
            value: shown,
            allowed,
        };
        let Some(knob) = knob else {
            let wrong = problem("there is no such setting".into(), value.to_string());
            return self.problems.push(wrong);
        };
        let shown = if knob.secret {
            String::new()
        } else {
            value.to_string()
        };
        if let Some(first) = self.all.get(knob.name) {
            let wrong = problem(format!("{} gives it already", first.key), shown);
            return self.problems.push(wrong);
        }
        match texts(value, &knob) {
            Ok(texts) => {
                self.all.insert(knob.name, One { place, key, texts });
            }
            Err(allowed) => {
                self.unread.insert(knob.name);
                self.problems.push(problem(allowed.into(), shown));
            }
        }
    }

    /// Adds a setting by its name, as a flag or a variable does. A list may be one text with commas.
    pub fn put(
        &mut self,
        name: &str,
        place: impl Into<String>,
        texts: impl IntoIterator<Item = OsString>,
    ) {
        let Some(knob) = self.knobs.iter().find(|k| k.name == name) else {
            return;
        };
        let split = |text: OsString| match text.to_str() {
            Some(list) if knob.kind == Kind::Many => list.split(',').map(OsString::from).collect(),
            _ => vec![text],
        };
        let one = One {
            place: place.into(),
            key: name.to_owned(),
            texts: texts.into_iter().flat_map(split).collect(),
        };
        self.unread.remove(knob.name);
        self.all.insert(knob.name, one);
    }

    /// Returns the texts of a setting as they were given; none if it was not.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<String> {
        let one = self.all.get(name);
        let texts = one.into_iter().flat_map(|one| &one.texts);
        texts.map(|text| text.to_string_lossy().into()).collect()
    }

    /// Puts other texts in place of those of a given setting. Its source stays.
    pub fn change(&mut self, name: &str, texts: impl IntoIterator<Item = OsString>) {
        if let Some(one) = self.all.get_mut(name) {
            one.texts = texts.into_iter().collect();
        }
    }

    /// Returns whether a setting was given.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.all.contains_key(name)
    }

    /// Parses all given settings.
    #[must_use]
    pub fn read(mut self) -> ReadSettings {
        let mut config = GatewayConfig::default();
        let mut origins = Origins::one(self.base);
        origins.unread = self.unread;
        for (name, One { place, key, texts }) in self.all {
            origins.given.insert(name, (place, key));
            if let Some(Err(allowed)) = config.set(name, &texts) {
                let secret = self.knobs.iter().any(|k| k.name == name && k.secret);
                let texts: Vec<_> = texts.iter().map(|t| t.display().to_string()).collect();
                let shown = if secret {
                    String::new()
                } else {
                    texts.join(", ")
                };
                let problem = origins.problem(name, &shown, allowed.into_owned());
                self.problems.push(problem);
                origins.unread.insert(name);
            }
        }
        config.listener.normalize();
        if let Some(state) = config.node.state.clone()
            && config.node.key.as_os_str().is_empty()
        {
            config.node.keep_in(state);
        }
        ReadSettings {
            config,
            origins,
            problems: self.problems,
        }
    }
}

/// Converts a TOML value to the texts that a flag would give.
fn texts(value: &toml::Value, knob: &Knob) -> Result<Vec<OsString>, &'static str> {
    let one = |value: &toml::Value| match (value, knob.form) {
        (toml::Value::Boolean(on), Form::Switch) => Ok(on.to_string().into()),
        (toml::Value::Integer(n), Form::Number) => Ok(n.to_string().into()),
        (toml::Value::String(text), Form::Text) => Ok(text.into()),
        (_, Form::Switch) => Err("true or false"),
        (_, Form::Number) => Err("a whole number, without quotes"),
        (_, Form::Text) if knob.kind == Kind::Many => Err("a list of texts in quotes"),
        (_, Form::Text) => Err("a text in quotes"),
    };
    match (value, knob.kind) {
        (toml::Value::Array(list), Kind::Many) => list.iter().map(one).collect(),
        (_, Kind::Many) => Err("a list, in brackets"),
        (value, Kind::Switch | Kind::One) => Ok(vec![one(value)?]),
    }
}

/// Returns the line of a key, from 1. With a table, searches after its heading.
fn line(text: &str, key: &str, table: Option<&str>) -> usize {
    let stands = |line: &str, key: &str| {
        let line = line.trim_start().trim_start_matches(['[', '"', '\'']);
        let rest = line.strip_prefix(key);
        rest.is_some_and(|r| !r.starts_with(|c: char| c.is_alphanumeric() || "_-".contains(c)))
    };
    let head = table.map_or(0, |table| {
        let is = |l: &str| l.trim_start().starts_with('[') && stands(l, table);
        text.lines().position(is).map_or(0, |n| n + 1)
    });
    let mut behind = text.lines().skip(head);
    behind
        .position(|l| stands(l, key))
        .map_or(1, |n| head + n + 1)
}
