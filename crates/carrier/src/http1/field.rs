//! A header line, parsed byte by byte with the imitated server's rules.

/// The header line is malformed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BadField;

/// The item that a byte completed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// A field: its name in lower case, its value without surrounding blanks.
    Field(Vec<u8>, Vec<u8>),
    /// A line with an invalid character in its name: it is skipped.
    Dropped,
    /// The end of the header section.
    Head,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum At {
    #[default]
    Start,
    Name,
    BeforeValue,
    Value,
    AfterValue,
    AlmostDone,
    HeadAlmostDone,
}

/// Parser of header lines.
#[derive(Debug, Default)]
pub(crate) struct FieldParser {
    at: At,
    name: Vec<u8>,
    value: Vec<u8>,
    /// Number of blanks that belong to the value if it continues.
    blanks: usize,
    dropped: bool,
    len: usize,
}

impl FieldParser {
    /// Whether the parser stands between two lines.
    pub(crate) fn is_fresh(&self) -> bool {
        self.at == At::Start
    }

    /// Length of the line so far.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Takes a byte.
    pub(crate) fn feed(&mut self, b: u8) -> Result<Option<Ended>, BadField> {
        self.len += 1;
        self.at = match (self.at, b) {
            (At::Start, b'\r') => At::HeadAlmostDone,
            (At::Start, b'\n') | (At::HeadAlmostDone, b'\n') => {
                *self = Self::default();
                return Ok(Some(Ended::Head));
            }
            (At::HeadAlmostDone, _) => return Err(BadField),
            (At::Start, b':') => return Err(BadField),
            (At::Name, b':') => At::BeforeValue,
            (At::Name | At::BeforeValue | At::Value | At::AfterValue, b'\r') => At::AlmostDone,
            (At::AlmostDone, b'\r') => At::AlmostDone,
            (At::Name | At::BeforeValue | At::Value | At::AfterValue | At::AlmostDone, b'\n') => {
                return Ok(Some(self.done()));
            }
            (At::AlmostDone, _) => return Err(BadField),
            (At::Start | At::Name, b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') => {
                self.name.push(b.to_ascii_lowercase());
                At::Name
            }
            (At::Start | At::Name, 0..=0x20 | 0x7f) => return Err(BadField),
            (At::Start | At::Name, _) => {
                self.dropped = true;
                At::Name
            }
            (_, 0) => return Err(BadField),
            (At::BeforeValue, b' ') => At::BeforeValue,
            (At::Value | At::AfterValue, b' ') => {
                self.blanks += 1;
                At::AfterValue
            }
            (At::BeforeValue | At::Value | At::AfterValue, _) => {
                let len = self.value.len() + std::mem::take(&mut self.blanks);
                self.value.resize(len, b' ');
                self.value.push(b);
                At::Value
            }
        };
        Ok(None)
    }

    fn done(&mut self) -> Ended {
        let Self {
            name,
            value,
            dropped,
            ..
        } = std::mem::take(self);
        if dropped {
            return Ended::Dropped;
        }
        Ended::Field(name, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Vec<Ended>, BadField> {
        let mut parser = FieldParser::default();
        let mut all = Vec::new();
        for b in bytes {
            all.extend(parser.feed(*b)?);
        }
        Ok(all)
    }

    fn field(name: &str, value: &str) -> Ended {
        Ended::Field(name.into(), value.into())
    }

    #[test]
    fn lines_are_taken_as_nginx_takes_them() {
        for (text, want) in [
            ("Host: a\r\n", field("host", "a")),
            ("HOST:   a b  \n", field("host", "a b")),
            ("x:\r\n", field("x", "")),
            ("x\n", field("x", "")),
            ("x: \ta\t\r\r\n", field("x", "\ta\t")),
            ("x_y: 1\r\n", Ended::Dropped),
            ("x\u{e4}(): 1\r\n", Ended::Dropped),
            ("x: \u{1}\u{7f}\r\n", field("x", "\u{1}\u{7f}")),
            ("\r\n", Ended::Head),
            ("\n", Ended::Head),
        ] {
            assert_eq!(read(text.as_bytes()), Ok(vec![want]), "{text:?}");
        }
        for text in [
            " x: 1\r\n",
            ": 1\r\n",
            "x y: 1\r\n",
            "x : 1\r\n",
            "x: \0\r\n",
            "x: a\0\r\n",
            "x: a\rb\r\n",
            "\rx",
            "\tx",
        ] {
            assert_eq!(read(text.as_bytes()), Err(BadField), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_hurt(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn plain_fields_come_back(name in "[a-zA-Z0-9-]{1,20}", value in "([!-~]([ -~]{0,20}[!-~])?)?") {
            let text = format!("{name}: {value}\r\n");
            prop_assert_eq!(read(text.as_bytes()), Ok(vec![field(&name.to_lowercase(), &value)]));
        }
    }
}
