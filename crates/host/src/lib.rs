//! Description of a machine, and readings of its sensors: cores, memory, disk, devices, power, temperature, users.
//!
//! **Promises.** Every value was read; one that cannot be read is absent. A [`Root`] may be any folder, so that a test needs no machine.
//! Processor time of our own processes is not load of others. Every file is read up to [`FILE_MAX`], every folder up to [`NAMES_MAX`].
//!
//! **Below:** `betanet-harvest` (the readings), Linux' `/proc`, `/sys`, `/dev` and `/etc/localtime`; with the feature `dbus` logind and
//! NetworkManager. **Above:** the fog's worker. **Source:** no chapter of the profile; the kernel's documentation of these files.
//!
//! | reading | files | over D-Bus |
//! |---|---|---|
//! | charging, battery, health | `/sys/class/power_supply` | |
//! | temperature | `/sys/class/hwmon` of processors, else `/sys/class/thermal` | |
//! | idle_s | when terminals were read, interrupts of keyboards | logind: `IdleHint`, `IdleSinceHint` |
//! | load | `/proc/stat`, less `/proc/<pid>/stat` of our own | |
//! | memory_free | `/proc/meminfo`, the control group | |
//! | pressure | `/proc/pressure/memory`, `/proc/pressure/io` | |
//! | metered | a default route over mobile radio | NetworkManager: `Metered` |
//! | full_screen | | logind: a program that keeps the screen lit |
//! | local | `/etc/localtime` | |
//!
//! - Any of them but the clock can be told by a file in [`TOLD`], which then counts.
//! - Linux has no word for "full screen" that a service may read. A program that forbids the screen to go dark is taken for one;
//!   a desktop that knows more can tell it.
//! - A desktop that never sets logind's `IdleHint` seems to be in use all the time.
//! - A USB keyboard without logind is not seen.
//!
//! ```
//! use std::time::Duration;
//!
//! use betanet_host::{Machine, Own, Root, Sensors};
//! use betanet_machine::{Now, Time};
//!
//! // A folder that stands for `/`; `Root::here()` is this machine.
//! let folder = tempfile::tempdir()?;
//! let write = |path: &str, text: &str| {
//!     let path = folder.path().join(path);
//!     std::fs::create_dir_all(path.parent().unwrap())?;
//!     std::fs::write(path, text)
//! };
//! write("proc/stat", "cpu  100 0 0 900 0 0 0 0")?;
//! write("sys/class/power_supply/AC/type", "Mains")?;
//! write("sys/class/power_supply/AC/online", "1")?;
//! write("sys/devices/system/cpu/online", "0-7")?;
//!
//! let root = Root::at(folder.path());
//! assert_eq!(Machine::read(&root, folder.path()).cores, 8);
//! let mut sensors = Sensors::new(root, Own::default());
//! let at = |s: u64| Now::new(Time::ZERO + Duration::from_secs(s), 1_790_000_000_000 + s * 1000);
//! assert_eq!(sensors.read(at(0)).readings.charging, Some(true));
//! // 30 of the next 100 ticks are busy.
//! write("proc/stat", "cpu  130 0 0 970 0 0 0 0")?;
//! assert_eq!(sensors.read(at(1)).readings.load, Some(300));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Measured
//!
//! `cargo xtask bench --only harvest` reads the sensors of the machine on which it runs. On one core of an Intel Xeon (2 cores that
//! others used too), 2026-11-29, with 118 processes and without D-Bus, a look took 1.0 ms of processor time: 0.1 % of a core at a look
//! a second. Most of it is the line of each process. A decision took 0.1 µs.

#[cfg(feature = "dbus")]
mod bus;
mod cgroup;
mod clock;
mod devices;
mod energy;
mod idle;
mod machine;
mod memory;
mod network;
mod power;
mod processor;
mod root;
mod sensors;
mod temperature;
#[cfg(any(test, feature = "testkit"))]
#[doc(hidden)]
pub mod testkit;
mod told;

#[cfg(feature = "dbus")]
pub use bus::Bus;
pub use devices::{DEVICES_MAX, Device};
pub use energy::{Energy, Source};
pub use machine::{Disk, Machine, disk};
pub use network::{INTERFACES_MAX, Interface};
pub use processor::Own;
pub use root::{FILE_MAX, NAMES_MAX, Root};
pub use sensors::{Sample, Sensors, Used};
pub use told::TOLD;
