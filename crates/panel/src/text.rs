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

/// Whether an ID of at most 32 bytes, in hex, has a text in it. Lists ask for each row.
pub(crate) fn named(id: &[u8], part: &Digits) -> bool {
    let mut last = 0_u64;
    // How many digits were seen matters only until there are as many as the text has.
    let digits = id.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.enumerate().any(|(at, digit)| {
        last = (last << 4) | u64::from(digit);
        at + 1 >= part.first && last & part.mask == part.value && part.fits(id, at + 1)
    })
}

/// A text that is looked for in IDs.
#[derive(Debug)]
pub(crate) struct Digits {
    /// Its first digits, at most 16, as one number.
    value: u64,
    mask: u64,
    first: usize,
    /// The digits after those.
    rest: Vec<u8>,
    /// Whether it has other letters, or is longer than any ID.
    never: bool,
}

impl Digits {
    pub(crate) fn of(part: &str) -> Self {
        let digit = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        let all: Option<Vec<u8>> = part.bytes().take(65).map(digit).collect();
        let never = all.as_ref().is_none_or(|all| all.len() > 64);
        let mut all = all.unwrap_or_default();
        let rest = all.split_off(all.len().min(16));
        Self {
            value: all.iter().fold(0, |v, d| (v << 4) | u64::from(*d)),
            mask: if all.len() == 16 {
                u64::MAX
            } else {
                (1 << (4 * all.len())) - 1
            },
            first: all.len(),
            rest,
            never,
        }
    }

    /// Whether the rest follows at a digit of an ID.
    fn fits(&self, id: &[u8], at: usize) -> bool {
        let digit = |n: usize| {
            id.get(n / 2)
                .map(|b| if n.is_multiple_of(2) { b >> 4 } else { b & 15 })
        };
        let mut rest = self.rest.iter().enumerate();
        !self.never && rest.all(|(n, d)| digit(at + n) == Some(*d))
    }
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
            assert!(named(&id, &Digits::of(part)), "{part}");
        }
        for part in ["AB", "ab02", "ab01f00", "x"] {
            assert!(!named(&id, &Digits::of(part)), "{part}");
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
