//! Parses the requested byte ranges of a file (RFC 9110 §14.2) as the imitated server does.

use std::collections::VecDeque;

use http::header;

use super::asked::Asked;
use super::time;

/// Maximum number of ranges in an answer; if more are requested, the whole file is sent.
const MOST: usize = 128;

#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Wanted {
    All,
    /// Start and end offset of each range; the end is exclusive.
    Some(VecDeque<(u64, u64)>),
    /// No satisfiable range.
    None,
}

pub(crate) fn wanted(asked: &Asked, etag: &[u8], modified: u64, len: u64) -> Wanted {
    let Some(range) = asked
        .field(&header::RANGE)
        .filter(|_| asked.version >= 1000)
    else {
        return Wanted::All;
    };
    let Some((unit, list)) = range
        .split_at_checked(6)
        .filter(|(_, list)| !list.is_empty())
    else {
        return Wanted::All;
    };
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return Wanted::All;
    }
    let holds = match asked.field(&header::IF_RANGE) {
        None => true,
        Some(tag) if tag.len() >= 2 && tag.ends_with(b"\"") => tag == etag,
        Some(date) => time::seconds(date) == Some(modified),
    };
    if holds { parse(list, len) } else { Wanted::All }
}

fn parse(list: &[u8], len: u64) -> Wanted {
    let mut ranges = VecDeque::new();
    let mut sum = 0_u64;
    let mut rest = list;
    loop {
        let Some((found, after)) = one(rest, len) else {
            return Wanted::None;
        };
        match found {
            (from, to) if from < to => {
                sum = sum.saturating_add(to - from);
                if ranges.len() == MOST {
                    return Wanted::All;
                }
                ranges.push_back((from, to));
            }
            (0, _) => return Wanted::All,
            _ => {}
        }
        match after {
            Some(after) => rest = after,
            None => break,
        }
    }
    if ranges.is_empty() {
        return Wanted::None;
    }
    if sum > len {
        return Wanted::All;
    }
    Wanted::Some(ranges)
}

/// Start and exclusive end, and the rest of the field if it continues.
type One<'a> = ((u64, u64), Option<&'a [u8]>);

/// Parses a range and returns the rest; `None` if it is invalid.
fn one(text: &[u8], len: u64) -> Option<One<'_>> {
    let text = blanks(text);
    if let Some(text) = text.strip_prefix(b"-") {
        let (n, text) = number(text)?;
        let after = end(blanks(text))?;
        return Some(((len.saturating_sub(n), len), after));
    }
    let (from, text) = number(text)?;
    let text = blanks(blanks(text).strip_prefix(b"-")?);
    if let Some(after) = end(text) {
        return Some(((from, len), after));
    }
    let (last, text) = number(text)?;
    let after = end(blanks(text))?;
    Some(((from, last.saturating_add(1).min(len)), after))
}

fn blanks(text: &[u8]) -> &[u8] {
    let at = text.iter().position(|b| *b != b' ').unwrap_or(text.len());
    &text[at..]
}

/// The rest after a comma; the inner `None` marks the end.
#[expect(
    clippy::option_option,
    reason = "the outer one tells that it is neither a comma nor the end"
)]
fn end(text: &[u8]) -> Option<Option<&[u8]>> {
    match text {
        [] => Some(None),
        [b',', rest @ ..] => Some(Some(rest)),
        _ => None,
    }
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let at = text
        .iter()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(at);
    let n: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (n <= i64::MAX as u64).then_some((n, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_read_as_nginx_reads_them() {
        let some = |r: &[(u64, u64)]| Wanted::Some(r.iter().copied().collect());
        for (list, want) in [
            ("0-0", some(&[(0, 1)])),
            ("0-99", some(&[(0, 10)])),
            ("5-", some(&[(5, 10)])),
            ("-3", some(&[(7, 10)])),
            ("-99", some(&[(0, 10)])),
            ("-0", Wanted::None),
            ("10-", Wanted::None),
            ("5-4", Wanted::None),
            ("0-0,2-3", some(&[(0, 1), (2, 4)])),
            (" 1 - 2 , 4 - ", some(&[(1, 3), (4, 10)])),
            ("0-,0-", Wanted::All),
            ("0-0,", Wanted::None),
            ("a-b", Wanted::None),
            ("0-0;", Wanted::None),
            ("99999999999999999999-", Wanted::None),
            ("20-30,0-1", some(&[(0, 2)])),
        ] {
            assert_eq!(parse(list.as_bytes(), 10), want, "{list}");
        }
        let many = "0-0,".repeat(MOST) + "1-1";
        assert_eq!(parse(many.as_bytes(), 1000), Wanted::All);
        assert_eq!(parse(b"0-", 0), Wanted::All);
    }

    proptest! {
        #[test]
        fn what_is_wanted_is_there(list in "[0-9,\\- ]{0,40}", len in 0u64..100) {
            if let Wanted::Some(ranges) = parse(list.as_bytes(), len) {
                let sum: u64 = ranges.iter().map(|(from, to)| to - from).sum();
                prop_assert!(sum <= len && ranges.iter().all(|(from, to)| from < to && *to <= len));
            }
        }
    }
}
