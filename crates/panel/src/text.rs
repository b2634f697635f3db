//! Numbers, sizes and times as people read them.

/// Thousands apart by thin spaces, such as 12 345.
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out
}

/// Whether an ID of at most 32 bytes, in hex, has a text in it. Nothing is allocated, since lists ask for each row.
pub(crate) fn named(id: &[u8], part: &str) -> bool {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |b: u8| DIGITS.get(usize::from(b)).copied().unwrap_or_default();
    let mut text = [0; 64];
    let mut length = 0;
    for (pair, byte) in text.chunks_exact_mut(2).zip(id) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        length += 2;
    }
    let text = text.get(..length).unwrap_or_default();
    part.is_empty() || text.windows(part.len()).any(|w| w == part.as_bytes())
}

/// A size with a unit, such as 1.5 GiB.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut rest, mut tenths, mut unit) = (n, 0, 0);
    while rest >= 1024 && unit + 1 < UNITS.len() {
        tenths = rest % 1024 * 10 / 1024;
        rest /= 1024;
        unit += 1;
    }
    let unit = UNITS.get(unit).copied().unwrap_or("B");
    match tenths {
        0 => format!("{rest} {unit}"),
        _ => format!("{rest}.{tenths} {unit}"),
    }
}

/// Cores, from thousandths, such as 1.5.
pub(crate) fn cores(milli: u64) -> String {
    match milli % 1000 {
        0 => number(milli / 1000),
        rest => {
            let text = format!("{}.{rest:03}", milli / 1000);
            text.trim_end_matches('0').to_owned()
        }
    }
}

/// Money in units, from µ.
pub(crate) fn money(micro: u64) -> String {
    let text = format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} units")
}

/// A span of time, such as 3 min.
pub(crate) fn span(ms: u64) -> String {
    match ms / 1000 {
        0 => "less than 1 s".to_owned(),
        s @ 1..=119 => format!("{s} s"),
        s @ 120..=7199 => format!("{} min", s / 60),
        s @ 7200..=172_799 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

/// Time since a moment; "never" for 0.
pub(crate) fn ago(now_ms: u64, then_ms: u64) -> String {
    match then_ms {
        0 => "never".to_owned(),
        then => format!("{} ago", span(now_ms.saturating_sub(then))),
    }
}

/// A moment in UTC by ISO 8601, such as 2026-11-30T02:00:16Z.
pub(crate) fn moment(ms: u64) -> String {
    let (days, seconds) = (ms / 86_400_000, ms / 1000 % 86_400);
    // Days are counted from 1 March of year 0, so that a leap day ends a year: eras of 400 years have 146 097 days.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year + carry;
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{date:02}T{h:02}:{m:02}:{s:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_by_a_part_of_its_hex() {
        let id = [0xab, 0x01, 0xf0];
        for part in ["", "ab01f0", "b01", "f0"] {
            assert!(named(&id, part), "{part}");
        }
        for part in ["AB", "ab02", "ab01f00", "x"] {
            assert!(!named(&id, part), "{part}");
        }
    }

    #[test]
    fn moments_are_those_of_the_calendar() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(moment(1_800_000_000_000), "2027-01-15T08:00:00Z");
        assert_eq!(moment(4_107_542_399_000), "2100-02-28T23:59:59Z");
        assert_eq!(moment(4_107_542_400_000), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn numbers_have_units() {
        assert_eq!(number(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(number(0), "0");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(64 << 30), "64 GiB");
        assert_eq!(bytes(u64::MAX), "16383.9 PiB");
        assert_eq!(
            (cores(1500), cores(64_000), cores(5)),
            ("1.5".into(), "64".into(), "0.005".into())
        );
        assert_eq!(money(250_000), "0.25 units");
        assert_eq!(money(3_000_000), "3 units");
        assert_eq!(ago(10_000, 0), "never");
        assert_eq!(ago(130_000, 10_000), "2 min ago");
        assert_eq!(ago(5, 10), "less than 1 s ago");
    }
}
