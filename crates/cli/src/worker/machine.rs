//! Resources of this machine, and its sensors.

use std::path::{Path, PathBuf};

use betanet_fog_worker::Measured;
use betanet_host::{Machine, Own, Root, Sensors};

/// Folder in place of `/` for sensors and devices, for tests and demonstrations.
///
/// It has `proc`, `sys`, `dev` and `etc` of its own, as far as the test needs them, and `run/betanet/readings/NAME` with a reading to
/// tell. A sensor without its file tells nothing. Cores, memory and disk are still those of this machine.
const ROOT: &str = "BETANET_SENSORS";

fn root() -> Root {
    match std::env::var_os(ROOT).filter(|path| !path.is_empty()) {
        Some(path) => Root::at(PathBuf::from(path)),
        None => Root::here(),
    }
}

/// Measures cores, memory, disk and devices.
pub(super) fn measured(home: &Path) -> Measured {
    let here = Machine::read(&Root::here(), home);
    let devices = Machine::read(&root(), home).devices;
    Measured::from(&Machine { devices, ..here })
}

/// The sensors of this machine.
pub(super) fn sensors() -> Sensors {
    Sensors::new(root(), Own::this_process())
}
