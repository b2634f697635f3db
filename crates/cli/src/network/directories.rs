//! The maintainers' work of each epoch, for a test network whose folder holds all their keys: beacon, build, sign, join, publish.

use std::fs;

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

/// A directory that was published to the seeds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Published {
    pub(super) relays: usize,
    /// Whether it was created before this process began.
    pub(super) old: bool,
}

/// Creates the directory of an epoch and publishes it to the seeds. An existing one is published again unchanged: two different
/// directories of one epoch contradict each other, and nodes use neither.
pub(super) async fn publish(place: &Place, epoch: u32) -> Result<Published, Fail> {
    let (net, mix) = network(&place.network())?;
    let maintainers = Maintainers::new(&net.maintainers);
    let folder = place.dir.join("directories");
    fs::create_dir_all(&folder).map_err(Fail::file(&folder))?;
    let file = folder.join(format!("{epoch}.dir"));
    let found = fs::read(&file);
    let old = found.is_ok();
    let signed = match found {
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
    let relays = directory.relays.len();
    Ok(Published { relays, old })
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
