use crate::{Headers, Meta, Method};

/// The byte range `start..end` of a resource.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset after the last byte.
    pub end: u64,
}

impl Span {
    /// Number of bytes.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether the range is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.end == self.start
    }
}

/// Result of applying preconditions and range to the current resource.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// All conditions hold; continue.
    Proceed,
    /// Answer with this part only.
    Partial(Span),
    /// Answer 204 with the etag, because the client has the resource.
    Unchanged,
    /// Answer 404.
    Absent,
    /// Answer 409.
    Failed,
    /// Answer 400 with `content-range: bytes */N`.
    Unsatisfiable,
}

fn matches(list: &str, etag: Option<&str>) -> bool {
    let Some(etag) = etag else { return false };
    list.split(',')
        .map(str::trim)
        .any(|t| t == "*" || t == etag)
}

/// Reads `bytes=a-b`, `bytes=a-` or `bytes=-n` against a length; `None` when no byte satisfies it.
#[must_use]
pub fn parse_range(text: &str, len: u64) -> Option<Span> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let number = |t: &str| {
        let digits = !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| t.parse::<u64>().unwrap_or(u64::MAX))
    };
    let span = if first.is_empty() {
        let n = number(last)?.min(len);
        Span {
            start: len - n,
            end: len,
        }
    } else {
        let start = number(first)?;
        let end = if last.is_empty() {
            len
        } else {
            let last = number(last)?;
            if last < start {
                return None;
            }
            last.saturating_add(1).min(len)
        };
        Span { start, end }
    };
    (span.start < span.end).then_some(span)
}

/// Applies a request's conditions and range to the current resource.
#[must_use]
pub fn decide(method: Method, headers: &Headers, current: Option<&Meta>) -> Decision {
    let etag = current.map(|m| m.etag.as_str());
    if let Some(list) = headers.text("if-match")
        && !matches(list, etag)
    {
        return Decision::Failed;
    }
    let none_match = headers.text("if-none-match");
    match (method, current) {
        (Method::Get | Method::Del, None) => Decision::Absent,
        (Method::Put, Some(_)) if none_match.is_some() => Decision::Failed,
        (Method::Get, Some(meta)) => {
            if none_match.is_some_and(|list| matches(list, etag)) {
                return Decision::Unchanged;
            }
            match headers.text("range") {
                None => Decision::Proceed,
                Some(range) => {
                    parse_range(range, meta.len).map_or(Decision::Unsatisfiable, Decision::Partial)
                }
            }
        }
        (Method::Put | Method::Post | Method::Del, _) => Decision::Proceed,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::format;

    fn meta() -> Meta {
        Meta {
            len: 10,
            etag: "\"a\"".into(),
            headers: Headers::default(),
        }
    }

    #[test]
    fn ranges_hit_clip_and_miss() {
        let at = |t| parse_range(t, 10).map(|s| (s.start, s.end));
        assert_eq!(at("bytes=0-3"), Some((0, 4)));
        assert_eq!(at("bytes=9-"), Some((9, 10)));
        assert_eq!(at("bytes=5-99999999999999999999"), Some((5, 10)));
        assert_eq!(at("bytes=-4"), Some((6, 10)));
        assert_eq!(at("bytes=-99"), Some((0, 10)));
        for miss in [
            "bytes=10-",
            "bytes=3-2",
            "bytes=-0",
            "bytes=-",
            "bytes=a-b",
            "0-3",
            "bytes=0-1,3-4",
            "bytes=+1-2",
        ] {
            assert_eq!(at(miss), None, "{miss}");
        }
    }

    #[test]
    fn conditions_decide() {
        let h = |k: &str, v: &str| Headers::default().with(k, v);
        let m = meta();
        for (method, headers, current, want) in [
            (
                Method::Get,
                h("if-none-match", "\"a\""),
                Some(&m),
                Decision::Unchanged,
            ),
            (
                Method::Get,
                h("if-none-match", "\"b\", \"a\""),
                Some(&m),
                Decision::Unchanged,
            ),
            (
                Method::Get,
                h("if-none-match", "\"b\""),
                Some(&m),
                Decision::Proceed,
            ),
            (
                Method::Get,
                h("if-match", "\"b\""),
                Some(&m),
                Decision::Failed,
            ),
            (Method::Get, h("if-match", "*"), None, Decision::Failed),
            (Method::Get, h("x", "y"), None, Decision::Absent),
            (
                Method::Get,
                h("range", "bytes=99-"),
                Some(&m),
                Decision::Unsatisfiable,
            ),
            (
                Method::Put,
                h("if-none-match", "*"),
                Some(&m),
                Decision::Failed,
            ),
            (
                Method::Put,
                h("if-none-match", "*"),
                None,
                Decision::Proceed,
            ),
            (
                Method::Put,
                h("if-match", "\"a\""),
                Some(&m),
                Decision::Proceed,
            ),
            (Method::Put, h("if-match", "\"a\""), None, Decision::Failed),
            (
                Method::Del,
                h("if-match", "\"b\""),
                Some(&m),
                Decision::Failed,
            ),
            (Method::Del, h("x", "y"), None, Decision::Absent),
        ] {
            assert_eq!(
                decide(method, &headers, current),
                want,
                "{method} {headers:?}"
            );
        }
    }

    proptest! {
        /// Whatever the range says, what is shown lies inside the resource.
        #[test]
        fn a_span_lies_inside(a in any::<u64>(), b in any::<u64>(), len in any::<u64>()) {
            for text in [format!("bytes={a}-{b}"), format!("bytes={a}-"), format!("bytes=-{b}")] {
                if let Some(s) = parse_range(&text, len) {
                    prop_assert!(s.start < s.end && s.end <= len);
                }
            }
        }
    }
}
