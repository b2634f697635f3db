//! Replay memory: remembers a node's packets, in one bounded memory for each key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use betanet_machine::Rng;
use betanet_mix::{EpochKeys, KeyId, KeyRing, Memory, Replays};

use super::plane::lock;
use crate::replay_memory::{KEYS, tags};

/// The current keys, with their replay memories.
#[derive(Clone, Default)]
pub(crate) struct Keys {
    pub(super) keys: EpochKeys,
    pub(super) memories: BTreeMap<KeyId, Arc<Mutex<Memory>>>,
}

/// The replay memories of a node's keys.
pub(super) struct Memories {
    /// Packets per second for which each memory is sized.
    rate: u32,
    /// Maximum size of all memories together, in bytes.
    most: usize,
    held: BTreeMap<KeyId, Arc<Mutex<Memory>>>,
    /// The epoch that could not get a further key.
    crowded: Option<u32>,
}

impl Memories {
    pub(super) const fn new(rate: u32, most: usize) -> Self {
        Self {
            rate,
            most,
            held: BTreeMap::new(),
            crowded: None,
        }
    }

    /// Creates a memory for each key, and removes those of destroyed keys. If the memory of an epoch's newest key is three
    /// quarters full, the epoch gets a further key.
    pub(super) fn follow(&mut self, ring: &mut KeyRing, epoch: u32, rng: &mut Rng) -> Keys {
        let of_now = |id: &KeyId| id.epoch == epoch.to_be_bytes()[3];
        let newest = self.held.iter().rfind(|(id, _)| of_now(id));
        if newest.is_some_and(|(_, memory)| lock(memory).wants_another_key()) {
            self.further(ring, epoch, rng);
        }
        let ids: Vec<KeyId> = ring.keys().ids().collect();
        self.held.retain(|id, _| ids.contains(id));
        for id in ids {
            self.held.entry(id).or_insert_with(|| {
                let memory = Memory::new(tags(self.rate), &rng.array());
                Arc::new(Mutex::new(memory))
            });
        }
        Keys {
            keys: ring.keys().clone(),
            memories: self.held.clone(),
        }
    }

    fn further(&mut self, ring: &mut KeyRing, epoch: u32, rng: &mut Rng) {
        let further = self.held.keys().filter(|id| id.generation > 0).count();
        let needed = Replays::bytes(tags(self.rate)).saturating_mul(KEYS + further + 1);
        if needed <= self.most && ring.further(epoch, rng) {
            tracing::warn!(
                epoch,
                "three quarters of a replay memory are used: a further key is published"
            );
        } else if self.crowded.replace(epoch) != Some(epoch) {
            tracing::warn!(
                epoch,
                "three quarters of a replay memory are used, and there is no place for a further key"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use betanet_keys::VrfSecret;
    use betanet_machine::Seed;
    use betanet_mix::{AFTER_MS, Taken, epoch_start};
    use betanet_wire::{ChargeTo, NodeId};

    use super::*;
    use crate::replay_memory::memory;

    const RATE: u32 = 1;
    const EPOCH: u32 = 9;

    const fn id(generation: u8) -> KeyId {
        KeyId {
            epoch: 9,
            generation,
        }
    }

    /// Fills a range of a key's memory, in hundredths of its capacity.
    fn fill(memories: &Memories, generation: u8, part: std::ops::Range<usize>) {
        let mut memory = lock(&memories.held[&id(generation)]);
        for n in tags(RATE) * part.start / 100..tags(RATE) * part.end / 100 {
            let mut tag = [generation; 16];
            tag[..8].copy_from_slice(&n.to_be_bytes());
            // Each session has a thirty-second of it.
            let n = n.to_le_bytes()[0] % 40;
            let session = (NodeId([n; 20]), ChargeTo::V4([192, 0, 2, n]));
            assert_eq!(memory.take(session, &tag), Taken::New, "{n}");
        }
    }

    /// Returns the number of keys of this epoch.
    fn generations(keys: &Keys) -> usize {
        keys.memories.keys().filter(|id| id.epoch == 9).count()
    }

    fn start(most: usize) -> (Rng, KeyRing, Memories) {
        let mut rng = Rng::new(&Seed::from_number(1));
        let mut ring = KeyRing::new(VrfSecret::from_seed(&[1; 32]));
        ring.turn(epoch_start(EPOCH), &mut rng);
        (rng, ring, Memories::new(RATE, most))
    }

    #[test]
    fn a_key_whose_memory_fills_up_is_followed_by_one_with_a_memory_of_its_own() {
        let (mut rng, mut ring, mut memories) = start(memory(RATE) * 2);
        memories.follow(&mut ring, EPOCH, &mut rng);
        fill(&memories, 0, 0..74);
        let first = ring.record();
        let keys = memories.follow(&mut ring, EPOCH, &mut rng);
        assert_eq!((generations(&keys), ring.record()), (1, first.clone()));
        fill(&memories, 0, 74..76);
        let keys = memories.follow(&mut ring, EPOCH, &mut rng);
        assert_eq!(generations(&keys), 2);
        assert_ne!(ring.record().of(EPOCH), first.of(EPOCH));
        assert_eq!(lock(&keys.memories[&id(1)]).len(), 0);
        // The first key's memory is unchanged: no packet that it has seen passes.
        let again =
            lock(&keys.memories[&id(0)]).take((NodeId([0; 20]), ChargeTo::Unknown), &[0; 16]);
        assert_eq!(again, Taken::Again);
        // An epoch has at most three keys, and all end with it.
        for filled in [1, 2] {
            fill(&memories, filled, 0..76);
            let keys = memories.follow(&mut ring, EPOCH, &mut rng);
            assert_eq!(generations(&keys), 3);
        }
        ring.turn(epoch_start(EPOCH + 1) + AFTER_MS, &mut rng);
        let keys = memories.follow(&mut ring, EPOCH + 1, &mut rng);
        assert_eq!((generations(&keys), keys.memories.len()), (0, 2));
    }

    #[test]
    fn free_identities_of_one_address_fill_a_sixteenth_and_an_honest_one_is_noted() {
        let (mut rng, mut ring, mut memories) = start(memory(RATE));
        memories.follow(&mut ring, EPOCH, &mut rng);
        let mut memory = lock(&memories.held[&id(0)]);
        let address = ChargeTo::V4([192, 0, 2, 1]);
        let (mut new, mut free) = (0, NodeId([0; 20]));
        for n in 0..tags(RATE) {
            let mut tag = [7; 16];
            tag[..8].copy_from_slice(&n.to_be_bytes());
            free.0[..8].copy_from_slice(&(n / 100).to_be_bytes());
            new += usize::from(memory.take((free, address), &tag) == Taken::New);
        }
        assert!(new <= tags(RATE) / 15 && new >= tags(RATE) / 17, "{new}");
        let honest = (NodeId([9; 20]), ChargeTo::V4([192, 0, 2, 2]));
        assert_eq!(memory.take(honest, &[9; 16]), Taken::New);
    }

    #[test]
    fn no_further_key_is_drawn_that_there_is_no_memory_for() {
        let (mut rng, mut ring, mut memories) = start(memory(RATE));
        memories.follow(&mut ring, EPOCH, &mut rng);
        fill(&memories, 0, 0..80);
        let keys = memories.follow(&mut ring, EPOCH, &mut rng);
        assert_eq!((generations(&keys), memories.crowded), (1, Some(EPOCH)));
    }
}
