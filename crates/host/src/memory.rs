//! Memory, and the time that programs wait for it.

use crate::Root;
use crate::cgroup::Cgroup;

/// A field of `/proc/meminfo`, in bytes.
pub(crate) fn field(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Part of a whole, in thousandths.
fn permille(part: u64, whole: u64) -> Option<u16> {
    let part = u128::from(part.min(whole)) * 1000;
    u16::try_from(part.checked_div(whole.into())?).ok()
}

/// Memory that programs can still get, in thousandths: of the machine or of our control group, whichever is less.
pub(crate) fn free(root: &Root, cgroup: &Cgroup) -> Option<u16> {
    let text = root.text("proc/meminfo")?;
    let machine = permille(field(&text, "MemAvailable")?, field(&text, "MemTotal")?)?;
    let group = cgroup
        .memory(root)
        .and_then(|(free, limit)| permille(free, limit));
    Some(group.map_or(machine, |group| group.min(machine)))
}

/// The first average of a line in `/proc/pressure`, in thousandths.
pub(crate) fn stalled(text: &str) -> Option<u16> {
    let line = text.lines().find_map(|l| l.strip_prefix("some "))?;
    let word = line
        .split_ascii_whitespace()
        .find_map(|w| w.strip_prefix("avg10="))?;
    let (whole, part) = word.split_once('.').unwrap_or((word, ""));
    let tenths = part.get(..1).map_or(Some(0), |d| d.parse::<u16>().ok())?;
    let whole: u16 = whole.parse().ok().filter(|n| *n <= 100)?;
    Some((whole * 10 + tenths).min(1000))
}

/// Part of the last ten seconds in which something waited for memory or a disk, in thousandths.
pub(crate) fn pressure(root: &Root) -> Option<u16> {
    let of = |name: &str| stalled(&root.text(format!("proc/pressure/{name}"))?);
    of("memory").max(of("io"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "MemTotal:       24684092 kB\nMemAvailableX: 1 kB\nMemAvailable:   22551716 kB\nHugePages_Total:       0";
        assert_eq!(field(text, "MemAvailable"), Some(22_551_716 * 1024));
        assert_eq!(field(text, "HugePages_Total"), None);
        assert_eq!(field("MemTotal: 18446744073709551615 kB", "MemTotal"), None);
    }

    #[test]
    fn stalls_are_thousandths() {
        let line = |avg: &str| format!("some avg10={avg} avg60=11.25 total=1\nfull avg10=9.00");
        for (text, is) in [
            ("15.21", Some(152)),
            ("100.00", Some(1000)),
            ("0.00", Some(0)),
            ("7", Some(70)),
            ("101.0", None),
            ("", None),
        ] {
            assert_eq!(stalled(&line(text)), is, "{text}");
        }
        assert_eq!(stalled("full avg10=9.00"), None);
    }
}
