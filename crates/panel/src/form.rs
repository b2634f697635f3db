//! Fields of queries, forms and JSON bodies: bounded, each once, none unknown.

use serde_json::Value;
use zeroize::Zeroize as _;

use crate::fault::Fault;

/// Longest query of a request.
pub(crate) const QUERY_MAX: usize = 4096;
/// Most fields of a query or a form.
pub(crate) const FIELDS_MAX: usize = 64;

/// Fields by name, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Drop for Fields {
    /// Wipes the values, which may be passwords.
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|(_, v)| v.zeroize());
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

    /// Reads the members of a JSON object. Numbers, booleans and lists of texts become texts.
    pub(crate) fn of_json(value: &Value) -> Result<Self, Fault> {
        let object = value.as_object().ok_or(Fault::Field("body"))?;
        let mut fields = Self::default();
        for (name, value) in object {
            let text = match value {
                Value::Null => continue,
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                Value::Array(items) => {
                    let texts = items.iter().map(Value::as_str);
                    let texts: Option<Vec<&str>> = texts.collect();
                    texts.ok_or(Fault::Field("body"))?.join("\n")
                }
                Value::Object(_) => return Err(Fault::Field("body")),
            };
            fields.add(name.clone(), text)?;
        }
        Ok(fields)
    }

    /// Adds a field.
    pub(crate) fn add(&mut self, name: String, value: String) -> Result<(), Fault> {
        if self.0.len() >= FIELDS_MAX || self.0.iter().any(|(n, _)| *n == name) {
            return Err(Fault::Field("body"));
        }
        self.0.push((name, value));
        Ok(())
    }

    /// Refuses fields that nobody reads.
    pub(crate) fn only(&self, known: &[&str]) -> Result<(), Fault> {
        let unknown = self.0.iter().any(|(n, _)| !known.contains(&n.as_str()));
        match unknown {
            true => Err(Fault::UnknownField),
            false => Ok(()),
        }
    }

    /// A field's text without surrounding spaces; empty if it is missing.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// A field's text as it came, such as a password.
    pub(crate) fn raw(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, v)| v.as_str())
    }

    /// A number, or the default for an empty field.
    pub(crate) fn number(&self, name: &'static str, default: u64) -> Result<u64, Fault> {
        match self.get(name) {
            "" => Ok(default),
            text => text.parse().map_err(|_| Fault::Field(name)),
        }
    }

    /// The fields but one.
    pub(crate) fn without(&self, name: &str) -> Self {
        let others = self.0.iter().filter(|(n, _)| n != name);
        Self(others.cloned().collect())
    }

    /// The query with one field replaced, for links.
    pub(crate) fn with(&self, name: &str, value: &str) -> String {
        let mut out = form_urlencoded::Serializer::new(String::new());
        for (n, v) in self.0.iter().filter(|(n, v)| n != name && !v.is_empty()) {
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
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_bounded_unique_and_known() {
        let fields = Fields::read(b"a=1&b=%3Cx%3E&c=+y+").unwrap();
        assert_eq!((fields.get("b"), fields.get("c")), ("<x>", "y"));
        assert_eq!(fields.raw("c"), " y ");
        assert_eq!(fields.number("a", 0).unwrap(), 1);
        assert_eq!(fields.number("z", 7).unwrap(), 7);
        assert!(fields.number("b", 0).is_err());
        assert!(fields.only(&["a", "b", "c"]).is_ok());
        assert!(fields.only(&["a", "b"]).is_err());
        assert_eq!(fields.with("b", ""), "?a=1&c=+y+");
        assert!(Fields::read(b"a=1&a=2").is_err());
        let many: Vec<String> = (0..=FIELDS_MAX).map(|n| format!("f{n}=")).collect();
        assert!(Fields::read(many.join("&").as_bytes()).is_err());
        let json = Fields::of_json(&json!({"n": 5, "args": ["x", "y"], "no": null})).unwrap();
        assert_eq!((json.get("n"), json.get("args")), ("5", "x\ny"));
        assert!(Fields::of_json(&json!({"o": {}})).is_err());
        assert!(Fields::of_json(&json!([1])).is_err());
    }
}
