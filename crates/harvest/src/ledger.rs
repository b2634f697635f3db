//! Ledger of the resources that tasks used of a device, day by day.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// Days that are kept.
pub const DAYS_MAX: usize = 400;
/// Devices of one day.
pub const DEVICES_MAX: usize = 64;
/// Length of a device's name.
pub const NAME_MAX: usize = 63;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// A ledger does not take something.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The name of a device.
    #[error("a device's name has 1 to {NAME_MAX} of a-z, 0-9, -, _ and .")]
    Name,
    /// There are too many devices.
    #[error("{DEVICES_MAX} devices of one day are known already")]
    Devices,
    /// As many days are kept as may be, and the day is older than all of them.
    #[error("the day is older than the {DAYS_MAX} that are kept")]
    Old,
    /// A ledger that is read names a day's device twice, or more days than are kept.
    #[error("a day's device twice, or more than {DAYS_MAX} days")]
    Entries,
}

/// Resources that tasks used.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Used {
    /// Copies of tasks that ended.
    pub tasks: u64,
    /// Fuel.
    pub fuel: u64,
    /// Processor time, in milliseconds.
    pub cpu_ms: u64,
    /// Memory times time, in KiB · ms. [`Used::memory`] adds to it.
    pub memory_kib_ms: u64,
    /// Energy in thousandths of a joule: an estimate, by the part of the processor's time. [`energy`] makes it.
    pub energy_mj: u64,
    /// Part of `cpu_ms` for which the energy was known.
    pub energy_cpu_ms: u64,
}

impl Used {
    /// Adds memory that was held for some time.
    pub fn memory(&mut self, bytes: u64, held: Duration) {
        let ms = u64::try_from(held.as_millis()).unwrap_or(u64::MAX);
        let more = (bytes >> 10).saturating_mul(ms);
        self.memory_kib_ms = self.memory_kib_ms.saturating_add(more);
    }

    /// Memory times time in thousandths of a GB-hour (10^9 bytes).
    #[must_use]
    pub fn gb_hours_milli(&self) -> u64 {
        let byte_ms = u128::from(self.memory_kib_ms) * 1024;
        u64::try_from(byte_ms / 3_600_000_000_000).unwrap_or(u64::MAX)
    }

    /// Adds all of `more`.
    pub fn add(&mut self, more: &Self) {
        let pairs = [
            (&mut self.tasks, more.tasks),
            (&mut self.fuel, more.fuel),
            (&mut self.cpu_ms, more.cpu_ms),
            (&mut self.memory_kib_ms, more.memory_kib_ms),
            (&mut self.energy_mj, more.energy_mj),
            (&mut self.energy_cpu_ms, more.energy_cpu_ms),
        ];
        for (sum, n) in pairs {
            *sum = sum.saturating_add(n);
        }
    }
}

/// The part of a machine's energy, in thousandths of a joule, that belongs to those who had `own` of the `busy` processor time.
///
/// The energy of an idle machine is counted as that of whoever is busy, so this is an upper estimate.
#[must_use]
pub fn energy(total_uj: u64, own: Duration, busy: Duration) -> u64 {
    let busy = busy.max(own).as_micros();
    if busy == 0 {
        return 0;
    }
    let part = u128::from(total_uj) * own.as_micros() / busy / 1000;
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// Resources that tasks used of each device on each day, by UTC. A device is `cpu`, or the name of a graphics device.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct Ledger {
    days: BTreeMap<u64, BTreeMap<String, Used>>,
}

/// One line of a ledger.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Entry {
    /// Days since the first of January 1970.
    pub day: u64,
    /// Name of the device.
    pub device: String,
    /// Resources that tasks used of it.
    #[serde(flatten)]
    pub used: Used,
}

impl Ledger {
    /// Adds what tasks used of a device, on the day of `unix_ms`. The oldest day goes where there are too many.
    ///
    /// Days are counted, not compared with the newest: a clock that was wrong once costs one of the days that are kept.
    ///
    /// # Errors
    ///
    /// The device's name is not allowed or one too many, or the day too old. Nothing is added.
    pub fn add(&mut self, unix_ms: u64, device: &str, used: &Used) -> Result<(), LedgerError> {
        self.put(unix_ms / DAY_MS, device, used)
    }

    fn put(&mut self, day: u64, device: &str, used: &Used) -> Result<(), LedgerError> {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        if !(1..=NAME_MAX).contains(&device.len()) || !device.bytes().all(word) {
            return Err(LedgerError::Name);
        }
        let full = self.days.len() >= DAYS_MAX;
        let oldest = self.days.first_key_value();
        if full && oldest.is_some_and(|(oldest, _)| day < *oldest) {
            return Err(LedgerError::Old);
        }
        if let Some(devices) = self.days.get(&day)
            && devices.len() >= DEVICES_MAX
            && !devices.contains_key(device)
        {
            return Err(LedgerError::Devices);
        }
        let devices = self.days.entry(day).or_default();
        devices.entry(device.into()).or_default().add(used);
        while self.days.len() > DAYS_MAX {
            self.days.pop_first();
        }
        Ok(())
    }

    /// All lines, the oldest day first.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &str, &Used)> {
        let days = self.days.iter();
        days.flat_map(|(day, devices)| devices.iter().map(|(name, used)| (*day, &**name, used)))
    }

    /// The sum over all days, by device.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<&str, Used> {
        let mut sums: BTreeMap<&str, Used> = BTreeMap::new();
        for (_, device, used) in self.entries() {
            sums.entry(device).or_default().add(used);
        }
        sums
    }
}

impl From<Ledger> for Vec<Entry> {
    fn from(ledger: Ledger) -> Self {
        let entry = |(day, device, used): (u64, &str, &Used)| Entry {
            day,
            device: device.into(),
            used: *used,
        };
        ledger.entries().map(entry).collect()
    }
}

impl TryFrom<Vec<Entry>> for Ledger {
    type Error = LedgerError;

    fn try_from(entries: Vec<Entry>) -> Result<Self, LedgerError> {
        let mut ledger = Self::default();
        let count = entries.len();
        for Entry { day, device, used } in entries {
            ledger.put(day, &device, &used)?;
        }
        match ledger.entries().count() == count {
            true => Ok(ledger),
            false => Err(LedgerError::Entries),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn fuel(fuel: u64) -> Used {
        Used {
            fuel,
            ..Used::default()
        }
    }

    #[test]
    fn two_gb_for_half_an_hour_are_a_gb_hour() {
        let mut used = Used::default();
        used.memory(2_000_000_000, HOUR / 2);
        assert_eq!(used.gb_hours_milli(), 1000);
        used.memory(1 << 20, HOUR);
        assert_eq!(used.gb_hours_milli(), 1001);
    }

    #[test]
    fn energy_is_shared_by_processor_time() {
        let s = Duration::from_secs;
        assert_eq!(energy(10_000_000, s(1), s(4)), 2_500);
        assert_eq!(energy(10_000_000, s(0), s(0)), 0);
        // Counters of two sources tremble against each other.
        assert_eq!(energy(10_000_000, s(3), s(2)), 10_000);
    }

    #[test]
    fn days_and_devices_are_bounded() {
        let mut ledger = Ledger::default();
        let last = 20_000 + DAYS_MAX as u64;
        for day in 20_000..=last {
            ledger.add(day * DAY_MS + 5, "cpu", &fuel(1)).unwrap();
        }
        assert_eq!(ledger.entries().count(), DAYS_MAX);
        assert_eq!(ledger.entries().next().unwrap().0, 20_001);
        assert_eq!(ledger.add(0, "cpu", &fuel(1)), Err(LedgerError::Old));
        for n in 1..DEVICES_MAX {
            let name = alloc::format!("gpu-{n}");
            ledger.add(last * DAY_MS, &name, &fuel(1)).unwrap();
        }
        let more = ledger.add(last * DAY_MS, "gpu-x", &fuel(1));
        assert_eq!(more, Err(LedgerError::Devices));
        ledger.add(last * DAY_MS, "gpu-1", &fuel(2)).unwrap();
        assert_eq!(ledger.totals()["gpu-1"].fuel, 3);
        for name in ["", "GPU", "a b", &"x".repeat(NAME_MAX + 1)] {
            let wrong = ledger.add(last * DAY_MS, name, &fuel(1));
            assert_eq!(wrong, Err(LedgerError::Name));
        }
        // A clock that is wrong once costs the oldest day, and the next right day is taken.
        let lines = ledger.entries().count();
        let wrong = u64::MAX / DAY_MS;
        ledger.add(u64::MAX, "cpu", &fuel(7)).unwrap();
        assert_eq!(ledger.entries().count(), lines);
        assert_eq!(ledger.entries().next().unwrap().0, 20_002);
        ledger.add((last + 1) * DAY_MS, "cpu", &fuel(3)).unwrap();
        let days: Vec<u64> = ledger.days.keys().copied().collect();
        assert_eq!(days.len(), DAYS_MAX);
        assert_eq!((days[0], days[DAYS_MAX - 2]), (20_003, last + 1));
        assert_eq!(days[DAYS_MAX - 1], wrong);
        let text = serde_json::to_string(&ledger).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
    }

    #[test]
    fn entries_that_stand_twice_are_refused() {
        let line = r#"{"day":20000,"device":"cpu","fuel":1}"#;
        assert!(serde_json::from_str::<Ledger>(&alloc::format!("[{line}]")).is_ok());
        let twice = alloc::format!("[{line},{line}]");
        assert!(serde_json::from_str::<Ledger>(&twice).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(adds in prop::collection::vec((0_u64..500, 0_usize..3, 0_u64..=u64::MAX), 0..40)) {
            let mut ledger = Ledger::default();
            let mut sum = 0_u64;
            for (day, device, n) in adds {
                let device = ["cpu", "nvidia0", "card-1"][device];
                if ledger.add(day * DAY_MS, device, &fuel(n)).is_ok() {
                    sum = sum.saturating_add(n);
                }
            }
            let text = serde_json::to_string(&ledger).unwrap();
            prop_assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger.clone());
            let kept = ledger.totals().values().fold(0_u64, |a, u| a.saturating_add(u.fuel));
            prop_assert!(kept <= sum);
        }
    }
}
