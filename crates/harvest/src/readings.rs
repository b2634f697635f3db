//! Readings of a device's sensors at one instant.

use serde::{Deserialize, Serialize};

/// Day of the week and minute of the day, by the clock on the wall.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Local {
    /// Day of the week; Monday is 0.
    pub weekday: u8,
    /// Minutes since midnight.
    pub minute: u16,
}

macro_rules! readings {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $variant:ident $name:literal,)*) => {
        /// Readings of a device's sensors at one instant. A sensor that is not there, or did not answer, gives no reading.
        #[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
        #[serde(default)]
        pub struct Readings {
            $($(#[$doc])* pub $field: Option<$type>,)*
        }

        /// The name of a reading.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reading {
            $($(#[$doc])* $variant,)*
        }

        impl Reading {
            /// All names, in the order of the fields of [`Readings`].
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name as it stands in rules.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// All names as rules have them, for messages.
            pub(crate) const NAMES: &'static str = concat!("names of readings:" $(, " ", $name)*);
        }

        impl Readings {
            /// Whether this reading is there.
            #[must_use]
            pub const fn has(&self, reading: Reading) -> bool {
                match reading { $(Reading::$variant => self.$field.is_some(),)* }
            }

            /// Takes from `other` what is not there.
            #[cfg(test)]
            pub(crate) fn or(mut self, other: &Self) -> Self {
                $(self.$field = self.$field.or(other.$field);)*
                self
            }

            /// Lets go of a reading.
            pub(crate) fn clear(&mut self, reading: Reading) {
                match reading { $(Reading::$variant => self.$field = None,)* }
            }

            /// Copies a reading from `other`.
            pub(crate) fn take(&mut self, reading: Reading, other: &Self) {
                match reading { $(Reading::$variant => self.$field = other.$field,)* }
            }
        }
    };
}

readings! {
    /// Whether the device has power from outside.
    charging: bool = Charging "charging",
    /// Charge of the battery, in percent.
    battery: u8 = Battery "battery",
    /// Charge of the battery when it is full, in percent of the charge that it was made for.
    health: u8 = Health "health",
    /// The hottest of the processor's sensors, in thousandths of a degree Celsius.
    temperature: i32 = Temperature "temperature",
    /// Seconds since someone used the device.
    idle_s: u32 = IdleS "idle_s",
    /// Processor time that others use, in thousandths of the whole machine.
    load: u16 = Load "load",
    /// Memory that programs can still get, in thousandths of all.
    memory_free: u16 = MemoryFree "memory_free",
    /// Time in which something waited for memory or a disk, in thousandths.
    pressure: u16 = Pressure "pressure",
    /// Whether the network costs by the byte.
    metered: bool = Metered "metered",
    /// Whether a program has the whole screen, or keeps it lit.
    full_screen: bool = FullScreen "full_screen",
    /// The clock on the wall.
    local: Local = Local "local",
}
