//! Values with units, as people write them.

use serde_json::Value;

/// Decimal digits after the point that are read.
const DIGITS: usize = 9;

/// Splits text into a decimal number and a unit, with optional space between.
fn split(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// A decimal number times a factor, rounded down. `None` for anything else, and beyond 2^63.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let number: String = number.chars().filter(|c| *c != '_').collect();
    let (whole, part) = number.split_once('.').unwrap_or((&number, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) {
        return None;
    }
    if part.len() > DIGITS || whole.len() > 19 {
        return None;
    }
    let whole: u128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let below: u128 = if part.is_empty() {
        0
    } else {
        part.parse().ok()?
    };
    let ten = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let all = whole * u128::from(factor) + below * u128::from(factor) / ten;
    u64::try_from(all).ok().filter(|n| *n < 1 << 63)
}

/// The text of a number or of a string.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A value with one of these units.
fn with(value: &Value, units: &[(&str, u64)]) -> Option<u64> {
    let text = text(value)?;
    let (number, unit) = split(&text);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    scaled(number, *factor)
}

/// Cores or devices in thousandths: `2`, `1.5`, `500m`.
pub(super) fn milli(value: &Value) -> Option<u64> {
    with(
        value,
        &[("", 1000), ("m", 1), ("core", 1000), ("cores", 1000)],
    )
}

/// Bytes: `1048576`, `64 MiB`, `2 GB`.
pub(super) fn bytes(value: &Value) -> Option<u64> {
    with(
        value,
        &[
            ("", 1),
            ("B", 1),
            ("kB", 1_000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("TB", 1_000_000_000_000),
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("TiB", 1 << 40),
        ],
    )
}

/// Bits a second: `1000000`, `10 Mbit/s`.
pub(super) fn rate(value: &Value) -> Option<u64> {
    with(
        value,
        &[
            ("", 1),
            ("bit/s", 1),
            ("kbit/s", 1_000),
            ("Mbit/s", 1_000_000),
            ("Gbit/s", 1_000_000_000),
        ],
    )
}

/// Time in ms: `500 ms`, `10 s`, `5 min`, `2 h`, `3 d`. A unit is needed.
pub(super) fn time(value: &Value) -> Option<u64> {
    with(
        value,
        &[
            ("ms", 1),
            ("s", 1_000),
            ("min", 60_000),
            ("h", 3_600_000),
            ("d", 86_400_000),
        ],
    )
}

/// A count: `1000000`, `5 G`.
pub(super) fn count(value: &Value) -> Option<u64> {
    with(
        value,
        &[
            ("", 1),
            ("k", 1_000),
            ("M", 1_000_000),
            ("G", 1_000_000_000),
            ("T", 1_000_000_000_000),
        ],
    )
}

/// Money in µ, millionths of the voucher unit: `250000`, `0.25 units`.
pub(super) fn money(value: &Value) -> Option<u64> {
    with(
        value,
        &[("", 1), ("µ", 1), ("unit", 1_000_000), ("units", 1_000_000)],
    )
}

/// A whole number without a unit.
pub(super) fn plain(value: &Value) -> Option<u64> {
    with(value, &[("", 1)]).filter(|_| !value.is_f64())
}

/// Writes bytes in the largest unit that keeps the number short.
pub(crate) fn in_bytes(n: u64) -> String {
    for (unit, size) in [
        ("TiB", 1_u64 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ] {
        if n >= size {
            let tenths = (u128::from(n) * 10 / u128::from(size)).min(u128::from(u64::MAX));
            return match tenths % 10 {
                0 => format!("{} {unit}", tenths / 10),
                part => format!("{}.{part} {unit}", tenths / 10),
            };
        }
    }
    format!("{n} B")
}

/// Reads a time of a flag.
pub(crate) fn flag_time(text: &str) -> Option<u64> {
    time(&Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_with_their_units() {
        for (value, cores) in [
            (json!("500m"), 500),
            (json!(2), 2000),
            (json!(1.5), 1500),
            (json!("0.25"), 250),
            (json!("2 cores"), 2000),
        ] {
            assert_eq!(milli(&value), Some(cores), "{value}");
        }
        assert_eq!(bytes(&json!("2 GiB")), Some(2 << 30));
        assert_eq!(bytes(&json!("1.5MiB")), Some(3 << 19));
        assert_eq!(rate(&json!("10 Mbit/s")), Some(10_000_000));
        assert_eq!(time(&json!("5 min")), Some(300_000));
        assert_eq!(count(&json!("5 G")), Some(5_000_000_000));
        assert_eq!(money(&json!("0.25 units")), Some(250_000));
        assert_eq!(plain(&json!(9)), Some(9));
    }

    #[test]
    fn other_values_are_none() {
        for bad in [
            json!(-1),
            json!("-1"),
            json!("two"),
            json!("1 GiBi"),
            json!("1.2.3"),
            json!(""),
            json!("."),
            json!(true),
            json!([1]),
            json!(1e300),
            json!("9999999999999999999999"),
        ] {
            assert_eq!(bytes(&bad), None, "{bad}");
        }
        assert_eq!(time(&json!(10)), None, "a time needs its unit");
        assert_eq!(plain(&json!(1.5)), None);
    }

    #[test]
    fn bytes_are_written_short() {
        for (n, said) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (2 << 30, "2 GiB"),
        ] {
            assert_eq!(in_bytes(n), said);
        }
    }
}
