//! Rules that were checked.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::time::Duration;

use serde::Deserialize;

use crate::table::{Fault, Faults, Setting};
use crate::{Band, Hours, Reading, Readings, Reason, Table, hours};

/// One rule with a band.
pub(crate) struct Bounded {
    pub(crate) reason: Reason,
    key: &'static str,
    setting: fn(&Table) -> Setting,
    /// Allowed values of a number, in the table's unit.
    range: RangeInclusive<i64>,
    /// Whether a low reading is the wrong one.
    low: bool,
    /// Units of the reading in one of the table's.
    pub(crate) scale: i64,
    pub(crate) unit: &'static str,
    /// The reading, except that heating has none of its own.
    pub(crate) read: fn(&Readings, Option<i64>) -> Option<i64>,
}

pub(crate) const BANDS: usize = 8;
/// Places of some rules in [`BOUNDED`].
pub(crate) const TEMPERATURE: usize = 2;
pub(crate) const HEATING: usize = 3;
pub(crate) const USER: usize = 4;

/// The rules with a band, in the order of their reasons.
#[rustfmt::skip]
pub(crate) static BOUNDED: [Bounded; BANDS] = [
    Bounded { reason: Reason::Battery, key: "battery", setting: |t| t.battery, range: 0..=100, low: true, scale: 1, unit: " %", read: |r, _| r.battery.map(i64::from) },
    Bounded { reason: Reason::Health, key: "health", setting: |t| t.health, range: 0..=100, low: true, scale: 1, unit: " %", read: |r, _| r.health.map(i64::from) },
    Bounded { reason: Reason::Temperature, key: "temperature", setting: |t| t.temperature, range: 0..=150, low: false, scale: 1000, unit: " °C", read: |r, _| r.temperature.map(i64::from) },
    Bounded { reason: Reason::Heating, key: "heating", setting: |t| t.heating, range: 0..=1000, low: false, scale: 1000, unit: " °C a minute", read: |_, rise| rise },
    Bounded { reason: Reason::User, key: "idle_s", setting: |t| t.idle_s, range: 0..=86_400, low: true, scale: 1, unit: " s idle", read: |r, _| r.idle_s.map(i64::from) },
    Bounded { reason: Reason::Load, key: "load", setting: |t| t.load, range: 0..=100, low: false, scale: 10, unit: " %", read: |r, _| r.load.map(i64::from) },
    Bounded { reason: Reason::Memory, key: "memory_free", setting: |t| t.memory_free, range: 0..=100, low: true, scale: 10, unit: " % free", read: |r, _| r.memory_free.map(i64::from) },
    Bounded { reason: Reason::Pressure, key: "pressure", setting: |t| t.pressure, range: 0..=100, low: false, scale: 10, unit: " %", read: |r, _| r.pressure.map(i64::from) },
];

/// Rules that were checked. [`Table::check`] makes them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "Table")]
pub struct Rules {
    pub(crate) cpu: u8,
    pub(crate) cpu_in_use: u8,
    pub(crate) memory: u8,
    pub(crate) hours: Hours,
    pub(crate) charging: bool,
    pub(crate) metered: bool,
    pub(crate) full_screen: bool,
    /// In the readings' units.
    pub(crate) bands: [Option<Band>; BANDS],
    pub(crate) require: Vec<Reading>,
    pub(crate) run_min: Duration,
    pub(crate) pause_min: Duration,
    pub(crate) give_back: Duration,
    pub(crate) every: Duration,
}

impl Rules {
    /// Share of the machine's memory that tasks get, in percent.
    #[must_use]
    pub const fn memory(&self) -> u8 {
        self.memory
    }

    /// Most that a task gets of a core, in percent.
    #[must_use]
    pub const fn cpu(&self) -> u8 {
        self.cpu
    }

    /// Time from one look at the sensors to the next.
    #[must_use]
    pub const fn every(&self) -> Duration {
        self.every
    }

    /// Length of a pause after which tasks are given back.
    #[must_use]
    pub const fn give_back(&self) -> Duration {
        self.give_back
    }

    /// Least time for which a device works, and for which it pauses.
    #[must_use]
    pub const fn minimum(&self) -> (Duration, Duration) {
        (self.run_min, self.pause_min)
    }
}

impl Default for Rules {
    #[allow(
        clippy::expect_used,
        reason = "a test checks that the default is allowed"
    )]
    fn default() -> Self {
        Table::default().check().expect("the default is allowed")
    }
}

impl TryFrom<Table> for Rules {
    type Error = Faults;

    fn try_from(table: Table) -> Result<Self, Faults> {
        table.check()
    }
}

/// Collects faults.
struct Check(Vec<Fault>);

impl Check {
    fn say(&mut self, key: &'static str, value: &dyn ToString, allowed: &dyn ToString) {
        self.0.push(Fault {
            key,
            value: value.to_string(),
            allowed: allowed.to_string(),
        });
    }

    fn number(&mut self, key: &'static str, value: i64, range: RangeInclusive<u32>) -> u32 {
        match u32::try_from(value).ok().filter(|n| range.contains(n)) {
            Some(n) => n,
            None => {
                self.say(
                    key,
                    &value,
                    &format!("{} to {}", range.start(), range.end()),
                );
                *range.start()
            }
        }
    }

    fn percent(&mut self, key: &'static str, value: i64, least: u8) -> u8 {
        u8::try_from(self.number(key, value, u32::from(least)..=100)).unwrap_or(least)
    }

    fn seconds(&mut self, key: &'static str, value: i64, range: RangeInclusive<u32>) -> Duration {
        Duration::from_secs(self.number(key, value, range).into())
    }

    fn band(&mut self, rule: &Bounded, setting: Setting) -> Option<Band> {
        let band = setting.band()?;
        let within = |n| rule.range.contains(&n);
        let order = if rule.low {
            band.pause < band.resume
        } else {
            band.pause > band.resume
        };
        if !(within(band.pause) && within(band.resume) && order) {
            let side = if rule.low { "below" } else { "above" };
            let (least, most) = (rule.range.start(), rule.range.end());
            let allowed =
                format!("\"off\", or both numbers {least} to {most} and pause {side} resume");
            self.say(rule.key, &setting, &allowed);
            return None;
        }
        Some(Band::new(band.pause * rule.scale, band.resume * rule.scale))
    }
}

impl Table {
    /// Checks each value.
    ///
    /// # Errors
    ///
    /// All values that are not allowed, with what is.
    pub fn check(&self) -> Result<Rules, Faults> {
        let mut check = Check(Vec::new());
        let hours = Hours::read(&self.hours).unwrap_or_else(|at| {
            let value = self.hours.get(at).map_or("", |t| t);
            let allowed = format!("up to {} of {}", hours::WINDOWS_MAX, hours::FORM);
            check.say("hours", &format!("{value:?}"), &allowed);
            Hours::default()
        });
        let mut require = Vec::new();
        for name in &self.require {
            match Reading::ALL.iter().find(|r| r.as_str() == name) {
                Some(reading) if require.contains(reading) => {}
                Some(reading) => require.push(*reading),
                None => check.say("require", &format!("{name:?}"), &Reading::NAMES),
            }
        }
        let mut bands = [None; BANDS];
        for (band, rule) in bands.iter_mut().zip(&BOUNDED) {
            *band = check.band(rule, (rule.setting)(self));
        }
        let pause_min = check.number("pause_min_s", self.pause_min_s, 1..=86_400);
        let rules = Rules {
            cpu: check.percent("cpu", self.cpu, 1),
            cpu_in_use: check.percent("cpu_in_use", self.cpu_in_use, 0),
            memory: check.percent("memory", self.memory, 1),
            hours,
            charging: self.charging,
            metered: self.metered,
            full_screen: self.full_screen,
            bands,
            require,
            run_min: check.seconds("run_min_s", self.run_min_s, 0..=3600),
            pause_min: Duration::from_secs(pause_min.into()),
            // Otherwise tasks would be given back in a pause that was about to end.
            give_back: check.seconds("give_back_s", self.give_back_s, pause_min..=604_800),
            every: Duration::from_millis(
                check.number("every_ms", self.every_ms, 100..=60_000).into(),
            ),
        };
        match check.0.is_empty() {
            true => Ok(rules),
            false => Err(Faults(check.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<alloc::string::String> {
        let table: Table = toml::from_str(text).unwrap();
        let faults = table.check().unwrap_err().0;
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_default_is_allowed_and_an_empty_table_is_the_default() {
        let rules: Rules = toml::from_str("").unwrap();
        assert_eq!(rules, Rules::default());
        assert_eq!(rules.every(), Duration::from_secs(1));
        assert_eq!(rules.bands.iter().flatten().count(), BANDS);
    }

    #[test]
    fn every_rule_can_be_switched_off_and_changed() {
        let keys: Vec<&str> = BOUNDED.iter().map(|b| b.key).collect();
        let off: alloc::string::String = keys.iter().map(|k| format!("{k} = \"off\"\n")).collect();
        let rules: Rules = toml::from_str(&off).unwrap();
        assert_eq!(rules.bands, [None; BANDS]);
        let rules: Rules = toml::from_str("load = { pause = 50, resume = 30 }").unwrap();
        assert_eq!(rules.bands[5], Some(Band::new(500, 300)));
    }

    #[test]
    fn all_faults_are_named_with_what_is_allowed() {
        let text = r#"
            cpu = 0
            cpu_in_use = 101
            memory = -1
            hours = ["mo-fr 19:00-07:00", "mo 9-5"]
            battery = { pause = 60, resume = 40 }
            temperature = { pause = 200, resume = 75 }
            load = { pause = 10, resume = 10 }
            require = ["battery", "moon"]
            run_min_s = 3601
            pause_min_s = 0
            give_back_s = 0
            every_ms = 99
        "#;
        let expected = [
            "hours = \"mo 9-5\": allowed is up to 32 of days and times such as \"mo-fr 19:00-07:00\", \"sa,su 00:00-24:00\" or \"daily 22:00-06:00\"",
            "require = \"moon\": allowed is names of readings: charging battery health temperature idle_s load memory_free pressure metered full_screen local",
            "battery = { pause = 60, resume = 40 }: allowed is \"off\", or both numbers 0 to 100 and pause below resume",
            "temperature = { pause = 200, resume = 75 }: allowed is \"off\", or both numbers 0 to 150 and pause above resume",
            "load = { pause = 10, resume = 10 }: allowed is \"off\", or both numbers 0 to 100 and pause above resume",
            "pause_min_s = 0: allowed is 1 to 86400",
            "cpu = 0: allowed is 1 to 100",
            "cpu_in_use = 101: allowed is 0 to 100",
            "memory = -1: allowed is 1 to 100",
            "run_min_s = 3601: allowed is 0 to 3600",
            "give_back_s = 0: allowed is 1 to 604800",
            "every_ms = 99: allowed is 100 to 60000",
        ];
        assert_eq!(faults(text), expected);
    }

    #[test]
    fn tasks_are_not_given_back_before_a_pause_may_end() {
        let text = "pause_min_s = 60\ngive_back_s = 59";
        assert_eq!(faults(text), ["give_back_s = 59: allowed is 60 to 604800"]);
    }

    #[test]
    fn wrong_types_and_unknown_fields_name_what_is_allowed() {
        let why = |text| toml::from_str::<Rules>(text).unwrap_err().to_string();
        assert!(why("baterry = 1").contains("unknown field `baterry`, expected one of"));
        assert!(why("battery = 30").contains("\"off\", or { pause = N, resume = N }"));
        assert!(why("load = \"of\"").contains("\"off\", or { pause = N, resume = N }"));
        assert!(why("cpu = \"all\"").contains("expected i64"));
        assert!(why("cpu = 0").contains("cpu = 0: allowed is 1 to 100"));
    }
}
