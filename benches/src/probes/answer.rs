//! What is seen of an answer: named fields, which are compared one by one.

use std::time::Duration;

/// One probe's answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) fields: Vec<(String, String)>,
    pub(super) took: Duration,
}

impl Answer {
    pub(super) fn note(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.fields.push((name.into(), value.into()));
    }

    /// Adds to a field, which is made where it is not there.
    pub(super) fn append(&mut self, name: &str, value: &str) {
        match self.fields.iter_mut().find(|(n, _)| n == name) {
            Some((_, before)) => {
                before.push(' ');
                before.push_str(value);
            }
            None => self.note(name, value),
        }
    }
}

/// A short number for a body.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A body as a field's value: its text where it is short and text, else its length and digest.
pub(super) fn body(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.len() < 1000 => format!("{} bytes {text:?}", bytes.len()),
        _ => format!("{} bytes, digest {:016x}", bytes.len(), digest(bytes)),
    }
}

/// Stands for the server's port in a field's value.
pub(super) const PORT: &str = "PORT";

/// A header field's value without what is another each time: dates of now, ports, boundaries.
pub(super) fn value(name: &str, value: &str, port: u16) -> String {
    if name.eq_ignore_ascii_case("date") {
        let shape = value.len() == 29 && value.ends_with(" GMT");
        return if shape { "DATE" } else { value }.to_owned();
    }
    value.replace(&port.to_string(), PORT)
}
