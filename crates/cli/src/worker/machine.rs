//! Resources of this machine, and its sensors.

use std::path::{Path, PathBuf};

use betanet_fog_worker::Measured;
use betanet_host::{Machine, Own, Root, Sensors};

/// Folder in place of `/` for `/sys` and `/proc`, for tests and demonstrations.
const ROOT: &str = "BETANET_SENSORS";

fn root() -> Root {
    match std::env::var_os(ROOT).filter(|path| !path.is_empty()) {
        Some(path) => Root::at(PathBuf::from(path)),
        None => Root::here(),
    }
}

/// Measures cores, memory, disk and devices.
pub(super) fn measured(home: &Path) -> Measured {
    Measured::from(&Machine::read(&Root::here(), home))
}

/// The sensors of this machine.
pub(super) fn sensors() -> Sensors {
    Sensors::new(root(), Own::this_process())
}
