//! Chargers and batteries, under `/sys/class/power_supply`.

use crate::Root;

const FOLDER: &str = "sys/class/power_supply";

/// Readings of chargers and batteries.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Power {
    pub(crate) charging: Option<bool>,
    /// Percent.
    pub(crate) battery: Option<u8>,
    /// Percent.
    pub(crate) health: Option<u8>,
    /// Power that all batteries give, in microwatts.
    pub(crate) drawn_uw: Option<u64>,
}

/// One battery.
struct Battery {
    status: String,
    percent: Option<u64>,
    /// Its charge when full, and the charge that it was made for, in µWh or µAh.
    full: Option<(u64, u64)>,
    drawn_uw: Option<u64>,
}

impl Battery {
    fn read(root: &Root, folder: &str) -> Self {
        let number = |name: &str| root.number::<i64>(format!("{folder}/{name}"));
        let magnitude = |name: &str| number(name).map(i64::unsigned_abs);
        let pair = |full: &str, design: &str| magnitude(full).zip(magnitude(design));
        let full = pair("energy_full", "energy_full_design")
            .or_else(|| pair("charge_full", "charge_full_design"));
        // Some drivers tell a current that flows out as a negative one.
        let product = || {
            let (current, voltage) = magnitude("current_now").zip(magnitude("voltage_now"))?;
            u64::try_from(u128::from(current) * u128::from(voltage) / 1_000_000).ok()
        };
        Self {
            status: root.text(format!("{folder}/status")).unwrap_or_default(),
            percent: magnitude("capacity").filter(|n| *n <= 100),
            full: full.filter(|(_, design)| *design > 0),
            drawn_uw: magnitude("power_now").or_else(product),
        }
    }

    fn discharges(&self) -> bool {
        self.status == "Discharging"
    }
}

impl Power {
    pub(crate) fn read(root: &Root) -> Self {
        let mut online = None;
        let mut batteries = Vec::new();
        for name in root.names(FOLDER).into_iter().take(64) {
            let folder = format!("{FOLDER}/{name}");
            let of = |file: &str| root.text(format!("{folder}/{file}"));
            // Batteries of mice and headsets.
            if of("scope").as_deref() == Some("Device") {
                continue;
            }
            match of("type").as_deref() {
                Some("Battery") if of("present").as_deref() != Some("0") => {
                    batteries.push(Battery::read(root, &folder));
                }
                Some("Mains" | "USB" | "Wireless" | "USB_C" | "USB_PD") => {
                    let on = of("online").map(|t| t != "0");
                    online = match (online, on) {
                        (Some(true), _) => online,
                        (_, on) => on.or(online),
                    };
                }
                _ => {}
            }
        }
        // A socket without a charger says nothing of a machine without a battery, which runs on power all the same.
        let online = online.filter(|on| *on || !batteries.is_empty());
        let told = |b: &&Battery| !matches!(b.status.as_str(), "" | "Unknown");
        let by_battery = batteries
            .iter()
            .find(told)
            .map(|_| !batteries.iter().any(Battery::discharges));
        let least = |of: fn(&Battery) -> Option<u64>| {
            let least = batteries.iter().filter_map(of).min()?;
            u8::try_from(least.min(100)).ok()
        };
        let drawn = batteries.iter().filter(|b| b.discharges());
        let drawn = drawn.filter_map(|b| b.drawn_uw);
        let drawn = drawn.fold(None, |sum: Option<u64>, n| {
            Some(sum.unwrap_or(0).saturating_add(n))
        });
        Self {
            charging: online.or(by_battery),
            battery: least(|b| b.percent),
            health: least(|b| {
                let (full, design) = b.full?;
                u64::try_from(u128::from(full) * 100 / u128::from(design)).ok()
            }),
            drawn_uw: drawn,
        }
    }
}
