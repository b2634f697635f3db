//! A node's Sphinx keys from epoch to epoch: generates, publishes and destroys them, and proves their delays.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use betanet_dial::read_secret;
use betanet_keys::{VRF_PROOF, VrfSecret};
use betanet_machine::Rng;
use betanet_mesh::Draft;
use betanet_mix::{DelayProof, KeyRing, epoch_at};
use betanet_relay::Mesh;
use betanet_session::{Clock, seed};
use betanet_store::{Kind, Storage, load_or_move};
use betanet_wire::text;
use zeroize::Zeroizing;

use super::memory::Memories;
use super::plane::{Plane, lock};
use super::wellknown::MixResources;
use crate::Error;

/// Interval at which the replay memory is checked.
const LOOK: Duration = Duration::from_secs(5);
/// Maximum number of stored proofs: those of a week.
const PROOFS_MAX: usize = 56;

/// The seed of a VRF secret, 32 bytes.
const VRF: (Kind, &str) = (Kind::new("vrf", 1), "vrf");

/// Loads the VRF secret that proves a node's layers and delays. A secret of an earlier version is moved from the file `old`.
fn vrf(state: &dyn Storage, old: &Path) -> Result<VrfSecret, Error> {
    // This refuses a file that other users may read.
    if old.exists() {
        read_secret(old)?;
    }
    let reads = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).ok()?;
        let seed = Zeroizing::new(text::unhex_array::<32>(text.trim())?);
        Some(seed.to_vec())
    };
    let seed = match load_or_move(state, VRF, old, reads)? {
        Some(kept) => {
            let seed = <[u8; 32]>::try_from(&kept.bytes[..]);
            Zeroizing::new(seed.map_err(|_| state.unreadable(VRF.1))?)
        }
        None => {
            let fresh = Zeroizing::new(Rng::new(&seed()?).array::<32>());
            state.replace(VRF.0, VRF.1, &fresh[..])?;
            fresh
        }
    };
    Ok(VrfSecret::from_seed(&seed))
}

/// Rotates the keys of a node.
pub(crate) struct KeyRotation {
    pub(crate) plane: Arc<Plane>,
    pub(crate) resources: Arc<MixResources>,
    pub(crate) mesh: Mesh,
    pub(crate) draft: Draft,
    pub(crate) memories: Memories,
    pub(crate) rng: Rng,
}

impl KeyRotation {
    /// Rotates the keys for as long as the node runs.
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

/// VRF proofs by epoch.
pub(crate) type Proofs = BTreeMap<u32, [u8; VRF_PROOF]>;

/// Creates a key ring with the secret from the node's state.
pub(crate) fn ring(state: &dyn Storage, old: &Path) -> Result<KeyRing, Error> {
    Ok(KeyRing::new(vrf(state, old)?))
}

#[cfg(test)]
mod tests {
    use betanet_dial::write_secret;
    use betanet_store::MemoryStorage;

    use super::*;

    #[test]
    fn a_secret_is_kept_and_that_of_an_earlier_version_is_moved() {
        let home = tempfile::tempdir().unwrap();
        let old = home.path().join("node.vrf");
        let state = MemoryStorage::default();
        let first = *vrf(&state, &old).unwrap().public();
        assert_eq!(*vrf(&state, &old).unwrap().public(), first);
        let state = MemoryStorage::default();
        write_secret(&old, text::hex(&[7; 32]).as_bytes()).unwrap();
        let kept = *VrfSecret::from_seed(&[7; 32]).public();
        assert_eq!(*vrf(&state, &old).unwrap().public(), kept);
        assert!(!old.exists());
        assert_eq!(*vrf(&state, &old).unwrap().public(), kept);
        state.replace(VRF.0, VRF.1, b"short").unwrap();
        assert!(matches!(vrf(&state, &old), Err(Error::State(_))));
        write_secret(&old, b"no seed").unwrap();
        let told = vrf(&MemoryStorage::default(), &old).unwrap_err();
        assert!(told.to_string().contains("node.vrf"), "{told}");
        assert!(old.exists());
    }
}
