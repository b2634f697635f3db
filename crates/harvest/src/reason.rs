//! Why a device does not work.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::Reading;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        /// Why a device does not work. Where several hold, the first in this order is named.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
        }

        impl Reason {
            /// All reasons, the first to be named first.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// One word, for status and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

reasons! {
    /// A reading that the rules require is not there.
    Missing = "missing",
    /// It is none of the hours in which the device works.
    Hours = "hours",
    /// The device has no power from outside.
    Power = "power",
    /// The battery is too low.
    Battery = "battery",
    /// The battery is worn out.
    Health = "health",
    /// The processor is too hot.
    Temperature = "temperature",
    /// The processor is warm and gets hotter too fast.
    Heating = "heating",
    /// A program has the whole screen, or keeps it lit.
    FullScreen = "full_screen",
    /// Someone uses the device.
    User = "user",
    /// Others use the processor.
    Load = "load",
    /// Memory is short.
    Memory = "memory",
    /// Programs wait for memory or a disk.
    Pressure = "pressure",
    /// The network costs by the byte.
    Metered = "metered",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A reason with what was read, for people.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cause {
    /// The reason.
    pub reason: Reason,
    /// The reading that is missing.
    pub missing: Option<Reading>,
    /// The value of the reading, and the bound that it has to reach, both in `unit`.
    pub numbers: Option<(i64, i64)>,
    /// Unit of the numbers.
    pub unit: &'static str,
}

impl Cause {
    pub(crate) const fn of(reason: Reason) -> Self {
        Self {
            reason,
            missing: None,
            numbers: None,
            unit: "",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.as_str())?;
        if let Some(reading) = self.missing {
            write!(f, " {}", reading.as_str())?;
        }
        if let Some((value, bound)) = self.numbers {
            write!(f, " {value}{}, goes on at {bound}{}", self.unit, self.unit)?;
        }
        Ok(())
    }
}
