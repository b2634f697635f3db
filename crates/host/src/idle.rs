//! How long nobody has used the machine.

use betanet_machine::Now;
use betanet_machine::Time;

use crate::Root;

/// Words in the lines of `/proc/interrupts` that belong to keyboards and touchpads.
const KEYS: [&str; 6] = ["i8042", "i2c_hid", "elan", "syna", "touchpad", "keyboard"];

/// Interrupts of keyboards and touchpads so far. `None` where no line names one.
pub(crate) fn interrupts(text: &str) -> Option<u64> {
    let mut sum: Option<u64> = None;
    for line in text.lines() {
        let lower = line.to_ascii_lowercase();
        if !KEYS.iter().any(|k| lower.contains(k)) {
            continue;
        }
        // `  1:   9   0  IO-APIC  1-edge  i8042`: a number for each processor.
        let Some((_, counts)) = lower.split_once(':') else {
            continue;
        };
        let counts = counts.split_ascii_whitespace();
        let counts = counts.map_while(|w| w.parse::<u64>().ok());
        let line = counts.fold(0_u64, u64::saturating_add);
        sum = Some(sum.unwrap_or(0).saturating_add(line));
    }
    sum
}

/// When someone typed last, by terminals and by interrupts. USB keyboards are seen by logind only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Idle {
    /// The interrupts at the last look, and when they changed.
    last: Option<(u64, Time)>,
}

impl Idle {
    /// Seconds since the last sign of someone. Interrupts count from the first look on.
    pub(crate) fn read(&mut self, root: &Root, now: Now) -> Option<u32> {
        let text = root.text("proc/interrupts").unwrap_or_default();
        self.last = interrupts(&text).map(|count| match self.last {
            Some((before, at)) if before == count => (count, at),
            _ => (count, now.mono),
        });
        let typed = self.last.map(|(_, at)| (now.mono - at).as_secs());
        let seconds = [typed, terminals(root, now)].into_iter().flatten().min()?;
        Some(u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

/// Seconds since something was read from a terminal: from what someone typed there.
fn terminals(root: &Root, now: Now) -> Option<u64> {
    let number = |n: &&String| n.bytes().all(|b| b.is_ascii_digit());
    let remote = root.names("dev/pts");
    let remote = remote.iter().filter(number).map(|n| format!("dev/pts/{n}"));
    let local = (1..=12).map(|n| format!("dev/tty{n}"));
    let read = remote.take(1024).chain(local);
    let newest = read.filter_map(|path| root.read_at_ms(path)).max()?;
    Some(now.unix_ms.saturating_sub(newest) / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keyboards_and_touchpads_count() {
        let text = "           CPU0       CPU1\n   1:         9          4   IO-APIC   1-edge      i8042\n  12:       100          0   IO-APIC  12-edge      i8042\n 131:  5  7  intel-gpio  57  ELAN0412:00\n  24: 1000 2000 PCI-MSI xhci_hcd\nNMI: 1 2 Non-maskable";
        assert_eq!(interrupts(text), Some(125));
        assert_eq!(interrupts("  24: 1000 2000 PCI-MSI xhci_hcd"), None);
        assert_eq!(interrupts(""), None);
    }
}
