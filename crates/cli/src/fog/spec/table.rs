//! Reads a table of values, and collects everything that is wrong with it.

use std::cell::RefCell;

use serde_json::{Map, Value};

/// Longest shown text of a wrong value.
const SHOWN: usize = 60;
/// Most errors that are collected: a generated file may have one in each of many tasks.
const MOST: usize = 1000;

/// A value that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Problem {
    /// Path of the key, such as `task.render.resources.cpu`.
    pub(crate) key: String,
    /// The value as it stands; empty for a missing one.
    pub(crate) value: String,
    /// The values that are allowed.
    pub(crate) allowed: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.value.as_str() {
            "" => write!(f, "{}: {}", self.key, self.allowed),
            value => write!(f, "{} = {value}: {}", self.key, self.allowed),
        }
    }
}

/// The problems of a file so far.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(super) fn add(&self, key: String, value: &str, allowed: impl Into<String>) {
        let mut all = self.0.borrow_mut();
        if all.len() < MOST {
            let value = value.chars().filter(|c| !c.is_control()).take(SHOWN);
            all.push(Problem {
                key,
                value: value.collect(),
                allowed: allowed.into(),
            });
        }
    }

    pub(super) fn count(&self) -> usize {
        self.0.borrow().len()
    }

    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}

/// A table that is being read.
pub(super) struct Table<'a> {
    path: String,
    map: Map<String, Value>,
    /// Keys that were asked for.
    known: Vec<&'static str>,
    problems: &'a Problems,
}

impl<'a> Table<'a> {
    pub(super) const fn new(path: String, map: Map<String, Value>, problems: &'a Problems) -> Self {
        Self {
            path,
            map,
            known: Vec::new(),
            problems,
        }
    }

    /// Path of a key of this table.
    pub(super) fn at(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    pub(super) fn problem(&self, key: &str, value: &str, allowed: impl Into<String>) {
        self.problems.add(self.at(key), value, allowed);
    }

    pub(super) const fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// Whether a key is there that was not taken.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    /// Takes a value.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.map.remove(key)
    }

    /// Takes a value and reads it. A wrong one is a problem, and read as `None`.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        allowed: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.take(key)?;
        let read = read(&value);
        if read.is_none() {
            self.problem(key, &value.to_string(), allowed);
        }
        read
    }

    /// Takes a number within bounds.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        (default, bounds): (u64, std::ops::RangeInclusive<u64>),
        allowed: &str,
        read: impl FnOnce(&Value) -> Option<u64>,
    ) -> u64 {
        let read = |v: &Value| read(v).filter(|n| bounds.contains(n));
        self.read(key, allowed, read).unwrap_or(default)
    }

    /// Takes one of a set of words.
    pub(super) fn word<T: Copy + std::str::FromStr>(
        &mut self,
        key: &'static str,
        default: T,
        words: &[&str],
    ) -> T {
        let allowed = words.join(", ");
        let read = |v: &Value| v.as_str()?.parse().ok();
        self.read(key, &allowed, read).unwrap_or(default)
    }

    /// Takes a table below this one; an empty one if it is missing.
    pub(super) fn table(&mut self, key: &'static str) -> Self {
        let map = self.read(key, "a table", |v| v.as_object().cloned());
        Self::new(self.at(key), map.unwrap_or_default(), self.problems)
    }

    /// Takes a list.
    pub(super) fn list(&mut self, key: &'static str, allowed: &str) -> Vec<Value> {
        let list = self.read(key, allowed, |v| v.as_array().cloned());
        list.unwrap_or_default()
    }

    /// All entries of a table whose keys are names.
    pub(super) fn entries(self) -> impl Iterator<Item = (String, Value)> {
        self.map.into_iter()
    }

    /// Reports keys that nobody asked for.
    pub(super) fn finish(self) {
        for (key, value) in &self.map {
            let known = self.known.join(", ");
            self.problem(
                key,
                &value.to_string(),
                format!("unknown key; keys are {known}"),
            );
        }
    }
}
