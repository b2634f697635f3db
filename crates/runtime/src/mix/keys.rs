//! A node's Sphinx keys from epoch to epoch: drawn, published in its peer record, destroyed, and their delays proved.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use betanet_keys::{VRF_PROOF, VrfSecret};
use betanet_machine::Rng;
use betanet_mesh::Draft;
use betanet_mix::{AFTER_MS, DelayProof, EPOCH_MS, KeyRing, Replays, epoch_at};
use betanet_wire::text;
use zeroize::Zeroizing;

use super::plane::{Keys, Memory, Plane, lock};
use super::wellknown::Faces;
use crate::files::{file_error, write_secret};
use crate::{Clock, Error, Mesh, seed};

/// How often the replay memory is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Proofs that are kept to be asked for: a week's.
const PROOFS_MAX: usize = 56;

/// Tags of one key's life at so many packets a second. The key is published an epoch before its own.
pub(crate) const fn tags(rate: u32) -> usize {
    (rate as usize).saturating_mul(((EPOCH_MS + AFTER_MS) / 1000) as usize)
}

/// The replay memory that a node needs for so many packets a second, in bytes: two epochs' keys are in use at once.
pub(crate) const fn memory(rate: u32) -> usize {
    Replays::bytes(tags(rate)).saturating_mul(2)
}

/// The secret that a node's places and delays are proved with, kept beside its key.
pub(crate) fn vrf(path: &Path) -> Result<VrfSecret, Error> {
    let bad = |why| Error::KeyFile {
        path: path.to_owned(),
        why,
    };
    if !path.exists() {
        let fresh = Zeroizing::new(Rng::new(&seed()?).array::<32>());
        write_secret(path, text::hex(&fresh[..]).as_bytes())?;
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(file_error(path))?);
    let seed: [u8; 32] =
        text::unhex_array(text.trim()).ok_or(bad("not a VRF seed of 64 hex digits"))?;
    Ok(VrfSecret::from_seed(&Zeroizing::new(seed)))
}

/// Keeps the keys of a node.
pub(crate) struct Keeper {
    pub(crate) plane: Arc<Plane>,
    pub(crate) faces: Arc<Faces>,
    pub(crate) mesh: Mesh,
    pub(crate) draft: Draft,
    /// Packets a second that the replay memory is for.
    pub(crate) rate: u32,
    pub(crate) rng: Rng,
}

impl Keeper {
    /// Turns the keys for as long as the node runs.
    pub(crate) async fn run(mut self, clock: Clock) {
        let mut memories: BTreeMap<u8, Arc<Mutex<Memory>>> = BTreeMap::new();
        // The key whose memory was three quarters full, and got a further one.
        let mut crowded: Option<u32> = None;
        loop {
            let now = clock.now();
            let epoch = epoch_at(now.unix_ms);
            let (proofs, due) = {
                let mut ring = lock(&self.faces.ring);
                let proofs = ring.turn(now.unix_ms, &mut self.rng);
                (proofs, ring.due(now.unix_ms))
            };
            self.publish(&proofs);
            let full = memories.get(&epoch.to_be_bytes()[3]).is_some_and(|m| {
                let (tags, capacity) = lock(m).filled();
                tags * 4 >= capacity * 3
            });
            if full && crowded != Some(epoch) {
                crowded = Some(epoch);
                lock(&self.faces.ring).further(epoch, &mut self.rng);
                tracing::warn!(
                    epoch,
                    "three quarters of the replay memory are used: a further key is published"
                );
            }
            let low = |e: u32| e.to_be_bytes()[3];
            let kept: Vec<u8> = (epoch.saturating_sub(1)..=epoch.saturating_add(1))
                .map(low)
                .collect();
            memories.retain(|byte, _| kept.contains(byte));
            for byte in &kept[1..] {
                if !memories.contains_key(byte) {
                    let memory = Memory::new(tags(self.rate), &self.rng.array());
                    memories.insert(*byte, Arc::new(Mutex::new(memory)));
                }
            }
            let (keys, record) = {
                let ring = lock(&self.faces.ring);
                (ring.keys().clone(), ring.record().to_bytes())
            };
            let memories = memories.clone();
            self.plane.set_keys(Keys { keys, memories });
            if self.draft.mix != record {
                self.draft.mix = record;
                self.mesh.announce(self.draft.clone()).await;
            }
            self.plane.count();
            let wait = Duration::from_millis(due.saturating_sub(now.unix_ms));
            tokio::time::sleep(wait.clamp(Duration::from_millis(10), LOOK)).await;
        }
    }

    fn publish(&self, proofs: &[DelayProof]) {
        let mut held = lock(&self.faces.proofs);
        for proof in proofs {
            held.insert(proof.epoch, proof.proof);
        }
        while held.len() > PROOFS_MAX {
            held.pop_first();
        }
    }
}

/// Proofs by their epoch.
pub(crate) type Proofs = BTreeMap<u32, [u8; VRF_PROOF]>;

/// A key ring with the secret of a file.
pub(crate) fn ring(path: &Path) -> Result<KeyRing, Error> {
    Ok(KeyRing::new(vrf(path)?))
}
