//! Rules as they stand in a file.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::Deserialize;

use crate::Band;

/// A band, or `"off"`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(untagged, expecting = "\"off\", or { pause = N, resume = N }")]
pub enum Setting {
    /// The rule holds.
    Band(Band),
    /// The rule does not hold.
    Off(Off),
}

/// The word `"off"`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub enum Off {
    /// The rule does not hold.
    #[serde(rename = "off")]
    Off,
}

impl Setting {
    pub(crate) const fn band(self) -> Option<Band> {
        match self {
            Self::Band(band) => Some(band),
            Self::Off(Off::Off) => None,
        }
    }

    const fn new(pause: i64, resume: i64) -> Self {
        Self::Band(Band::new(pause, resume))
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.band() {
            Some(Band { pause, resume }) => {
                write!(f, "{{ pause = {pause}, resume = {resume} }}")
            }
            None => f.write_str("\"off\""),
        }
    }
}

/// Rules as they stand in a file, unchecked. A field that a file leaves out has the value of [`Table::default`].
///
/// A rule whose reading is not there does not hold the device back, unless `require` names the reading.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Table {
    /// Share of each core while nobody uses the device, in percent.
    pub cpu: i64,
    /// Share of each core while someone does, in percent. 0 pauses.
    pub cpu_in_use: i64,
    /// Share of the memory that tasks get, in percent.
    pub memory: i64,
    /// Hours of the week. None at all means always.
    pub hours: Vec<String>,
    /// Whether to work on power from outside only.
    pub charging: bool,
    /// Whether to work while the network costs by the byte.
    pub metered: bool,
    /// Whether to work beside a program that has the whole screen.
    pub full_screen: bool,
    /// Charge of the battery, in percent.
    pub battery: Setting,
    /// Charge of the battery when it is full, in percent of the charge that it was made for.
    pub health: Setting,
    /// Temperature of the processor, in degrees Celsius.
    pub temperature: Setting,
    /// Its rise, in degrees a minute. It counts from the temperature on at which a hot device goes on.
    pub heating: Setting,
    /// Time since someone used the device, in seconds.
    pub idle_s: Setting,
    /// Processor time that others use, in percent of the machine.
    pub load: Setting,
    /// Memory that programs can still get, in percent.
    pub memory_free: Setting,
    /// Time in which something waits for memory or a disk, in percent.
    pub pressure: Setting,
    /// Readings without which the device does not work.
    pub require: Vec<String>,
    /// Seconds that a device works at least before it pauses.
    pub run_min_s: i64,
    /// Seconds that it pauses at least before it works again.
    pub pause_min_s: i64,
    /// Seconds of a pause after which tasks are given back.
    pub give_back_s: i64,
    /// Milliseconds from one look at the sensors to the next.
    pub every_ms: i64,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            cpu: 100,
            cpu_in_use: 0,
            memory: 50,
            hours: Vec::new(),
            charging: true,
            metered: false,
            full_screen: false,
            battery: Setting::new(40, 60),
            health: Setting::new(50, 60),
            temperature: Setting::new(85, 75),
            heating: Setting::new(20, 5),
            idle_s: Setting::new(60, 300),
            load: Setting::new(25, 10),
            memory_free: Setting::new(10, 20),
            pressure: Setting::new(20, 5),
            require: Vec::new(),
            run_min_s: 1,
            pause_min_s: 30,
            give_back_s: 120,
            every_ms: 1000,
        }
    }
}

/// A value of a table that is not allowed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// Name of the field, without that of the table.
    pub key: &'static str,
    /// The value as it stands there.
    pub value: String,
    /// The allowed values.
    pub allowed: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            value,
            allowed,
        } = self;
        write!(f, "{key} = {value}: allowed is {allowed}")
    }
}

/// All values of a table that are not allowed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            let between = if at == 0 { "" } else { "; " };
            write!(f, "{between}{fault}")?;
        }
        Ok(())
    }
}

impl core::error::Error for Faults {}
