//! A node's Sphinx keys from epoch to epoch: drawn, published in its peer record, destroyed, and their delays proved.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use betanet_keys::{VRF_PROOF, VrfSecret};
use betanet_machine::Rng;
use betanet_mesh::Draft;
use betanet_mix::{DelayProof, KeyRing, epoch_at};
use betanet_wire::text;
use zeroize::Zeroizing;

use super::memory::Memories;
use super::plane::{Plane, lock};
use super::wellknown::MixResources;
use crate::files::{read_secret, write_secret};
use crate::{Clock, Error, Mesh, seed};

/// How often the replay memory is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// Proofs that are kept to be asked for: a week's.
const PROOFS_MAX: usize = 56;

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
    let text = read_secret(path)?;
    let seed: [u8; 32] =
        text::unhex_array(text.trim()).ok_or(bad("not a VRF seed of 64 hex digits"))?;
    Ok(VrfSecret::from_seed(&Zeroizing::new(seed)))
}

/// Keeps the keys of a node.
pub(crate) struct KeyRotation {
    pub(crate) plane: Arc<Plane>,
    pub(crate) resources: Arc<MixResources>,
    pub(crate) mesh: Mesh,
    pub(crate) draft: Draft,
    pub(crate) memories: Memories,
    pub(crate) rng: Rng,
}

impl KeyRotation {
    /// Turns the keys for as long as the node runs.
    pub(crate) async fn run(mut self, clock: Clock) {
        loop {
            let now = clock.now();
            let (proofs, due, keys, record) = {
                let mut ring = lock(&self.resources.ring);
                let proofs = ring.turn(now.unix_ms, &mut self.rng);
                let epoch = epoch_at(now.unix_ms);
                let keys = self.memories.follow(&mut ring, epoch, &mut self.rng);
                let record = ring.record().to_bytes();
                (proofs, ring.due(now.unix_ms), keys, record)
            };
            self.publish(&proofs);
            self.plane.set_keys(keys);
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
        let mut held = lock(&self.resources.proofs);
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
