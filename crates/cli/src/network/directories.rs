//! The maintainers' work of each epoch, for a test network whose folder holds all their keys: beacon, build, sign, join, publish.

use std::fs;
use std::io::ErrorKind;

use betanet_carrier::disk::write_shared;
use betanet_keys::{Envelope, Maintainers};
use betanet_runtime::{
    Clock, DirectoryPlan, build_directory, check_directory, load_identity, publish_directory,
};
use std::collections::BTreeMap;
use std::time::Duration;

use super::place::Place;
use crate::Fail;
use crate::mix::{beacon_secret, network, wrong};

/// Time limit for the relays' answers.
const WAIT: Duration = Duration::from_secs(60);
/// Number of attempts to reach all relays.
const TRIES: usize = 3;

/// Removes the directories of an earlier run from this epoch on, before any node runs: each mixnode draws new keys when it starts,
/// so these directories list keys that no node has.
///
/// New directories of these epochs then contradict nothing, because no node has seen the old ones.
pub(super) fn forget(place: &Place, epoch: u32) -> Result<(), Fail> {
    let seeds = place.nodes.iter().map(|n| n.state.join("directories"));
    for folder in seeds.chain([place.dir.join("directories")]) {
        let entries = match fs::read_dir(&folder) {
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            entries => entries.map_err(Fail::file(&folder))?,
        };
        for entry in entries {
            let path = entry.map_err(Fail::file(&folder))?.path();
            // A seed's files are named EPOCH-N, and those of the maintainers EPOCH.dir.
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let of = name.split(['-', '.']).next().and_then(|n| n.parse().ok());
            if of.is_some_and(|of: u32| of >= epoch) {
                fs::remove_file(&path).map_err(Fail::file(&path))?;
            }
        }
    }
    Ok(())
}

/// Creates the directory of an epoch and publishes it to the seeds. An existing one is published again unchanged: two different
/// directories of one epoch contradict each other, and nodes use neither. Returns its number of relays.
pub(super) async fn publish(place: &Place, epoch: u32) -> Result<usize, Fail> {
    let (net, mix) = network(&place.network())?;
    let maintainers = Maintainers::new(&net.maintainers);
    let folder = place.dir.join("directories");
    fs::create_dir_all(&folder).map_err(Fail::file(&folder))?;
    let file = folder.join(format!("{epoch}.dir"));
    let signed = match fs::read(&file) {
        Ok(signed) => signed,
        Err(_) => {
            let signed = make(place, epoch).await?;
            write_shared(&file, &signed).map_err(Fail::file(&file))?;
            signed
        }
    };
    let (_, directory) =
        check_directory(&signed, &maintainers, &mix.beacon_key).map_err(|e| wrong(&file, e))?;
    let said = publish_directory(&net, epoch, &signed).await?;
    for (seed, outcome) in &said {
        if let Err(why) = outcome {
            note!("epoch {epoch}: seed {seed}: {why}");
        }
    }
    if said.iter().all(|(_, outcome)| outcome.is_err()) {
        let why = format!("epoch {epoch}: no seed took the directory");
        return Err(Fail::Peer(why));
    }
    Ok(directory.relays.len())
}

/// Asks all relays, and signs the directory with every maintainer's key.
async fn make(place: &Place, epoch: u32) -> Result<Vec<u8>, Fail> {
    let (net, _) = network(&place.network())?;
    let all = place.nodes.iter().filter(|n| n.mixes).count();
    let keys = place.dir.join("keys");
    let plan = DirectoryPlan {
        epoch,
        seq: Clock::start().now().unix_ms,
        beacon_sig: beacon_secret(&keys.join("beacon.key"))?.sign(epoch),
        wait: WAIT,
        enough: Some(all),
        standing: BTreeMap::new(),
        others: betanet_runtime::LotteryWeight::default(),
    };
    let mut tries = 0;
    let directory = loop {
        let (directory, left_out) = build_directory(&net, &plan).await?;
        tries += 1;
        if directory.relays.len() >= all || tries >= TRIES {
            for (name, why) in left_out {
                note!("epoch {epoch}: left out: {name}: {why}");
            }
            break directory;
        }
    };
    if directory.relays.is_empty() {
        return Err(Fail::Peer(format!(
            "epoch {epoch}: no relay proved where it stands"
        )));
    }
    let mut envelope = Envelope::new(directory.to_record()).map_err(|e| wrong(&place.dir, e))?;
    for n in 1..=net.maintainers.len() {
        let path = keys.join(format!("maintainer{n}.pem"));
        envelope.sign(&load_identity(&path)?);
    }
    Ok(envelope.to_bytes())
}
