//! Rules of idle computing: when a device lends its processor, pauses, or gives work back.
//!
//! **Promises.** A decision follows from the readings, the rules and the time alone. Between the two bounds of a rule the last
//! verdict stands. A device that runs or pauses does so for a least time. Without a reading that changed, a decision changes at most
//! once, when a least time ends, and a pause that lasts gives the work back.
//!
//! **Below:** `betanet-machine` (time). **Above:** the fog's worker, which reads the sensors by `betanet-host`.
//! **Source:** no chapter of the profile: nobody else sees these rules, they only decide whether a node takes work.
//!
//! - [`Table`] is the form of a file, [`Rules`] the checked one. Each wrong value is named with what is allowed.
//! - [`Harvest`] takes [`Readings`] and answers with a [`Decision`]. [`Harvest::causes`] tells people why.
//! - A sensor that fell silent is believed for [`STALE`]. A reading that is not there holds nobody back unless the rules require it.
//! - [`Ledger`] counts what a device gave on each day: fuel, processor time, GB-hours, energy.
//!
//! ```
//! use core::time::Duration;
//!
//! use betanet_harvest::{Decision, Harvest, Readings, Reason, Rules};
//! use betanet_machine::Time;
//!
//! let rules: Rules = toml::from_str("cpu = 80\nload = { pause = 25, resume = 10 }")?;
//! let mut harvest = Harvest::new(rules);
//! let at = |s| Time::ZERO + Duration::from_secs(s);
//!
//! let load = |n| Readings { load: Some(n), ..Readings::default() };
//! assert_eq!(harvest.observe(at(0), &load(20)), Decision::Run { share: 80 });
//! // Someone else uses 40 % of the machine.
//! assert_eq!(harvest.observe(at(2), &load(400)), Decision::Pause(Reason::Load));
//! assert_eq!(harvest.causes().next().map(|c| c.to_string()).as_deref(), Some("load 40 %, goes on at 10 %"));
//! // A pause lasts half a minute at least.
//! assert_eq!(harvest.observe(at(9), &load(0)), Decision::Pause(Reason::Load));
//! assert_eq!(harvest.observe(at(32), &load(0)), Decision::Run { share: 80 });
//! # Ok::<(), toml::de::Error>(())
//! ```
#![no_std]

extern crate alloc;
#[cfg(test)]
#[macro_use]
extern crate std;

mod band;
mod harvest;
mod held;
mod hours;
mod ledger;
mod readings;
mod reason;
mod rules;
mod slope;
mod table;
#[cfg(any(test, feature = "testkit"))]
#[doc(hidden)]
#[allow(
    clippy::panic,
    reason = "a fuzz target says what it found by panicking"
)]
pub mod testkit;

pub use band::Band;
pub use harvest::{Decision, Harvest, Stats};
pub use held::STALE;
pub use hours::{Hours, NotHours, WINDOWS_MAX};
pub use ledger::{DAYS_MAX, DEVICES_MAX, Entry, Ledger, LedgerError, NAME_MAX, Used, energy};
pub use readings::{Local, Reading, Readings};
pub use reason::{Cause, Reason};
pub use rules::Rules;
pub use table::{Fault, Faults, Off, Setting, Table};
