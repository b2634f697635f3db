//! One flat JSON object of another program, read within bounds. Nested values are checked and passed over.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

/// Most members of the object.
const MEMBERS_MAX: usize = 32;
/// Deepest nesting of a value that is passed over.
const DEPTH_MAX: u8 = 8;

/// A member's value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Value<'a> {
    Text(Cow<'a, str>),
    /// A number without sign, fraction and exponent.
    Number(u64),
    Bool(bool),
    /// Anything else that is JSON.
    Other,
}

/// The members of an object, each name once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Object<'a> {
    /// Reads an object and nothing after it; `None` if it is not JSON, has a name twice, or breaks a bound.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut r = Reader {
            text: core::str::from_utf8(bytes).ok()?,
            at: 0,
        };
        r.space();
        r.eat(b'{')?;
        let mut members: Vec<(Cow<'a, str>, Value<'a>)> = Vec::new();
        r.items(b'}', |r| {
            let name = r.string()?;
            if members.len() >= MEMBERS_MAX || members.iter().any(|(n, _)| *n == name) {
                return None;
            }
            r.space();
            r.eat(b':')?;
            r.space();
            let value = r.value(DEPTH_MAX)?;
            members.push((name, value));
            Some(())
        })?;
        r.space();
        (r.at == r.text.len()).then_some(Self(members))
    }

    fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            Value::Number(n) => Some(*n),
            _ => None,
        }
    }

    /// A flag that may be missing, and is then false; `None` for another type.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name) {
            None => Some(false),
            Some(Value::Bool(flag)) => Some(*flag),
            Some(_) => None,
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let here = self.text.as_bytes().get(self.at..)?;
        here.starts_with(word.as_bytes())
            .then(|| self.at += word.len())
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn items(&mut self, end: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.space();
        if self.eat(end).is_some() {
            return Some(());
        }
        loop {
            self.space();
            item(self)?;
            self.space();
            if self.eat(end).is_some() {
                return Some(());
            }
            self.eat(b',')?;
        }
    }

    fn value(&mut self, depth: u8) -> Option<Value<'a>> {
        match self.peek()? {
            b'"' => self.string().map(Value::Text),
            b't' => self.word("true").map(|()| Value::Bool(true)),
            b'f' => self.word("false").map(|()| Value::Bool(false)),
            b'n' => self.word("null").map(|()| Value::Other),
            b'{' => {
                let depth = depth.checked_sub(1)?;
                self.eat(b'{')?;
                self.items(b'}', |r| {
                    r.string()?;
                    r.space();
                    r.eat(b':')?;
                    r.space();
                    r.value(depth).map(drop)
                })?;
                Some(Value::Other)
            }
            b'[' => {
                let depth = depth.checked_sub(1)?;
                self.eat(b'[')?;
                self.items(b']', |r| r.value(depth).map(drop))?;
                Some(Value::Other)
            }
            _ => self.number(),
        }
    }

    fn digits(&mut self) -> Option<&'a str> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then(|| &self.text[start..self.at])
    }

    fn number(&mut self) -> Option<Value<'a>> {
        let negative = self.eat(b'-').is_some();
        let whole = self.digits()?;
        if whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        let mut plain = !negative;
        if self.eat(b'.').is_some() {
            self.digits()?;
            plain = false;
        }
        if self.eat(b'e').or_else(|| self.eat(b'E')).is_some() {
            let _ = self.eat(b'+').or_else(|| self.eat(b'-'));
            self.digits()?;
            plain = false;
        }
        let number = whole.parse().ok().filter(|_| plain);
        Some(number.map_or(Value::Other, Value::Number))
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        self.eat(b'"')?;
        let start = self.at;
        let mut owned: Option<String> = None;
        let mut from = start;
        loop {
            match self.peek()? {
                b'"' => {
                    let rest = &self.text[from..self.at];
                    self.at += 1;
                    return Some(match owned {
                        None => Cow::Borrowed(rest),
                        Some(mut text) => {
                            text.push_str(rest);
                            Cow::Owned(text)
                        }
                    });
                }
                b'\\' => {
                    let text = owned.get_or_insert_default();
                    text.push_str(&self.text[from..self.at]);
                    self.at += 1;
                    let c = self.escape()?;
                    if let Some(text) = &mut owned {
                        text.push(c);
                    }
                    from = self.at;
                }
                0..0x20 => return None,
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let byte = self.peek()?;
        self.at += 1;
        Some(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.hex()?;
                if !(0xd800..0xdc00).contains(&high) {
                    return char::from_u32(high);
                }
                self.word("\\u")?;
                let low = self.hex()?;
                if !(0xdc00..0xe000).contains(&low) {
                    return None;
                }
                return char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00));
            }
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4)?;
        self.at += 4;
        digits
            .iter()
            .try_fold(0, |n, d| Some(n << 4 | char::from(*d).to_digit(16)?))
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn good(text: &str) -> Object<'_> {
        Object::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn members_are_read_by_type() {
        let text = r#" { "a" : "x\"\u00e9\ud83d\ude00\n/" , "n":18446744073709551615,"t":true,
            "o":{"q":[1,-2.5e+3,null,{}]},"big":18446744073709551616,"neg":-1,"zero":0} "#;
        let o = good(text);
        assert_eq!(o.text("a"), Some("x\"é😀\n/"));
        assert_eq!(o.number("n"), Some(u64::MAX));
        assert_eq!(
            (o.number("big"), o.number("neg"), o.number("zero")),
            (None, None, Some(0))
        );
        assert_eq!(
            (o.flag("t"), o.flag("none"), o.flag("a")),
            (Some(true), Some(false), None)
        );
        assert_eq!(
            (o.text("n"), o.number("a"), o.text("o")),
            (None, None, None)
        );
        assert_eq!(good("{}"), Object(Vec::new()));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "[]",
            "1",
            "{",
            "{}x",
            "{\"a\":1,}",
            "{,}",
            "{\"a\"}",
            "{a:1}",
            "{\"a\":01}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":1e}",
            "{\"a\":+1}",
            "{\"a\":tru}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\ud800\\u0041\"}",
            "{\"a\":\"\\udc00\"}",
            "{\"a\":\"\\u00g0\"}",
            "{\"a\":1,\"a\":2}",
            "{\"a\":1,\"\\u0061\":2}",
            "{\"a\":\"x}",
            "{\"a\":NaN}",
        ] {
            assert_eq!(Object::read(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Object::read(b"{\"a\":\"\xff\"}"), None);
        let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(Object::read(nested(8).as_bytes()).is_some());
        assert!(Object::read(nested(9).as_bytes()).is_none());
        assert!(Object::read(nested(100_000).as_bytes()).is_none());
        let wide = |n: usize| {
            let members: Vec<String> = (0..n).map(|i| format!("\"{i}\":{i}")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(Object::read(wide(MEMBERS_MAX).as_bytes()).is_some());
        assert!(Object::read(wide(MEMBERS_MAX + 1).as_bytes()).is_none());
    }
}
