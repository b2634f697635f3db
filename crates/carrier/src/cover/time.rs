//! Dates in request fields, in the three forms of RFC 9110 §5.6.7, parsed as leniently as in the imitated server.

use std::time::{Duration, SystemTime};

/// Seconds since 1970 of a date field; `None` if it is invalid.
pub(crate) fn seconds(value: &[u8]) -> Option<u64> {
    // The weekday is ignored.
    let cut = value.iter().position(|b| matches!(b, b',' | b' '))?;
    let asctime = value[cut] == b' ';
    let rest = value[cut + 1..].trim_ascii_start();
    if rest.len() < 18 {
        return None;
    }
    let (day, month, year, clock) = if asctime {
        let (month, rest) = rest.split_at(3);
        let rest = rest.strip_prefix(b" ")?;
        let rest = rest.strip_prefix(b" ").unwrap_or(rest);
        let (day, rest) = split(rest, b' ')?;
        let (clock, year) = split(rest, b' ')?;
        (
            digits(day, 1..=2)?,
            month,
            digits(year.get(..4)?, 4..=4)?,
            clock,
        )
    } else {
        let (day, rest) = rest.split_at(2);
        let between = [*rest.first()?];
        let short = match &between {
            b" " => false,
            b"-" => true,
            _ => return None,
        };
        let month = rest.get(1..4)?;
        let rest = rest[4..].strip_prefix(&between)?;
        let (year, rest) = rest.split_at_checked(if short { 2 } else { 4 })?;
        let year = digits(year, 2..=4)?;
        let century = match (short, year) {
            (false, _) => 0,
            (true, 0..70) => 2000,
            (true, _) => 1900,
        };
        (
            digits(day, 2..=2)?,
            month,
            year + century,
            rest.strip_prefix(b" ")?,
        )
    };
    let clock = clock.get(..8)?;
    if clock[2] != b':' || clock[5] != b':' {
        return None;
    }
    let part = |at: usize| digits(&clock[at..at + 2], 2..=2);
    let (hour, minute, second) = (part(0)?, part(3)?, part(6)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days(year, self::month(month)?, day)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|b| *b == at)?;
    Some((&text[..at], &text[at + 1..]))
}

fn digits(text: &[u8], len: std::ops::RangeInclusive<usize>) -> Option<u64> {
    if !len.contains(&text.len()) || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Number of a month, from 0, by as many of its letters as are needed.
fn month(name: &[u8]) -> Option<u64> {
    Some(match name {
        [b'J', b'a', _] => 0,
        [b'J', _, b'n'] => 5,
        [b'J', ..] => 6,
        [b'F', ..] => 1,
        [b'M', _, b'r'] => 2,
        [b'M', ..] => 4,
        [b'A', b'p', _] => 3,
        [b'A', ..] => 7,
        [b'S', ..] => 8,
        [b'O', ..] => 9,
        [b'N', ..] => 10,
        [b'D', ..] => 11,
        _ => return None,
    })
}

/// Days since 1970 of a date.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    const LENGTHS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = LENGTHS[usize::try_from(month).ok()?] + u64::from(leap && month == 1);
    if year < 1970 || day == 0 || day > length {
        return None;
    }
    let before = |y: u64| 365 * y + y / 4 - y / 100 + y / 400;
    let years = before(year - 1) - before(1969);
    let months: u64 = LENGTHS.iter().take(usize::try_from(month).ok()?).sum();
    Some(years + months + u64::from(leap && month > 1) + day - 1)
}

/// Formats a time for a field.
pub(crate) fn shown(seconds: u64) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    // httpdate cannot format times after the year 9999.
    let latest = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    httpdate::fmt_http_date(time.unwrap_or(latest).min(latest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_three_forms_are_read() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "x,06 Nov 1994 08:49:37",
            "Mon, 06 Nxx 1994 08:49:37 PST",
        ] {
            assert_eq!(seconds(text.as_bytes()), Some(784_111_777), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "Sun, 06 Nov 1994 08:49:60 GMT",
            "Sun, 31 Apr 2020 00:00:00 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(seconds(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read(at in 0u64..253_402_300_799) {
            prop_assert_eq!(seconds(shown(at).as_bytes()), Some(at));
        }

        #[test]
        fn no_bytes_hurt(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = seconds(&bytes);
        }
    }
}
