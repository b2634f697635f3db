use betanet_bar::Headers;

/// Facts about an answer's bytes, from its headers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Span {
    /// Length of the whole blob, if it is told.
    pub(super) size: Option<u64>,
}

impl Span {
    /// Reads the headers of an answer to a request for the bytes from `at` on. `None` if its bytes are others.
    pub(super) fn of(headers: &Headers, at: u64) -> Option<Self> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse::<u64>().ok()).flatten()
        };
        let Some(range) = headers.text("content-range") else {
            // Without it, the answer is all of the blob.
            let size = headers.content_length().ok()?;
            return (at == 0).then_some(Self { size });
        };
        let (span, size) = range.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = span.split_once('-')?;
        let (first, last, size) = (number(first)?, number(last)?, number(size)?);
        let is_rest = first == at && last.checked_add(1)? == size && first <= last;
        is_rest.then_some(Self { size: Some(size) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: Option<&str>, length: Option<&str>, at: u64) -> Option<Option<u64>> {
        let mut headers = Headers::default();
        if let Some(range) = range {
            headers.set("content-range", range.to_owned());
        }
        if let Some(length) = length {
            headers.set("content-length", length.to_owned());
        }
        Span::of(&headers, at).map(|span| span.size)
    }

    #[test]
    fn an_answer_that_does_not_go_on_where_it_was_cut_is_none() {
        assert_eq!(of(None, None, 0), Some(None));
        assert_eq!(of(None, Some("10"), 0), Some(Some(10)));
        assert_eq!(of(Some("bytes 4-9/10"), Some("6"), 4), Some(Some(10)));
        assert_eq!(of(Some("bytes 0-9/10"), None, 0), Some(Some(10)));
        for (range, at) in [
            (None, 4),
            (Some("bytes 3-9/10"), 4),
            (Some("bytes 4-8/10"), 4),
            (Some("bytes 4-9/*"), 4),
            (Some("bytes 4-3/4"), 4),
            (Some("bytes 4-18446744073709551615/10"), 4),
            (Some("bytes 4-99999999999999999999/10"), 4),
            (Some("bytes -4-9/10"), 4),
            (Some("4-9/10"), 4),
            (Some(""), 0),
        ] {
            assert_eq!(of(range, Some("6"), at), None, "{range:?}");
        }
    }
}
