//! Settings as files, variables and flags give them, before they are read.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use betanet_carrier::disk;

use super::knob::{Form, Kind, Knob};
use super::{GatewayConfig, Problem};

/// Where settings came from, and under which keys.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    /// The place of those that nobody gave.
    base: String,
    /// Place and key of those that were given, by name.
    given: BTreeMap<&'static str, (String, String)>,
    /// Names of those that could not be read, which are told already.
    unread: BTreeSet<&'static str>,
}

impl Origins {
    /// All settings come from one place.
    #[must_use]
    pub fn one(place: impl Into<String>) -> Self {
        Self {
            base: place.into(),
            ..Self::default()
        }
    }

    /// Whether the setting was given and could not be read.
    #[must_use]
    pub fn is_unread(&self, name: &str) -> bool {
        self.unread.contains(name)
    }

    /// A problem of a setting, which is named as it was given.
    pub(super) fn problem(&self, name: &'static str, value: &str, why: String) -> Problem {
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

/// A settings file that holds no settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no TOML.
    #[error("{}: {source}", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Why not, and in which line.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A setting as it was given.
#[derive(Clone, Debug)]
struct One {
    place: String,
    key: String,
    texts: Vec<OsString>,
}

/// Settings as they were given, each with its place. A setting that is given again takes the place of the one before.
#[derive(Clone, Debug)]
pub struct Given {
    base: String,
    all: BTreeMap<&'static str, One>,
    problems: Vec<Problem>,
    unread: BTreeSet<&'static str>,
    knobs: Vec<Knob>,
}

/// Settings that were read.
#[derive(Clone, Debug)]
pub struct ReadSettings {
    /// Their values; a default in place of each that could not be read.
    pub config: GatewayConfig,
    /// Where they came from.
    pub origins: Origins,
    /// Those that could not be read.
    pub problems: Vec<Problem>,
}

impl Given {
    /// No settings; one that is needed is missing in `place`.
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

    /// The settings of a TOML file: in the table of their section, or at the top level by their names.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not TOML. A key that is wrong is told by [`Given::read`].
    pub fn from_file(path: &Path) -> Result<Self, SettingsError> {
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

    /// A value of a file.
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

    /// Gives a setting by its name, as a flag or a variable does. A list may stand in one text, with commas.
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

    /// Whether a setting was given.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.all.contains_key(name)
    }

    /// Reads all that was given.
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
        if let Some(state) = &config.node.state
            && config.node.key.as_os_str().is_empty()
        {
            config.node.key = state.join("id.pem");
        }
        ReadSettings {
            config,
            origins,
            problems: self.problems,
        }
    }
}

/// A TOML value as the texts that a flag would give.
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

/// The line in which a key stands, from 1: of a table, behind that one's head.
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
