use core::cmp::Ordering;

use betanet_wire::cbor::{self, Kind, Reader};

use crate::{Refusal, RefusalCode, Word};

/// Bound of numbers: the type `u` of the chapter lies below.
pub(crate) const NUMBER_END: u64 = 1 << 63;

/// The types of a record or a body, as data: the first check of received bytes, the JSON form and descriptions are derived from it.
///
/// Bounds on values are no part of it: a priority of 10 has the right type.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// An unsigned number below 2^63.
    Unsigned,
    /// A number from −2^63 to 2^63 − 1.
    Integer,
    /// True or false.
    Bool,
    /// Up to 1 024 bytes of text.
    Text,
    /// Up to 63 letters of a word.
    Word,
    /// One of these words. Another word has the right type and a bad value.
    Choice(&'static [&'static str]),
    /// Bytes: exactly so many, or any number of them.
    Bytes(Option<usize>),
    /// So many bytes, or none. Another length has the right type and a bad value.
    Optional(usize),
    /// Up to so many items of one shape.
    List(&'static Self, usize),
    /// Items of these shapes, in this order.
    Tuple(&'static [Self]),
    /// Up to 64 entries: keys of the first shape, values of the second.
    Map(&'static Self, &'static Self),
    /// A map with these keys, in the order of their encodings. Others are passed over.
    Record(&'static [(&'static str, &'static Self)]),
    /// A number or text.
    NumberOrText,
    /// A record whose shape is chosen by the word under this key.
    Tagged(&'static str, &'static [(&'static str, &'static Self)]),
}

const MAP_MAX: usize = 64;

const fn malformed(key: &'static str) -> Refusal {
    RefusalCode::Malformed.of(key)
}

/// A refusal for bytes that a reader refuses. Only a wrong type is blamed on a key: bytes that are no DET-CBOR have no keys.
pub(crate) const fn refuse(error: cbor::Error, key: &'static str) -> Refusal {
    match error {
        cbor::Error::Type { .. } => malformed(key),
        cbor::Error::Range(_) => malformed(key),
        _ => malformed(""),
    }
}

/// The order of a map key's encoding, relative to that of a text key of under 24 bytes.
pub(crate) fn compare(raw: &[u8], key: &str) -> Ordering {
    let head = u8::try_from(key.len()).map_or(u8::MAX, |n| 0x60 | n);
    match raw.split_first() {
        Some((first, rest)) => first.cmp(&head).then_with(|| rest.cmp(key.as_bytes())),
        None => Ordering::Less,
    }
}

/// Refuses a map key that is not above the one before it.
fn ascend(last: Option<&[u8]>, raw: &[u8]) -> Result<(), Refusal> {
    match last {
        Some(last) if last >= raw => Err(malformed("")),
        _ => Ok(()),
    }
}

impl Shape {
    /// Checks that bytes are one DET-CBOR item of this shape.
    ///
    /// # Errors
    ///
    /// `malformed`, with the innermost key whose value is missing or of the wrong type.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Refusal> {
        let mut r = Reader::new(bytes);
        self.item(&mut r, "")?;
        r.end().map_err(|e| refuse(e, ""))
    }

    /// Checks the next item, which stands under `key`.
    fn item(&self, r: &mut Reader<'_>, key: &'static str) -> Result<(), Refusal> {
        let on = |e| refuse(e, key);
        let good = match self {
            Self::Unsigned => r.unsigned().map_err(on)? < NUMBER_END,
            Self::Integer => {
                let far = match r.kind().map_err(on)? {
                    Kind::Negative => r.negative(),
                    _ => r.unsigned(),
                };
                far.map_err(on)? < NUMBER_END
            }
            Self::Bool => r.boolean().map(|_| true).map_err(on)?,
            Self::Text => r.text().map_err(on)?.len() <= crate::TEXT_MAX,
            Self::Word | Self::Choice(_) => Word::is(r.text().map_err(on)?),
            Self::Optional(_) => r.bytes().map(|_| true).map_err(on)?,
            Self::Bytes(n) => {
                let bytes = r.bytes().map_err(on)?;
                n.is_none_or(|n| bytes.len() == n)
            }
            Self::NumberOrText => match r.kind().map_err(on)? {
                Kind::Text => return Self::Text.item(r, key),
                _ => return Self::Unsigned.item(r, key),
            },
            Self::List(item, most) => {
                let n = r.array().map_err(on)?;
                if n > *most {
                    return Err(malformed(key));
                }
                for _ in 0..n {
                    item.item(r, key)?;
                }
                r.leave();
                true
            }
            Self::Tuple(items) => {
                if r.array().map_err(on)? != items.len() {
                    return Err(malformed(key));
                }
                for item in *items {
                    item.item(r, key)?;
                }
                r.leave();
                true
            }
            Self::Map(keys, values) => return Self::map(keys, values, r, key),
            Self::Record(fields) => return Self::record(fields, r, key),
            Self::Tagged(tag, choices) => {
                let chosen = choose(r, tag, choices, key)?;
                return chosen.item(r, key);
            }
        };
        if good { Ok(()) } else { Err(malformed(key)) }
    }

    fn map(
        keys: &Self,
        values: &Self,
        r: &mut Reader<'_>,
        key: &'static str,
    ) -> Result<(), Refusal> {
        let n = r.map().map_err(|e| refuse(e, key))?;
        if n > MAP_MAX {
            return Err(malformed(key));
        }
        let mut last = None;
        for _ in 0..n {
            let raw = r.clone().skip().map_err(|e| refuse(e, key))?;
            ascend(last, raw)?;
            last = Some(raw);
            keys.item(r, key)?;
            values.item(r, key)?;
        }
        r.leave();
        Ok(())
    }

    fn record(
        fields: &'static [(&'static str, &'static Self)],
        r: &mut Reader<'_>,
        key: &'static str,
    ) -> Result<(), Refusal> {
        let n = r.map().map_err(|e| refuse(e, key))?;
        if n > MAP_MAX {
            return Err(malformed(key));
        }
        let mut last = None;
        let mut wanted = fields.iter();
        let mut next = wanted.next();
        for _ in 0..n {
            let raw = r.skip().map_err(|e| refuse(e, key))?;
            ascend(last, raw)?;
            last = Some(raw);
            match next {
                Some((name, shape)) => match compare(raw, name) {
                    Ordering::Less => drop(r.skip().map_err(|e| refuse(e, ""))?),
                    Ordering::Equal => {
                        shape.item(r, name)?;
                        next = wanted.next();
                    }
                    Ordering::Greater => return Err(malformed(name)),
                },
                None => drop(r.skip().map_err(|e| refuse(e, ""))?),
            }
        }
        r.leave();
        match next {
            Some((name, _)) => Err(malformed(name)),
            None => Ok(()),
        }
    }
}

/// The shape that the word under `tag` chooses. The reader does not move.
fn choose(
    r: &Reader<'_>,
    tag: &'static str,
    choices: &'static [(&'static str, &'static Shape)],
    key: &'static str,
) -> Result<&'static Shape, Refusal> {
    let word = tag_of(&mut r.clone(), tag, key)?;
    choices
        .iter()
        .find(|(w, _)| *w == word)
        .map(|(_, shape)| *shape)
        .ok_or(malformed(tag))
}

/// The text under a key of the map that comes next.
pub(crate) fn tag_of<'a>(
    r: &mut Reader<'a>,
    tag: &'static str,
    key: &'static str,
) -> Result<&'a str, Refusal> {
    let n = r.map().map_err(|e| refuse(e, key))?;
    for _ in 0..n {
        let raw = r.skip().map_err(|e| refuse(e, key))?;
        if compare(raw, tag) == Ordering::Equal {
            return r.text().map_err(|e| refuse(e, tag));
        }
        r.skip().map_err(|e| refuse(e, key))?;
    }
    Err(malformed(tag))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use betanet_wire::cbor::Writer;

    const POINT: Shape = Shape::Record(&[
        ("x", &Shape::Unsigned),
        ("w", &Shape::Word),
        ("by", &Shape::Bytes(Some(2))),
        ("all", &Shape::List(&Shape::Integer, 2)),
    ]);

    fn point(x: u64, w: &str, extra: bool) -> Vec<u8> {
        let mut out = Writer::default();
        out.map(4 + usize::from(extra));
        out.text("w");
        out.text(w);
        out.text("x");
        out.unsigned(x);
        out.text("by");
        out.bytes(&[1, 2]);
        if extra {
            out.text("aaa");
            out.null();
        }
        out.text("all");
        out.array(1);
        out.negative(4);
        out.into_vec()
    }

    #[test]
    fn the_innermost_key_is_blamed_and_unknown_ones_are_passed_over() {
        const SORTED: Shape = Shape::Record(&[
            ("w", &Shape::Word),
            ("x", &Shape::Unsigned),
            ("by", &Shape::Bytes(Some(2))),
            ("all", &Shape::List(&Shape::Integer, 2)),
        ]);
        for extra in [false, true] {
            assert_eq!(SORTED.check(&point(NUMBER_END - 1, "eu", extra)), Ok(()));
        }
        assert_eq!(
            SORTED.check(&point(NUMBER_END, "eu", false)),
            Err(malformed("x"))
        );
        assert_eq!(SORTED.check(&point(1, "EU", false)), Err(malformed("w")));
        // Fields in another order than their encodings are never found.
        assert_eq!(POINT.check(&point(1, "eu", false)), Err(malformed("w")));
        let whole = point(1, "eu", false);
        for end in 0..whole.len() {
            assert!(SORTED.check(&whole[..end]).is_err(), "cut at {end}");
        }
        let mut long = whole;
        long.push(0);
        assert_eq!(SORTED.check(&long), Err(malformed("")));
    }
}
