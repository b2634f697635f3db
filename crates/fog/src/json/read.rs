use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use betanet_wire::cbor::Writer;
use betanet_wire::text;

use super::JsonError;
use crate::Shape;

/// Deepest nesting of a value that is passed over.
const DEPTH: u8 = 16;

/// Reads JSON and writes the DET-CBOR of a shape.
#[derive(Clone, Copy)]
pub(super) struct Parser<'a> {
    text: &'a str,
    at: usize,
}

type Result<T> = core::result::Result<T, JsonError>;
type Fields = &'static [(&'static str, &'static Shape)];

impl<'a> Parser<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn whole(mut self, shape: &Shape) -> Result<Vec<u8>> {
        let mut w = Writer::default();
        self.value(shape, "", &mut w)?;
        self.space();
        if self.at < self.text.len() {
            return Err(JsonError::Syntax(self.at));
        }
        Ok(w.into_vec())
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    /// The next byte after white space, which stays unread.
    fn peek(&mut self) -> Option<u8> {
        self.space();
        self.rest().bytes().next()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let hit = self.peek() == Some(byte);
        self.at += usize::from(hit);
        hit
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.eat(byte) {
            Ok(())
        } else {
            Err(JsonError::Syntax(self.at))
        }
    }

    fn value(&mut self, shape: &Shape, key: &'static str, w: &mut Writer) -> Result<()> {
        let first = self.peek();
        let at = self.at;
        let wrong = JsonError::Shape { key, at };
        match shape {
            Shape::Unsigned | Shape::Integer => self.number(key, w),
            Shape::NumberOrText if first != Some(b'"') => self.number(key, w),
            Shape::Bool => {
                let (word, value) = match first {
                    Some(b't') => ("true", true),
                    _ => ("false", false),
                };
                if !self.rest().starts_with(word) {
                    return Err(wrong);
                }
                self.at += word.len();
                w.boolean(value);
                Ok(())
            }
            Shape::Text
            | Shape::Word
            | Shape::Choice(_)
            | Shape::NumberOrText
            | Shape::Bytes(_)
            | Shape::Optional(_) => {
                if first != Some(b'"') {
                    return Err(wrong);
                }
                let string = self.string()?;
                if matches!(shape, Shape::Bytes(_) | Shape::Optional(_)) {
                    w.bytes(&text::unhex(&string).ok_or(wrong)?);
                } else {
                    w.text(&string);
                }
                Ok(())
            }
            Shape::List(item, most) => {
                let mut items = Writer::default();
                let n = self.items(wrong, |p, n| {
                    if n >= *most {
                        return Err(wrong);
                    }
                    p.value(item, key, &mut items)
                })?;
                w.array(n);
                w.raw(&items.into_vec());
                Ok(())
            }
            Shape::Tuple(shapes) => {
                w.array(shapes.len());
                let n = self.items(wrong, |p, n| match shapes.get(n) {
                    Some(item) => p.value(item, key, w),
                    None => Err(wrong),
                })?;
                if n == shapes.len() {
                    Ok(())
                } else {
                    Err(wrong)
                }
            }
            Shape::Map(_, values) => self.map(values, key, w),
            Shape::Record(fields) => self.record(fields, key, w),
            Shape::Tagged(tag, choices) => {
                let word = self.clone_tag(tag, wrong)?;
                let chosen = choices.iter().find(|(c, _)| *c == word);
                match chosen {
                    Some((_, chosen)) => self.value(chosen, key, w),
                    None => Err(JsonError::Shape { key: tag, at }),
                }
            }
        }
    }

    /// Reads an array item by item and returns the number of items.
    fn items(
        &mut self,
        wrong: JsonError,
        mut item: impl FnMut(&mut Self, usize) -> Result<()>,
    ) -> Result<usize> {
        if !self.eat(b'[') {
            return Err(wrong);
        }
        if self.eat(b']') {
            return Ok(0);
        }
        let mut n = 0;
        loop {
            item(self, n)?;
            n += 1;
            if self.eat(b']') {
                return Ok(n);
            }
            self.expect(b',')?;
        }
    }

    /// Reads an object entry by entry; `entry` gets each key and where it stands.
    fn entries(
        &mut self,
        wrong: JsonError,
        mut entry: impl FnMut(&mut Self, String, usize) -> Result<()>,
    ) -> Result<()> {
        if !self.eat(b'{') {
            return Err(wrong);
        }
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            self.space();
            let at = self.at;
            let key = self.string()?;
            self.expect(b':')?;
            entry(self, key, at)?;
            if self.eat(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    fn map(&mut self, values: &Shape, key: &'static str, w: &mut Writer) -> Result<()> {
        let wrong = JsonError::Shape { key, at: self.at };
        // The order of the encodings: shorter keys first, then by bytes.
        let mut sorted: BTreeMap<(usize, String), Vec<u8>> = BTreeMap::new();
        self.entries(wrong, |p, name, at| {
            if sorted.len() >= 64 {
                return Err(wrong);
            }
            let mut value = Writer::default();
            p.value(values, key, &mut value)?;
            match sorted.insert((name.len(), name), value.into_vec()) {
                None => Ok(()),
                Some(_) => Err(JsonError::DuplicateKey(at)),
            }
        })?;
        w.map(sorted.len());
        for ((_, name), value) in sorted {
            w.text(&name);
            w.raw(&value);
        }
        Ok(())
    }

    fn record(&mut self, fields: Fields, key: &'static str, w: &mut Writer) -> Result<()> {
        let wrong = JsonError::Shape { key, at: self.at };
        let mut found: Vec<Option<Vec<u8>>> = fields.iter().map(|_| None).collect();
        self.entries(wrong, |p, name, at| {
            let index = fields.iter().position(|(f, _)| *f == name);
            let index = index.ok_or(JsonError::UnknownKey(at))?;
            let ((field, shape), slot) = match (fields.get(index), found.get_mut(index)) {
                (Some(field), Some(slot)) => (*field, slot),
                _ => return Err(JsonError::UnknownKey(at)),
            };
            if slot.is_some() {
                return Err(JsonError::DuplicateKey(at));
            }
            let mut value = Writer::default();
            p.value(shape, field, &mut value)?;
            *slot = Some(value.into_vec());
            Ok(())
        })?;
        w.map(fields.len());
        for ((field, _), value) in fields.iter().zip(found) {
            let missing = JsonError::Shape {
                key: field,
                at: self.at,
            };
            w.text(field);
            w.raw(&value.ok_or(missing)?);
        }
        Ok(())
    }

    /// The text under a key of the object that comes next, which stays unread.
    fn clone_tag(&self, tag: &'static str, wrong: JsonError) -> Result<String> {
        let mut ahead = *self;
        let mut word = None;
        ahead.entries(wrong, |p, name, _| {
            if name == tag && p.peek() == Some(b'"') {
                word = Some(p.string()?);
                return Ok(());
            }
            p.skip(DEPTH)
        })?;
        word.ok_or(JsonError::Shape {
            key: tag,
            at: self.at,
        })
    }

    fn skip(&mut self, depth: u8) -> Result<()> {
        let here = JsonError::Syntax(self.at);
        let Some(deeper) = depth.checked_sub(1) else {
            return Err(here);
        };
        match self.peek() {
            Some(b'{') => self.entries(here, |p, _, _| p.skip(deeper)),
            Some(b'[') => self.items(here, |p, _| p.skip(deeper)).map(drop),
            Some(b'"') => self.string().map(drop),
            _ => {
                let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
                let rest = self.rest();
                let n = rest.len() - rest.trim_start_matches(word).len();
                self.at += n;
                if n == 0 { Err(here) } else { Ok(()) }
            }
        }
    }

    /// A number, or one from 2^53 on as text. The shape's own check does the range.
    fn number(&mut self, key: &'static str, w: &mut Writer) -> Result<()> {
        let quoted = self.eat(b'"');
        let at = self.at;
        let wrong = JsonError::Shape { key, at };
        let rest = self.rest();
        let negative = rest.starts_with('-');
        let digits = &rest[usize::from(negative)..];
        let n = digits.len()
            - digits
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .len();
        let (digits, after) = digits.split_at(n);
        let fraction = after.starts_with(['.', 'e', 'E']);
        if fraction || (digits.len() > 1 && digits.starts_with('0')) {
            return Err(wrong);
        }
        let value: u64 = digits.parse().map_err(|_| wrong)?;
        match (negative, value.checked_sub(1)) {
            (false, _) => w.unsigned(value),
            (true, Some(below)) => w.negative(below),
            (true, None) => return Err(wrong),
        }
        self.at = at + usize::from(negative) + n;
        if quoted {
            let closed = self.rest().starts_with('"');
            self.at += usize::from(closed);
            if !closed {
                return Err(wrong);
            }
        }
        Ok(())
    }

    fn string(&mut self) -> Result<String> {
        self.expect(b'"')?;
        let mut out = String::new();
        loop {
            let here = JsonError::Syntax(self.at);
            let mut chars = self.rest().chars();
            let c = chars.next().ok_or(here)?;
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(out),
                '\\' => {
                    let escaped = chars.next().ok_or(here)?;
                    self.at += escaped.len_utf8();
                    out.push(match escaped {
                        '"' | '\\' | '/' => escaped,
                        'b' => '\u{8}',
                        'f' => '\u{c}',
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'u' => self.unicode()?,
                        _ => return Err(here),
                    });
                }
                c if c < ' ' => return Err(here),
                c => out.push(c),
            }
        }
    }

    /// The character of `\uXXXX`, or of two of them.
    fn unicode(&mut self) -> Result<char> {
        let here = JsonError::Syntax(self.at);
        let high = self.hex4()?;
        let code = match high {
            0xd800..=0xdbff => {
                if !self.rest().starts_with("\\u") {
                    return Err(here);
                }
                self.at += 2;
                match self.hex4()? {
                    low @ 0xdc00..=0xdfff => 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00),
                    _ => return Err(here),
                }
            }
            code => code,
        };
        char::from_u32(code).ok_or(here)
    }

    fn hex4(&mut self) -> Result<u32> {
        let here = JsonError::Syntax(self.at);
        let digits = self.rest().get(..4).ok_or(here)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(here);
        }
        self.at += 4;
        u32::from_str_radix(digits, 16).map_err(|_| here)
    }
}
