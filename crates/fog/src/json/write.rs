use alloc::format;
use alloc::string::String;

use betanet_wire::cbor::{Error, Kind, Reader};
use betanet_wire::text;

use super::TEXT_FROM;
use crate::Shape;
use crate::shape::{compare, tag_of};

/// Appends the next item as JSON. The reader's item was checked against the shape.
pub(super) fn value(r: &mut Reader<'_>, shape: &Shape, out: &mut String) -> Result<(), Error> {
    match shape {
        Shape::Unsigned | Shape::Integer | Shape::NumberOrText => match r.kind()? {
            Kind::Text => quoted(r.text()?, out),
            Kind::Negative => {
                let n = r.negative()?;
                number(n.saturating_add(1), true, true, out);
            }
            _ => number(
                r.unsigned()?,
                false,
                !matches!(shape, Shape::NumberOrText),
                out,
            ),
        },
        Shape::Bool => out.push_str(if r.boolean()? { "true" } else { "false" }),
        Shape::Text | Shape::Word | Shape::Choice(_) => quoted(r.text()?, out),
        Shape::Bytes(_) | Shape::Optional(_) => quoted(&text::hex(r.bytes()?), out),
        Shape::List(item, _) => {
            let n = r.array()?;
            sequence(n, out, |out| value(r, item, out))?;
            r.leave();
        }
        Shape::Tuple(items) => {
            let n = r.array()?;
            let mut shapes = items.iter();
            sequence(n, out, |out| match shapes.next() {
                Some(item) => value(r, item, out),
                None => r.skip().map(drop),
            })?;
            r.leave();
        }
        Shape::Map(_, values) => {
            out.push('{');
            for i in 0..r.map()? {
                comma(i, out);
                quoted(r.text()?, out);
                out.push(':');
                value(r, values, out)?;
            }
            r.leave();
            out.push('}');
        }
        Shape::Record(fields) => record(r, fields, out)?,
        Shape::Tagged(tag, choices) => {
            let word = tag_of(&mut r.clone(), tag, "").unwrap_or_default();
            match choices.iter().find(|(w, _)| *w == word) {
                Some((_, chosen)) => value(r, chosen, out)?,
                None => {
                    r.skip()?;
                    out.push_str("null");
                }
            }
        }
    }
    Ok(())
}

fn comma(i: usize, out: &mut String) {
    if i > 0 {
        out.push(',');
    }
}

fn sequence(
    n: usize,
    out: &mut String,
    mut item: impl FnMut(&mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    out.push('[');
    for i in 0..n {
        comma(i, out);
        item(out)?;
    }
    out.push(']');
    Ok(())
}

fn record(r: &mut Reader<'_>, fields: &[(&str, &Shape)], out: &mut String) -> Result<(), Error> {
    out.push('{');
    let mut shown = 0;
    for _ in 0..r.map()? {
        let raw = r.skip()?;
        match fields.iter().find(|(key, _)| compare(raw, key).is_eq()) {
            Some((key, shape)) => {
                comma(shown, out);
                shown += 1;
                quoted(key, out);
                out.push(':');
                value(r, shape, out)?;
            }
            None => drop(r.skip()?),
        }
    }
    r.leave();
    out.push('}');
    Ok(())
}

fn number(n: u64, negative: bool, long_is_text: bool, out: &mut String) {
    let sign = if negative { "-" } else { "" };
    let text = if n >= TEXT_FROM && long_is_text {
        format!("\"{sign}{n}\"")
    } else {
        format!("{sign}{n}")
    };
    out.push_str(&text);
}

fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
