//! `betanet mix`: directories, loops, audits.

mod audit;
mod beacon;
mod directory;
mod loops;
mod standing;

use std::path::Path;

use betanet_carrier::disk;
use betanet_runtime::{Error, MixNetwork, MixnetError, Network};

use crate::Fail;
use crate::args::{MixArgs, MixCommand};
use crate::on_runtime;

pub(crate) use beacon::{new_key as new_beacon_key, secret as beacon_secret};
pub(crate) use standing::Standing;

pub(crate) fn run(args: MixArgs) -> Result<(), Fail> {
    match args.command {
        MixCommand::Directory(args) => directory::run(args.command),
        MixCommand::Beacon(args) => beacon::run(args.command),
        MixCommand::Loop(args) => on_runtime(loops::run(args)),
        MixCommand::Audit(args) => audit::run(&args),
    }
}

/// Reads a network's file, and requires its mix parameters.
pub(crate) fn network(file: &Path) -> Result<(Network, MixNetwork), Fail> {
    let network = crate::seeds::read(file).map_err(Error::from)?;
    let mix = network.mix;
    let mix = mix.ok_or_else(|| MixnetError::NoMix {
        network: network.name.clone(),
    })?;
    Ok((network, mix))
}

fn read(path: &Path) -> Result<Vec<u8>, Fail> {
    disk::read_bounded(path, disk::TEXT_MAX).map_err(Fail::file(path))
}

/// Returns the failure for an invalid local file.
pub(crate) fn wrong(path: &Path, why: impl std::fmt::Display) -> Fail {
    Fail::Local(format!("{}: {why}", path.display()))
}
