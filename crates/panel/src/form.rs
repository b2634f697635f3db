//! Fields of queries, forms and JSON bodies: bounded, each once, none unknown.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Number, Value};
use zeroize::Zeroize as _;

use crate::fault::{Fault, Named};

/// Longest query of a request.
pub(crate) const QUERY_MAX: usize = 4096;
/// Most fields of a query or a form.
pub(crate) const FIELDS_MAX: usize = 64;

/// Largest number that programs in all languages read exactly.
pub(crate) const NUMBER_MAX: u64 = (1 << 53) - 1;

/// Type of a member of a JSON body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Text,
    Number,
    Flag,
    List,
    /// No body has it.
    Unknown,
}

/// The type of a member, by its name.
pub(crate) fn kind(name: &str) -> Kind {
    match name {
        "disabled" => Kind::Flag,
        "args" => Kind::List,
        "days" | "hours" | "count" | "priority" | "cpu" | "memory_mib" | "storage_mib" | "fuel"
        | "budget_micro" | "timeout_s" | "deadline_s" | "output_mib" | "retries" => Kind::Number,
        "name" | "password" | "scope" | "refresh_token" | "state" | "kind" | "org" | "ns"
        | "module" | "file" | "format" | "tier" | "level" | "strategy" | "grants" => Kind::Text,
        _ => Kind::Unknown,
    }
}

/// A whole number of JSON, which 5.0 is too.
fn whole(n: &Number) -> Option<u64> {
    let exact = |n: f64| (n.fract() == 0.0).then(|| format!("{n:.0}").parse().ok())?;
    n.as_u64().or_else(|| n.as_f64().and_then(exact))
}

/// The members of a JSON object, in their order and with those that stand twice.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut all = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    all.push(pair);
                    if all.len() > FIELDS_MAX {
                        return Err(A::Error::custom("too many members"));
                    }
                }
                Ok(Members(all))
            }
        }
        from.deserialize_map(Object)
    }
}

/// Fields by name, in their order.
#[derive(Clone, Default)]
pub(crate) struct Fields {
    all: Vec<(String, String)>,
    args: Option<Vec<String>>,
    /// Whether spaces around a text are part of it. People type them into forms, and programs mean what they send.
    exact: bool,
}

impl fmt::Debug for Fields {
    /// The names alone: values may be passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.all.iter().map(|(n, _)| n))
            .finish()
    }
}

impl Drop for Fields {
    /// Wipes the values, which may be passwords.
    fn drop(&mut self) {
        self.all.iter_mut().for_each(|(_, v)| v.zeroize());
    }
}

impl Fields {
    /// Reads fields in the encoding of forms.
    pub(crate) fn read(text: &[u8]) -> Result<Self, Fault> {
        let mut fields = Self::default();
        for (name, value) in form_urlencoded::parse(text) {
            fields.add(name.into_owned(), value.into_owned())?;
        }
        Ok(fields)
    }

    /// Reads a JSON object: each member once and of its own type, so that nothing is guessed at. Numbers and booleans become texts.
    pub(crate) fn of_json(text: &[u8]) -> Result<Self, Fault> {
        let members: Members = serde_json::from_slice(text).map_err(|_| Fault::Field("body"))?;
        let mut fields = Self::default();
        fields.exact = true;
        for (name, value) in members.0 {
            let kind = kind(&name);
            let text = match (kind, value) {
                (Kind::Text | Kind::Unknown, Value::String(text)) => text,
                (Kind::Number, Value::Number(n)) => {
                    whole(&n).ok_or(Fault::Field("body"))?.to_string()
                }
                (Kind::Flag, Value::Bool(flag)) => flag.to_string(),
                (Kind::List, Value::Array(items)) => {
                    let texts = items.into_iter().map(|item| match item {
                        Value::String(text) => Ok(text),
                        _ => Err(Fault::Field("args")),
                    });
                    fields.args = Some(texts.collect::<Result<_, Fault>>()?);
                    String::new()
                }
                // Its name is what is wrong with it.
                (Kind::Unknown, _) => String::new(),
                _ => return Err(Fault::Field("body")),
            };
            fields.add(name, text)?;
        }
        Ok(fields)
    }

    /// The arguments of a task from JSON. A form has one a line instead.
    pub(crate) fn args(&self) -> Option<&[String]> {
        self.args.as_deref()
    }

    /// Whether a field was given, if only an empty one.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.all.iter().any(|(n, _)| n == name)
    }

    /// Adds a field.
    pub(crate) fn add(&mut self, name: String, value: String) -> Result<(), Fault> {
        if self.all.len() >= FIELDS_MAX || self.has(&name) {
            return Err(Fault::Field("body"));
        }
        self.all.push((name, value));
        Ok(())
    }

    /// Refuses fields that nobody reads.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Fault> {
        let mut names = self.all.iter().map(|(n, _)| n.as_str());
        match names.find(|n| !known.contains(n)) {
            Some(name) => Err(Fault::UnknownField(Named::new(name))),
            None => Ok(()),
        }
    }

    /// A field's text, from forms without the spaces around it; empty if it is missing.
    pub(crate) fn get(&self, name: &str) -> &str {
        match self.exact {
            true => self.raw(name),
            false => self.raw(name).trim(),
        }
    }

    /// A field's text as it came, such as a password.
    pub(crate) fn raw(&self, name: &str) -> &str {
        let found = self.all.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, v)| v.as_str())
    }

    /// A number, or the default for an empty field.
    pub(crate) fn number(&self, name: &'static str, default: u64) -> Result<u64, Fault> {
        match self.get(name) {
            "" => Ok(default),
            text => {
                let digits = text.bytes().all(|b| b.is_ascii_digit());
                let n = text.parse().ok().filter(|n| digits && *n <= NUMBER_MAX);
                n.ok_or(Fault::Field(name))
            }
        }
    }

    /// A number of a query, or the default if it is missing. An empty one is no number.
    pub(crate) fn stated(&self, name: &'static str, default: u64) -> Result<u64, Fault> {
        match self.has(name) && self.get(name).is_empty() {
            true => Err(Fault::Field(name)),
            false => self.number(name, default),
        }
    }

    /// The fields but one.
    pub(crate) fn without(&self, name: &str) -> Self {
        let others = self.all.iter().filter(|(n, _)| n != name);
        Self {
            all: others.cloned().collect(),
            args: self.args.clone(),
            exact: self.exact,
        }
    }

    /// The query with one field replaced, for links.
    pub(crate) fn with(&self, name: &str, value: &str) -> String {
        let mut out = form_urlencoded::Serializer::new(String::new());
        for (n, v) in self.all.iter().filter(|(n, v)| n != name && !v.is_empty()) {
            out.append_pair(n, v);
        }
        if !value.is_empty() {
            out.append_pair(name, value);
        }
        format!("?{}", out.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_bounded_unique_and_known() {
        let fields = Fields::read(b"a=1&b=%3Cx%3E&c=+y+").unwrap();
        assert_eq!((fields.get("b"), fields.get("c")), ("<x>", "y"));
        assert_eq!(fields.raw("c"), " y ");
        assert_eq!(fields.number("a", 0).unwrap(), 1);
        assert_eq!(fields.number("z", 7).unwrap(), 7);
        assert!(fields.number("b", 0).is_err());
        for (text, is) in [
            ("9007199254740991", true),
            ("9007199254740992", false),
            ("%2B5", false),
        ] {
            let fields = Fields::read(format!("n={text}").as_bytes()).unwrap();
            assert_eq!(fields.number("n", 0).is_ok(), is, "{text}");
        }
        let empty = Fields::read(b"n=").unwrap();
        assert!(empty.number("n", 0).is_ok() && empty.stated("n", 0).is_err());
        assert_eq!(empty.stated("m", 7).unwrap(), 7);
        assert!(fields.only(&["a", "b", "c"]).is_ok());
        assert!(fields.only(&["a", "b"]).is_err());
        assert_eq!(fields.with("b", ""), "?a=1&c=+y+");
        assert!(Fields::read(b"a=1&a=2").is_err());
        let many: Vec<String> = (0..=FIELDS_MAX).map(|n| format!("f{n}=")).collect();
        assert!(Fields::read(many.join("&").as_bytes()).is_err());
    }

    #[test]
    fn members_of_json_have_one_type_and_stand_once() {
        let read = |text: &str| Fields::of_json(text.as_bytes());
        let fields = read(r#"{"cpu": 5, "args": ["x\ny", ""], "disabled": true}"#).unwrap();
        assert_eq!((fields.get("cpu"), fields.get("disabled")), ("5", "true"));
        assert_eq!(fields.args().unwrap(), ["x\ny", ""]);
        assert!(fields.has("args") && !fields.has("ns"));
        // A number may be written otherwise, and text is what it is.
        let fields = read(r#"{"cpu": 125.0, "ns": " lab"}"#).unwrap();
        assert_eq!((fields.get("cpu"), fields.get("ns")), ("125", " lab"));
        for bad in [
            "[1]",
            "{",
            r#"{"cpu": 1, "cpu": 2}"#,
            r#"{"cpu": "5"}"#,
            r#"{"cpu": -5}"#,
            r#"{"cpu": 1.5}"#,
            r#"{"cpu": 1e30}"#,
            r#"{"ns": 5}"#,
            r#"{"ns": null}"#,
            r#"{"ns": {}}"#,
            r#"{"args": "x"}"#,
            r#"{"args": ["x", 5]}"#,
            r#"{"disabled": "true"}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let unknown = read(r#"{"colour": {}}"#).unwrap();
        assert_eq!(
            unknown.only(&["ns"]),
            Err(Fault::UnknownField(Named::new("colour")))
        );
    }

    #[test]
    fn values_are_not_printed() {
        let fields = Fields::read(b"password=xK9rQ2").unwrap();
        assert_eq!(format!("{fields:?}"), "[\"password\"]");
    }
}
